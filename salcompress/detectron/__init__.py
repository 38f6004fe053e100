"""salcompress in Detectron2: the plugin.

Three lines in a training script: ``add_salcompress_config(cfg)`` after ``get_cfg()``, a codec in
``cfg.SALCOMPRESS``, and ``CompressionTrainer`` in place of ``DefaultTrainer``.
"""

from salcompress.detectron.augmentation import CodecTransform, RandomCompression
from salcompress.detectron.config import add_salcompress_config
from salcompress.detectron.evaluators import CompressionEvaluator
from salcompress.detectron.gpu_stage import CompressedLoader
from salcompress.detectron.mapper import CompressedDatasetMapper
from salcompress.detectron.model import CompressedDetector
from salcompress.detectron.optimizer import ClippedAdamW
from salcompress.detectron.original_mapper import OriginalImageMapper
from salcompress.detectron.scenes_dataset import register_scenes
from salcompress.detectron.stored_dataset import register_stored, stored_dicts
from salcompress.detectron.teachers import TorchvisionFeatures, load_scene_features
from salcompress.detectron.torchvision_model import TorchvisionModel, load_scene_model
from salcompress.detectron.trainer import CompressionTrainer
from salcompress.detectron.training_settings import LossWeights, QualitySchedule

__all__ = [
    "ClippedAdamW",
    "CodecTransform",
    "CompressedDatasetMapper",
    "CompressedDetector",
    "CompressedLoader",
    "CompressionEvaluator",
    "CompressionTrainer",
    "LossWeights",
    "OriginalImageMapper",
    "QualitySchedule",
    "RandomCompression",
    "TorchvisionFeatures",
    "TorchvisionModel",
    "add_salcompress_config",
    "load_scene_features",
    "load_scene_model",
    "register_scenes",
    "register_stored",
    "stored_dicts",
]
