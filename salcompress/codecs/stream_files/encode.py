"""Image files to streams of the learned codec."""

import functools
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from salcompress.bitstream.container import check_size
from salcompress.codecs.base import Codec
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.stream_files.inputs import InputFile, output_paths
from salcompress.codecs.stream_files.outcome import Failures, Outcome
from salcompress.codecs.stream_files.steering_maps import find_maps, read_map
from salcompress.codecs.stream_files.summary import EncodedFile, Summary
from salcompress.errors import DataError, SettingError
from salcompress.files import digest, read_file, write_atomically
from salcompress.image import bits_per_pixel, decode_named_image, read_size
from salcompress.workers import map_in_processes


class Target(NamedTuple):
    """What the quality of each image is searched for. At most one of the two is given."""

    bpp: float | None = None
    """The quality is the highest one that costs at most so many bits per pixel."""
    psnr: float | None = None
    """The quality is the lowest one that reaches so many dB."""


class _Task(NamedTuple):
    """One image to encode."""

    path: Path
    stream: Path
    name: str
    """What the summary calls the stream."""
    saliency_map: Path | None


def encode_files(
    files: Sequence[InputFile],
    codec: Codec,
    out: Path,
    target: Target = Target(),
    *,
    saliency_maps: Path | None = None,
    keep_tree: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    workers: int = 0,
) -> Outcome[EncodedFile]:
    """Write a stream for each image, named after it, and ``summary.csv``.

    Args:
        files: The images.
        codec: The learned one.
        out: Folder of the streams.
        target: What the quality of each image is searched for, if anything.
        saliency_maps: Folder of grey pictures, one for each image, that steer the bits in place of
            the codec's own saliency; see :func:`~.steering_maps.find_maps`.
        keep_tree: Keep the sub-folders of the folders given.
        overwrite: Write streams anew that exist already.
        resume: Keep a stream that the summary says this call would make again, byte by byte: it has
            the same source file, codec, target and map. Make the others.
        workers: Processes that encode. 0 encodes here, with all threads.

    Returns:
        The rows of what was encoded, and of what ``resume`` kept.

    Raises:
        SettingError: Nothing was done: an option cannot be used, the codec is not the learned one,
            two images would have one stream, or streams exist and neither ``overwrite`` nor
            ``resume`` says what to do.
        DataError: Nothing was done: a map does not fit its image, or an older summary is damaged.
        PartlyDoneError: Images could not be read, or the codec could not hold them, or a target is
            out of reach. All others were encoded.
        OutputError: ``out`` cannot be written.
    """
    if not isinstance(codec, SalientCodec):
        raise SettingError(
            f".salc streams are those of the learned codec, salient; got {codec.name}"
        )
    _check_target(target)
    if overwrite and resume:
        raise SettingError("overwrite and resume contradict each other; give one of them")
    streams = output_paths(files, out, ".salc", keep_tree)
    maps = find_maps(files, saliency_maps) if saliency_maps else [None] * len(files)
    tasks = [
        _Task(file.path, stream, stream.relative_to(out).as_posix(), saliency_map)
        for file, stream, saliency_map in zip(files, streams, maps)
    ]
    if not (overwrite or resume):
        _check_free(streams)
    work = functools.partial(_encode_or_error, codec, target)
    summary = Summary(out, [task.name for task in tasks])
    kept = _finished(tasks, codec, target, summary.rows) if resume else {}
    left = [task for task in tasks if task.name not in kept]
    done: list[EncodedFile] = []
    failures = Failures("encoded")
    with (
        summary,
        tqdm(total=len(tasks), initial=len(kept), unit="image") as progress,
        map_in_processes(work, left, workers) as rows,
    ):
        for row, task in zip(rows, left):
            if isinstance(row, Exception):
                failures.add(task.path, row)
            else:
                summary.add(row)
                done.append(row)
            progress.update()
    outcome = Outcome(done, list(kept.values()))
    failures.raise_if_any(outcome)
    return outcome


def _check_target(target: Target) -> None:
    if target.bpp is not None and target.psnr is not None:
        raise SettingError("a target is a rate or a PSNR; give one of them")
    for name, value in target._asdict().items():
        if value is not None and not value > 0:
            raise SettingError(f"target {name} must be above 0, got {value:g}")


def _check_free(streams: Sequence[Path]) -> None:
    there = [stream for stream in streams if stream.exists()]
    if there:
        raise SettingError(
            f"{len(there)} of {len(streams)} streams exist already, such as {there[0]}; give "
            "--resume to keep what is finished, or --overwrite to write them anew"
        )


def _finished(
    tasks: Sequence[_Task], codec: SalientCodec, target: Target, rows: dict[str, EncodedFile]
) -> dict[str, EncodedFile]:
    """Rows, by stream, that encoding would give again.

    Raises:
        SettingError: A stream that is there was made of the same image by another recipe.
    """
    kept = {}
    for task in tasks:
        row = rows.get(task.name)
        if row is None or not task.path.is_file():
            continue
        same_length = task.stream.stat().st_size == row.num_bytes
        if not same_length or row.source_digest != _source_digest(read_file(task.path)):
            continue
        if row.recipe != _recipe(codec, target, task.saliency_map):
            raise SettingError(
                f"{task.stream} was made with other options ({row.setting}); give the same ones "
                "again, choose another folder, or give --overwrite"
            )
        kept[task.name] = row
    return kept


def _encode_or_error(
    codec: SalientCodec, target: Target, task: _Task
) -> EncodedFile | DataError | SettingError:
    try:
        return _encode(codec, target, task)
    except (DataError, SettingError) as error:
        return error


def _encode(codec: SalientCodec, target: Target, task: _Task) -> EncodedFile:
    with warnings.catch_warnings():  # Pillow's, about what check_size refuses
        warnings.filterwarnings("ignore", message="Image size")
        check_size(*read_size(task.path))
    source = read_file(task.path)
    image = decode_named_image(source, task.path)
    chosen = _steered(codec, task.saliency_map)
    if target.bpp is not None:
        chosen = chosen.at_target_bpp(image, target.bpp)
    elif target.psnr is not None:
        chosen = chosen.at_target_psnr(image, target.psnr)
    started = time.perf_counter()
    stream = chosen.encode(image)
    seconds = time.perf_counter() - started
    write_atomically(task.stream, stream)
    height, width = image.shape[:2]
    return EncodedFile(
        str(task.path),
        task.name,
        height,
        width,
        len(stream),
        bits_per_pixel(8 * len(stream), height, width),
        chosen.label,
        round(seconds, 4),
        len(source),
        _source_digest(source),
        _recipe(codec, target, task.saliency_map),
    )


def _steered(codec: SalientCodec, saliency_map: Path | None) -> SalientCodec:
    """The codec, steered by a map of the caller's if there is one."""
    if saliency_map is None:
        return codec
    return SalientCodec(
        codec.quality,
        saliency=read_map(saliency_map),
        saliency_strength=codec.saliency_strength,
        effort=codec.effort,
        weights=codec.weights,
        device=codec.device,
    )


def _source_digest(source: bytes) -> str:
    return digest(source)[:16]


def _recipe(codec: SalientCodec, target: Target, saliency_map: Path | None) -> str:
    """Changes with whatever changes a stream but the image."""
    steering = b"" if saliency_map is None else read_file(saliency_map)
    return digest(codec.fingerprint, repr(target), steering)[:16]
