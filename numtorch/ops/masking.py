"""Rows: masks, positions in C order, and writing to what would be a view."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from numtorch_kernels import copying
from numtorch_kernels import index as kernels
from numtorch_kernels.calls.callables import SWAPPED

from ..dtype import ALIASES, type_name
from ..size import Size
from ..tensor import Tensor, normalized_dim, wrap_array
from .apply import scalar_type
from .arithmetic import remainder, where
from .gathering import by_value, c_name, check_single, gather, number_like, zeros
from .shaping import broadcast_shape
from .signature import must_be_tensor
from .table import Update, op, register_rows
from .views import diagonal, select, slice_

Array = np.ndarray[Any, Any]

_INT64 = np.dtype(np.int64)

# ---------------------------------------------------------------------- masks


def _fill_mask(x: Array, mask: Array, value: Any, out: Array | None = None) -> Array:
    if mask.dtype != np.bool_:
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            f"{_C_TYPES.get(mask.dtype.name, mask.dtype.name)}"
        )
    check_single("masked_fill_", value)
    if not isinstance(value, int | float | np.generic | np.ndarray):
        raise TypeError(
            f"masked_fill(): argument 'value' (position 2) must be Number, "
            f"not {type_name(type(value))}"
        )
    shape = x.shape if mask.shape == x.shape else broadcast_shape([mask.shape, x.shape])
    if out is not None and shape != out.shape:
        raise RuntimeError(
            f"output with shape {list(out.shape)} doesn't match the broadcast shape {list(shape)}"
        )
    return kernels.masked_fill(x, mask, number_like(x, value), out)


_C_TYPES = {
    "float32": "float", "float64": "double", "uint8": "unsigned char", "int8": "signed char",
    "int16": "short", "int32": "int", "int64": "long",
}  # fmt: skip


class MaskedFill(Update):
    """A row that fills in place, or broadcasts to a new tensor."""

    def _changed(self, x: Array, mask: Array, value: Any) -> Array:
        return _fill_mask(x, mask, value)


masked_fill = MaskedFill(
    lambda x, mask, value: _fill_mask(x, mask, value, x),
    {
        "x": lambda g, x_shape, mask: g.masked_fill(mask, 0).sum_to_size(x_shape),
        "value": lambda g, mask: where(mask, g, 0).sum(),
    },
    node=by_value("MaskedFill", 2),
)


def _masked_select(x: Array, mask: Array) -> Array:
    if mask.dtype != np.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    broadcast_shape([mask.shape, x.shape])
    return kernels.masked_select(x, mask)


def _unselected(g: Tensor, x_shape: Size, mask: Tensor) -> Tensor:
    shape = broadcast_shape([x_shape, mask._array.shape])
    return zeros(g, shape).masked_scatter_(mask, g).sum_to_size(x_shape)


def _masked_scatter(x: Array, mask: Array, source: Array) -> None:
    if mask.dtype != np.bool_:
        raise RuntimeError(
            f"masked_scatter_ only supports boolean masks, but got mask with dtype {c_name(mask)}"
        )
    if x.dtype != source.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got"
            f"{c_name(x)} and {c_name(source)}"
        )
    shape = broadcast_shape([x.shape, mask.shape])
    if shape != x.shape:
        raise RuntimeError(
            f"output with shape {list(x.shape)} doesn't match the broadcast shape {list(shape)}"
        )
    cover = np.broadcast_to(mask, x.shape)
    if kernels.positions(cover).size > source.size:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    kernels.masked_scatter(x, cover, source)


class MaskedScatter(Update):
    """A row that writes in place, or to a copy broadcast to the mask."""

    def _changed(self, x: Array, mask: Array, source: Array) -> Array:
        target = copying.contiguous(np.broadcast_to(x, broadcast_shape([x.shape, mask.shape])))
        self._forward(target, mask, source)
        return target


def _selected_source(g: Tensor, mask: Tensor, source_shape: Size) -> Tensor:
    taken = masked_select.function(g, mask)
    flat = zeros(g, (prod(source_shape),))
    flat[: taken._array.size] = taken
    return flat.reshape(source_shape)


masked_select = op(_masked_select, x=_unselected)
masked_scatter = MaskedScatter(
    _masked_scatter,
    {
        "x": lambda g, x_shape, mask: g.masked_fill(mask, 0).sum_to_size(x_shape),
        "source": _selected_source,
    },
)

# ---------------------------------------------------------------------- positions in C order


def _check_positions(function: str, x: Array, index: Array) -> Array:
    if index.dtype != _INT64:
        raise RuntimeError(
            f"{function}(): Expected a long tensor for index, but got {c_name(index)}"
        )
    bad = kernels.out_of_range(index, -x.size, x.size)
    if bad is not None:
        raise IndexError(
            f"out of range: tried to access index {bad} on a tensor of {x.size} elements."
        )
    return index


def _take(x: Array, index: Array) -> Array:
    return kernels.take(x, _check_positions("take", x, index))


def _put(x: Array, index: Array, source: Array, accumulate: bool = False) -> None:
    if x.dtype != source.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{c_name(x)} and source.dtype = {c_name(source)}"
        )
    if source.size != index.size:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.size}, index.numel() = {index.size}"
        )
    kernels.put(x, _check_positions("put_", x, index), source, accumulate)


take = op(_take, x=lambda g, x_shape, index: zeros(g, x_shape).put_(index, g, accumulate=True))
put = Update(
    _put,
    {
        "x": lambda g, index, accumulate: (
            g if accumulate else g.put(index, zeros(g, index._array.shape))
        ),
        "source": lambda g, index, source_shape: g.take(index).reshape(source_shape),
    },
)


def take_along_dim(
    input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The elements along a dimension at indices, which broadcast against the other dimensions.

    Without ``dim``, of the elements in C order.
    """
    if indices.dtype is not ALIASES["int64"]:
        raise RuntimeError(
            "torch.take_along_dim(): dtype of indices should be Long but got "
            f"{scalar_type(indices.dtype)}"
        )
    if dim is None:
        flat, places = input.reshape(-1), indices.reshape(-1)
        return gather.function(flat, 0, places, out=out)
    ndim = input._array.ndim
    if indices._array.ndim != ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {ndim} dimensions for input, and {indices._array.ndim} dimensions for indices"
        )
    axis = normalized_dim(dim, ndim)
    pairs = [list(each._array.shape) for each in (input, indices)]
    lengths = [shape.pop(axis) if shape else 1 for shape in pairs]
    common = list(broadcast_shape(pairs))
    shapes = [(*common[:axis], n, *common[axis:]) if ndim else () for n in lengths]
    wide = input.expand(shapes[0])
    places = remainder.function(indices, lengths[0]).expand(shapes[1])
    return gather.function(wide, axis, places, out=out)


