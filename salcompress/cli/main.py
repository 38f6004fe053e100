"""The command line: salcompress demo | encode | decode | info | saliency | evaluate | report |
metric-eval | bench.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from salcompress import __version__
from salcompress.codecs import CODECS, Codec, SalientCodec, load_codec, load_codecs
from salcompress.data.coco import load_dataset
from salcompress.data.scenes import write_scenes
from salcompress.detectors import Detector, detector_fingerprint, load_detector
from salcompress.errors import BitstreamError, DataError, SalcompressError, SettingError
from salcompress.evaluation.evaluate import evaluate
from salcompress.evaluation.rate_point import read_jsonl, to_table
from salcompress.files import read_file, write_atomically
from salcompress.image import IMAGE_ENDINGS, read_image
from salcompress.reporting.pictures import load_strips
from salcompress.saliency.functions import SALIENCY, encode_map
from salcompress.spec import parse_spec

_DEMO_CODECS = (
    "none",
    "jpeg:q=5,10,20,40,70",
    "jpeg2000:bpp=0.15,0.3,0.6,1.2",
    "webp:q=1,10,30,60",
    "avif:q=5,20,35,50",
    "salient:q=0.1,0.3,0.5,0.7,0.9",
)
_DEMO_SEED = 3  # the detector was trained on seed 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 is success, 1 a fault of data or machine, 2 one of the call, 130 an
    interruption.
    """
    args = _parser().parse_args(arguments)
    try:
        with errors_in_one_line("salcompress"):
            args.run(args)
        return 0
    except SystemExit as stop:
        return stop.code
    except KeyboardInterrupt:
        goes_on = "; run the same command again to go on" if args.run in (_demo, _evaluate) else ""
        print(f"salcompress: interrupted{goes_on}", file=sys.stderr)
        return 130


