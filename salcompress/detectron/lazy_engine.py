"""Training and evaluation of Detectron2's LazyConfigs; the codec stands in the config itself."""

import argparse
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, instantiate
from detectron2.engine import AMPTrainer, SimpleTrainer, default_setup, default_writers, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from salcompress.detectron.hooks import CodecExporter, CodecLogger
from salcompress.detectron.model import CompressedDetector
from salcompress.detectron.scenes_dataset import register_scenes
from salcompress.detectron.trainer import distribute


def main(args: argparse.Namespace) -> Any:
    """Train the config of ``args.config_file`` with ``args.opts`` over it, or evaluate it with
    ``--eval-only``.
    """
    cfg = LazyConfig.apply_overrides(LazyConfig.load(args.config_file), args.opts)
    default_setup(cfg, args)
    register_scenes()
    model = instantiate(cfg.model).to(cfg.train.device)
    if args.eval_only:
        DetectionCheckpointer(model).load(cfg.train.init_checkpoint)
        return test(cfg, model)
    return train(cfg, model, resume=args.resume)


def test(cfg: DictConfig, model: nn.Module) -> dict[str, Any]:
    """Results of the config's evaluators on its test data; empty but on the main process."""
    loader = instantiate(
        cfg.dataloader.test
    )  # before the evaluators: it draws the scenes if they are asked for
    results = inference_on_dataset(model, loader, list(instantiate(cfg.dataloader.evaluator)))
    if comm.is_main_process():
        print_csv_format(results)
    return results


def train(cfg: DictConfig, model: nn.Module, resume: bool) -> None:
    """Train with checkpoints, evaluation and logs as the config's ``train`` says; go on from the
    last one if ``resume``.
    """
    (cfg.optimizer.params if "params" in cfg.optimizer else cfg.optimizer).model = model
    optimizer = instantiate(cfg.optimizer)
    trainer_class = AMPTrainer if cfg.train.amp.enabled else SimpleTrainer
    trainer = trainer_class(
        distribute(model, **cfg.train.ddp), instantiate(cfg.dataloader.train), optimizer
    )
    checkpointer = DetectionCheckpointer(model, cfg.train.output_dir, trainer=trainer)
    steps = [
        hooks.IterationTimer(),
        hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
        hooks.EvalHook(cfg.train.eval_period, lambda: test(cfg, model))
        if "test" in cfg.dataloader
        else None,
    ]
    if comm.is_main_process():
        steps.insert(2, hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer))
        if isinstance(model, CompressedDetector):
            steps += [
                CodecLogger(model, cfg.train.log_codec_period),
                CodecExporter(model, cfg.train.output_dir, cfg.train.checkpointer.period),
            ]
        steps.append(
            hooks.PeriodicWriter(
                default_writers(cfg.train.output_dir, cfg.train.max_iter), cfg.train.log_period
            )
        )
    trainer.register_hooks(steps)
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    start = trainer.iter + 1 if resume and checkpointer.has_checkpoint() else 0
    trainer.train(start, cfg.train.max_iter)
