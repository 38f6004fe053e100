"""``salcompress saliency``: the map of an image, as a picture."""

import argparse
from pathlib import Path

from salcompress.cli.arguments import Commands, add_command


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(
        commands,
        "saliency",
        run,
        "write what draws the eye in an image as an 8-bit grey PNG, white for 1",
        example="salcompress saliency x.jpg maps/x.png; paint on the map, and salcompress encode "
        "x.jpg --saliency-maps maps --out streams steers by it",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the image to look at")
    parser.add_argument("out", type=Path, metavar="OUT.png", help="where the map is written")
    parser.add_argument(
        "--method",
        metavar="SOURCE",
        default="network",
        help="network (shipped), classical (a formula), uniform (the same everywhere), or "
        "importance:DETECTOR, how much the features of a detector change for a change of the "
        "picture; DETECTOR is as of salcompress evaluate (default: network)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the map and print its size and mean."""
    from salcompress.errors import SettingError
    from salcompress.files import write_atomically
    from salcompress.image import read_image
    from salcompress.saliency.functions import encode_map
    from salcompress.saliency.sources import saliency_source

    if args.out.suffix.lower() != ".png":
        raise SettingError(
            f"the map is written as PNG, so its name must end in .png; got {args.out}"
        )
    if not args.image.is_file():
        raise SettingError(f"{args.image} is not a file; give one image")
    saliency = saliency_source(args.method)(read_image(args.image))
    write_atomically(args.out, encode_map(saliency))
    print(
        f"{args.out}: {saliency.shape[1]}x{saliency.shape[0]} pixels (width x height), mean "
        f"saliency {saliency.mean():.3f}"
    )
