"""Compression between loader and detector: pictures in batches on the codec's device, a few batches
ahead of the detector.
"""

import collections
import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor

from salcompress.codecs import Codec, SalientCodec, load_codec, load_codecs
from salcompress.codecs.classical import PillowCodec
from salcompress.codecs.identity import IdentityCodec
from salcompress.codecs.salient.batched import BatchedCodec, enough_memory, refusal_named
from salcompress.codecs.salient.networks import default_device
from salcompress.detectron.augmentation import check_image_format
from salcompress.detectron.device_transforms import apply_transforms
from salcompress.errors import SettingError
from salcompress.evaluation.round_trip import CodedImage, code
from salcompress.image import bits_per_pixel

_OF_THE_STAGE = ("transforms", "source_bits", "codec_index")
_MOST_THREADS = 8  # several training processes may share the machine


class CompressedLoader:
    """Any loader of pictures mapped by
    :class:`~salcompress.detectron.original_mapper.OriginalImageMapper`, compressed on the way.

    Yields the loader's batches, in order, as
    :class:`~salcompress.detectron.mapper.CompressedDatasetMapper` would have made them: ``image``
    is uint8 (3, h, w) in ``image_format``, after compression of the original picture and its
    recorded transforms, on :attr:`device`; ``num_bits``, ``bpp`` and ``original_size`` stand beside
    it, and ``coded`` with ``measure_distortion``. Detectron2's models move pictures to their own
    device, so theirs may be another one.

    The learned codec works in batches on its device (see
    :class:`~salcompress.codecs.salient.batched.BatchedCodec`), Pillow's codecs in threads, any
    other one picture by picture. On CUDA pictures are copied from pinned memory, and all work is
    queued on a stream of its own while the detector computes on the current one. Everything else
    happens when the detector asks for a batch, in its thread: what the codec demands of floating
    point is set for the whole process.

    Args:
        loader: Gives lists of dicts; finite or not, with worker processes or without. It may be
            iterated again where that can be.
        codec: A codec or its specification. Under "none" the rate is that of the source file and
            the pixels are untouched.
        random_codecs: What ``codec_index`` of a picture draws from, 1 being the first; as
            :attr:`RandomCompression.settings
            <salcompress.detectron.augmentation.RandomCompression>`, or the same specifications.
            Works after ``codec``, and its rate counts.
        image_format: "BGR" or "RGB", how the pictures' channels lie.
        real_streams: The learned codec writes streams, whose length is the rate; else their length
            is counted by the integer tables, within 64 bits.
        prefetch: Batches that are begun before the detector asks for them; None takes 2 on CUDA,
            and 0 on the CPU, where they would only compete.
        measure_distortion: Also take PSNR, MS-SSIM and the perceptual metric, on the host.
        mixed_precision: Transforms of the learned codec in bfloat16: quicker, pixels a grey level
            or two apart.
        logs: Put each batch's ``salcompress/bpp`` into Detectron2's event storage, if there is one.

    Raises:
        SettingError: The codec, the format or ``prefetch`` is wrong. While iterating: pictures are
            not those of that mapper, or too much for the memory.
        DataError: (while iterating) A codec cannot hold a picture; the message names its file.
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
        self.random_codecs = [
            c
            for given in random_codecs
            for c in (load_codecs(given) if isinstance(given, str) else [given])
        ]
        self.image_format = image_format
        self.real_streams, self.measure_distortion, self.mixed_precision, self.logs = (
            real_streams,
            measure_distortion,
            mixed_precision,
            logs,
        )
        learned = [c for c in (self.codec, *self.random_codecs) if isinstance(c, SalientCodec)]
        self.device = torch.device((learned[0].device if learned else None) or default_device())
        """Where pictures lie that are given: the learned codec's, or CUDA where there is one."""
        self.prefetch = prefetch if prefetch is not None else 2 if self.device.type == "cuda" else 0
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._batched: dict[Any, BatchedCodec] = {}
        self._side: torch.cuda.Stream | None = None

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        batches = iter(
            self.loader
        )  # which forks the loader's processes: threads and CUDA streams come after
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
        with enough_memory(self.device, [entry["image"] for entry in entries if "image" in entry]):
            pictures = [_Picture(entry, self._as_rgb(entry)) for entry in entries]
        with self._queued(), enough_memory(self.device, [picture.original for picture in pictures]):
            self._compress([self.codec] * len(pictures), pictures)
            for drawn in self._by_drawn_codec(pictures):
                self._compress(
                    [self.random_codecs[picture.entry["codec_index"] - 1] for picture in drawn],
                    drawn,
                    again=True,
                )
            for picture in pictures:
                if isinstance(picture.decoded, Tensor):
                    self._transform(picture)
            return _Batch(pictures, self._done())

    def _finish(self, batch: "_Batch") -> list[dict[str, Any]]:
        """The batch as the detector gets it, ready on the current stream."""
        done = batch.done
        coding = [picture for picture in batch.pictures if not isinstance(picture.decoded, Tensor)]
        if coding:
            with (
                self._queued(),
                enough_memory(self.device, [picture.original for picture in coding]),
            ):
                for picture in coding:
                    picture.coded = picture.decoded.result()
                    picture.decoded = torch.from_numpy(
                        np.ascontiguousarray(picture.coded.decoded.transpose(2, 0, 1))
                    )
                    self._transform(picture)
                done = self._done()
        finished = []
        for picture in batch.pictures:
            num_bits, (height, width) = picture.num_bits(), picture.original.shape[1:]
            entry = {key: value for key, value in picture.entry.items() if key not in _OF_THE_STAGE}
            entry |= {
                "image": picture.image,
                "num_bits": num_bits,
                "bpp": bits_per_pixel(num_bits, height, width),
                "original_size": (height, width),
            }
            if self.measure_distortion:
                with self._queued():
                    coded = (picture.coded or CodedImage(None, num_bits, None, None))._replace(
                        decoded=_as_array(picture.decoded)
                    )
                entry["coded"] = coded.compared_to(_as_array(picture.original))._replace(
                    decoded=None
                )
            finished.append(entry)
        if self.logs and has_event_storage():
            pixels = sum(
                entry["original_size"][0] * entry["original_size"][1] for entry in finished
            )
            get_event_storage().put_scalar(
                "salcompress/bpp", sum(entry["num_bits"] for entry in finished) / pixels
            )
        if done is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(done)
            # made on the side stream: its memory must not be taken again before the detector is
            # done with it
            for entry in finished:
                entry["image"].record_stream(current)
        return finished

    def _by_drawn_codec(self, pictures: Sequence["_Picture"]) -> Iterable[list["_Picture"]]:
        """Pictures that drew a codec, by what they drew."""
        groups: dict[Any, list[_Picture]] = {}
        for picture in pictures:
            if picture.entry["codec_index"]:
                groups.setdefault(
                    _family(self.random_codecs[picture.entry["codec_index"] - 1]), []
                ).append(picture)
        return groups.values()

    def _compress(
        self, codecs: Sequence[Codec], pictures: Sequence["_Picture"], again: bool = False
    ) -> None:
        """Send pictures through codecs of one family; ``again``: drawn ones, after the first."""
        codec = codecs[0]
        if isinstance(codec, IdentityCodec):
            for picture in pictures:
                bits = (
                    8 * len(codec.encode(_as_array(picture.original)))
                    if again
                    else picture.entry["source_bits"]
                )
                picture.num_bits = lambda bits=bits: bits
        elif isinstance(codec, SalientCodec):
            images = [
                p.decoded
                if isinstance(p.decoded, Tensor)
                else torch.from_numpy(p.decoded.result().decoded).permute(2, 0, 1)
                for p in pictures
            ]
            batch = self._batched_codec(codec).start(
                images, [picture.name for picture in pictures], [c.quality for c in codecs]
            )
            for k, picture in enumerate(pictures):
                picture.decoded, picture.num_bits, picture.coded = (
                    batch.images[k],
                    lambda k=k: batch.num_bits()[k],
                    None,
                )
        else:
            for picture in pictures:
                before = (
                    _as_array(picture.decoded)
                    if isinstance(picture.decoded, Tensor)
                    else picture.decoded
                )
                coded = concurrent.futures.Future()
                if isinstance(
                    codec, PillowCodec
                ):  # of another it is not known whether threads may use it, or what it sets
                    coded = self._pool.submit(_code, codec, before, picture.name)
                else:
                    coded.set_result(_code(codec, before, picture.name))
                picture.decoded, picture.num_bits = (
                    coded,
                    lambda coded=coded: coded.result().num_bits,
                )

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

    def _as_rgb(self, entry: dict[str, Any]) -> Tensor:
        """A copy of a dict's picture as RGB, on the host; pinned if it is to go to a GPU."""
        missing = [key for key in ("image", *_OF_THE_STAGE) if key not in entry]
        if missing:
            raise SettingError(
                "CompressedLoader needs pictures mapped by OriginalImageMapper, with the keys "
                f"image, {', '.join(_OF_THE_STAGE)}; "
                f"{', '.join(missing)} is missing"
            )
        if not 0 <= entry["codec_index"] <= len(self.random_codecs):
            raise SettingError(
                f"a picture drew random codec {entry['codec_index']}, and the stage has "
                f"{len(self.random_codecs)}: give "
                "CompressedLoader the settings of the mapper's random_compression"
            )
        image = entry["image"]
        rgb = torch.empty(image.shape, dtype=image.dtype, pin_memory=self.device.type == "cuda")
        return rgb.copy_(image.flip(0) if self.image_format == "BGR" else image)

    @torch.no_grad()
    def _transform(self, picture: "_Picture") -> None:
        decoded = picture.decoded
        if (
            decoded.device != self.device
            and self.device.type == "cuda"
            and decoded.device.type == "cpu"
            and not decoded.is_pinned()
        ):
            decoded = decoded.pin_memory()
        image = apply_transforms(
            decoded.to(self.device, non_blocking=True), picture.entry["transforms"]
        )
        picture.image = image.flip(0) if self.image_format == "BGR" else image.contiguous()
        if not self.measure_distortion:
            picture.decoded = picture.image  # lets go of the other's memory

    @contextlib.contextmanager
    def _queued(self) -> Iterator[None]:
        """Within, work for CUDA goes onto the stage's own stream."""
        with torch.cuda.stream(self._side) if self._side is not None else contextlib.nullcontext():
            yield

    def _done(self) -> "torch.cuda.Event | None":
        return self._side.record_event() if self._side is not None else None


