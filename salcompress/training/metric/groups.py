"""Groups of crops that are labelled without people.

A group is a reference and several versions of it, each with the scores of published metrics. It
stands for all triplets of its versions. Groups are made once and kept in a folder, as arrays that
are mapped into memory and not read.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from salcompress.errors import DataError, SettingError
from salcompress.files import digest, read_file, write_atomically
from salcompress.image import read_image
from salcompress.training.metric.compressed import (
    CERTAIN_STEPS,
    LADDERS,
    NEAR_THRESHOLD,
    codec_of,
)
from salcompress.training.metric.consensus import DISPLAY, VOTES, calibrate, scores
from salcompress.training.metric.versions import versions

_FORMAT = 2
_MOST_GROUPS = 24
"""A picture gives at most so many groups. More would say little new, and they are held in memory
while they are made.
"""
_ARRAYS = ("references", "versions", "scores", "families", "levels", "near_threshold", "sources")


class Groups(NamedTuple):
    """G groups of K versions, in crops of S pixels."""

    references: np.ndarray
    """uint8 (G, S, S, 3)."""
    versions: np.ndarray
    """uint8 (G, K, S, S, 3)."""
    scores: np.ndarray
    """Float32 (G, K, M), calibrated over all versions by
    :func:`salcompress.training.metric.consensus.calibrate`.
    """
    certain: np.ndarray
    """Bool (G, K, K): [g, i, j] is true where version i is certainly closer than version j.
    They are then of one codec, i at a clearly higher setting, or of one distortion, i with less.
    """
    near_threshold: np.ndarray
    """Bool (G, K), true where a JPEG encoder made the version at a quality of 60 to 95."""
    sources: np.ndarray
    """Number of the picture that a group was cut from, (G,)."""
    fingerprint: str
    """Digest of all that the groups were made from."""


def consensus_groups(
    paths: Sequence[Path],
    cache: Path,
    *,
    crop: int = 128,
    per_megapixel: float = 14,
    seed: int = 1,
    workers: int = 1,
) -> Groups:
    """Make groups of pictures, or take them from the cache.

    Pictures are scaled to between a half and the whole, compressed whole, and then cut, so that
    block grids fall anywhere.

    Args:
        paths: The pictures.
        cache: Folder that keeps the groups.
        crop: Side S of the crops in pixels, at least 64.
        per_megapixel: Number of groups for each megapixel of the scaled picture. Each picture gives
            at least one.
        seed: Seed of all that is random.
        workers: Number of processes, at least 1.

    Raises:
        SettingError: No picture is large enough, or a package is missing.
        DataError: A picture cannot be read, or the cache is damaged.
    """
    if workers < 1:
        raise SettingError(f"workers must be at least 1, got {workers}")
    # other weights or libraries make other versions
    ladders = {**LADDERS, **NEAR_THRESHOLD}
    codecs = [codec_of(ladder[0]).fingerprint for ladder in ladders.values()]
    key = digest(
        json.dumps(
            [
                _FORMAT,
                [digest(read_file(p)) for p in paths],
                crop,
                per_megapixel,
                seed,
                ladders,
                codecs,
                [*VOTES, DISPLAY],
            ]
        )
    )[:16]
    folder = Path(cache) / f"groups_{key}"
    if not (folder / "complete.json").is_file():
        _make(paths, folder, crop, per_megapixel, seed, workers)
    try:
        references, images, values, families, levels, near, sources = (
            np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} is damaged ({error}); remove it, and it is made again"
        ) from error
    same = families[:, :, None] == families[:, None, :]
    certain = same & (levels[:, None, :] - levels[:, :, None] >= CERTAIN_STEPS)
    calibrated = calibrate(np.asarray(values))
    return Groups(
        references, images, calibrated, certain, np.asarray(near), np.asarray(sources), key
    )


def _make(
    paths: Sequence[Path], folder: Path, crop: int, per_megapixel: float, seed: int, workers: int
) -> None:
    """Make all groups and write their arrays to a folder."""
    jobs = [(path, crop, per_megapixel, seed * 1_000_003 + k) for k, path in enumerate(paths)]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS}
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        for source, made in enumerate(pool.map(_groups_of, jobs)):
            for name, part in zip(_ARRAYS, made):
                rows[name].append(part)
            rows["sources"].append(np.full(len(made[0]), source, np.int32))
            if source % 20 == 19:
                print(f"{source + 1}/{len(paths)} pictures compressed and scored", flush=True)
    if not sum(map(len, rows["sources"])):
        raise SettingError(f"no picture has both sides of at least {crop} pixels")
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in rows.items():
        np.save(folder / f"{name}.npy", np.concatenate(parts))
    write_atomically(
        folder / "complete.json",
        json.dumps({"pictures": len(paths), "groups": sum(map(len, rows["sources"]))}),
    )


def _groups_of(job: tuple[Path, int, float, int]) -> tuple[np.ndarray, ...]:
    """Make all groups of one picture, or none where it is too small.

    Returns:
        References, versions, scores, families, levels, and what is near the threshold.
    """
    path, crop, per_megapixel, seed = job
    rng = np.random.default_rng(seed)
    image = read_image(path)
    smallest = min(image.shape[:2])
    scale = max(rng.choice([1, 1, 0.75, 0.5]), crop / smallest)
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    count = (
        min(_MOST_GROUPS, max(1, round(image.shape[0] * image.shape[1] * per_megapixel / 1e6)))
        if smallest >= crop
        else 0
    )
    made = versions(image, seed)
    names = {name: k for k, name in enumerate(sorted({v.family for v in made}))}
    families, levels, near = (
        np.array([names[v.family] for v in made], np.int16),
        np.array([v.level for v in made], np.float32),
        np.array([v.near_threshold for v in made]),
    )
    cuts, values = [], []
    for _ in range(count):
        top, left = (int(rng.integers(0, side - crop + 1)) for side in image.shape[:2])
        cut = np.stack(
            [x[top : top + crop, left : left + crop] for x in (image, *(v.image for v in made))]
        )
        tensors = torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 255
        values.append(scores(tensors[:1].expand(len(made), -1, -1, -1), tensors[1:]).numpy())
        cuts.append(cut)
    pictures = np.stack(cuts) if cuts else np.zeros((0, 1 + len(made), crop, crop, 3), np.uint8)
    return (
        pictures[:, 0],
        pictures[:, 1:],
        np.stack(values) if values else np.zeros((0, len(made), len(VOTES)), np.float32),
        np.tile(families, (count, 1)),
        np.tile(levels, (count, 1)),
        np.tile(near, (count, 1)),
    )
