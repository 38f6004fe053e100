"""``salcompress encode``, ``decode`` and ``info`` as a user meets them."""

import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from salcompress import SalientCodec
from salcompress.cli.main import main
from salcompress.codecs.stream_files import read_summary
from salcompress.data.scenes import make_scene
from salcompress.image import encode_image, read_image

CPU = ["--codec", "salient:q=0.3,saliency=uniform,device=cpu"]


@pytest.fixture
def pictures(tmp_path):
    """A folder of three small pictures, one of them in a sub-folder."""
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.png", "sub/c.png")):
        picture = make_scene(31, index, 64, 80).image
        (folder / name).write_bytes(encode_image(picture, "PNG"))
    return folder


def encode(*arguments, codec=CPU):
    """Exit code of an ``encode`` on the CPU."""
    return main(["encode", *map(str, arguments), *codec])


def test_encode_info_decode(tmp_path, scenes, capsys):
    images = scenes.parent / "images"
    sources = [images / "000001.png", images / "000002.png"]
    out = tmp_path / "s"
    assert encode(*sources, "--out", out, codec=["--codec", "salient:q=0.3,device=cpu"]) == 0
    printed = capsys.readouterr().out
    before = sum(path.stat().st_size for path in sources)
    after = sum(path.stat().st_size for path in out.glob("*.salc"))
    pooled = 8 * after / (2 * 320 * 240)
    assert printed.startswith("2 images: ") and f"{pooled:.4f} bpp pooled" in printed
    assert f"{before:,} bytes of source files became {after:,} bytes of streams" in printed
    lines = (out / "summary.csv").read_text().splitlines()
    assert lines[0].startswith("file,stream,height,width,num_bytes,bpp") and len(lines) == 3
    assert main(["info", str(out / "000001.salc")]) == 0
    text = capsys.readouterr().out
    assert "320x240 pixels" in text and "base level 19 of 63" in text and "quality map: yes" in text
    decoded = tmp_path / "d"
    decode = ["decode", str(out), "--out", str(decoded), "--codec", "salient:device=cpu"]
    assert main(decode) == 0
    assert sorted(p.name for p in decoded.iterdir()) == ["000001.png", "000002.png"]


def test_info_on_many_streams_is_one_table(pictures, tmp_path, capsys, fails):
    assert encode(pictures, "--out", tmp_path / "s") == 0
    (tmp_path / "s" / "bad.salc").write_bytes(b"SALC but no more")
    fails(["info", tmp_path / "s"], 1, "3 files were read, 1 could not be", "bad.salc")
    capsys.readouterr()
    main(["info", str(tmp_path / "s")])
    head, *rows, total = capsys.readouterr().out.splitlines()
    assert head.split()[:6] == ["stream", "width", "height", "bytes", "bpp", "q"]
    sizes = [(tmp_path / "s" / f"{name}.salc").stat().st_size for name in "abc"]
    assert [row.split()[1:4] for row in rows] == [["80", "64", str(size)] for size in sizes]
    assert total.startswith(f"3 streams, {sum(sizes):,} bytes")


