"""Compressed versions of a picture: ladders of settings down which quality falls."""

import functools
from collections.abc import Mapping

import numpy as np

from salcompress.codecs import Codec, load_codec
from salcompress.spec import parse_spec
from salcompress.training.metric.coarse_chroma import CoarseChromaJpeg
from salcompress.training.metric.distortions import Distorted

LADDERS: Mapping[str, tuple[str, ...]] = {
    "jpeg": tuple(f"jpeg:q={q}" for q in (92, 85, 77, 68, 58, 48, 38, 29, 21, 15, 10, 6, 3)),
    "jpeg444": tuple(
        f"jpeg:q={q},subsampling=444" for q in (92, 85, 77, 68, 58, 48, 38, 29, 21, 15, 10, 6, 3)
    ),
    "jpeg2000": tuple(
        f"jpeg2000:bpp={b}" for b in (3, 2.2, 1.6, 1.2, 0.9, 0.65, 0.48, 0.35, 0.25, 0.18, 0.12)
    ),
    "webp": tuple(f"webp:q={q}" for q in (95, 88, 80, 70, 58, 46, 35, 25, 16, 8, 1)),
    "avif": tuple(f"avif:q={q}" for q in (88, 80, 72, 64, 56, 48, 40, 32, 24, 16, 8, 1)),
    "avif444": tuple(
        f"avif:q={q},subsampling=444" for q in (88, 80, 72, 64, 56, 48, 40, 32, 24, 16, 8, 1)
    ),
    "salient": tuple(
        f"salient:q={q},saliency=uniform,device=cpu"
        for q in (1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0)
    ),
}
"""Settings of each codec, the best one first."""
_NEAR_QUALITIES = (95, 90, 85, 80, 75, 70, 65, 60)
_JPEG_LIKE = ("jpeg", "jpegli", CoarseChromaJpeg.name)
NEAR_THRESHOLD: Mapping[str, tuple[str, ...]] = {
    name: tuple(spec.format(q) for q in _NEAR_QUALITIES)
    for name, spec in {
        "near_jpeg420": "jpeg:q={}",
        "near_jpeg422": "jpeg:q={},subsampling=422",
        "near_jpeg444": "jpeg:q={},subsampling=444",
        "near_jpegli": "jpegli:q={}",
        "near_coarse_chroma": "coarse_chroma:q={}",
    }.items()
}
"""Settings of encoders of JPEG at which people just see differences, the best one first."""
CERTAIN_STEPS = 2
"""So many steps apart on a ladder, the order of two versions of a picture is taken for certain."""


@functools.cache
def codec_of(spec: str) -> Codec:
    """The codec of a step of a ladder, made once.

    Raises:
        CodecUnavailableError: The codec's library is missing here.
    """
    name, _, options = parse_spec(spec)
    if name == CoarseChromaJpeg.name:
        return CoarseChromaJpeg(**{key: values[0] for key, values in options.items()})
    return load_codec(spec)


def compress(image: np.ndarray, family: str, step: int) -> Distorted:
    """Encode and decode a picture at a step of a ladder.

    Args:
        image: uint8 (H, W, 3).
        family: A key of :data:`LADDERS` or of :data:`NEAR_THRESHOLD`.
        step: Number of the step; 0 is the best one.
    """
    spec = _ladder(family)[step]
    codec = codec_of(spec)
    return Distorted(
        codec.decode(codec.encode(image)), family, float(step), _is_near_threshold(spec)
    )


def near_threshold_versions(
    image: np.ndarray, rng: np.random.Generator, num_encoders: int
) -> list[Distorted]:
    """Versions by several encoders of JPEG at about equal bits, near the threshold of visibility.

    The first encoder's step is drawn. Of each other one that step is taken whose stream is about
    as long, or by chance one beside it. Last comes the first encoder again, at least
    :data:`CERTAIN_STEPS` away.

    Args:
        image: uint8 (H, W, 3).
        rng: What chooses.
        num_encoders: Number of encoders, at most that of :data:`NEAR_THRESHOLD`.

    Returns:
        One version more than there are encoders.
    """
    first, *others = map(str, rng.choice(list(NEAR_THRESHOLD), num_encoders, replace=False))
    count = len(_NEAR_QUALITIES)
    step = int(rng.integers(count))
    length = len(codec_of(NEAR_THRESHOLD[first][step]).encode(image))
    steps = {first: step}
    for family in others:
        lengths = [len(codec_of(spec).encode(image)) for spec in NEAR_THRESHOLD[family]]
        nearest = int(np.abs(np.log(np.array(lengths) / length)).argmin())
        steps[family] = int(np.clip(nearest + rng.choice([-1, 0, 0, 1]), 0, count - 1))
    again = int(rng.choice([k for k in range(count) if abs(k - step) >= CERTAIN_STEPS]))
    return [compress(image, *pair) for pair in (*steps.items(), (first, again))]


def _ladder(family: str) -> tuple[str, ...]:
    return LADDERS[family] if family in LADDERS else NEAR_THRESHOLD[family]


def _is_near_threshold(spec: str) -> bool:
    name, _, options = parse_spec(spec)
    return name in _JPEG_LIKE and 60 <= int(options["q"][0]) <= 95
