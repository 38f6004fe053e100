"""The foot of a page: what made it, when, and its table as a file."""

import base64
import datetime
import html
from collections.abc import Sequence
from typing import NamedTuple

from salcompress import __version__
from salcompress.evaluation.rate_point import RatePoint, to_csv


class Provenance(NamedTuple):
    """Where the figures of a page come from."""

    date: datetime.date
    """When the page was made."""
    commands: tuple[str, ...] = ()
    """Command lines that measured; none where no command did."""


def foot_html(rows: Sequence[RatePoint], provenance: Provenance) -> str:
    """The foot; it holds the table of all rows as CSV, so that the page needs no file beside it."""
    table = base64.b64encode(to_csv(rows).encode("utf-8", "backslashreplace")).decode()
    link = f"<a download=summary.csv href='data:text/csv;base64,{table}'>summary.csv</a>"
    commands = "".join(f"<code>{html.escape(line)}</code>" for line in provenance.commands)
    by = f" by {commands}" if commands else ""
    date = f"{provenance.date.day} {provenance.date:%B %Y}"
    return (
        f"<footer><p>Made with salcompress {__version__} on {date}{by}</p>"
        f"<p>All rows with their intervals: {link}</p></footer>"
    )
