"""The features of a detector's backbone, differentiable in the picture."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from salcompress.detectors import load_detector
from salcompress.detectors.base import Detector, input_size_of
from salcompress.errors import DataError, SettingError

MOST_PIXELS = 2**21
"""Most pixels of a picture that a backbone is shown. A detector that would see more is shown the
picture at a smaller scale, so that memory is bounded: a ResNet-50 with a feature pyramid keeps
about 4 KB of a pixel for its gradient.
"""


class DetectorFeatures:
    """What the backbone of a detector makes of a picture, at the size at which the detector sees
    it.

    The detector must hold a torch network of Detectron2's kind, with ``backbone``, ``pixel_mean``
    and ``pixel_std``, or of torchvision's kind, with ``backbone`` and ``transform``. A detector of
    anyone's file may hold it in attributes, containers and closures. Pictures are resized by an
    antialiased bilinear filter, whatever filter the detector has.

    Args:
        detector: With a network; its weights get no gradients from now on.
        scale: Pictures are resized by so much, in place of the detector's own size, which enlarges
            crops of pictures. None is the detector's own.

    Attributes:
        label: The detector's.
        fingerprint: The detector's.
        device: The network's.

    Raises:
        SettingError: The detector has no such network, or ``scale`` is not positive.
    """

    def __init__(self, detector: Detector, scale: float | None = None):
        if scale is not None and not scale > 0:
            raise SettingError(f"scale must be above 0, got {scale}")
        self.label, self.fingerprint = detector.label, detector.fingerprint
        self._detector, self._scale = detector, scale
        self._sizes = dict[tuple[int, int], tuple[int, int]]()
        self.network = _network_of(detector)
        self.network.eval().requires_grad_(False)
        self.device = next(self.network.parameters()).device

    def seen_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width to which the detector resizes a picture, or smaller ones of the same
        shape if those have more than :data:`MOST_PIXELS`.

        A detector that has no ``input_size`` is asked to detect in a white picture, and what comes
        to its backbone tells.

        Raises:
            DataError: The detector fails, or its backbone sees nothing of the picture.
        """
        size = height, width
        if size not in self._sizes:
            if self._scale is not None:
                seen = math.ceil(height * self._scale), math.ceil(width * self._scale)
            else:
                seen = input_size_of(self._detector, *size) or self._watched_size(*size)
            scale = min(1.0, math.sqrt(MOST_PIXELS / (seen[0] * seen[1])))
            self._sizes[size] = max(1, int(seen[0] * scale)), max(1, int(seen[1] * scale))
        return self._sizes[size]

    def shown(self, picture: Tensor) -> Tensor:
        """A picture at the size at which the detector sees it.

        Args:
            picture: Float RGB (1, 3, H, W) in [0, 1], on any device.

        Returns:
            (1, 3, h, w) in [0, 1] on the network's device, differentiable in the picture.
        """
        size = self.seen_size(*picture.shape[2:])
        picture = picture.to(self.device, torch.float32)
        return F.interpolate(picture, size, mode="bilinear", antialias=True)

    def of_shown(self, shown: Tensor) -> dict[str, Tensor]:
        """Features of a picture that :meth:`shown` gave.

        Returns:
            Features by name, (1, C, h, w) each, differentiable.
        """
        backbone: Any = self.network.backbone
        with torch.autocast(self.device.type, enabled=False):
            features = backbone(self._normalised(shown))
        if isinstance(features, Tensor):
            return {"0": features}
        if isinstance(features, Mapping):
            return {str(name): value for name, value in features.items()}
        return {str(k): value for k, value in enumerate(features)}

    def __call__(self, picture: Tensor) -> dict[str, Tensor]:
        """Features by name, (1, C, h, w) each, of a float RGB picture (1, 3, H, W) in [0, 1]; they
        are differentiable in the picture.
        """
        return self.of_shown(self.shown(picture))

    def _normalised(self, shown: Tensor) -> Tensor:
        """What the backbone takes: the network's channels and units, padded with zeros."""
        network: Any = self.network
        if _is_of_torchvision(network):
            transform = network.transform
            values = transform.image_mean, transform.image_std
            divisor = int(transform.size_divisible)
        else:
            is_bgr = getattr(network, "input_format", "BGR") == "BGR"
            shown = 255 * (shown.flip(1) if is_bgr else shown)
            values = network.pixel_mean, network.pixel_std
            divisor = int(getattr(network.backbone, "size_divisibility", 0))
        mean, std = (
            torch.as_tensor(value, dtype=torch.float32, device=self.device).reshape(1, -1, 1, 1)
            for value in values
        )
        height, width = shown.shape[2:]
        divisor = max(1, divisor)
        return F.pad((shown - mean) / std, (0, -width % divisor, 0, -height % divisor))

    def _watched_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a picture on its way into the backbone, without padding.

        Padding is below and on the right, and it is 0, which white is not.
        """
        came: list[Tensor] = []

        def stop(module: nn.Module, arguments: tuple) -> NoReturn:
            came.append(arguments[0][0].detach())
            raise _ReachedError

        backbone: Any = self.network.backbone
        hook = backbone.register_forward_pre_hook(stop)
        try:
            self._detector(np.full((height, width, 3), 255, np.uint8))
        except Exception as error:  # a stranger's code, or our own end of it
            if not came:
                raise DataError(
                    f"detector {self.label} fails for a picture of {height}x{width} pixels: "
                    f"{type(error).__name__}: {error}"
                ) from error
        finally:
            hook.remove()
        filled = came[0].ne(0).any(0) if came else torch.zeros(1, 1)
        if not filled.any():
            raise DataError(
                f"the backbone of detector {self.label} saw nothing of a picture of "
                f"{height}x{width} pixels; give the detector a method input_size(height, width)"
            )
        last_row, last_column = filled.nonzero().amax(0).tolist()
        return last_row + 1, last_column + 1


def load_features(spec: str, scale: float | None = None) -> DetectorFeatures:
    """The features of the detector of a specification.

    Args:
        spec: As of :func:`salcompress.detectors.load_detector`.
        scale: As of :class:`DetectorFeatures`.

    Raises:
        SettingError: As there, or the detector has no features.
        DataError: As there.
    """
    return DetectorFeatures(load_detector(spec), scale)


class _ReachedError(Exception):
    """The backbone has been reached, and the rest of the detector need not run."""


def _network_of(detector: Detector) -> nn.Module:
    """The first network of a detector that has a backbone and says how pictures come to it.

    Raises:
        SettingError: There is none.
    """
    for module in _modules_of(detector):
        if isinstance(getattr(module, "backbone", None), nn.Module) and (
            _is_of_torchvision(module)
            or (hasattr(module, "pixel_mean") and hasattr(module, "pixel_std"))
        ):
            return module
    raise SettingError(
        f"detector {detector.label} has no features: it holds no torch network with a backbone of "
        "Detectron2's kind (backbone, pixel_mean, pixel_std) or of torchvision's kind (backbone, "
        "transform)"
    )


def _modules_of(detector: Detector) -> Iterator[nn.Module]:
    for network in getattr(detector, "networks", ()):
        yield from network.modules()


def _is_of_torchvision(module: nn.Module) -> bool:
    return isinstance(getattr(module, "transform", None), GeneralizedRCNNTransform)
