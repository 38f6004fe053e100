"""What the synthetic scenes are drawn with: fractal surfaces, outlines, shadows and light."""

import cv2
import numpy as np

_HUES = (28, 24, 6, 18, 120, 100)  # OpenCV hue (0..179) about which a class's own colour is drawn


def _noise(
    rng: np.random.Generator, height: int, width: int, coarsest: float, roughness: float
) -> np.ndarray:
    """Fractal noise in about [-1, 1], float32 (H, W): octaves from ``coarsest`` pixels down, each
    ``roughness`` as strong.
    """
    total, weight, cell = np.zeros((height, width), np.float32), 1.0, coarsest
    while cell >= 2:
        grid = rng.uniform(-1, 1, (int(height / cell) + 3, int(width / cell) + 3)).astype(
            np.float32
        )
        size = (int(grid.shape[1] * cell) + 1, int(grid.shape[0] * cell) + 1)
        total += weight * cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)[:height, :width]
        weight, cell = weight * roughness, cell / 2
    return total


def _colour(rng: np.random.Generator, hue: float | None = None) -> np.ndarray:
    """A muted RGB colour in [0, 1]; hue in OpenCV's half degrees, any if None."""
    hue = rng.uniform(0, 180) if hue is None else (hue + rng.normal(0, 14)) % 180
    hsv = np.array([[[hue, rng.uniform(40, 170), rng.uniform(90, 220)]]]).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32) / 255


def fractal_colours(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A textured surface, float32 (H, W, 3): two colours blended by fractal noise, with a finer
    grain on top.
    """
    blend = np.clip(0.5 + 0.6 * _noise(rng, height, width, rng.uniform(40, 160), 0.6), 0, 1)[
        :, :, None
    ]
    grain = (
        rng.uniform(0.02, 0.09) * _noise(rng, height, width, rng.uniform(4, 12), 0.9)[:, :, None]
    )
    return blend * _colour(rng) + (1 - blend) * _colour(rng) + grain


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Ground below, something smoother above an uneven horizon, and light that falls off across
    both.
    """
    canvas = fractal_colours(rng, height, width)
    if rng.random() < 0.6:
        horizon = (
            rng.uniform(0.2, 0.6) * height
            + 0.08 * height * _noise(rng, 1, width, width / 2, 0.5)[0]
        )
        above = np.clip(horizon[None, :] - np.arange(height)[:, None], 0, 1)[:, :, None].astype(
            np.float32
        )
        far = cv2.GaussianBlur(fractal_colours(rng, height, width), (0, 0), rng.uniform(1, 4))
        canvas = above * far + (1 - above) * canvas
    return (canvas * _light(rng, height, width)).astype(np.float32)


def _light(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A linear fall of light of up to 30 % in a random direction, float32 (H, W, 1)."""
    angle, y, x = (
        rng.uniform(0, 2 * np.pi),
        np.linspace(-1, 1, height)[:, None],
        np.linspace(-1, 1, width),
    )
    return (1 + rng.uniform(0, 0.3) * (np.cos(angle) * x + np.sin(angle) * y)).astype(np.float32)[
        :, :, None
    ]


def pebble(rng: np.random.Generator) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = 1 + sum(
        rng.uniform(0, 0.08) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 4)
    )
    return np.stack([radius * np.cos(angle), rng.uniform(0.6, 1) * radius * np.sin(angle)], 1)


def _tile(rng: np.random.Generator) -> np.ndarray:
    aspect = rng.uniform(0.55, 1)
    return np.array([(-1, -aspect), (1, -aspect), (1, aspect), (-1, aspect)]) + rng.uniform(
        -0.06, 0.06, (4, 2)
    )


def _star(rng: np.random.Generator) -> np.ndarray:
    points = int(rng.integers(4, 7))
    angle = np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2, rng.uniform(0.45, 0.6), 1)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


OUTLINES = (pebble, _tile, _star)  # of classes 0-1, 2-3, 4-5


def polygon(
    rng: np.random.Generator, outline: np.ndarray, side: float, height: int, width: int
) -> np.ndarray:
    """Coverage in [0, 1], float32 (H, W), of an outline turned at random, ``side`` pixels long,
    centred in the picture.
    """
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = outline @ turn.T * side / 2 + rng.uniform((0, 0), (width, height))
    coverage = np.zeros((height, width), np.uint8)
    cv2.fillPoly(coverage, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return coverage.astype(np.float32) / 255


def surroundings(coverage: np.ndarray) -> tuple[slice, slice]:
    """Window about what is covered, wide enough for its shadow: drawing there alone is three times
    as fast.
    """
    rows, columns = (np.nonzero(coverage.any(axis))[0] for axis in (1, 0))
    margin = 12
    return (
        slice(max(0, rows[0] - margin), rows[-1] + margin),
        slice(max(0, columns[0] - margin), columns[-1] + margin),
    )


def class_texture(
    rng: np.random.Generator, category: int, solid: np.ndarray, side: float
) -> np.ndarray:
    """Surface of a class over the window of ``solid`` (H, W), centred on it, float32 (H, W, 3)."""
    height, width = solid.shape
    rows, columns = np.nonzero(solid)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - rows.mean(), x - columns.mean()
    warp = rng.uniform(0.5, 1.5)
    x = x + warp * _noise(rng, height, width, 24, 0.5)
    y = y + warp * _noise(rng, height, width, 24, 0.5)
    angle = rng.uniform(0, np.pi)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    period = float(np.clip(side * rng.uniform(0.10, 0.18), 4.0, 11.0))
    wave = 2 * np.pi / period
    if category == 0:
        pattern = np.sin(wave * u)
    elif category == 1:
        pattern = 1.6 * np.cos(wave * 0.7 * u) * np.cos(wave * 0.7 * v)
    elif category == 2:
        shift = np.where(np.floor(v / period) % 2, period, 0)
        mortar = ((v % period) < period * 0.25) | (((u + shift) % (2 * period)) < period * 0.25)
        pattern = np.where(mortar, 1.0, -0.5)
    elif category == 3:
        pattern = np.sign(np.sin(wave * 0.8 * u) * np.sin(wave * 0.8 * v))
    elif category == 4:
        pattern = np.sin(wave * np.hypot(x, y))
    else:
        pattern = np.zeros_like(x)
    contrast = rng.uniform(0.10, 0.28)
    surface = (
        _colour(rng, _HUES[category])
        * (1 + 0.12 * _noise(rng, height, width, max(8, side / 2), 0.6))[:, :, None]
    )
    return surface * (1 + contrast * np.clip(pattern, -1, 1))[:, :, None]


def paint(
    canvas: np.ndarray, coverage: np.ndarray, surface: np.ndarray, rng: np.random.Generator
) -> None:
    """Lay a surface over a window of the canvas, in place, with a soft shadow beside it and light
    across it.
    """
    height, width = coverage.shape
    offset = np.array([[1, 0, rng.uniform(1, 4)], [0, 1, rng.uniform(1, 4)]], np.float32)
    shadow = cv2.GaussianBlur(
        cv2.warpAffine(coverage, offset, (width, height)), (0, 0), rng.uniform(1, 3)
    )
    canvas *= 1 - rng.uniform(0.2, 0.45) * shadow[:, :, None]
    alpha = coverage[:, :, None]
    canvas[:] = (1 - alpha) * canvas + alpha * surface * _light(rng, height, width)
