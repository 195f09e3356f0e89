"""Rows: reading and writing at positions along a dimension that tensors hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numtorch_kernels import copying, picking
from numtorch_kernels import index as kernels

from ..dtype import from_numpy_dtype
from ..tensor import Tensor, normalized_dim, wrap_array
from .apply import scalar_type
from .arithmetic import eq, mul, where
from .conversion import copy_of, number_array
from .indexing import in_range
from .signature import must_be_tensor, unexpected
from .table import Update, op, register_rows

Array = np.ndarray[Any, Any]

_INT64 = np.dtype(np.int64)


def c_name(x: Array) -> str:
    """PyTorch's C++ name of an array's dtype."""
    return scalar_type(from_numpy_dtype(x.dtype))


def zeros(g: Tensor, shape: Sequence[int]) -> Any:
    """Zeros of a gradient's dtype."""
    return g.new_zeros(shape)


def _int64(index: Array) -> Array:
    return index if index.dtype == _INT64 else copying.contiguous(index, _INT64)


def _check_range(index: Array, axis: int, size: int, prefix: str = "") -> None:
    bad = kernels.out_of_range(index, 0, size)
    if bad is not None:
        raise RuntimeError(
            f"{prefix}index {bad} is out of bounds for dimension {axis} with size {size}"
        )


def number_like(x: Array, value: Any) -> Array:
    """A number, or an array of one, as a 0-d array of x's dtype."""
    return number_array(value, from_numpy_dtype(x.dtype))


# ---------------------------------------------------------------------- gather and scatter


def _checked_index(function: str, x: Array, dim: int, index: Array, what: str) -> tuple[int, Array]:
    """The axis, and the index as int64, of a gather or scatter."""
    axis = normalized_dim(dim, x.ndim)
    if index.size and index.dtype.name not in ("int64", "int32"):
        raise RuntimeError(f"{function}(): Expected dtype int32/int64 for index")
    if index.size and max(index.ndim, 1) != max(x.ndim, 1):
        raise RuntimeError(f"Index tensor must have the same number of dimensions as {what} tensor")
    return axis, _int64(index)


def _fits(index: Array, shape: Sequence[int], axis: int) -> bool:
    """Whether an index is no larger than a shape apart from an axis."""
    return all(
        n <= m for at, (n, m) in enumerate(zip(index.shape, shape, strict=False)) if at != axis
    )


def _gather(x: Array, dim: int, index: Array, *, sparse_grad: bool = False) -> Array:
    few = picking.gather(x, normalized_dim(dim, x.ndim), index)
    if few is not None:
        return few
    axis, index = _checked_index("gather", x, dim, index, "input")
    if not index.size:
        return np.empty(index.shape, x.dtype)
    if not _fits(index, x.shape, axis):
        raise RuntimeError(
            f"Size does not match at dimension {_misfit(index, x.shape, axis)} expected index "
            f"{list(index.shape)} to be no larger than self {list(x.shape)} apart from dimension "
            f"{axis}"
        )
    _check_range(index, axis, x.shape[axis] if x.ndim else 1)
    if not x.ndim and index.ndim:
        return kernels.gather(x.reshape(1), 0, index)
    return kernels.gather(x, axis, index if x.ndim == index.ndim else index.reshape(x.shape or ()))


def _misfit(index: Array, shape: Sequence[int], axis: int) -> int:
    return next(
        at for at, (n, m) in enumerate(zip(index.shape, shape, strict=True)) if at != axis and n > m
    )


def _scatter_into(how: str) -> Callable[..., None]:
    """A function that combines what it is given into x along a dimension."""

    def change(x: Array, dim: int, index: Array, src: Any) -> None:
        axis, index = _checked_index("scatter", x, dim, index, "self")
        if not index.size:
            return
        values = src if isinstance(src, np.ndarray) else number_like(x, src)
        _check_source(x, axis, index, values, isinstance(src, np.ndarray))
        _check_range(index, axis, x.shape[axis] if x.ndim else 1)
        kernels.scatter(x, axis, index, values, how)

    return change


