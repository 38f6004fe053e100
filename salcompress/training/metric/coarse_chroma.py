"""JPEG whose chroma is coarser than its luma, in full resolution, by OpenCV's writer."""

from collections.abc import Mapping
from typing import Any, ClassVar

import cv2
import numpy as np

from salcompress.codecs.base import Codec, Option, convert_options, integer_option
from salcompress.errors import SettingError
from salcompress.image import check_image, decode_image

_COARSER = 25


class CoarseChromaJpeg(Codec):
    """JPEG in 4:4:4 with a lower quality for chroma than for luma.

    It spends its bits otherwise than encoders that subsample chroma. At one quality for both,
    OpenCV's writer gives the very pixels of Pillow's, so it would be no other encoder. A metric
    sees this codec in training alone. Our choice.

    Raises:
        SettingError: An option is unknown or out of range.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "q": integer_option(75, _COARSER + 1, 100, "quality of luma; that of chroma is 25 lower")
    }
    name = "coarse_chroma"

    def __init__(self, **options: Any):
        self.options = convert_options(type(self), options)
        self.setting = f"q={self.options['q']}"
        self.fingerprint = f"{self.name}:{self.setting}@opencv-{cv2.__version__}"

    def encode(self, image: np.ndarray) -> bytes:
        check_image(image)
        quality = self.options["q"]
        options = (
            (cv2.IMWRITE_JPEG_QUALITY, quality)
            + (cv2.IMWRITE_JPEG_LUMA_QUALITY, quality)
            + (cv2.IMWRITE_JPEG_CHROMA_QUALITY, quality - _COARSER)
        )
        done, stream = cv2.imencode(".jpg", image[:, :, ::-1], options)
        if not done:
            height, width = image.shape[:2]
            raise SettingError(
                f"OpenCV cannot encode an image of {width}x{height} (width x height) as JPEG"
            )
        return stream.tobytes()

    def decode(self, stream: bytes) -> np.ndarray:
        return decode_image(stream)
