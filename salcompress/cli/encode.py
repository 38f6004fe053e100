"""``salcompress encode``: images to streams of the learned codec."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from salcompress.cli.arguments import (
    CODECS_HELP,
    Commands,
    Parser,
    add_command,
    add_workers,
    existing_folder,
    leave_cores_to_workers,
    output_folder,
    positive_number,
)

if TYPE_CHECKING:
    from salcompress.codecs import Codec
    from salcompress.codecs.stream_files import EncodedFile, Outcome


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(
        commands,
        "encode",
        run,
        "compress images with the learned codec into .salc files",
        goes_on="run the same command with --resume to go on",
        example="salcompress encode photos --out streams --keep-tree --codec salient:q=0.4",
    )
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="IMAGE", help="images, and folders of images"
    )
    parser.add_argument(
        "--out",
        type=output_folder,
        required=True,
        metavar="DIR",
        help="folder of the streams and of summary.csv",
    )
    _add_codec(parser)
    _add_files(parser)
    add_workers(parser, 0, "processes that encode, of one thread each")


def _add_codec(parser: Parser) -> None:
    parser.add_argument(
        "--codec",
        default="salient",
        metavar="SPEC",
        help=f"salient and its options (default: salient); {CODECS_HELP}",
    )
    parser.add_argument(
        "--effort",
        metavar="N",
        help="steps of a search for fewer bits at the same quality, as 150; short for the "
        "codec's option effort (default: 0, none)",
    )
    parser.add_argument(
        "--saliency-maps",
        type=existing_folder,
        metavar="DIR",
        help="steer the bits by maps of your own: grey images, white for 1, of the images' sizes "
        "and named after them, as x.png for x.jpg",
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--target-bpp",
        type=positive_number,
        metavar="B",
        help="choose for each image the highest quality of at most B bits per pixel",
    )
    target.add_argument(
        "--target-psnr",
        type=positive_number,
        metavar="D",
        help="choose for each image the lowest quality of at least D dB",
    )


def _add_files(parser: Parser) -> None:
    parser.add_argument(
        "--keep-tree",
        action="store_true",
        help="keep the sub-folders of the folders given (default: all streams in one folder)",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite",
        action="store_true",
        help="write streams anew that exist already (default: stop before any work)",
    )
    existing.add_argument(
        "--resume",
        action="store_true",
        help="keep the streams that the same command has finished, and make the others",
    )


def run(args: argparse.Namespace) -> None:
    """Encode, and print the sizes before and after."""
    leave_cores_to_workers(args.workers)
    from salcompress.cli.inputs import image_files
    from salcompress.codecs.stream_files import PartlyDoneError, encode_files
    from salcompress.codecs.stream_files.encode import Target

    codec = _codec(args)
    try:
        outcome = encode_files(
            image_files(args.inputs),
            codec,
            args.out,
            Target(args.target_bpp, args.target_psnr),
            saliency_maps=args.saliency_maps,
            keep_tree=args.keep_tree,
            overwrite=args.overwrite,
            resume=args.resume,
            workers=args.workers,
        )
    except PartlyDoneError as error:
        print(_sizes(error.outcome, args.out))
        raise
    print(_sizes(outcome, args.out))


def _codec(args: argparse.Namespace) -> "Codec":
    """The codec of --codec, --effort and --saliency-maps together.

    Raises:
        SettingError: They contradict each other.
    """
    from salcompress.codecs import SalientCodec, load_codec
    from salcompress.errors import SettingError
    from salcompress.spec import parse_spec

    codec = load_codec(args.codec)
    given = parse_spec(args.codec).options
    if args.saliency_maps is not None and "saliency" in given:
        raise SettingError(
            f"--saliency-maps and {args.codec!r} contradict each other; give one of them"
        )
    if args.effort is None or not isinstance(codec, SalientCodec):
        return codec
    searching = codec.with_effort(args.effort)
    if "effort" in given and searching.effort != codec.effort:
        raise SettingError(
            f"--effort {args.effort} and {args.codec!r} contradict each other; give one of them"
        )
    return searching


def _sizes(outcome: "Outcome[EncodedFile]", out: Path) -> str:
    rows = [*outcome.done, *outcome.kept]
    if not rows:
        return f"no image was encoded; {out / 'summary.csv'}"
    before, after = sum(row.source_bytes for row in rows), sum(row.num_bytes for row in rows)
    pixels = sum(row.height * row.width for row in rows)
    kept = f", {len(outcome.kept)} of which were there already" if outcome.kept else ""
    images = "1 image" if len(rows) == 1 else f"{len(rows)} images"
    return (
        f"{images}{kept}: {before:,} bytes of source files became {after:,} bytes of "
        f"streams ({100 * after / before:.1f} %), {8 * after / pixels:.4f} bpp pooled; "
        f"{out / 'summary.csv'}"
    )
