"""Which files a user means, and what each becomes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from salcompress.codecs.stream_files.inputs import InputFile, find_files, output_paths
from salcompress.codecs.stream_files.steering_maps import find_maps, read_map
from salcompress.errors import DataError, SettingError


@pytest.fixture
def tree(tmp_path):
    for name in ("a.jpg", "a.png", "b/a.JPG", "b/c.jpg", "b/.d.txt", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_files_of_a_folder_by_ending(tree):
    found = find_files([tree], {".jpg"})
    assert [str(file.below) for file in found.files] == ["a.jpg", "b/a.JPG", "b/c.jpg"]
    assert [path.name for path in found.passed_over] == ["a.png", "e.txt"]


def test_a_file_given_twice_is_taken_once_and_one_given_by_name_always(tree):
    found = find_files([tree / "e.txt", tree, tree / "b", tree / "a.jpg"], {".jpg"})
    assert [file.path.name for file in found.files] == ["e.txt", "a.jpg", "a.JPG", "c.jpg"]


def test_what_is_not_there_is_named(tree):
    with pytest.raises(SettingError, match="nowhere does not exist; give files, or folders"):
        find_files([tree, tree / "nowhere"], {".jpg"})
    with pytest.raises(SettingError, match=r"holds no file whose name ends in \.salc"):
        find_files([tree], {".salc"})


def outputs(names, **options):
    files = [InputFile(Path("in") / name, Path(name)) for name in names]
    return [str(path) for path in output_paths(files, Path("out"), ".salc", **options)]


def test_a_stream_is_named_after_its_picture():
    assert outputs(["a.jpg", "b/c.d.png"]) == ["out/a.salc", "out/c.d.salc"]
    assert outputs(["a.jpg", "b/a.png"], keep_tree=True) == ["out/a.salc", "out/b/a.salc"]
    assert outputs(["a.jpg", "a.png", "b.jpg"]) == [
        "out/a.jpg.salc",
        "out/a.png.salc",
        "out/b.salc",
    ]


def test_no_stream_is_that_of_two_pictures():
    with pytest.raises(SettingError, match=r"a\.jpg.* would both become a\.jpg\.salc; keep their"):
        outputs(["a.jpg", "b/a.jpg"])
    with pytest.raises(SettingError, match=r"become a\.jpg\.salc; write them into two folders"):
        outputs(["a.jpg", "a.png", "a.jpg.png"], keep_tree=True)


def test_maps_are_found_by_stem(tmp_path):
    for name in ("in/a.png", "in/b/c.png", "in/b/d.png", "maps/a.tif", "maps/b/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(tmp_path / name), np.full((4, 6), 51, np.uint8))
    cv2.imwrite(str(tmp_path / "maps" / "d.png"), np.zeros((4, 6), np.uint8))
    files = find_files([tmp_path / "in"], {".png"}).files
    maps = find_maps(files, tmp_path / "maps")
    below = [str(path.relative_to(tmp_path / "maps")) for path in maps]
    assert below == ["a.tif", "b/c.png", "d.png"]
    saliency = read_map(maps[1])
    assert saliency.shape == (4, 6) and saliency.dtype == np.float32
    assert np.allclose(saliency, 0.2)
    cv2.imwrite(str(tmp_path / "maps" / "a.png"), np.zeros((4, 6), np.uint8))
    with pytest.raises(SettingError, match="has several maps, .*leave one of them"):
        find_maps(files, tmp_path / "maps")


def test_a_map_in_colours_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.eye(3, dtype=np.uint8)[None])
    with pytest.raises(DataError, match="a.png is not grey; save it as 8-bit grey"):
        read_map(tmp_path / "a.png")
