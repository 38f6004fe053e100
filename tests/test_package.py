"""The package is cheap to import, says what it has, and leaves its process fit for others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import salcompress


def run_python(code: str, **environment: str) -> str:
    """What a Python process of its own prints."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT",)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_import_loads_no_library_that_takes_long():
    code = "import sys, salcompress; print(*sys.modules)"
    assert not {"torch", "cv2", "scipy", "numpy", "PIL"} & set(run_python(code).split())


def test_each_public_name_can_be_imported_and_is_listed():
    for name in salcompress.__all__:
        assert getattr(salcompress, name) is not None
        assert name in dir(salcompress)
    namespace: dict = {}
    exec("from salcompress import *", namespace)
    assert set(salcompress.__all__) <= set(namespace)
    assert namespace["load_codec"] is salcompress.codecs.load_codec


def test_rooms_that_come_with_the_codecs_need_no_import_of_their_own():
    code = "import salcompress; print(salcompress.image.PLACE, salcompress.errors.DataError)"
    assert run_python(code) == "16 <class 'salcompress.errors.DataError'>"


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="'salcompress' has no attribute 'load_codex'"):
        _ = salcompress.load_codex


def test_type_checkers_find_the_types():
    """PEP 561: without the marker a type checker ignores the package's annotations."""
    folder = Path(salcompress.__file__).parent
    assert (folder / "py.typed").is_file()
    assert '"py.typed"' in (folder.parent / "setup.py").read_text()


SAY_SPIN_COUNT = "import os, salcompress; print(os.environ.get('GOMP_SPINCOUNT'))"


def test_importing_has_idle_threads_sleep_unless_the_user_says_how_they_wait():
    assert run_python(SAY_SPIN_COUNT) == "1000"
    assert run_python(SAY_SPIN_COUNT, GOMP_SPINCOUNT="7") == "7"
    assert run_python(SAY_SPIN_COUNT, OMP_WAIT_POLICY="active") == "None"


def test_openmp_has_read_the_spin_count():
    """It shows its settings when it is loaded, which is the moment at which it reads them."""
    code = "import salcompress, torch"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
        | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    if "GOMP_SPINCOUNT" not in run.stderr:
        pytest.skip("this torch brings another OpenMP than GNU's")
    assert "GOMP_SPINCOUNT = '1000'" in run.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system with fork")
def test_a_fork_pool_codes_after_its_parent_has_coded():
    """Two threads, so that OpenMP has threads that a fork loses. The pool once waited for ever;
    the timeout is for that alone.
    """
    code = """
import multiprocessing
import numpy as np
from salcompress import load_codec
codec = load_codec("salient:q=0.3,device=cpu")
image = np.random.default_rng(0).integers(0, 256, (130, 200, 3), dtype=np.uint8)
expected = codec.encode(image)
with multiprocessing.get_context("fork").Pool(2) as pool:
    streams = pool.map_async(codec.encode, [image, image]).get(timeout=600)
    images = pool.map_async(codec.decode, streams).get(timeout=600)
print(streams == [expected] * 2, [i.shape for i in images])
"""
    assert run_python(code, OMP_NUM_THREADS="2") == "True [(130, 200, 3), (130, 200, 3)]"


def test_rooms_import_without_modules_that_only_unix_has():
    code = """
import sys
sys.modules["fcntl"] = sys.modules["resource"] = None  # as on Windows: importing them fails
import salcompress.codecs, salcompress.files, salcompress.process
print(salcompress.load_codec("jpeg:q=30").label)
"""
    assert run_python(code) == "jpeg:q=30,subsampling=420"
