"""The bench of batches measures each case once, and says how quick it is."""

import argparse

import pytest
import torch

from salcompress.bench.batches import (
    cases,
    print_decoding,
    print_operations,
    print_rates,
    run,
)
from salcompress.errors import SettingError


def lines_of(text):
    return [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]


@pytest.mark.parametrize("on_cuda", [True, False])
def test_cases_differ_and_hold_the_usual_ones(on_cuda):
    measured = cases(on_cuda)
    assert len(set(measured)) == len(measured)
    usual = [case for case in measured if case.mixed_sizes == on_cuda and case.graphs == on_cuda]
    kinds = {(case.real_streams, case.saliency) for case in usual if not case.mixed_precision}
    assert len(kinds) == 4


IMAGES = [torch.full((3, 40 + k, 60), 100, dtype=torch.uint8) for k in range(2)]


def test_rates(capsys):
    print_rates("cpu", IMAGES, [2], 0.0)
    lines = lines_of(capsys.readouterr().out)
    assert len(lines) == len(cases(False)) and all(float(line[6]) > 0 for line in lines)


def test_decoding(capsys):
    print_decoding("cpu", IMAGES, [2])
    ((what, rate),) = lines_of(capsys.readouterr().out)
    assert what == "in batches of 2" and float(rate) > 0


@pytest.mark.slow
def test_operations(capsys):
    print_operations("cpu", IMAGES, [2])
    assert all(int(line[3]) > 100 for line in lines_of(capsys.readouterr().out))


@pytest.mark.parametrize("wrong", [{"images": 0}, {"batches": [4, 0]}])
def test_numbers_are_positive(wrong):
    settings = {"device": "cpu", "batches": [1], "images": 1, "limit": 0.1} | wrong
    with pytest.raises(SettingError, match="batches and images must be at least 1"):
        run(argparse.Namespace(**settings))
