"""``salcompress metric-eval``: the learned perceptual metric beside others."""

import argparse
from pathlib import Path

from salcompress.cli.arguments import Commands, add_command, output_folder, positive_integer


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(
        commands,
        "metric-eval",
        run,
        "say how often PSNR, SSIM, MS-SSIM and the learned metric choose as the labels do",
        example='salcompress metric-eval --images held_out, after pip install "salcompress[train]"',
    )
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="held-out pictures and folders: triplets are made of them, labelled by certain "
        "order and by the agreement of published metrics (which are not people), with a column for "
        "JPEG near the threshold of visibility; also the order along each codec's ladder",
    )
    parser.add_argument(
        "--triplets",
        type=Path,
        metavar="CSV",
        help="judged triplets: columns reference,a,b,fraction (that finds a closer)",
    )
    parser.add_argument(
        "--bapps",
        type=Path,
        metavar="DIR",
        help="judged triplets in the layout of BAPPS: ref, p0, p1, judge",
    )
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="CSV",
        help="opinion scores, for rank correlation: columns reference,image,score[,group]",
    )
    parser.add_argument(
        "--lower-is-better",
        action="store_true",
        help="the scores are of degradation (DMOS), not of quality",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="weights of the learned metric (default: the shipped ones)",
    )
    parser.add_argument(
        "--cache",
        type=output_folder,
        metavar="DIR",
        help="keep the labelled triplets of --images in this folder",
    )
    parser.add_argument(
        "--workers",
        type=positive_integer,
        default=1,
        metavar="N",
        help="processes that make the triplets (default: 1)",
    )


def run(args: argparse.Namespace) -> None:
    """Print the tables."""
    from salcompress.errors import SettingError

    if not (args.images or args.triplets or args.bapps or args.scores):
        raise SettingError(
            "metric-eval needs --images, --triplets, --bapps or --scores; give what there is to "
            "measure on"
        )
    from salcompress.cli.inputs import image_files
    from salcompress.training.metric.report import print_report

    print_report(
        images=[file.path for file in image_files(args.images)] if args.images else (),
        triplets=args.triplets,
        bapps=args.bapps,
        scores=args.scores,
        lower_is_better=args.lower_is_better,
        weights=args.weights,
        cache=args.cache,
        workers=args.workers,
    )
