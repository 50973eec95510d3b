"""The STE problem and its interchangeable solvers.

from stsflora.solver import Problem, solve
result = solve(problem)            # allocation, STE, proved bound, gap
"""

from .allocation import Allocation
from .api import solve
from .errors import (
    AllocationError,
    FileFormatError,
    InfeasibleError,
    MissingDependencyError,
    OptionError,
    ProblemError,
    RegistrationError,
    SolverFailedError,
    StsfloraError,
    UnknownNameError,
)
from .evaluation import Evaluation, evaluate
from .problem import Problem
from .registry import Answer, Request, SolverInfo, register, solvers
from .result import Diagnosis, Quality, Result, Stop, TracePoint

from . import methods as methods  # isort: skip - each import there registers a solver

__all__ = [
    "Allocation",
    "AllocationError",
    "Answer",
    "Diagnosis",
    "Evaluation",
    "FileFormatError",
    "InfeasibleError",
    "MissingDependencyError",
    "OptionError",
    "Problem",
    "ProblemError",
    "Quality",
    "RegistrationError",
    "Request",
    "Result",
    "SolverFailedError",
    "SolverInfo",
    "Stop",
    "StsfloraError",
    "TracePoint",
    "UnknownNameError",
    "evaluate",
    "register",
    "solve",
    "solvers",
]
