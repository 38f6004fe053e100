"""Tables say each figure once, and dashes for what was not measured."""

from salcompress.evaluation.rate_point import RatePoint
from salcompress.reporting.tables import (
    Cell,
    html_table,
    markdown_line,
    markdown_table,
    results_table,
)

BOX = {"AP": 30.0, "AP50": 50.0, "AP75": 31.0, "APs": None, "APm": 29.0, "APl": 45.0}
ROW = RatePoint(
    "jpeg",
    "q=30,subsampling=420",
    "jpeg@1",
    "set",
    "detector",
    60,
    0.5,
    0.51,
    None,
    BOX,
    None,
    30.1,
    None,
    None,
    None,
    0.002,
    None,
    None,
    {"bpp": [0.4, 0.6], "box_AP": [25.0, 35.0]},
)


def test_bits_on_objects_show_where_they_were_measured():
    assert "objects" not in results_table([ROW])
    header, _, line = results_table(
        [ROW, ROW._replace(object_bits=0.421, object_area=0.2)]
    ).splitlines()
    assert "% bits on objects" in header and "42.1" in line.split()


def test_the_rate_over_what_the_detector_saw_shows_where_it_is_known():
    assert "detector bpp" not in results_table([ROW])
    header, *lines = results_table([ROW, ROW._replace(bpp_detector=0.18)]).splitlines()
    assert "detector bpp" in header and "0.180" in lines[1].split() and "-" in lines[0].split()


def test_table_shows_intervals_and_dashes():
    header, line = results_table([ROW]).splitlines()
    assert (
        "30.0 [25.0, 35.0]" in line
        and line.split()[-4:] == ["-", "-", "-", "2.0"]
        and header.startswith("codec")
    )


def test_numbers_of_images_show_where_rows_differ():
    assert "images" not in results_table([ROW, ROW])
    header, first, second = results_table([ROW, ROW._replace(num_images=59)]).splitlines()
    assert "images" in header and "60" in first.split() and "59" in second.split()


def test_a_line_of_markdown_has_as_many_cells_as_its_table():
    text = markdown_table(["a", "b"], [["x|y", "1"]])
    assert text.splitlines() == ["| a | b |", "| --- | --- |", markdown_line(["x|y", "1"])]
    assert text.count("|") - text.count("\\|") == 9


def test_a_table_of_a_page():
    page = html_table(["a"], [[Cell("<b>1</b>", 1)], [Cell("–")]], "wide")
    assert "<div class='scroll wide'" in page and "<th scope=col>a</th>" in page
    assert "<td data-value='1'><b>1</b></td>" in page and "<td>–</td>" in page
    sortable = html_table(["a"], [], sortable=True)
    assert "<th scope=col><button type=button>a</button></th>" in sortable
