"""``salcompress verify``: is a stored data set whole?"""

import argparse

from salcompress.cli.arguments import Commands, add_command, count


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(
        commands,
        "verify",
        run,
        "compare every stream of a stored data set with its checksum, and decode some",
        example="salcompress verify train2017_salient --decode 100",
    )
    parser.add_argument("stored", metavar="OUT", help="what salcompress compress wrote")
    decoded = parser.add_mutually_exclusive_group()
    decoded.add_argument(
        "--decode",
        type=count,
        default=16,
        metavar="N",
        help="streams that are decoded, too, evenly spread (default: 16)",
    )
    decoded.add_argument("--decode-all", action="store_true", help="decode every stream")
    parser.add_argument(
        "--codec",
        metavar="SPEC",
        help="what decodes, where the weights are your own and not in SALCOMPRESS_WEIGHTS: "
        "salient:weights=FILE",
    )
    parser.add_argument(
        "--rebuild-index",
        action="store_true",
        help="first make indices that are missing or damaged again from their shards",
    )


def run(args: argparse.Namespace) -> None:
    """Check, and say what was checked."""
    from tqdm import tqdm

    from salcompress.cli.inputs import first_few
    from salcompress.codecs import load_codec
    from salcompress.codecs.stored_images import verify
    from salcompress.errors import CorruptError

    with tqdm(unit="image") as bar:
        found = verify(
            args.stored,
            None if args.decode_all else args.decode,
            args.rebuild_index,
            load_codec(args.codec) if args.codec else None,
            on_image=lambda num_done: bar.update(num_done - bar.n),
        )
    if found.problems:
        raise CorruptError(
            f"{len(found.problems)} of {found.num_streams} streams are damaged: "
            f"{first_few(found.problems)}"
        )
    print(f"{found.num_streams} streams match their checksums, and {found.num_decoded} decode")
