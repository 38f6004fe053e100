"""The page's own files, put together: markup, styles and scripts, with Plotly among them."""

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

_FOLDER = Path(__file__).with_name("page")
_STYLES = ("base", "controls", "headline", "charts", "tables", "viewer")
_SCRIPTS = ("page", "theme", "charts", "tables", "finds", "stage", "viewer", "losses", "keyboard")
"""In the order in which they run."""


def assemble(head: str, body: str, foot: str, data: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        head: HTML that says what was measured.
        body: HTML of the sections.
        foot: HTML of the foot.
        data: What the scripts read, as json.

    Returns:
        Text that can be stored as UTF-8. A name of a file that is not UTF-8 is shown by its bytes.
    """
    parts = {
        "styles": "\n".join(_read(f"{name}.css") for name in _STYLES),
        "head": head,
        "body": body,
        "notes": _read("notes.html"),
        "foot": foot,
        # within a script nothing may look like its end
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "plotly": base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode(),
        "scripts": "\n".join(_read(f"{name}.js") for name in _SCRIPTS),
    }
    # the parts are put in at once, so that none of them is searched for places of others
    pieces = _read("page.html").split("{{")
    text = pieces[0]
    for piece in pieces[1:]:
        name, rest = piece.split("}}", 1)
        text += parts[name] + rest
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def place_for_script(name: str) -> str:
    """HTML that a script of the page fills."""
    return _read(f"{name}.html")


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
