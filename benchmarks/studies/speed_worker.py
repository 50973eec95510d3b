"""Solves instances of files on request and times that, for `speed`: a script for an interpreter of its own.

It is given a folder that holds the package to time, of this checkout or of another. A request and its answer
are a line of JSON each. It uses only what every commit of this project has: `Problem.load`, `solve`, a
result's `ste` and `gap`; `solve_many` and `Problem` itself where that is asked for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


def answer(solver: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Load the instances, solve them one by one or all at once, and time that alone.

    All of it is done twice and only the second counts: the first compiles code and warms caches up. The
    second has instances of its own, since what a solver keeps about an instance is part of solving it.
    """
    clock, gap = getattr(time, request["clock"]), request["gap"]
    for problems in [[solver.Problem.load(path) for path in request["paths"]] for _ in range(2)]:
        started = clock()
        if request["many"]:
            results = solver.solve_many(problems, gap=gap, jobs=1)
        else:
            results = [solver.solve(problem, "exact", gap=gap) for problem in problems]
        seconds = clock() - started
    proved = sum(result.gap <= gap for result in results)
    return {"seconds": seconds, "values": [result.ste for result in results], "solved": proved}


def answer_from_arrays(solver: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Build one instance from its arrays, solve it, and time both; memory is what they take at the peak.

    A small instance is solved before, which compiles code. The arrays are read-only, and so is all memory
    that they lie in: a solver may read them where they are.
    """
    small, large = request["paths"]
    solver.solve(solver.Problem(**_read_only_arrays(small)), "exact", gap=request["gap"])
    arrays, clock = _read_only_arrays(large), getattr(time, request["clock"])
    before = _peak_bytes(anew=True)
    for _ in range(2):  # the second counts: the first meets the rest of the code for the first time
        started = clock()
        result = solver.solve(solver.Problem(**arrays), "exact", gap=request["gap"])
        seconds = clock() - started
        stes, proved = [result.ste], int(result.gap <= request["gap"])
        del result
    return {"seconds": seconds, "values": stes, "solved": proved, "peak_bytes": _peak_bytes() - before}


def _peak_bytes(anew: bool = False) -> int:
    """Largest resident memory of this process, or `anew` from now on: a compiler takes more. 0 if unknown."""
    try:
        if anew:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _read_only_arrays(path: str) -> dict[str, Any]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for array in arrays.values():
        memory = array
        while isinstance(memory, np.ndarray):
            memory.flags.writeable = False
            memory = memory.base
    return arrays


def main() -> None:
    """Answer until nobody asks."""
    sys.path.insert(0, sys.argv[1])
    solver = import_module("stsflora.solver")
    if hasattr(solver, "precompile"):
        solver.precompile()
    for line in sys.stdin:
        request = json.loads(line)
        work = answer_from_arrays if request["arrays"] else answer
        print(json.dumps(work(solver, request)), flush=True)


if __name__ == "__main__":
    main()
