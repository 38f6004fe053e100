"""Weight files of the learned codec that have a name, and which of them made a stream.

Those shipped lie in ``salcompress/weights``. The environment variable ``SALCOMPRESS_WEIGHTS`` may
name folders with more, separated as in ``PATH``. A file ``photo.safetensors`` is called ``photo``;
of two with one name the first counts, and the shipped ones come first. A file that is added to a
folder needs no other entry. Headers alone are read, and each once.
"""

import functools
import os
from pathlib import Path
from typing import NamedTuple

from salcompress.errors import ModelMismatchError, SettingError
from salcompress.models.weight_header import read_weight_metadata

SHIPPED_FOLDER = Path(__file__).parents[2] / "weights"
WEIGHTS = SHIPPED_FOLDER / "photo.safetensors"
"""The networks that code where no others are named."""
FOLDERS_VARIABLE = "SALCOMPRESS_WEIGHTS"


class KnownWeights(NamedTuple):
    """A weight file that a specification may call by its name."""

    name: str
    path: Path
    fingerprint: bytes
    """First four bytes of that of its networks, as streams have it."""


def known_weights() -> dict[str, KnownWeights]:
    """The weight files of the learned codec that have a name, by this name."""
    known: dict[str, KnownWeights] = {}
    for folder in _folders():
        for path in sorted(folder.glob("*.safetensors")):
            fingerprint = _fingerprint_in(path)
            if fingerprint is not None:
                known.setdefault(path.stem, KnownWeights(path.stem, path, fingerprint))
    return known


def find_weights(given: Path | str | None) -> Path:
    """The weight file that a caller means.

    Args:
        given: As text a name or the path of a file, as a Path the path; None stands for ``photo``.
            A known name comes before a file that is called so; ``./photo`` is the file.

    Raises:
        SettingError: It is a word that is neither a known name nor a file.
    """
    if not given:
        return WEIGHTS
    path = Path(given)
    if not isinstance(given, str):
        return path
    known = known_weights()
    if given in known:
        return known[given].path
    if given == path.stem and not path.exists():
        raise SettingError(
            f"weights {given!r} are not there: no file is called so, and no codec's weights with "
            f"this name are among {_looked_through()}; give one of these names or a file, or name "
            f"the folder of {given}.safetensors in {FOLDERS_VARIABLE}"
        )
    return path


def name_of(path: Path) -> str:
    """What a specification calls a weight file: its name if it has one, else its path."""
    named = known_weights().get(path.stem)
    return path.stem if named is not None and named.path == path else str(path)


def weights_that_made(fingerprint: bytes, own: KnownWeights | None = None) -> KnownWeights:
    """The weights whose fingerprint a stream has.

    Args:
        fingerprint: Four bytes, as a stream has them.
        own: Weights that were looked at before, for the error.

    Raises:
        ModelMismatchError: No known weights have it.
    """
    known = known_weights().values()
    for weights in known:
        if weights.fingerprint == fingerprint:
            return weights
    looked_at = _looked_through()
    if own is not None and own not in known:
        looked_at = f"{own.path} ({own.fingerprint.hex()}) and {looked_at}"
    raise ModelMismatchError(
        f"the stream was made by weights with fingerprint {fingerprint.hex()}, and these are not "
        f"among {looked_at}; give the weights that encoded it, as salient:weights=FILE, or name "
        f"their folder in {FOLDERS_VARIABLE}"
    )


def _folders() -> list[Path]:
    added = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    return [SHIPPED_FOLDER, *(Path(folder).absolute() for folder in added if folder)]


def _looked_through() -> str:
    """All known weights, by folder, in words."""
    held: dict[Path, list[str]] = {folder: [] for folder in _folders()}
    for weights in known_weights().values():
        held[weights.path.parent].append(f"{weights.name} ({weights.fingerprint.hex()})")
    return ", ".join(
        f"{', '.join(names) or 'none'} in {folder}{'' if folder.is_dir() else ' (no such folder)'}"
        for folder, names in held.items()
    )


def _fingerprint_in(path: Path) -> bytes | None:
    """The fingerprint that a file's header gives; None where it is no codec's weights file."""
    try:
        status = path.stat()
    except OSError:  # gone since the folder was listed
        return None
    return _fingerprint_then(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(1024)
def _fingerprint_then(path: Path, changed: int, size: int) -> bytes | None:
    metadata = read_weight_metadata(path)
    if "known_answer" not in metadata:  # which the codec's prior alone has
        return None
    try:
        return bytes.fromhex(metadata["digest"])[:4]
    except (KeyError, ValueError):
        return None
