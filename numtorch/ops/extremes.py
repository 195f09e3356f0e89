"""Rows: the largest and the smallest, their places, and the gradients that go there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numtorch_kernels import argreduce, copying, index, reduce
from numtorch_kernels.calls.callables import Calls
from numtorch_kernels.calls.positions import PositionCalls

from ..autograd.mode import mode
from ..size import Size
from ..tensor import Tensor, normalized_dim
from .arithmetic import maximum, minimum
from .elementwise import pointwise
from .named import named_result
from .reduction import ReductionOp, nonempty, restored, sum
from .signature import must_be_tensor
from .table import Op, op, register_rows

Array = np.ndarray[Any, Any]


_shared = pointwise(
    lambda whole, chosen, count: whole * chosen / count,
    whole=lambda g, chosen, count: g * chosen / count,
)


def _evenly(g: Tensor, x: Tensor, y: Tensor, dim: Any, keepdim: bool) -> Tensor:
    """The gradient shared evenly among the elements that equal the extreme."""
    chosen = x == restored(y, x.shape, dim, keepdim)
    count = sum(chosen, dim, True) if x.ndim else sum(chosen)
    result: Tensor = _shared(restored(g, x.shape, dim, keepdim), chosen, count)
    return result


def _amax(x: Array, dim: Any = (), keepdim: bool = False) -> Array:
    return reduce.amax(x, nonempty("amax", x, dim if dim != () else None), keepdim)


def _amin(x: Array, dim: Any = (), keepdim: bool = False) -> Array:
    return reduce.amin(x, nonempty("amin", x, dim if dim != () else None), keepdim)


amax = ReductionOp(reduce.AMAX, _amax, x=_evenly)
amin = ReductionOp(reduce.AMIN, _amin, x=_evenly)
_max_all = ReductionOp(
    reduce.AMAX,
    lambda x: reduce.amax(x, nonempty("max", x, None)),
    x=lambda g, x, y: _evenly(g, x, y, None, False),
    node="MaxBackward1",
)
_min_all = ReductionOp(
    reduce.AMIN,
    lambda x: reduce.amin(x, nonempty("min", x, None)),
    x=lambda g, x, y: _evenly(g, x, y, None, False),
    node="MinBackward1",
)


def _chosen(g: Tensor, x_shape: Size, indices: Tensor, dim: int, keepdim: bool) -> Tensor:
    """Zeros with g at the indices along a dimension."""
    if not x_shape:
        return g
    g = restored(g, x_shape, dim, keepdim)
    where = restored(indices, x_shape, dim, keepdim)
    gradient = g.new_zeros(x_shape)
    if mode.recording:
        return gradient.scatter(dim, where, g)
    index.scatter(gradient._array, normalized_dim(dim, len(x_shape)), where._array, g._array)
    return gradient


def _must_be_int(name: str, dim: Any) -> None:
    """Raises PyTorch's error where a dimension is no integer."""
    if not isinstance(dim, int | np.integer) or isinstance(dim, bool):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")


def _along(name: str, kernel: Any) -> Any:
    """The forward of a reduction that gives values and indices along one dimension."""

    def forward(x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
        if dim.__class__ is not int:
            _must_be_int(name, dim)
        (axis,) = nonempty(name, x, dim) or (0,)
        if not x.ndim:
            return copying.contiguous(x), np.zeros((), np.int64)
        return kernel(x, axis, keepdim)

    return forward


_max_along = op(
    _along("max", argreduce.max),
    outputs=("values", "indices"),
    pack=named_result("max", "values", "indices"),
    node="MaxBackward0",
    x=_chosen,
)
_min_along = op(
    _along("min", argreduce.min),
    outputs=("values", "indices"),
    pack=named_result("min", "values", "indices"),
    node="MinBackward0",
    x=_chosen,
)


_SPELLINGS = {"axis": "dim", "keepdims": "keepdim"}


def _extreme_function(name: str, whole: Any, along: Any, pairwise: Any) -> Any:
    """``max`` and ``min``, each three functions by what follows the input."""

    def function(input: Tensor, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = {_SPELLINGS.get(key, key): value for key, value in kwargs.items()}
        options = {} if out is None else {"out": out}  # compiled calls know no keywords
        if not isinstance(input, Tensor):
            must_be_tensor(name, "input", 1, input)
        other = kwargs.get("other", args[0] if args else None)
        if isinstance(other, Tensor):
            return pairwise.function(input, other, **options)
        if args or kwargs:
            return along.function(input, *args, **options, **kwargs)
        return whole.function(input, **options)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The {name}imum of all elements; with ``dim``, (values, indices) along it; with another "
        "tensor, element by element."
    )
    return function


def _index_of(name: str, kernel: Any) -> Any:
    def forward(x: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        if dim is None and x.size and x.ndim and x.dtype.kind != "b":
            return kernel(x, None, keepdim)
        if dim is not None:
            _must_be_int(name, dim)
        if x.dtype.kind == "b":
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for 'Bool'")
        if dim is None and not x.size:
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
            )
        axes = nonempty(name, x, dim)
        if not x.ndim:
            return np.zeros((), np.int64)
        return kernel(x, None if dim is None else axes[0], keepdim)

    return forward


class PositionOp(Op):
    """A row for positions of winners: with small tensors it is not asked once a loop is known."""

    def __init__(self, name: str, kernel: Callable[..., Array], wins: Callable[..., Any]) -> None:
        super().__init__(_index_of(name, kernel), {})
        self.wins = wins

    def make_calls(self) -> Calls:
        """What answers calls with small tensors."""
        return PositionCalls()

    def compute(self, arguments: tuple[Any, ...]) -> Tensor:
        """The positions, whose loop is noted."""
        result: Tensor = super().compute(arguments)
        kind = arguments[0].dtype
        if isinstance(self.calls, PositionCalls):
            of_kind = self.wins, kind.numpy
            loops = argreduce.rows_loop(*of_kind), argreduce.columns_loop(*of_kind)
            self.calls.learn(*loops, kind, result.dtype)
        return result


argmax = PositionOp("argmax", argreduce.argmax, argreduce.above)
argmin = PositionOp("argmin", argreduce.argmin, argreduce.below)


FUNCTIONS = {
    "max": _extreme_function("max", _max_all, _max_along, maximum),
    "min": _extreme_function("min", _min_all, _min_along, minimum),
}
METHODS = FUNCTIONS

for _row in (argmax, argmin):
    _row.out_may_cast = False
register_rows(globals())
