"""The command that renews all figures: its options, and what it does."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from salcompress.codecs.salient.known_weights import SHIPPED_FOLDER
from salcompress.errors import DataError, SalcompressError
from salcompress.files import exclusive_folder
from salcompress.reproduction.average_precision import AVERAGE_PRECISION
from salcompress.reproduction.metric import METRIC
from salcompress.reproduction.part import Part, Settings
from salcompress.reproduction.progress import Standing, plan, standing_of
from salcompress.reproduction.rate_distortion import RATE_DISTORTION
from salcompress.reproduction.run import check, measure, renew, tables_of
from salcompress.reproduction.saliency import SALIENCY, SALIENCY_FOLDS
from salcompress.reproduction.speed import SPEED

PARTS: Sequence[Part] = (
    SPEED,
    RATE_DISTORTION,
    AVERAGE_PRECISION,
    SALIENCY,
    METRIC,
    SALIENCY_FOLDS,
)
"""All parts, in the order in which they are measured."""


def add_options(
    parser: argparse.ArgumentParser, repository: Path, parts: Sequence[Part] = PARTS
) -> None:
    """Add the options of the command to a parser.

    Args:
        parser: The parser.
        repository: Folder of the checkout, whose documents are renewed.
        parts: The parts that there are.
    """
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder that holds kodak, codec_train, coco_val, saliency and saliency_duts, and for "
        "saliency-folds detector/mask_rcnn_nano.safetensors",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the results; the same command goes on where a stopped one was, and "
        "measures anew what is of other weights, codecs or pictures, or of another version of "
        "the package",
    )
    parser.add_argument(
        "--detector",
        action="append",
        metavar="SPEC",
        help="a detector that AP is measured with, as of salcompress evaluate; may be repeated "
        "(default: yolox_nano.py:build and mask_rcnn_nano.py:build of DIR/../tools)",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[part.name for part in parts],
        help="measure this part alone; may be repeated (default: all but "
        f"{', '.join(part.name for part in parts if not part.by_default) or 'none'})",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that measure beside each other; speed is measured by one (default: 1)",
    )
    parser.add_argument(
        "--documents",
        type=Path,
        nargs="+",
        metavar="FILE",
        default=[
            SHIPPED_FOLDER / "README.md",
            repository / "tools" / "FIGURES.md",
            repository / "README.md",
        ],
        help="documents whose tables are renewed (default: the model zoo, tools/FIGURES.md and "
        "README.md)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--plan", action="store_true", help="measure nothing; say what is left and takes how long"
    )
    what.add_argument(
        "--check",
        action="store_true",
        help="measure nothing; say which tables and results are out of date, and exit with 1 "
        "if any is",
    )


def run(args: argparse.Namespace, parts: Sequence[Part] = PARTS) -> None:
    """Measure what is left and renew the tables, or say where they stand.

    Args:
        args: Values of the options.
        parts: The parts that there are.

    Raises:
        DataError: A part could not be measured, or a table is out of date.
        SalcompressError: The results or a document cannot be read or written.
    """
    tools = args.data.absolute().parent / "tools"
    detectors = args.detector or [f"{tools}/{n}.py:build" for n in ("yolox_nano", "mask_rcnn_nano")]
    settings = Settings(args.data, args.out, tuple(detectors), args.workers)
    chosen = [part for part in parts if part.name in args.only] if args.only else list(parts)
    if args.plan or args.check:
        standings = [standing_of(part, settings) for part in chosen]
        if args.plan:
            print(plan(standings, args.workers, bool(args.only)))
        else:
            _check(standings, settings, args.documents)
        return
    try:
        with exclusive_folder(args.out):
            _measure(chosen, settings, args.documents, bool(args.only))
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def _check(standings: Sequence[Standing], settings: Settings, documents: Sequence[Path]) -> None:
    faults = check(standings, settings, documents)
    for what, why in faults.items():
        print(f"{what}: {why}")
    if faults:
        raise DataError(
            f"out of date: {len(faults)} of the tables and parts; run the same command without "
            "--check, and with --only PART for one part"
        )
    known = [standing.part.name for standing in standings if standing.current is not None]
    if not known:
        print(f"{settings.out} has no results of these parts, so no table was compared")
        for standing in standings:
            if standing.fault is not None:
                print(f"{standing.part.name}: {standing.fault}")
    else:
        print(f"every table of {', '.join(known)} shows its results")


def _measure(
    chosen: Sequence[Part], settings: Settings, documents: Sequence[Path], named: bool
) -> None:
    standings = [standing_of(part, settings) for part in chosen]
    print(plan(standings, settings.workers, named), flush=True)
    faults = []
    for standing in standings:
        if not (named or standing.part.by_default):
            continue
        try:
            measure(standing, settings.workers)
        except SalcompressError as fault:  # the other parts go on
            faults.append(f"{standing.part.name}: {fault}")
            continue
        _renew(standing, settings, documents)
    print(f"\n{plan(standings, settings.workers, named)}")
    if faults:
        raise DataError("not all was measured: " + "; ".join(faults))


def _renew(standing: Standing, settings: Settings, documents: Sequence[Path]) -> None:
    renewed = renew(tables_of(standing, settings), documents, settings.out)
    for what in renewed.changed:
        print(f"renewed {what}")
    if renewed.homeless:
        print(
            f"no document has a place for {', '.join(renewed.homeless)}, which "
            f"{settings.out / 'tables'} holds; a place is <!-- begin NAME --> and <!-- end NAME -->"
        )
