"""A result row from the records of its images: means, rates, average precision, and 95 % intervals
by bootstrap over the images.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from salcompress.data.coco import CocoDataset
from salcompress.errors import DataError
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.records import ImageRecord
from salcompress.evaluation.run_folder import RunIdentity
from salcompress.metrics.average_precision import (
    average_precision,
    bootstrap_average_precision,
    has_masks,
)

NUM_RESAMPLES = 200
"""Resamples of the images behind each 95 % interval; fixed seed."""


class CodecSetting(Protocol):
    """What a row says of the codec that it is about; every codec is one."""

    @property
    def name(self) -> str: ...

    @property
    def setting(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...


class Summary(NamedTuple):
    """A row, and its figures on resampled images."""

    row: RatePoint
    resamples: dict[str, np.ndarray]
    """``bpp``, ``psnr``, ``ms_ssim``, ``perceptual``, ``box_AP`` and ``mask_AP``, where measured,
    (NUM_RESAMPLES,) each. The AP of a resample without an object is NaN.
    """


def summarize(
    dataset: CocoDataset,
    records: Mapping[int | str, ImageRecord],
    codec: CodecSetting,
    identity: RunIdentity,
    gives_masks: bool,
    left_out: Collection[int | str] = (),
) -> Summary:
    """The row of one codec setting from the records of its images.

    Args:
        dataset: Images and annotations.
        records: What was measured, by image id.
        codec: The setting.
        identity: Names of data set and detector.
        gives_masks: The detector gives masks, though it may have found nothing here. Mask AP is
            None without, and where the annotations have none.
        left_out: Ids of images that do not count, measured or not: another setting could not take
            them.

    Raises:
        DataError: No image is left.
    """
    # sorted, since resamples must not depend on the order of a file
    ids = sorted(
        (image.image_id for image in dataset.images), key=lambda i: (isinstance(i, str), i)
    )
    measured = [
        records[i] for i in ids if i not in left_out and i in records and records[i].skipped is None
    ]
    if not measured:
        label = f"{codec.name}:{codec.setting}" if codec.setting else codec.name
        raise DataError(f"{label}: every image of {dataset.name} was skipped")
    weights = resample_weights(len(measured))
    bits = np.array([r.num_bits for r in measured], float)
    pixels = np.array([r.height * r.width for r in measured], float)
    resamples = {"bpp": (weights @ bits) / (weights @ pixels)}
    ci95 = {
        "bpp": _interval(resamples["bpp"]),
        "bpp_mean": _interval(weights @ (bits / pixels) / len(bits)),
    }
    bpp_detector = None
    if all(r.detector_pixels is not None for r in measured):
        seen = np.array([r.detector_pixels for r in measured], float)
        bpp_detector = float(bits.sum() / seen.sum())
        ci95["bpp_detector"] = _interval((weights @ bits) / (weights @ seen))
    means: dict[str, float | None] = {}
    for name in ("psnr", "ms_ssim", "perceptual"):
        means[name], resampled = _mean([getattr(r, name) for r in measured], weights)
        if resampled is not None:
            resamples[name], ci95[name] = resampled, _interval(resampled)
    precision: dict[str, dict[str, float | None] | None] = {"box": None, "mask": None}
    for part, kind in (("box", "bbox"), ("mask", "segm")):
        if part == "box" or (gives_masks and has_masks(dataset.coco)):
            precision[part], resampled = _precision(dataset, measured, kind, weights)
            if resampled is not None:
                resamples[f"{part}_AP"] = resampled
                ci95[f"{part}_AP"] = _interval(resampled)
    object_bits, object_area = _object_shares(measured)
    row = RatePoint(
        codec=codec.name,
        setting=codec.setting,
        fingerprint=codec.fingerprint,
        dataset=identity.dataset,
        detector=identity.detector,
        num_images=len(measured),
        bpp=float(bits.sum() / pixels.sum()),
        bpp_mean=float((bits / pixels).mean()),
        bpp_detector=bpp_detector,
        box=precision["box"],
        mask=precision["mask"],
        psnr=means["psnr"],
        ms_ssim=means["ms_ssim"],
        perceptual=means["perceptual"],
        encode_s=_mean([r.encode_s for r in measured], weights)[0],
        decode_s=_mean([r.decode_s for r in measured], weights)[0],
        object_bits=object_bits,
        object_area=object_area,
        ci95=ci95,
    )
    return Summary(row, resamples)


def resample_weights(num_images: int) -> np.ndarray:
    """How often each image is in each resample, (NUM_RESAMPLES, num_images). All rows of as many
    images have the same, so that their resamples can be compared.
    """
    return np.random.default_rng(0).multinomial(
        num_images, np.full(num_images, 1 / num_images), NUM_RESAMPLES
    )


def _precision(
    dataset: CocoDataset,
    measured: Sequence[ImageRecord],
    kind: str,
    weights: np.ndarray,
) -> tuple[dict[str, float | None], np.ndarray | None]:
    """AP of boxes or masks, and the AP of each resample if there is any object."""
    found = {r.image_id: r.detections or [] for r in measured}
    result = average_precision(dataset.coco, list(found), found, kind)
    if result.values["AP"] is None:
        return result.values, None
    return result.values, bootstrap_average_precision(result.matches, weights)


def _object_shares(measured: Sequence[ImageRecord]) -> tuple[float | None, float | None]:
    """Share of the placed bits, and of the pixels, on annotated objects."""
    bits, placed, object_pixels = [], [], []
    for r in measured:
        # a codec that knows no places, or records of an older version
        if not r.placed_bits or r.object_bits is None or r.object_pixels is None:
            return None, None
        bits.append(r.object_bits)
        placed.append(r.placed_bits)
        object_pixels.append(r.object_pixels)
    return sum(bits) / sum(placed), sum(object_pixels) / sum(r.height * r.width for r in measured)


def _mean(
    values: Sequence[float | None], weights: np.ndarray
) -> tuple[float | None, np.ndarray | None]:
    """Mean of what was measured, and that of each resample."""
    known = np.array([v is not None for v in values])
    if not known.any():
        return None, None
    numbers = np.array([v if v is not None else 0.0 for v in values])
    counts = weights @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = np.where(counts > 0, weights @ numbers / counts, np.nan)
    return float(numbers.sum() / known.sum()), resampled


def _interval(resampled: np.ndarray) -> list[float]:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return [float(low), float(high)]
