"""``salcompress decode``: streams to images."""

import argparse
from pathlib import Path

from salcompress.cli.arguments import (
    Commands,
    add_command,
    add_workers,
    leave_cores_to_workers,
    output_folder,
)
from salcompress.errors import SettingError


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(
        commands,
        "decode",
        run,
        "decompress .salc files into PNG images",
        goes_on="run the same command with --overwrite to begin again",
        example="salcompress decode streams --out decoded --keep-tree",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="STREAM",
        help="streams, and folders of streams; or one data set that salcompress compress stored, a "
        "folder or an address",
    )
    parser.add_argument(
        "--out", type=output_folder, required=True, metavar="DIR", help="folder of the images"
    )
    parser.add_argument(
        "--codec",
        metavar="SPEC",
        help="codec with the weights that encoded, as salient:weights=FILE; those of the model zoo "
        "and of the folders in SALCOMPRESS_WEIGHTS are found by themselves",
    )
    parser.add_argument(
        "--keep-tree",
        action="store_true",
        help="keep the sub-folders of the folders given (default: all images in one folder)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write images anew that exist already (default: stop before any work)",
    )
    add_workers(parser, 0, "processes that decode, of one thread each")


def run(args: argparse.Namespace) -> None:
    """Decode, and say how many images there are."""
    leave_cores_to_workers(args.workers)
    if "://" in args.inputs[0] or (Path(args.inputs[0]) / "manifest.json").is_file():
        _decode_stored(args)
        return
    from salcompress.cli.inputs import stream_files
    from salcompress.codecs import load_codec
    from salcompress.codecs.stream_files import decode_files

    outcome = decode_files(
        stream_files([Path(given) for given in args.inputs]),
        load_codec(args.codec or "salient"),
        args.out,
        keep_tree=args.keep_tree,
        overwrite=args.overwrite,
        workers=args.workers,
    )
    images = "1 image" if len(outcome.done) == 1 else f"{len(outcome.done)} images"
    print(f"{images} in {args.out}")


def _decode_stored(args: argparse.Namespace) -> None:
    if len(args.inputs) > 1:
        raise SettingError(f"{args.inputs[0]} is a stored data set; give one of them, alone")
    from tqdm import tqdm

    from salcompress.codecs import load_codec
    from salcompress.codecs.stored_images import StoredImages, write_pictures

    codec = load_codec(args.codec) if args.codec else None
    images = StoredImages(args.inputs[0], codec=codec)
    with tqdm(total=len(images), unit="image") as bar:
        written = write_pictures(
            images,
            args.out,
            args.workers,
            args.overwrite,
            lambda num_done: bar.update(num_done - bar.n),
        )
    print(f"{len(written)} images in {args.out}")