@contextlib.contextmanager
def errors_in_one_line(program: str) -> Iterator[None]:
    """Within it, an error that the package raises on purpose becomes one line on stderr and an
    exit: 2 for a fault of the call, else 1.
    """
    try:
        yield
    except SalcompressError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2 if isinstance(error, SettingError) else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="salcompress",
        description="What compression costs a detector: average precision against bits per pixel.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = _command(
        commands, "demo", _demo, "evaluate all codecs on synthetic scenes with the shipped detector"
    )
    demo.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="results (default: demo)"
    )
    demo.add_argument(
        "--limit", type=int, default=30, metavar="N", help="number of scenes (default: 30)"
    )
    demo.add_argument("--workers", type=int, default=1, metavar="N", help=_WORKERS)

    encode = _command(
        commands, "encode", _encode, "compress images with the learned codec into .salc files"
    )
    encode.add_argument(
        "inputs", type=Path, nargs="+", metavar="IMAGE", help="images, and folders of images"
    )
    encode.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the streams and of summary.csv",
    )
    encode.add_argument(
        "--codec",
        default="salient",
        metavar="SPEC",
        help="salient and its options (default: salient)",
    )
    encode.add_argument(
        "--effort",
        metavar="N",
        help="steps of a search for fewer bits at the same quality, as 150; short for the "
        "codec's option effort (default: 0, none)",
    )
    target = encode.add_mutually_exclusive_group()
    target.add_argument(
        "--target-bpp",
        type=float,
        metavar="B",
        help="highest quality of at most B bits per pixel, by image",
    )
    target.add_argument(
        "--target-psnr", type=float, metavar="D", help="lowest quality of at least D dB, by image"
    )

    decode = _command(commands, "decode", _decode, "decompress .salc files into PNG images")
    decode.add_argument(
        "inputs", type=Path, nargs="+", metavar="STREAM", help="streams, and folders of streams"
    )
    decode.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the images"
    )
    decode.add_argument(
        "--codec",
        default="salient",
        metavar="SPEC",
        help="codec with the weights that encoded (default: salient)",
    )

    info = _command(commands, "info", _info, "say what a .salc file holds, from its header alone")
    info.add_argument("stream", type=Path, metavar="STREAM")

    saliency = _command(
        commands,
        "saliency",
        _saliency,
        "write what draws the eye in an image as an 8-bit grey PNG, white for 1",
    )
    saliency.add_argument("image", type=Path, metavar="IMAGE")
    saliency.add_argument("out", type=Path, metavar="OUT.png")
    saliency.add_argument(
        "--method", choices=SALIENCY, default="network", help="(default: network)"
    )

    measure = _command(
        commands,
        "evaluate",
        _evaluate,
        "AP against bits per pixel of any codecs, any detector, any COCO data set",
    )
    measure.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="folder of the images"
    )
    measure.add_argument(
        "--annotations", type=Path, required=True, metavar="JSON", help="COCO instances file"
    )
    measure.add_argument(
        "--detector",
        required=True,
        metavar="SPEC",
        help="scenes | torchvision:NAME[,weights=FILE] | detectron2:CONFIG[,weights=FILE] | "
        "path/to/file.py:factory; "
        "the first three also take device=cpu, cuda:1, ...",
    )
    measure.add_argument(
        "--codec",
        action="append",
        required=True,
        metavar="SPEC",
        help="codec and settings, as jpeg:q=10,30,50; may be repeated. " + _codec_help(),
    )
    measure.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="results; the same command goes on where a stopped one was, and codecs can be added "
        "later",
    )
    measure.add_argument("--limit", type=int, metavar="N", help="use only the first N images")
    measure.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep compressed streams here and use them again"
    )
    measure.add_argument(
        "--cache-gib", type=float, metavar="G", help="bound on the size of --cache (default: none)"
    )
    measure.add_argument("--workers", type=int, default=1, metavar="N", help=_WORKERS)
    measure.add_argument(
        "--no-perceptual",
        action="store_true",
        help="leave out the learned metric, some 0.15 s of a core for 640x480 pixels",
    )
    measure.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out damaged or missing images, and list them in the report",
    )

    report = _command(commands, "report", _report, "make the page of an evaluation again")
    report.add_argument("out", type=Path, metavar="DIR", help="an --out folder of evaluate")

    judge = _command(
        commands,
        "metric-eval",
        _metric_eval,
        "how often PSNR, SSIM, MS-SSIM and the learned metric choose as the labels do",
    )
    judge.add_argument(
        "--images",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="held-out pictures and folders: triplets are made of them, labelled by certain "
        "order and by the agreement "
        "of published metrics (which are not people); also the order along each codec's ladder",
    )
    judge.add_argument(
        "--triplets",
        type=Path,
        metavar="CSV",
        help="judged triplets: columns reference,a,b,fraction (that finds a closer)",
    )
    judge.add_argument(
        "--bapps",
        type=Path,
        metavar="DIR",
        help="judged triplets in the layout of BAPPS: ref, p0, p1, judge",
    )
    judge.add_argument(
        "--scores",
        type=Path,
        metavar="CSV",
        help="opinion scores, for rank correlation: columns reference,image,score[,group]",
    )
    judge.add_argument(
        "--lower-is-better",
        action="store_true",
        help="the scores are of degradation (DMOS), not of quality",
    )
    judge.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="of the learned metric (default: the shipped ones)",
    )
    judge.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep the labelled triplets of --images here"
    )
    judge.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that make them (default: 1)"
    )

    bench = _command(commands, "bench", _bench, "time codecs and harness on this machine")
    bench.add_argument(
        "what",
        nargs="*",
        metavar="PART",
        help="codecs, large, harness, memory, workers (default: all)",
    )
    bench.add_argument(
        "--codec",
        action="append",
        metavar="SPEC",
        help="codecs to time (default: all, at typical settings)",
    )
    bench.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="picture to time codecs on (default: a 768x512 scene)",
    )
    bench.add_argument(
        "--photographs",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="images and folders: also measure rate and distortion of the learned codec, JPEG, "
        "WebP and AVIF on them",
    )
    bench.add_argument(
        "--repeat", type=int, default=7, metavar="N", help="timings behind each median (default: 7)"
    )
    return parser


_WORKERS = (
    "processes that encode and decode beside the detector (default: 1); 0 does all in one process"
)


def _command(commands, name: str, run, summary: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + "."
    )
    parser.set_defaults(run=run)
    return parser


