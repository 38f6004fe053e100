"""One model in the processes of Detectron2's ``launch``, on GPUs or on CPUs."""

from collections.abc import Callable
from typing import Any

from detectron2.engine.defaults import create_ddp_model
from detectron2.utils import comm
from torch import distributed, nn


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


def run_and_leave(work: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in each of the processes of Detectron2's ``launch``, and leave their group
    together.

    ``launch`` leaves the group to the interpreter's exit, where a process that ends first makes
    another one abort now and then (gloo).
    """
    work(*arguments)
    if comm.get_world_size() > 1:
        comm.synchronize()
        distributed.destroy_process_group()
