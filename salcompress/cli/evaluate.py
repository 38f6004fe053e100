"""``salcompress evaluate``: average precision against bits per pixel."""

import argparse
import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salcompress.cli.arguments import (
    CODECS_HELP,
    Commands,
    Parser,
    add_command,
    add_ray,
    add_workers,
    check_ray,
    leave_cores_to_workers,
    output_folder,
    positive_integer,
    positive_number,
)

if TYPE_CHECKING:
    from salcompress.codecs import Codec
    from salcompress.data.coco import CocoDataset

GOES_ON = "run the same command again to go on"
WORKERS = "processes that encode and decode beside the detector"


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(
        commands,
        "evaluate",
        run,
        "measure AP against bits per pixel of any codecs, any detector, any COCO data set",
        goes_on=GOES_ON,
        example="salcompress evaluate --images val2017 --annotations instances_val2017.json "
        "--detector torchvision:maskrcnn_resnet50_fpn --codec none --codec jpeg:q=10,30,50 "
        "--out results",
    )
    _add_inputs(parser)
    parser.add_argument(
        "--out",
        type=output_folder,
        required=True,
        metavar="DIR",
        help="folder of the results; the same command goes on where a stopped one was, and "
        "another --codec adds its rows later",
    )
    parser.add_argument(
        "--limit", type=positive_integer, metavar="N", help="use only the first N images"
    )
    parser.add_argument(
        "--cache",
        type=output_folder,
        metavar="DIR",
        help="keep compressed streams in this folder and use them again",
    )
    parser.add_argument(
        "--cache-gib",
        type=positive_number,
        metavar="G",
        help="bound on the size of --cache in GiB (default: none)",
    )
    add_workers(parser, 1, WORKERS)
    add_ray(parser, "code and detect", "--images")
    parser.add_argument(
        "--no-perceptual",
        action="store_true",
        help="leave out the learned metric, which takes some 0.04 s of a core for 640x480 pixels",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out damaged or missing images, and list them in the report",
    )


def _add_inputs(parser: Parser) -> None:
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="folder of the images"
    )
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="JSON", help="COCO instances file"
    )
    parser.add_argument(
        "--detector",
        required=True,
        metavar="SPEC",
        help="scenes | torchvision:NAME[,weights=FILE] | detectron2:CONFIG[,weights=FILE] | "
        "path/to/file.py:factory; the first three also take device=cpu, cuda:1, ...",
    )
    parser.add_argument(
        "--codec",
        action="append",
        required=True,
        metavar="SPEC",
        help="codec and settings, as jpeg:q=10,30,50; may be repeated. The codecs are jpeg, "
        "jpeg2000, webp, avif, png, jpegli, jxl, hevc, vvc, salient, compressai and none; "
        f"{CODECS_HELP}",
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate, print the table, and write the report."""
    from salcompress.errors import SettingError

    if args.cache_gib is not None and args.cache is None:
        raise SettingError("--cache-gib bounds the size of --cache, which is missing; give both")
    check_ray(args, 1)
    leave_cores_to_workers(args.workers)
    from salcompress.codecs import load_codecs
    from salcompress.data.coco import load_dataset

    codecs = load_codecs(*args.codec)
    dataset = load_dataset(args.images, args.annotations, args.limit, args.skip_bad)
    with contextlib.ExitStack() as stack:
        if args.ray is not None:
            from salcompress.distributed.cluster import cluster

            stack.enter_context(cluster(args.ray))
        evaluate_and_report(
            dataset,
            args.detector,
            codecs,
            args.out,
            args.command_line,
            on_cluster=args.ray is not None,
            workers=args.workers,
            skip_bad=args.skip_bad,
            with_perceptual=not args.no_perceptual,
            cache=args.cache,
            cache_bytes=None if args.cache_gib is None else int(args.cache_gib * 2**30),
        )


def evaluate_and_report(
    dataset: "CocoDataset",
    detector_spec: str,
    codecs: Sequence["Codec"],
    out: Path,
    command_line: str,
    *,
    on_cluster: bool = False,
    **options: Any,
) -> None:
    """Evaluate codecs on a data set, print their rows, and write the page.

    Args:
        out: Folder of the results.
        command_line: What the user typed, for the foot of the page.
        on_cluster: The Ray cluster that this process has joined codes and detects.
        options: Those of :func:`salcompress.evaluation.evaluate.evaluate`.
    """
    from salcompress.detectors import load_detector
    from salcompress.evaluation.evaluate import evaluate
    from salcompress.evaluation.run_folder import note_command
    from salcompress.evaluation.worst_pictures import keep_worst_pictures
    from salcompress.reporting.report import write_report
    from salcompress.reporting.tables import results_table

    detector = load_detector(detector_spec, dataset.category_ids)
    if on_cluster:
        from salcompress.distributed.evaluate import DetectorSource, measure_on_ray

        source = DetectorSource(detector_spec, dataset.category_ids, detector.fingerprint)
        options["measure"] = functools.partial(measure_on_ray, source)
    rows = evaluate(dataset, detector, codecs, out, show_progress=True, **options)
    print(
        f"\n{detector.label} on {dataset.name}, {rows[0].num_images} images; brackets are 95 % "
        "intervals over images"
    )
    print(results_table(rows))
    note_command(out, command_line)
    keep_worst_pictures(out, dataset, codecs, options.get("workers", 0))
    page, skipped = write_report(out)
    for name, why in skipped.items():
        print(f"left out {name}: {why}")
    print(f"\nresults: {out / 'results.jsonl'}, {out / 'summary.csv'}\nreport:  {page}")
