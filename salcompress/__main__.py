"""``python -m salcompress``, which is also what the installed command ``salcompress`` calls."""

import os
import sys


def main() -> int:
    """Run the command line in a process of its own, and give its exit code.

    Ctrl-C while modules are imported leaves in one line, as at any other time. A reader of the
    output that has seen enough, such as ``head``, ends the command in silence.
    """
    try:
        from salcompress.cli.main import main as run_command

        for stream in (sys.stdout, sys.stderr):  # file names may be no text of this terminal
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # no TextIO
        code = run_command()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("salcompress: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
