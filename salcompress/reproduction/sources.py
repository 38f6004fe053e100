"""The pictures and the weights that figures are of."""

from pathlib import Path

from salcompress.codecs.salient.known_weights import SHIPPED_FOLDER, known_weights
from salcompress.errors import SettingError
from salcompress.files import digest, read_file
from salcompress.image import IMAGE_ENDINGS

_EVERY = 19
"""Of so many pictures of ``codec_train`` by name, one was held out of a training."""
_CODEC_HELD_OUT, _METRIC_HELD_OUT = 18, 0


def kodak(data: Path) -> list[Path]:
    """The Kodak images.

    Raises:
        SettingError: There are none.
    """
    return _images(data / "kodak")


def held_out(data: Path) -> list[Path]:
    """The pictures that the codec's training held out; none of them lies in a small folder.

    Raises:
        SettingError: The folder holds no images.
    """
    return _images(data / "codec_train")[_CODEC_HELD_OUT::_EVERY]


def metric_held_out(data: Path) -> list[Path]:
    """The pictures that the metric's training held out.

    Raises:
        SettingError: The folder holds no images.
    """
    return _images(data / "codec_train")[_METRIC_HELD_OUT::_EVERY]


def coco_val(data: Path, most: int) -> list[Path]:
    """The first images of COCO val2017 by name.

    Raises:
        SettingError: The folder holds no images.
    """
    return _images(data / "coco_val" / "images")[:most]


def learned_weights() -> dict[str, str]:
    """Fingerprints of the learned codec's shipped weights by their names; ``photo`` comes first."""
    shipped = {w.name: w for w in known_weights().values() if w.path.parent == SHIPPED_FOLDER}
    names = sorted(shipped, key=lambda name: (name != "photo", name))
    return {name: f"{name} {shipped[name].fingerprint.hex()}" for name in names}


def with_weights(spec: str, name: str) -> str:
    """The specification of a learned codec with weights of a name.

    >>> with_weights("salient:q=0.1", "detector"), with_weights("salient:q=0.1", "photo")
    ('salient:weights=detector,q=0.1', 'salient:q=0.1')
    """
    return spec if name == "photo" else spec.replace(":", f":weights={name},", 1)


def content_of(*paths: Path) -> str:
    """A fingerprint of what files hold."""
    return digest(*(read_file(path) for path in paths))[:16]


def _images(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_ENDINGS)
    if not found:
        raise SettingError(f"{folder} holds no images; --data is the folder that it lies in")
    return found
