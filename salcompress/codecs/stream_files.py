"""Image files to streams and back, with a summary."""

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from salcompress.bitstream.container import check_size
from salcompress.codecs.base import Codec
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.rate_search import check_target
from salcompress.errors import BitstreamError, DataError, SettingError
from salcompress.files import read_file, write_atomically
from salcompress.image import encode_image, read_image, read_size


class EncodedFile(NamedTuple):
    """One line of the summary."""

    file: str
    stream: str
    height: int
    width: int
    num_bytes: int
    bpp: float
    setting: str
    encode_s: float


def encode_files(
    paths: Sequence[Path],
    codec: Codec,
    out: Path,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
) -> list[EncodedFile]:
    """Write a stream for each image, named after it, and ``summary.csv``.

    Args:
        target_bpp, target_psnr: Search the quality of each image for one of them; the codec must
        then be a learned one.

    Raises:
        SettingError: Two images would have one stream, a target cannot be one, or the codec is not
            the learned one.
        DataError: Images could not be read, or the codec could not hold them; the others were
            encoded, the message names these.
        OutputError: ``out`` cannot be written.
    """
    _check_names(paths, ".salc")
    if not isinstance(codec, SalientCodec):
        raise SettingError(
            f".salc streams are those of the learned codec, salient; got {codec.name}"
        )
    for name, value in (("bpp", target_bpp), ("psnr", target_psnr)):
        if value is not None:
            check_target(name, value)
    rows, failed = [], []
    try:
        for path in tqdm(paths, unit="image"):
            try:
                rows.append(_encode_file(path, codec, out, target_bpp, target_psnr))
            except (DataError, SettingError) as error:
                failed.append(f"{path}: {error}" if str(path) not in str(error) else str(error))
    finally:  # an interruption, too, leaves a summary of what was done
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(EncodedFile._fields)
        writer.writerows(rows)
        write_atomically(out / "summary.csv", buffer.getvalue())
    if failed:
        raise DataError(
            f"{len(rows)} images were encoded, {len(failed)} could not be: {'; '.join(failed)}"
        )
    return rows


def _encode_file(
    path: Path, codec: SalientCodec, out: Path, target_bpp: float | None, target_psnr: float | None
) -> EncodedFile:
    check_size(*read_size(path))  # before the pixels are decoded, which takes gigabytes
    image = read_image(path)
    chosen = codec
    if target_bpp is not None:
        chosen = codec.at_target_bpp(image, target_bpp)
    elif target_psnr is not None:
        chosen = codec.at_target_psnr(image, target_psnr)
    started = time.perf_counter()
    stream = chosen.encode(image)
    seconds = time.perf_counter() - started
    target = out / f"{path.stem}.salc"
    write_atomically(target, stream)
    height, width = image.shape[:2]
    return EncodedFile(
        str(path),
        str(target),
        height,
        width,
        len(stream),
        8 * len(stream) / (height * width),
        chosen.label,
        round(seconds, 4),
    )


def decode_files(paths: Sequence[Path], codec: Codec, out: Path) -> list[Path]:
    """Write a PNG for each stream, named after it.

    Raises:
        SettingError: Two streams would have one image.
        DataError: A stream cannot be read or decoded; the message names it.
        OutputError: ``out`` cannot be written.
    """
    _check_names(paths, ".png")
    written = []
    for path in tqdm(paths, unit="image"):
        try:
            image: np.ndarray = codec.decode(read_file(path))
        except BitstreamError as error:
            raise DataError(f"{path}: {error}") from error
        written.append(out / f"{path.stem}.png")
        write_atomically(written[-1], encode_image(image, "PNG"))
    return written


def _check_names(paths: Sequence[Path], ending: str) -> None:
    stems: dict[str, Path] = {}
    for path in paths:
        if path.stem in stems:
            raise SettingError(
                f"{stems[path.stem]} and {path} would both become {path.stem}{ending}; write "
                "them into two folders"
            )
        stems[path.stem] = path
