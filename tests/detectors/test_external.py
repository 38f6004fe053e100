"""A stranger's file is a detector of its own: it sees its neighbours, and nobody else does."""

import importlib
import sys
import threading

import numpy as np
import pytest

from salcompress.detectors import load_detector
from salcompress.detectors.base import input_size_of
from salcompress.detectors.external import load_external
from salcompress.errors import DataError, SettingError

IMAGE = np.zeros((8, 9, 3), np.uint8)


def write(folder, **sources):
    """Files of Python code; gives the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder / f"{next(iter(sources))}.py"


def load(path, factory="build"):
    return load_detector(f"{path}:{factory}", (1,))


def test_a_detector_has_label_and_fingerprint(tmp_path, picture):
    path = write(
        tmp_path,
        mine="def build():\n    return lambda image: [{'category_id': 1, 'bbox': [0, 0, "
        "*image.shape[1::-1]], 'score': 1.0}]\n",
    )
    detector = load(path)
    assert detector(picture)[0]["bbox"] == [0, 0, 251, 203]
    assert detector.label == f"{path}:build" and len(detector.fingerprint) == 64


def test_a_file_may_hold_dataclasses(tmp_path):
    path = write(
        tmp_path,
        mine="""
from __future__ import annotations
from dataclasses import dataclass
from a_neighbour_of_mine import SCORE
@dataclass
class Found:
    score: float
def build():
    return lambda image: Found(SCORE).score
""",
        a_neighbour_of_mine="SCORE = 0.25",
    )
    assert load(path)(IMAGE) == 0.25


def test_it_may_say_what_size_it_sees(tmp_path):
    silent = write(tmp_path, mine="def build():\n    return lambda image: []\n")
    assert input_size_of(load(silent), 480, 640) is None
    text = """
class Detector:
    def __call__(self, image):
        return []
    def input_size(self, height, width):
        return RESULT
def build():
    return Detector()
"""
    for k, (result, size) in enumerate((("2 * height, 800", (960, 800)), ("None", None))):
        path = write(tmp_path / str(k), sized=text.replace("RESULT", result))
        assert input_size_of(load(path), 480, 640) == size
    for k, wrong in enumerate(("0, 4", "7", "(1.5, 2)", "(1, 2, 3)", "image")):
        path = write(tmp_path / f"wrong{k}", sized=text.replace("RESULT", wrong))
        with pytest.raises(DataError, match=r"input_size\(480, 640\) of the detector must give"):
            input_size_of(load(path), 480, 640)


USE = "import helper\ndef build():\n    return lambda image: helper.NAME\n"
USE_BY_NAME = """
import importlib
def build():
    return lambda image: importlib.import_module("helper").NAME
"""
USE_LATE = """
def build():
    def detect(image):
        import helper
        return helper.NAME
    return detect
"""


@pytest.mark.parametrize("use", [USE, USE_LATE, USE_BY_NAME, f"from parts import deep\n{USE_LATE}"])
def test_each_detector_has_its_own_helper(tmp_path, use):
    parts = {"parts__deep": "from helper import NAME", "parts____init__": ""}
    paths = [
        write(tmp_path / name, mine=use, helper=f"NAME = {name!r}", **parts)
        for name in ("first", "second")
    ]
    detectors = [load(path) for path in paths]
    assert [d(IMAGE) for d in detectors * 2] == ["first", "second"] * 2


def test_a_helper_that_is_loaded_already_is_not_taken_for_its_own(tmp_path, monkeypatch):
    write(tmp_path / "other", helper="NAME = 'other'")
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    other = importlib.import_module("helper")
    try:
        path = write(tmp_path / "mine", mine=USE_LATE, helper="NAME = 'mine'")
        assert load(path)(IMAGE) == "mine"
        assert sys.modules["helper"] is other
    finally:
        del sys.modules["helper"]


def test_path_and_modules_are_left_as_they_were(tmp_path):
    """But for the file's own module, whose name no other has: pickle looks it up."""
    path = write(
        tmp_path / "code",
        mine=f"import sys\nsys.path.append({str(tmp_path / 'more')!r})\n"
        f"import helper, far, parts.deep\n{USE_LATE}",
        helper="import far as NAME",
        parts__deep="",
    )
    write(tmp_path / "more", far="from further import DISTANCE", further="DISTANCE = 2")
    before, paths, finders = set(sys.modules), sys.path[:], sys.meta_path[:]
    detector = load(path)
    assert detector(IMAGE).DISTANCE == 2
    assert all(name.startswith("salcompress_external_mine_") for name in set(sys.modules) - before)
    assert (sys.path, sys.meta_path) == (paths, finders)
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_file_that_fails_leaves_nothing_either(tmp_path):
    path = write(tmp_path, mine="import helper\nraise OSError", helper="")
    before, paths, finders = set(sys.modules), sys.path[:], sys.meta_path[:]
    with pytest.raises(DataError, match="cannot be imported: OSError"):
        load(path)
    assert (set(sys.modules), sys.path, sys.meta_path) == (before, paths, finders)


def test_an_installed_package_stays_what_it_is(tmp_path):
    """A plain folder beside the file, say of data, is no package where one is installed."""
    (tmp_path / "safetensors").mkdir()
    path = write(
        tmp_path, mine="import safetensors.torch, json\ndef build():\n    return json.dumps"
    )
    (tmp_path / "json.py").write_text("raise OSError('this is no neighbour: it is Python itself')")
    import safetensors.torch

    assert load(path)([1]) == "[1]" and sys.modules["safetensors.torch"] is safetensors.torch


