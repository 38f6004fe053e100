"""Human judgements: what is well formed is read as it stands, what is not is named by its line."""

import numpy as np
import pytest

from salcompress.errors import DataError, SettingError
from salcompress.files import write_atomically
from salcompress.image import encode_image
from salcompress.training.metric.judgements import read_bapps, read_opinions, read_triplets


@pytest.fixture
def folder(tmp_path):
    """r.png, a.png, b.png of 40x32 (width x height), small.png of 39x32, and text.png, which is
    none.
    """
    rng = np.random.default_rng(0)
    for name, width in (("r", 40), ("a", 40), ("b", 40), ("small", 39)):
        write_atomically(
            tmp_path / f"{name}.png",
            encode_image(rng.integers(0, 256, (32, width, 3), np.uint8), "PNG"),
        )
    write_atomically(tmp_path / "text.png", "no picture")
    return tmp_path


def table(folder, text):
    write_atomically(folder / "t.csv", text)
    return folder / "t.csv"


def test_triplets_are_read_as_they_stand(folder):
    found = read_triplets(
        table(folder, "reference,a,b,fraction\nr.png,a.png,b.png,0.25\nr.png,b.png,a.png,1\n")
    )
    assert [(t.a.name, t.b.name, t.fraction) for t in found] == [
        ("a.png", "b.png", 0.25),
        ("b.png", "a.png", 1.0),
    ]


@pytest.mark.parametrize(
    "row, why",
    [
        ("r.png,missing.png,b.png,0.5", "line 3: a 'missing.png' does not exist"),
        ("r.png,a.png,,0.5", "line 3: b '' does not exist"),
        (
            "r.png,a.png,b.png,1.5",
            r"line 3: fraction must be in \[0, 1\], got '1.5'; it is not rescaled",
        ),
        ("r.png,a.png,b.png,-0.1", r"line 3: fraction must be in \[0, 1\]"),
        ("r.png,a.png,b.png,nan", "line 3: fraction must be a finite number, got 'nan'"),
        ("r.png,a.png,b.png,often", "line 3: fraction must be a finite number, got 'often'"),
        (
            "r.png,a.png,small.png,0.5",
            r"line 3: small.png is 39x32 and r.png 40x32 \(width x height\); nothing is rescaled",
        ),
        ("r.png,a.png,text.png,0.5", "line 3: .*text.png: not an image"),
        ("r.png,a.png,b.png", "line 3: 4 columns are wanted"),
        ("r.png,a.png,b.png,0.5,7", "line 3: 4 columns are wanted"),
    ],
)
def test_a_bad_row_is_named(folder, row, why):
    path = table(folder, f"reference,a,b,fraction\nr.png,a.png,b.png,0.25\n{row}\n")
    with pytest.raises(DataError, match=why):
        read_triplets(path)


def test_files_that_are_no_tables(folder):
    with pytest.raises(SettingError, match="does not exist"):
        read_triplets(folder / "none.csv")
    with pytest.raises(
        DataError, match="line 1: columns must be reference,a,b,fraction, got ref,x"
    ):
        read_triplets(table(folder, "ref,x\n"))
    with pytest.raises(DataError, match="has no rows"):
        read_triplets(table(folder, "reference,a,b,fraction\n"))
    with pytest.raises(DataError, match=r"columns must be reference,image,score\[,group\]"):
        read_opinions(table(folder, "reference,image\nr.png,a.png\n"))


def test_opinions(folder):
    found = read_opinions(
        table(folder, "reference,image,score,group\nr.png,a.png,71.5,jpeg\nr.png,b.png,3,\n")
    )
    assert [(o.score, o.group) for o in found] == [(71.5, "jpeg"), (3.0, "")]
    with pytest.raises(DataError, match="line 2: score must be a finite number, got 'good'"):
        read_opinions(table(folder, "reference,image,score\nr.png,a.png,good\n"))


def bapps(folder, judgement):
    for part, name in (("ref", "r"), ("p0", "a"), ("p1", "b")):
        write_atomically(
            folder / "set" / part / "000000.png", (folder / f"{name}.png").read_bytes()
        )
    (folder / "set" / "judge").mkdir()
    np.save(folder / "set" / "judge" / "000000.npy", judgement)
    return folder / "set"


def test_bapps_judges_prefer_p1(folder):
    (triplet,) = read_bapps(bapps(folder, np.float32([0.2])).parent)
    assert triplet.a.parent.name == "p0" and triplet.b.parent.name == "p1"
    assert triplet.fraction == pytest.approx(0.8)  # of a: the file holds the share of p1


def test_bad_bapps_is_named(folder):
    with pytest.raises(SettingError, match="holds no judge"):
        read_bapps(folder)
    root = bapps(folder, np.float32([1.2]))
    with pytest.raises(DataError, match="000000.npy: a judgement is one number"):
        read_bapps(root)
    np.save(root / "judge" / "000000.npy", np.float32([1]))
    (root / "p1" / "000000.png").unlink()
    with pytest.raises(DataError, match="there is no p1/000000 with it"):
        read_bapps(root)
