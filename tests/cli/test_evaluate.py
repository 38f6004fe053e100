"""``salcompress evaluate`` as a user meets it: results, exit codes, one-line errors."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from salcompress.cli.main import main
from salcompress.data.scenes import make_scene, write_scenes
from salcompress.evaluation.rate_point import read_jsonl
from salcompress.image import encode_image

BLOBS = """
import time
def build():
    import cv2
    def detect(image):
        time.sleep({pause})
        saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[:, :, 1]
        solid = cv2.threshold(saturation, 0, 255, cv2.THRESH_OTSU)[1]
        contours = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        boxes = [[float(v) for v in cv2.boundingRect(c)] for c in contours]
        return [
            dict(category_id=1, bbox=box, score=box[2] * box[3] / 76800)
            for box in boxes
            if box[2] * box[3] > 64
        ]
    return detect
"""


@pytest.fixture
def call(tmp_path, scenes):
    """Arguments of a small evaluation, as a function of what a test changes."""
    detector = tmp_path / "blobs.py"
    detector.write_text(BLOBS.format(pause=0))

    def arguments(
        *more,
        images=scenes.parent / "images",
        annotations=scenes,
        out=tmp_path / "out",
        codec="jpeg:q=10,40",
    ):
        return [
            "evaluate",
            "--images",
            str(images),
            "--annotations",
            str(annotations),
            "--detector",
            f"{detector}:build",
            "--codec",
            codec,
            "--out",
            str(out),
            "--workers",
            "0",
            *more,
        ]

    return arguments


def test_evaluate_writes_and_prints_everything(call, tmp_path, capsys):
    assert main(call()) == 0
    printed = capsys.readouterr()
    rows = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert [r.setting for r in rows] == ["q=10,subsampling=420", "q=40,subsampling=420"]
    assert f"{rows[0].bpp:.3f}" in printed.out and "report.html" in printed.out
    assert "12/12" in printed.err and "image/s" in printed.err  # progress with a rate
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/webp;base64,") == 6 * 3  # three at both settings, and the worst
    assert "they say nothing about photographs" in page
    assert "Made with salcompress" in page and "<code>salcompress evaluate --images " in page
    assert (tmp_path / "out" / "summary.csv").read_text().startswith("codec,setting")
    assert main(["report", str(tmp_path / "out")]) == 0


def test_limit_and_cache(call, tmp_path):
    assert main(call("--limit", "2", "--cache", str(tmp_path / "cache"), "--cache-gib", "0.1")) == 0
    assert read_jsonl(tmp_path / "out" / "results.jsonl")[0].num_images == 2
    assert len(list((tmp_path / "cache").glob("??/*"))) == 4


def test_killed_at_any_moment_it_goes_on(tmp_path, scenes):
    detector = tmp_path / "slow.py"
    detector.write_text(BLOBS.format(pause=0.15))
    command = [
        sys.executable,
        "-m",
        "salcompress",
        "evaluate",
        "--images",
        str(scenes.parent / "images"),
        "--annotations",
        str(scenes),
        "--detector",
        f"{detector}:build",
        "--codec",
        "jpeg:q=10",
        "--codec",
        "webp:q=10",
        "--workers",
        "1",
        "--no-perceptual",
    ]
    records = tmp_path / "killed" / "records"
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "killed")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while (
        process.poll() is None
        and sum(len(p.read_bytes().splitlines()) for p in records.glob("*")) < 4
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = {p.name: p.read_bytes() for p in records.glob("*")}
    assert 4 <= sum(len(text.splitlines()) for text in left.values()) < 12
    for out in ("killed", "unbroken"):
        subprocess.run([*command, "--out", str(tmp_path / out)], check=True, capture_output=True)
    for name, text in left.items():
        assert (records / name).read_bytes().startswith(text[: text.rfind(b"\n") + 1]), (
            "done images were measured again"
        )
    rows = [
        [
            r._replace(encode_s=None, decode_s=None)
            for r in read_jsonl(tmp_path / out / "results.jsonl")
        ]
        for out in ("killed", "unbroken")
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"codec": "jpg:q=3"}, ["unknown codec 'jpg'", "valid codecs: jpeg"]),
        ({"codec": "jpeg:k=3"}, ["no option 'k'", "subsampling"]),
        ({"codec": "jpeg:q=300"}, ["an integer from 1 to 100", "'300'"]),
        ({"images": "nowhere"}, ["images folder nowhere does not exist"]),
        ({"annotations": "nowhere.json"}, ["annotations file nowhere.json does not exist"]),
        (
            {"out": "/dev/null/out"},
            ["/dev/null/out lies below /dev/null, which is a file", "choose another name"],
        ),
    ],
)
def test_wrong_calls_exit_with_2(call, changes, words, fails):
    fails(call(**changes), 2, *words)


def test_wrong_options_exit_with_2(call, tmp_path, fails):
    fails(
        call("--limit", "0"), 2, "--limit", "an integer of at least 1, got '0'", "evaluate --help"
    )
    fails(call("--workers", "-1"), 2, "--workers", "an integer of at least 0, got '-1'")
    fails(call("--cache-gib", "1"), 2, "--cache-gib bounds the size of --cache", "give both")
    fails(call("--cache-gib", "0"), 2, "--cache-gib", "a number above 0, got '0'")
    fails(
        ["report", str(tmp_path)],
        2,
        "holds no finished evaluation",
        "salcompress evaluate --out",
    )
    fails(
        ["bench", "everything"],
        2,
        "unknown bench part 'everything'; valid: codecs, coder, large, harness, memory, workers",
    )
    fails(["evaluate"], 2, "the following arguments are required", "evaluate --help")


def test_a_codec_that_pillow_lacks_exits_with_2(call, monkeypatch, fails):
    from PIL import features

    real = features.check
    monkeypatch.setattr(features, "check", lambda name: name != "avif" and real(name))
    fails(call(codec="avif:q=20"), 2, "codec avif: this Pillow", "install Pillow >= 11.3")


def test_a_cache_that_cannot_be_written_exits_with_2(call, fails):
    fails(call("--cache", "/dev/null/cache"), 2, "--cache", "/dev/null", "choose another name")


def test_another_runs_folder_exits_with_2(call, fails):
    assert main(call()) == 0
    fails(call("--limit", "3"), 2, "holds the results of another run", "choose another --out")


def test_detectron2_that_is_missing_says_what_to_install(call, capsys):
    code = (
        "import sys; sys.modules['detectron2'] = None; from salcompress.cli.main import main; "
        "sys.exit(main(['evaluate', '--images', sys.argv[1], '--annotations', sys.argv[2], "
        "'--detector', "
        "'detectron2:COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml', '--codec', 'png', '--out', "
        "sys.argv[3]]))"
    )
    _, _, images, _, annotations, *_ = call()
    run = subprocess.run(
        [sys.executable, "-c", code, images, annotations, call()[10]],
        capture_output=True,
        text=True,
    )
    assert (
        run.returncode == 2
        and "needs Detectron2, which is not installed: https://" in run.stderr.splitlines()[-1]
    )


@pytest.fixture
def own_scenes(tmp_path):
    """A set of three scenes that a test may spoil."""
    return write_scenes(tmp_path / "own", 3, seed=31)


def spoil(name):
    whole = encode_image(make_scene(31, 1).image, "JPEG")
    return {
        "corrupt": b"\x89PNG\r\n\x1a\n" + bytes(99),
        "truncated": whole[: len(whole) // 2],
        "zero bytes": b"",
        "another size": encode_image(make_scene(31, 1, 100, 100).image, "PNG"),
    }[name]


@pytest.mark.parametrize("what", ["corrupt", "truncated", "zero bytes", "another size", "missing"])
def test_bad_images_exit_with_1_or_are_skipped(call, capsys, own_scenes, tmp_path, what, fails):
    path = own_scenes.parent / "images" / "000002.png"
    path.unlink()
    if what != "missing":
        path.write_bytes(spoil(what))
    arguments = call(images=path.parent, annotations=own_scenes)
    fails(arguments, 1, "000002.png", "--skip-bad")
    assert not (tmp_path / "out" / "results.jsonl").exists()
    assert main([*arguments, "--skip-bad"]) == 0
    assert "left out 000002.png" in capsys.readouterr().out
    assert "000002.png" in (tmp_path / "out" / "report.html").read_text()


def test_a_one_pixel_image_is_evaluated(call, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "dot.png").write_bytes(
        encode_image(make_scene(1, 1).image[:1, :1], "PNG")
    )
    annotations = {
        "images": [{"id": 1, "file_name": "dot.png", "height": 1, "width": 1}],
        "annotations": [],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "dot.json").write_text(json.dumps(annotations))
    assert (
        main(
            call(
                images=tmp_path / "images",
                annotations=tmp_path / "dot.json",
                codec="jpeg:q=10,20,30,40",
            )
        )
        == 0
    )
    row = read_jsonl(tmp_path / "out" / "results.jsonl")[0]
    assert row.box["AP"] is None and row.ms_ssim is None and row.bpp > 1000


def test_damaged_annotations_exit_with_1(call, tmp_path, fails):
    (tmp_path / "bad.json").write_text('{"images": []')
    fails(call(annotations=tmp_path / "bad.json"), 1, "bad.json: not a json file")


def test_a_full_disk_exits_with_1_and_goes_on_later(call, tmp_path):
    script = "import sys; from salcompress.cli.main import main; sys.exit(main(sys.argv[1:]))"
    main(call(codec="png"))  # so that the original pictures are there, which are larger
    records = sorted((tmp_path / "out" / "records").iterdir())
    size = records[0].stat().st_size // 2
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: E731
    run = subprocess.run(
        [sys.executable, "-c", script, *call(codec="webp:q=5")],
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert (
        run.returncode == 1
        and len([x for x in run.stderr.splitlines() if x.startswith("salcompress:")]) == 1
    )
    assert (
        "cannot write" in run.stderr
        and "File too large" in run.stderr
        and "make room" in run.stderr
    )
    assert not [
        name
        for _, _, names in os.walk(tmp_path / "out")
        for name in names
        if name.endswith(".part")
    ]
    assert main(call(codec="webp:q=5")) == 0
