"""The synthetic scenes as data sets of Detectron2, drawn when first asked for."""

import os
import time
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from salcompress.data.scenes import CLASS_NAMES, write_scenes
from salcompress.errors import SettingError
from salcompress.files import exclusive_folder

SCENE_SETS = {
    "salcompress_scenes_train": (1000, 11),
    "salcompress_scenes_val": (100, 12),
    "salcompress_scenes_train_large": (4000, 13),
}
"""Number of scenes and seed by name."""

_POLL_S = 0.2
"""Between looks at a set that another process draws."""


def register_scenes() -> None:
    """Register the data sets under ``$DETECTRON2_DATASETS`` (default: datasets), once."""
    root = Path(os.getenv("DETECTRON2_DATASETS", "datasets")) / "salcompress_scenes"
    for name, (num_images, seed) in SCENE_SETS.items():
        if name in DatasetCatalog:
            continue
        folder = root / name.removeprefix("salcompress_scenes_")
        DatasetCatalog.register(name, partial(_load, name, folder, num_images, seed))
        MetadataCatalog.get(name).set(
            json_file=str(folder / "instances.json"),
            image_root=str(folder / "images"),
            evaluator_type="coco",
            thing_classes=list(CLASS_NAMES),
            thing_dataset_id_to_contiguous_id={k + 1: k for k in range(len(CLASS_NAMES))},
        )


def _load(name: str, folder: Path, num_images: int, seed: int) -> list[dict]:
    annotations = _drawn_once(folder, num_images, seed)
    return load_coco_json(str(annotations), str(folder / "images"), name)


def _drawn_once(folder: Path, num_images: int, seed: int) -> Path:
    """Annotations of a set that one of several processes draws, while the others wait for it."""
    while True:
        try:
            with exclusive_folder(folder):
                return write_scenes(folder, num_images, seed)
        except SettingError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            time.sleep(_POLL_S)
