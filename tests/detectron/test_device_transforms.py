"""Geometry on tensors is Detectron2's geometry on arrays."""

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, HFlipTransform, PadTransform, VFlipTransform
from PIL import Image

from salcompress.detectron.device_transforms import apply_transforms, check_transforms, resample
from salcompress.errors import SettingError


def tensor(image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


@pytest.mark.parametrize(
    "transforms, tolerance",
    [
        ([HFlipTransform(251)], 0),
        ([VFlipTransform(203)], 0),
        ([CropTransform(7, 5, 100, 90)], 0),
        ([PadTransform(1, 2, 3, 4, 251, 203, 114)], 0),
        ([T.NoOpTransform()], 0),
        ([T.ResizeTransform(203, 251, 203, 251)], 0),
        ([T.ResizeTransform(203, 251, 120, 149)], 1),
        (
            [
                T.ResizeTransform(203, 251, 448, 555),
                HFlipTransform(555),
                CropTransform(0, 3, 300, 200),
            ],
            1,
        ),
    ],
    ids=str,
)
def test_pictures_are_those_of_arrays(picture, transforms, tolerance):
    """To the bit; what stays float, within the grey level that Pillow's rounding between its two
    passes is worth.
    """
    transforms = T.TransformList(
        [T.TransformList(transforms)]
    )  # nested, as FixedSizeCrop gives them
    check_transforms(transforms)
    ours, theirs = apply_transforms(tensor(picture), transforms), transforms.apply_image(picture)
    assert ours.dtype == torch.uint8 and ours.shape[1:] == theirs.shape[:2]
    assert np.array_equal(ours.permute(1, 2, 0).numpy(), theirs)
    as_float = apply_transforms(tensor(picture).float(), transforms)
    assert (
        as_float.dtype == torch.float32
        and (as_float - ours.float()).abs().max() <= 1.01 * tolerance
    )


@pytest.mark.parametrize(
    "size", [(120, 149), (448, 555), (203, 97), (1, 1), (202, 252), (600, 251)]
)
def test_the_integers_of_other_devices_are_pillows(picture, size):
    """To the bit, in one of the two orders of its passes: which one it takes depends on its version
    and on the sizes.
    """
    expected = T.ResizeTransform(203, 251, *size).apply_image(picture)
    columns_first = resample(resample(tensor(picture), size[1], 2), size[0], 1)
    rows_first = resample(resample(tensor(picture), size[0], 1), size[1], 2)
    assert any(
        np.array_equal(ours.permute(1, 2, 0).numpy(), expected)
        for ours in (columns_first, rows_first)
    )
    assert np.abs(columns_first.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1


def test_gradients_pass_and_every_pixel_counts(picture):
    image = tensor(picture).float().requires_grad_()
    apply_transforms(
        image, T.TransformList([T.ResizeTransform(203, 251, 101, 125), HFlipTransform(125)])
    ).sum().backward()
    assert image.grad.min() > 0 and image.grad.sum() == pytest.approx(3 * 101 * 125, rel=1e-4)


@pytest.mark.parametrize(
    "transform, name",
    [
        (T.RotationTransform(203, 251, 30), "RotationTransform"),
        (T.BlendTransform(np.zeros(1), 0.5, 0.5), "BlendTransform"),
        (T.ResizeTransform(203, 251, 10, 10, Image.Resampling.NEAREST), "ResizeTransform"),
    ],
)
def test_others_are_refused_by_name(transform, name):
    with pytest.raises(
        SettingError, match=f"{name} cannot follow the codec.*use SALCOMPRESS.STAGE mapper"
    ):
        check_transforms(T.TransformList([transform]))
