"""Figures of rows on resampled images, kept beside the rows, so that differences of rows can have
intervals.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from salcompress.errors import DataError
from salcompress.files import read_file, write_atomically

Resamples = Mapping[str, Mapping[str, Sequence[float]]]
"""For the fingerprint of a row, by name of a figure, its values on each resample of the images. The
same place in two rows of one folder is the same resample.
"""

_NAME = "resamples.json"


def write_resamples(folder: Path, resamples: Resamples) -> None:
    """Keep the resampled figures of all rows of a run folder; what is not a number is null.

    Raises:
        OutputError: The file cannot be written.
    """
    content = {
        fingerprint: {
            name: [value if np.isfinite(value) else None for value in values]
            for name, values in figures.items()
        }
        for fingerprint, figures in resamples.items()
    }
    write_atomically(folder / _NAME, json.dumps(content, allow_nan=False))


def read_resamples(folder: Path) -> Resamples:
    """The resampled figures of a run folder; empty for one of an older version, which has none.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / _NAME
    if not path.exists():
        return {}
    try:
        return {
            fingerprint: {
                name: [float("nan") if value is None else float(value) for value in values]
                for name, values in figures.items()
            }
            for fingerprint, figures in json.loads(read_file(path)).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged; delete it, or evaluate again") from error
