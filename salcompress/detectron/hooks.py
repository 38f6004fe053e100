"""What a training with the codec in the model leaves in the logs and on disk."""

from pathlib import Path

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils.events import get_event_storage
from torch import Tensor

from salcompress.detectron.model import CompressedDetector
from salcompress.evaluation.round_trip import code


class CodecLogger(HookBase):
    """Measures the codec of the present weights on the last training image, by a real stream, and
    puts it into the event storage.

    Scalars ``salcompress/real_bpp`` (length of the stream), ``real_psnr``, ``real_perceptual``;
    pictures ``original``, ``decoded`` and ``bits`` (bits by place of 16x16 pixels, white is the
    most). (Estimated rates and the share of the bits at salient places are logged by the model,
    every iteration.)

    Args:
        model: What is trained.
        period: In iterations; 0 for never.
    """

    def __init__(self, model: CompressedDetector, period: int):
        self.model, self.period = model, period

    def after_step(self) -> None:
        iteration = self.trainer.iter + 1
        if (
            not self.period
            or self.model.last is None
            or (iteration % self.period and iteration != self.trainer.max_iter)
        ):
            return
        last, storage = self.model.last, get_event_storage()
        original = np.ascontiguousarray(last.original.permute(1, 2, 0).cpu().numpy())
        found = code(
            self.model.codec.deployed().with_quality(last.quality), original, with_maps=True
        ).compared_to(original)
        figures = {
            "real_bpp": found.num_bits / original[..., 0].size,
            "real_psnr": found.psnr,
            "real_perceptual": found.perceptual,
        }
        storage.put_scalars(
            smoothing_hint=False,
            **{
                f"salcompress/{name}": value for name, value in figures.items() if value is not None
            },
        )
        bits = found.maps.bits / max(found.maps.bits.max(), 1e-9)
        for name, picture in (
            ("original", last.original.cpu()),
            ("decoded", _chw(found.decoded)),
            ("bits", torch.from_numpy(np.kron(bits, np.ones((16, 16)))).float().expand(3, -1, -1)),
        ):
            storage.put_image(f"salcompress/{name}", picture)


class CodecExporter(HookBase):
    """Writes what was trained in forms that need no training script: ``codec.safetensors`` for
    ``load_codec("salient:weights=...")`` and, where the detector was trained, ``detector.pth`` for
    the detector alone.

    Args:
        model: What is trained.
        folder: Where to.
        period: In iterations; also at the end.
    """

    def __init__(self, model: CompressedDetector, folder: Path | str, period: int):
        self.model, self.folder, self.period = model, Path(folder), period

    def after_step(self) -> None:
        if self.period and (self.trainer.iter + 1) % self.period == 0:
            self._export()

    def after_train(self) -> None:
        self._export()

    def _export(self) -> None:
        if self.model.trains != "detector":
            self.model.codec.export(self.folder / "codec.safetensors")
        if self.model.trains != "codec":
            path = self.folder / "detector.pth"
            torch.save({"model": self.model.detector.state_dict()}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)


def _chw(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)
