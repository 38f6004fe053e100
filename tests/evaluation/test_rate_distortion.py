"""A curve over photographs is that of each setting alone."""

import numpy as np
import pytest

from salcompress.codecs import load_codecs
from salcompress.evaluation.rate_distortion import measure_curve
from salcompress.evaluation.round_trip import code


def test_settings_measured_together_are_as_if_alone(picture):
    images = [picture, np.ascontiguousarray(picture[:100, ::-1])]
    codecs = load_codecs("jpeg:q=10,60", "salient:q=0.3,device=cpu", "png")
    for codec, point in zip(codecs, measure_curve(codecs, images), strict=True):
        coded = [code(codec, image).compared_to(image) for image in images]
        pixels = sum(image[..., 0].size for image in images)
        assert point.label == codec.label
        assert point.bpp == sum(c.num_bits for c in coded) / pixels
        assert point.perceptual == pytest.approx(np.mean([c.perceptual for c in coded]), rel=1e-12)
        assert point.ms_ssim == coded[0].ms_ssim  # the other is too small
        if codec.name == "png":
            assert point.psnr is None and point.perceptual == 0
        else:
            assert point.psnr == pytest.approx(np.mean([c.psnr for c in coded]), rel=1e-12)
