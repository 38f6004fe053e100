"""The learned codec: saliency steers the bits, a hierarchical auto-regressive prior codes them,
streams are exact.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from salcompress.bitstream.container import check_size, read_stream
from salcompress.bitstream.format import CELL, NUM_LEVELS, cells_of
from salcompress.codecs.base import Codec, CodingMaps, Option, convert_options
from salcompress.codecs.salient.grouping import by_shape
from salcompress.codecs.salient.networks import (
    check_device,
    default_device,
    load_shared,
    model_on_device,
)
from salcompress.codecs.salient.options import OPTIONS
from salcompress.codecs.salient.rate_search import level_for_bpp, level_for_psnr, quality_of
from salcompress.codecs.salient.steering import (
    SaliencyFunction,
    as_function,
    steering_label,
    steering_map,
)
from salcompress.errors import SettingError
from salcompress.image import check_image
from salcompress.saliency.functions import (
    SALIENCY,
    network_fingerprint,
    network_saliency,
    uniform_saliency,
)
from salcompress.spec import quote_value

if TYPE_CHECKING:
    from torch import Tensor

    from salcompress.codecs.salient.refine import ReconstructionLoss
    from salcompress.codecs.salient.symbols import SymbolTensors
    from salcompress.models.compression_model import CompressionModel

WEIGHTS = Path(__file__).parents[2] / "weights" / "codec.safetensors"


class Reconstruction(NamedTuple):
    """What a stream would give, counted without being written."""

    image: np.ndarray
    """uint8 (H, W, 3), what decoding gives up to one grey level in rare places (see
    :class:`SalientCodec`).
    """
    num_bits: int
    """Length of the stream in bits, from the integer tables, headers included; the stream's own
    within 64 bits.
    """
    bits_map: np.ndarray
    """Bits at each 16x16 place of the image, padded to whole 64x64 cells, by both latents and the
    quality map; float64 (rows, columns).
    """


class SalientCodec(Codec):
    """Learned codec with real bitstreams (.salc), one model for all rates.

    Decoding needs neither saliency nor settings: the stream carries the quality map. Every machine
    decodes the same symbols; pixels are computed in float: across threads and backends of one
    machine 3 of a million values differed, by one grey level.

    Args:
        q: Base quality in [0, 1].
        saliency: A name of ``salcompress.saliency.functions.SALIENCY``, a function from uint8 (H,
            W, 3) to a map (H, W) in [0, 1] (its ``label``, if it has one, names it in settings), or
            such a map for all images of its size.
        saliency_strength: Quality levels, of 64, between a cell of saliency 0 and one of saliency
            1.
        effort: Steps of a search that refines the latents of each image before they are coded (see
            :mod:`salcompress.codecs.salient.refine`). 0 codes the analysis as it is. Decoding takes
            no longer, and knows nothing of it. Encoding is two orders slower.
        weights: File; the shipped one if None.
        device: "cpu", "cuda", ...; CUDA where there is one if None.

    Raises:
        SettingError: An option is out of range, or the weights file or the device does not exist.
        DataError: The weights are damaged, or break the bounds of exactness.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = OPTIONS
    name = "salient"

    def __init__(
        self,
        q: Any = 0.5,
        *,
        saliency: Any = "network",
        saliency_strength: Any = 24.0,
        effort: Any = 0,
        weights: Any = None,
        device: Any = None,
    ):
        given = {
            "q": q,
            "saliency_strength": saliency_strength,
            "effort": effort,
            "saliency": saliency if isinstance(saliency, str) else "uniform",
        }
        options = convert_options(type(self), given)
        self.quality, self.saliency_strength, self.effort = (
            options["q"],
            options["saliency_strength"],
            options["effort"],
        )
        self.saliency: SaliencyFunction = (
            SALIENCY[options["saliency"]] if isinstance(saliency, str) else as_function(saliency)
        )
        self.weights, self.device = Path(weights or WEIGHTS), device
        check_device(device)
        self._loaded, self.model_fingerprint = load_shared(self.weights)
        self._given_saliency, self._steering = saliency, steering_label(saliency)

    @property
    def setting(self) -> str:  # type: ignore[override]  # the protocol's attribute is read alone
        weights = [] if self.weights == WEIGHTS else [f"weights={quote_value(str(self.weights))}"]
        return ",".join([*self._coding_options(), *weights])

    def _coding_options(self) -> list[str]:
        """What of the setting is no path."""
        parts = [f"q={self.quality!r}", f"saliency={self._steering}"]
        if self.saliency is not uniform_saliency:
            parts.append(f"saliency_strength={_short(self.saliency_strength)}")
        if self.effort:
            parts.append(f"effort={self.effort}")
        return parts

    @property
    def fingerprint(self) -> str:  # type: ignore[override]  # as setting
        used = [self.model_fingerprint.hex()]
        if self.saliency is network_saliency:
            used.append(network_fingerprint())
        if self.effort:
            used += self._loaded.trained_with.departures()
        return f"salient:{','.join(self._coding_options())}@{'+'.join(used)}"

    def __reduce__(self):
        arguments = {
            "saliency": self._given_saliency,
            "weights": str(self.weights),
            "saliency_strength": self.saliency_strength,
            "effort": self.effort,
            "device": self.device,
        }
        return _rebuild, (self.quality, arguments, self._steering)

    def __copy__(self) -> "SalientCodec":
        other = object.__new__(
            type(self)
        )  # not by __reduce__, which loads the weights: their file may be gone
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: dict) -> "SalientCodec":
        return self.__copy__()  # nothing of it changes

    @property
    def base_level(self) -> int:
        """Base quality as the stream has it, 0 .. 63."""
        return round(self.quality * (NUM_LEVELS - 1))

    @property
    def model(self) -> "CompressionModel":
        """The networks, on their device; chosen when first used, since a loader's worker has other
        devices than its parent.
        """
        return model_on_device(self._loaded, self.device or default_device())

    def encode(self, image: np.ndarray) -> bytes:
        return self.encode_batch([image])[0]

    def decode(self, stream: bytes) -> np.ndarray:
        return self.decode_batch([stream])[0]

    def levels_of(self, image: np.ndarray) -> np.ndarray:
        """Quality level of each 64 x 64 cell of an image, uint8 (rows, columns).

        Raises:
            SettingError: The saliency function gave a map of another size, or out of [0, 1].
        """
        return self.levels_for(self.saliency_of(image))

    def levels_for(self, saliency: np.ndarray) -> np.ndarray:
        """:meth:`levels_of` an image that has this saliency map, (H, W) in [0, 1]."""
        from salcompress.models.quality_map import allocate_levels, block_means

        return allocate_levels(
            self.quality,
            block_means(saliency, *cells_of(*saliency.shape), CELL),
            self.saliency_strength,
        )

    def saliency_of(self, image: np.ndarray) -> np.ndarray:
        """The map that steers the encoder on an image, (H, W) in [0, 1].

        Raises:
            SettingError: ``image`` is none, or too large, or the saliency function gave a map of
                another size, or out of [0, 1].
        """
        _check(image)
        saliency = np.asarray(steering_map(self.saliency, image))
        if saliency.shape != image.shape[:2]:
            raise SettingError(
                f"the saliency map is {saliency.shape}, and the image {image.shape[:2]} (height, "
                "width); maps are never rescaled: "
                "resize it to the image's size"
            )
        if not (np.issubdtype(saliency.dtype, np.floating) or saliency.dtype == bool) or not np.all(
            (saliency >= 0) & (saliency <= 1)
        ):
            raise SettingError(
                "the saliency map must be of float or bool in [0, 1], without NaN; got "
                f"{saliency.dtype} from {saliency.min()} to "
                f"{saliency.max()}"
                + ("; divide an 8-bit map by 255" if saliency.dtype == np.uint8 else "")
            )
        return saliency

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[bytes]:
        """Streams of several images, independent of each other; images of one padded size go
        through the networks together.

        Raises:
            SettingError: One is no image, or too large.
        """
        from salcompress.codecs.salient.coder import on_host, write
        from salcompress.codecs.salient.refine import cells_at_once

        streams: list[bytes] = [b""] * len(images)
        for image in images:
            _check(image)
        shapes = [cells_of(*image.shape[:2]) for image in images]
        for members in by_shape(
            shapes, cells_at_once(self.device or default_device(), self.effort)
        ):
            for k, found in zip(members, on_host(self._analysed([images[k] for k in members]))):
                streams[k] = write(
                    found, images[k].shape[:2], self.base_level, self.model_fingerprint
                )
        return streams

    def refine(
        self, image: np.ndarray, loss: "ReconstructionLoss | None" = None, effort: int | None = None
    ) -> bytes:
        """The stream of an image after a search, which a loss of the caller's may steer: a metric,
        or a detector's features.

        Args:
            image: uint8 (H, W, 3), RGB.
            loss: Takes the reconstruction, float32 (1, 3, H, W), RGB in [0, 1], on the codec's
                device, and gives a differentiable scalar in bits per pixel, which counts in place
                of lambda x (squared error + perceptual distance). Of large images, too, it sees the
                whole. None takes the loss of training.
            effort: Steps of the search; the codec's own if None, or 150 if that is 0.

        Raises:
            SettingError: ``image`` is none, ``effort`` is no integer in its range, or 0 with a
                loss; or the loss gives no scalar, is not finite, or has no gradient.
        """
        from salcompress.codecs.salient.coder import on_host, write
        from salcompress.codecs.salient.refine import USUAL_STEPS

        searching = self.with_effort(self.effort or USUAL_STEPS if effort is None else effort)
        if loss is not None and not (callable(loss) and searching.effort):
            raise SettingError(
                "loss must be a function of the reconstruction, and needs an effort of at least 1; "
                f"got {type(loss).__name__} and effort {searching.effort}"
            )
        (found,) = on_host(searching._analysed([image], loss))
        return write(found, image.shape[:2], self.base_level, self.model_fingerprint)

    def _analysed(
        self, images: Sequence[np.ndarray], loss: "ReconstructionLoss | None" = None
    ) -> "SymbolTensors":
        """Symbols of images of one padded size, after a search if there is to be one."""
        from salcompress.codecs.salient.coder import analyse
        from salcompress.codecs.salient.refine import Search

        maps = [self.saliency_of(image) for image in images]
        search = None
        if self.effort:
            weights = None if self.saliency is uniform_saliency else maps
            search = Search(self.effort, [image.shape[:2] for image in images], weights, loss)
        return analyse(self.model, images, [self.levels_for(saliency) for saliency in maps], search)

    def decode_batch(self, streams: Sequence[bytes]) -> list[np.ndarray]:
        """Images of several streams, each as if alone.

        Raises:
            BitstreamError: One is truncated, damaged, or of another model.
        """
        from salcompress.codecs.salient.coder import read, synthesise

        opened = [read_stream(stream, self.model_fingerprint) for stream in streams]
        shapes = [cells_of(header.height, header.width) for header, _ in opened]
        images: dict[int, np.ndarray] = {}
        for members in by_shape(shapes):
            decoded = read(self.model, [opened[k] for k in members], shapes[members[0]])
            for k, image in zip(
                members, synthesise(self.model, decoded.latent, decoded.cell_levels)
            ):
                images[k] = np.ascontiguousarray(image[: opened[k][0].height, : opened[k][0].width])
        return [images[k] for k in range(len(streams))]

    def maps(self, image: np.ndarray, stream: bytes) -> CodingMaps:
        from salcompress.codecs.salient.coder import maps_of

        return maps_of(
            self.model, *read_stream(stream, self.model_fingerprint), self.saliency_of(image)
        )

    def reconstruct(self, image: np.ndarray) -> Reconstruction:
        """Image and rate as encoding and decoding would give them, without writing a stream."""
        from salcompress.codecs.salient.bit_counter import spatial_bits, stream_bits
        from salcompress.codecs.salient.coder import synthesise

        found = self._analysed([image])
        base = self._base_levels(found)
        (decoded,) = synthesise(self.model, found.latent, found.cell_levels)
        return Reconstruction(
            np.ascontiguousarray(decoded[: image.shape[0], : image.shape[1]]),
            int(stream_bits(found, base)),
            spatial_bits(found, base)[0].cpu().numpy(),
        )

    def num_bits(self, image: np.ndarray) -> int:
        """``reconstruct(image).num_bits`` without the image: in half of the time."""
        from salcompress.codecs.salient.bit_counter import stream_bits

        found = self._analysed([image])
        return int(stream_bits(found, self._base_levels(found)))

    def _base_levels(self, found: "SymbolTensors") -> "Tensor":
        """The base level of each image of a batch, where its symbols are."""
        return found.cell_levels.new_full((len(found.cell_levels),), self.base_level)

    def time_parts(self, image: np.ndarray) -> dict[str, float]:
        """Seconds of each part of one encoding and decoding of an image."""
        from salcompress.codecs.salient.refine import Search
        from salcompress.codecs.salient.timing import time_parts

        search = Search(self.effort, [image.shape[:2]]) if self.effort else None
        return time_parts(
            self.model,
            image,
            self.levels_of(image),
            self.base_level,
            self.model_fingerprint,
            search,
        )

    def with_quality(self, q: float) -> "SalientCodec":
        """The same codec at another base quality, sharing its networks.

        Raises:
            SettingError: ``q`` is not in [0, 1].
        """
        other = copy.copy(self)
        other.quality = convert_options(type(self), {"q": q})["q"]
        return other

    def with_effort(self, effort: int) -> "SalientCodec":
        """The same codec with another effort, sharing its networks.

        Raises:
            SettingError: ``effort`` is no integer in its range.
        """
        other = copy.copy(self)
        other.effort = convert_options(type(self), {"effort": effort})["effort"]
        return other

    def with_weights(self, weights: Path | str, device: str | None = None) -> "SalientCodec":
        """The same codec with the networks of another weight file.

        Raises:
            SettingError, DataError: As of the constructor.
        """
        other = SalientCodec(
            self.quality,
            saliency=self._given_saliency,
            saliency_strength=self.saliency_strength,
            effort=self.effort,
            weights=weights,
            device=device,
        )
        other._steering = self._steering
        return other

    def at_target_bpp(self, image: np.ndarray, bpp: float) -> "SalientCodec":
        """The codec at the highest quality whose stream of ``image`` costs at most ``bpp`` bits per
        pixel.

        Raises:
            SettingError: Even the lowest quality costs more.
        """
        return self._at(level_for_bpp(self, image, bpp))

    def at_target_psnr(self, image: np.ndarray, psnr: float) -> "SalientCodec":
        """The codec at the lowest quality that reaches ``psnr`` dB on ``image``.

        Raises:
            SettingError: Even the highest quality does not.
        """
        return self._at(level_for_psnr(self, image, psnr))

    def _at(self, level: int) -> "SalientCodec":
        return self.with_quality(quality_of(level))


def _check(image: np.ndarray) -> None:
    check_image(image)
    check_size(*image.shape[:2])


def _short(number: float) -> str:
    """A number as a person would write it, and exactly."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)


def _rebuild(quality: float, arguments: dict[str, Any], steering: str) -> SalientCodec:
    codec = SalientCodec(quality, **arguments)
    codec._steering = steering
    return codec
