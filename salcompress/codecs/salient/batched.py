"""The learned codec for batches of images that are tensors, on the codec's device."""

import concurrent.futures
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.container import read_stream
from salcompress.bitstream.format import cells_of
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.batch_steering import BatchMember, BatchSteering, network_on
from salcompress.codecs.salient.bit_counter import stream_bits
from salcompress.codecs.salient.decoder import decoded_together, read, synthesise_padded
from salcompress.codecs.salient.encoder import analyse_padded, padded, write
from salcompress.codecs.salient.grouping import CELLS_AT_ONCE, by_shape, in_one_batch
from salcompress.codecs.salient.networks import default_device
from salcompress.codecs.salient.refine import cells_at_once as cells_at_once_in_search
from salcompress.codecs.salient.refusals import check_image_tensor, enough_memory, refusal_named
from salcompress.codecs.salient.search_window import Search
from salcompress.codecs.salient.symbols import HostSymbols, SymbolTensors
from salcompress.codecs.salient.transfer import to_device, to_host

_CELLS_AT_ONCE_ON_CPU = 80
"""Cells of one COCO image: two at once leave the caches of a CPU, and the synthesis then takes a
quarter longer.
"""


class CompressedBatch:
    """Images that went through the codec; their rates may still be on their way.

    Attributes:
        images: uint8 (3, H, W), RGB, on the codec's device: what decoding gives, up to one grey
            level in rare places. On CUDA, valid on the stream that was current when the batch was
            started.
    """

    def __init__(
        self,
        images: list[Tensor],
        rates: Callable[[], list[int]],
        streams: list[concurrent.futures.Future],
    ):
        self.images, self._rates, self._streams = images, rates, streams

    def num_bits(self) -> list[int]:
        """Of each image, waiting until they are known: 8 x the length of its stream, or that length
        by the integer tables.
        """
        return self._rates()

    def streams(self) -> list[bytes]:
        """The .salc streams, where real ones were asked for; waits until they are written."""
        return [stream.result() for stream in self._streams]


