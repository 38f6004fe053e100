"""Training of the demo's detector on synthetic scenes."""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from salcompress.data.scenes import make_scene
from salcompress.detectors.scenes import build_model, save_scene_network
from salcompress.files import write_atomically
from salcompress.image import to_tensor
from salcompress.training.loop import StepResult, TrainResult, train
from salcompress.training.schedule import Cosine
from salcompress.training.settings import TrainSettings

_SEED = 1
_BATCH_SIZE = 8


class SceneTargets(Dataset):
    """The scenes of a seed. Each is drawn when it is asked for, and none is seen twice.

    An item is an image, float (3, H, W) in [0, 1], and its target: ``boxes`` (K, 4) as x0 y0 x1 y1,
    ``labels`` (K,) from 1, and ``masks`` (K, H, W) uint8.

    Args:
        seed: Seed of the scenes.
        first: Number of the first scene.
        length: Number of scenes.
    """

    def __init__(self, seed: int, first: int, length: int):
        self.seed, self.first, self.length = seed, first, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        scene = make_scene(self.seed, self.first + index)
        masks = np.zeros((len(scene.objects), *scene.image.shape[:2]), np.uint8)
        boxes = np.zeros((len(scene.objects), 4), np.float32)
        for k, found in enumerate(scene.objects):
            rows, columns = np.nonzero(found.mask)
            masks[k] = found.mask
            boxes[k] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        labels = torch.tensor([found.category_id for found in scene.objects], dtype=torch.int64)
        return to_tensor(scene.image)[0], {
            "boxes": torch.from_numpy(boxes),
            "labels": labels,
            "masks": torch.from_numpy(masks),
        }


def scene_batches(
    seed: int, step: int, num_steps: int, batch_size: int, workers: int
) -> Iterator[list]:
    """Draw the batches of a training.

    Args:
        seed: Seed of the scenes.
        step: Number of the first batch.
        num_steps: Number of batches of the whole training.
        batch_size: Number of scenes in a batch.
        workers: Number of processes that draw; 0 draws in this one.

    Returns:
        Batches, each a list of (image, target).
    """
    data = SceneTargets(seed, step * batch_size, max(1, num_steps - step) * batch_size)
    return iter(DataLoader(data, batch_size, num_workers=workers, collate_fn=list))


def train_scene_detector(num_steps: int, minutes: float, checkpoint: Path) -> TrainResult:
    """Train the demo's Mask R-CNN, in float32.

    Args:
        num_steps: Steps of the whole schedule, over all runs; a step has 8 scenes.
        minutes: Wall time of this run at the most.
        checkpoint: Training goes on from this file where it exists.

    Raises:
        DataError, OutputError: See :func:`salcompress.training.loop.train`.
    """
    torch.manual_seed(0)
    model = build_model()
    settings = TrainSettings(
        Cosine(num_steps),
        minutes,
        checkpoint,
        learning_rate=1.5e-3,
        identity="scene detector",
        conditions={"batch": str(_BATCH_SIZE), "scenes": str(_SEED)},
    )

    def compute(batch: list) -> StepResult:
        losses = model(*map(list, zip(*batch)))
        return StepResult(torch.stack(list(losses.values())).sum(), losses)

    def batches(first: int) -> Iterator[list]:
        return scene_batches(_SEED, first, num_steps, _BATCH_SIZE, workers=1)

    return train(model, compute, batches, settings)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command that trains the detector to a parser."""
    parser.add_argument(
        "--minutes",
        type=float,
        default=60,
        help="wall time of this run; run again to go on (default: 60)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=2200,
        help=f"steps of the whole schedule, of {_BATCH_SIZE} scenes each (default: 2200)",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        default=Path("scene_detector.ckpt"),
        metavar="FILE",
        help="checkpoint; it is made if it is missing (default: scene_detector.ckpt)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="weights file (.safetensors)"
    )
    parser.add_argument("--threads", type=int, default=2, help="default: 2")


def run(args: argparse.Namespace) -> None:
    """Train the detector and write its weights.

    Args:
        args: Values of the options.

    Raises:
        DataError, OutputError: See :func:`train_scene_detector`.
    """
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", category=UserWarning)
    result = train_scene_detector(args.steps, args.minutes, args.resume)
    write_atomically(args.out, save_scene_network(result.weights))
    print(
        f"{result.step} of {args.steps} steps done; {args.out}: "
        f"{args.out.stat().st_size / 1e6:.2f} MB"
    )
