"""``salcompress bench``: speed and memory on this machine."""

import argparse
from pathlib import Path

from salcompress.cli.arguments import CODECS_HELP, Commands, add_command, positive_integer


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(
        commands,
        "bench",
        run,
        "time codecs and harness on this machine",
        example="salcompress bench codecs --codec salient:q=0.4 --image x.png",
    )
    parser.add_argument(
        "what",
        nargs="*",
        metavar="PART",
        help="codecs, coder, large, harness, memory, workers (default: all)",
    )
    parser.add_argument(
        "--codec",
        action="append",
        metavar="SPEC",
        help=f"a codec to time; may be repeated (default: six codecs); {CODECS_HELP}",
    )
    parser.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="picture to time codecs on (default: a 768x512 scene)",
    )
    parser.add_argument(
        "--photographs",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="images and folders: also measure rate and distortion of the learned codec, JPEG, "
        "WebP and AVIF on them",
    )
    parser.add_argument(
        "--repeat",
        type=positive_integer,
        default=7,
        metavar="N",
        help="timings behind each median (default: 7)",
    )


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    from salcompress.bench.codecs import run_bench
    from salcompress.cli.inputs import image_files
    from salcompress.codecs import load_codecs

    run_bench(
        args.what,
        load_codecs(*args.codec) if args.codec else None,
        args.image,
        args.repeat,
        [file.path for file in image_files(args.photographs)] if args.photographs else (),
    )
