"""Tables stand where the markers are, and nothing else of a document changes."""

import shutil

import pytest

from salcompress.codecs.salient.known_weights import SHIPPED_FOLDER
from salcompress.errors import DataError
from salcompress.reproduction.documents import renew_tables, tables_in

TEXT = "# A\n\n<!-- begin a -->\nold\n<!-- end a -->\nprose\n<!-- begin b -->\n<!-- end b -->\n"


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    return path


def test_what_is_written_is_what_stands_there(document):
    assert tables_in(document) == {"a": "old", "b": ""}
    tables = {"a": "| x |\n| --- |\n\nfoot", "b": "| y |", "c": "| z |"}
    assert renew_tables(document, tables) == ["a", "b"]
    assert tables_in(document) == {"a": tables["a"], "b": "| y |"}
    rest = document.read_text().replace(tables["a"], "old").replace("| y |\n", "")
    assert rest == TEXT


def test_a_table_that_stands_there_is_not_written_again(document):
    before = document.stat().st_mtime_ns
    assert renew_tables(document, {"a": "old"}) == []
    assert document.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "broken, line",
    [
        (TEXT.replace("<!-- end a -->\n", ""), 3),
        (TEXT.replace("<!-- begin b -->\n", ""), 7),
        (TEXT.replace("<!-- end b -->\n", ""), 7),
        (TEXT.replace("end a", "end c"), 5),
    ],
)
def test_a_marker_without_its_companion_is_named(document, broken, line):
    document.write_text(broken)
    with pytest.raises(DataError, match=rf"README.md, line {line}: .* lacks its companion"):
        renew_tables(document, {"a": "new"})
    assert document.read_text() == broken


def test_two_places_for_a_table_are_a_fault(document):
    document.write_text(TEXT.replace(" b ", " a "))
    with pytest.raises(DataError, match="two places for the table a"):
        tables_in(document)


def test_the_model_zoo_has_sound_markers(tmp_path):
    path = tmp_path / "zoo.md"
    shutil.copy(SHIPPED_FOLDER / "README.md", path)
    before, shown = path.read_text(), tables_in(path)
    assert {"codec-photo", "codec-photo-differences"} <= set(shown)
    assert renew_tables(path, {"codec-photo": "| q |"}) == ["codec-photo"]
    assert path.read_text() == before.replace(shown["codec-photo"], "| q |")
