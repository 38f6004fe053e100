"""The learned codec as a part of a larger network: differentiable on images of any sizes, and deployable as it stands."""
import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.bitstream.container import check_size
from salcompress.codecs.batched import enough_memory
from salcompress.codecs.grouping import by_shape, cells_of
from salcompress.codecs.salient import SalientCodec
from salcompress.errors import SettingError
from salcompress.files import write_atomically
from salcompress.image import PLACE
from salcompress.models.compression_model import save_model
from salcompress.models.quality_map import CELL
from salcompress.saliency import NetworkSaliency, network_saliency
from salcompress.training.codec import shipped_perceptual
from salcompress.training.losses import RateDistortion, rate_distortion, saliency_weights


class SoftlyCoded(NamedTuple):
    """What a training pass gives, of N images in the order in which they came."""

    pictures: list[Tensor]
    """(3, H, W) each, about [0, 1]; gradients reach the codec."""
    terms: RateDistortion
    salient_share: Tensor
    """Mean saliency of the places where the (estimated) bits are, (N,)."""


class DifferentiableCodec(nn.Module):
    """Networks of a learned codec in training.

    Values are rounded with straight-through gradients, as a stream would have them. Rates are taken of the rounded values: with uniform noise in
    place of rounding, as the codec's own training begins, they were 1.5 to 2 times those of streams on COCO images.

    Args:
        start: The codec to begin with; its saliency and strength steer, its quality is what :meth:`deployed` has.
        device: Where the networks are.
        saliency_weight: Squared errors at the most salient places count 1 plus this as much as at the least.
        perceptual_weight: Squared 8-bit error that a distance of 1 by the shipped metric counts as; 0 leaves it out.
        mixed_precision: bfloat16 in the transforms; never in the prior.

    Attributes:
        networks: The ``CompressionModel``, a copy of the start's.

    Raises:
        SettingError: A weight is negative.
    """

    def __init__(self, start: SalientCodec, device: torch.device | str = "cpu", *, saliency_weight: float = 0.0, perceptual_weight: float = 0.0,
                 mixed_precision: bool = True):
        super().__init__()
        if saliency_weight < 0 or perceptual_weight < 0:
            raise SettingError(f"weights of saliency and perceptual distance must be at least 0, got {saliency_weight} and {perceptual_weight}")
        self.start, self.saliency_weight, self.mixed_precision = start, saliency_weight, mixed_precision
        self._saliency = NetworkSaliency(device=str(device)) if start.saliency is network_saliency else start.saliency
        self.networks = copy.deepcopy(start.model).to(device)
        self.perceptual = shipped_perceptual(perceptual_weight, str(device)) if perceptual_weight else None
        self._deployed: SalientCodec | None = None

    @property
    def device(self) -> torch.device:
        return next(self.networks.parameters()).device

    def forward(self, images: Sequence[Tensor], qualities: Sequence[float]) -> SoftlyCoded:
        """Code images of any sizes; those of one size in whole cells go through the networks together.

        Args:
            images: uint8 (3, H, W), RGB, on the codec's device.
            qualities: Base quality of each, in [0, 1].

        Raises:
            SettingError: An image is larger than a stream may be, or there is not enough memory.
        """
        for image in images:
            check_size(*image.shape[1:])
        with enough_memory(self.device, images):
            return self._forward(images, qualities)

    def _forward(self, images: Sequence[Tensor], qualities: Sequence[float]) -> SoftlyCoded:
        self._deployed = None  # the weights are about to change
        self.networks.prior.project()  # an optimizer may have led them out of the bounds within which the prior is exact
        order, parts = [], []
        for members in by_shape([cells_of(*image.shape[1:]) for image in images]):
            order += members
            parts.append(self._code([images[k] for k in members], [qualities[k] for k in members]))
        place = torch.tensor(order).argsort().to(self.device)
        terms = RateDistortion(*(torch.cat(values)[place] for values in zip(*(part.terms for part in parts))))
        pictures = [picture for part in parts for picture in part.pictures]
        return SoftlyCoded([pictures[k] for k in place.tolist()], terms, torch.cat([part.salient_share for part in parts])[place])

    def _code(self, images: Sequence[Tensor], qualities: Sequence[float]) -> SoftlyCoded:
        rows, columns = cells_of(*images[0].shape[1:])
        padded, inside, levels, saliency = [], [], [], []
        for image, quality in zip(images, qualities):
            padding = (0, columns * CELL - image.shape[2], 0, rows * CELL - image.shape[1])
            padded.append(F.pad(image[None].float() / 255, padding, mode="replicate"))
            inside.append(F.pad(torch.ones_like(padded[0][:, :1, : image.shape[1], : image.shape[2]]), padding))
            salient = np.asarray(self._saliency(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())), np.float32)
            levels.append(torch.from_numpy(self.start.with_quality(quality).levels_for(salient).astype(np.int64)))
            saliency.append(F.pad(torch.from_numpy(salient)[None, None], padding))
        image, seen, salient = torch.cat(padded).contiguous(memory_format=torch.channels_last), torch.cat(inside), torch.cat(saliency).to(self.device)
        cell_levels = torch.stack(levels)[:, None].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            output = self.networks(image, cell_levels, hard=True)
        with torch.autocast(self.device.type, enabled=False):
            weight = saliency_weights(salient, self.saliency_weight) if self.saliency_weight else None
            terms = rate_distortion(output, image, cell_levels, weight, self.perceptual, seen)
            bits = output.estimated_bits_1.detach()
            share = (bits * F.avg_pool2d(salient, PLACE)[:, 0]).sum((1, 2)) / bits.sum((1, 2)).clamp(min=1e-9)
        pictures = [whole[:, : image.shape[1], : image.shape[2]] for whole, image in zip(output.reconstruction.float(), images)]
        return SoftlyCoded(pictures, terms, share)

    def deployed(self) -> SalientCodec:
        """The codec of the present weights as its users will have it: rounded as in a weight file, and exact. Kept until the next training pass."""
        if self._deployed is None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "codec.safetensors"
                self.export(path)
                self._deployed = self.start.with_weights(path, str(self.device))
        return self._deployed

    def export(self, path: Path | str) -> None:
        """Write the present weights as a file for ``load_codec("salient:weights=PATH,q=...")``.

        Raises:
            OutputError: The file cannot be written.
        """
        model = copy.deepcopy(self.networks).cpu()
        model.prior.project()
        write_atomically(Path(path), save_model(model))
