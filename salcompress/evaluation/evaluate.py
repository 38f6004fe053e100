"""Codec x setting x detector x data set -> RatePoint rows, image by image, resumable."""

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from salcompress.codecs import Codec, with_cache
from salcompress.data.coco import SKIP_CURE, CocoDataset, CocoImage
from salcompress.data.object_mask import object_mask
from salcompress.errors import DataError, SettingError
from salcompress.evaluation.rate_point import RatePoint, read_jsonl, to_csv, to_jsonl
from salcompress.evaluation.round_trip import CodedImage, coded_images
from salcompress.evaluation.run_folder import (
    ImageRecord,
    RecordFile,
    RunIdentity,
    claim_folder,
    maps_path,
    picture_path,
    read_records,
    records_path,
)
from salcompress.files import digest, exclusive_folder, write_atomically
from salcompress.image import PLACE, encode_image, read_image
from salcompress.metrics.average_precision import (
    average_precision,
    bootstrap_average_precision,
    has_masks,
)
from salcompress.metrics.object_share import bits_on_mask

NUM_RESAMPLES = 200
"""Resamples of the images behind each 95 % interval; fixed seed."""
NUM_PICTURES = 3
"""Images whose pictures are kept for the report."""


def evaluate(
    dataset: CocoDataset,
    detector: Callable[[np.ndarray], list[dict[str, Any]]],
    detector_name: str,
    detector_fingerprint: str,
    codecs: Sequence[Codec],
    out: Path | str,
    *,
    cache: Path | str | None = None,
    cache_bytes: int | None = None,
    workers: int = 0,
    skip_bad: bool = False,
    show_progress: bool = False,
    with_perceptual: bool = True,
) -> list[RatePoint]:
    """Measure what each codec costs the detector, in bits and in average precision.

    Results are kept image by image: killed at any moment and called again with the same arguments,
    it goes on with the images that are left and ends with the same rows. Codecs may be added to a
    finished folder; its files hold all rows.

    Args:
        detector_name: As it stands in the rows.
        detector_fingerprint: Changes when the detector does; see
            ``salcompress.detectors.detector_fingerprint``.
        out: Folder of the results; see :mod:`salcompress.evaluation.run_folder`.
        cache: Folder of a :class:`~salcompress.codecs.CachedCodec`; ``cache_bytes`` bounds it.
        workers: Processes that read, encode, decode and measure while this one detects; 0 does all
            in this process.
        skip_bad: Leave out images that cannot be read or coded, and say so, instead of stopping.
        show_progress: Draw a progress bar on stderr.
        with_perceptual: Measure the learned metric, too: some 0.15 s of a core for an image of
            640x480.

    Returns:
        A row for each codec, in order; also written to ``results.jsonl`` and ``summary.csv``.

    Raises:
        SettingError: ``out`` cannot be used, or holds another run.
        DataError: An image is damaged (without ``skip_bad``), or the detector's results are not
            COCO results.
        OutputError: The disk is full.
    """
    if not codecs:
        raise SettingError("no codec given")
    codecs = [with_cache(codec, cache, cache_bytes) for codec in codecs]
    with exclusive_folder(out) as folder:
        identity = RunIdentity(
            dataset.name, dataset.fingerprint, detector_name, detector_fingerprint
        )
        claim_folder(folder, identity)
        pictured = _keep_originals(folder, dataset)
        files = [
            RecordFile(records_path(folder, codec.label, codec.fingerprint)) for codec in codecs
        ]
        left = _images_left(dataset, files, skip_bad, with_perceptual)
        tasks = [(k, image.path) for k, images in enumerate(left) for image in images]
        total = len(dataset.images) * len(codecs)
        progress = tqdm(
            total=total,
            initial=total - len(tasks),
            unit="image",
            disable=not show_progress,
            smoothing=0.05,
        )
        rows, gives_masks = [], False
        with progress, coded_images(codecs, tasks, workers, with_perceptual) as coded:
            for codec, file, images in zip(codecs, files, left):
                progress.set_description(codec.label)
                with file:
                    for image in images:
                        objects = dataset.coco.loadAnns(
                            dataset.coco.getAnnIds(imgIds=[image.image_id])
                        )
                        record = _measure(
                            folder,
                            codec,
                            image,
                            next(coded),
                            detector,
                            image.image_id in pictured,
                            objects,
                            skip_bad,
                        )
                        file.append(record)
                        progress.update()
                records = read_records(file.path)
                gives_masks |= any(
                    "segmentation" in found
                    for r in records.values()
                    for found in r.detections or ()
                )
                rows.append(summarize(dataset, records, codec, identity, gives_masks))
                _write_results(folder, dataset, rows)
        return rows


