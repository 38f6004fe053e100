"""What became of many files, some of which may have failed."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from tqdm import tqdm

from salcompress.errors import DataError

Done = TypeVar("Done")
_NAMED = 3


class Outcome(NamedTuple, Generic[Done]):
    """What was made of many files, in the order in which they were given."""

    done: list[Done]
    """What this call made, a record for each file."""
    kept: list[Done]
    """What an earlier call had made, and this one left as it was."""


class PartlyDoneError(DataError):
    """Some files could not be done; all others were.

    Attributes:
        outcome: What was made of the others.
    """

    def __init__(self, message: str, outcome: Outcome):
        super().__init__(message)
        self.outcome = outcome


class Failures:
    """Files that could not be done. Each is said on stderr when it is met.

    Args:
        verb: What was to be done with the files, as a participle: "encoded".
    """

    def __init__(self, verb: str):
        self._verb = verb
        self._messages: list[str] = []

    def add(self, path: Path, error: Exception) -> None:
        """Note a failure. The message names the file once."""
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        self._messages.append(message)
        tqdm.write(" ".join(message.split()), file=sys.stderr)

    def raise_if_any(self, outcome: Outcome) -> None:
        """End a call in which something failed.

        Raises:
            PartlyDoneError: Something did.
        """
        if self._messages:
            raise PartlyDoneError(_message(self._messages, self._verb, len(outcome.done)), outcome)


def _message(failures: Sequence[str], verb: str, num_done: int) -> str:
    more = f"; and {len(failures) - _NAMED} more, see above" if len(failures) > _NAMED else ""
    return (
        f"{num_done} files were {verb}, {len(failures)} could not be: "
        f"{'; '.join(failures[:_NAMED])}{more}"
    )
