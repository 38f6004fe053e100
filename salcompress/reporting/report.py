"""The page of a run folder, from what the folder holds."""

import datetime
import json
from pathlib import Path

from salcompress.errors import DataError, SettingError
from salcompress.evaluation.annotated_objects import read_objects
from salcompress.evaluation.rate_point import read_jsonl
from salcompress.evaluation.resamples import read_resamples
from salcompress.evaluation.run_folder import read_commands
from salcompress.files import read_file, write_atomically
from salcompress.reporting.foot import Provenance
from salcompress.reporting.html import render
from salcompress.reporting.losses import losses
from salcompress.reporting.seen import Seen, read_seen
from salcompress.reporting.viewer import load_viewer


def write_report(folder: Path) -> tuple[Path, dict[str, str]]:
    """Write the page of an evaluation's folder.

    Returns:
        The page's file, and why images were left out, by file name.

    Raises:
        SettingError: The folder holds no finished evaluation.
        DataError: A file of it is damaged.
        OutputError: The page cannot be written.
    """
    if not (folder / "results.jsonl").is_file():
        raise SettingError(
            f"{folder} holds no finished evaluation; make one with salcompress evaluate --out "
            f"{folder}"
        )
    rows = read_jsonl(folder / "results.jsonl")
    try:
        skipped = json.loads(read_file(folder / "skipped.json"))
    except ValueError as error:
        raise DataError(f"{folder / 'skipped.json'} is damaged; evaluate again") from error
    objects = read_objects(folder)
    seen = {} if objects is None else read_seen(folder, rows, objects)
    text = render(
        rows,
        skipped=skipped,
        resamples=read_resamples(folder),
        viewer=None if objects is None else load_viewer(folder, rows, seen, objects),
        losses=None if objects is None else losses(rows, seen, objects),
        pixels_per_image=_pixels_per_image(seen),
        provenance=Provenance(datetime.date.today(), tuple(read_commands(folder))),
    )
    page = folder / "report.html"
    write_atomically(page, text)
    return page, skipped


def _pixels_per_image(seen: Seen) -> float | None:
    """Mean over the images; None where none is known."""
    sizes = [i.record.height * i.record.width for i in next(iter(seen.values()), {}).values()]
    return sum(sizes) / len(sizes) if sizes else None
