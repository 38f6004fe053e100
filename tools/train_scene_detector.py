"""Train the demo's Mask R-CNN on synthetic scenes and write its half-precision weights.

python tools/train_scene_detector.py --minutes 60 --out \\
    salcompress/weights/scene_detector.safetensors
"""

import argparse
import warnings
from pathlib import Path

import torch

from salcompress.detectors.scenes import build_model
from salcompress.files import write_atomically
from salcompress.models.weight_file import weight_file
from salcompress.training.loop import StepResult, TrainSettings, train
from salcompress.training.scene_detector import scene_batches
from salcompress.training.schedule import Cosine


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=60, help="wall time of this run; run again to go on"
    )
    parser.add_argument(
        "--steps", type=int, default=2200, help="steps of the whole schedule (batches of 8 scenes)"
    )
    parser.add_argument(
        "--resume",
        type=Path,
        default=Path("scene_detector.ckpt"),
        help="checkpoint, made if missing",
    )
    parser.add_argument("--out", type=Path, required=True, help="weights file (.safetensors)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", category=UserWarning)
    model = build_model()
    settings = TrainSettings(Cosine(args.steps), args.minutes, args.resume, learning_rate=1.5e-3)

    def compute(batch: list) -> StepResult:
        losses = model(*map(list, zip(*batch)))
        return StepResult(sum(losses.values()), losses)

    result = train(
        model, compute, lambda first: scene_batches(1, first, args.steps, 8, workers=1), settings
    )
    half = {
        name: value.half() if value.is_floating_point() else value
        for name, value in result.weights.items()
    }
    write_atomically(args.out, weight_file(half))
    print(
        f"{result.step} of {args.steps} steps done; {args.out}: "
        f"{args.out.stat().st_size / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
