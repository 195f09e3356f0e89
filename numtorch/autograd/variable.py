"""The old name of tensors that are part of the graph."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor, wrap


class _VariableMeta(type):
    def __instancecheck__(cls, other: Any) -> bool:
        return isinstance(other, Tensor)


class Variable(metaclass=_VariableMeta):
    """``Variable(tensor, requires_grad=False)`` gives a tensor of the same memory.

    Every tensor is an instance of it.
    """

    def __new__(cls, data: Tensor, requires_grad: bool = False) -> Any:
        """A tensor of the same memory, outside the graph."""
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return wrap(data._array, data.dtype).requires_grad_(requires_grad)
