"""Private parts of torch that have no public counterpart: the one file to mend when torch changes.

Tested with torch 2.14. Relied on:

- `nn.Module` keeps its children, parameters and buffers in `_modules`, `_parameters` and `_buffers`;
- `TorchDispatchMode` sees every operation on tensors, `tree_iter` walks through what it returns;
- a storage's `_cdata` is its address, on the meta device too.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def with_children(
    module: AnyModule, children: Mapping[str, nn.Module], *, own_parameters: bool = True
) -> AnyModule:
    """A second view of a module with some children replaced; all else is shared, parameters included.

    Args:
        module: left as it is.
        children: by name.
        own_parameters: whether the view holds the parameters that are the module's own, not a child's.
    """
    view = copy.copy(module)
    view._modules = {**module._modules, **children}
    view._parameters = dict(module._parameters) if own_parameters else {}
    view._buffers = dict(module._buffers)
    return view


class LivingTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's metaclass has no types
    """Peak memory of tensors, counted operation by operation: `with LivingTensors(weights) as living:`.

    Works on the meta device too, where nothing is computed.

    Args:
        already: tensors that live when it opens.

    Attributes:
        now: bytes of all storages that live.
        peak: the most that lived at once, temporaries within one operation not included.
    """

    def __init__(self, already: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.now = self.peak = 0
        self._living: set[int] = set()
        for tensor in already:
            self._add(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        for value in tree_iter(made):
            if isinstance(value, Tensor):
                self._add(value)
        return made

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address not in self._living:
            self._living.add(address)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, address, storage.nbytes())

    def _remove(self, address: int, size: int) -> None:
        self._living.discard(address)
        self.now -= size