def _codec_help() -> str:
    return "; ".join(
        name
        + (
            ": "
            + ", ".join(f"{key} ({o.meaning}, {o.default})" for key, o in codec.OPTIONS.items())
            if codec.OPTIONS
            else ""
        )
        for name, codec in CODECS.items()
    ).replace("%", "%%")


def _demo(args: argparse.Namespace) -> None:
    _leave_cores_to_workers(args.workers)
    print(
        "Synthetic scenes, drawn by a program, and a detector trained on such drawings: the "
        "figures show how the tool "
        "works and say nothing about photographs."
    )
    annotations = write_scenes(args.out / "scenes", args.limit, _DEMO_SEED)
    _evaluate_and_report(
        "scenes",
        annotations.parent / "images",
        annotations,
        load_codecs(*_DEMO_CODECS),
        args.out,
        workers=args.workers,
    )


def _evaluate(args: argparse.Namespace) -> None:
    _leave_cores_to_workers(args.workers)
    if args.cache_gib is not None and (args.cache is None or not args.cache_gib > 0):
        raise SettingError("--cache-gib must be above 0, and needs --cache")
    _evaluate_and_report(
        args.detector,
        args.images,
        args.annotations,
        load_codecs(*args.codec),
        args.out,
        limit=args.limit,
        workers=args.workers,
        skip_bad=args.skip_bad,
        with_perceptual=not args.no_perceptual,
        cache=args.cache,
        cache_bytes=None if args.cache_gib is None else int(args.cache_gib * 2**30),
    )


def _evaluate_and_report(
    detector_spec: str,
    images: Path,
    annotations: Path,
    codecs: Sequence[Codec],
    out: Path,
    *,
    limit: int | None = None,
    skip_bad: bool = False,
    **options,
) -> None:
    dataset = load_dataset(images, annotations, limit, skip_bad)
    detector, fingerprint = _load_any_detector(detector_spec)
    rows = evaluate(
        dataset,
        detector,
        detector_spec,
        fingerprint,
        codecs,
        out,
        skip_bad=skip_bad,
        show_progress=True,
        **options,
    )
    print(
        f"\n{detector_spec} on {dataset.name}, {rows[0].num_images} images; brackets are 95 % "
        "intervals over images"
    )
    print(to_table(rows))
    page, skipped = _write_report(out)
    for name, why in skipped.items():
        print(f"left out {name}: {why}")
    print(f"\nresults: {out / 'results.jsonl'}, {out / 'summary.csv'}\nreport:  {page}")


def _encode(args: argparse.Namespace) -> None:
    _leave_cores_to_workers(0)
    from salcompress.codecs.stream_files import encode_files

    codec = load_codec(args.codec)
    if args.effort is not None and isinstance(codec, SalientCodec):
        searching = codec.with_effort(args.effort)
        if "effort" in parse_spec(args.codec).options and searching.effort != codec.effort:
            raise SettingError(
                f"--effort {args.effort} and {args.codec!r} contradict each other: give one of them"
            )
        codec = searching
    rows = encode_files(
        _files(args.inputs, IMAGE_ENDINGS), codec, args.out, args.target_bpp, args.target_psnr
    )
    bits, pixels = (
        sum(8 * row.num_bytes for row in rows),
        sum(row.height * row.width for row in rows),
    )
    print(f"{len(rows)} images, {bits / pixels:.4f} bpp pooled; {args.out / 'summary.csv'}")


def _decode(args: argparse.Namespace) -> None:
    _leave_cores_to_workers(0)
    from salcompress.codecs.stream_files import decode_files

    print(
        f"{len(decode_files(_files(args.inputs, {'.salc'}), load_codec(args.codec), args.out))} "
        f"images in {args.out}"
    )


def _info(args: argparse.Namespace) -> None:
    from salcompress.bitstream.container import check_length, read_header
    from salcompress.bitstream.format import HEADER_BYTES

    stream = read_file(args.stream)
    try:
        header = read_header(stream)
        check_length(header, len(stream))
    except BitstreamError as error:
        raise DataError(f"{args.stream}: {error}") from error
    quality_map = "none, one level" if header.map_table is None else "yes"
    print(
        f"{args.stream}: {header.width}x{header.height} pixels (width x height)\n"
        f"rate {8 * len(stream) / (header.height * header.width):.4f} bpp: {HEADER_BYTES} bytes "
        f"of header, {header.num_bytes} of symbols\n"
        f"base level {header.level} of 63 (q = {header.level / 63:.3f}), quality map: "
        f"{quality_map}\nmodel {header.fingerprint.hex()}"
    )


