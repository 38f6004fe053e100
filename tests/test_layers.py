"""Imports point downwards, siblings never; Detectron2 stays in its package."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "salcompress"
LAYERS = (
    {"errors"},
    {"files", "spec", "process"},
    {"image", "workers"},
    {"bitstream"},
    {"models", "data"},
    {"saliency", "metrics"},
    {"codecs", "detectors"},
    {"evaluation"},
    {"reporting"},
    {"training"},  # prints tables
    {"detectron", "distributed"},
    {"bench"},
    {"reproduction"},
    {"cli"},
    {"__main__"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imported_modules(path: Path) -> set[str]:
    """Full names of all modules that a file imports, late imports too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "salcompress"
                else {node.module}
            )
    return names


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_point_downwards(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imported_modules(path):
        parts = name.split(".")
        if parts[0] == "detectron2":
            assert room in ("detectron", "bench"), f"{path} imports {name}"
        if parts[0] == "ray":
            assert room == "distributed", f"{path} imports {name}"
        if parts[0] != "salcompress" or room == "__init__" or parts[1] in (room, "__version__"):
            continue
        assert RANK[parts[1]] < RANK[room], f"{room} imports {name}, which is not below it"
        assert parts[1] != "detectron" or room in ("bench", "cli"), f"{path} imports {name}"


def test_plain_import_needs_neither_torch_nor_detectron2():
    import subprocess
    import sys

    code = "import sys, salcompress; assert not {'torch', 'detectron2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
