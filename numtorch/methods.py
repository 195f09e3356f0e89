"""Attaches the table's operations to :class:`Tensor`: methods, operators and in-place twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numtorch_kernels.calls import holders, recording
from numtorch_kernels.calls.callables import SWAPPED

from . import creation, legacy, random
from .autograd import calls
from .autograd.graph import numbers
from .autograd.mode import mode
from .autograd.saved import SavedResult
from .dtype import DTYPES
from .ops import METHODS
from .ops.apply import OpNode, apply, apply_inplace
from .ops.table import TABLE, Recipe
from .ops.views import refresh_view
from .size import Size
from .tensor import Tensor, Version, View, wrap

_NUMBERS = (Tensor, int, float, np.generic)


def _binary(name: str) -> Callable[[Tensor, Any], Any]:
    """The operator of a row with two inputs."""
    row = TABLE[name]

    def operator(self: Tensor, other: Any) -> Any:
        if isinstance(other, _NUMBERS):
            return apply(row, (self, other))
        return NotImplemented

    return row.entry(operator)


def _reflected(name: str) -> Callable[[Tensor, Any], Any]:
    """The operator for a tensor on the right of a number."""
    row = TABLE[name]

    def operator(self: Tensor, other: Any) -> Any:
        if isinstance(other, _NUMBERS):
            return apply(row, (other, self))
        return NotImplemented

    return row.entry(operator, form=SWAPPED)


def _inplace(name: str) -> Callable[[Tensor, Any], Any]:
    row = TABLE[name]

    def operator(self: Tensor, other: Any) -> Any:
        if isinstance(other, _NUMBERS):
            return apply_inplace(row, (self, other))
        return NotImplemented

    return row.entry(operator, inplace=True)


def _unary(name: str) -> Callable[[Tensor], Any]:
    row = TABLE[name]
    return row.entry(lambda self: apply(row, (self,)))


OPERATORS = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "truediv": "div",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "pow",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
    "matmul": "matmul",
}
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
UNARY = {"neg": "neg", "pos": "positive", "abs": "abs", "invert": "bitwise_not"}


def _attach_operators() -> None:
    for python, name in OPERATORS.items():
        if name in TABLE:
            setattr(Tensor, f"__{python}__", _binary(name))
            setattr(Tensor, f"__r{python}__", _reflected(name))
            setattr(Tensor, f"__i{python}__", _inplace(name))
    for name in (*COMPARISONS, "rsub"):
        setattr(Tensor, f"__{name}__", _binary(name))
    for python, name in UNARY.items():
        setattr(Tensor, f"__{python}__", _unary(name))


def _primitive(self: Tensor, name: str, operands: tuple[Any, ...]) -> Any:
    """The row of a scalar function, for derivative rules that are called on tensors."""
    row = TABLE.get(name) or TABLE["_" + name]
    if not getattr(row, "numbers", ()):  # it takes tensors alone
        operands = tuple(
            x if isinstance(x, Tensor) else wrap(np.asarray(x, self.dtype.numpy), self.dtype)
            for x in operands
        )
    return row(*operands)


def attach() -> None:
    """Gives tensors a method and an in-place twin for every row of the table."""
    for methods in (METHODS, *(module.METHODS for module in (calls, creation, legacy, random))):
        for name, method in methods.items():
            if name not in vars(Tensor):
                setattr(Tensor, name, method)
    for name, row in TABLE.items():
        if name + "_" not in vars(Tensor):
            setattr(Tensor, name + "_", row.inplace)
    Tensor._refresh_view = refresh_view  # type: ignore[attr-defined]
    Tensor.__primitive__ = _primitive  # type: ignore[attr-defined]
    _attach_operators()
    kinds = [(each.numpy, each) for each in DTYPES]
    holders.describe(Tensor, View, Version, kinds, mode)
    recording.describe_nodes(OpNode, Recipe, SavedResult, Size, numbers)
