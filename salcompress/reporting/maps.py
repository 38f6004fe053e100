"""Maps of the learned codec as small false-colour pictures, a pixel for each place."""

import base64
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from salcompress.errors import DataError
from salcompress.image import PLACE, encode_image


class Map(NamedTuple):
    """A picture of one value over the places of an image."""

    name: str
    """``saliency``, ``quality`` or ``bits``."""
    low: str
    """What the darkest colour stands for."""
    high: str
    """What the brightest colour stands for."""
    data_uri: str
    """Places of 16x16 pixels, a pixel each; the last ones may reach over the edge of the image."""


def load_maps(path: Path, height: int, width: int) -> tuple[Map, ...]:
    """The maps of a coded image; none where its codec gives none.

    Args:
        path: File of the maps.
        height, width: Of the image, in pixels.

    Raises:
        DataError: The file is damaged.
    """
    if not path.exists():
        return ()
    rows, columns = -(-height // PLACE), -(-width // PLACE)
    try:
        with np.load(path) as file:
            arrays = [
                np.asarray(file[name], np.float32) for name in ("saliency", "quality", "bits")
            ]
        if any(a.ndim != 2 or a.shape[0] < rows or a.shape[1] < columns for a in arrays):
            raise ValueError("shapes do not fit")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged; delete it, or evaluate again") from error
    saliency, quality, bits = (a[:rows, :columns] for a in arrays)
    bpp = bits / PLACE**2
    most = max(float(bpp.max()), 1e-6)
    low, high = float(quality.min()), float(quality.max())
    return (
        Map("saliency", "0", "1", _false_colour(saliency)),
        Map(
            "quality",
            f"{low:.2f}",
            f"{high:.2f}",
            _false_colour((quality - low) / max(high - low, 1e-6)),
        ),
        Map("bits", "0", f"{most:.2f} bpp", _false_colour(bpp / most)),
    )


def _false_colour(values: np.ndarray) -> str:
    """Data URI of values in [0, 1]."""
    grey = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    coloured = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    return "data:image/png;base64," + base64.b64encode(encode_image(coloured, "PNG")).decode()
