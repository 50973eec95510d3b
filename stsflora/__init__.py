"""Token, bandwidth and power allocation for wireless split federated learning, with a proved gap.

>>> import stsflora
>>> problem = stsflora.Problem(
...     gain=[1e-9, 2e-10], importance=[[0.6, 0.3, 0.1], [0.5, 0.4, 0.1]], bits_per_token=1e6,
...     bandwidth_hz=1e6, max_power_w=0.2, max_energy_j=1.0, overhead_s=0.2,
... )
>>> result = stsflora.solve(problem)
>>> result.quality, result.evaluation.feasible
(<Quality.OPTIMAL: 'optimal'>, True)
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .solver import Problem as Problem
    from .solver import evaluate as evaluate
    from .solver import solve as solve

    __version__: str

__all__ = ["Problem", "__version__", "evaluate", "solve"]

if __name__ != "stsflora":
    raise ImportError("stsflora is found inside itself, as its checkout's folders are; import stsflora")
_here = Path(__file__).parent
if not (_here / "solver").is_dir():  # in a checkout the parts lie beside this folder
    __path__.append(str(_here.parent))


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("stsflora")
    if name in __all__:
        return getattr(import_module(".solver", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
