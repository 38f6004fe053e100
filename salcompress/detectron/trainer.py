"""Training and evaluation of stock Detectron2 models on compressed pictures."""

import logging
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import AMPTrainer, DefaultTrainer, HookBase, SimpleTrainer, TrainerBase
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from torch import nn
from torch.optim import Optimizer

from salcompress.detectron import loaders
from salcompress.detectron.augmented_inference import augmented_at_test
from salcompress.detectron.checkpoint import WeightsCheckpointer
from salcompress.detectron.config import check_config
from salcompress.detectron.detector import MOST_COUNTED, built_model
from salcompress.detectron.evaluators import CompressionEvaluator
from salcompress.detectron.hooks import CodecExporter, CodecLogger
from salcompress.detectron.image_format import check_model_format
from salcompress.detectron.model import CompressedDetector
from salcompress.detectron.optimizer import ClippedAdamW
from salcompress.detectron.processes import distribute
from salcompress.errors import SettingError


class CompressionTrainer(DefaultTrainer):
    """``DefaultTrainer`` whose pictures pass through the codecs of ``cfg.SALCOMPRESS``, and whose
    tests report the rate.

    ``cfg.SALCOMPRESS.STAGE`` says where: in the loader's processes, behind the loader, or in the
    model, which then is a :class:`~salcompress.detectron.model.CompressedDetector`. COCO-format
    data sets are evaluated; for others, override ``build_ap_evaluator``.

    Raises:
        SettingError: A codec or stage is wrong, or a test data set is not of COCO's format: said
            before training, not after it.
    """

    def __init__(self, cfg: CfgNode):
        for name in cfg.DATASETS.TEST:
            self.check_evaluable(name)
        check_config(cfg)
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        # what DefaultTrainer's own constructor does, but for the ids of devices that it gives DDP,
        # and that a model on CPUs refuses
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        if cfg.TEST.AUG.ENABLED:  # said before training, not after it
            augmented_at_test(model, cfg)
        optimizer = self.build_optimizer(cfg, model)
        kind = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = kind(distribute(model), self.build_train_loader(cfg), optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        # a codec is trained for a detector as it is, which must not be a random one
        complete = isinstance(model, CompressedDetector) and model.trains == "codec"
        self.checkpointer = WeightsCheckpointer(
            model, cfg.OUTPUT_DIR, complete=complete, trainer=weakref.proxy(self)
        )
        self.start_iter, self.max_iter, self.cfg = 0, cfg.SOLVER.MAX_ITER, cfg
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = built_model(cfg, cfg.MODEL.META_ARCHITECTURE)
        check_model_format(model, cfg.INPUT.FORMAT)
        logging.getLogger("detectron2.engine.defaults").info("Model:\n%s", model)
        if cfg.SALCOMPRESS.STAGE == "model":
            return CompressedDetector.from_config(cfg, model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        if not isinstance(model, CompressedDetector) or model.trains == "detector":
            return super().build_optimizer(cfg, model)
        clip, node = cfg.SOLVER.CLIP_GRADIENTS, cfg.SALCOMPRESS.MODEL
        if clip.ENABLED and (clip.CLIP_TYPE != "norm" or clip.NORM_TYPE != 2.0):
            raise SettingError(
                "a codec is trained with the 2-norm of its gradients clipped: set "
                "SOLVER.CLIP_GRADIENTS.CLIP_TYPE to norm and NORM_TYPE to 2.0"
            )
        return ClippedAdamW(
            model,
            node.CODEC_LR,
            node.DETECTOR_LR,
            max_norm=clip.CLIP_VALUE if clip.ENABLED else 1.0,
        )

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict[str, Any]]]:
        return loaders.build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict[str, Any]]]:
        return loaders.build_test_loader(cfg, dataset_name)

    def build_hooks(self) -> list[HookBase]:
        hooks = super().build_hooks()
        model = self.checkpointer.model
        if isinstance(model, CompressedDetector) and comm.is_main_process():
            # before the last one, which writes the logs
            hooks[-1:-1] = [
                CodecLogger(model, self.cfg.SALCOMPRESS.MODEL.LOG_PERIOD),
                CodecExporter(model, self.cfg.OUTPUT_DIR, self.cfg.SOLVER.CHECKPOINT_PERIOD),
            ]
        return hooks

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint of ``OUTPUT_DIR``, or begin with ``MODEL.WEIGHTS``.

        Raises:
            SettingError: The checkpoint is of another stage, or there are no weights of a detector
                that a codec is to be trained for.
            DataError: The weights are missing, damaged, or of another model.
        """
        super().resume_or_load(resume)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> dict[str, Any]:
        """Results by task. With ``TEST.AUG.ENABLED`` those of Detectron2's test-time augmentation
        stand beside them, as ``bbox_TTA`` and so on.
        """
        # not by DDP, which on CUDA hands over copies of the dicts: the rates noted in them would be
        # lost
        model = getattr(model, "module", model)
        results = super().test(cfg, model, evaluators)
        if cfg.TEST.AUG.ENABLED:
            if evaluators is None:
                evaluators = [
                    cls.build_evaluator(cfg, name, "inference_TTA") for name in cfg.DATASETS.TEST
                ]
            augmented = super().test(cfg, augmented_at_test(model, cfg), evaluators)
            results.update(
                {f"{task}_TTA": augmented[task] for task in augmented if task != "compression"}
            )
        return results

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, folder: str = "inference"
    ) -> DatasetEvaluators:
        """The evaluators of a data set, which write to ``folder`` of the output."""
        output = Path(cfg.OUTPUT_DIR) / folder
        return DatasetEvaluators(
            [cls.build_ap_evaluator(cfg, dataset_name, output), CompressionEvaluator()]
        )

    @classmethod
    def build_ap_evaluator(cls, cfg: CfgNode, dataset_name: str, output: Path) -> DatasetEvaluator:
        """The evaluator of AP; it writes its results to ``output``.

        It honours ``TEST.KEYPOINT_OKS_SIGMAS``, and counts ``TEST.DETECTIONS_PER_IMAGE`` detections
        where that is more than COCO's 100.

        Raises:
            SettingError: The data set is not of COCO's format.
        """
        cls.check_evaluable(dataset_name)
        more = cfg.TEST.DETECTIONS_PER_IMAGE
        return COCOEvaluator(
            dataset_name,
            output_dir=str(output),
            max_dets_per_image=more if more > MOST_COUNTED else None,
            kpt_oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS,
        )

    @classmethod
    def check_evaluable(cls, dataset_name: str) -> None:
        """Raise unless ``build_ap_evaluator`` can evaluate the data set; override both together.

        Raises:
            SettingError: The data set is not of COCO's format.
        """
        kind = MetadataCatalog.get(dataset_name).get("evaluator_type", "coco")
        if kind != "coco":
            raise SettingError(
                f"data set {dataset_name} is evaluated as {kind!r}, and CompressionTrainer does "
                "COCO's AP; override build_ap_evaluator and check_evaluable"
            )
