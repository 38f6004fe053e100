"""Records of an evaluation: one line of json for each image at a setting, appended whole."""

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from salcompress.errors import DataError, OutputError


class ImageRecord(NamedTuple):
    """What one codec setting did to one image. None was not measured."""

    image_id: int | str
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
    detector_pixels: int | None = None
    """Pixels that the detector saw after its own resize, padding not counted."""
    detections: list[dict[str, Any]] | None = None
    skipped: str | None = None
    """Why the image was left out, if it was; then nothing else was measured."""


class RecordFile:
    """Lines of :class:`ImageRecord`, each appended whole; a line cut short by a kill is dropped on
    opening.

    Attributes:
        done: Records by image id, without their detections, which can be many.
        gives_masks: Some detection of the file has a mask.

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
        self.gives_masks = False
        self.done: dict[int | str, ImageRecord] = {}
        whole = 0
        for record, end in _read_lines(path):
            self._note(record)
            whole = end
        if whole < path.stat().st_size:
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
        self._note(record)

    def _note(self, record: ImageRecord) -> None:
        self.gives_masks |= any("segmentation" in found for found in record.detections or ())
        self.done[record.image_id] = record._replace(detections=None)


def read_records(
    path: Path, image_ids: Collection[int | str] | None = None
) -> dict[int | str, ImageRecord]:
    """Records of a codec setting by image id.

    Args:
        path: The file.
        image_ids: Keep the detections of these images alone; of all if None.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        return {
            record.image_id: record
            if image_ids is None or record.image_id in image_ids
            else record._replace(detections=None)
            for record, _ in _read_lines(path)
        }
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; evaluate again") from error


def _read_lines(path: Path) -> Iterator[tuple[ImageRecord, int]]:
    """The records of a file, each with the length in bytes of the whole lines up to it."""
    whole = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # cut short by a kill
            try:
                record = ImageRecord(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise DataError(
                    f"{path}, line {number}: not a record of this version ({error}); choose "
                    "another --out, or delete the file to measure again"
                ) from error
            whole += len(line)
            yield record, whole
