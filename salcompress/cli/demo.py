"""``salcompress demo``: an evaluation that needs no data of one's own."""

import argparse
from pathlib import Path

from salcompress.cli.arguments import (
    Commands,
    add_command,
    add_workers,
    leave_cores_to_workers,
    output_folder,
    positive_integer,
)
from salcompress.cli.evaluate import GOES_ON, WORKERS

_CODECS = (
    "none",
    "jpeg:q=5,10,20,40,70",
    "jpeg2000:bpp=0.15,0.3,0.6,1.2",
    "webp:q=1,10,30,60",
    "avif:q=5,20,35,50",
    "salient:q=0.1,0.3,0.5,0.7,0.9",
    "salient:weights=detector,q=0,0.1,0.3,0.5",
)
_SEED = 3  # the detector was trained on seed 1


def add_to(commands: Commands) -> None:
    """Add the command to the table."""
    parser = add_command(
        commands,
        "demo",
        run,
        "evaluate all codecs on synthetic scenes with the shipped detector",
        goes_on=GOES_ON,
    )
    parser.add_argument(
        "--out",
        type=output_folder,
        default=Path("demo"),
        metavar="DIR",
        help="folder of the scenes and of the results (default: demo)",
    )
    parser.add_argument(
        "--limit",
        type=positive_integer,
        default=30,
        metavar="N",
        help="number of scenes (default: 30)",
    )
    add_workers(parser, 1, WORKERS)


def run(args: argparse.Namespace) -> None:
    """Draw the scenes, evaluate, and write the report."""
    leave_cores_to_workers(args.workers)
    from salcompress.cli.evaluate import evaluate_and_report
    from salcompress.codecs import load_codecs
    from salcompress.data.coco import load_dataset
    from salcompress.data.scenes import write_scenes

    print(
        "The scenes are synthetic: a program draws them, and the detector was trained on such "
        "drawings. The figures show how the tool works and say nothing about photographs."
    )
    _check_same_scenes(args.out / "scenes", args.limit)
    annotations = write_scenes(args.out / "scenes", args.limit, _SEED)
    dataset = load_dataset(annotations.parent / "images", annotations)
    evaluate_and_report(
        dataset,
        "scenes",
        load_codecs(*_CODECS),
        args.out,
        args.command_line,
        workers=args.workers,
    )


def _check_same_scenes(folder: Path, limit: int) -> None:
    """Raise if an earlier demo drew another number of scenes there: its results would be lost.

    Raises:
        SettingError: It did.
        DataError: The folder's annotations are damaged.
    """
    from salcompress.data.coco import load_annotations
    from salcompress.errors import SettingError

    annotations = folder / "instances.json"
    if not annotations.is_file():
        return
    held = len(load_annotations(annotations)[0].dataset["images"])
    if held != limit:
        raise SettingError(
            f"{folder.parent} holds a demo of {held} scenes, and {limit} are wanted now; choose "
            f"another --out, give --limit {held}, or delete {folder.parent}"
        )
