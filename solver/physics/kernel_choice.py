"""Choose the implementation of the inner loop: numpy, numba, or both."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from ..errors import MissingDependencyError, OptionError
from .bandwidth import least_area
from .kernel import NUMPY_KERNEL, Kernel, choose_tokens

NUMBA_PAYS: Final = 500
"""Clients up to which numba is faster throughout; `stsflora bench --suite speed` measures it."""


def select_kernel(name: str, clients: int) -> Kernel:
    """The kernel called "numpy" or "numba"; "auto" takes numba for up to `NUMBA_PAYS` clients if installed.

    All give the same answers. numba saves the overhead of many short arrays; on long ones the vector
    instructions of numpy's logarithm are as fast, and "auto" takes the compiled `tangent_sums` alone, which
    needs fewer logarithms.

    Raises:
        OptionError: another name.
        MissingDependencyError: numba is asked for and absent.
    """
    if name not in {"auto", "numpy", "numba"}:
        raise OptionError("kernel", repr(name), "auto, numpy, numba", "Leave it at auto")
    installed = find_spec("numba") is not None
    if name == "numba" and not installed:
        raise MissingDependencyError(
            "kernel='numba'",
            "no package numba",
            "an installation with numba",
            'Run pip install "stsflora[fast]"',
        )
    if name == "numpy" or not installed:
        return NUMPY_KERNEL
    from . import compiled

    if name == "auto" and clients > NUMBA_PAYS:
        return Kernel("numpy and numba", least_area, choose_tokens, None, compiled.tangent_sums)
    return Kernel(
        "numba", compiled.least_area, compiled.choose_tokens, compiled.total_and_slope, compiled.tangent_sums
    )