def test_a_package_that_everybody_can_import_is_imported_once(tmp_path, monkeypatch):
    """A detector in the checkout of an installed library: its classes must not be there twice."""
    path = write(
        tmp_path,
        mine="import library_of_all.part as part\ndef build():\n    return lambda image: part\n",
        library_of_all__part="X = 1",
        library_of_all____init__="",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    detector = load(path)
    try:
        assert importlib.import_module("library_of_all.part") is detector(IMAGE)
        (tmp_path / "library_of_all" / "part.py").write_text("X = 22")
        del sys.modules["library_of_all.part"]
        assert load(path).fingerprint != detector.fingerprint
    finally:
        for name in ("library_of_all", "library_of_all.part"):
            sys.modules.pop(name, None)


def test_a_factory_may_import_by_name_and_unpickle(tmp_path):
    path = write(
        tmp_path,
        mine="import importlib, pickle\n"
        "def build():\n"
        "    value = importlib.import_module('helper').Box()\n"
        "    copy = pickle.loads(pickle.dumps(value))\n"
        "    return lambda image: type(copy).__name__\n",
        helper="class Box:\n    pass",
    )
    assert load(path)(IMAGE) == "Box"


def test_late_imports_of_two_detectors_in_threads(tmp_path):
    detectors = [
        load(write(tmp_path / name, mine=USE_LATE, helper=f"NAME = {name!r}"))
        for name in ("first", "second")
    ]
    found = {"first": set(), "second": set()}

    def work(detector, name):
        for _ in range(100):
            found[name].add(detector(IMAGE))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(detectors, found)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"first": {"first"}, "second": {"second"}}


def test_what_is_no_detector_is_given_as_it_is(tmp_path):
    path = write(tmp_path, model="import torch\ndef build_model():\n    return torch.nn.ReLU()")
    import torch

    assert isinstance(load_external(str(path), "build_model"), torch.nn.ReLU)


@pytest.mark.parametrize(
    "text, error, message",
    [
        ("def make():\n    pass", SettingError, "has no function 'build'; it has make"),
        ("import nothing_such", DataError, "cannot be imported: ModuleNotFoundError"),
        ("def build(:", DataError, "cannot be imported: SyntaxError"),
        ("def build():\n    return 3", SettingError, "must return a callable, got int"),
        ("def build():\n    raise OSError('no model')", DataError, "failed: OSError: no model"),
    ],
)
def test_broken_external_detectors_are_named(tmp_path, text, error, message):
    path = write(tmp_path, mine=text)
    with pytest.raises(error, match=rf"mine.py.*{message}"):
        load(path)


def test_a_file_without_a_factory_says_what_to_write(tmp_path):
    path = write(tmp_path, mine="def build():\n    pass\nclass Other:\n    pass\n")
    with pytest.raises(SettingError, match=r"mine.py:FUNCTION, .*; it has build, Other"):
        load_detector(str(path), (1,))
    with pytest.raises(SettingError, match=r"names no function; write .*no.py:FUNCTION"):
        load_detector(str(tmp_path / "no.py"), (1,))


FILES = """
from pathlib import Path
import helper
TABLE = Path(__file__).parent / "table.txt"
class Detector:
    def __init__(self):
        self.path = "{folder}/attribute.txt"
        self.words = {{"a": ["{folder}/" + "word.txt"]}}
    def __call__(self, image):
        return open("constant.txt").read()
def build(default="{folder}/" + "default.txt"):
    return Detector()
"""
NAMED = ("table", "attribute", "word", "constant", "default")


def make_named_files(folder):
    path = write(folder, mine=FILES.format(folder=folder), helper="VALUE = 1")
    for name in NAMED:
        (folder / f"{name}.txt").write_text(f"content of {name}")
    return path


@pytest.mark.parametrize("name", [*(f"{name}.txt" for name in NAMED), "mine.py", "helper.py"])
def test_a_fingerprint_is_of_the_files_that_are_imported_and_named(tmp_path, name):
    path = make_named_files(tmp_path)
    before = load(path).fingerprint
    assert load(path).fingerprint == before
    (tmp_path / "unrelated.txt").write_text("any")
    assert load(path).fingerprint == before
    (tmp_path / name).write_text((tmp_path / name).read_text() + "\n")
    assert load(path).fingerprint != before


def test_a_fingerprint_is_not_of_the_path(tmp_path):
    sources = {
        "mine": "import helper\nW = __file__[:-7] + 'w.bin'\ndef build():\n    return len\n",
        "helper": "VALUE = 1",
    }
    paths = [write(tmp_path / name, **sources) for name in ("here", "there")]
    for path in paths:
        path.with_name("w.bin").write_bytes(b"weights")
    first, second = map(load, paths)
    assert first.fingerprint == second.fingerprint
    paths[1].with_name("w.bin").write_bytes(b"others")
    assert load(paths[1]).fingerprint != first.fingerprint


def test_a_fingerprint_is_of_the_weights_of_its_networks(tmp_path):
    path = write(
        tmp_path,
        mine="import torch\n"
        "def build():\n"
        "    torch.manual_seed(SEED)\n"
        "    network = torch.nn.Linear(2, 2)\n"
        "    return lambda image: network\n"
        "import os\nSEED = int(os.environ['SEED'])\n",
    )
    with pytest.MonkeyPatch.context() as patch:
        prints = []
        for seed in ("1", "1", "2"):
            patch.setenv("SEED", seed)
            prints.append(load(path).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_a_detector_may_say_its_own_fingerprint(tmp_path):
    text = "class D:\n    fingerprint = open({0!r}).read()\n    __call__ = print\nbuild = D\n"
    path = write(tmp_path, mine=text.format(str(tmp_path / "version.log")))
    (tmp_path / "version.log").write_text("1")
    first = load(path).fingerprint
    (tmp_path / "version.log").write_text("2")
    assert load(path).fingerprint != first
