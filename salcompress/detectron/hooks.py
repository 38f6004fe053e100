"""What a training with the codec in the model leaves in the logs and on disk."""

from pathlib import Path

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils.events import get_event_storage
from torch import Tensor

from salcompress.detectron.model import CompressedDetector
from salcompress.detectron.picture_mapper import as_tensor
from salcompress.evaluation.round_trip import CodedImage, code
from salcompress.image import PLACE


class CodecLogger(HookBase):
    """Measures the codec of the present weights on the last training image, by a real stream, and
    puts it into the event storage.

    The scalars are ``salcompress/real_bpp`` (the length of the stream), ``real_psnr`` and
    ``real_perceptual``. The pictures are ``original``, ``decoded`` and ``bits``: the bits by place
    of 16x16 pixels, where white is the most. The model itself logs what it estimates, at every
    iteration.

    Args:
        model: What is trained.
        period: In iterations; 0 for never.
    """

    def __init__(self, model: CompressedDetector, period: int):
        self.model, self.period = model, period

    def after_step(self) -> None:
        iteration, last = self.trainer.iter + 1, self.model.last
        if not self.period or last is None:
            return
        if iteration % self.period and iteration != self.trainer.max_iter:
            return
        original = np.ascontiguousarray(last.original.permute(1, 2, 0).cpu().numpy())
        codec = self.model.codec.deployed().with_quality(last.quality)
        coded = code(codec, original, with_maps=True).compared_to(original)
        _put_figures(coded, num_pixels=original[..., 0].size)
        storage = get_event_storage()
        storage.put_image("salcompress/original", last.original.cpu())
        storage.put_image("salcompress/decoded", as_tensor(coded.decoded))
        if coded.maps is not None:
            storage.put_image("salcompress/bits", _bits_picture(coded.maps.bits))


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


def _put_figures(coded: CodedImage, num_pixels: int) -> None:
    figures = {
        "real_bpp": coded.num_bits / num_pixels,
        "real_psnr": coded.psnr,
        "real_perceptual": coded.perceptual,
    }
    get_event_storage().put_scalars(
        smoothing_hint=False,
        **{f"salcompress/{name}": value for name, value in figures.items() if value is not None},
    )


def _bits_picture(bits: np.ndarray) -> Tensor:
    """Bits by place as a grey picture, (3, H, W) in [0, 1]: white is the most."""
    grey = np.kron(bits / max(bits.max(), 1e-9), np.ones((PLACE, PLACE)))
    return torch.from_numpy(grey).float().expand(3, -1, -1)
