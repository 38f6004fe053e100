"""JPEG XL by libjxl, through FFmpeg. It needs the extra ``[codecs]``."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from salcompress.codecs.base import Codec, Option, convert_options, integer_option
from salcompress.codecs.ffmpeg import LARGEST_PICTURE, FfmpegError, ffmpeg_binary, run
from salcompress.errors import BitstreamError, CorruptError, SettingError, TruncatedError
from salcompress.image import check_image, decode_image

_LIBRARY = "libjxl"
_SIGNATURE = b"\xff\x0a"


class JpegXlCodec(Codec):
    """JPEG XL by libjxl, whose lossy mode works in its own colour space, XYB, without subsampling.

    A stream is the bare codestream, a .jxl file without a container. The quality is that of
    libjxl's tools, which turn it into a Butteraugli distance; 100 is lossless. FFmpeg takes
    distances up to 15, so the lowest quality is 11. libjxl optimises for Butteraugli, and not for
    squared error.

    Alakuijala et al., "JPEG XL next-generation image compression architecture and coding tools",
    SPIE 2019, https://doi.org/10.1117/12.2529237.

    Raises:
        SettingError: An option is unknown or out of range.
        CodecUnavailableError: The extra ``[codecs]`` is missing, or its binary lacks libjxl.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "q": integer_option(75, 11, 100, "quality"),
        "effort": integer_option(7, 1, 9, "effort; higher is slower and smaller"),
    }
    name = "jxl"

    def __init__(self, **options: Any):
        self.options = convert_options(type(self), options)
        _, version = ffmpeg_binary(self.name, _LIBRARY)
        self.setting = ",".join(f"{key}={value}" for key, value in self.options.items())
        self.fingerprint = f"{self.name}:{self.setting}@ffmpeg-{version}"
        self.encode_s_per_megapixel: float = 600
        """After these seconds and a minute the encoder is stopped."""
        self.decode_s: float = 600
        """After these seconds the decoder is stopped."""

    @property
    def distance(self) -> float:
        """Butteraugli distance of the quality, by ``JxlEncoderDistanceFromQuality`` of libjxl."""
        q = self.options["q"]
        if q == 100:
            return 0.0
        return 0.1 + (100 - q) * 0.09 if q >= 30 else 53 / 3000 * q**2 - 23 / 20 * q + 25

    def encode(self, image: np.ndarray) -> bytes:
        check_image(image)
        height, width = image.shape[:2]
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-color_primaries", "bt709"]
        source += ["-color_trc", "iec61966-2-1", "-s", f"{width}x{height}", "-i", "-"]
        target = ["-c:v", _LIBRARY, "-threads", "1", "-distance", f"{self.distance:.6f}"]
        target += ["-effort", str(self.options["effort"]), "-f", "image2pipe"]
        path, _ = ffmpeg_binary(self.name, _LIBRARY)
        timeout_s = 60 + self.encode_s_per_megapixel * height * width / 1e6
        try:
            stream = run(path, [*source, *target], image.tobytes(), timeout_s=timeout_s)
            if not stream.startswith(_SIGNATURE):
                raise FfmpegError("FFmpeg wrote no codestream")
        except FfmpegError as error:
            raise SettingError(
                f"{self.name} cannot encode an image of {width}x{height} (width x height): {error}"
            ) from error
        return stream

    def decode(self, stream: bytes) -> np.ndarray:
        if not stream:
            raise TruncatedError("the stream is empty (0 bytes)")
        if not stream.startswith(_SIGNATURE[: len(stream)]):
            raise CorruptError("not a JPEG XL stream")
        if len(stream) < 4:  # FFmpeg would wait for ever for the rest of a single byte
            raise TruncatedError("the stream ends within its header")
        path, _ = ffmpeg_binary(self.name, _LIBRARY)
        source = ["-xerror", "-err_detect", "explode", "-max_pixels", str(LARGEST_PICTURE)]
        source += ["-threads", "1", "-f", "jpegxl_pipe", "-c:v", _LIBRARY, "-i", "-"]
        target = ["-frames:v", "1", "-c:v", "ppm", "-pix_fmt", "rgb24", "-f", "image2pipe"]
        try:
            picture = run(path, [*source, *target], stream, timeout_s=self.decode_s)
        except FfmpegError as error:
            raise BitstreamError(f"damaged {self.name} stream: {error}") from error
        return decode_image(picture)
