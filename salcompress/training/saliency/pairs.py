"""Images with masks of their salient objects, and endless augmented batches of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from salcompress.data.coco import load_dataset
from salcompress.errors import DataError, SettingError
from salcompress.image import IMAGE_ENDINGS, read_image

_KEPT_SIDE = 288  # pictures are kept in memory at this long side; crops are of about 200 pixels


class SaliencyPair(NamedTuple):
    """An image and where its salient objects are."""

    name: str
    image: np.ndarray
    """uint8 (H, W, 3)."""
    mask: np.ndarray
    """bool (H, W)."""


class SaliencyBatch(NamedTuple):
    """What one training step sees."""

    image: Tensor
    """(N, 3, S, S) in [0, 1]."""
    mask: Tensor
    """(N, 1, S, S), 0 or 1."""


class Sources(NamedTuple):
    """What training samples are made of; images and masks as in :class:`SaliencyPair`."""

    pairs: Sequence[SaliencyPair]
    backgrounds: Sequence[np.ndarray]
    """Images on which objects are pasted."""
    pasted_share: float
    """Of the samples, those that are objects of pairs pasted on a background."""


def load_pairs(folder: Path | str) -> list[SaliencyPair]:
    """All of ``FOLDER/images`` with the mask of the same name in ``FOLDER/masks``, sorted by name.

    Raises:
        SettingError: A folder is missing or holds no image.
        DataError: An image has no mask or a mask no image, the two differ in size, or one cannot be
            read; the file is named.
    """
    found = []
    for part in ("images", "masks"):
        here = Path(folder) / part
        files = (
            {
                path.stem: path
                for path in sorted(here.iterdir())
                if path.suffix.lower() in IMAGE_ENDINGS
            }
            if here.is_dir()
            else {}
        )
        if not files:
            raise SettingError(
                f"{here} holds no images; pairs are FOLDER/images/NAME.jpg and "
                "FOLDER/masks/NAME.png"
            )
        found.append(files)
    images, masks = found
    for some, others, missing in ((images, masks, "mask"), (masks, images, "image")):
        alone = [str(path) for stem, path in some.items() if stem not in others]
        if alone:
            raise DataError(
                f"{alone[0]} has no {missing} of that name"
                + (f", nor have {len(alone) - 1} others" if alone[1:] else "")
            )
    pairs = []
    for stem, path in sorted(images.items()):
        image, grey = read_image(path), read_image(masks[stem])[:, :, 0]
        mask = grey > 127
        if image.shape[:2] != mask.shape:
            raise DataError(
                f"{masks[stem]} is {mask.shape[1]}x{mask.shape[0]}, but its image "
                f"{image.shape[1]}x{image.shape[0]} "
                "(width x height); masks are never rescaled"
            )
        if not mask.any():
            raise DataError(
                f"{masks[stem]} marks nothing: masks are 0 and 255, and its largest value is "
                f"{grey.max()}"
            )
        pairs.append(SaliencyPair(stem, image, mask))
    return pairs


def load_coco_pairs(folder: Path | str, least_share: float = 0.02) -> list[SaliencyPair]:
    """Images of a COCO data set with the union of the larger objects as their mask; images without
    a larger object that has a mask are left out.

    Args:
        folder: Holds ``images`` and ``instances.json``.
        least_share: Of the image, that an object must cover to count.

    Raises:
        SettingError, DataError: As :func:`salcompress.data.coco.load_dataset`.
    """
    dataset = load_dataset(Path(folder) / "images", Path(folder) / "instances.json")
    pairs = []
    for entry in dataset.images:
        mask = np.zeros((entry.height, entry.width), bool)
        for annotation in dataset.coco.imgToAnns[entry.image_id]:
            large = annotation["area"] >= least_share * mask.size
            if large and not annotation["iscrowd"] and "segmentation" in annotation:
                mask |= dataset.coco.annToMask(annotation).astype(bool)
        if mask.any():
            pairs.append(SaliencyPair(entry.file_name, read_image(entry.path), mask))
    return pairs


def shrink_image(image: np.ndarray) -> np.ndarray:
    """An image at no more than the long side that training keeps in memory."""
    scale = _KEPT_SIDE / max(image.shape[:2])
    return (
        image
        if scale >= 1
        else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    )


def shrink_pair(pair: SaliencyPair) -> SaliencyPair:
    """A pair at no more than the long side that training keeps in memory; for training alone,
    scores are of the original.
    """
    image = shrink_image(pair.image)
    covered = cv2.resize(
        pair.mask.astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_AREA
    )
    return SaliencyPair(
        pair.name, image, covered >= min(0.5, covered.max())
    )  # however small, an object does not vanish


def saliency_batches(
    sources: Sequence[tuple[float, Sources]], seed: int, step: int, batch_size: int, side: int
) -> Iterator[SaliencyBatch]:
    """Endless batches from ``step`` on; the same ones for the same arguments.

    Args:
        sources: With the share of the samples that each gives.
        side: Of the square samples, in pixels.
    """
    shares = np.array([share for share, _ in sources])
    while True:
        random = np.random.default_rng((seed, step))
        chosen = (
            sources[k][1] for k in random.choice(len(sources), batch_size, p=shares / shares.sum())
        )
        images, masks = zip(*(_sample(source, side, random) for source in chosen))
        image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        yield SaliencyBatch(image, torch.from_numpy(np.stack(masks))[:, None].float())
        step += 1


def _sample(
    source: Sources, side: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (S, S, 3) and mask uint8 (S, S)."""
    if source.backgrounds and random.random() < source.pasted_share:
        background = source.backgrounds[random.integers(len(source.backgrounds))]
        image, _ = _crop(background, None, side, 0.6, random)
        mask = np.zeros((side, side), np.uint8)
        for _ in range(1 if random.random() < 0.6 else random.integers(2, 4)):
            image, mask = _paste(
                image, mask, source.pairs[random.integers(len(source.pairs))], random
            )
    else:
        pair = source.pairs[random.integers(len(source.pairs))]
        image, mask = _crop(pair.image, pair.mask, side, 0.65, random)
    return _recolour(image, random), mask


