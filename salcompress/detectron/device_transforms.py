"""Detectron2's geometric transforms on tensors, on any device and differentiably."""
from collections.abc import Iterable

import torch
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, HFlipTransform, NoOpTransform, PadTransform, Transform, TransformList, VFlipTransform
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
        known = isinstance(transform, (HFlipTransform, VFlipTransform, CropTransform, PadTransform)) or (
            isinstance(transform, T.ResizeTransform) and transform.interp == Image.Resampling.BILINEAR)
        if not known:
            raise SettingError(f"{type(transform).__name__} cannot follow the codec on its device: there it is bilinear resizes, flips, "
                               "crops and padding; leave that augmentation out, or use SALCOMPRESS.STAGE mapper")


def transformed_size(size: tuple[int, int], transforms: Transform) -> tuple[int, int]:
    """Height and width of a picture of the given ones after ``transforms``."""
    height, width = size
    for transform in flatten(transforms):
        if isinstance(transform, CropTransform):
            height, width = max(0, min(transform.h, height - transform.y0)), max(0, min(transform.w, width - transform.x0))
        elif isinstance(transform, PadTransform):
            height, width = height + transform.y0 + transform.y1, width + transform.x0 + transform.x1
        elif isinstance(transform, T.ResizeTransform):
            height, width = transform.new_h, transform.new_w
    return height, width


def apply_transforms(image: Tensor, transforms: Transform) -> Tensor:
    """What ``transforms.apply_image`` does to a picture, where the picture lies.

    Resizing is antialiased like Pillow's; Pillow rounds to 8 bits between its two passes, so that of 8-bit pictures a value may
    differ by one grey level.

    Args:
        image: (3, H, W), uint8, or float of the same range, which stays float and differentiable.

    Returns:
        (3, h, w), of the same type.
    """
    for transform in flatten(transforms):
        image = _apply(image, transform)
    return image


def _apply(image: Tensor, transform: Transform) -> Tensor:
    if isinstance(transform, HFlipTransform):
        return image.flip(2)
    if isinstance(transform, VFlipTransform):
        return image.flip(1)
    if isinstance(transform, CropTransform):
        return image[:, transform.y0 : transform.y0 + transform.h, transform.x0 : transform.x0 + transform.w]
    if isinstance(transform, PadTransform):
        return F.pad(image, (transform.x0, transform.x1, transform.y0, transform.y1), value=transform.pad_value)
    if isinstance(transform, T.ResizeTransform) and transform.interp == Image.Resampling.BILINEAR:
        size = (transform.new_h, transform.new_w)
        if image.shape[1:] == size:
            return image
        with torch.autocast(image.device.type, enabled=False):
            resized = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
        return resized if image.is_floating_point() else resized.round_().clamp_(0, 255).to(image.dtype)
    raise TypeError(f"{type(transform).__name__} went past check_transforms")
