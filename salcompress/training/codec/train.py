"""Train the codec's networks, all levels at once."""

import gc
import itertools
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from salcompress.errors import SettingError
from salcompress.models.compression_model import CompressionModel, TrainedWith
from salcompress.models.lagrangian import rate_distortion, saliency_weights
from salcompress.training.codec.recipe import Crops, Recipe, crops_of, random_levels
from salcompress.training.loop import StepResult, TrainResult, TrainSettings, train
from salcompress.training.photographs import Photographs
from salcompress.training.schedule import Decay


def train_codec(
    model: CompressionModel,
    photographs: Photographs,
    settings: TrainSettings,
    recipe: Recipe,
    mixed_precision: bool | None = None,
) -> TrainResult:
    """Train for rate, saliency-weighted distortion and perceptual distance.

    Rates are of values with uniform noise in place of rounding, to the end. Rates of rounded
    values, with straight-through gradients, made the loss on held-out photographs worse, from the
    start and in the decay alone (tools/README.md).

    On CUDA each step is a graph that is replayed. Where a device's memory does not hold a batch,
    training goes on with half of it, and a line says so.

    Args:
        photographs: On the model's device.
        settings: With a :class:`~salcompress.training.schedule.Decay`, crops are large.
        mixed_precision: bfloat16 in the transforms; never in the prior. None takes what is faster
            here, by a measurement.

    Raises:
        SettingError: The recipe makes no sense, no photograph is large enough, saliency has a
            weight and the photographs carry none, or not even one crop fits into memory.
        DataError, OutputError: As of :func:`salcompress.training.loop.train`.
    """
    recipe.check()
    if recipe.saliency_weight and not photographs.has_saliency:
        raise SettingError(
            "a saliency weight needs photographs with a fourth channel of saliency "
            "(load_photographs(..., saliency=...))"
        )
    decays = isinstance(settings.schedule, Decay)
    used = {crops_of(recipe, step, decays).side for step in range(2 * (recipe.large_every or 1))}
    if max(used) > photographs.largest_side:
        raise SettingError(
            f"no photograph has both sides of at least {max(used)} pixels; give larger ones, or "
            "a smaller crop"
        )
    model.to(memory_format=torch.channels_last)
    model.trained_with = TrainedWith(
        recipe.saliency_weight, recipe.perceptual.weight if recipe.perceptual else 0.0
    )
    settings = settings._replace(
        identity=f"codec {model.config} saliency_weight={recipe.saliency_weight:g} "
        f"perceptual_weight={recipe.perceptual.weight if recipe.perceptual else 0:g}"
    )
    while True:
        step_of = _step(model, photographs, recipe)
        if mixed_precision is None:
            mixed_precision = _bfloat16_is_faster(model, step_of, crops_of(recipe, 1, decays))

        def compute(crops: Crops) -> StepResult:
            return step_of(crops, mixed_precision)

        def batches(first: int) -> Iterator[Crops]:
            return (crops_of(recipe, step, decays) for step in itertools.count(first))

        try:
            return train(model, compute, batches, settings, model.prior.project, capture=True)
        except torch.OutOfMemoryError as error:
            if recipe.batch_size == 1:
                raise SettingError(
                    f"not enough memory for one crop of {max(used)} pixels; take smaller ones"
                ) from error
            recipe = recipe._replace(batch_size=recipe.batch_size // 2)
        gc.collect()  # what the error still holds
        print(
            f"not enough memory: training goes on with batches of {recipe.batch_size}", flush=True
        )
        torch.cuda.empty_cache()


def _step(
    model: CompressionModel, photographs: Photographs, recipe: Recipe
) -> Callable[[Crops, bool], StepResult]:
    """The loss of one batch, drawn on the device."""
    device = photographs.device

    def compute(crops: Crops, mixed_precision: bool) -> StepResult:
        drawn = photographs.crops(crops.count, crops.side)
        image = drawn[:, :3].contiguous(memory_format=torch.channels_last)
        levels = random_levels(crops.count, crops.side // 64, device)
        with torch.autocast(
            device.type, torch.bfloat16, enabled=mixed_precision, cache_enabled=False
        ):
            output = model(image, levels)
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
        return StepResult(terms.loss, logged, crops.count * crops.side**2)

    return compute


def _bfloat16_is_faster(
    model: nn.Module, step: Callable[[Crops, bool], StepResult], crops: Crops
) -> bool:
    """Whether a step takes less time with it here: many processors only emulate it, at a tenth of
    the speed.

    CUDA devices that have it are faster with it; the CPU is measured, by the best of two steps
    each.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)

    def seconds(mixed_precision: bool) -> float:
        started = time.perf_counter()
        step(crops, mixed_precision).loss.backward()
        return time.perf_counter() - started

    crops = crops._replace(count=min(crops.count, 2))  # a second in all
    for mixed_precision in (True, False):
        seconds(mixed_precision)
    times = {
        mixed_precision: min(seconds(mixed_precision) for _ in range(2))
        for mixed_precision in (True, False)
    }
    model.zero_grad()
    print(
        f"transforms in {'bfloat16' if times[True] < times[False] else 'float32'}: a step took "
        f"{times[True]:.2f} s with bfloat16, "
        f"{times[False]:.2f} s with float32",
        flush=True,
    )
    return times[True] < times[False]