def _crop(
    image: np.ndarray, mask: np.ndarray | None, side: int, least: float, random: np.random.Generator
):
    """A random window, each side at least the share ``least``, that keeps most of the mask; turned
    a little, often mirrored.
    """
    height, width = image.shape[:2]
    for _ in range(5):
        h, w = (max(2, round(random.uniform(least, 1) * size)) for size in (height, width))
        if random.random() < 0.25:
            h, w = height, width
        top, left = random.integers(height - h + 1), random.integers(width - w + 1)
        if mask is None or mask[top : top + h, left : left + w].sum() > 0.75 * mask.sum():
            break
    else:
        top, left, h, w = 0, 0, height, width
    to_window = cv2.getRotationMatrix2D((left + w / 2, top + h / 2), random.normal(0, 6), 1.0)
    scale = np.diag([side / w, side / h]) @ (
        np.diag([-1, 1]) if random.random() < 0.5 else np.eye(2)
    )
    offset = np.array([side / 2, side / 2]) - scale @ (
        to_window @ np.array([left + w / 2, top + h / 2, 1])
    )
    matrix = np.column_stack([scale @ to_window[:, :2], scale @ to_window[:, 2] + offset])
    warped = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    if mask is None:
        return warped, None
    return warped, cv2.warpAffine(
        mask.astype(np.uint8),
        matrix,
        (side, side),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def _paste(
    image: np.ndarray, mask: np.ndarray, pair: SaliencyPair, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a pair's objects out and paste them, turned and scaled, with a soft edge of random width.

    Dwibedi, Misra and Hebert, "Cut, paste and learn", ICCV 2017: blending in several ways keeps a
    network from finding the seam.
    """
    side = image.shape[0]
    rows, columns = np.nonzero(pair.mask)
    centre = np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2
    extent = max(np.ptp(columns), np.ptp(rows)) + 1
    scale = side * random.uniform(0.3, 0.8) / extent
    turn, squeeze = np.deg2rad(random.normal(0, 15)), np.exp(random.normal(0, 0.12))
    linear = (
        scale
        * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        @ np.diag([squeeze, 1 / squeeze])
    )
    if random.random() < 0.5:
        linear = linear @ np.diag([-1, 1])
    place = side * np.clip(random.normal(0.5, 0.17, 2), 0.12, 0.88)
    matrix = np.column_stack([linear, place - linear @ centre])
    pasted = cv2.warpAffine(
        pair.image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    shape = cv2.warpAffine(
        pair.mask.astype(np.float32), matrix, (side, side), flags=cv2.INTER_LINEAR
    )
    if (
        random.random() < 0.5
    ):  # towards the tone of the place, so that brightness alone does not tell
        inside = shape > 0.5
        if inside.any():
            shift = image.mean((0, 1)) - pasted[inside].mean(0)
            pasted = np.clip(pasted + random.uniform(0, 0.6) * shift, 0, 255)
    soft = cv2.GaussianBlur(shape, (0, 0), random.uniform(0.4, 2.0))[:, :, None]
    return (image * (1 - soft) + pasted * soft).astype(np.uint8), np.maximum(
        mask, (shape > 0.5).astype(np.uint8)
    )


def _recolour(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Other light, other colours, at times grey, blurred, noisy or coded as a poor JPEG."""
    x = image.astype(np.float32)
    if random.random() < 0.8:
        grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
        saturation = 0.0 if random.random() < 0.08 else random.uniform(0.5, 1.5)
        x = grey[:, :, None] + saturation * (x - grey[:, :, None])
        x = (x - x.mean()) * random.uniform(0.6, 1.3) + x.mean() * random.uniform(0.65, 1.35)
        x = x * random.uniform(0.85, 1.15, 3).astype(np.float32)
    if random.random() < 0.1:
        x = x[:, :, random.permutation(3)]
    if random.random() < 0.15:
        x = cv2.GaussianBlur(x, (0, 0), random.uniform(0.5, 1.5))
    if random.random() < 0.15:
        x = x + random.normal(0, random.uniform(2, 12), x.shape).astype(np.float32)
    x = np.clip(x, 0, 255).astype(np.uint8)
    if random.random() < 0.15:
        x = cv2.imdecode(
            cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(10, 60))])[1],
            cv2.IMREAD_COLOR,
        )
    return x