def _check_source(x: Array, axis: int, index: Array, values: Array, given: bool) -> None:
    if given and values.dtype != x.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if given and values.ndim != index.ndim and max(values.ndim, 1) != max(index.ndim, 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    small = not given or all(n <= m for n, m in zip(index.shape, values.shape, strict=False))
    if not _fits(index, x.shape, axis) or not small:
        source = f" and to be no larger size than src {list(values.shape)}" if given else ""
        raise RuntimeError(
            f"Expected index {list(index.shape)} to be no larger than self {list(x.shape)} apart "
            f"from dimension {axis}{source}"
        )


def _gathered(g: Tensor, dim: int, index: Tensor, src_shape: Sequence[int]) -> Tensor:
    """The gradient of a scatter's source, which may be larger than the index."""
    part = gather.function(g, dim, index)
    if part._array.shape == tuple(src_shape):
        return part
    whole = zeros(g, src_shape)
    whole[tuple(slice(n) for n in part._array.shape)] = part
    return whole


gather = op(
    _gather,
    x=lambda g, x_shape, dim, index: zeros(g, x_shape).scatter_add_(dim, index, g),
)
_scatter = Update(
    _scatter_into("assign"),
    {"x": lambda g, dim, index: g.scatter(dim, index, 0), "src": _gathered},
    node=lambda x, dim, index, src: (
        "ScatterBackward0" if isinstance(src, Tensor) else "ScatterBackward1"
    ),
)
_scatter_added = Update(_scatter_into("sum"), {})
_scatter_multiplied = Update(_scatter_into("prod"), {})
scatter_add = Update(
    _scatter_into("sum"),
    {"x": lambda g: g, "src": _gathered},
    check=lambda x, dim, index, src: (
        None if isinstance(src, Tensor) else must_be_tensor("scatter_add", "src", 3, src)
    ),
)

_MISSING: Any = object()


def _scatter_call(inplace: bool) -> Callable[..., Tensor]:
    def scatter(
        input: Tensor,
        dim: int,
        index: Tensor,
        src: Any = _MISSING,
        *,
        value: Any = _MISSING,
        reduce: str | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Writes a number, or the elements of ``src``, to the positions along a dimension in index.

        ``reduce`` is None, "add" or "multiply".
        """
        given = src if value is _MISSING else value
        if given is _MISSING:
            raise TypeError('scatter() missing 1 required positional arguments: "src"')
        if value is not _MISSING and isinstance(value, Tensor):
            given = value.item()
        if reduce not in (None, "add", "multiply"):
            raise RuntimeError("reduce argument must be either add or multiply.")
        if reduce is not None and isinstance(given, Tensor):
            warnings.warn(
                "The reduce argument of torch.scatter with Tensor src is deprecated and will be "
                "removed in a future PyTorch release. Use torch.scatter_reduce instead for more "
                "reduction options.",
                stacklevel=2,
            )
        row = {None: _scatter, "add": _scatter_added, "multiply": _scatter_multiplied}[reduce]
        if not inplace:
            return row.function(input, dim, index, given, out=out)
        if out is not None:
            unexpected("scatter_", "out")
        return row.inplace(input, dim, index, given)

    scatter.__name__ = scatter.__qualname__ = "scatter_" if inplace else "scatter"
    return scatter


# ---------------------------------------------------------------------- scatter_reduce

_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def _scatter_reduce(
    x: Array, dim: int, index: Array, src: Array, reduce: str, *, include_self: bool = True
) -> None:
    if reduce not in _REDUCTIONS:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    axis, index = _checked_index("scatter", x, dim, index, "self")
    if not index.size:
        return
    _check_source(x, axis, index, src, True)
    _check_range(index, axis, x.shape[axis] if x.ndim else 1)
    if not x.ndim:
        x, index, src = x.reshape(1), index.reshape(1), src.reshape(1)
    kernels.scatter_reduce(x, axis, index, src, reduce, include_self)


def _without_scattered(grad: Tensor, dim: int, index: Tensor, include_self: bool) -> Tensor:
    return grad if include_self else grad.scatter(dim, index, 0)


def _shares(
    x: Tensor, y: Tensor, dim: int, index: Tensor, src: Tensor, include_self: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Which elements of x and src are the extremum of their place, and how many of those it has."""
    x_is = eq.function(x, y).to(y.dtype)
    x_is = _without_scattered(x_is, dim, index, include_self)
    src_is = eq.function(_cut(src, index), gather.function(y, dim, index)).to(y.dtype)
    return x_is, src_is, scatter_add.function(x_is, dim, index, src_is)


def _cut(src: Any, index: Tensor) -> Any:
    """The part of src that an index covers."""
    if src._array.shape == index._array.shape:
        return src
    return src[tuple(slice(n) for n in index._array.shape)]


def _uncut(part: Tensor, shape: Sequence[int]) -> Tensor:
    """A part of src among zeros, back in src's shape."""
    if part._array.shape == tuple(shape):
        return part
    whole = zeros(part, shape)
    whole[tuple(slice(n) for n in part._array.shape)] = part
    return whole


def _count(g: Tensor, dim: int, index: Tensor, include_self: bool) -> Tensor:
    """How many values went into each place, at least 1."""
    ones = zeros(g, index._array.shape) + 1
    counts = (zeros(g, g._array.shape) + include_self).scatter_add_(dim, index, ones)
    return counts.masked_fill(counts == 0, 1)


def _scatter_reduce_x(
    g: Any, x: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool, y: Any
) -> Tensor:
    if reduce == "sum":
        grad = g
    elif reduce == "mean":
        grad = g / _count(g, dim, index, include_self)
    elif reduce == "prod":
        ones = zeros(g, x._array.shape) + 1
        grad = g * scatter_reduce(ones, dim, index, src, "prod", include_self=include_self)
    else:
        x_is, _, shares = _shares(x, y, dim, index, src, include_self)
        return x_is * (g / where(eq(shares, 0), 1, shares))
    return _without_scattered(grad, dim, index, include_self)


def _scatter_reduce_src(
    g: Any, x: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool, y: Any
) -> Tensor:
    if reduce == "sum":
        grad = gather.function(g, dim, index)
    elif reduce == "mean":
        grad = gather.function(g / _count(g, dim, index, include_self), dim, index)
    elif reduce == "prod":
        grad = _prod_src(g, x, dim, index, _cut(src, index), include_self, y)
    else:
        _, src_is, shares = _shares(x, y, dim, index, src, include_self)
        grad = src_is * gather.function(g / shares, dim, index)
    return _uncut(grad, src._array.shape)


def _prod_src(g: Tensor, x: Any, dim: int, index: Any, src: Any, include_self: bool, y: Any) -> Any:
    """The product of all but one factor: exact also where one of them is 0."""
    zero = src == 0
    zeros_at = zeros(g, g._array.shape).scatter_add_(dim, index, zero.to(g.dtype))
    alone = zero & (zeros_at.gather(dim, index) == 1)
    without = src.masked_fill(alone, 1)
    others = scatter_reduce(x, dim, index, without, "prod", include_self=include_self)
    return where(
        alone,
        (g * others).gather(dim, index),
        (g * y).gather(dim, index) / src.masked_fill(zero, 1) * (~zero).to(g.dtype),
    )


scatter_reduce = Update(
    _scatter_reduce,
    {"x": _scatter_reduce_x, "src": _scatter_reduce_src},
)

# ---------------------------------------------------------------------- parts along a dimension


def _vector(index: Array) -> Array:
    return _int64(index.reshape(-1))


def _index_select(x: Array, dim: int, index: Array) -> Array:
    axis = normalized_dim(dim, x.ndim)
    few = picking.select(x, axis, index) if x.ndim and index.ndim == 1 else None
    if few is not None:
        return few
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if index.dtype.name not in ("int64", "int32"):
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    if not x.ndim and index.size != 1:
        raise RuntimeError(
            f"index_select(): Index to scalar can have only 1 value, got {index.size} value(s)"
        )
    places = _vector(index)
    if kernels.out_of_range(places, 0, x.shape[axis] if x.ndim else 1) is not None:
        raise IndexError("index out of range in self")
    return kernels.index_select(x, axis, places) if x.ndim else copy_of(x)


def _check_parts(x: Array, axis: int, index: Array, source: Array) -> None:
    """Raises index_add's errors."""
    if index.ndim > 1:
        raise IndexError(
            f"index_add_(): Index is supposed to be a vector, but got dim: {index.ndim} with type: "
            f"{c_name(index)} and size: {list(index.shape)}"
        )
    if index.dtype.name not in ("int64", "int32"):
        raise RuntimeError(
            f"index_add_(): Expected dtype int32/int64 for index but got: {c_name(index)}"
        )
    if source.dtype != x.dtype:
        raise RuntimeError(
            f"index_add_(): self ({c_name(x)}) and source ({c_name(source)}) must have the same "
            "scalar type"
        )
    length = source.shape[axis] if source.ndim else 1
    if index.size != length:
        raise RuntimeError(
            f"index_add_(): Number of indices ({index.size}) should be equal to "
            f"source.size(dim): ({length}), for dim: {axis}"
        )
    if _outside(x, axis) != _outside(source, axis) and x.ndim and source.ndim:
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. "
            f"Got self.shape = {list(x.shape)} source.shape = {list(source.shape)}"
        )


def _outside(x: Array, axis: int) -> tuple[int, ...]:
    """The sizes of all dimensions but one."""
    return x.shape[:axis] + x.shape[axis + 1 :]


def _index_add(x: Array, dim: int, index: Array, source: Array, *, alpha: Any = 1) -> None:
    axis = normalized_dim(dim, x.ndim)
    _check_parts(x, axis, index, source)
    places = _vector(index)
    if x.ndim > 1:
        _check_range(places, axis, x.shape[axis])
    elif kernels.out_of_range(places, 0, x.size) is not None:
        raise IndexError("index out of range in self")
    if alpha != 1:
        source = multiplied(source, alpha)
    if x.ndim and not source.ndim:
        source = source.reshape((1,) * x.ndim)
    kernels.index_add(x, axis, places, source)


def multiplied(x: Array, number: Any) -> Array:
    """An array times a number, in the array's dtype."""
    product = mul.function(wrap_array(x), number)._array
    return product if product.dtype == x.dtype else copying.contiguous(product, x.dtype)


def _index_copy(x: Array, dim: int, index: Array, source: Array) -> None:
    axis = normalized_dim(dim, x.ndim)
    if index.ndim > 1:
        raise IndexError(f"index_copy_(): Index should have dimension 1 or 0 (got {index.ndim})")
    if index.dtype != _INT64:
        raise RuntimeError(
            f"index_copy_(): Expected a long tensor for index, but got {c_name(index)}"
        )
    if source.dtype != x.dtype:
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{c_name(x)} and (source) {c_name(source)}"
        )
    if not source.ndim and index.size != 1:
        raise IndexError(
            "index_copy_(): When source is scalar, index should have one element "
            f"(got {index.size})"
        )
    if source.ndim != x.ndim and source.ndim and x.ndim:
        raise IndexError(
            "index_copy_(): When source and destination are not scalars, their dimensionality must "
            f"match. Source dimensionality ({source.ndim}), destination dimensionality ({x.ndim})"
        )
    if source.ndim and x.ndim and _outside(x, axis) != _outside(source, axis):
        raise RuntimeError(
            "index_copy_(): Source/destination tensor must have same slice shapes. Destination "
            f"slice shape: {' '.join(map(str, _outside(x, axis)))} at dimension {axis} and source "
            f"slice shape: {' '.join(map(str, _outside(source, axis)))} at dimension 0."
        )
    length = source.shape[axis] if source.ndim else 1
    if index.size != length:
        raise IndexError(
            f"index_copy_(): Number of indices ({index.size}) should be equal to "
            f"source.size(dim) ({length})"
        )
    places = _vector(index)
    size = x.shape[axis] if x.ndim else 1
    bad = kernels.out_of_range(places, 0, size)
    if bad is not None:
        raise IndexError(
            f"index_copy_(): index {bad} is out of bounds for dimension {axis} with size {size}"
        )
    kernels.index_copy(x, axis, places, source)


