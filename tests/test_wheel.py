"""The wheel alone, in an environment with nothing else, is a working allocator."""

from __future__ import annotations

import shutil
import subprocess
import venv
from pathlib import Path

import pytest
from helpers.paths import ROOT

SOURCES = (
    "stsflora",
    "solver",
    "models",
    "benchmarks",
    "experiments",
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)

SCRIPT = """
import sys
from stsflora.solver import Allocator, Client, Snr, solvers

clients = [Client("ada", Snr(20.0), [3.0, 2.0, 1.0], 1e5, 0.2), Client("bob", Snr(3.0), [1.0, 1.0], 1e5, 0.2)]
plan = Allocator(bandwidth_hz=1e6).plan(clients)
assert plan.quality == "optimal" and list(plan.grants) == ["ada", "bob"], plan
assert [info.name for info in solvers() if not info.available] == ["minlp", "relaxed"]
assert not {"torch", "cvxpy", "pyomo", "numba"} & set(sys.modules)
print(plan)
"""


@pytest.mark.slow
def test_the_wheel_alone_plans_a_round(tmp_path: Path) -> None:
    """Builds in a copy, so that nothing is left in the checkout; pip fetches what setup.cfg requires."""
    source = tmp_path / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / "bin" / "python"
    wheels = tmp_path / "wheels"
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, source], check=True, cwd=tmp_path)
    (wheel,) = wheels.glob("stsflora-*.whl")
    subprocess.run([*pip, "install", wheel], check=True, cwd=tmp_path)
    finished = subprocess.run([python, "-c", SCRIPT], capture_output=True, text=True, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("2 clients, 0 dropped: STE ")
