"""The result files of a run folder: rows of all its settings on the same images, and what was left
out.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from salcompress.codecs.base import Codec
from salcompress.data.coco import CocoDataset
from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import RatePoint, read_jsonl, to_csv, to_jsonl
from salcompress.evaluation.records import ImageRecord, RecordFile, read_records
from salcompress.evaluation.resamples import read_resamples, write_resamples
from salcompress.evaluation.run_folder import RunIdentity, records_path
from salcompress.evaluation.statistics import summarize
from salcompress.files import digest, write_atomically
from salcompress.metrics.average_precision import has_masks


class SettingRecords(NamedTuple):
    """A codec setting of which the folder has records."""

    name: str
    setting: str
    fingerprint: str
    path: Path
    """File of its records."""
    records: Mapping[int | str, ImageRecord]
    """Its records by image id, without detections."""
    row: RatePoint | None
    """Its row, if it was measured before this run and not in it."""

    @property
    def label(self) -> str:
        return f"{self.name}:{self.setting}" if self.setting else self.name


class SourceDigests:
    """Digests of image files as they are now, each read once."""

    def __init__(self) -> None:
        self._known: dict[Path, str | None] = {}

    def of(self, path: Path) -> str | None:
        """The digest that a record of the file's present content has; None if it cannot be read."""
        if path not in self._known:
            try:
                self._known[path] = digest(path.read_bytes())[:16]
            except OSError:  # missing, or gone since the data set was opened
                self._known[path] = None
        return self._known[path]


def write_results(
    folder: Path,
    dataset: CocoDataset,
    codecs: Sequence[Codec],
    files: Sequence[RecordFile],
    identity: RunIdentity,
    digests: SourceDigests,
    earlier: Mapping[str, SettingRecords],
) -> list[RatePoint]:
    """Write the rows of these settings, among those of settings that the folder had before.

    All rows stand on the same images: one that any setting of the folder had to skip counts for
    none. They have a mask AP if the detector gave a mask at any setting. So the order in which
    settings were measured changes nothing.

    Args:
        folder: The run folder.
        dataset: Images and annotations.
        codecs: The settings of this run, all measured.
        files: Their records.
        identity: Of the run.
        digests: Of the image files.
        earlier: Settings that the folder had before, see :func:`earlier_settings`.

    Returns:
        The rows of ``codecs``, in order.

    Raises:
        DataError: No image is left, or records are missing or damaged.
        OutputError: A file cannot be written.
    """
    settings = _settings(folder, codecs, files, earlier)
    current = _is_current(dataset, digests)
    left_out = {
        image_id
        for setting in settings.values()
        for image_id, record in setting.records.items()
        if record.skipped and current(record)
    }
    gives_masks = any(file.gives_masks for file in files) or any(
        setting.row is not None and setting.row.mask is not None for setting in settings.values()
    )
    counted = {image.image_id for image in dataset.images} - left_out
    lacks_masks = gives_masks and has_masks(dataset.coco)
    rows, resamples = {}, dict(read_resamples(folder))
    for fingerprint, setting in settings.items():
        measured = sum(i in counted and not r.skipped for i, r in setting.records.items())
        row = setting.row
        stands = row is not None and not left_out and row.num_images == measured
        if row is None or not stands or (lacks_masks and row.mask is None):
            row, resampled = summarize(
                dataset, read_records(setting.path), setting, identity, gives_masks, left_out
            )
            resamples[fingerprint] = {name: v.tolist() for name, v in resampled.items()}
        rows[fingerprint] = row
    reasons = _reasons(dataset, list(settings.values()))
    write_atomically(folder / "skipped.json", json.dumps(reasons, indent=1))
    write_resamples(folder, {fingerprint: resamples.get(fingerprint, {}) for fingerprint in rows})
    write_atomically(folder / "summary.csv", to_csv(list(rows.values())))
    write_atomically(folder / "results.jsonl", to_jsonl(rows.values()))
    return [rows[codec.fingerprint] for codec in codecs]


def earlier_settings(
    folder: Path, dataset: CocoDataset, codecs: Sequence[Codec], digests: SourceDigests
) -> dict[str, SettingRecords]:
    """Settings of the folder that this run does not measure, by fingerprint.

    Args:
        codecs: The settings of this run.

    Raises:
        SettingError: An image has changed since one of them was measured, so that its row could not
            stand beside those of this run.
    """
    path, now = folder / "results.jsonl", {codec.fingerprint for codec in codecs}
    current, found = _is_current(dataset, digests), {}
    images = {image.image_id for image in dataset.images}
    for row in read_jsonl(path) if path.exists() else []:
        if row.fingerprint in now:
            continue
        file = records_path(folder, row.label, row.fingerprint)
        setting = SettingRecords(
            row.codec, row.setting, row.fingerprint, file, read_records(file, ()), row
        )
        for record in setting.records.values():
            if record.image_id in images and not record.skipped and not current(record):
                raise SettingError(
                    f"{record.file_name} has changed since {row.label} was measured in {folder}; "
                    f"measure it again by giving --codec {row.label}, too, or choose another folder"
                )
        found[row.fingerprint] = setting
    return found


def _settings(
    folder: Path,
    codecs: Sequence[Codec],
    files: Sequence[RecordFile],
    earlier: Mapping[str, SettingRecords],
) -> dict[str, SettingRecords]:
    """All settings of the folder by fingerprint; those measured before keep their places."""
    path = folder / "results.jsonl"
    measured = {codec.fingerprint: _measured_now(codec, file) for codec, file in zip(codecs, files)}
    order = [row.fingerprint for row in read_jsonl(path)] if path.exists() else []
    return {
        fingerprint: measured.get(fingerprint) or earlier[fingerprint]
        for fingerprint in dict.fromkeys([*order, *measured])
    }


def _measured_now(codec: Codec, file: RecordFile) -> SettingRecords:
    return SettingRecords(codec.name, codec.setting, codec.fingerprint, file.path, file.done, None)


def _is_current(dataset: CocoDataset, digests: SourceDigests) -> Callable[[ImageRecord], bool]:
    """Whether a record is of what its image holds now."""
    paths = {image.image_id: image.path for image in dataset.images}
    return lambda record: (
        record.image_id in paths and digests.of(paths[record.image_id]) == record.source_digest
    )


def _reasons(dataset: CocoDataset, settings: Sequence[SettingRecords]) -> dict[str, str]:
    """Why images were left out, by file name; the settings are named where it was not at all."""
    skipped: dict[str, dict[str, list[str]]] = {
        name: {why: []} for name, why in dataset.skipped.items()
    }
    for setting in settings:
        for record in setting.records.values():
            if record.skipped:
                reasons = skipped.setdefault(record.file_name, {})
                reasons.setdefault(record.skipped, []).append(setting.label)
    return {
        name: "; ".join(
            why + (f" ({', '.join(labels)})" if 0 < len(labels) < len(settings) else "")
            for why, labels in found.items()
        )
        for name, found in skipped.items()
    }