def summarize(
    dataset: CocoDataset,
    records: Mapping[int, ImageRecord],
    codec: Codec,
    identity: RunIdentity,
    gives_masks: bool,
) -> RatePoint:
    """The row of one codec setting from the records of its images.

    Args:
        gives_masks: The detector gives masks, though it may have found nothing here; mask AP is
            None without, and where the annotations have none.

    Raises:
        DataError: No image was measured.
    """
    ids = sorted(
        image.image_id for image in dataset.images
    )  # resamples must not depend on the order of a file
    measured = [records[i] for i in ids if records[i].skipped is None]
    if not measured:
        raise DataError(f"{codec.label}: every image of {dataset.name} was skipped")
    weights = np.random.default_rng(0).multinomial(
        len(measured), np.full(len(measured), 1 / len(measured)), NUM_RESAMPLES
    )
    bits = np.array([r.num_bits for r in measured], float)
    pixels = np.array([r.height * r.width for r in measured], float)
    ci95 = {
        "bpp": _interval((weights @ bits) / (weights @ pixels)),
        "bpp_mean": _interval(weights @ (bits / pixels) / len(bits)),
    }
    means = {}
    for name in ("psnr", "ms_ssim", "perceptual"):
        means[name], interval = _mean([getattr(r, name) for r in measured], weights)
        if interval:
            ci95[name] = interval
    found = {r.image_id: r.detections or [] for r in measured}
    precision = {}
    for kind, part in (("bbox", "box"), ("segm", "mask")):
        precision[part] = None
        if kind == "segm" and not (gives_masks and has_masks(dataset.coco)):
            continue
        result = average_precision(dataset.coco, list(found), found, kind)
        precision[part] = result.values
        if result.values["AP"] is not None:
            ci95[f"{part}_AP"] = _interval(bootstrap_average_precision(result.matches, weights))
    return RatePoint(
        codec.name,
        codec.setting,
        codec.fingerprint,
        identity.dataset,
        identity.detector,
        len(measured),
        float(bits.sum() / pixels.sum()),
        float((bits / pixels).mean()),
        precision["box"],
        precision["mask"],
        means["psnr"],
        means["ms_ssim"],
        means["perceptual"],
        _mean([r.encode_s for r in measured], weights)[0],
        _mean([r.decode_s for r in measured], weights)[0],
        *_object_shares(measured),
        ci95,
    )


def _object_shares(measured: Sequence[ImageRecord]) -> tuple[float | None, float | None]:
    """Share of the placed bits, and of the pixels, on annotated objects."""
    if not all(
        r.placed_bits for r in measured
    ):  # a codec that knows no places, or records of an older version
        return None, None
    return (
        sum(r.object_bits for r in measured) / sum(r.placed_bits for r in measured),
        sum(r.object_pixels for r in measured) / sum(r.height * r.width for r in measured),
    )


