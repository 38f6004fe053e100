"""Codec x setting x detector x data set -> RatePoint rows, image by image, resumable."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from salcompress.codecs import Codec, with_cache
from salcompress.data.coco import CocoDataset, CocoImage
from salcompress.detectors import Detector
from salcompress.errors import SettingError
from salcompress.evaluation.annotated_objects import write_objects
from salcompress.evaluation.kept_pictures import keep_decoded, keep_originals
from salcompress.evaluation.measurement import Conditions, ImageTask, Measure, measure_here
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.records import ImageRecord, RecordFile
from salcompress.evaluation.results import SourceDigests, earlier_settings, write_results
from salcompress.evaluation.run_folder import RunIdentity, claim_folder, records_path
from salcompress.files import exclusive_folder

_HELD_PIXELS = 2**23
"""Decoded pixels of one image that are held at a time. A large image is coded in several turns."""


def evaluate(
    dataset: CocoDataset,
    detector: Detector,
    codecs: Sequence[Codec],
    out: Path | str,
    *,
    cache: Path | str | None = None,
    cache_bytes: int | None = None,
    workers: int = 0,
    skip_bad: bool = False,
    show_progress: bool = False,
    with_perceptual: bool = True,
    measure: Measure | None = None,
) -> list[RatePoint]:
    """Measure what each codec costs the detector, in bits and in average precision.

    It goes image by image: each is read once, and coded at every setting. Results are kept image by
    image, too: killed at any moment and called again with the same arguments, it goes on with the
    images that are left and ends with the same rows. Codecs may be added to a finished folder; its
    files hold all rows, and all rows stand on the same images.

    Args:
        dataset: Images and annotations.
        detector: See :class:`~salcompress.detectors.base.Detector`; its label stands in the rows.
        codecs: One codec a setting.
        out: Folder of the results; see :mod:`salcompress.evaluation.run_folder`.
        cache: Folder of a :class:`~salcompress.codecs.CachedCodec`; ``cache_bytes`` bounds it.
        cache_bytes: Largest size of the cache; None sets no bound.
        workers: Processes that read, encode, decode and measure while this one detects; 0 does all
            in this process.
        skip_bad: Leave out images that cannot be read or coded, and say so, instead of stopping. An
            image that one setting cannot code is left out of all rows.
        show_progress: Draw a progress bar on stderr.
        with_perceptual: Measure the learned metric, too: some 0.04 s of a core for an image of
            640x480 at a setting.
        measure: Measures in place of this machine, ``workers`` and ``detector``, such as
            :func:`salcompress.distributed.evaluate.measure_on_ray`.

    Returns:
        A row for each codec, in order; also written to ``results.jsonl`` and ``summary.csv``.

    Raises:
        SettingError: ``out`` cannot be used, or holds another run; the detector has no label or no
            fingerprint; or a codec cannot be sent to ``workers``.
        DataError: An image is damaged (without ``skip_bad``), or the detector's results are not
            COCO results.
        OutputError: The disk is full.
    """
    if not codecs:
        raise SettingError("no codec given")
    identity = _identity(dataset, detector)
    # two codecs with one fingerprint make the same streams, so one of them stands for both
    distinct = list({codec.fingerprint: codec for codec in codecs}.values())
    distinct = [with_cache(codec, cache, cache_bytes) for codec in distinct]
    digests = SourceDigests()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(exclusive_folder(out))
        claim_folder(folder, identity)
        write_objects(folder, dataset)
        pictured = keep_originals(folder, dataset)
        files = [
            stack.enter_context(RecordFile(records_path(folder, codec.label, codec.fingerprint)))
            for codec in distinct
        ]
        earlier = earlier_settings(folder, dataset, distinct, digests)
        left = _settings_left(dataset, files, digests, skip_bad, with_perceptual)
        tasks = [
            ImageTask(image, _objects(dataset, image), part, image.image_id in pictured)
            for image, settings in left
            for part in _in_turns(image, settings)
        ]
        total = len(dataset.images) * len(distinct)
        num_left = sum(len(task.settings) for task in tasks)
        progress = stack.enter_context(
            tqdm(
                total=total,
                initial=total - num_left,
                unit="image",
                disable=not show_progress,
                smoothing=0.05,
            )
        )
        conditions = Conditions(distinct, skip_bad, with_perceptual)
        results = stack.enter_context(
            measure_here(conditions, tasks, detector, workers)
            if measure is None
            else measure(conditions, tasks)
        )
        for task, measured in results:
            for k, (record, picture) in zip(task.settings, measured, strict=True):
                if picture is not None:
                    keep_decoded(folder, task.image, distinct[k], picture)
                files[k].append(record)
                progress.update()
        rows = write_results(folder, dataset, distinct, files, identity, digests, earlier)
    by_fingerprint = {row.fingerprint: row for row in rows}
    return [by_fingerprint[codec.fingerprint] for codec in codecs]


def _identity(dataset: CocoDataset, detector: Detector) -> RunIdentity:
    names = [getattr(detector, name, None) for name in ("label", "fingerprint")]
    label, fingerprint = (name if isinstance(name, str) else None for name in names)
    if label is None or fingerprint is None:
        raise SettingError(
            "detector must have a label and a fingerprint, both text, since they name it in the "
            f"results; got {type(detector).__name__} with label {names[0]!r} and fingerprint "
            f"{names[1]!r}: set both on the object, or load it with load_detector"
        )
    num_images = len(dataset.images) + len(dataset.skipped)
    return RunIdentity(dataset.name, dataset.fingerprint, label, fingerprint, num_images)


def _objects(dataset: CocoDataset, image: CocoImage) -> list[dict[str, Any]]:
    return dataset.coco.loadAnns(dataset.coco.getAnnIds(imgIds=[image.image_id]))


def _in_turns(image: CocoImage, settings: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The settings in parts whose decoded pictures may be held together."""
    at_once = max(1, _HELD_PIXELS // (image.height * image.width))
    for start in range(0, len(settings), at_once):
        yield settings[start : start + at_once]


def _settings_left(
    dataset: CocoDataset,
    files: Sequence[RecordFile],
    digests: SourceDigests,
    skip_bad: bool,
    with_perceptual: bool,
) -> list[tuple[CocoImage, tuple[int, ...]]]:
    """For each image the settings without a record of its present content; skipped ones too, unless
    skipping is still wanted.
    """
    from salcompress.metrics.perceptual import shipped_fingerprint

    metric = shipped_fingerprint()

    def is_done(image: CocoImage, record: ImageRecord | None) -> bool:
        if record is None or (record.skipped and not skip_bad):
            return False
        # what another version of the metric measured cannot stand beside this one's distances
        measured = record.skipped or not with_perceptual or record.perceptual_weights == metric
        return bool(measured) and record.source_digest == digests.of(image.path)

    left = []
    for image in dataset.images:
        settings = tuple(
            k for k, file in enumerate(files) if not is_done(image, file.done.get(image.image_id))
        )
        if settings:
            left.append((image, settings))
    return left
