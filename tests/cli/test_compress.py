"""compress, verify and decode: a data set becomes streams, and pictures again."""

import json

from salcompress.cli.main import main
from salcompress.image import read_image


def fails(capsys, arguments, code, *parts):
    assert main([str(argument) for argument in arguments]) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(part in error for part in parts), error


def test_there_and_back(scenes, tmp_path, capsys):
    out = tmp_path / "stored"
    images = ["--images", scenes.parent / "images", "--annotations", scenes]
    compress = ["compress", *images, "--codec", "jpeg:q=30", "--out", out, "--workers", 0]
    assert main([str(argument) for argument in compress]) == 0
    said = capsys.readouterr().out
    manifest = json.loads((out / "manifest.json").read_text())
    assert f"6 images in {out}" in said and f"{manifest['bpp']:.4f} bits per pixel" in said
    assert main(["verify", str(out), "--decode-all"]) == 0
    assert "6 streams match their checksums, and 6 decode" in capsys.readouterr().out
    assert main(["decode", str(out), "--out", str(tmp_path / "pictures")]) == 0
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert len(pictures) == 6 and read_image(pictures[0]).shape == (240, 320, 3)


def test_what_is_wrong_is_said_in_one_line(scenes, tmp_path, capsys):
    out = tmp_path / "stored"
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "bad.png").write_bytes(b"x")
    name = sorted((scenes.parent / "images").iterdir())[0]
    (folder / "good.png").write_bytes(name.read_bytes())
    start = ["compress", "--images", folder, "--out", out, "--workers", 0, "--codec"]
    fails(
        capsys, [*start, "jpeg:q=30"], 1, "1 images could not be stored: bad.png", "--retry-skipped"
    )
    fails(capsys, [*start, "jpeg:q=31"], 2, "begun with another codec: jpeg:q=30", "then")
    fails(capsys, ["verify", folder], 2, "holds no stored data set; make one with")
    shard = out / "shards" / "000000.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    fails(capsys, ["verify", out], 1, "1 of 1 streams are damaged", "good.png")
    fails(capsys, ["decode", out, out, "--out", tmp_path / "p"], 2, "give one of them, alone")
    fails(
        capsys, ["compress", "--images", tmp_path / "no", "--codec", "png", "--out", out], 2, "no"
    )
