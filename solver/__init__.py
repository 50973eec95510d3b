"""The STE problem and its interchangeable solvers.

from stsflora.solver import Problem, solve
result = solve(problem)            # allocation, STE, proved bound, gap
"""

from .allocation import Allocation
from .allocator import Allocator
from .api import solve
from .channel_state import Cqi, Snr, fading_margin_db, rayleigh_margin_db
from .client import Client
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
from .plan import Dropped, Grant, Plan
from .problem import Problem
from .registry import Answer, Request, SolverInfo, register, solvers
from .result import Diagnosis, Quality, Result, Stop, TracePoint
from .utility import Utility

from . import methods as methods  # isort: skip - each import there registers a solver

__all__ = [
    "Allocation",
    "AllocationError",
    "Allocator",
    "Answer",
    "Client",
    "Cqi",
    "Diagnosis",
    "Dropped",
    "Evaluation",
    "FileFormatError",
    "Grant",
    "InfeasibleError",
    "MissingDependencyError",
    "OptionError",
    "Plan",
    "Problem",
    "ProblemError",
    "Quality",
    "RegistrationError",
    "Request",
    "Result",
    "Snr",
    "SolverFailedError",
    "SolverInfo",
    "Stop",
    "StsfloraError",
    "TracePoint",
    "UnknownNameError",
    "Utility",
    "evaluate",
    "fading_margin_db",
    "rayleigh_margin_db",
    "register",
    "solve",
    "solvers",
]
