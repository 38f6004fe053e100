"""The codec that compresses nothing."""

import numpy as np

from salcompress.codecs.base import Codec
from salcompress.image import check_image, decode_image


class IdentityCodec(Codec):
    """No compression.

    Where an image came from a file, that file is its stream, so the rate is that of the source (see
    :func:`salcompress.evaluation.round_trip.code`). The stream of bare pixels is an uncompressed
    PPM file, of 24 bits per pixel.
    """

    name = "none"
    setting = ""
    fingerprint = "none"

    def encode(self, image: np.ndarray) -> bytes:
        check_image(image)
        height, width, _ = image.shape
        return b"P6 %d %d 255\n" % (width, height) + image.tobytes()

    def decode(self, stream: bytes) -> np.ndarray:
        return decode_image(stream)