def _index_fill(x: Array, dim: int, index: Array, value: Any) -> None:
    axis = normalized_dim(dim, x.ndim)
    if index.dtype != _INT64:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if index.ndim > 1:
        raise RuntimeError("Index has to be a vector/scalar")
    check_single("index_fill_", value)
    places = in_range(_vector(index), x.shape[axis] if x.ndim else 1, axis)
    kernels.index_fill(x, axis, places, number_like(x, value))


def check_single(function: str, value: Any) -> None:
    """Refuses a value that is a tensor with dimensions."""
    if isinstance(value, np.ndarray) and value.ndim:
        raise RuntimeError(
            f"{function} only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.ndim} dimension(s)."
        )


def by_value(stem: str, position: int) -> Callable[..., str]:
    """What names a node by whether an argument is a tensor."""
    return lambda *arguments: f"{stem}Backward{int(isinstance(arguments[position], Tensor))}"


index_select = op(
    _index_select,
    x=lambda g, x_shape, dim, index: zeros(g, x_shape).index_add_(dim, index, g),
)
index_add = Update(
    _index_add,
    {
        "x": lambda g: g,
        "source": lambda g, dim, index, source_shape, alpha: (
            g.index_select(dim, index).expand(source_shape) * alpha
            if source_shape else g.index_select(dim, index).reshape(()) * alpha
        ),
    },
)  # fmt: skip
index_copy = Update(
    _index_copy,
    {
        "x": lambda g, dim, index: g.index_fill(dim, index, 0),
        "source": lambda g, dim, index, source_shape: g.index_select(dim, index).reshape(
            source_shape
        ),
    },
)
index_fill = Update(
    _index_fill,
    {
        "x": lambda g, dim, index: g.index_fill(dim, index, 0),
        "value": lambda g, dim, index: (g - g.index_fill(dim, index, 0)).sum(),
    },
    node=by_value("IndexFill", 3),
)

for row in (gather, index_select):
    row.out_may_share = False
gather.out_may_cast = False
register_rows(globals())

FUNCTIONS: dict[str, Callable[..., Any]] = {"scatter": _scatter_call(inplace=False)}
METHODS: dict[str, Callable[..., Any]] = {
    "scatter": _scatter_call(inplace=False),
    "scatter_": _scatter_call(inplace=True),
}
