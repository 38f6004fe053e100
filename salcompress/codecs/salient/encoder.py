"""The encoder: images to symbols to streams.

:func:`encode_images` is the whole of it. In :func:`analyse_padded` a pixel becomes a symbol.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.container import Header, symbol_checksum, write_stream
from salcompress.bitstream.entropy_coder import encode_groups
from salcompress.bitstream.format import CELL, MAX_SYMBOL, cells_of
from salcompress.codecs.salient.grouping import by_shape
from salcompress.codecs.salient.level_map import map_group
from salcompress.codecs.salient.networks import coding, default_device, rounded_to_bfloat16
from salcompress.codecs.salient.refine import cells_at_once, refine
from salcompress.codecs.salient.search_loss import ReconstructionLoss
from salcompress.codecs.salient.search_window import Search
from salcompress.codecs.salient.steering import check_encodable
from salcompress.codecs.salient.symbols import HostSymbols, SymbolTensors
from salcompress.errors import SettingError
from salcompress.models.batch_extent import Extent
from salcompress.models.compression_model import CompressionModel
from salcompress.models.groups import NUM_COARSE_GROUPS, GroupParameters, take_group
from salcompress.saliency.functions import uniform_saliency

if TYPE_CHECKING:
    from salcompress.codecs.salient.codec import SalientCodec


def encode_images(codec: "SalientCodec", images: Sequence[np.ndarray]) -> list[bytes]:
    """The stream of each image, uint8 (H, W, 3).

    Images of one padded size go through the networks together, and none influences another.

    Raises:
        SettingError: One is no image, or too large.
    """
    for image in images:
        check_encodable(image)
    shapes = [cells_of(*image.shape[:2]) for image in images]
    streams: list[bytes] = [b""] * len(images)
    for members in by_shape(shapes, cells_at_once(codec.device or default_device(), codec.effort)):
        symbols = on_host(symbols_of(codec, [images[k] for k in members]))
        for k, of_image in zip(members, symbols):
            streams[k] = write(
                of_image, images[k].shape[:2], codec.base_level, codec.model_fingerprint
            )
    return streams


def encode_steered_by(
    codec: "SalientCodec", image: np.ndarray, loss: ReconstructionLoss | None
) -> bytes:
    """The stream of one image after a search down a caller's loss; None is that of training.

    Raises:
        SettingError: ``image`` is no image, or there is a loss and the codec has no effort; or the
            loss gives no scalar, is not finite, or has no gradient.
    """
    if loss is not None and not (callable(loss) and codec.effort):
        raise SettingError(
            "loss must be a function of the reconstruction, and needs an effort of at least 1; "
            f"got {type(loss).__name__} and effort {codec.effort}"
        )
    (symbols,) = on_host(symbols_of(codec, [image], loss))
    return write(symbols, image.shape[:2], codec.base_level, codec.model_fingerprint)


def symbols_of(
    codec: "SalientCodec", images: Sequence[np.ndarray], loss: ReconstructionLoss | None = None
) -> SymbolTensors:
    """Symbols of images of one padded size: saliency steers, and where the codec has an effort, a
    search refines.
    """
    maps = [codec.saliency_of(image) for image in images]
    search = None
    if codec.effort:
        weights = None if codec.saliency is uniform_saliency else maps
        search = Search(codec.effort, [image.shape[:2] for image in images], weights, loss)
    return analyse(codec.model, images, [codec.levels_for(saliency) for saliency in maps], search)


def analyse_padded(
    model: CompressionModel,
    images: Tensor,
    cell_levels: Tensor,
    mixed_precision: bool = False,
    extent: Extent | None = None,
    search: Search | None = None,
) -> SymbolTensors:
    """Symbols of images that are padded to one size.

    All of it happens on the networks' device, and nothing waits for the device.

    Args:
        images: uint8 (N, 3, 64 rows, 64 columns), RGB.
        cell_levels: Integer (N, 1, rows, columns); beyond an image its last row and column repeat.
        mixed_precision: The analysis in bfloat16; the prior is exact in any case.
        extent: Where the images are, if they are of several numbers of cells.
        search: Refine the latents before they are coded.
    """
    groups: list[Tensor] = []
    tables: list[Tensor] = []

    def code_group(group: GroupParameters) -> Tensor:
        target = take_group(hyper if group.level == 2 else latent, group.level, group.index)
        # Here a pixel becomes a symbol: what the latent is beyond its predicted mean, rounded.
        symbols = torch.round(target - group.mean).clamp_(-MAX_SYMBOL, MAX_SYMBOL)
        groups.append(symbols.to(torch.int32))
        tables.append(group.table.to(torch.uint8))
        return symbols + group.mean

    with coding(model) as device:
        with rounded_to_bfloat16(device, mixed_precision):
            latent, hyper = model.analyse(images.float().div_(255), cell_levels, extent)
        latent, hyper = latent.float(), hyper.float()
        if search is not None:
            latent, hyper = refine(
                model, images, cell_levels, latent, hyper, search, extent, mixed_precision
            )
        decoded, _ = model.prior.traverse(cell_levels, code_group, extent)
    return SymbolTensors(groups, tables, decoded, cell_levels, extent)


def analyse(
    model: CompressionModel,
    images: Sequence[np.ndarray],
    levels: Sequence[np.ndarray],
    search: Search | None = None,
) -> SymbolTensors:
    """Symbols of images of one padded size, by the analysis alone or after a search.

    Args:
        images: uint8 (H, W, 3) each.
        levels: Quality level of each image's cells, uint8 (rows, columns), all of one shape.
    """
    device = next(model.parameters()).device
    pixels = padded([as_tensor(image) for image in images], levels[0].shape).to(device)
    cell_levels = torch.from_numpy(np.stack(levels)[:, None].astype(np.int64)).to(device)
    return analyse_padded(model, pixels, cell_levels, search=search)


def padded(images: Sequence[Tensor], cells: tuple[int, int]) -> Tensor:
    """Images, uint8 (3, H, W), as one batch of whole cells.

    An image's last row and column repeat beyond its edge.

    Returns:
        uint8 (N, 3, 64 rows, 64 columns), on the images' device, channels last.
    """
    batch = empty_batch(len(images), cells, images[0].device)
    pad_into(batch, images)
    return batch


def empty_batch(num_images: int, cells: tuple[int, int], device: torch.device) -> Tensor:
    """Room for a batch of whole cells, as :func:`padded` gives it."""
    shape = (num_images, 3, cells[0] * CELL, cells[1] * CELL)
    return torch.empty(shape, dtype=torch.uint8, device=device, memory_format=torch.channels_last)


def pad_into(batch: Tensor, images: Sequence[Tensor]) -> None:
    """Put images into the first places of a batch, padded as by :func:`padded`."""
    for whole, image in zip(batch, images):
        height, width = image.shape[1:]
        whole[:, :height, :width] = image
        whole[:, :height, width:] = image[:, :, -1:]
        whole[:, height:] = whole[:, height - 1 : height]


def as_tensor(image: np.ndarray) -> Tensor:
    """An image, uint8 (H, W, 3), as (3, H, W). Only what torch cannot share is copied."""
    shared = image if image.flags.writeable else image.copy()
    return torch.from_numpy(np.ascontiguousarray(shared)).permute(2, 0, 1)


def on_host(symbols: SymbolTensors) -> list[HostSymbols]:
    """The images of a batch one by one, brought to the host."""
    levels = symbols.cell_levels[:, 0].to(torch.uint8).cpu().numpy()
    groups = [group.to(torch.int16).cpu().numpy() for group in symbols.groups]
    tables = [used.cpu().numpy() for used in symbols.tables]
    return [
        HostSymbols(levels[k], [group[k] for group in groups], [used[k] for used in tables])
        for k in range(len(levels))
    ]


def write(symbols: HostSymbols, size: tuple[int, int], level: int, fingerprint: bytes) -> bytes:
    """The .salc stream of an image of ``size`` (height, width) coded at base ``level``."""
    map_table, map_groups = map_group(symbols.levels, level)
    groups = [group.reshape(-1) for group in symbols.groups]
    tables = [used.reshape(-1) for used in symbols.tables]
    payload = encode_groups([*map_groups, *zip(groups, tables)])
    header = Header(
        *size,
        level,
        map_table,
        fingerprint,
        len(payload),
        symbol_checksum(groups[:NUM_COARSE_GROUPS], symbols.levels),
        symbol_checksum(groups[NUM_COARSE_GROUPS:]),
    )
    return write_stream(header, payload)
