"""Train the codec's networks, all levels at once."""

import gc
import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from salcompress.errors import SettingError
from salcompress.models.compression_model import CompressionModel, ModelOutput, TrainedWith
from salcompress.models.lagrangian import rate_distortion, saliency_weights
from salcompress.training.codec.recipe import Crops, Recipe, crops_of, random_levels
from salcompress.training.compiled import Compiled, check_gradients
from salcompress.training.loop import StepResult, TrainResult, train
from salcompress.training.photographs import Photographs
from salcompress.training.precision import bfloat16_is_faster
from salcompress.training.schedule import Decay
from salcompress.training.settings import TrainSettings


def train_codec(
    model: CompressionModel,
    photographs: Photographs,
    settings: TrainSettings,
    recipe: Recipe,
    mixed_precision: bool | None = None,
    compiles: bool | None = None,
) -> TrainResult:
    """Train for rate, saliency-weighted distortion and perceptual distance.

    The prior's rates are those of values with uniform noise in place of rounding, to the end.
    Rates of rounded values, with straight-through gradients, made the loss on held-out photographs
    worse, both from the start and in the decay alone (tools/FIGURES.md).

    On CUDA the networks are compiled, and each step is a graph that is replayed. Where the memory
    of a device does not hold a batch, training goes on with half of it, and a line says so.

    Args:
        model: The networks, on a device.
        photographs: What is trained on, on the model's device.
        settings: How long to train. Where the schedule is a
            :class:`~salcompress.training.schedule.Decay`, crops are large.
        recipe: Batches and loss.
        mixed_precision: Whether the transforms compute in bfloat16; the prior never does. None
            takes what a measurement finds faster.
        compiles: Whether the networks are compiled, which takes a minute. None compiles on CUDA.

    Raises:
        SettingError: The recipe makes no sense, no photograph is large enough, saliency has a
            weight and the photographs carry none, or not even one crop fits into memory.
        DataError, OutputError: See :func:`salcompress.training.loop.train`.
    """
    decays = isinstance(settings.schedule, Decay)
    largest = _largest_crop(recipe, photographs, decays)
    model.to(memory_format=torch.channels_last)
    model.trained_with = TrainedWith(
        recipe.saliency_weight, recipe.perceptual.weight if recipe.perceptual else 0.0
    )
    settings = settings._replace(
        identity=f"codec {model.config}",
        conditions=recipe.conditions() | {"photographs": photographs.fingerprint},
        start_may_differ=tuple(recipe.loss_weights()),
    )
    compiled = (
        Compiled(model)
        if compiles or (compiles is None and photographs.device.type == "cuda")
        else None
    )
    while True:
        step_of = _step(compiled or model, photographs, recipe)
        if mixed_precision is None:
            few = crops_of(recipe, 1, decays)
            few = few._replace(num_crops=min(few.num_crops, 2))
            mixed_precision = bfloat16_is_faster(model, lambda mixed: step_of(few, mixed).loss)

        def compute(crops: Crops) -> StepResult:
            return step_of(crops, bool(mixed_precision))

        def loss_of(networks: Callable[..., ModelOutput]) -> Tensor:
            first = crops_of(recipe, 1, decays)
            return _step(networks, photographs, recipe)(first, bool(mixed_precision)).loss

        def batches(first: int) -> Iterator[Crops]:
            return (crops_of(recipe, step, decays) for step in itertools.count(first))

        try:
            if compiled is not None:
                check_gradients(model.train(), compiled, loss_of)
            return train(model, compute, batches, settings, model.prior.project, capture=True)
        except torch.OutOfMemoryError as error:
            if recipe.batch_size == 1:
                raise SettingError(
                    f"not enough memory for one crop of {largest} pixels; take smaller ones"
                ) from error
            recipe = recipe._replace(batch_size=recipe.batch_size // 2)
        gc.collect()  # the error still holds tensors
        print(
            f"not enough memory: training goes on with batches of {recipe.batch_size}", flush=True
        )
        torch.cuda.empty_cache()


def _largest_crop(recipe: Recipe, photographs: Photographs, decays: bool) -> int:
    """Side of the largest crops that a training draws.

    Raises:
        SettingError: The recipe makes no sense, or the photographs cannot give such crops.
    """
    recipe.check()
    if recipe.saliency_weight and not photographs.has_saliency:
        raise SettingError(
            "a saliency weight needs photographs with a fourth channel of saliency "
            "(load_photographs(..., saliency=...))"
        )
    steps = range(2 * (recipe.large_every or 1))
    largest = max(crops_of(recipe, step, decays).side for step in steps)
    if largest > photographs.largest_side:
        raise SettingError(
            f"no photograph has both sides of at least {largest} pixels; give larger ones, or "
            "a smaller crop"
        )
    return largest


def _step(
    networks: Callable[..., ModelOutput], photographs: Photographs, recipe: Recipe
) -> Callable[[Crops, bool], StepResult]:
    """The function that draws a batch on the device and computes its loss."""
    device = photographs.device

    def compute(crops: Crops, mixed_precision: bool) -> StepResult:
        drawn = photographs.crops(crops.num_crops, crops.side)
        image = drawn[:, :3].contiguous(memory_format=torch.channels_last)
        levels = random_levels(crops.num_crops, crops.side // 64, device)
        with torch.autocast(
            device.type, torch.bfloat16, enabled=mixed_precision, cache_enabled=False
        ):
            output = networks(image, levels)
        weight = (
            saliency_weights(drawn[:, 3:], recipe.saliency_weight)
            if recipe.saliency_weight
            else None
        )
        terms = rate_distortion(output, image, levels, weight, recipe.perceptual)
        logged = {
            "estimated_bpp": terms.rate.mean(),
            "distortion_bpp": terms.distortion.mean(),
            "psnr_dB": terms.psnr.mean(),
        }
        if recipe.perceptual is not None:
            logged |= {
                "perceptual_bpp": terms.perceptual.mean(),
                "perceptual": terms.perceptual_distance.mean(),
            }
        return StepResult(terms.loss, logged, crops.num_crops * crops.side**2)

    return compute