def test_a_folder_of_streams_of_several_weights(
    pictures, tmp_path, known_second, capsys, fails, monkeypatch
):
    """Which decode without a word of their weights, as long as these have a name."""
    streams, out = tmp_path / "s", tmp_path / "d"
    for name, weights in (("a.png", "photo"), ("b.png", "second")):
        codec = f"salient:q=0.3,saliency=uniform,device=cpu,weights={weights}"
        assert encode(pictures / name, "--out", streams, codec=["--codec", codec]) == 0
    capsys.readouterr()
    assert main(["info", str(streams)]) == 0
    rows = capsys.readouterr().out.splitlines()[1:3]
    assert [row.rpartition(" ")[2] for row in rows] == ["(photo)", "(second)"]
    assert main(["info", str(streams / "b.salc")]) == 0
    assert capsys.readouterr().out.endswith("(second)\n")
    assert main(["decode", str(streams), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"a.png", "b.png"}
    second = SalientCodec(weights="second", device="cpu")
    decoded = second.decode((streams / "b.salc").read_bytes())
    assert np.abs(read_image(out / "b.png").astype(int) - decoded).max() <= 1
    monkeypatch.delenv("SALCOMPRESS_WEIGHTS")
    fails(
        ["decode", streams, "--out", out, "--overwrite"],
        1,
        "b.salc: the stream was made by weights with fingerprint",
        second.model_fingerprint.hex(),
        "photo (",
    )
    codec = ["--codec", f"salient:weights={known_second}"]
    assert main(["decode", str(streams), "--out", str(out), "--overwrite", *codec]) == 0


def test_weights_that_are_not_there(pictures, tmp_path, fails):
    fails(
        ["encode", pictures, "--out", tmp_path / "s", "--codec", "salient:weights=nobody,q=0.1"],
        2,
        "weights 'nobody' are not there",
        "photo (",
        "SALCOMPRESS_WEIGHTS",
    )


def test_encode_to_a_target(tmp_path, scenes):
    image = scenes.parent / "images" / "000001.png"
    assert encode(image, "--out", tmp_path, "--target-bpp", "0.6") == 0
    size = (tmp_path / "000001.salc").stat().st_size
    assert 0.9 * 0.6 < 8 * size / (320 * 240) <= 0.6


@pytest.mark.parametrize("target", ["--target-bpp", "--target-psnr"])
def test_a_target_that_is_no_positive_number_is_refused_at_once(target, tmp_path, fails):
    for value in ("-1", "0", "nan", "much"):
        words = (target, f"a number above 0, got '{value}'", "encode --help")
        fails(["encode", "missing.png", "--out", tmp_path, target, value], 2, *words)


def test_encode_with_effort(tmp_path, fails):
    (tmp_path / "a.png").write_bytes(encode_image(make_scene(31, 1, 64, 64).image, "PNG"))
    for name, given in {
        "short": ["--effort", "2"],
        "long": ["--codec", "salient:effort=2"],
        "both": ["--codec", "salient:effort=2", "--effort", "2"],
    }.items():
        assert encode(tmp_path / "a.png", "--out", tmp_path / name, codec=given) == 0
        assert "effort=2" in (tmp_path / name / "summary.csv").read_text()
    streams = {(tmp_path / name / "a.salc").read_bytes() for name in ("short", "long", "both")}
    assert len(streams) == 1
    start = ["encode", tmp_path / "a.png", "--out", tmp_path, "--effort"]
    words = "--effort 3 and 'salient:effort=2' contradict each other"
    fails([*start, "3", "--codec", "salient:effort=2"], 2, words)
    fails([*start, "-1"], 2, "must be an integer from 0 to 10000, got '-1'")
    fails([*start, "1.5"], 2, "must be an integer from 0 to 10000, got '1.5'")
    fails([*start, "2", "--codec", "jpeg"], 2, ".salc streams are those of the learned codec")


def test_encode_and_decode_errors(tmp_path, scenes, fails):
    images = scenes.parent / "images"
    out = ["--out", tmp_path]
    fails(["encode", tmp_path / "no.png", *out], 2, "no.png does not exist")
    words = ".salc streams are those of the learned codec"
    fails(["encode", images, *out, "--codec", "jpeg"], 2, words)
    fails(["encode", tmp_path, *out], 2, "holds no file whose name ends in .avif")
    fails(["decode", tmp_path, *out], 2, "holds no file whose name ends in .salc")
    (tmp_path / "bad.salc").write_bytes(b"SALC but no more")
    words = "bad.salc: the stream ends within its header"
    fails(["decode", tmp_path / "bad.salc", *out], 1, words)
    fails(["info", tmp_path / "bad.salc"], 1, words)
    fails(["encode", images, *out, "--workers", "-1"], 2, "--workers", "at least 0, got '-1'")
    fails(["encode", images, "--out", tmp_path / "bad.salc"], 2, "is a file, and a folder is want")


def test_what_is_passed_over_is_said(pictures, tmp_path, capsys):
    (pictures / "notes.txt").write_text("no picture")
    (pictures / "x.heic").write_bytes(b"no picture here")
    (pictures / ".hidden").write_text("of no interest")
    assert encode(pictures, "--out", tmp_path / "s") == 0
    printed = capsys.readouterr()
    assert "passed over 2 files that are not named as images: " in printed.err
    assert "1 .txt" in printed.err and "1 .heic" in printed.err


def test_a_folder_gives_what_the_reader_can_read(tmp_path):
    picture = make_scene(31, 0, 64, 64).image
    kinds = {"jp2": "JPEG2000", "jfif": "JPEG", "jpe": "JPEG", "gif": "GIF", "ppm": "PPM"}
    for ending, image_format in kinds.items():
        (tmp_path / f"{ending}.{ending}").write_bytes(encode_image(picture, image_format))
    assert encode(tmp_path, "--out", tmp_path / "s") == 0
    assert {path.stem for path in (tmp_path / "s").glob("*.salc")} == set(kinds)


def test_two_files_of_one_stem_keep_their_whole_names(pictures, tmp_path):
    (pictures / "a.jpg").write_bytes(encode_image(make_scene(31, 5, 64, 64).image, "JPEG"))
    assert encode(pictures, "--out", tmp_path / "s") == 0
    names = {path.name for path in (tmp_path / "s").glob("*.salc")}
    assert names == {"a.jpg.salc", "a.png.salc", "b.salc", "c.salc"}


def test_sub_folders_are_kept_there_and_back(pictures, tmp_path, fails):
    (pictures / "sub" / "a.png").write_bytes((pictures / "a.png").read_bytes())
    streams, decoded = tmp_path / "s", tmp_path / "d"
    fails(["encode", pictures, "--out", streams], 2, "would both become a.png.salc", "--keep-tree")
    assert encode(pictures, "--out", streams, "--keep-tree") == 0
    assert main(["decode", str(streams), "--out", str(decoded), "--keep-tree"]) == 0
    for path in pictures.rglob("*.png"):
        found = read_image(decoded / path.relative_to(pictures))
        assert found.shape == read_image(path).shape


def test_streams_that_exist_are_overwritten_only_on_demand(pictures, tmp_path, fails):
    out = tmp_path / "s"
    assert encode(pictures / "a.png", "--out", out) == 0
    first = (out / "a.salc").read_bytes()
    words = ("1 of 3 streams exist already", "a.salc", "--resume", "--overwrite")
    fails(["encode", pictures, "--out", out, "--codec", "salient:q=0.9"], 2, *words)
    assert (out / "a.salc").read_bytes() == first and not (out / "b.salc").exists()
    assert encode(pictures, "--out", out, "--overwrite", codec=["--codec", "salient:q=0.9"]) == 0
    assert (out / "a.salc").read_bytes() != first
    decode = ["decode", str(out), "--out", str(tmp_path / "d")]
    assert main(decode) == 0
    fails(decode, 2, "3 of 3 images exist already", "--overwrite")
    assert main([*decode, "--overwrite"]) == 0


def test_a_bad_stream_does_not_stop_decoding(pictures, tmp_path, fails):
    assert encode(pictures, "--out", tmp_path / "s") == 0
    bad = tmp_path / "s" / "a.salc"
    bad.write_bytes(bad.read_bytes()[:60])
    words = ("2 files were decoded, 1 could not be", "a.salc: the stream holds 24 of")
    fails(["decode", tmp_path / "s", "--out", tmp_path / "d"], 1, *words)
    assert {path.name for path in (tmp_path / "d").iterdir()} == {"b.png", "c.png"}


def test_one_bad_image_does_not_stop_the_others(tmp_path, scenes, capsys, fails):
    folder, out = tmp_path / "in", tmp_path / "s"
    folder.mkdir()
    for name in ("000001.png", "000002.png", "000003.png"):
        content = (scenes.parent / "images" / name).read_bytes()
        (folder / name).write_bytes(content[:500] if name == "000002.png" else content)
    words = ("2 files were encoded, 1 could not be:", "000002.png")
    fails(["encode", folder, "--out", out, *CPU], 1, *words)
    assert len((out / "summary.csv").read_text().splitlines()) == 3
    assert encode(folder, "--out", out, "--resume") == 1
    assert capsys.readouterr().out.startswith("2 images, 2 of which were there already: ")


def test_steered_by_maps_of_ones_own(pictures, tmp_path, fails):
    maps, steered = tmp_path / "maps", tmp_path / "steered"
    (maps / "sub").mkdir(parents=True)
    left = np.zeros((64, 80), np.uint8)
    left[:, :40] = 255
    saliency = {"a": left, "b": 255 - left, "sub/c": 0 * left}
    for name, pixels in saliency.items():
        cv2.imwrite(str(maps / f"{name}.png"), pixels)
    given = ("--saliency-maps", maps)
    codec = ["--codec", "salient:q=0.3,device=cpu"]
    assert encode(pictures, "--out", steered, *given, codec=codec) == 0
    for name, pixels in saliency.items():
        own = SalientCodec(0.3, saliency=pixels.astype(np.float32) / 255, device="cpu")
        stream = own.encode(read_image(pictures / f"{name}.png"))
        assert (steered / f"{name[-1]}.salc").read_bytes() == stream
    assert main(["decode", str(steered), "--out", str(tmp_path / "d")]) == 0  # needs no map
    contradictory = "--codec", "salient:saliency=uniform"
    out = ["--out", tmp_path / "new", *given]
    fails(["encode", pictures, *out, *contradictory], 2, "contradict each other")
    cv2.imwrite(str(maps / "a.png"), left[:32])
    words = ("a.png is 80x32, and", "is 80x64", "resize the map")
    fails(["encode", pictures, *out], 1, *words)
    (maps / "a.png").unlink()
    fails(["encode", pictures, *out], 2, "1 of 3 images have no saliency map", "named a.png")
    fails(["encode", pictures, "--out", tmp_path, "--saliency-maps", "no"], 2, "no does not exist")
    assert not (tmp_path / "new").exists(), "it stops before any work"


def test_workers_write_the_same_streams(pictures, tmp_path):
    assert encode(pictures, "--out", tmp_path / "one") == 0
    assert encode(pictures, "--out", tmp_path / "two", "--workers", "2") == 0
    for path in (tmp_path / "one").glob("*.salc"):
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()
    one, two = (read_summary(tmp_path / name) for name in ("one", "two"))
    assert [row._replace(encode_s=0) for row in one.values()] == [
        row._replace(encode_s=0) for row in two.values()
    ]


def test_an_image_too_large_for_the_format_is_refused_by_its_header(tmp_path, fails):
    """The pixels are damaged, so whoever read them would say so."""
    from PIL import Image

    path = tmp_path / "large.png"
    Image.new("1", (12000, 9000)).save(path)
    path.write_bytes(path.read_bytes()[:200])
    words = ("large.png", "12000x9000", "cut or shrink it first")
    fails(["encode", path, "--out", tmp_path / "s", *CPU], 1, *words)


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX systems alone")
def test_a_name_that_is_no_text_is_kept_as_it_is(pictures, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (pictures / "a.png").rename(pictures / name)
    command = [sys.executable, "-m", "salcompress", "encode", "--out", "s", *CPU]
    run = subprocess.run([*command, pictures / name], cwd=tmp_path, capture_output=True)
    assert run.returncode == 0, run.stderr
    assert b"/caf\xe9.png,caf\xe9.salc," in (tmp_path / "s" / "summary.csv").read_bytes()
    assert (tmp_path / "s" / os.fsdecode(b"caf\xe9.salc")).is_file()
    assert encode(pictures / name, "--out", tmp_path / "s", "--resume") == 0


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a process group")
@pytest.mark.parametrize("after", [b"0/3", b"1/3"])
def test_ctrl_c_ends_the_workers_in_one_line(pictures, tmp_path, after):
    """While they import, and while they work."""
    command = [sys.executable, "-m", "salcompress", "encode", pictures, "--out", tmp_path / "s"]
    process = subprocess.Popen(
        [*command, "--workers", "1", "--effort", "5", *CPU],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    printed = b""
    while after not in printed and (some := os.read(process.stderr.fileno(), 1000)):
        printed += some
    os.killpg(process.pid, signal.SIGINT)
    printed += process.stderr.read()
    process.stderr.close()
    assert process.wait() in (130, -signal.SIGINT)
    assert b"Traceback" not in printed
    assert b"salcompress: interrupted; run the same command with --resume to go on" in printed
