"""``salcompress compress``: a data set of images to a data set of streams."""

import argparse
from pathlib import Path

from salcompress.cli.arguments import (
    CODECS_HELP,
    Commands,
    add_command,
    add_workers,
    leave_cores_to_workers,
    positive_integer,
)


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
        help="folder of the images; with --ray also an address, such as s3://bucket/folder",
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
    add_workers(parser, 1, "processes that encode")
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="let a Ray cluster encode: local starts one on this machine, auto joins the one that "
        "runs here, HOST:PORT another; every node must reach --images and --out",
    )


def run(args: argparse.Namespace) -> None:
    """Compress, and say at which rate, and what could not be stored."""
    leave_cores_to_workers(args.workers)
    from tqdm import tqdm

    from salcompress.codecs import load_codec
    from salcompress.codecs.compress import compress_images, find_sources
    from salcompress.data.storage import open_storage
    from salcompress.data.stored import StoredStreams
    from salcompress.errors import DataError

    codec, out = load_codec(args.codec), open_storage(args.out)
    sources = find_sources(open_storage(args.images), args.annotations)
    with tqdm(total=len(sources.file_names), unit="image") as bar:

        def show(num_done: int) -> None:
            bar.update(num_done - bar.n)

        if args.ray is None:
            manifest = compress_images(
                sources, codec, out, args.workers, args.images_per_shard, show
            )
        else:
            from salcompress.distributed.cluster import cluster
            from salcompress.distributed.compress import compress_on_ray

            with cluster(args.ray):
                manifest = compress_on_ray(sources, codec, out, args.images_per_shard, show)
    if manifest.bpp is not None:
        print(
            f"{manifest.num_stored} images in {out.label}: {manifest.num_bits // 8} bytes, "
            f"{manifest.bpp:.4f} bits per pixel (mean over images {manifest.bpp_mean:.4f})"
        )
    skipped = StoredStreams(out).skipped
    if skipped:
        shown = "; ".join(f"{name}: {why}" for name, why in list(skipped.items())[:10])
        more = f"; and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        raise DataError(f"{len(skipped)} images could not be stored: {shown}{more}")
