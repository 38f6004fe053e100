"""The command of Detectron2's LazyConfigs; the codec stands in the config itself."""

import argparse
from collections.abc import Iterator
from typing import Any

from detectron2.config import LazyConfig, instantiate
from detectron2.engine import AMPTrainer, SimpleTrainer, default_setup, default_writers, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from salcompress.detectron.checkpoint import WeightsCheckpointer, load_for_evaluation
from salcompress.detectron.hooks import CodecExporter, CodecLogger
from salcompress.detectron.image_format import check_model_format
from salcompress.detectron.model import CompressedDetector
from salcompress.detectron.processes import distribute
from salcompress.detectron.scenes_dataset import register_scenes
from salcompress.errors import SettingError


def main(args: argparse.Namespace) -> Any:
    """Train the config of ``args.config_file`` with ``args.opts`` over it, or evaluate it with
    ``--eval-only``.

    Raises:
        SettingError: The file is no LazyConfig, an evaluation has no weights, or the mappers give
            pictures of another format than the model takes.
        DataError: Weights are missing, damaged, or of another model.
    """
    cfg = load_lazy_config(args.config_file, args.opts)
    default_setup(cfg, args)
    register_scenes()
    model = instantiate(cfg.model).to(cfg.train.device)
    detector = model.detector if isinstance(model, CompressedDetector) else model
    for image_format in _image_formats(cfg.dataloader):
        check_model_format(detector, image_format)
    if not args.eval_only:
        return train(cfg, model, resume=args.resume)
    if cfg.train.init_checkpoint or not brings_weights(cfg):
        load_for_evaluation(model, cfg.train.init_checkpoint)
    return test(cfg, model)


def device_of(args: argparse.Namespace) -> str:
    """The device that the arguments' config names.

    Raises:
        SettingError: As of :func:`load_lazy_config`.
    """
    return load_lazy_config(args.config_file, args.opts).train.device


def load_lazy_config(path: str, options: list[str]) -> DictConfig:
    """A LazyConfig with KEY=VALUE options over it.

    Raises:
        SettingError: The file is missing or has no model, dataloader and train, or an option is
            wrong.
    """
    try:
        cfg = LazyConfig.load(path)
    except (OSError, AssertionError) as error:
        raise SettingError(f"{path} is no LazyConfig that can be read: {error}") from error
    missing = [name for name in ("model", "dataloader", "train") if name not in cfg]
    if missing:
        raise SettingError(
            f"{path} is no LazyConfig: it has no {', '.join(missing)}; a YAML config is for "
            "tools/train_net.py"
        )
    for option in options:
        name = option.partition("=")[0].split(".")
        # other parts take further arguments of what they call, and say themselves what is unknown
        if name[0] not in cfg or (
            name[0] == "train" and len(name) > 1 and name[1] not in cfg.train
        ):
            raise SettingError(
                f"{option!r} sets nothing: the config's parts are {', '.join(cfg)}, and train has "
                f"{', '.join(cfg.train)}"
            )
    try:
        return LazyConfig.apply_overrides(cfg, options)
    except Exception as error:  # hydra's and omegaconf's are of many kinds
        raise SettingError(
            f"the options {' '.join(options)} are no KEY=VALUE of this config: "
            f"{str(error).splitlines()[0]}"
        ) from error


def brings_weights(cfg: DictConfig) -> bool:
    """Whether the config's detector is built with its weights; Detectron2's own models are not."""
    target = cfg.model.get("detector", cfg.model)["_target_"]
    module = target if isinstance(target, str) else target.__module__
    return not module.startswith("detectron2.")


def _image_formats(node: Any) -> Iterator[str]:
    """The formats that mappers and stages in a config are told."""
    if isinstance(node, ListConfig):
        for part in node:
            yield from _image_formats(part)
    elif isinstance(node, DictConfig):
        for key in node:
            if OmegaConf.is_missing(node, key):
                continue
            if key == "image_format":
                yield node[key]
            else:
                yield from _image_formats(node[key])


def test(cfg: DictConfig, model: nn.Module) -> dict[str, Any]:
    """Results of the config's evaluators on its test data; empty but on the main process."""
    # before the evaluators: it draws the scenes if they are asked for
    loader = instantiate(cfg.dataloader.test)
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
    # a codec is trained for a detector as it is, which must not be a random one
    complete = isinstance(model, CompressedDetector) and model.trains == "codec"
    checkpointer = WeightsCheckpointer(
        model,
        cfg.train.output_dir,
        complete=complete and not brings_weights(cfg),
        trainer=trainer,
    )
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
