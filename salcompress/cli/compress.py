"""``salcompress compress``: a data set of images to a data set of streams."""

import argparse
import contextlib
import functools
import sys
from pathlib import Path

from salcompress.cli.arguments import (
    CODECS_HELP,
    Commands,
    add_command,
    add_ray,
    add_workers,
    check_ray,
    leave_cores_to_workers,
    positive_integer,
)

_WORKERS = 1


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(
        commands,
        "compress",
        run,
        "store a data set as compressed streams, in shards",
        goes_on="run the same command again to go on",
        example="salcompress compress --images train2017 --annotations instances_train2017.json "
        "--codec salient:q=0.3 --out train2017_salient --workers 8",
    )
    parser.add_argument(
        "--images",
        required=True,
        metavar="DIR",
        help="folder of the images, or an address, such as s3://bucket/folder",
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="JSON",
        help="store the images that this COCO file lists (default: all images of the folder)",
    )
    parser.add_argument("--codec", required=True, metavar="SPEC", help=CODECS_HELP)
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder of shards, indices and manifest, or an address; what is finished there stays",
    )
    parser.add_argument(
        "--images-per-shard",
        type=positive_integer,
        default=1000,
        metavar="N",
        help="images in a shard, which are also what a kill costs at most (default: 1000)",
    )
    parser.add_argument(
        "--retry-skipped",
        action="store_true",
        help="make the shards anew from which images had to be left out",
    )
    add_workers(parser, _WORKERS, "processes that encode")
    add_ray(parser, "encode", "--images and --out")


def run(args: argparse.Namespace) -> None:
    """Compress, and say at which rate, and what could not be stored."""
    check_ray(args, _WORKERS)
    leave_cores_to_workers(args.workers)
    from tqdm import tqdm

    from salcompress.cli.inputs import first_few, passed_over_line
    from salcompress.codecs import load_codec
    from salcompress.codecs.compress import compress_images
    from salcompress.data.sources import find_sources
    from salcompress.data.storage import open_storage
    from salcompress.data.stored import StoredStreams
    from salcompress.errors import DataError

    codec, out = load_codec(args.codec), open_storage(args.out)
    sources = find_sources(open_storage(args.images), args.annotations)
    if sources.passed_over:
        paths = [Path(name) for name in sources.passed_over]
        print(passed_over_line(paths), file=sys.stderr)
    with contextlib.ExitStack() as stack:
        if args.ray is None:
            compress = functools.partial(compress_images, workers=args.workers)
        else:
            from salcompress.distributed.cluster import cluster
            from salcompress.distributed.compress import compress_on_ray

            stack.enter_context(cluster(args.ray))
            compress = functools.partial(compress_on_ray)
        bar = stack.enter_context(tqdm(total=len(sources.file_names), unit="image"))
        manifest = compress(
            sources,
            codec,
            out,
            images_per_shard=args.images_per_shard,
            retry_skipped=args.retry_skipped,
            on_image=lambda num_done: bar.update(num_done - bar.n),
        )
    if manifest.bpp is not None:
        print(
            f"{manifest.num_stored} images in {out.label}: {manifest.num_bits // 8} bytes, "
            f"{manifest.bpp:.4f} bits per pixel (mean over images {manifest.bpp_mean:.4f})"
        )
    skipped = StoredStreams(out).skipped
    if skipped:
        raise DataError(
            f"{len(skipped)} images could not be stored: "
            f"{first_few([f'{name}: {why}' for name, why in skipped.items()])}; once they are "
            "repaired, run the same command with --retry-skipped"
        )
