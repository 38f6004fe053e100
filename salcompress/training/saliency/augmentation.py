"""Random changes of an image and of the mask of its salient objects."""

import cv2
import numpy as np


def crop(
    image: np.ndarray, mask: np.ndarray, side: int, least: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a random window that keeps most of the mask, turn it a little, and mirror half of them.

    Args:
        image: uint8 (H, W, 3).
        mask: (H, W), true at salient objects. A mask without any constrains nothing.
        side: Side of the square result in pixels.
        least: Least share of each side of the image that the window has.
        random: Source of randomness.

    Returns:
        The image, uint8 (side, side, 3), and its mask, uint8 0 or 1 (side, side).
    """
    matrix = _to_square(_window(mask, least, random), side, random)
    warped = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    warped_mask = cv2.warpAffine(
        mask.astype(np.uint8),
        matrix,
        (side, side),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return warped, warped_mask


def _window(
    mask: np.ndarray, least: float, random: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random window; the whole image if five draws fail."""
    height, width = mask.shape
    total = mask.sum()
    for _ in range(5):
        h, w = (max(2, round(random.uniform(least, 1) * size)) for size in (height, width))
        if random.random() < 0.25:
            h, w = height, width
        top, left = random.integers(height - h + 1), random.integers(width - w + 1)
        if not total or mask[top : top + h, left : left + w].sum() > 0.75 * total:
            return top, left, h, w
    return 0, 0, height, width


def _to_square(
    window: tuple[int, int, int, int], side: int, random: np.random.Generator
) -> np.ndarray:
    """Affine map (2, 3) from an image to a square that shows a window, turned and mirrored."""
    top, left, h, w = window
    to_window = cv2.getRotationMatrix2D((left + w / 2, top + h / 2), random.normal(0, 6), 1.0)
    mirror = np.diag([-1, 1]) if random.random() < 0.5 else np.eye(2)
    scale = np.diag([side / w, side / h]) @ mirror
    centre = to_window @ np.array([left + w / 2, top + h / 2, 1])
    offset = np.array([side / 2, side / 2]) - scale @ centre
    return np.column_stack([scale @ to_window[:, :2], scale @ to_window[:, 2] + offset])


def recolour(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Change light and colours; at times make it grey, blurred, noisy or a poor JPEG.

    Args:
        image: uint8 (H, W, 3).
        random: Source of randomness.

    Returns:
        uint8 (H, W, 3).
    """
    x: np.ndarray = image.astype(np.float32)
    if random.random() < 0.8:
        grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
        saturation = 0.0 if random.random() < 0.08 else random.uniform(0.5, 1.5)
        x = grey[:, :, None] + saturation * (x - grey[:, :, None])
        x = (x - x.mean()) * random.uniform(0.6, 1.3) + x.mean() * random.uniform(0.65, 1.35)
        x = x * random.uniform(0.85, 1.15, 3).astype(np.float32)
    if random.random() < 0.1:
        x = x[:, :, random.permutation(3)]
    if random.random() < 0.15:
        x = cv2.GaussianBlur(x, (0, 0), random.uniform(0.5, 1.5))
    if random.random() < 0.15:
        x = x + random.normal(0, random.uniform(2, 12), x.shape).astype(np.float32)
    x = np.clip(x, 0, 255).astype(np.uint8)
    if random.random() < 0.15:
        x = _as_jpeg(x, int(random.integers(10, 60)))
    return x


def _as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    _, stream = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(stream, cv2.IMREAD_COLOR)
    assert decoded is not None  # OpenCV reads what it has written
    return decoded
