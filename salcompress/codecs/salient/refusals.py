"""What cannot be compressed, said with the names of files and with what helps."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from salcompress.bitstream.container import check_size
from salcompress.errors import BitstreamError, DataError, SettingError


@contextlib.contextmanager
def refusal_named(name: str | None) -> Iterator[None]:
    """Within, what a codec says of an image names the image's file, if it has one."""
    try:
        yield
    except (SettingError, BitstreamError) as error:
        if name is None:
            raise
        raise DataError(f"{name}: {error}") from error


@contextlib.contextmanager
def enough_memory(device: torch.device, images: Sequence[Tensor]) -> Iterator[None]:
    """Within, running out of memory is a SettingError that says what helps, and names the sizes of
    the images, (3, H, W).
    """
    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and "DefaultCPUAllocator" not in str(error):
            raise
        sizes = ", ".join(f"{image.shape[2]}x{image.shape[1]}" for image in images)
        raise SettingError(
            f"not enough memory on {device} to compress images of {sizes}: take fewer images at "
            "a time or smaller ones, prefetch fewer batches, or compress on the CPU with device=cpu"
        ) from error


def check_image_tensor(image: Tensor) -> None:
    """Raise unless a batch can hold an image.

    Raises:
        SettingError: It is not uint8 (3, H, W), or it is too large for the format.
    """
    is_tensor = isinstance(image, Tensor)
    is_image = is_tensor and image.dtype == torch.uint8 and image.dim() == 3
    if not is_image or image.shape[0] != 3 or image.numel() == 0:
        came = f"{image.dtype} {tuple(image.shape)}" if is_tensor else type(image).__name__
        raise SettingError(
            f"image must be a uint8 tensor (3, H, W) with at least one pixel, got {came}"
        )
    check_size(*image.shape[1:])
