"""The learned codec as a part of a larger network: differentiable on images of any sizes, and
deployable as it stands.
"""

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.bitstream.container import check_size
from salcompress.bitstream.format import CELL, NUM_LEVELS, cells_of
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.batched import enough_memory, refusal_named
from salcompress.codecs.salient.grouping import by_shape
from salcompress.errors import SettingError
from salcompress.files import write_atomically
from salcompress.image import PLACE
from salcompress.models.compression_model import TrainedWith, save_model
from salcompress.models.lagrangian import (
    Perceptual,
    RateDistortion,
    rate_distortion,
    saliency_weights,
)
from salcompress.models.untrained_levels import continue_levels
from salcompress.models.weight_file import fingerprint
from salcompress.process import has_quick_bfloat16
from salcompress.saliency.functions import NetworkSaliency, network_saliency, uniform_saliency
from salcompress.training.losses import shipped_perceptual

_ALL_ALIKE = 2**40
"""Cells of each level, where they were not counted: more than any training adds."""


class SoftlyCoded(NamedTuple):
    """What a training pass gives, of N images in the order in which they came."""

    pictures: list[Tensor]
    """(3, H, W) each, about [0, 1]; gradients reach the codec."""
    terms: RateDistortion
    salient_share: Tensor
    """Mean saliency of the places where the (estimated) bits are, (N,)."""


class _Helpers(NamedTuple):
    """What a pass needs beside the codec's networks, on one device."""

    steering: SalientCodec
    """Whose saliency function steers."""
    perceptual: Perceptual | None


