"""What the tests of the command line share."""

import pytest

from salcompress.cli.main import main


@pytest.fixture
def fails(capsys):
    """A function: the call ends with the exit code, and its last line on stderr holds the words."""

    def check(arguments, code, *words):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("salcompress: ")
        assert sum(line.startswith("salcompress:") for line in lines) == 1
        for word in words:
            assert word in lines[-1], lines[-1]

    return check
