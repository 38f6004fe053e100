"""Rate beside AP, as a Detectron2 evaluator."""

from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from salcompress.detectron.seen_size import noted_size
from salcompress.errors import SettingError
from salcompress.evaluation.records import ImageRecord


class CompressionEvaluator(DatasetEvaluator):
    """Pools the rate that the mapper, the loader or the model of this package noted with each
    picture.

    Its results stand under "compression": ``bpp`` (all bits over all original pixels), ``bpp_mean``
    (the mean over the images) and ``num_images``; ``bpp_detector`` (all bits over all pixels that
    the detector saw) where that is known of every picture; ``psnr``, ``ms_ssim`` and ``perceptual``
    where the mapper measured them. With several processes each handles its share of the
    images, and the main one pools them all.

    Attributes:
        records: After ``evaluate``, on the main process: one record an image, without detections.
    """

    def __init__(self) -> None:
        self.records: list[ImageRecord] = []

    def reset(self) -> None:
        self.records = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Note the rate of a batch.

        Raises:
            SettingError: None of them did.
        """
        for mapped in inputs:
            if "num_bits" not in mapped:
                raise SettingError(
                    "CompressionEvaluator needs pictures from CompressedDatasetMapper, "
                    "CompressedLoader or CompressedDetector: num_bits is missing"
                )
            (height, width), seen = mapped["original_size"], noted_size(mapped)
            record = ImageRecord(
                mapped["image_id"],
                mapped["file_name"],
                height,
                width,
                num_bits=mapped["num_bits"],
                detector_pixels=None if seen is None else seen[0] * seen[1],
            )
            if "coded" in mapped:
                coded = mapped["coded"]
                record = record._replace(
                    psnr=coded.psnr,
                    ms_ssim=coded.ms_ssim,
                    perceptual=coded.perceptual,
                    encode_s=coded.encode_s,
                    decode_s=coded.decode_s,
                )
            self.records.append(record)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Pool over all processes; empty but on the main one."""
        gathered = comm.gather(self.records, dst=0)
        if not comm.is_main_process():
            return {}
        self.records = [record for share in gathered for record in share]
        if not self.records:
            return {}
        pixels = [r.height * r.width for r in self.records]
        bits = [r.num_bits or 0 for r in self.records]  # process() refuses pictures without
        result = {
            "bpp": sum(bits) / sum(pixels),
            "bpp_mean": sum(b / p for b, p in zip(bits, pixels)) / len(pixels),
            "num_images": float(len(pixels)),
        }
        if all(r.detector_pixels is not None for r in self.records):
            result["bpp_detector"] = sum(bits) / sum(r.detector_pixels or 0 for r in self.records)
        for name in ("psnr", "ms_ssim", "perceptual"):
            known = [getattr(r, name) for r in self.records if getattr(r, name) is not None]
            if known:
                result[name] = sum(known) / len(known)
        return {"compression": result}
