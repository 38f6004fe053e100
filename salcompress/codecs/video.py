"""Video codecs that code one picture: HEVC by x265 and VVC by VVenC, through FFmpeg.

They need the extra ``[codecs]``. A stream is the elementary stream in Annex B's byte format, of one
intra picture and its parameter sets, without a container. A player of video shows it.

Three choices are ours. The encoders optimise for squared error, without their psychovisual tools.
Samples have 10 bits, by :mod:`salcompress.codecs.ycbcr`. Each process codes on one thread, so that
a stream does not depend on the machine, and workers do not crowd it.

The encoders take no sides below 16 pixels, and no odd ones with 4:2:0. Such an image is padded at
its right and lower edges by repeating the last column and row. One byte in front of the stream then
says by how many (columns in its high half, rows in its low one). It counts in the rate. An
elementary stream begins with a zero byte, so streams without padding need no such byte.

A stream ends with the NAL unit "end of bitstream", five bytes that count in the rate. Without it
FFmpeg's decoders would take a truncated picture for a whole one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from salcompress.codecs.base import (
    Codec,
    Option,
    choice_option,
    convert_options,
    integer_option,
)
from salcompress.codecs.ffmpeg import LARGEST_PICTURE, FfmpegError, ffmpeg_binary, run
from salcompress.codecs.ycbcr import DEPTH, rgb_to_ycbcr, ycbcr_to_rgb
from salcompress.errors import BitstreamError, CorruptError, SettingError, TruncatedError
from salcompress.image import check_image

MIN_SIDE = 16
_START_CODES = (b"\0\0\1", b"\0\0\0\1")
_Y4M_HEADER = re.compile(rb"YUV4MPEG2 W(\d+) H(\d+) [^\n]*?\bC(4\d\d)p10\b[^\n]*\nFRAME[^\n]*\n")


class VideoCodec(Codec):
    """A video codec at a constant quantization parameter (QP). Subclasses say which.

    The keyword arguments are those of ``OPTIONS``. The quality ``q`` goes from 0 to 100, and higher
    is better. It sets ``QP = max_qp * (100 - q) / 100``, rounded down, on the codec's own scale
    from 0 to ``max_qp``.

    Raises:
        SettingError: An option is unknown or out of range.
        CodecUnavailableError: The extra ``[codecs]`` is missing, or its binary lacks the encoder.
    """

    OPTIONS: ClassVar[Mapping[str, Option]]
    name: str
    library: str
    """FFmpeg's name of the encoder."""
    max_qp: int
    end: bytes
    """The NAL unit "end of bitstream"."""
    limit: str = ""
    """What an image may fail for beside its size, in brackets, as the error says it."""

    def __init__(self, **options: Any):
        self.options = convert_options(type(self), options)
        _, version = ffmpeg_binary(self.name, self.library)
        self.setting = ",".join(f"{key}={value}" for key, value in self.options.items())
        self.fingerprint = f"{self.name}:{self.setting}@ffmpeg-{version}"
        self.encode_s_per_megapixel: float = 2000
        """After these seconds and a minute an encoder is stopped. VVenC's slowest preset took 93 s
        a megapixel on one core of an AMD EPYC.
        """
        self.decode_s: float = 600
        """After these seconds a decoder is stopped."""

    @property
    def qp(self) -> int:
        """Quantization parameter of the quality."""
        return self.max_qp * (100 - self.options["q"]) // 100

    @property
    def subsampling(self) -> int:
        """Chroma subsampling, 444 or 420."""
        return self.options["subsampling"]

    def encoder_options(self) -> Sequence[str]:
        """Options of FFmpeg for the encoder."""
        raise NotImplementedError

    def encode(self, image: np.ndarray) -> bytes:
        check_image(image)
        height, width = image.shape[:2]
        multiple = 2 if self.subsampling == 420 else 1
        rows, columns = (max(MIN_SIDE - side, -side % multiple) for side in (height, width))
        padded = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
        planes = rgb_to_ycbcr(padded, self.subsampling)
        samples = b"".join(plane.astype("<u2").tobytes() for plane in planes)
        source = ["-f", "rawvideo", "-pix_fmt", self._pixel_format, *_COLOUR]
        source += ["-s", f"{width + columns}x{height + rows}", "-i", "-"]
        target = ["-c:v", self.library, "-threads", "1", *self.encoder_options()]
        path, _ = ffmpeg_binary(self.name, self.library)
        timeout_s = 60 + self.encode_s_per_megapixel * height * width / 1e6
        try:
            stream = run(path, [*source, *target, "-f", self.name], samples, timeout_s=timeout_s)
            if not stream.startswith(_START_CODES):
                raise FfmpegError("FFmpeg wrote no stream")
        except FfmpegError as error:
            raise SettingError(
                f"{self.name} cannot encode an image of {width}x{height} (width x height)"
                f"{self.limit}: {error}"
            ) from error
        padding = bytes([columns << 4 | rows]) if rows or columns else b""
        return padding + stream + self.end

    def decode(self, stream: bytes) -> np.ndarray:
        if not stream:
            raise TruncatedError("the stream is empty (0 bytes)")
        padding, elementary = (stream[0], stream[1:]) if stream[0] else (0, stream)
        if len(elementary) < 4:
            raise TruncatedError("the stream ends within its header")
        if not elementary.startswith(_START_CODES):
            raise CorruptError(f"not a {self.name} stream")
        if not elementary.endswith(self.end):
            raise TruncatedError(f"damaged {self.name} stream: its end is missing")
        path, _ = ffmpeg_binary(self.name, self.library)
        source = ["-xerror", "-err_detect", "explode", "-max_pixels", str(LARGEST_PICTURE)]
        source += ["-threads", "1", "-f", self.name, "-i", "-"]
        target = ["-frames:v", "1", "-strict", "-1", "-f", "yuv4mpegpipe"]
        try:
            picture = run(path, [*source, *target], elementary, timeout_s=self.decode_s)
        except FfmpegError as error:
            raise BitstreamError(f"damaged {self.name} stream: {error}") from error
        image = ycbcr_to_rgb(self._planes(picture))
        height, width = image.shape[0] - (padding & 15), image.shape[1] - (padding >> 4)
        if min(height, width) < 1:
            raise CorruptError(
                f"damaged {self.name} stream: the padding is larger than the picture"
            )
        return np.ascontiguousarray(image[:height, :width])

    @property
    def _pixel_format(self) -> str:
        return f"yuv{self.subsampling}p{DEPTH}le"

    def _planes(self, picture: bytes) -> list[np.ndarray]:
        """Planes of a YUV4MPEG2 file of one picture, which FFmpeg has written."""
        header = _Y4M_HEADER.match(picture)
        if header is None or int(header[3]) not in (420, 444):
            raise CorruptError(f"damaged {self.name} stream: it is not 4:4:4 or 4:2:0 of 10 bits")
        width, height, subsampling = (int(number) for number in header.groups())
        chroma = (-(-height // 2), -(-width // 2)) if subsampling == 420 else (height, width)
        planes, place = [], header.end()
        for shape in ((height, width), chroma, chroma):
            count = shape[0] * shape[1]
            if len(picture) < place + 2 * count:
                raise CorruptError(f"damaged {self.name} stream: its picture is incomplete")
            planes.append(np.frombuffer(picture, "<u2", count, place).reshape(shape))
            place += 2 * count
        return planes


_COLOUR = ["-color_range", "pc", "-colorspace", "bt470bg"]
_COLOUR += ["-color_primaries", "bt709", "-color_trc", "iec61966-2-1"]
"""What the samples mean, for other decoders: BT.601 over the full range, of sRGB."""


class HevcCodec(VideoCodec):
    """HEVC (H.265) by x265, one intra picture: what BPG is, without BPG's container.

    QP goes from 0 to 51. Wavefronts are off, which would reset the probabilities in each row.

    BPG: Fabrice Bellard, 2014, https://bellard.org/bpg/.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "q": integer_option(60, 0, 100, "quality; QP is 51 (100 - q) / 100, rounded down"),
        "subsampling": choice_option(444, (420, 444), "chroma subsampling"),
        "preset": choice_option(
            "slower",
            ("ultrafast", "veryfast", "fast", "medium", "slow", "slower", "veryslow", "placebo"),
            "effort of x265, from the fastest to the slowest",
        ),
    }
    name, library, max_qp = "hevc", "libx265", 51
    end = b"\0\0\1\x4a\1"

    def encoder_options(self) -> Sequence[str]:
        parameters = "keyint=1:ipratio=1:wpp=0:pools=none:frame-threads=1:info=0:log-level=error"
        quality = ["-preset", self.options["preset"], "-tune", "psnr", "-qp", str(self.qp)]
        return [*quality, "-x265-params", parameters]


class VvcCodec(VideoCodec):
    """VVC (H.266) by VVenC, one intra picture. VVenC knows 4:2:0 of 10 bits alone.

    QP goes from 0 to 63. VVenC's perceptual adaptation of QP and its lower QP of intra pictures are
    off. FFmpeg gives VVenC one byte a pixel, so pictures that need more are refused: photographs at
    qualities near 100, and noise above 70.

    Wieckowski et al., "VVenC: An open and optimized VVC encoder implementation", ICMEW 2021,
    https://doi.org/10.1109/ICMEW53276.2021.9455944.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "q": integer_option(60, 0, 100, "quality; QP is 63 (100 - q) / 100, rounded down"),
        "subsampling": choice_option(420, (420,), "chroma subsampling"),
        "preset": choice_option(
            "medium",
            ("faster", "fast", "medium", "slow", "slower"),
            "effort of VVenC, from the fastest to the slowest",
        ),
    }
    name, library, max_qp = "vvc", "libvvenc", 63
    end = b"\0\0\1\0\xb1"
    limit = " in one byte a pixel, all that FFmpeg gives VVenC, or at all"

    def encoder_options(self) -> Sequence[str]:
        parameters = "gopsize=1:intraperiod=1:intraqpoffset=0:accessunitdelimiter=0"
        parameters += ":alfspeed=0:range=full"
        quality = ["-preset", self.options["preset"], "-qpa", "0", "-qp", str(self.qp)]
        return [*quality, "-vvenc-params", parameters]
