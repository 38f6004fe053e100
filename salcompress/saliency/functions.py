"""Saliency: how much each place of an image draws the eye, in [0, 1]."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from salcompress.image import check_image, to_tensor

if TYPE_CHECKING:
    from salcompress.saliency.network import SaliencyNet

NETWORK_WEIGHTS = Path(__file__).parents[1] / "weights" / "saliency.safetensors"
NETWORK_SIDE = 320
"""The network sees an image at this long side, whatever its own, so that work and memory are
bounded. It scores best at this size (its card)."""
_LEAST_SIDE = 32  # of what the network sees, the stride of its deepest features


def seen_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which the network sees an image."""
    scale = NETWORK_SIDE / max(height, width)
    return max(_LEAST_SIDE, round(height * scale)), max(_LEAST_SIDE, round(width * scale))


def run_network(model: "SaliencyNet", image: np.ndarray) -> np.ndarray:
    """Saliency of an image by a network: scaled to :data:`NETWORK_SIDE`, and the map scaled back.

    Args:
        image: uint8 (H, W, 3), RGB, of any size.

    Returns:
        float32 (H, W) in [0, 1].
    """
    import torch

    check_image(image)
    height, width = image.shape[:2]
    seen_height, seen_width = seen_size(height, width)
    # averages where it gets smaller; INTER_AREA would be nearest neighbour where it gets larger
    smaller = max(height, width) > NETWORK_SIDE
    seen = cv2.resize(
        image,
        (seen_width, seen_height),
        interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR,
    )
    device = next(model.parameters()).device
    with torch.autocast(device.type, enabled=False):  # whatever the caller's training loop has set
        saliency = (
            model.saliency(to_tensor(seen).to(device, memory_format=torch.channels_last))[0, 0]
            .cpu()
            .numpy()
        )
    return np.clip(cv2.resize(saliency, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)


class NetworkSaliency:
    """A saliency function by SaliencyNet; picklable, and loaded when first used, in each process.

    Args:
        weights: Weights file; None takes the shipped one.
        device: As torch names it.

    Raises:
        SettingError: When called: the file does not exist, or the device cannot be used.
        DataError: When called: the file is damaged, or of another network.
    """

    def __init__(self, weights: Path | str | None = None, device: str = "cpu"):
        self.weights, self.device = Path(weights or NETWORK_WEIGHTS), device
        self._model: SaliencyNet | None = None

    def __reduce__(self):
        return NetworkSaliency, (self.weights, self.device)

    @property
    def label(self) -> str:
        """Names the function, by its weights, in settings and fingerprints."""
        from salcompress.models.weight_file import read_weight_file

        return f"network-{read_weight_file(self.weights, 'a saliency network').fingerprint[:8]}"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Saliency float32 (H, W) in [0, 1] of a uint8 (H, W, 3)."""
        if self._model is None:
            self._model = self.load(self.device)
        return run_network(self._model, image)

    def load(self, device: str) -> "SaliencyNet":
        """A copy of the network on a device."""
        from salcompress.saliency.network import load_saliency_network

        return load_saliency_network(self.weights, device)


SHIPPED_NETWORK = NetworkSaliency()


def network_saliency(image: np.ndarray) -> np.ndarray:
    """Salient objects as SaliencyNet sees them, with the shipped weights, on the CPU: float32 (H,
    W) in [0, 1].

    Args:
        image: uint8 (H, W, 3), RGB, of any size.
    """
    return SHIPPED_NETWORK(image)


@functools.cache
def network_fingerprint() -> str:
    """Eight digits of the shipped weights' fingerprint: maps of one fingerprint are the same up to
    float rounding.
    """
    from salcompress.models.weight_file import read_weight_file

    return read_weight_file(NETWORK_WEIGHTS, "a saliency network").fingerprint[:8]


def encode_map(saliency: np.ndarray) -> bytes:
    """An 8-bit grey PNG of a map float (H, W) in [0, 1]; white is 1."""
    return cv2.imencode(".png", np.round(saliency * 255).astype(np.uint8))[1].tobytes()


def classical_saliency(image: np.ndarray) -> np.ndarray:
    """Frequency-tuned saliency: distance in CIE Lab of the slightly blurred image from its mean
    colour.

    Achanta, Hemami, Estrada and Susstrunk, "Frequency-tuned salient region detection", CVPR 2009.
    Needs no weights.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        float32 (H, W) in [0, 1], 1 at the most salient place; all 0 for an image of one colour.
    """
    check_image(image)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    distance = np.linalg.norm(cv2.GaussianBlur(lab, (5, 5), 0) - lab.mean((0, 1)), axis=2)
    largest = distance.max()
    # under one unit of Lab, the smallest difference that an eye sees, there is nothing to be
    # salient
    return (
        (distance / largest).astype(np.float32)
        if largest > 1
        else np.zeros_like(distance, np.float32)
    )


def uniform_saliency(image: np.ndarray) -> np.ndarray:
    """The same everywhere: float32 zeros (H, W)."""
    check_image(image)
    return np.zeros(image.shape[:2], np.float32)


SALIENCY = {
    "network": network_saliency,
    "classical": classical_saliency,
    "uniform": uniform_saliency,
}
"""Saliency functions by name."""
