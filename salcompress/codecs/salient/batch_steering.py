"""Where saliency steers the bits of batches that are tensors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.format import CELL, cells_of
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.refusals import refusal_named
from salcompress.codecs.salient.transfer import to_device
from salcompress.models.batch_extent import Extent
from salcompress.models.quality_map import allocate_levels_of_batch, block_means
from salcompress.saliency.batched import DeviceSaliency
from salcompress.saliency.functions import (
    SHIPPED_NETWORK,
    NetworkSaliency,
    network_saliency,
    uniform_saliency,
)


class BatchMember(NamedTuple):
    """One image that goes through the codec in a batch."""

    image: Tensor
    """uint8 (3, H, W), RGB, where the caller has it."""
    codec: SalientCodec
    """The codec at this image's quality."""
    name: str | None = None
    """Its file, for errors."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[1], self.image.shape[2]

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of 64x64 cells."""
        return cells_of(*self.size)


class Steered(NamedTuple):
    """What steers a batch."""

    cell_levels: Tensor
    """Quality level of each cell, int64 (N, 1, rows, columns), on the codec's device; beyond an
    image its last row and column repeat.
    """
    extent: Extent | None
    """Where the images are, if they are of several numbers of cells."""
    maps: list[np.ndarray] | None
    """Saliency of each image, (H, W), for a search. None where it is uniform or nothing searches.
    """


class BatchSteering:
    """Gives each image of a batch the levels that it has alone.

    Args:
        codec: Its saliency, strength and effort count; each image has a quality of its own.
        device: Where the levels are wanted.
        network: The saliency network on that device, for the images that fit it. Of all others the
            codec's saliency function says the map, on the host.
    """

    def __init__(self, codec: SalientCodec, device: torch.device, network: DeviceSaliency | None):
        self._codec, self._device, self._network = codec, device, network

    def __call__(self, members: Sequence[BatchMember], images: Tensor) -> Steered:
        """Steer a batch.

        Args:
            members: Its images.
            images: The same on the device, uint8 (N, 3, 64 rows, 64 columns), padded.

        Raises:
            SettingError: A saliency function's map does not fit.
            DataError: In its place if the image has a name.
        """
        rows, columns = images.shape[2] // CELL, images.shape[3] // CELL
        extent = None
        if len({member.cells for member in members}) > 1:
            sides = to_device(torch.tensor([member.cells for member in members]), self._device)
            extent = Extent(sides[:, 0], sides[:, 1])
        saliency, maps = self._saliency(members, images, (rows, columns))
        qualities = torch.tensor([member.codec.quality for member in members], dtype=torch.float64)
        levels = allocate_levels_of_batch(
            to_device(qualities, self._device),
            saliency,
            self._codec.saliency_strength,
            None if extent is None else extent.inside((rows, columns), 1)[:, 0],
        )[:, None]
        if extent is not None:
            levels = extent.repeat_edges(levels, 1, rows, columns)
        return Steered(levels, extent, maps)

    def _saliency(
        self, members: Sequence[BatchMember], images: Tensor, cells: tuple[int, int]
    ) -> tuple[Tensor, list[np.ndarray] | None]:
        """Mean saliency of the cells, float64 (N, rows, columns), 0 beyond an image; and the maps
        for a search.
        """
        shape = (len(members), *cells)
        if self._codec.saliency is uniform_saliency:
            return torch.zeros(shape, dtype=torch.float64, device=self._device), None
        on_host = [k for k, member in enumerate(members) if not self._is_on_device(member)]
        means, maps = np.zeros(shape), []
        for k in on_host:
            saliency = _map_on_host(members[k])
            rows, columns = members[k].cells
            means[k, :rows, :columns] = block_means(saliency, rows, columns, CELL)
            maps.append(saliency)
        from_host = torch.from_numpy(means)
        if len(on_host) == len(members) or self._network is None:
            return to_device(from_host, self._device), maps if self._codec.effort else None
        if not on_host:
            return self._network(images, [member.size for member in members]), None
        on_device = [k for k in range(len(members)) if k not in on_host]
        index = to_device(torch.tensor(on_device), self._device)
        by_network = self._network(
            images.index_select(0, index), [members[k].size for k in on_device]
        )
        return to_device(from_host, self._device).index_copy(0, index, by_network), None

    def _is_on_device(self, member: BatchMember) -> bool:
        return self._network is not None and self._network.fits(*member.size)


def _map_on_host(member: BatchMember) -> np.ndarray:
    """The map that the codec's saliency function says of an image, (H, W)."""
    with refusal_named(member.name):
        pixels = member.image.permute(1, 2, 0).cpu().numpy()
        return member.codec.saliency_of(np.ascontiguousarray(pixels))


def network_on(codec: SalientCodec, device: torch.device) -> DeviceSaliency | None:
    """The saliency network of a codec on a device, where it is to run there.

    That is on CUDA, unless the codec searches. A search weighs the errors by maps of the images'
    sizes, and beside it the time of the network on the host is little.
    """
    network = SHIPPED_NETWORK if codec.saliency is network_saliency else codec.saliency
    if device.type != "cuda" or not isinstance(network, NetworkSaliency) or codec.effort:
        return None
    return DeviceSaliency(network.load(str(device)))
