"""One command in the processes of Detectron2's ``launch``, on GPUs or on CPUs."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import launch
from detectron2.engine.defaults import create_ddp_model
from detectron2.utils import comm
from torch import Tensor, distributed, nn

from salcompress.errors import DataError, SettingError


def launch_command(
    args: argparse.Namespace,
    device_of: Callable[[argparse.Namespace], str],
    main: Callable[[argparse.Namespace], Any],
) -> None:
    """Call ``main`` in the processes that Detectron2's arguments ask for.

    Args:
        device_of: Reads the config of the arguments and gives its device. It is called here first,
            so that what is wrong with them is said once, and not by each process.

    Raises:
        SettingError: What ``device_of`` and ``main`` raise, or the device is a GPU and torch finds
            none.
        DataError: What they raise, or a file is missing.
    """
    if torch.device(device_of(args)).type == "cuda" and not torch.cuda.is_available():
        raise SettingError(
            "the config's device is cuda, and torch finds no GPU here: give MODEL.DEVICE cpu "
            "(train.device=cpu in a LazyConfig) and --num-gpus 0"
        )
    launch(
        run_and_leave,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(main, args),
    )


def distribute(model: nn.Module, **options: Any) -> nn.Module:
    """The model for all processes of the launch: as it is where there is one, else within
    DistributedDataParallel.

    Args:
        options: Of DistributedDataParallel.
    """
    on_cpu = {}
    if all(parameter.device.type == "cpu" for parameter in model.parameters()):
        on_cpu = {"device_ids": None}  # Detectron2's ids of GPUs are refused there
    return create_ddp_model(model, **{"broadcast_buffers": False, **options, **on_cpu})


def sum_over_processes(counts: Tensor) -> Tensor:
    """The sum over all processes of a launch, each of which must call this."""
    if comm.get_world_size() == 1:
        return counts
    whole = counts.clone()
    distributed.all_reduce(whole)
    return whole


def run_and_leave(work: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in each of the processes of Detectron2's ``launch``, and leave their group
    together.

    ``launch`` leaves the group to the interpreter's exit, where a process that ends first makes
    another one abort now and then (gloo).

    Raises:
        DataError: A file is missing, such as the annotations of a data set of Detectron2's.
    """
    try:
        work(*arguments)
    except FileNotFoundError as error:
        if error.filename is None:
            raise
        root = os.getenv("DETECTRON2_DATASETS", "datasets")
        hint = ""
        if Path(root).absolute() in Path(error.filename).absolute().parents:
            hint = f"; Detectron2's data sets lie where $DETECTRON2_DATASETS says, here {root}"
        raise DataError(f"{error.filename} does not exist{hint}") from error
    if comm.get_world_size() > 1:
        comm.synchronize()
        distributed.destroy_process_group()
