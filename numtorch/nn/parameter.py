"""Tensors that a module owns: :class:`Parameter` and :class:`Buffer`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtype import get_default_dtype
from ..tensor import Tensor, blank, wrap


class Parameter(Tensor):
    """A tensor that is registered with the module it is assigned to, and trained.

    It shares the memory of ``data``; without ``data`` it is empty.

    Raises RuntimeError where ``requires_grad`` is asked of data that is not floating point.

    >>> import numtorch as torch
    >>> torch.nn.Parameter(torch.zeros(2))
    Parameter containing:
    tensor([0., 0.], requires_grad=True)
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        """A parameter of the memory of ``data``."""
        result = _shared(cls, data)
        return result.requires_grad_(requires_grad)

    def __repr__(self) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that is registered with the module it is assigned to, and not trained.

    It is part of the module's ``state_dict`` if it is ``persistent``.
    """

    persistent: bool = True

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Buffer:
        """A buffer of the memory of ``data``."""
        result = _shared(cls, data)
        result.persistent = persistent
        return result


def _shared(cls: type[Tensor], data: Any) -> Any:
    """A tensor of a class in the memory of another tensor."""
    source = wrap(np.empty(0, get_default_dtype().numpy), get_default_dtype())
    if data is not None:
        source = data.detach()
    result = blank(cls)
    result._array, result.dtype = source._array, source.dtype
    result._version_counter = source._version_counter
    return result
