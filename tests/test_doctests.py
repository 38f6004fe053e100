"""Examples in docstrings run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import salcompress

MODULES = [module.name for module in pkgutil.walk_packages(salcompress.__path__, "salcompress.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name):
    if name.startswith(("salcompress.detectron", "salcompress.bench")):
        pytest.importorskip("detectron2")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.startswith("salcompress"):
            raise
        pytest.skip(f"needs {error.name}")
    assert doctest.testmod(module).failed == 0