class _Picture:
    """One picture on its way.

    Attributes:
        original: RGB, on the host.
        decoded: RGB of the original's size, (3, H, W); a future of a CodedImage while a thread
            codes it.
        image: What the detector gets.
    """

    def __init__(self, entry: dict[str, Any], original: Tensor):
        self.entry, self.original, self.name = entry, original, entry.get("file_name")
        self.decoded: Tensor | concurrent.futures.Future = original
        self.image = original
        self.num_bits: Callable[[], int] = lambda: 0
        self.coded: CodedImage | None = None


class _Batch:
    """A batch that was begun; on CUDA, what is begun has happened after ``done``."""

    def __init__(self, pictures: list[_Picture], done: "torch.cuda.Event | None"):
        self.pictures, self.done = pictures, done


def _family(codec: Codec) -> Any:
    """The same of settings of one learned codec that differ in quality alone: they go through the
    networks together.
    """
    return (
        (codec.device, codec.with_quality(0).fingerprint)
        if isinstance(codec, SalientCodec)
        else id(codec)
    )


def _code(
    codec: Codec, image: np.ndarray | concurrent.futures.Future, name: str | None
) -> CodedImage:
    """Code an image, or what an earlier codec will make of one."""
    with refusal_named(name):
        return code(
            codec, image.result().decoded if isinstance(image, concurrent.futures.Future) else image
        )


def _as_array(image: Tensor) -> np.ndarray:
    """(3, H, W) to (H, W, 3), on the host."""
    return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
