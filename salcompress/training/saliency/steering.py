"""What steering by saliency does to salient objects, at equal total rate."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from salcompress.codecs.salient import SalientCodec
from salcompress.evaluation.region_distortion import RegionPoint, measure_regions, with_pooled_rate
from salcompress.files import digest
from salcompress.image import read_image
from salcompress.reporting.tables import markdown_line, markdown_table
from salcompress.training.saliency.pairs import SaliencyPair, load_pairs

HEADER = ("base", "saliency", "bpp", "bits inside", "area inside", "PSNR", "inside", "outside")
"""Heads of the columns of :func:`steering_rows`."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the comparison's command to a parser."""
    parser.add_argument(
        "--pairs", type=Path, required=True, metavar="FOLDER", help="folder of images/ and masks/"
    )
    parser.add_argument(
        "--maps",
        type=Path,
        metavar="FOLDER",
        help="grey images of saliency named after the pairs, as train_saliency.py --maps writes "
        "them; without them the shipped network steers, which has seen all pairs of ECSSD",
    )
    parser.add_argument("--limit", type=int, help="use only so many pairs, spread over all")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="weights file of the codec, if not the shipped"
    )
    parser.add_argument(
        "--quality",
        type=float,
        nargs="+",
        default=[0.2, 0.4, 0.6],
        help="qualities of the codec without saliency, which set the rate (default: 0.2 0.4 0.6)",
    )
    parser.add_argument(
        "--strength",
        type=float,
        nargs="+",
        default=[12, 24],
        help="saliency_strength of the codec with saliency (default: 12 24)",
    )


def run(args: argparse.Namespace) -> None:
    """Print the table, row by row as figures come.

    Args:
        args: Values of the options.

    Raises:
        SettingError, DataError: See :func:`steering_rows` and :func:`held_out_maps`.
    """
    pairs = load_pairs(args.pairs)
    pairs = pairs[:: max(1, len(pairs) // (args.limit or len(pairs)))][: args.limit]
    saliency = held_out_maps(pairs, args.maps) if args.maps else "network"
    print(markdown_table(HEADER, ()))
    for row in steering_rows(pairs, saliency, args.quality, args.strength, args.weights):
        print(markdown_line(row), flush=True)


def held_out_maps(
    pairs: Sequence[SaliencyPair], folder: Path
) -> Callable[[np.ndarray], np.ndarray]:
    """A saliency function that looks up maps on disk.

    Args:
        pairs: The pairs whose images it knows.
        folder: Holds a grey image for each pair, ``NAME.png``.

    Returns:
        A function from the image of a pair to its map, float (H, W) in [0, 1].

    Raises:
        DataError: A map is missing or damaged.
    """
    maps: Mapping[str, np.ndarray] = {
        digest(pair.image.tobytes()): read_image(folder / f"{pair.name}.png")[:, :, 0] / 255
        for pair in pairs
    }
    return lambda image: maps[digest(image.tobytes())]


def steering_rows(
    pairs: Sequence[SaliencyPair],
    saliency: str | Callable[[np.ndarray], np.ndarray],
    qualities: Sequence[float],
    strengths: Sequence[float],
    weights: Path | None = None,
) -> Iterator[list[str]]:
    """Measure rate and distortion inside and outside of the masks, with saliency off and on.

    At each quality the codec without saliency sets the rate. With saliency, the quality is the one
    whose total rate over the images is equal within 2 %.

    Args:
        pairs: Images with masks.
        saliency: What steers the codec, as of :class:`~salcompress.codecs.salient.SalientCodec`.
        qualities: Qualities of the codec without saliency, in [0, 1].
        strengths: Values of ``saliency_strength`` of the codec with it.
        weights: The codec's weight file; None takes that of "photo".

    Yields:
        The rows of a table with the columns :data:`HEADER`, one for each setting.

    Raises:
        SettingError: A mask covers all of its image or nothing, or no quality gives an equal rate.
    """
    images, masks = [pair.image for pair in pairs], [pair.mask for pair in pairs]
    for quality in qualities:
        plain = SalientCodec(quality, saliency="uniform", weights=weights)
        off = measure_regions(plain, images, masks)
        yield _row(quality, "off", off)
        for strength in strengths:
            steered = SalientCodec(
                quality, saliency=saliency, saliency_strength=strength, weights=weights
            )
            equal = with_pooled_rate(steered, images, off.bpp)
            yield _row(quality, f"strength {strength:g}", measure_regions(equal, images, masks))


def _row(quality: float, saliency: str, point: RegionPoint) -> list[str]:
    return [
        f"q={quality:g}",
        saliency,
        f"{point.bpp:.4f}",
        f"{point.bits_inside:.3f}",
        f"{point.area_inside:.3f}",
        f"{point.psnr:.2f}",
        f"{point.psnr_inside:.2f}",
        f"{point.psnr_outside:.2f}",
    ]
