"""Worker process of `minlp`: builds the model, runs an engine on it, prints what it learns.

It finds its job in the folder it is started in (`minlp.process` puts it there) and prints one JSON object per
line, each with some of the keys

- `tokens`: the best tokens so far, or the binaries of the options in a general model, possibly fractional;
  None when there are none
- `bound`: bound on the objective, the engine's tolerances included; None when there is none
- `nodes`: nodes of the search tree so far
- `stop` (a `Stop`) and `status` (the engine's own word): at the end
- `refused`: an engine option that the engine does not take
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..allocation import Allocation
from ..problem import Problem
from ..result import Stop
from .engines import MINDTPY_PARTS, MinlpEngine, RefusedSettingError, find_engine
from .model import bound_margin, minlp_model, sense_of, value_unit
from .process import JOB, PROBLEM

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel  # type: ignore[import-untyped]

Report = Callable[..., None]

STOPS: Final = {
    "optimal": Stop.CONVERGED,
    "globallyOptimal": Stop.CONVERGED,
    "locallyOptimal": Stop.CONVERGED,
    "feasible": Stop.CONVERGED,
    "maxTimeLimit": Stop.TIME_LIMIT,
    "maxIterations": Stop.ITERATION_LIMIT,
    "maxEvaluations": Stop.ITERATION_LIMIT,
}
"""Pyomo's words for how an engine ended; the others are errors here."""

MOST_WORDS: Final = 300
"""Length to which an engine's error text is cut."""

LAST_S: Final = 0.1
"""Kept back from the time limit for the last message, s."""


def main() -> None:
    """Do the job in the current folder."""
    job = json.loads(Path(JOB).read_text(encoding="utf-8"))
    # Engines print what they like: messages get the pipe for themselves.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as pipe:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

        def report(**content: Any) -> None:
            pipe.write(json.dumps(content) + "\n")
            pipe.flush()

        try:
            solve_job(job, report)
        except RefusedSettingError as error:
            report(refused=str(error))
        except Exception as error:  # whatever an engine raises is an answer
            words = " ".join(f"{type(error).__name__}: {error}".split())
            report(tokens=None, bound=None, stop=Stop.ERROR, status=words[:MOST_WORDS])


def solve_job(job: Mapping[str, Any], report: Report) -> None:
    """Build the model and hand it to the engine."""
    known = Allocation(**job["known"])
    model = minlp_model(Problem.load(PROBLEM), job["form"], known=known, accuracy=job["accuracy"])
    deadline = None if job["deadline"] is None else job["deadline"] - LAST_S
    if job["engine"] == "scip":
        from .scip import solve_with_scip

        limits = {"gap": job["gap"], "seed": job["seed"], "deadline": deadline}
        solve_with_scip(model, report, **limits, options=job["options"])
    else:
        solve_with_pyomo(model, report, find_engine(job["engine"]), job["gap"], deadline, job["options"])


def solve_with_pyomo(
    model: ConcreteModel,
    report: Report,
    engine: MinlpEngine,
    gap: float,
    deadline: float | None,
    options: Mapping[str, Any],
) -> None:
    """Solve a model of `minlp_model` with any engine that Pyomo can call, and report once, at the end.

    Args:
        model: as built; a solver of continuous models gets it relaxed.
        report: called with keywords, see the head of this file.
        engine: who solves it.
        gap: relative gap at which to stop, for engines whose option for it is known.
        deadline: `time.time()` at which to stop; None for never.
        options: the engine's own, over ours.
    """
    import pyomo.environ as pyo  # type: ignore[import-untyped]

    solver = pyo.SolverFactory(engine.pyomo_name)
    left_s = None if deadline is None else max(LAST_S, deadline - time.time())
    if engine.name == "mindtpy":
        within: dict[str, float] = {} if left_s is None else {"time_limit": math.ceil(left_s)}
        results = solver.solve(model, **{**MINDTPY_PARTS, **within, **options})
    else:
        if not engine.whole:
            pyo.TransformationFactory("core.relax_integer_vars").apply_to(model)
        within = {} if left_s is None else {"timelimit": left_s}
        wanted = {engine.gap_option: gap} if engine.gap_option else {}
        results = solver.solve(model, **within, options={**wanted, **options})
    status = str(results.solver.termination_condition)
    decided = (model.option if hasattr(model, "option") else model.tokens).values()
    tokens = [pyo.value(variable, exception=False) for variable in decided]
    sense, problem = sense_of(model), results.problem
    limit: Any = None
    if engine.global_bound:
        limit = problem.upper_bound if sense > 0 else problem.lower_bound
    proved = isinstance(limit, int | float) and math.isfinite(limit)
    report(
        tokens=None if None in tokens else tokens,
        bound=(limit + sense * bound_margin(model)) * value_unit(model) if proved else None,
        stop=STOPS.get(status, Stop.ERROR),
        status=status,
    )


if __name__ == "__main__":
    main()