# ---------------------------------------------------------------------- where elements are not 0


def _nonzero_columns(x: Tensor) -> tuple[Tensor, ...]:
    array = x._array if x._array.ndim else x._array.reshape(1)
    return tuple(wrap_array(copying.contiguous(each)) for each in kernels.nonzero(array).T)


_nonzero = op(kernels.nonzero)


def nonzero(input: Tensor, *, out: Tensor | None = None, as_tuple: bool = False) -> Any:
    """Where elements are not 0: int64[n, ndim], or with ``as_tuple`` one tensor per dimension."""
    if as_tuple:
        return _nonzero_columns(input)
    return _nonzero.function(input, out=out)


def argwhere(input: Tensor) -> Tensor:
    """Where elements are not 0: int64[n, ndim]."""
    return _nonzero.function(input)


def where_(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """``input`` where the condition is true, else ``other``; they broadcast.

    Of the condition alone, where it is true: one tensor of indices per dimension.
    """
    if input is None and other is None:
        return _nonzero_columns(condition)
    if not isinstance(condition, Tensor):
        must_be_tensor("where", "condition", 1, condition)
    if condition.dtype.name != "bool":
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{scalar_type(condition.dtype)}"
        )
    if input is None or other is None:
        raise TypeError(
            "where() received an invalid combination of arguments - got (Tensor, Tensor)"
        )
    return where.function(condition, input, other, out=out)


def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """The tensor where the condition is true, else ``other``."""
    return where_(condition, self, other)


# ---------------------------------------------------------------------- views' counterparts


def _scatter_part(view: Callable[..., Array]) -> Callable[..., None]:
    """A function that writes to a view."""

    def change(x: Array, src: Array, *where: Any) -> None:
        part = view(x, *where)
        if part.shape != src.shape:
            raise RuntimeError(
                "expected src to have a size equal to the slice of self. src size = "
                f"{list(src.shape)}, slice size = {list(part.shape)}"
            )
        copying.copy_into(part, src)

    return change


def _write_select(x: Array, src: Array, dim: int, index: int) -> None:
    _scatter_part(select._forward)(x, src, dim, index)


def _write_slice(
    x: Array,
    src: Array,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> None:
    _scatter_part(slice_._forward)(x, src, dim, start, end, step)


def _sliced(g: Tensor, dim: int, start: int | None, end: int | None, step: int) -> Tensor:
    return slice_.function(g, dim, start, end, step)


def _write_diagonal(x: Array, src: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> None:
    _scatter_part(diagonal._forward)(x, src, offset, dim1, dim2)


select_scatter = Update(
    _write_select,
    {
        "x": lambda g, src_shape, dim, index: g.select_scatter(zeros(g, src_shape), dim, index),
        "src": lambda g, dim, index: g.select(dim, index),
    },
)
slice_scatter = Update(
    _write_slice,
    {
        "x": lambda g, src_shape, dim, start, end, step: g.slice_scatter(
            zeros(g, src_shape), dim, start, end, step
        ),
        "src": _sliced,
    },
)
diagonal_scatter = Update(
    _write_diagonal,
    {
        "x": lambda g, src_shape, offset, dim1, dim2: g.diagonal_scatter(
            zeros(g, src_shape), offset, dim1, dim2
        ),
        "src": lambda g, offset, dim1, dim2: g.diagonal(offset, dim1, dim2),
    },
)

for row in (masked_select, take):
    row.out_may_share = False
register_rows(globals())

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "take_along_dim": take_along_dim,
    "nonzero": nonzero,
    "argwhere": argwhere,
    "where": where.entry(where_, is_method=False),
}
METHODS: dict[str, Callable[..., Any]] = FUNCTIONS | {
    "where": where.entry(_where_method, form=SWAPPED),
}
