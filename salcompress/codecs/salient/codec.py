"""The learned codec.

Saliency steers the bits, a hierarchical auto-regressive prior codes them, and streams are exact.
What happens to an image stands in ``encoder.py`` and ``decoder.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from salcompress.bitstream.container import read_stream
from salcompress.codecs.base import CodingMaps, Option, convert_options
from salcompress.codecs.salient.known_weights import (
    KnownWeights,
    find_weights,
    name_of,
    weights_that_made,
)
from salcompress.codecs.salient.networks import (
    check_device,
    default_device,
    load_shared,
    model_on_device,
)
from salcompress.codecs.salient.options import OPTIONS
from salcompress.codecs.salient.rate_search import level_for_bpp, level_for_psnr, quality_of
from salcompress.codecs.salient.reconstruction import Reconstruction, num_bits, reconstruct
from salcompress.codecs.salient.setting import Setting, WithSetting, checked_setting
from salcompress.codecs.salient.steering import (
    cell_levels,
    checked_map,
    named_function,
)

if TYPE_CHECKING:
    from salcompress.codecs.salient.search_loss import ReconstructionLoss
    from salcompress.models.compression_model import CompressionModel


class SalientCodec(WithSetting):
    """Learned codec with real bitstreams (.salc), one model for all rates.

    Decoding needs neither saliency nor settings: the stream carries the quality map, and says which
    weights made it. Those of the model zoo are found by themselves, whatever this codec encodes by.
    Every machine decodes the same symbols; pixels are computed in float: across threads and
    backends of one machine 3 of a million values differed, by one grey level.

    Args:
        q: Base quality in [0, 1].
        saliency: A source of ``salcompress.saliency.sources``: "network", "classical", "uniform",
            or "importance:DETECTOR", how much the features of that detector change for a change of
            the picture; a function from uint8 (H, W, 3) to a map (H, W) in [0, 1] (its ``label``,
            if it has one, names it in settings); or such a map for all images of its size.
        saliency_strength: Quality levels, of 64, between a cell of saliency 0 and one of saliency
            1.
        effort: Steps of a search that refines the latents of each image before they are coded (see
            :mod:`salcompress.codecs.salient.refine`). 0 codes the analysis as it is. Decoding takes
            no longer, and knows nothing of it. Encoding is two orders slower.
        weights: Name in the model zoo, as "photo" or "detector", or in the folders of the
            environment variable ``SALCOMPRESS_WEIGHTS``; or a file. None takes "photo".
        device: "cpu", "cuda", ...; CUDA where there is one if None.

    Raises:
        SettingError: An option is out of range, or the weights or the device do not exist.
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
        self._setting = checked_setting(type(self), q, saliency, saliency_strength, effort, weights)
        check_device(device)
        self.device = device
        self._loaded, self.model_fingerprint = load_shared(self.weights)
        self._others: dict[bytes, SalientCodec] = {}  # that decode streams of other weights

    @property
    def fingerprint(self) -> str:  # type: ignore[override]  # the protocol's is read alone
        return self._setting.fingerprint(self.model_fingerprint, self._loaded.trained_with)

    def __reduce__(self):
        return _rebuild, (self._setting, self.device)

    def __copy__(self) -> "SalientCodec":
        # not by __reduce__, which loads the weights: their file may be gone
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __deepcopy__(self, memo: dict) -> "SalientCodec":
        return self.__copy__()  # nothing of it changes

    @property
    def model(self) -> "CompressionModel":
        """The networks, on their device.

        The device is chosen when it is first used, since a loader's worker has other devices than
        its parent.
        """
        return model_on_device(self._loaded, self.device or default_device())

    def encode(self, image: np.ndarray) -> bytes:
        return self.encode_batch([image])[0]

    def decode(self, stream: bytes) -> np.ndarray:
        return self.decode_batch([stream])[0]

    def encode_batch(self, images: Sequence[np.ndarray]) -> list[bytes]:
        """The stream of each image; images of one padded size go through the networks together.

        Raises:
            SettingError: One is no image, or too large.
        """
        from salcompress.codecs.salient.encoder import encode_images

        return encode_images(self, images)

    def decode_batch(self, streams: Sequence[bytes]) -> list[np.ndarray]:
        """The image of each stream, as if it had been alone. Streams may be of several weights.

        Raises:
            BitstreamError: One is truncated or damaged, or of weights that are not at hand, as of
                :meth:`decoder_of`.
        """
        from salcompress.codecs.salient.decoder import decode_streams

        return decode_streams(lambda made_by: self.decoder_of(made_by).model, streams)

    def decoder_of(self, fingerprint: bytes) -> "SalientCodec":
        """The codec whose weights made a stream: this one, or one of known weights on its device.

        Args:
            fingerprint: Four bytes, as the stream has them.

        Raises:
            ModelMismatchError: They are neither this codec's nor known by a name, as of
                :func:`~.known_weights.known_weights`.
        """
        if fingerprint == self.model_fingerprint:
            return self
        if fingerprint not in self._others:
            own = KnownWeights(name_of(self.weights), self.weights, self.model_fingerprint)
            found = weights_that_made(fingerprint, own)
            self._others[fingerprint] = self.with_weights(found.path, self.device)
        return self._others[fingerprint]

    def refine(
        self, image: np.ndarray, loss: "ReconstructionLoss | None" = None, effort: int | None = None
    ) -> bytes:
        """The stream of an image after a search, which a loss of the caller's may steer: a metric,
        or a detector's features.

        Args:
            image: uint8 (H, W, 3), RGB.
            loss: Takes the reconstruction, float32 (1, 3, H, W), RGB in [0, 1], on the codec's
                device, and gives a differentiable scalar in bits per pixel, which counts in place
                of lambda x (squared error + perceptual distance). It sees the whole of large
                images, too. None takes the loss of training.
            effort: Steps of the search. None takes the codec's own, or 150 if that is 0.

        Raises:
            SettingError: ``image`` is no image, ``effort`` is no integer in its range, or it is 0
                though there is a loss; or the loss gives no scalar, is not finite, or has no
                gradient.
        """
        from salcompress.codecs.salient.encoder import encode_steered_by
        from salcompress.codecs.salient.refine import USUAL_STEPS

        searching = self.with_effort(self.effort or USUAL_STEPS if effort is None else effort)
        return encode_steered_by(searching, image, loss)

    def saliency_of(self, image: np.ndarray) -> np.ndarray:
        """The map that steers the encoder on an image, (H, W) in [0, 1].

        Raises:
            SettingError: ``image`` is no image or too large, or the saliency function gave a map of
                another size, or out of [0, 1].
        """
        return checked_map(self.saliency, image)

    def levels_of(self, image: np.ndarray) -> np.ndarray:
        """Quality level of each 64x64 cell of an image, uint8 (rows, columns).

        Raises:
            SettingError: As of :meth:`saliency_of`.
        """
        return self.levels_for(self.saliency_of(image))

    def levels_for(self, saliency: np.ndarray) -> np.ndarray:
        """:meth:`levels_of` an image that has this saliency map, (H, W) in [0, 1]."""
        return cell_levels(saliency, self.quality, self.saliency_strength)

    def maps(self, image: np.ndarray, stream: bytes) -> CodingMaps:
        from salcompress.codecs.salient.decoder import maps_of

        header, payload = read_stream(stream)
        model = self.decoder_of(header.fingerprint).model
        return maps_of(model, header, payload, self.saliency_of(image))

    def reconstruct(self, image: np.ndarray) -> Reconstruction:
        """Image and rate as encoding and decoding would give them, without writing a stream."""
        return reconstruct(self, image)

    def num_bits(self, image: np.ndarray) -> int:
        """``reconstruct(image).num_bits`` without the image: in half of the time."""
        return num_bits(self, image)

    def time_parts(self, image: np.ndarray) -> dict[str, float]:
        """Seconds of each part of one encoding and decoding of an image."""
        from salcompress.codecs.salient.timing import time_parts

        return time_parts(self, image)

    def with_quality(self, q: float) -> "SalientCodec":
        """The same codec at another base quality, sharing its networks.

        Raises:
            SettingError: ``q`` is not in [0, 1].
        """
        return self._with(quality=convert_options(type(self), {"q": q})["q"])

    def with_effort(self, effort: int) -> "SalientCodec":
        """The same codec with another effort, sharing its networks.

        Raises:
            SettingError: ``effort`` is no integer in its range.
        """
        return self._with(effort=convert_options(type(self), {"effort": effort})["effort"])

    def with_saliency(self, saliency: Any) -> "SalientCodec":
        """The same codec steered by another function or map, sharing its networks.

        Args:
            saliency: As of the constructor.

        Raises:
            SettingError: It is none of these.
        """
        function, steering = named_function(saliency)
        return self._with(saliency=function, steering=steering)

    def with_weights(self, weights: Path | str, device: str | None = None) -> "SalientCodec":
        """The same codec with other networks.

        Args:
            weights: A name or a file, as of the constructor.
            device: Where it computes, as of the constructor.

        Raises:
            SettingError, DataError: As of the constructor.
        """
        return _rebuild(replace(self._setting, weights=find_weights(weights)), device)

    def at_target_bpp(self, image: np.ndarray, bpp: float) -> "SalientCodec":
        """The codec at the highest quality whose stream of ``image`` costs at most ``bpp`` bits per
        pixel.

        Raises:
            SettingError: Even the lowest quality costs more.
        """
        return self.with_quality(quality_of(level_for_bpp(self, image, bpp)))

    def at_target_psnr(self, image: np.ndarray, psnr: float) -> "SalientCodec":
        """The codec at the lowest quality that reaches ``psnr`` dB on ``image``.

        Raises:
            SettingError: Even the highest quality does not.
        """
        return self.with_quality(quality_of(level_for_psnr(self, image, psnr)))


def _rebuild(setting: Setting, device: str | None) -> SalientCodec:
    """A codec that loads its networks from the setting's weight file."""
    codec = SalientCodec(weights=setting.weights, device=device)
    codec._setting = setting
    return codec