def _saliency(args: argparse.Namespace) -> None:
    if args.out.suffix.lower() != ".png":
        raise SettingError(
            f"the map is written as PNG, so its name must end in .png; got {args.out}"
        )
    if not args.image.is_file():
        raise SettingError(f"{args.image} is not a file")
    saliency = SALIENCY[args.method](read_image(args.image))
    write_atomically(args.out, encode_map(saliency))
    print(
        f"{args.out}: {saliency.shape[1]}x{saliency.shape[0]} pixels (width x height), mean "
        f"saliency {saliency.mean():.3f}"
    )


def _files(inputs: Sequence[Path], endings: Collection[str]) -> list[Path]:
    """The files given, and those of the given folders whose names end so.

    Raises:
        SettingError: A file or folder does not exist, or nothing is found.
    """
    found = []
    for path in inputs:
        if not path.exists():
            raise SettingError(f"{path} does not exist")
        found += (
            sorted(p for p in path.rglob("*") if p.suffix.lower() in endings)
            if path.is_dir()
            else [path]
        )
    if not found:
        raise SettingError(
            f"no {', '.join(sorted(endings))} files in {', '.join(map(str, inputs))}"
        )
    return found


def _report(args: argparse.Namespace) -> None:
    print(_write_report(args.out)[0])


def _write_report(folder: Path) -> tuple[Path, dict[str, str]]:
    """The page of an evaluation's folder, and the images that were left out."""
    from salcompress.reporting.html import render  # plotly is large, and only this needs it

    if not (folder / "results.jsonl").is_file():
        raise SettingError(
            f"{folder} holds no finished evaluation; make one with salcompress evaluate --out "
            f"{folder}"
        )
    rows = read_jsonl(folder / "results.jsonl")
    try:
        skipped = json.loads(read_file(folder / "skipped.json"))
    except ValueError as error:
        raise DataError(f"{folder / 'skipped.json'} is damaged; evaluate again") from error
    page = folder / "report.html"
    write_atomically(page, render(rows, load_strips(folder, rows), skipped))
    return page, skipped


def _metric_eval(args: argparse.Namespace) -> None:
    if not (args.images or args.triplets or args.bapps or args.scores):
        raise SettingError("metric-eval needs --images, --triplets, --bapps or --scores")
    from salcompress.training.metric.report import print_report

    print_report(
        images=_files(args.images, IMAGE_ENDINGS) if args.images else (),
        triplets=args.triplets,
        bapps=args.bapps,
        scores=args.scores,
        lower_is_better=args.lower_is_better,
        weights=args.weights,
        cache=args.cache,
        workers=args.workers,
    )


def _bench(args: argparse.Namespace) -> None:
    from salcompress.bench.codecs import run_bench

    run_bench(
        args.what,
        load_codecs(*args.codec) if args.codec else None,
        args.image,
        args.repeat,
        _files(args.photographs, IMAGE_ENDINGS) if args.photographs else (),
    )


def _load_any_detector(spec: str) -> tuple[Detector, str]:
    """The detector and its fingerprint."""
    if not spec.startswith("detectron2:"):
        return load_detector(spec), detector_fingerprint(spec)
    try:
        from salcompress.detectron.detector import load_detectron2_detector
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "detectron2":
            raise
        raise SettingError(
            f"{spec!r} needs Detectron2, which is not installed: "
            "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"
        ) from None
    detector = load_detectron2_detector(spec)
    return detector, detector.fingerprint


def _leave_cores_to_workers(workers: int) -> None:
    """Threads of the detector's process: the cores that workers leave. Two busy processes with a
    thread a core each slow each other down several times over. Must come before torch is imported;
    the user's own setting stands."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) - max(0, workers))))
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


if __name__ == "__main__":
    sys.exit(main())
