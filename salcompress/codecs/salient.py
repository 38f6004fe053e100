"""The learned codec: saliency steers the bits, a hierarchical auto-regressive prior codes them, streams are exact."""
import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from salcompress.codecs.base import Codec, CodingMaps, Option, convert_options
from salcompress.errors import SettingError
from salcompress.files import digest
from salcompress.image import PLACE, check_image
from salcompress.saliency import SALIENCY

if TYPE_CHECKING:
    from salcompress.models.compression_model import CompressionModel

WEIGHTS = Path(__file__).parents[1] / "weights" / "codec.safetensors"
_CELLS_AT_ONCE = 3072
"""Cells of 64x64 pixels, 12.6 megapixels, that go through the networks in one batch unless one image has more."""
SaliencyFunction = Callable[[np.ndarray], np.ndarray]


class Reconstruction(NamedTuple):
    """What a stream would give, counted without being written."""

    image: np.ndarray
    """uint8 (H, W, 3), what decoding gives up to one grey level in rare places (see :class:`SalientCodec`)."""
    num_bits: int
    """Length of the stream in bits, from the integer tables, headers included; the stream's own within 64 bits + 0.5 %."""
    bits_map: np.ndarray
    """Bits at each 16x16 place of the image, padded to whole 64x64 cells, by both latents and the quality map; float64 (rows, columns)."""


def unit_interval(value: Any) -> float:
    """Converter to a number in [0, 1]."""
    return _number(value, 0, 1)