class DifferentiableCodec(nn.Module):
    """Networks of a learned codec in training.

    Values are rounded with straight-through gradients, as a stream would have them. Rates are taken
    of the rounded values: with uniform noise in place of rounding, as the codec's own training
    begins, they were 1.5 to 2 times those of streams on COCO images.

    Args:
        start: The codec to begin with; its saliency and strength steer, its quality is what
            :meth:`deployed` has.
        device: Where the networks are.
        saliency_weight: Squared errors at the most salient places count 1 plus this as much as at
            the least.
        perceptual_weight: Squared 8-bit error that a distance of 1 by the shipped metric counts as;
            0 leaves it out.
        mixed_precision: bfloat16 in the transforms, but on CPUs that are slower so; never in the
            prior.

    Attributes:
        networks: The ``CompressionModel``, a copy of the start's.
        cells_of_level: Number of cells that had each quality level while the networks learned,
            int64 (64,); a part of the state.

    Raises:
        SettingError: A weight is negative.
    """

    def __init__(
        self,
        start: SalientCodec,
        device: torch.device | str = "cpu",
        *,
        saliency_weight: float = 0.0,
        perceptual_weight: float = 0.0,
        mixed_precision: bool = True,
    ):
        super().__init__()
        if saliency_weight < 0 or perceptual_weight < 0:
            raise SettingError(
                "weights of saliency and perceptual distance must be at least 0, got "
                f"{saliency_weight} and {perceptual_weight}"
            )
        self.start, self.saliency_weight, self.perceptual_weight, self.mixed_precision = (
            start,
            saliency_weight,
            perceptual_weight,
            mixed_precision,
        )
        self.networks = copy.deepcopy(start.model).to(device)
        self.networks.trained_with = TrainedWith(saliency_weight, perceptual_weight)
        self.cells_of_level: Tensor
        self.register_buffer(
            "cells_of_level", torch.zeros(NUM_LEVELS, dtype=torch.int64, device=device)
        )
        self._helpers: dict[torch.device, _Helpers] = {}
        self._deployed: tuple[Any, SalientCodec] | None = None

    @property
    def device(self) -> torch.device:
        return next(self.networks.parameters()).device

    def _on_device(self) -> "_Helpers":
        """The frozen networks beside the codec's, which are no part of its state, where that is
        now.
        """
        device = self.device
        if device not in self._helpers:
            steering = self.start
            if steering.saliency is network_saliency:
                steering = steering.with_saliency(NetworkSaliency(device=str(device)))
            perceptual = (
                shipped_perceptual(self.perceptual_weight, str(device))
                if self.perceptual_weight
                else None
            )
            self._helpers = {device: _Helpers(steering, perceptual)}
        return self._helpers[device]

    def forward(
        self,
        images: Sequence[Tensor],
        qualities: Sequence[float],
        names: Sequence[str | None] | None = None,
    ) -> SoftlyCoded:
        """Code images of any sizes; those of one size in whole cells go through the networks
        together.

        Args:
            images: uint8 (3, H, W), RGB, on the codec's device.
            qualities: Base quality of each, in [0, 1].
            names: Of the images' files, for errors.

        Raises:
            SettingError: An image is larger than a stream may be, its saliency map does not fit, or
                there is not enough memory.
            DataError: In place of a SettingError about one image if it has a name.
        """
        steering = self._on_device().steering
        saliency = []
        for image, name in zip(images, names or [None] * len(images), strict=True):
            with refusal_named(name):
                check_size(*image.shape[1:])
                if (
                    steering.saliency is uniform_saliency
                ):  # nothing to look at: the picture stays where it is
                    saliency.append(np.zeros(image.shape[1:], np.float32))
                    continue
                pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
                saliency.append(steering.saliency_of(pixels).astype(np.float32))
        with enough_memory(self.device, images):
            return self._forward(images, qualities, saliency)

    def _forward(
        self, images: Sequence[Tensor], qualities: Sequence[float], saliency: Sequence[np.ndarray]
    ) -> SoftlyCoded:
        # an optimizer may have led them out of the bounds within which the prior is exact
        self.networks.prior.project()
        order, parts = [], []
        for members in by_shape([cells_of(*image.shape[1:]) for image in images]):
            order += members
            parts.append(
                self._code(
                    [images[k] for k in members],
                    [qualities[k] for k in members],
                    [saliency[k] for k in members],
                )
            )
        place = torch.tensor(order).argsort().to(self.device)
        terms = RateDistortion(
            *(torch.cat(values)[place] for values in zip(*(part.terms for part in parts)))
        )
        pictures = [picture for part in parts for picture in part.pictures]
        return SoftlyCoded(
            [pictures[k] for k in place.tolist()],
            terms,
            torch.cat([part.salient_share for part in parts])[place],
        )

    def _code(
        self, images: Sequence[Tensor], qualities: Sequence[float], maps: Sequence[np.ndarray]
    ) -> SoftlyCoded:
        rows, columns = cells_of(*images[0].shape[1:])
        padded, inside, levels, saliency = [], [], [], []
        for image, quality, found in zip(images, qualities, maps):
            padding = (0, columns * CELL - image.shape[2], 0, rows * CELL - image.shape[1])
            padded.append(F.pad(image[None].float() / 255, padding, mode="replicate"))
            inside.append(
                F.pad(
                    torch.ones_like(padded[0][:, :1, : image.shape[1], : image.shape[2]]), padding
                )
            )
            levels.append(
                torch.from_numpy(
                    self.start.with_quality(quality).levels_for(found).astype(np.int64)
                )
            )
            saliency.append(F.pad(torch.from_numpy(found)[None, None], padding))
        image, seen, salient = (
            torch.cat(padded).contiguous(memory_format=torch.channels_last),
            torch.cat(inside),
            torch.cat(saliency).to(self.device),
        )
        cell_levels = torch.stack(levels)[:, None].to(self.device)
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.networks.parameters()):
            self.cells_of_level += cell_levels.flatten().bincount(minlength=NUM_LEVELS)
        mixed = self.mixed_precision and (self.device.type != "cpu" or has_quick_bfloat16())
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            output = self.networks(image, cell_levels, hard=True)
        with torch.autocast(self.device.type, enabled=False):
            weight = (
                saliency_weights(salient, self.saliency_weight, seen)
                if self.saliency_weight
                else None
            )
            terms = rate_distortion(
                output, image, cell_levels, weight, self._on_device().perceptual, seen
            )
            bits = output.estimated_bits_1.detach()
            share = (bits * F.avg_pool2d(salient, PLACE)[:, 0]).sum((1, 2)) / bits.sum(
                (1, 2)
            ).clamp(min=1e-9)
        pictures = [
            whole[:, : image.shape[1], : image.shape[2]]
            for whole, image in zip(output.reconstruction.float(), images)
        ]
        return SoftlyCoded(pictures, terms, share)

    def deployed(self) -> SalientCodec:
        """The codec of the present weights as its users will have it: that of :meth:`export`, and
        exact. Kept until a weight or a count of levels changes, which their values alone tell.
        """
        device = str(self.device)
        state = fingerprint(self.state_dict()), device
        if self._deployed is None or self._deployed[0] != state:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "codec.safetensors"
                self.export(path)
                self._deployed = state, self.start.with_weights(path, device)
        return self._deployed[1]

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *others: Any
    ) -> None:
        """Also takes a state of an earlier version, which does not say what levels were drawn: all
        of them count as trained.
        """
        if any(name.startswith(f"{prefix}networks.") for name in state_dict):
            unknown = torch.full_like(self.cells_of_level, _ALL_ALIKE)
            state_dict.setdefault(f"{prefix}cells_of_level", unknown)
        super()._load_from_state_dict(state_dict, prefix, *others)

    def __getstate__(self) -> dict[str, Any]:
        """What can be loaded again elsewhere.

        The deployed copy goes by a temporary file that is gone, and the helpers are frozen networks
        on this process's device; both are made again when they are wanted.
        """
        return {**self.__dict__, "_deployed": None, "_helpers": {}}

    def export(self, path: Path | str) -> None:
        """Write the present weights as a file for ``load_codec("salient:weights=PATH,q=...")``.

        Quality levels that training did not draw go on from those that it did, as the start's do
        (:mod:`salcompress.models.untrained_levels`).

        Raises:
            OutputError: The file cannot be written.
        """
        model = copy.deepcopy(self.networks).cpu()
        continue_levels(model, self.start.model, self.cells_of_level)
        model.prior.project()
        write_atomically(Path(path), save_model(model))
