"""Drawn scenes of the sizes that COCO's images have, for the bench."""

import random
from pathlib import Path
from typing import Any

from detectron2.structures import BoxMode

from salcompress.data.scenes import Scene, annotate, make_scene
from salcompress.files import write_atomically
from salcompress.image import encode_image

COCO_SIZES = {
    (480, 640): 30,
    (427, 640): 24,
    (640, 480): 12,
    (426, 640): 10,
    (640, 427): 8,
    (375, 500): 7,
    (360, 640): 3,
    (640, 640): 3,
    (500, 375): 3,
}
"""Height and width: how many of a hundred images have about that size, as counted in 260 of COCO.
"""
_MOST = 32  # who needs more images can repeat them


def coco_size_scenes(count: int) -> list[Scene]:
    """As many scenes, or 32 if that is less; the same at each call."""
    sizes = random.Random(7).choices(
        list(COCO_SIZES), list(COCO_SIZES.values()), k=min(count, _MOST)
    )
    return [make_scene(7, k, *size) for k, size in enumerate(sizes)]


def write_scene(path: Path, scene: Scene) -> dict[str, Any]:
    """Write a scene's picture as a JPEG file; Detectron2's dict of it, with boxes and masks.

    Raises:
        OutputError: The file cannot be written.
    """
    write_atomically(path, encode_image(scene.image, "JPEG", quality=95))
    annotations = [
        {
            "bbox": found["bbox"],
            "bbox_mode": BoxMode.XYWH_ABS,
            "segmentation": found["segmentation"],
            "category_id": found["category_id"] - 1,
            "iscrowd": 0,
        }
        for found in map(annotate, scene.objects)
    ]
    height, width, _ = scene.image.shape
    return {
        "file_name": str(path),
        "height": height,
        "width": width,
        "image_id": path.stem,
        "annotations": annotations,
    }
