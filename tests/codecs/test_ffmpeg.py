"""What is said where the binary is missing, fails or hangs."""

import sys

import pytest

pytest.importorskip("imageio_ffmpeg", reason='needs the extra "codecs"')

from salcompress.codecs import load_codec
from salcompress.codecs.ffmpeg import FfmpegError, ffmpeg_binary, run
from salcompress.errors import BitstreamError, CodecUnavailableError, SettingError

SPECS = ("jxl:q=30", "hevc:q=40,preset=ultrafast", "vvc:q=40,preset=faster")
FLAGS = "--enable-libx265 --enable-libvvenc --enable-libjxl"


@pytest.fixture
def binary(tmp_path, monkeypatch):
    """Makes a script that takes FFmpeg's place."""
    ffmpeg_binary.cache_clear()

    def make(body):
        path = tmp_path / "ffmpeg"
        # imageio-ffmpeg runs "-version" itself before it takes a binary
        path.write_text(
            "#!/bin/sh\n"
            f'case "$*" in *-version*) echo "ffmpeg version 1.2 {FLAGS}"; exit 0;; esac\n{body}\n'
        )
        path.chmod(0o755)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
        return path

    yield make
    ffmpeg_binary.cache_clear()


@pytest.mark.parametrize("spec", SPECS)
def test_a_missing_extra_says_what_to_install(spec, monkeypatch):
    ffmpeg_binary.cache_clear()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    name = spec.partition(":")[0]
    with pytest.raises(
        CodecUnavailableError,
        match=rf'codec {name} needs imageio-ffmpeg: pip install "salcompress\[codecs\]"',
    ):
        load_codec(spec)


def test_a_missing_jpegli_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyjpegli", None)
    with pytest.raises(CodecUnavailableError, match=r'pip install "salcompress\[codecs\]"'):
        load_codec("jpegli")


@pytest.mark.parametrize("spec", SPECS)
def test_a_failing_binary_names_the_codec_and_its_last_line(spec, picture, binary):
    stream = load_codec(spec).encode(picture)
    ffmpeg_binary.cache_clear()
    binary("cat > /dev/null; echo first >&2; echo 'the last line' >&2; exit 3")
    codec = load_codec(spec)
    assert codec.fingerprint.endswith("@ffmpeg-1.2")
    with pytest.raises(
        SettingError,
        match=f"^{codec.name} cannot encode an image of 251x203 .*code 3: the last line$",
    ):
        codec.encode(picture)
    with pytest.raises(BitstreamError, match=f"^damaged {codec.name} .*code 3: the last line$"):
        codec.decode(stream)


@pytest.mark.parametrize("spec", SPECS)
def test_a_hanging_binary_is_stopped(spec, picture, binary):
    stream = load_codec(spec).encode(picture)
    ffmpeg_binary.cache_clear()
    binary("trap '' TERM; echo 'it waits' >&2; exec sleep 60")
    codec = load_codec(spec)
    codec.decode_s = 0.3
    with pytest.raises(
        BitstreamError, match=f"^damaged {codec.name} .*stopped after 0.3 s: it waits$"
    ):
        codec.decode(stream)


@pytest.mark.parametrize("spec", SPECS)
def test_a_picture_of_absurd_size_is_refused(spec, picture, monkeypatch):
    codec = load_codec(spec)
    stream = codec.encode(picture)
    monkeypatch.setattr(sys.modules[codec.encode.__func__.__module__], "LARGEST_PICTURE", 10_000)
    with pytest.raises(BitstreamError, match=f"^damaged {codec.name} stream: FFmpeg gave code"):
        codec.decode(stream)


def test_a_silent_failure_has_no_last_line(binary):
    path = binary("exit 4")
    with pytest.raises(FfmpegError, match="^FFmpeg gave code 4$"):
        run(str(path), ["-i", "-"], b"", timeout_s=60)


def test_what_is_printed_is_no_part_of_the_stream(binary):
    """VVenC prints a warning to the standard output, which once made streams 98 bytes longer."""
    path = str(binary('cat > /dev/null; echo warning; for out; do :; done; printf stream > "$out"'))
    assert run(path, ["-i", "-"], b"picture", timeout_s=60) == b"stream"
    with pytest.raises(FfmpegError, match="^FFmpeg wrote nothing: no luck$"):
        run(str(binary("echo no luck >&2")), ["-i", "-"], b"", timeout_s=60)


def test_a_binary_without_the_encoder_is_refused(binary):
    path = binary("exit 1")
    path.write_text(path.read_text().replace("--enable-libvvenc", ""))
    with pytest.raises(CodecUnavailableError, match="codec vvc: .* built without libvvenc; inst"):
        load_codec("vvc")
    load_codec("hevc")


def test_a_binary_that_cannot_be_started(tmp_path):
    with pytest.raises(FfmpegError, match="none cannot be started: No such file"):
        run(str(tmp_path / "none"), [], b"", timeout_s=60)
