"""Settings of a run: what they may be, and that every way to give or to keep them knows all of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace

import pytest

from stsflora.experiments.field_info import field_infos
from stsflora.experiments.finetune.config import Config
from stsflora.experiments.finetune.run_records import FinishedRun
from stsflora.solver import OptionError
from stsflora.solver.solver_text import parse_solver


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rounds": 0}, "rounds=0; allowed: a whole number >= 1"),
        ({"rounds": True}, "rounds=True"),
        ({"rounds": 2.0}, "rounds=2.0"),
        ({"cut": 0}, "cut=0"),
        ({"min_tokens": 0}, "min_tokens=0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"head_learning_rate": 0.0}, "head_learning_rate=0.0; allowed: a finite number > 0"),
        ({"interval_s": float("inf")}, "interval_s=inf"),
        ({"max_power_w": -0.2}, "max_power_w=-0.2"),
        ({"bits_per_element": 4}, "bits_per_element='4'; allowed: 8, 16, 32, each once"),
        ({"bits_per_element": True}, "bits_per_element='True'; allowed: 8, 16, 32"),
        ({"partition": "sorted"}, "partition='sorted'; allowed: dirichlet or iid"),
        ({"measure": "magic"}, "measure='magic'; allowed: attention or"),
        ({"merge": "magic"}, "merge='magic'; allowed: attention or"),
        ({"method": "magic"}, "method='magic'; allowed: local-lora or"),
        ({"seed": -1}, "seed=-1"),
    ],
    ids=str,
)
def test_values_out_of_range_are_named(changes, text):
    with pytest.raises(OptionError) as caught:
        replace(Config(), **changes)
    assert text in str(caught.value)


def test_what_may_be_left_out_may_be_none():
    for name, setting in field_infos(Config).items():
        if setting.optional:
            assert getattr(replace(Config(), **{name: None}), name) is None
        elif setting.least is not None or setting.allowed:
            with pytest.raises(OptionError, match=f"{name}=None"):
                replace(Config(), **{name: None})


def test_every_field_is_a_setting_that_says_what_it_is():
    assert {*field_infos(Config), "solver_options"} == {entry.name for entry in fields(Config)}
    assert all(setting.help.endswith(".") for setting in field_infos(Config).values())


def test_every_setting_is_a_column_of_the_results():
    assert set(field_infos(Config)) < {entry.name for entry in fields(FinishedRun)}


def test_a_solver_as_text_is_that_solver():
    options = {"starts": ["full", "random"], "max_iterations": 3}
    config = Config(solver="alternating", solver_options=options)
    assert config.solver_text == 'alternating:starts=["full", "random"]:max_iterations=3'
    assert parse_solver(config.solver_text) == ("alternating", options)


def test_settings_load_no_numbers():
    code = (
        "import sys; from stsflora.experiments.finetune import config; "
        "from stsflora.experiments.field_info import field_infos; field_infos(config.Config); "
        "print(sorted({'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
