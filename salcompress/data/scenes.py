"""Procedural COCO-format scenes: the data of the demo and of the tests, made from a seed.

The six classes come in three pairs. The two of a pair share their shape and differ in a fine
texture, so that compression first blurs a class into its sibling and only later hides the object.
Backgrounds and shapes carry fractal (1/f) texture like that of photographs. Everything here is our
choice.
"""

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from pycocotools import mask as mask_util

from salcompress.data.coco import SYNTHETIC_NAME
from salcompress.data.scene_drawing import (
    OUTLINES,
    background,
    class_texture,
    fractal_colours,
    paint,
    pebble,
    polygon,
    surroundings,
)
from salcompress.errors import SettingError
from salcompress.files import write_atomically
from salcompress.image import encode_image

CLASS_NAMES = (
    "striped pebble",
    "spotted pebble",
    "brick tile",
    "woven tile",
    "ringed star",
    "smooth star",
)
_SMALLEST, _LARGEST = 16, 150  # longer side of an object before occlusion, pixels
_MIN_VISIBLE = (
    0.35  # an object hidden further than this is left out of the annotations, and is not drawn
)


class SceneObject(NamedTuple):
    """One annotated object."""

    category_id: int
    mask: np.ndarray
    """Visible part, bool (H, W)."""


class Scene(NamedTuple):
    """A picture and its objects."""

    image: np.ndarray
    """uint8 (H, W, 3), RGB."""
    objects: tuple[SceneObject, ...]


def make_scene(seed: int, index: int, height: int = 240, width: int = 320) -> Scene:
    """Draw scene number ``index`` of the series ``seed``.

    Args:
        seed, index: At least 0; the same two give the same scene.
        height, width: Pixels, at least 64 each.

    Returns:
        The scene. Each of its objects has at least 35 % of its shape and 40 pixels in view.

    Raises:
        SettingError: The scene would be smaller than 64 x 64.
    """
    if min(height, width) < 64:
        raise SettingError(f"a scene is at least 64 x 64 pixels, got {width} x {height}")
    rng = np.random.default_rng((seed, index))
    canvas = background(rng, height, width)
    for _ in range(rng.integers(1, 4)):  # things of no class: their texture is the background's own
        coverage = polygon(rng, pebble(rng), rng.uniform(20, 90), height, width)
        near = surroundings(coverage)
        paint(canvas[near], coverage[near], fractal_colours(rng, *coverage[near].shape), rng)
    placed: list[tuple[int, np.ndarray, np.ndarray]] = []
    for _ in range(rng.integers(4, 11)):
        category = int(rng.integers(len(CLASS_NAMES)))
        side = float(np.exp(rng.uniform(np.log(_SMALLEST), np.log(min(_LARGEST, height * 0.6)))))
        coverage = polygon(rng, OUTLINES[category // 2](rng), side, height, width)
        solid = coverage > 0.5
        remaining = [(visible & ~solid).sum() / max(1, whole.sum()) for _, visible, whole in placed]
        if solid.sum() < 40 or any(share < _MIN_VISIBLE for share in remaining):
            continue
        placed = [(c, visible & ~solid, whole) for c, visible, whole in placed]
        placed.append((category, solid, solid))
        near = surroundings(coverage)
        paint(canvas[near], coverage[near], class_texture(rng, category, solid[near], side), rng)
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 0.6))
    canvas += rng.normal(0, rng.uniform(0.004, 0.012), canvas.shape).astype(np.float32)
    image = np.clip(np.rint(canvas * 255), 0, 255).astype(np.uint8)
    return Scene(
        image, tuple(SceneObject(c + 1, visible) for c, visible, _ in placed if visible.sum() >= 40)
    )


def write_scenes(
    folder: Path | str, num_images: int, seed: int, height: int = 240, width: int = 320
) -> Path:
    """Write a data set in COCO's layout: ``images/*.png``, and ``instances.json`` with boxes and
    polygons.

    The json is written last: where it is, the set is whole. A set that was made by the same
    arguments is left as it is.

    Args:
        folder: Where ``images`` and the json go; it is made if need be.
        num_images: At least 1.
        seed: Of the series of scenes; the same seed gives the same pictures.
        height, width: Pixels, at least 64 each.

    Returns:
        Path of the json.

    Raises:
        OutputError: The folder cannot be written.
        SettingError: ``num_images`` is not positive, or the size is too small.
    """
    if num_images < 1:
        raise SettingError(f"num_images must be at least 1, got {num_images}")
    folder = Path(folder)
    made_by = {
        "description": SYNTHETIC_NAME,
        "seed": seed,
        "num_images": num_images,
        "height": height,
        "width": width,
        "version": 1,
    }
    annotations_path = folder / "instances.json"
    if annotations_path.is_file() and annotations_path.read_text().startswith(
        json.dumps({"info": made_by})[:-1]
    ):
        return annotations_path
    annotations_path.unlink(missing_ok=True)  # of other arguments: its images are about to change
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(num_images):
        scene = make_scene(seed, index, height, width)
        name = f"{index + 1:06d}.png"
        write_atomically(
            folder / "images" / name, encode_image(scene.image, "PNG", compress_level=1)
        )
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for found in scene.objects:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": index + 1, **annotate(found)}
            )
    categories = [
        {"id": i + 1, "name": name, "supercategory": name.split()[1]}
        for i, name in enumerate(CLASS_NAMES)
    ]
    content = {
        "info": made_by,
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    write_atomically(annotations_path, json.dumps(content))
    return annotations_path


def annotate(found: SceneObject) -> dict:
    """COCO annotation of an object without ids of its own.

    It has category, polygons, box [x, y, w, h] in pixels, area in pixels, and iscrowd.
    """
    polygons = mask_to_polygons(found.mask)
    height, width = found.mask.shape
    encoded = mask_util.merge(mask_util.frPyObjects(polygons, height, width))
    return {
        "category_id": found.category_id,
        "segmentation": polygons,
        "area": float(mask_util.area(encoded)),
        "bbox": [float(v) for v in mask_util.toBbox(encoded)],
        "iscrowd": 0,
    }


def mask_to_polygons(mask: np.ndarray) -> list[list[float]]:
    """Outlines of a bool mask (H, W) as COCO polygons [x0, y0, x1, y1, ...] in pixels.

    Holes are filled, because COCO's polygons have none.
    """
    # findContours runs through pixel centres; on a four times finer grid that costs 1/8 pixel, not
    # 1/2
    scale = 4
    fine = np.pad(mask.astype(np.uint8).repeat(scale, 0).repeat(scale, 1), 1)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for contour in contours:
        outline = cv2.approxPolyDP(contour, 1.0, True).reshape(-1, 2)
        if (
            len(outline) >= 3 and cv2.contourArea(outline) >= 2 * scale**2
        ):  # specks of under two pixels are dropped
            polygons.append([round(float(v), 2) for v in ((outline - 0.5) / scale).ravel()])
    return polygons
