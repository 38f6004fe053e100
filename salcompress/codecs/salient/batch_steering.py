"""Where saliency steers the bits of batches that are tensors."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.format import CELL, cells_of
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.refusals import refusal_named
from salcompress.models.batch_extent import Extent
from salcompress.models.quality_map import allocate_levels_of_batch, block_means
from salcompress.saliency.batched import DeviceSaliency, seen_by_all
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


class HostSteering(NamedTuple):
    """What the host knows of a batch before it is steered."""

    values: dict[str, Tensor]
    """By name, for :meth:`BatchSteering.levels`. The names and shapes are few, whatever the batch;
    all else is in the values.
    """
    seen: tuple[int, int] | None
    """Height and width of the batch in which the saliency network sees the images, if it does."""
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

    def on_host(self, members: Sequence[BatchMember], cells: tuple[int, int]) -> HostSteering:
        """All that is made on the host.

        Args:
            members: The images of the batch.
            cells: Rows and columns of cells of the batch.

        Raises:
            SettingError: A saliency function's map does not fit.
            DataError: In its place if the image has a name.
        """
        qualities = [member.codec.quality for member in members]
        values = {"quality": torch.tensor(qualities, dtype=torch.float64)}
        if any(member.cells != cells for member in members):
            values["sides"] = torch.tensor([member.cells for member in members])
        if self._codec.saliency is uniform_saliency:
            return HostSteering(values, None, None)
        by_network = [
            self._network is not None and self._network.fits(*member.size) for member in members
        ]
        maps = [] if all(by_network) else self._on_host(members, by_network, cells, values)
        if self._network is None or not any(by_network):
            return HostSteering(values, None, maps if self._codec.effort else None)
        sizes = [member.size for member in members]
        values |= self._network.known(sizes, cells)
        return HostSteering(values, seen_by_all(sizes), None)

    def levels(
        self, images: Tensor, values: Mapping[str, Tensor], seen: tuple[int, int] | None
    ) -> tuple[Tensor, Extent | None]:
        """Steer a batch, without waiting for the device.

        Args:
            images: On the device, uint8 (N, 3, 64 rows, 64 columns), padded.
            values: Those of :class:`HostSteering`, on the device.
            seen: As there.

        Returns:
            Quality level of each cell, int64 (N, 1, rows, columns), where beyond an image its last
            row and column repeat; and where the images are, if one does not fill the batch.
        """
        rows, columns = images.shape[2] // CELL, images.shape[3] // CELL
        extent = Extent(*values["sides"].unbind(1)) if "sides" in values else None
        levels = allocate_levels_of_batch(
            values["quality"],
            self._saliency(images, values, seen),
            self._codec.saliency_strength,
            None if extent is None else extent.inside((rows, columns), 1)[:, 0],
        )[:, None]
        if extent is not None:
            levels = extent.repeat_edges(levels, 1, rows, columns)
        return levels, extent

    def _saliency(
        self, images: Tensor, values: Mapping[str, Tensor], seen: tuple[int, int] | None
    ) -> Tensor:
        """Mean saliency of the cells, float64 (N, rows, columns), 0 beyond an image."""
        from_host = values.get("saliency")
        if seen is None or self._network is None:
            shape = (len(images), images.shape[2] // CELL, images.shape[3] // CELL)
            zeros = torch.zeros(shape, dtype=torch.float64, device=images.device)
            return zeros if from_host is None else from_host
        by_network = self._network.of_batch(images, values, seen)
        if from_host is None:
            return by_network
        return torch.where(values["by_network"][:, None, None], by_network, from_host)

    def _on_host(
        self,
        members: Sequence[BatchMember],
        by_network: Sequence[bool],
        cells: tuple[int, int],
        values: dict[str, Tensor],
    ) -> list[np.ndarray]:
        """The maps of the images that the network does not see on the device. The means of their
        cells come into ``values``.
        """
        means, maps = np.zeros((len(members), *cells)), []
        for k, member in enumerate(members):
            if not by_network[k]:
                maps.append(_map_on_host(member))
                rows, columns = member.cells
                means[k, :rows, :columns] = block_means(maps[-1], rows, columns, CELL)
        values["saliency"] = torch.from_numpy(means)
        if any(by_network):
            values["by_network"] = torch.tensor(by_network)
        return maps


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
