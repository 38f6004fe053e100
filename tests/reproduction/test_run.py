"""A killed reproduction goes on, what is stale is measured anew, and tables follow the results."""

import argparse
import functools
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from salcompress.errors import DataError
from salcompress.reproduction.command import add_options, run
from salcompress.reproduction.part import Item, Part, Settings
from salcompress.reproduction.progress import standing_of
from salcompress.reproduction.run import measure


def note(log, name, figure):
    """Measure: say so in a file."""
    with open(log, "a") as file:
        file.write(f"{name}\n")
    return figure


def fail(log, name):
    note(log, name, None)
    raise DataError("no luck today")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a document, and the parts that are measured in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("<!-- begin sums -->\n<!-- end sums -->\n")
    (tmp_path / "data").mkdir()
    return tmp_path


def part(name, figures, of="1", **options):
    """A part whose figures are known."""
    return Part(
        name,
        "numbers",
        lambda settings: [
            Item(f"{name}{k}", {"weights": of}, functools.partial(note, "log", f"{name}{k}", f))
            for k, f in enumerate(figures)
        ],
        lambda settings, found: {f"{name}s": f"| {sum(found.values())} |"},
        60.0,
        **options,
    )


def call(parts, *options):
    parser = argparse.ArgumentParser()
    add_options(parser, Path("."), parts)
    given = ["--data", "data", "--out", "results", "--documents", "README.md", *options]
    run(parser.parse_args(given), parts)


def measured():
    with open("log") as file:
        names = file.read().split()
    os.unlink("log")
    return names


def test_every_item_is_measured_once_and_shown(place, capsys):
    parts = [part("sum", [1, 2]), part("other", [5], in_processes=True)]  # by no process here
    call(parts, "--workers", "0")
    assert measured() == ["sum0", "sum1", "other0"]
    shown = (place / "README.md").read_text()
    assert shown.startswith("<!-- begin sums -->\n| 3 |\n\nMeasured on 2") and "weights 1" in shown
    assert "`tools/reproduce.py --only sum`" in shown
    assert "no document has a place for others" in capsys.readouterr().out
    assert (place / "results" / "tables" / "others.md").read_text().startswith("| 5 |\n")
    call(parts)
    assert not (place / "log").exists()


def hang_at_the_second(settings):
    return [
        Item("a", {}, functools.partial(note, "log", "a", 1)),
        Item("b", {}, functools.partial(time.sleep, 60)),
    ]


def test_a_killed_run_goes_on_where_it_was(place):
    settings = Settings(place / "data", place / "results", workers=0)
    hanging = Part("sum", "", hang_at_the_second, lambda settings, found: {}, 1)
    process = multiprocessing.get_context("fork").Process(
        target=lambda: measure(standing_of(hanging, settings), 0)
    )
    process.start()
    while not (place / "results" / "sum.json").exists():
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    whole = hanging._replace(
        items=lambda s: [
            Item(name, {}, functools.partial(note, "log", name, 1)) for name in ("a", "b")
        ]
    )
    assert [item.name for item in standing_of(whole, settings).left] == ["b"]
    measure(standing_of(whole, settings), 0)
    assert measured() == ["a", "b"] and standing_of(whole, settings).left == []


def test_figures_of_other_weights_are_stale(place, capsys):
    old, other = part("sum", [1, 2]), part("other", [5])
    call([old, other])
    measured()
    new = part("sum", [10, 20], of="2")
    call([new, other], "--plan")
    assert "0 of 2, 2 stale" in capsys.readouterr().out
    with pytest.raises(DataError, match="out of date: 1 of the tables and parts"):
        call([new, other], "--check")
    assert "part sum: 2 of 2 items are stale or missing" in capsys.readouterr().out
    assert "| 3 |" in (place / "README.md").read_text() and not (place / "log").exists()
    call([new, other])
    assert measured() == ["sum0", "sum1"] and "| 30 |" in (place / "README.md").read_text()
    call([new, other], "--check")


def test_figures_of_another_version_are_stale(place, monkeypatch):
    call([part("sum", [1])])
    monkeypatch.setattr("salcompress.reproduction.kept.__version__", "99")
    call([part("sum", [1])])
    assert measured() == ["sum0", "sum0"] and "salcompress 99" in (place / "README.md").read_text()


def test_a_table_that_a_hand_changed_is_out_of_date(place, capsys):
    parts = [part("sum", [1])]
    call(parts)
    document = place / "README.md"
    document.write_text(document.read_text().replace("| 1 |", "| 2 |"))
    with pytest.raises(DataError, match="out of date"):
        call(parts, "--check")
    assert "sums in README.md: it differs from the results" in capsys.readouterr().out
    call(parts)
    assert "| 1 |" in document.read_text()


def test_a_part_that_fails_stops_no_other_and_keeps_what_it_has(place):
    broken = part("sum", [1])
    items = broken.items
    broken = broken._replace(
        items=lambda s: [*items(s), Item("x", {}, functools.partial(fail, "log", "x"))]
    )
    with pytest.raises(DataError, match="not all was measured: sum: no luck today"):
        call([broken, part("other", [5])])
    assert measured() == ["sum0", "x", "other0"]
    assert (place / "README.md").read_text() == "<!-- begin sums -->\n<!-- end sums -->\n"
    call([part("sum", [1])])
    assert not (place / "log").exists()


def test_parts_that_are_off_are_measured_where_they_are_named(place, capsys):
    parts = [part("sum", [1]), part("other", [5], by_default=False)]
    call(parts)
    assert measured() == ["sum0"]
    call(parts, "--only", "other")
    assert measured() == ["other0"]


def test_a_plan_measures_nothing_and_knows_what_took_how_long(place, capsys):
    parts = [part("sum", [1, 2])]
    call(parts, "--plan")
    assert not (place / "results").exists()
    assert "0 of 2" in (before := capsys.readouterr().out) and " 1:00" in before
    call(parts)
    capsys.readouterr()
    call([part("sum", [1, 2], of="2")], "--plan")
    out = capsys.readouterr().out
    assert "0:00" in out and "1:00" not in out  # as these took before, not as guessed


def test_damaged_results_are_named(place):
    call([part("sum", [1])])
    (place / "results" / "sum.json").write_text('{"items": {"a": 1}}')
    with pytest.raises(DataError, match=r"sum\.json is damaged .*delete it"):
        call([part("sum", [1])])


def test_an_interruption_is_one_line_and_keeps_what_was_measured(place, capsys):
    stopped = part("sum", [1])
    items = stopped.items
    stopped = stopped._replace(items=lambda s: [*items(s), Item("x", {}, interrupt)])
    with pytest.raises(SystemExit) as stop:
        call([stopped])
    assert stop.value.code == 130
    assert "interrupted; run the same command again to go on" in capsys.readouterr().err
    call([part("sum", [1])])
    assert measured() == ["sum0"]


def interrupt():
    raise KeyboardInterrupt
