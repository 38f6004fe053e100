"""Speed and memory in Detectron2 on this machine: the stage that compresses, and training steps
with the codec in each of its places.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from salcompress.bench.settings import BenchSettings
from salcompress.bench.stage import measure_stage, stage_table
from salcompress.bench.training import measure_training, training_table
from salcompress.errors import SettingError
from salcompress.files import write_atomically
from salcompress.process import cpu_name

PARTS: dict[str, Any] = {
    "stage": (measure_stage, stage_table),
    "training": (measure_training, training_table),
}
"""By name: what measures, and what makes a table of the figures."""


def run_bench(parts: Sequence[str], settings: BenchSettings, out: Path | None = None) -> None:
    """Measure the named parts, all if none is named; print each as soon as it is measured and write
    all figures so far as JSON to ``out``.

    Raises:
        SettingError: A part is unknown, or there is not enough memory.
        OutputError: ``out`` cannot be written: said before anything is measured.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise SettingError(f"unknown bench part {unknown[0]!r}; valid: {', '.join(PARTS)}")
    content: dict[str, Any] = {
        "machine": describe_machine(settings.device),
        "settings": dataclasses.asdict(settings),
    }
    print(content["machine"], flush=True)
    _keep(out, content)
    for part in parts or PARTS:
        measure, table = PARTS[part]
        figures = measure(settings)
        print(f"\n{table(settings, figures)}", flush=True)
        content[part] = [figure._asdict() for figure in figures]
        _keep(out, content)


def _keep(out: Path | None, content: dict[str, Any]) -> None:
    if out is not None:
        write_atomically(out, json.dumps(content, indent=1))


def describe_machine(device: str) -> str:
    """The device's name and torch's version."""
    cores, version = f"{os.cpu_count()} CPU cores", f"torch {torch.__version__}"
    if device == "cpu":
        return f"{cpu_name()}, {torch.get_num_threads()} threads on {cores}, {version}"
    return f"{torch.cuda.get_device_name(device)}, {cores}, {version}"
