"""Solves instances of files on request and times that, for `speed`: a script for an interpreter of its own.

It is given a folder that holds the package to time, of this checkout or of another. A request and its answer
are a line of JSON each. It uses only what every commit of this project has: `Problem.load`, `solve`, a
result's `ste` and `gap`; and `solve_many` where that is asked for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any


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
    return {"seconds": seconds, "stes": [result.ste for result in results], "solved": proved}


def main() -> None:
    """Answer until nobody asks."""
    sys.path.insert(0, sys.argv[1])
    solver = import_module("stsflora.solver")
    if hasattr(solver, "precompile"):
        solver.precompile()
    for line in sys.stdin:
        print(json.dumps(answer(solver, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
