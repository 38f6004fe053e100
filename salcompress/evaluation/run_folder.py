"""The folder of one evaluation: what was measured, image by image, so that a killed run goes on.

run.json         data set, detector and their digests: the identity of the run
records/         one .jsonl a setting, a line an image, detections included
objects.json     the annotated objects of all images
pictures/        original and decoded pictures for the report, lossless, and the maps of the codec
results.jsonl    one RatePoint a line
summary.csv      the same for a spreadsheet
resamples.json   figures of the rows on resampled images, for intervals of their differences
skipped.json     why each image was left out that was
commands.txt     the command lines that measured, one a line
report.html      the page
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from salcompress.errors import DataError, SettingError
from salcompress.files import digest, read_file, write_atomically

_COMMANDS = "commands.txt"


class RunIdentity(NamedTuple):
    """What must be the same for results to stand in one folder."""

    dataset: str
    """Name of the data set."""
    dataset_fingerprint: str
    """Of its annotations and of the images asked for."""
    detector: str
    """Label of the detector."""
    detector_fingerprint: str
    """Of all that the detector was made from."""
    num_images: int | None = None
    """Images asked for; None in folders of older versions."""


def claim_folder(folder: Path, identity: RunIdentity) -> None:
    """Make a folder that of a run, or check that it is.

    Raises:
        SettingError: The folder holds the results of another run; the message says what differs.
        DataError: Its ``run.json`` is damaged.
        OutputError: It cannot be written.
    """
    path = folder / "run.json"
    if not path.exists():
        if (folder / "results.jsonl").exists():
            raise SettingError(
                f"{folder} holds results that no evaluation here made; choose another --out"
            )
        write_atomically(path, json.dumps(identity._asdict(), indent=1))
        return
    try:
        held = RunIdentity(**json.loads(read_file(path)))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged; delete {folder} and evaluate again") from error
    difference = _difference(held, identity)
    if difference is not None:
        raise SettingError(
            f"{folder} holds the results of another run: {difference}; choose another --out, or "
            "delete it"
        )


def note_command(folder: Path, command: str) -> None:
    """Note a command line that measured into the folder, for its report.

    Raises:
        OutputError: The note cannot be written.
    """
    lines = list(dict.fromkeys([*read_commands(folder), command]))
    write_atomically(folder / _COMMANDS, "".join(f"{line}\n" for line in lines))


def read_commands(folder: Path) -> list[str]:
    """The command lines that measured into the folder; none where no command did.

    Raises:
        DataError: They cannot be read.
    """
    path = folder / _COMMANDS
    return read_file(path).decode(errors="replace").splitlines() if path.exists() else []


def records_path(folder: Path, label: str, fingerprint: str) -> Path:
    """File of the records of a codec setting."""
    return folder / "records" / f"{_slug(label, fingerprint)}.jsonl"


def picture_path(
    folder: Path, image_id: int | str, label: str = "original", fingerprint: str = ""
) -> Path:
    """Where the picture of an image, original or decoded, is kept."""
    return folder / "pictures" / _image_folder(image_id) / f"{_slug(label, fingerprint)}.png"


def maps_path(folder: Path, image_id: int | str, label: str, fingerprint: str) -> Path:
    """Where the :class:`~salcompress.codecs.base.CodingMaps` of an image are kept, if its codec
    gives any.
    """
    return picture_path(folder, image_id, label, fingerprint).with_suffix(".npz")


def _difference(held: RunIdentity, now: RunIdentity) -> str | None:
    """What tells two runs apart, in words; None if nothing does."""
    for field, what in (("dataset", "data set"), ("detector", "detector")):
        then_value, now_value = getattr(held, field), getattr(now, field)
        if then_value != now_value:
            return f"{what} {then_value[:60]} then, {now_value[:60]} now"
    if None not in (held.num_images, now.num_images) and held.num_images != now.num_images:
        return f"{held.num_images} images then, {now.num_images} now"
    if held.dataset_fingerprint != now.dataset_fingerprint:
        return (
            f"the annotations of {now.dataset} have changed since, or other images were asked for"
        )
    if held.detector_fingerprint != now.detector_fingerprint:
        return f"the files or the weights of the detector {now.detector} have changed since"
    return None


def _image_folder(image_id: Any) -> str:
    """A folder name of an image: a whole number as it is. Text may hold anything, even a path."""
    if isinstance(image_id, int):
        return str(image_id)
    return _slug(str(image_id), f"{type(image_id).__name__} {image_id!a}")


def _slug(label: str, fingerprint: str) -> str:
    """A file name that tells its codec, unique by fingerprint."""
    readable = re.sub(r"[^A-Za-z0-9.=]+", "-", label)[:60]
    return f"{readable}-{digest(fingerprint)[:8]}" if fingerprint else readable