def choose_pictures(dataset: CocoDataset) -> list[CocoImage]:
    """The few images that the report shows: spread over the data set, among those with objects
    where there are any.
    """
    with_objects = [
        image for image in dataset.images if dataset.coco.getAnnIds(imgIds=[image.image_id])
    ]
    pool = with_objects or list(dataset.images)
    step = max(1, len(pool) // NUM_PICTURES)
    return pool[step // 2 :: step][:NUM_PICTURES]


def _keep_originals(folder: Path, dataset: CocoDataset) -> set[int]:
    """Store what the report shows of the data set itself; ids of the images whose decoded pictures
    are wanted.
    """
    chosen = []
    for image in choose_pictures(dataset):
        path = picture_path(folder, image.image_id)
        try:
            if not path.exists():
                write_atomically(
                    path, encode_image(read_image(image.path), "PNG", compress_level=1)
                )
        except DataError:
            continue  # a damaged image stops the run, or is skipped, when it is coded
        objects = dataset.coco.loadAnns(dataset.coco.getAnnIds(imgIds=[image.image_id]))
        chosen.append(
            {
                "image_id": image.image_id,
                "file_name": image.file_name,
                "objects": [{"bbox": o["bbox"], "category_id": o["category_id"]} for o in objects],
            }
        )
    names = {c["id"]: c["name"] for c in dataset.coco.dataset["categories"]}
    write_atomically(
        folder / "pictures" / "index.json", json.dumps({"images": chosen, "categories": names})
    )
    return {entry["image_id"] for entry in chosen}


def _write_results(folder: Path, dataset: CocoDataset, rows: Sequence[RatePoint]) -> None:
    """These rows among those of other codecs that were measured into the folder before, and what
    was left out of any.
    """
    path = folder / "results.jsonl"
    merged = {row.fingerprint: row for row in [*(read_jsonl(path) if path.exists() else []), *rows]}
    skipped = {name: {why: []} for name, why in dataset.skipped.items()}
    for row in merged.values():
        for record in read_records(records_path(folder, row.label, row.fingerprint), ()).values():
            if record.skipped:
                skipped.setdefault(record.file_name, {}).setdefault(record.skipped, []).append(
                    row.label
                )
    reasons = {
        name: "; ".join(
            why + (f" ({', '.join(labels)})" if 0 < len(labels) < len(merged) else "")
            for why, labels in found.items()
        )
        for name, found in skipped.items()
    }
    write_atomically(folder / "skipped.json", json.dumps(reasons, indent=1))
    write_atomically(folder / "summary.csv", to_csv(list(merged.values())))
    write_atomically(path, to_jsonl(merged.values()))


def _images_left(
    dataset: CocoDataset, files: Sequence[RecordFile], skip_bad: bool, with_perceptual: bool
) -> list[list[CocoImage]]:
    """For each codec, images without a record of their present content; skipped ones too, unless
    skipping is still wanted.
    """
    from salcompress.metrics.perceptual import shipped_fingerprint

    digests: dict[Path, str | None] = {}
    metric = shipped_fingerprint()

    def is_done(image: CocoImage, record: ImageRecord) -> bool:
        if record.skipped and not skip_bad:
            return False
        if image.path not in digests:
            digests[image.path] = (
                digest(image.path.read_bytes())[:16] if image.path.is_file() else None
            )
        # what another version of the metric measured cannot stand beside this one's distances
        measured = record.skipped or not with_perceptual or record.perceptual_weights == metric
        return bool(measured) and record.source_digest == digests[image.path]

    return [
        [
            image
            for image in dataset.images
            if image.image_id not in file.done or not is_done(image, file.done[image.image_id])
        ]
        for file in files
    ]


def _measure(
    folder: Path,
    codec: Codec,
    image: CocoImage,
    coded: CodedImage | DataError,
    detector: Callable,
    pictured: bool,
    objects: Sequence[Mapping[str, Any]],
    skip_bad: bool,
) -> ImageRecord:
    record = ImageRecord(image.image_id, image.file_name, image.height, image.width)
    if not isinstance(coded, DataError) and coded.decoded.shape[:2] != (image.height, image.width):
        coded = DataError(
            f"{image.path} is {coded.decoded.shape[1]}x{coded.decoded.shape[0]} once decoded, "
            "and annotated as "
            f"{image.width}x{image.height} (width x height)"
        )
    if isinstance(coded, DataError):
        if not skip_bad:
            raise DataError(f"{coded}; {SKIP_CURE}") from coded
        return record._replace(
            skipped=str(coded), source_digest=digest(image.path.read_bytes())[:16]
        )
    if pictured:
        path = picture_path(folder, image.image_id, codec.label, codec.fingerprint)
        write_atomically(path, encode_image(coded.decoded, "PNG", compress_level=1))
        if coded.maps is not None:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **coded.maps._asdict())
            write_atomically(
                maps_path(folder, image.image_id, codec.label, codec.fingerprint), buffer.getvalue()
            )
    if coded.maps is not None:
        mask = object_mask(objects, image.height, image.width)
        record = record._replace(
            placed_bits=float(coded.maps.bits.sum()),
            object_bits=bits_on_mask(coded.maps.bits, mask, PLACE),
            object_pixels=int(mask.sum()),
        )
    from salcompress.metrics.perceptual import shipped_fingerprint

    started = time.perf_counter()
    try:
        found = detector(coded.decoded)
    except (
        Exception
    ) as error:  # a stranger's code; without the image's name no one could look into it
        raise DataError(
            f"the detector failed on {image.path}: {type(error).__name__}: {error}"
        ) from error
    detect_s = time.perf_counter() - started
    return record._replace(
        source_digest=coded.source_digest,
        num_bits=coded.num_bits,
        psnr=coded.psnr,
        ms_ssim=coded.ms_ssim,
        perceptual=coded.perceptual,
        perceptual_weights=None if coded.perceptual is None else shipped_fingerprint(),
        encode_s=coded.encode_s,
        decode_s=coded.decode_s,
        detect_s=detect_s,
        detections=plain_detections(found, image),
    )


def plain_detections(detections: Any, image: CocoImage) -> list[dict[str, Any]]:
    """COCO results as plain numbers and text, whatever array library they came from.

    Raises:
        DataError: One is no COCO result; the message names the image and shows it.
    """
    if not isinstance(detections, (list, tuple)):
        raise DataError(
            f"the detector must return a list of COCO results, got {type(detections).__name__} "
            f"for {image.path}"
        )
    plain = []
    for found in detections:
        try:
            box, score = [float(v) for v in found["bbox"]], float(found["score"])
            result = {"category_id": int(found["category_id"]), "bbox": box, "score": score}
            if found.get("segmentation") is not None:
                size, counts = found["segmentation"]["size"], found["segmentation"]["counts"]
                result["segmentation"] = {
                    "size": [int(v) for v in size],
                    "counts": counts.decode() if isinstance(counts, bytes) else str(counts),
                }
            right = (
                len(box) == 4
                and np.isfinite([*box, score]).all()
                and (
                    "segmentation" not in result
                    or result["segmentation"]["size"] == [image.height, image.width]
                )
            )
        except (KeyError, TypeError, ValueError, IndexError):
            right = False
        if not right:
            raise DataError(
                "the detector returned what is no COCO result (category_id, bbox [x, y, w, h], "
                "finite score, "
                f"segmentation as compressed RLE of the image's size) for {image.path}: "
                f"{str(found)[:120]}"
            )
        plain.append(result)
    return plain


def _mean(
    values: Sequence[float | None], weights: np.ndarray
) -> tuple[float | None, list[float] | None]:
    """Mean of what was measured, and its interval."""
    known = np.array([v is not None for v in values])
    if not known.any():
        return None, None
    numbers = np.array([v if v is not None else 0.0 for v in values])
    counts = weights @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = np.where(counts > 0, weights @ numbers / counts, np.nan)
    return float(numbers.sum() / known.sum()), _interval(resampled)


def _interval(resampled: np.ndarray) -> list[float]:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return [float(low), float(high)]
