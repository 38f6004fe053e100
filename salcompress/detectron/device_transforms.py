"""Detectron2's geometric transforms on tensors, on any device and differentiably."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from fvcore.transforms.transform import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from salcompress.errors import SettingError


def flatten(transforms: Transform) -> Iterable[Transform]:
    """The transforms of nested lists, in order, without those that do nothing."""
    if isinstance(transforms, TransformList):
        for transform in transforms.transforms:
            yield from flatten(transform)
    elif not isinstance(transforms, NoOpTransform):
        yield transforms


def check_transforms(transforms: Transform) -> None:
    """Raise unless :func:`apply_transforms` can apply all of them.

    Raises:
        SettingError: One is neither a bilinear resize, a flip, a crop nor a padding.
    """
    for transform in flatten(transforms):
        known = isinstance(
            transform, (HFlipTransform, VFlipTransform, CropTransform, PadTransform)
        ) or (
            isinstance(transform, T.ResizeTransform)
            and transform.interp == Image.Resampling.BILINEAR
        )
        if not known:
            raise SettingError(
                f"{type(transform).__name__} cannot follow the codec on its device: there it is "
                "bilinear resizes, flips, "
                "crops and padding; leave that augmentation out, or use SALCOMPRESS.STAGE mapper"
            )


def transformed_size(size: tuple[int, int], transforms: Transform) -> tuple[int, int]:
    """Height and width, after ``transforms``, of a picture that has ``size`` before them."""
    height, width = size
    for transform in flatten(transforms):
        if isinstance(transform, CropTransform):
            height, width = (
                max(0, min(transform.h, height - transform.y0)),
                max(0, min(transform.w, width - transform.x0)),
            )
        elif isinstance(transform, PadTransform):
            height, width = (
                height + transform.y0 + transform.y1,
                width + transform.x0 + transform.x1,
            )
        elif isinstance(transform, T.ResizeTransform):
            height, width = transform.new_h, transform.new_w
    return height, width


def apply_transforms(image: Tensor, transforms: Transform) -> Tensor:
    """What ``transforms.apply_image`` does to a picture, where the picture lies.

    8-bit pictures on the CPU are resized by Pillow itself: the AP of a small detector moved by 0.7
    when values were one grey level off here and there. Other devices resize in Pillow's integers,
    columns first. Newer versions of Pillow take the rows first at times, and then a value may
    differ by one grey level.

    Args:
        image: (3, H, W), uint8, or float of the same range, which stays float and differentiable.

    Returns:
        (3, h, w), of the same type.
    """
    for transform in flatten(transforms):
        image = _apply(image, transform)
    return image


def for_detector(x: Mapping[str, Any], image: Tensor, image_format: str) -> dict[str, Any]:
    """One of Detectron2's dicts with what a codec left of its image, as the detector sees it.

    Args:
        x: The dict; its ``transforms``, where it has any, follow the codec.
        image: RGB (3, H, W) of the original size.
        image_format: "BGR" or "RGB", how the channels of the new image lie.
    """
    if "transforms" in x:
        image = apply_transforms(image, x["transforms"])
    image = image.flip(0) if image_format == "BGR" else image
    return {key: value for key, value in x.items() if key != "transforms"} | {"image": image}


def _apply(image: Tensor, transform: Transform) -> Tensor:
    if isinstance(transform, HFlipTransform):
        return image.flip(2)
    if isinstance(transform, VFlipTransform):
        return image.flip(1)
    if isinstance(transform, CropTransform):
        return image[
            :, transform.y0 : transform.y0 + transform.h, transform.x0 : transform.x0 + transform.w
        ]
    if isinstance(transform, PadTransform):
        return F.pad(
            image,
            (transform.x0, transform.x1, transform.y0, transform.y1),
            value=transform.pad_value,
        )
    if isinstance(transform, T.ResizeTransform) and transform.interp == Image.Resampling.BILINEAR:
        size = (transform.new_h, transform.new_w)
        if image.shape[1:] == size:
            return image
        if image.is_floating_point():
            with torch.autocast(image.device.type, enabled=False):
                return F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
        if image.device.type == "cpu":
            return torch.from_numpy(
                np.array(
                    transform.apply_image(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
                )
            ).permute(2, 0, 1)
        return resample(resample(image, transform.new_w, 2), transform.new_h, 1)
    raise TypeError(f"{type(transform).__name__} went past check_transforms")


def resample(image: Tensor, size: int, dim: int) -> Tensor:
    """One pass of Pillow's antialiased bilinear resize, in its integers: uint8 to uint8, along
    ``dim``, on any device.
    """
    if image.shape[dim] == size:
        return image
    places, weights = (
        torch.from_numpy(part).to(image.device, non_blocking=True)
        for part in _taps(image.shape[dim], size)
    )
    shape = [1, 1, 1]
    shape[dim] = size
    total = torch.full_like(image.narrow(dim, 0, 1), 0, dtype=torch.int32) + 2 ** (_PRECISION - 1)
    for place, weight in zip(places, weights):
        total = total + image.index_select(dim, place).to(torch.int32) * weight.view(shape)
    return (total >> _PRECISION).clamp_(0, 255).to(torch.uint8)


_PRECISION = 32 - 8 - 2
"""Bits of Pillow's weights, for sums of 8-bit values in 32 bits."""


@functools.lru_cache(maxsize=256)
def _taps(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Places int64 and weights int32, (taps, after) each, as Pillow computes them."""
    scale = before / after
    support = max(scale, 1.0)
    centers = (np.arange(after) + 0.5) * scale
    first = np.maximum(0, (centers - support + 0.5).astype(np.int64))
    last = np.minimum(before, (centers + support + 0.5).astype(np.int64))
    places = first + np.arange(int(np.ceil(support)) * 2 + 1)[:, None]
    weights = np.where(
        places < last, np.maximum(0.0, 1 - np.abs((places - centers + 0.5) * (1 / support))), 0.0
    )
    weights /= weights.sum(0)
    return np.minimum(places, before - 1), (0.5 + weights * 2**_PRECISION).astype(np.int32)