class BatchedCodec:
    """Compresses batches of images of different sizes; each image comes out as if alone.

    On CUDA, where launching the networks' kernels takes longer than computing them, images of all
    sizes go through the networks in one padded batch; on the CPU those of one padded size do. On
    the CPU levels and streams equal those of ``codec.encode``. On CUDA the saliency network, too,
    runs there and in batches, which moves a level by one in rare cells, and what is real-valued
    rounds otherwise than on a CPU; streams decode everywhere in any case. Nothing waits for the
    device but the rates, other saliency functions than the network (they run on the host), and what
    is first used. A codec with an effort searches, on CUDA in smaller batches, on the CPU image by
    image; its saliency is then computed on the host.

    Args:
        codec: At its quality, saliency and device.
        real_streams: Write the streams, in ``pool``; else count their lengths by the integer
            tables, within 64 bits each.
        mixed_precision: Transforms in bfloat16: quicker on recent GPUs. Pixels then differ from
            those that decoding gives, by a grey level or two; the rate is that of the symbols from
            which they were made. The prior is exact in any case.
        pool: Writes streams; one thread of its own if None. More threads help little: the coder
            keeps Python's lock while it codes (measured with constriction 0.5), so they code while
            the networks run, and one after another.
        cells_at_once: 64x64 cells that go through the networks together, unless one image has more:
            bounds memory. As suits the device if None.
        mixed_sizes: Whether images of several padded sizes go together. As suits the device if
            None.
    """

    def __init__(
        self,
        codec: SalientCodec,
        *,
        real_streams: bool = False,
        mixed_precision: bool = False,
        pool: concurrent.futures.ThreadPoolExecutor | None = None,
        cells_at_once: int | None = None,
        mixed_sizes: bool | None = None,
    ):
        self.codec, self.real_streams, self.mixed_precision = codec, real_streams, mixed_precision
        self.device = torch.device(codec.device or default_device())
        self.cells_at_once = cells_at_once or (
            _CELLS_AT_ONCE_ON_CPU if self.device.type == "cpu" else CELLS_AT_ONCE
        )
        if codec.effort:
            self.cells_at_once = min(
                self.cells_at_once, cells_at_once_in_search(self.device.type, codec.effort)
            )
        self.mixed_sizes = self.device.type == "cuda" if mixed_sizes is None else mixed_sizes
        self._pool = pool or (
            concurrent.futures.ThreadPoolExecutor(1, "salcompress-coder") if real_streams else None
        )
        self.steering = BatchSteering(codec, self.device, network_on(codec, self.device))

    def start(
        self,
        images: Sequence[Tensor],
        names: Sequence[str] | None = None,
        qualities: Sequence[float] | None = None,
    ) -> CompressedBatch:
        """Compress images, uint8 (3, H, W), RGB. They may lie on the host, best in pinned memory,
        or on the codec's device.

        Args:
            names: Of the images' files, for errors.
            qualities: Base quality of each image in [0, 1]; the codec's if None.

        Raises:
            SettingError: One is no image or too large, the saliency function's map does not fit, or
                there is not enough memory.
            DataError: In place of a SettingError about one image if it has a name.
        """
        members = [
            BatchMember(
                image,
                self.codec if qualities is None else self.codec.with_quality(qualities[k]),
                None if names is None else names[k],
            )
            for k, image in enumerate(images)
        ]
        for member in members:
            with refusal_named(member.name):
                check_image_tensor(member.image)
        with enough_memory(self.device, images):
            return self._start(members)

    def decode(self, streams: Sequence[bytes], names: Sequence[str] | None = None) -> list[Tensor]:
        """The images of streams, uint8 (3, H, W), RGB, on the codec's device.

        Images of one padded size go through the networks together, and streams may be of several
        weights. Nothing is brought to the host
        but what the entropy decoder needs there, which is a table for each symbol.

        Args:
            names: Of the streams' files, for errors.

        Raises:
            BitstreamError: A stream is truncated or damaged, or of weights that are not at hand.
            DataError: In place of a BitstreamError about one stream if it has a name.
        """
        opened = []
        for k, stream in enumerate(streams):
            with refusal_named(None if names is None else names[k]):
                opened.append(read_stream(stream))
                self.codec.decoder_of(opened[-1][0].fingerprint)
        images: dict[int, Tensor] = {}
        for group in decoded_together([header for header, _ in opened], self.cells_at_once):
            first = opened[group[0]][0]
            model = self.codec.decoder_of(first.fingerprint).model
            shape = cells_of(first.height, first.width)
            symbols = read(model, [opened[k] for k in group], shape)
            pixels = synthesise_padded(
                model, symbols.latent, symbols.cell_levels, self.mixed_precision
            )
            for k, image in zip(group, pixels):
                height, width = opened[k][0].height, opened[k][0].width
                images[k] = image[:, :height, :width].contiguous()
        return [images[k] for k in range(len(streams))]

    def _start(self, members: Sequence[BatchMember]) -> CompressedBatch:
        """Compress images, as many at once as ``cells_at_once`` allows."""
        cells = [member.cells for member in members]
        images: dict[int, Tensor] = {}
        streams: dict[int, concurrent.futures.Future] = {}
        counts: list[tuple[list[int], Callable[[], list[Tensor]]]] = []
        for group in (in_one_batch if self.mixed_sizes else by_shape)(cells, self.cells_at_once):
            together = [members[k] for k in group]
            symbols = self._symbols(together)
            if self.real_streams:
                streams.update(zip(group, self._write(symbols, together)))
            else:
                counts.append((group, self._count(symbols, together)))
            images.update(zip(group, self._decoded(symbols, together)))
        in_order = [images[k] for k in range(len(members))]
        if not self.real_streams:
            return CompressedBatch(in_order, lambda: _in_order(counts), [])
        writing = [streams[k] for k in range(len(members))]
        return CompressedBatch(
            in_order, lambda: [8 * len(stream.result()) for stream in writing], writing
        )

    def _symbols(self, members: Sequence[BatchMember]) -> SymbolTensors:
        """Symbols of images that go through the networks together."""
        rows, columns = (max(sides) for sides in zip(*(member.cells for member in members)))
        moved = [member.image.to(self.device, non_blocking=True) for member in members]
        images = padded(moved, (rows, columns))
        steered = self.steering(members, images)
        search = None
        if self.codec.effort:
            search = Search(self.codec.effort, [member.size for member in members], steered.maps)
        return analyse_padded(
            self.codec.model,
            images,
            steered.cell_levels,
            self.mixed_precision,
            steered.extent,
            search,
        )

    def _count(
        self, symbols: SymbolTensors, members: Sequence[BatchMember]
    ) -> Callable[[], list[Tensor]]:
        """Begin to count the bits of the images' streams; a call waits for them, int64 (N,)."""
        base = torch.tensor([member.codec.base_level for member in members])
        return to_host([stream_bits(symbols, to_device(base, self.device))])

    def _decoded(self, symbols: SymbolTensors, members: Sequence[BatchMember]) -> list[Tensor]:
        """What decoding gives of the images, uint8 (3, H, W)."""
        pixels = synthesise_padded(
            self.codec.model,
            symbols.latent,
            symbols.cell_levels,
            self.mixed_precision,
            symbols.extent,
        )
        sizes = (member.size for member in members)
        return [
            image[:, :height, :width].contiguous() for image, (height, width) in zip(pixels, sizes)
        ]

    def _write(
        self, symbols: SymbolTensors, members: Sequence[BatchMember]
    ) -> list[concurrent.futures.Future]:
        """Have the pool write the images' streams."""
        count = len(symbols.groups)
        arrived = to_host(
            [
                *(group.to(torch.int16) for group in symbols.groups),
                *symbols.tables,
                symbols.cell_levels[:, 0].to(torch.uint8),
            ]
        )

        def one(k: int) -> bytes:
            codec, size = members[k].codec, members[k].size
            parts = _cut([part.numpy()[k] for part in arrived()], members[k].cells)
            groups = [group.astype(np.int32) for group in parts[:count]]
            image = HostSymbols(parts[-1], groups, parts[count:-1])
            return write(image, size, codec.base_level, codec.model_fingerprint)

        assert self._pool is not None  # it is made where real streams are asked for
        return [self._pool.submit(one, k) for k in range(len(members))]


def _in_order(counts: Sequence[tuple[list[int], Callable[[], list[Tensor]]]]) -> list[int]:
    """Bits of the images in their order, waiting for them.

    Args:
        counts: Numbers of images, and what gives their bits.
    """
    bits: dict[int, int] = {}
    for group, arrived in counts:
        bits.update(zip(group, arrived()[0].tolist()))
    return [bits[k] for k in range(len(bits))]


def _cut(parts: Sequence[np.ndarray], cells: tuple[int, int]) -> list[np.ndarray]:
    """Groups and tables (C', h', w') and levels (rows, columns) of an image in a batch, cut to what
    an image of so many cells has of them.
    """
    *symbols, levels = parts
    cut = []
    for part in symbols:
        # level 1 has two positions a cell, level 2 one for two cells
        is_fine = part.shape[1] > levels.shape[0]
        height, width = (2 * side if is_fine else (side + 1) // 2 for side in cells)
        cut.append(part[:, :height, :width])
    return [*cut, levels[: cells[0], : cells[1]]]
