"""Named random streams: the same everywhere, independent of each other, and the only source of randomness."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.imports import SOURCES
from helpers.paths import ROOT

from stsflora.solver.random_streams import derived_seed, random_stream


def test_a_name_gives_the_same_numbers_for_ever() -> None:
    """Recorded instances depend on these."""
    drawn = random_stream("stsflora instance: cell, 20 clients, seed 0").random(3)
    assert drawn.tolist() == [0.8803791550350061, 0.9032112680554965, 0.4957472506867614]
    assert random_stream("a").random() == random_stream("a").random()
    assert derived_seed("fresh head, seed 0") == 1026258594


def test_the_same_in_another_process() -> None:
    code = (
        "from stsflora.solver.random_streams import derived_seed, random_stream;"
        "print(random_stream('a').random(), derived_seed('b'))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert told.split() == [str(random_stream("a").random()), str(derived_seed("b"))]


def test_neighbouring_names_are_independent() -> None:
    names = [f"round {index}, seed {seed}" for index in range(20) for seed in range(20)]
    drawn = np.array([random_stream(name).random(100) for name in names])
    correlation = np.corrcoef(drawn) - np.eye(len(names))
    assert np.abs(correlation).max() < 6 / np.sqrt(100)
    assert drawn.mean() == pytest.approx(0.5, abs=5 / np.sqrt(12 * drawn.size))
    seeds = {derived_seed(name) for name in names}
    assert len(seeds) == len(names)
    assert min(seeds) >= 0
    assert 2**30 < max(seeds) < 2**31


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_else_makes_random_numbers(path: Path) -> None:
    """Generators come from names, and so do the seeds of what has generators of its own."""
    text = path.read_text(encoding="utf-8")
    if path != ROOT / "solver" / "random_streams.py":
        assert not re.search(
            r"SeedSequence|default_rng|PCG64|RandomState|random\.seed|^import random", text, re.M
        )
    for call in re.findall(r"manual_seed(?:_all)?\((.*)", text):
        assert call.startswith("derived_seed(")