def _number(value: Any, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not low <= number <= high:
        raise ValueError(f"a number from {low:g} to {high:g}")
    return number


def _saliency_name(value: Any) -> str:
    if value not in SALIENCY:
        raise ValueError(f"one of {', '.join(SALIENCY)}")
    return value


class SalientCodec(Codec):
    """Learned codec with real bitstreams (.salc), one model for all rates.

    Decoding needs neither saliency nor settings: the stream carries the quality map. Symbols are the same on every machine; pixels
    are computed in float: across threads and backends of one machine 3 of a million values differed, by one grey level.

    Args:
        q: Base quality in [0, 1].
        saliency: A name of ``salcompress.saliency.SALIENCY``, a function from uint8 (H, W, 3) to a map (H, W) in [0, 1] (its ``label``, if it has one,
            names it in settings), or such a map for all images of its size.
        saliency_strength: Quality levels, of 64, between a cell of saliency 0 and one of saliency 1.
        weights: File; the shipped one if None.
        device: "cpu", "cuda", ...; CUDA where there is one if None.

    Raises:
        SettingError: An option is out of range, or the weights file or the device does not exist.
        DataError: The weights are damaged, or break the bounds of exactness.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "q": Option(0.5, unit_interval, "base quality"),
        "saliency": Option("classical", _saliency_name, " or ".join(SALIENCY)),
        "saliency_strength": Option(6.0, lambda v: _number(v, 0, 64), "quality levels between least and most salient"),
        "weights": Option(None, str, "weights file, the shipped one"),
        "device": Option(None, str, "cpu, cuda, ..., CUDA where there is one"),
    }
    name = "salient"

    def __init__(self, q: Any = 0.5, *, saliency: Any = "classical", saliency_strength: Any = 6.0, weights: Any = None, device: Any = None):
        given = {"q": q, "saliency_strength": saliency_strength, "saliency": saliency if isinstance(saliency, str) else "uniform"}
        options = convert_options(type(self), given)
        self.quality, self.saliency_strength = options["q"], options["saliency_strength"]
        self.saliency: SaliencyFunction = SALIENCY[options["saliency"]] if isinstance(saliency, str) else _as_function(saliency)
        self.weights, self.device = Path(weights or WEIGHTS), device
        _check_device(device)
        self._loaded, self.model_fingerprint = _load(self.weights)
        self._given_saliency = saliency
        steering = "uniform" if isinstance(saliency, str) and saliency == "uniform" else f"{_saliency_label(saliency)},saliency_strength={self.saliency_strength:g}"
        self.setting = f"q={self.quality!r},saliency={steering}"
        self.fingerprint = f"salient:{self.setting}@{self.model_fingerprint.hex()}"

    def __reduce__(self):
        arguments = {"saliency": self._given_saliency, "weights": str(self.weights), "saliency_strength": self.saliency_strength,
                     "device": self.device}
        return _rebuild, (self.quality, arguments)

    @property
    def model(self) -> "CompressionModel":
        """The networks, on their device; chosen when first used, since a loader's worker has other devices than its parent."""
        return _on_device(self._loaded, self.model_fingerprint, self.device or _default_device())

    def encode(self, image: np.ndarray) -> bytes:
        return self.encode_batch([image])[0]

    def decode(self, stream: bytes) -> np.ndarray:
        return self.decode_batch([stream])[0]

    def levels_of(self, image: np.ndarray) -> np.ndarray:
        """Quality level of each 64 x 64 cell of an image, uint8 (rows, columns).

        Raises:
            SettingError: The saliency function gave a map of another size, or out of [0, 1].
        """
        from salcompress.bitstream.container import check_size
        from salcompress.models.quality_map import CELL, allocate_levels, block_means

        check_image(image)
        check_size(*image.shape[:2])
        rows, columns = (-(-side // CELL) for side in image.shape[:2])
        return allocate_levels(self.quality, block_means(self._saliency_of(image), rows, columns, CELL), self.saliency_strength)

    def _saliency_of(self, image: np.ndarray) -> np.ndarray:
        saliency = np.asarray(self.saliency(image))
        if saliency.shape != image.shape[:2]:
            raise SettingError(f"the saliency map is {saliency.shape}, and the image {image.shape[:2]} (height, width)")
        if not (np.issubdtype(saliency.dtype, np.floating) or saliency.dtype == bool) or not np.all((saliency >= 0) & (saliency <= 1)):
            raise SettingError("the saliency map must be of float or bool in [0, 1], without NaN")
        return saliency

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[bytes]:
        """Streams of several images, independent of each other; images of one padded size go through the networks together.

        Raises:
            SettingError: One is no image, or too large.
        """
        from salcompress.codecs.salient_coding import Analysed, analyse, write

        groups = [self.levels_of(image) for image in images]
        streams: list[bytes] = [b""] * len(images)
        for members in _by_shape([levels.shape for levels in groups]):
            analysed: list[Analysed] = analyse(self.model, [images[k] for k in members], [groups[k] for k in members])
            for k, found in zip(members, analysed):
                streams[k] = write(found, images[k].shape[:2], round(self.quality * 63), self.model_fingerprint)
        return streams

    def decode_batch(self, streams: Sequence[bytes]) -> list[np.ndarray]:
        """Images of several streams, each as if alone.

        Raises:
            BitstreamError: One is truncated, damaged, or of another model.
        """
        from salcompress.bitstream.container import read_stream
        from salcompress.codecs.salient_coding import read, synthesise

        opened = [read_stream(stream, self.model_fingerprint) for stream in streams]
        shapes = [tuple(-(-side // 64) for side in (header.height, header.width)) for header, _ in opened]
        images: list[np.ndarray | None] = [None] * len(streams)
        for members in _by_shape(shapes):
            decoded = read(self.model, [opened[k] for k in members], shapes[members[0]])
            for k, image in zip(members, synthesise(self.model, decoded.latent, decoded.cell_levels)):
                images[k] = np.ascontiguousarray(image[: opened[k][0].height, : opened[k][0].width])
        return images

    def maps(self, image: np.ndarray, stream: bytes) -> CodingMaps:
        from salcompress.bitstream.container import read_stream
        from salcompress.codecs.salient_coding import read, spatial_bits
        from salcompress.models.quality_map import CELL, block_means

        header, payload = read_stream(stream, self.model_fingerprint)
        shape = tuple(-(-side // CELL) for side in (header.height, header.width))
        decoded = read(self.model, [(header, payload)], shape)
        levels = decoded.cell_levels[0, 0].cpu().numpy().astype(np.uint8)
        bits = spatial_bits(levels, [group[0] for group in decoded.groups], [tables[0] for tables in decoded.tables], header.level)
        places = tuple(CELL // PLACE * side for side in shape)
        saliency = block_means(self._saliency_of(image), *places, PLACE)
        return CodingMaps(saliency.astype(np.float32), np.kron(levels / 63, np.ones((4, 4))).astype(np.float32), bits.astype(np.float32))

    def reconstruct(self, image: np.ndarray) -> Reconstruction:
        """Image and rate as encoding and decoding would give them, without writing a stream."""
        from salcompress.codecs.salient_coding import analyse, count, synthesise

        levels = self.levels_of(image)
        analysed, = analyse(self.model, [image], [levels])
        num_bits, bits_map = count(analysed, round(self.quality * 63))
        decoded, = synthesise(self.model, analysed.latent, analysed.cell_levels)
        return Reconstruction(np.ascontiguousarray(decoded[: image.shape[0], : image.shape[1]]), num_bits, bits_map)

    def time_parts(self, image: np.ndarray) -> dict[str, float]:
        """Seconds of each part of one encoding and decoding of an image."""
        from salcompress.codecs.salient_coding import time_parts

        return time_parts(self.model, image, self.levels_of(image), round(self.quality * 63), self.model_fingerprint)

    def with_quality(self, q: float) -> "SalientCodec":
        """The same codec at another base quality, sharing its networks."""
        return type(self)(q, saliency=self._given_saliency, weights=self.weights,
                          saliency_strength=self.saliency_strength, device=self.device)

    def at_target_bpp(self, image: np.ndarray, bpp: float) -> "SalientCodec":
        """The codec at the highest quality whose stream of ``image`` costs at most ``bpp`` bits per pixel.

        Raises:
            SettingError: Even the lowest quality costs more.
        """
        limit = bpp * image.shape[0] * image.shape[1]
        return self._search(lambda codec: 8 * len(codec.encode(image)) <= limit, True, f"{bpp:g} bpp")

    def at_target_psnr(self, image: np.ndarray, psnr: float) -> "SalientCodec":
        """The codec at the lowest quality that reaches ``psnr`` dB on ``image``.

        Raises:
            SettingError: Even the highest quality does not.
        """
        from salcompress.metrics.distortion import psnr as measure

        return self._search(lambda codec: (measure(image, codec.reconstruct(image).image) or np.inf) >= psnr, False, f"{psnr:g} dB")

    def _search(self, reached: Callable[["SalientCodec"], bool], highest: bool, target: str) -> "SalientCodec":
        """Bisection over the 64 levels for the last level that keeps, or the first that meets, a condition monotone in quality."""
        low, high = (0, 63)
        if not reached(self.with_quality(0.0 if highest else 1.0)):
            raise SettingError(f"target {target} is out of reach for this image")
        while low < high:
            middle = (low + high + highest) // 2
            if reached(self.with_quality(middle / 63)) == highest:
                low = middle if highest else middle + 1
            else:
                high = middle - 1 if highest else middle
        return self.with_quality(low / 63)


def _rebuild(quality: float, arguments: dict[str, Any]) -> SalientCodec:
    return SalientCodec(quality, **arguments)


def _as_function(saliency: Any) -> SaliencyFunction:
    if callable(saliency):
        return saliency
    if isinstance(saliency, np.ndarray):
        return _FixedMap(saliency)
    raise SettingError(f"saliency must be one of {', '.join(SALIENCY)}, a function or a map (H, W), got {type(saliency).__name__}")


def _saliency_label(saliency: Any) -> str:
    """A name, or what tells one map or function of a caller from another; a label with it is no specification.

    A function that has a ``label`` is named by that; another by its address, so that caches and records of it end with the process.
    """
    if isinstance(saliency, str):
        return saliency
    if isinstance(getattr(saliency, "label", None), str):
        return saliency.label
    if isinstance(saliency, np.ndarray):
        return "map-" + digest(str(saliency.shape), str(saliency.dtype), np.ascontiguousarray(saliency).tobytes())[:12]
    return f"{getattr(saliency, '__module__', '')}.{getattr(saliency, '__qualname__', type(saliency).__qualname__)}-{id(saliency):x}"


class _FixedMap:
    """A map given by the caller, as a saliency function."""

    def __init__(self, saliency: np.ndarray):
        self.map = saliency

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.map


def _by_shape(shapes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Numbers of images that go through the networks together: of one shape, in cells, and few enough to bound memory."""
    members: dict[tuple[int, int], list[int]] = {}
    for k, shape in enumerate(shapes):
        members.setdefault(shape, []).append(k)
    most = {shape: max(1, _CELLS_AT_ONCE // (shape[0] * shape[1])) for shape in members}
    return [found[start : start + most[shape]] for shape, found in members.items() for start in range(0, len(found), most[shape])]


_LOADED: dict[tuple[str, int], tuple["CompressionModel", bytes]] = {}
_ON_DEVICE: dict[tuple[bytes, str], "CompressionModel"] = {}


def _load(path: Path) -> tuple["CompressionModel", bytes]:
    """A model on the CPU and its fingerprint, shared by all codecs of one weight file."""
    from salcompress.models.compression_model import load_model

    if not path.is_file():
        raise SettingError(f"weights file {path} does not exist")
    key = (str(path.resolve()), path.stat().st_mtime_ns)
    if key not in _LOADED:
        _LOADED[key] = load_model(path)
    return _LOADED[key]


def _check_device(device: str | None) -> None:
    import torch

    if device is None:
        return
    try:
        if torch.empty(0, device=device).device.type not in ("cpu", "cuda"):
            raise RuntimeError("neither cpu nor cuda")
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error


def _default_device() -> str:
    """CUDA where there is one; but a data loader's worker, a fork, cannot use it."""
    import torch

    in_loader = torch.utils.data.get_worker_info() is not None
    return "cuda" if torch.cuda.is_available() and not in_loader else "cpu"


def _on_device(model: "CompressionModel", fingerprint: bytes, device: str) -> "CompressionModel":
    """The model on a device, its prior proved exact there; shared by all codecs of one model."""
    import torch

    key = (fingerprint, device)
    if key not in _ON_DEVICE:
        moved = copy.deepcopy(model).to(device, memory_format=torch.channels_last)
        expected = model.prior.known_answer("cpu")  # which loading has compared with that of the machine that trained it
        for carrier in (torch.float32, torch.float64):
            moved.prior.freeze(carrier)
            if moved.prior.known_answer(device) == expected:
                break
        else:
            raise SettingError(f"the prior is not exact on {device}: streams would not decode elsewhere; use device=cpu")
        _ON_DEVICE[key] = moved
    return _ON_DEVICE[key]
