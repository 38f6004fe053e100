"""One run of the FFmpeg binary that the package ``imageio-ffmpeg`` brings: bytes in, bytes out.

A process is started for every stream, since the binary has no other interface. That alone takes
about 10 ms on a core of an AMD EPYC.
"""

import functools
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from salcompress.errors import CodecUnavailableError, SalcompressError

LARGEST_PICTURE = 2 * 89_478_485
"""Largest picture that is decoded, which is Pillow's bound, too."""


class FfmpegError(SalcompressError):
    """A run has failed. The message is the reason in one line, without the codec's name."""


@functools.cache
def ffmpeg_binary(codec: str, library: str) -> tuple[str, str]:
    """Path and version of the binary.

    The variable ``IMAGEIO_FFMPEG_EXE`` names another binary than that of the package.

    Args:
        codec: Who needs it, for the message.
        library: Which library it must hold: ``libx265``.

    Raises:
        CodecUnavailableError: The package is not installed, its binary does not run, or was built
            without the library.
    """
    try:
        import imageio_ffmpeg
    except ModuleNotFoundError:
        raise CodecUnavailableError(
            f'codec {codec} needs imageio-ffmpeg: pip install "salcompress[codecs]"'
        ) from None
    try:
        path = imageio_ffmpeg.get_ffmpeg_exe()
        about = _execute([path, "-version"], b"", 60).stdout.decode(errors="replace")
    except (RuntimeError, FfmpegError) as error:
        raise CodecUnavailableError(
            f"codec {codec}: the FFmpeg binary of imageio-ffmpeg does not run: {error}"
        ) from error
    version = about.removeprefix("ffmpeg version ").partition(" ")[0]
    if f"--enable-{library}" not in about.split():
        raise CodecUnavailableError(
            f"codec {codec}: the FFmpeg binary {path} (version {version}) was built without "
            f"{library}; install imageio-ffmpeg from a wheel, and leave IMAGEIO_FFMPEG_EXE unset"
        )
    return path, version


def run(path: str, arguments: Sequence[str], data: bytes, *, timeout_s: float) -> bytes:
    """What the binary makes of its standard input.

    It writes to a temporary file, since encoders print warnings to the standard output.

    Args:
        path: Of the binary.
        arguments: All between the name and the output. Errors alone are logged.
        data: Its standard input.
        timeout_s: After so many seconds it is killed.

    Raises:
        FfmpegError: It cannot be started, fails, writes nothing or takes too long. The message ends
            with the last line of its standard error, if there is one.
    """
    with tempfile.TemporaryDirectory(prefix="salcompress-") as folder:
        out = Path(folder) / "out"
        command = [path, "-hide_banner", "-v", "error", *arguments, "-y", str(out)]
        log = _execute(command, data, timeout_s).stderr
        if not out.exists() or not out.stat().st_size:
            raise FfmpegError(_with_last_line("FFmpeg wrote nothing", log))
        return out.read_bytes()


def _execute(
    command: Sequence[str], data: bytes, timeout_s: float
) -> subprocess.CompletedProcess[bytes]:
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise FfmpegError(
            _with_last_line(f"FFmpeg was stopped after {timeout_s:g} s", error.stderr)
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise FfmpegError(f"{command[0]} cannot be started: {reason}") from error
    if done.returncode != 0:
        raise FfmpegError(_with_last_line(f"FFmpeg gave code {done.returncode}", done.stderr))
    return done


def _with_last_line(reason: str, log: bytes | None) -> str:
    lines = (log or b"").decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{reason}: {last}" if last else reason
