"""The STE problem and its interchangeable solvers.

from stsflora.solver import Problem, solve
result = solve(problem)            # allocation, STE, proved bound, gap
"""

from .allocation import Allocation
from .allocator.allocator import Allocator
from .allocator.channel_state import Cqi, Snr, fading_margin_db, rayleigh_margin_db
from .allocator.client import Alternative, Client
from .allocator.plan import Dropped, Grant, Plan
from .allocator.plan_problem import plan_problem
from .allocator.utility import Utility
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
from .method import Answer, Request
from .objective import Energy, Objective, Retained, RoundTime, Ste, TotalTime, Weighted
from .problem import Problem
from .registry import SolverInfo, register, solvers
from .repair import repair
from .result import Diagnosis, Quality, Result, Stop, TracePoint
from .solve import solve

from . import methods as methods  # isort: skip - each import there registers a solver

from .solve_many import precompile, solve_many  # isort: skip - needs them
from .solve_stacked import Stacked, solve_stacked  # isort: skip

__all__ = [
    "Allocation",
    "AllocationError",
    "Allocator",
    "Alternative",
    "Answer",
    "Client",
    "Cqi",
    "Diagnosis",
    "Dropped",
    "Energy",
    "Evaluation",
    "FileFormatError",
    "Grant",
    "InfeasibleError",
    "MissingDependencyError",
    "Objective",
    "OptionError",
    "Plan",
    "Problem",
    "ProblemError",
    "Quality",
    "RegistrationError",
    "Request",
    "Result",
    "Retained",
    "RoundTime",
    "Snr",
    "SolverFailedError",
    "SolverInfo",
    "Stacked",
    "Ste",
    "Stop",
    "StsfloraError",
    "TotalTime",
    "TracePoint",
    "UnknownNameError",
    "Utility",
    "Weighted",
    "evaluate",
    "fading_margin_db",
    "plan_problem",
    "precompile",
    "rayleigh_margin_db",
    "register",
    "repair",
    "solve",
    "solve_many",
    "solve_stacked",
    "solvers",
]
