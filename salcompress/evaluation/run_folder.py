"""The folder of one evaluation: what was measured, image by image, so that a killed run goes on.

run.json         data set, detector and their digests: the identity of the run
records/         one .jsonl a codec setting, a line an image, detections included
pictures/        original and decoded pictures for the report, lossless, and the learned codec's maps
results.jsonl    one RatePoint a line    summary.csv    report.html
"""

import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from salcompress.errors import DataError, OutputError, SettingError
from salcompress.files import digest, read_file, write_atomically


class RunIdentity(NamedTuple):
    """What must be the same for results to stand in one folder."""

    dataset: str
    dataset_fingerprint: str
    detector: str
    detector_fingerprint: str


class ImageRecord(NamedTuple):
    """What one codec setting did to one image. None was not measured."""

    image_id: int
    file_name: str
    """As in the annotations."""
    height: int
    width: int
    source_digest: str | None = None
    """Of the file that was measured."""
    num_bits: int | None = None
    psnr: float | None = None
    ms_ssim: float | None = None
    perceptual: float | None = None
    perceptual_weights: str | None = None
    """Fingerprint of the metric that measured it."""
    encode_s: float | None = None
    decode_s: float | None = None
    detect_s: float | None = None
    placed_bits: float | None = None
    """Bits of the stream whose place in the image the codec knows."""
    object_bits: float | None = None
    """Those of them on annotated objects."""
    object_pixels: int | None = None
    """Pixels on annotated objects."""
    detections: list[dict[str, Any]] | None = None
    skipped: str | None = None
    """Why the image was left out, if it was; then nothing else was measured."""


def claim_folder(folder: Path, identity: RunIdentity) -> None:
    """Make a folder that of a run, or check that it is.

    Raises:
        SettingError: The folder holds the results of another run.
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
    for field, ours, theirs in zip(RunIdentity._fields, identity, held):
        if ours != theirs:
            what = field.replace(
                "_fingerprint",
                "'s files, number of images or annotations" if "dataset" in field else "'s files",
            )
            raise SettingError(
                f"{folder} holds the results of another run ({what}: {theirs[:60]}, now "
                f"{ours[:60]}); "
                "choose another --out, or delete it"
            )


def records_path(folder: Path, label: str, fingerprint: str) -> Path:
    """File of the records of a codec setting."""
    return folder / "records" / f"{_slug(label, fingerprint)}.jsonl"


def picture_path(
    folder: Path, image_id: int, label: str = "original", fingerprint: str = ""
) -> Path:
    """Where the picture of an image, original or decoded, is kept."""
    return folder / "pictures" / str(image_id) / f"{_slug(label, fingerprint)}.png"


def maps_path(folder: Path, image_id: int, label: str, fingerprint: str) -> Path:
    """Where the :class:`~salcompress.codecs.base.CodingMaps` of an image are kept, if its codec
    gives any.
    """
    return picture_path(folder, image_id, label, fingerprint).with_suffix(".npz")


class RecordFile:
    """Lines of :class:`ImageRecord`, each appended whole; a line cut short by a kill is dropped on
    opening.

    Attributes:
        done: Records by image id, without their detections, which can be many.

    Raises:
        OutputError: The file cannot be written.
        DataError: A whole line is not a record: the file is damaged, or of another version.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = open(
                path, "ab", buffering=0
            )  # a record is on disk or is an error, never in between
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error
        self.done, whole = _read_records(path, with_detections=())
        if path.is_file() and whole < path.stat().st_size:
            os.truncate(path, whole)

    def __enter__(self) -> "RecordFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, record: ImageRecord) -> None:
        """Write one record; it is on disk, or the error says why not, when this returns.

        Raises:
            OutputError: The disk is full or the file cannot be written.
        """
        left = memoryview(
            json.dumps(
                {k: v for k, v in record._asdict().items() if v is not None}, allow_nan=False
            ).encode()
            + b"\n"
        )
        try:
            while left:  # a nearly full disk takes a part; the next call then says why not the rest
                left = left[self._file.write(left) :]
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}; make room and run the same command "
                "again: "
                "it goes on with the images that are left"
            ) from error
        self.done[record.image_id] = record._replace(detections=None)


def read_records(path: Path, image_ids: Collection[int] | None = None) -> dict[int, ImageRecord]:
    """Records of a codec setting, detections included, by image id.

    Args:
        image_ids: Read only these; all if None.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        return _read_records(path, image_ids)[0]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; evaluate again") from error


def _read_records(
    path: Path, with_detections: Collection[int] | None
) -> tuple[dict[int, ImageRecord], int]:
    """Records by image id, with the detections of all or of some, and the length in bytes of the
    whole lines.
    """
    records, whole = {}, 0
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break  # cut short by a kill
            try:
                record = ImageRecord(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise DataError(
                    f"{path}, line {len(records) + 1}: not a record of this version ({error}); "
                    "choose another --out, "
                    "or delete the file to measure again"
                ) from error
            keep = with_detections is None or record.image_id in with_detections
            records[record.image_id] = record if keep else record._replace(detections=None)
            whole += len(line)
    return records, whole


def _slug(label: str, fingerprint: str) -> str:
    """A file name that tells its codec, unique by fingerprint."""
    readable = re.sub(r"[^A-Za-z0-9.=]+", "-", label)[:60]
    return f"{readable}-{digest(fingerprint)[:8]}" if fingerprint else readable
