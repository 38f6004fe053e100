"""Compression between loader and detector: pictures in batches on the codec's device, a few batches
ahead of the detector.
"""

import collections
import concurrent.futures
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, NamedTuple, cast

import torch
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor

from salcompress.codecs import Codec, SalientCodec, load_codec, load_codecs
from salcompress.codecs.classical import PillowCodec
from salcompress.codecs.identity import IdentityCodec
from salcompress.codecs.salient.batched import BatchedCodec, enough_memory
from salcompress.codecs.salient.networks import default_device
from salcompress.detectron.device_transforms import apply_transforms
from salcompress.detectron.image_format import check_image_format
from salcompress.detectron.picture_mapper import refuse_twice, without_picture
from salcompress.detectron.staged_picture import (
    STAGE_KEYS,
    InBatch,
    StagedPicture,
    as_array,
    code_on_host,
    stage_picture,
)
from salcompress.detectron.stream_decoder import StreamDecoder
from salcompress.errors import SettingError
from salcompress.image import bits_per_pixel

_MOST_THREADS = 8  # several training processes may share the machine


class CompressedLoader:
    """Any loader of pictures mapped by
    :class:`~salcompress.detectron.original_mapper.OriginalImageMapper`, compressed on the way.

    It yields the loader's batches, in order, as
    :class:`~salcompress.detectron.mapper.CompressedDatasetMapper` would have made them. ``image``
    is uint8 (3, h, w) in ``image_format``, on :attr:`device`: the original picture was compressed,
    and then its recorded transforms were applied. ``num_bits``, ``bpp`` and ``original_size`` stand
    beside it, and ``coded`` with ``measure_distortion``. The detector may be on another device, for
    Detectron2's models move pictures to their own.

    The learned codec works in batches on its device (see
    :class:`~salcompress.codecs.salient.batched.BatchedCodec`). Pillow's codecs work in threads, and
    any other one picture by picture. On CUDA pictures are copied from pinned memory, and all work
    is queued on a stream of its own while the detector computes on the current one. Everything else
    happens when the detector asks for a batch, in its thread.

    Args:
        loader: Gives lists of dicts. It may be finite or not, have worker processes or not, and is
            iterated again where it can be.
        codec: A codec or its specification. Under "none" the rate is that of the source file, and
            the pixels are untouched.
        random_codecs: The codecs that ``codec_index`` of a picture draws from, of which 1 is the
            first: the :attr:`RandomCompression.settings
            <salcompress.detectron.augmentation.RandomCompression>` of its mapper, or the same
            specifications. The drawn one works after ``codec``, and its rate counts. "none" leaves
            picture and rate as they are.
        image_format: "BGR" or "RGB", how the pictures' channels lie.
        real_streams: Whether the learned codec writes streams, whose length then is the rate.
            Otherwise their length is counted by the integer tables, within 64 bits.
        prefetch: How many batches are begun before the detector asks for them. None takes 2 on
            CUDA, and 0 on the CPU, where they would only compete.
        measure_distortion: Also take PSNR, MS-SSIM and the perceptual metric, on the host.
        mixed_precision: Whether the learned codec's transforms compute in bfloat16. It is quicker,
            and pixels are a grey level or two apart.
        logs: Put each batch's ``salcompress/bpp`` into Detectron2's event storage, if there is one.

    Raises:
        SettingError: The codec, the format or ``prefetch`` is wrong. While iterating it says that
            pictures are not of that mapper or of another format, or too much for the memory.
        DataError: A codec cannot hold a picture; it is said while iterating, and names the file.
            Batches before that one are still given.
    """

    def __init__(
        self,
        loader: Iterable[list[dict[str, Any]]],
        codec: Codec | str,
        *,
        random_codecs: Sequence[Codec | str] = (),
        image_format: str = "BGR",
        real_streams: bool = False,
        prefetch: int | None = None,
        measure_distortion: bool = False,
        mixed_precision: bool = False,
        logs: bool = False,
    ):
        check_image_format(image_format)
        if prefetch is not None and prefetch < 0:
            raise SettingError(f"prefetch must be at least 0, or None, got {prefetch}")
        self.loader, self.codec = loader, load_codec(codec) if isinstance(codec, str) else codec
        self.random_codecs: list[Codec] = []
        for given in random_codecs:
            self.random_codecs += load_codecs(given) if isinstance(given, str) else [given]
        self.image_format, self.real_streams = image_format, real_streams
        self.measure_distortion, self.mixed_precision = measure_distortion, mixed_precision
        self.logs = logs
        learned = [c for c in (self.codec, *self.random_codecs) if isinstance(c, SalientCodec)]
        self.device = torch.device((learned[0].device if learned else None) or default_device())
        """Where pictures lie that are given: the learned codec's, or CUDA where there is one."""
        self.prefetch = prefetch if prefetch is not None else 2 if self.device.type == "cuda" else 0
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._batched: dict[Any, BatchedCodec] = {}
        self._streams = StreamDecoder(self.device, image_format, mixed_precision)
        self._side: torch.cuda.Stream | None = None

    def __len__(self) -> int:
        return len(cast(Sized, self.loader))

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        # which forks the loader's processes: threads and CUDA streams come after
        batches = iter(self.loader)
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(
                min(_MOST_THREADS, os.cpu_count() or 1), "salcompress-stage"
            )
            if self.device.type == "cuda":
                self._side = torch.cuda.Stream(self.device)
        begun: collections.deque[_Batch] = collections.deque()
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    break
                begun.append(self._begin(batch))
            except Exception:
                while begun:  # what came before the error is in order
                    yield self._finish(begun.popleft())
                raise
            if len(begun) > self.prefetch:
                yield self._finish(begun.popleft())
        while begun:
            yield self._finish(begun.popleft())

    def _begin(self, entries: list[dict[str, Any]]) -> "_Batch":
        """Queue all work on a batch that needs no waiting."""
        pinned = self.device.type == "cuda"
        with self._queued():
            entries = self._streams.decoded(entries)
        with enough_memory(self.device, [entry["image"] for entry in entries if "image" in entry]):
            pictures = [
                stage_picture(entry, self.image_format, len(self.random_codecs), pinned)
                for entry in entries
            ]
        with self._queued(), enough_memory(self.device, [p.original for p in pictures]):
            for picture in pictures:
                if picture.entry.get("is_stored") and not isinstance(self.codec, IdentityCodec):
                    refuse_twice(picture.name, self.codec.label)
            self._compress([self.codec] * len(pictures), pictures)
            for codecs, drawn in self._drawn(pictures):
                self._compress(codecs, drawn)
            for picture in pictures:
                if picture.coding.is_ready:
                    picture.image = self._transformed(picture)
            return _Batch(pictures, self._done())

    def _finish(self, batch: "_Batch") -> list[dict[str, Any]]:
        """The batch as the detector gets it, ready on the current stream."""
        done = batch.done
        coding = [picture for picture in batch.pictures if picture.image is None]
        if coding:
            with self._queued(), enough_memory(self.device, [p.original for p in coding]):
                for picture in coding:
                    picture.image = self._transformed(picture)
                done = self._done()
        finished = [self._entry(picture) for picture in batch.pictures]
        if self.logs and has_event_storage():
            pixels = sum(height * width for height, width in (p.size for p in batch.pictures))
            num_bits = sum(entry["num_bits"] for entry in finished)
            get_event_storage().put_scalar("salcompress/bpp", num_bits / pixels)
        if done is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(done)
            # made on the side stream: its memory must not be taken again before the detector is
            # done with it
            for entry in finished:
                entry["image"].record_stream(current)
        return finished

    def _entry(self, picture: StagedPicture) -> dict[str, Any]:
        """The dict of a picture as CompressedDatasetMapper would have made it."""
        num_bits = picture.coding.num_bits()
        entry = {key: value for key, value in picture.entry.items() if key not in STAGE_KEYS}
        entry |= {
            "image": picture.image,
            "num_bits": num_bits,
            "bpp": bits_per_pixel(num_bits, *picture.size),
            "original_size": picture.size,
        }
        for key in ("image_format", "is_stored"):
            entry.pop(key, None)
        if self.measure_distortion:
            with self._queued():
                coded = picture.coding.coded_image()
            entry["coded"] = without_picture(coded.compared_to(as_array(picture.original)))
        return entry

    def _drawn(
        self, pictures: Sequence[StagedPicture]
    ) -> Iterable[tuple[list[Codec], list[StagedPicture]]]:
        """Pictures that drew a codec, with what they drew; of one family each."""
        groups: dict[Any, tuple[list[Codec], list[StagedPicture]]] = {}
        for picture in pictures:
            if picture.entry["codec_index"]:
                codec = self.random_codecs[picture.entry["codec_index"] - 1]
                codecs, members = groups.setdefault(_family(codec), ([], []))
                codecs.append(codec)
                members.append(picture)
        return groups.values()

    def _compress(self, codecs: Sequence[Codec], pictures: Sequence[StagedPicture]) -> None:
        """Send pictures through codecs of one family, each after what it went through before."""
        codec = codecs[0]
        if isinstance(codec, IdentityCodec):
            return
        if isinstance(codec, SalientCodec):
            batch = self._batched_codec(codec).start(
                [picture.coding.pixels() for picture in pictures],
                cast(list[str], [picture.name for picture in pictures]),
                [cast(SalientCodec, own).quality for own in codecs],
            )
            for k, picture in enumerate(pictures):
                picture.coding = InBatch(batch, k)
            return
        # of another than Pillow's it is not known whether threads may use it, or what it sets
        pool = self._pool if isinstance(codec, PillowCodec) else None
        for own, picture in zip(codecs, pictures):
            picture.coding = code_on_host(own, picture, pool)

    def _batched_codec(self, codec: SalientCodec) -> BatchedCodec:
        family = _family(codec)
        if family not in self._batched:
            self._batched[family] = BatchedCodec(
                codec,
                real_streams=self.real_streams,
                mixed_precision=self.mixed_precision,
                pool=self._pool,
            )
        return self._batched[family]

    @torch.no_grad()
    def _transformed(self, picture: StagedPicture) -> Tensor:
        """What the detector gets of a picture."""
        decoded = picture.coding.pixels()
        if self.device.type == "cuda" and decoded.device.type == "cpu" and not decoded.is_pinned():
            decoded = decoded.pin_memory()
        moved = decoded.to(self.device, non_blocking=True)
        image = apply_transforms(moved, picture.entry["transforms"])
        return image.flip(0) if self.image_format == "BGR" else image.contiguous()

    @contextlib.contextmanager
    def _queued(self) -> Iterator[None]:
        """Within, work for CUDA goes onto the stage's own stream."""
        with torch.cuda.stream(self._side) if self._side is not None else contextlib.nullcontext():
            yield

    def _done(self) -> "torch.cuda.Event | None":
        return self._side.record_event() if self._side is not None else None


class _Batch(NamedTuple):
    """A batch that was begun."""

    pictures: list[StagedPicture]
    done: "torch.cuda.Event | None"
    """After it, on CUDA, what was begun has happened."""


def _family(codec: Codec) -> Any:
    """The same of settings of one learned codec that differ in quality alone: they go through the
    networks together.
    """
    if isinstance(codec, SalientCodec):
        return codec.device, codec.with_quality(0).fingerprint
    return id(codec)
