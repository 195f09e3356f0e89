"""Rows: views, which share the memory of their input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided as strided

from numtorch_kernels import copying, memory
from numtorch_kernels.calls.callables import Calls
from numtorch_kernels.calls.shapes import ShapeCalls

from ..autograd.inplace import CopySlices, move, refuse_change
from ..autograd.mode import mode
from ..dtype import ALIASES, TENSOR_TYPES, dtype, float32
from ..size import Size
from ..tensor import Tensor, View, normalized_dim, wrap, wrap_array
from .apply import record, scalar_type, write
from .table import Op, Rule, register_rows

Array = np.ndarray[Any, Any]


class ViewOp(Op):
    """A row whose forward gives views of its first argument's memory."""

    def attach(self, source: Tensor, results: Sequence[Tensor]) -> None:
        """Notes on each result what it is a view of."""
        view, counter = source._view, source._version_counter
        base, kind = (source, "") if view is None else (view.base, view.kind)
        if counter is None:
            counter = source._shared_version()
        if not kind and len(results) > 1:
            kind = "multiple"
        if not mode.recording and not mode.inference:
            kind = "no_grad"
        for result in results:
            result._version_counter = counter
            result._view = View(base, kind, counter.number)


class ShapeOp(ViewOp):
    """A row that makes views in another shape, of which compiled calls know the plain ones."""

    def make_calls(self) -> Calls:
        """What answers calls with tensors without gaps, and calls the forward with others."""
        return self.forward_calls(ShapeCalls)


def view_of(
    forward: Callable[..., Any],
    *,
    node: str | Callable[..., str] | None = None,
    check: Callable[..., None] | None = None,
    **rules: Rule,
) -> ViewOp:
    """A row that makes views."""
    return ViewOp(forward, rules, node=node, check=check)


# ---------------------------------------------------------------------- strides


def extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """How many elements from the first to the last that a view visits."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))


def _check_strided(
    size: Sequence[int], stride: Sequence[int], offset: int, held: int, itemsize: int
) -> None:
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(step < 0 for step in stride):
        raise RuntimeError(
            "as_strided: Negative strides are not supported at the moment, "
            f"got strides: {list(stride)}"
        )
    if 0 not in size and (offset < 0 or offset + extent(size, stride) > held):
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and "
            f"itemsize {itemsize} requiring a storage size of "
            f"{(offset + extent(size, stride)) * itemsize} are out of bounds for storage of size "
            f"{held * itemsize}"
        )


def _memory_of(x: Array) -> Array:
    """The adjacent elements from an array's first to its last, as one dimension."""
    steps = [step // x.itemsize for step in x.strides]
    return strided(x, (extent(x.shape, steps),), (x.itemsize,))


def _as_strided(
    x: Array, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Array:
    held = _memory_of(x)
    offset = storage_offset or 0
    _check_strided(size, stride, offset, held.size, x.itemsize)
    return strided(held[offset:], tuple(size), [step * x.itemsize for step in stride])


def _laid_out(x: Array, layout: Sequence[int], fill: bool) -> Array:
    """An array of x's shape with the strides of a layout, holding x's values if ``fill``."""
    flat = memory.empty((extent(x.shape, layout),), x.dtype)
    flat[...] = 0  # gaps of the layout, which no kernel visits
    target = strided(flat, x.shape, [step * x.itemsize for step in layout])
    if fill:
        write(target, x)
    return target


def _strided_part(
    x: Array, size: Sequence[int], stride: Sequence[int], storage_offset: int, layout: Sequence[int]
) -> Array:
    return _as_strided(_laid_out(x, layout, True), size, stride, storage_offset)


def _strided_scatter(
    x: Array,
    source: Array,
    size: Sequence[int],
    stride: Sequence[int],
    storage_offset: int,
    layout: Sequence[int],
) -> Array:
    target = _laid_out(x, layout, True)
    write(_as_strided(target, size, stride, storage_offset), source)
    return target


def _without_part(g: Tensor, size: Any, stride: Any, storage_offset: int, layout: Any) -> Tensor:
    zeros = _strided_part_row(g, size, stride, storage_offset, layout) * 0
    return _strided_scatter_row(g, zeros, size, stride, storage_offset, layout)


_strided_part_row = Op(
    _strided_part,
    {
        "x": lambda g, x_shape, size, stride, storage_offset, layout: _scattered(
            g, x_shape, size, stride, storage_offset, layout
        )
    },
    node="AsStridedBackward0",
)
_strided_scatter_row = Op(
    _strided_scatter,
    {
        "x": _without_part,
        "source": lambda g, size, stride, storage_offset, layout: _strided_part_row(
            g, size, stride, storage_offset, layout
        ),
    },
)
CopySlices.as_strided = _strided_part_row
CopySlices.scatter = _strided_scatter_row


def _scattered(g: Tensor, shape: Size, size: Any, stride: Any, offset: int, layout: Any) -> Tensor:
    """Zeros of a shape and layout with g in the strided part."""
    zeros = g.new_zeros(shape)
    return _strided_scatter_row(zeros, g, size, stride, offset, layout)


def _packed(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a contiguous tensor."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _overlaps(size: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether some elements of a view may be one and the same."""
    reach = 1
    for step, n in sorted((step, n) for n, step in zip(size, stride, strict=True) if n > 1):
        if step < reach:
            return True
        reach = step * (n - 1) + reach
    return False


def _gathered_back(
    g: Tensor, x_shape: Size, size: Any, stride: Any, storage_offset: int | None
) -> Tensor:
    offset = storage_offset or 0
    if not _overlaps(size, stride):
        return _scattered(g, x_shape, size, stride, offset, _packed(x_shape))
    places = _as_strided(np.arange(prod(x_shape)), size, stride, offset)
    flat = g.new_zeros((prod(x_shape),))
    flat.index_add_(0, wrap_array(places.reshape(-1)), g.reshape(-1))
    return flat.reshape(x_shape)


as_strided = view_of(_as_strided, x=_gathered_back)


def refresh_view(self: Tensor) -> None:
    """Gives a view whose base was changed in place since a grad_fn that says so."""
    view, counter = self._view, self._version_counter
    assert view is not None
    assert counter is not None
    if counter.number == view.number:
        return
    base = view.base
    if base._node is None:
        return
    refuse_change(self, view, "its base or another view of its base has been modified inplace")
    view.number = counter.number
    offset = (self.data_ptr() - base.data_ptr()) // self.itemsize
    layout = base.stride()
    place = (base, self.shape, self.stride(), offset)
    fresh = wrap(self._array, self.dtype)
    if layout == _packed(base.shape):
        move(self, record(as_strided, place, (fresh,)))
    else:
        move(self, record(_strided_part_row, (*place, layout), (fresh,)))


# ---------------------------------------------------------------------- shapes


def infer_size(shape: Sequence[int], count: int) -> tuple[int, ...]:
    """The shape with its -1 replaced; RuntimeError where it cannot hold ``count`` elements."""
    if shape and min(shape) >= 0 and prod(shape) == count:
        return tuple(shape)
    sizes = [int(n) for n in shape]
    unknown = [axis for axis, n in enumerate(sizes) if n == -1]
    if len(unknown) > 1:
        raise RuntimeError("only one dimension can be inferred")
    for n in sizes:
        if n < -1:
            raise RuntimeError(
                f"invalid shape dimension {n} at index {sizes.index(n)} of shape {sizes}"
            )
    known = prod(n for n in sizes if n != -1)
    if unknown:
        if known == 0 and count == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {sizes} because the unspecified "
                "dimension size -1 can be any value and is ambiguous"
            )
        if known and count % known == 0:
            sizes[unknown[0]] = count // known
            return tuple(sizes)
    elif known == count:
        return tuple(sizes)
    raise RuntimeError(f"shape '{sizes}' is invalid for input of size {count}")


def _view(x: Array, *shape: Any) -> Array:
    if x.size and x.flags.c_contiguous:
        try:
            if min(shape) > 0:
                return x.reshape(shape)
        except (TypeError, ValueError):
            pass  # what does not fit gets its error below
    if shape and isinstance(shape[0], dtype):
        return _reinterpreted(x, shape[0])
    sizes = infer_size(shape, x.size)
    if x.flags.c_contiguous:
        return x.reshape(sizes)
    try:
        return np.reshape(x, sizes, copy=False)
    except ValueError:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        ) from None


def _reinterpreted(x: Array, kind: dtype) -> Array:
    """The same bytes as elements of another dtype."""
    try:
        return x.view(kind.numpy)
    except (ValueError, TypeError):
        ratio = max(kind.itemsize // x.itemsize, 1)
        last = x.shape[-1] if x.ndim else 0
        raise RuntimeError(
            f"self.size(-1) must be divisible by {ratio} to view "
            f"{scalar_type(ALIASES[x.dtype.name])} as {scalar_type(kind)} "
            f"(different element sizes), but got {last}"
        ) from None


def _transpose(x: Array, dim0: int, dim1: int) -> Array:
    first, second = normalized_dim(dim0, x.ndim), normalized_dim(dim1, x.ndim)
    return x if not x.ndim else x.swapaxes(first, second)


def normalized_dims(dims: Sequence[int], ndim: int, function: str) -> tuple[int, ...]:
    """Non-negative dims without repetition, in the order given."""
    found = tuple(normalized_dim(dim, ndim) for dim in dims)
    if len(set(found)) < len(found):
        repeated = next(dim for dim in found if found.count(dim) > 1)
        raise RuntimeError(f"{function}: dim {repeated} appears multiple times in the list of dims")
    return found


def _permute(x: Array, *dims: int) -> Array:
    if len(dims) != x.ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {x.ndim} is not "
            f"equal to len(dims) = {len(dims)}"
        )
    order = tuple(normalized_dim(dim, x.ndim) for dim in dims)
    if len(set(order)) < len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return x.transpose(order)


def _inverse(dims: Sequence[int]) -> list[int]:
    ndim = len(dims)
    order = [dim % ndim for dim in dims]
    return [order.index(axis) for axis in range(ndim)]


def _t(x: Array) -> Array:
    if x.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {x.ndim}D")
    return x.T


def _unsqueeze(x: Array, dim: int) -> Array:
    before = normalized_dim(dim, x.ndim + 1)
    return x.reshape((*x.shape[:before], 1, *x.shape[before:]))


def _squeeze(x: Array, dim: Any = None) -> Array:
    if dim is None:
        return x.squeeze()
    dims = normalized_dims((dim,) if isinstance(dim, int) else dim, x.ndim, "squeeze")
    return x.squeeze(tuple(axis for axis in dims if x.ndim and x.shape[axis] == 1))


def _squeeze_node(x: Any, dim: Any = None) -> str:
    return (
        "SqueezeBackward0" if dim is None else f"SqueezeBackward{1 if isinstance(dim, int) else 2}"
    )


def expanded_size(
    shape: Sequence[int], sizes: Sequence[int], kind: np.dtype[Any] = float32.numpy
) -> tuple[int, ...]:
    """The sizes with -1 replaced; RuntimeError where the shape does not expand to them."""
    missing = len(sizes) - len(shape)
    if missing < 0:
        raise RuntimeError(
            f"expand({TENSOR_TYPES[kind.name]}{{{list(shape)}}}, size={list(sizes)}): "
            f"the number of sizes provided ({len(sizes)}) must be greater or equal to "
            f"the number of dimensions in the tensor ({len(shape)})"
        )
    result = []
    for axis, wanted in enumerate(sizes):
        if axis < missing:
            if wanted < 0:
                raise RuntimeError(
                    f"The expanded size of the tensor ({wanted}) isn't allowed in a leading, "
                    f"non-existing dimension {axis}"
                )
            result.append(wanted)
            continue
        size = shape[axis - missing]
        if wanted not in (-1, size) and size != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({wanted}) must match the existing size ({size}) "
                f"at non-singleton dimension {axis}.  Target sizes: {list(sizes)}.  Tensor sizes: "
                f"{list(shape)}"
            )
        result.append(size if wanted == -1 else wanted)
    return tuple(result)


def _expand(x: Array, *size: int) -> Array:
    shape = expanded_size(x.shape, size, x.dtype)
    if x.flags.c_contiguous and x.size:
        return copying.expanded(x, shape)
    missing = len(shape) - x.ndim
    steps = [0] * missing + [
        0 if had == 1 and wanted != 1 else step
        for had, wanted, step in zip(x.shape, shape[missing:], x.strides, strict=True)
    ]
    return strided(x, shape, steps)


def _select(x: Array, dim: int, index: int) -> Array:
    if not x.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    if dim == 0 and index.__class__ is int and 0 <= index < x.shape[0]:
        return x[index, ...]
    axis, index = normalized_dim(dim, x.ndim), int(index)
    size = x.shape[axis]
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(x.shape)} "
            f"at dimension {axis}"
        )
    return x[(slice(None),) * axis + (index, ...)]


def _slice(
    x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    if not x.ndim:
        raise RuntimeError("slice() cannot be applied to a 0-dim tensor.")
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    axis = normalized_dim(dim, x.ndim)
    return x[(slice(None),) * axis + (slice(start, end, step),)]


def _placed(g: Tensor, shape: Size, place: Callable[[Any], Tensor]) -> Tensor:
    """Zeros of a shape with g in the part that ``place`` makes of it."""
    whole = g.new_zeros(shape)
    if mode.recording:
        with_part = whole + 0
        place(with_part).copy_(g)
        return with_part
    write(place(whole)._array, g._array)
    return whole


def _narrow(x: Array, dim: int, start: Any, length: int) -> Array:
    if not x.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if isinstance(start, np.ndarray) and (start.ndim or start.dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    axis, start, length = normalized_dim(dim, x.ndim), int(start), int(length)
    size = x.shape[axis]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -size <= start <= size:
        raise IndexError(
            f"start out of range (expected to be in range of [{-size}, {size}], but got {start})"
        )
    start += size if start < 0 else 0
    if start + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    return x[(slice(None),) * axis + (slice(start, start + length),)]


def _diagonal(x: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    first, second = normalized_dim(dim1, x.ndim), normalized_dim(dim2, x.ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rest = [axis for axis in range(x.ndim) if axis not in (first, second)]
    rows, columns = x.shape[first], x.shape[second]
    length = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
    start = [slice(None)] * x.ndim
    start[first], start[second] = slice(max(-offset, 0), None), slice(max(offset, 0), None)
    origin = x[tuple(start)]
    return strided(
        origin,
        (*(x.shape[axis] for axis in rest), length),
        (*(x.strides[axis] for axis in rest), x.strides[first] + x.strides[second]),
    )


def _unfold(x: Array, dimension: int, size: int, step: int) -> Array:
    axis = normalized_dim(dimension, x.ndim)
    length = x.shape[axis] if x.ndim else 1
    if size > length:
        raise RuntimeError(
            f"maximum size for tensor at dimension {axis} is {length} but size is {size}"
        )
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not x.ndim:
        return x.reshape(1)[:size]
    shape, steps = list(x.shape), list(x.strides)
    shape[axis], steps[axis] = (length - size) // step + 1, steps[axis] * step
    return strided(x, (*shape, size), (*steps, x.strides[axis]))


def _folded(g: Any, x_shape: Size, dimension: int, size: int, step: int) -> Tensor:
    """The sum of the gradients of overlapping windows."""
    whole = g.new_zeros(x_shape)
    if not len(x_shape):
        return whole + g.sum()
    axis = normalized_dim(dimension, len(x_shape))
    starts = np.arange(g._array.shape[axis])[:, None] * step
    places = wrap_array((starts + np.arange(size)).reshape(-1))
    parts = g.movedim(-1, axis + 1).flatten(axis, axis + 1)
    return whole.index_add_(axis, places, parts)


view = ShapeOp(_view, {"x": lambda g, x_shape: g.reshape(x_shape)})
transpose = view_of(_transpose, x=lambda g, dim0, dim1: g.transpose(dim0, dim1))
permute = view_of(_permute, x=lambda g, dims: g.permute(_inverse(dims)))
t = view_of(_t, x=lambda g: g.t())
unsqueeze = view_of(_unsqueeze, x=lambda g, x_shape: g.reshape(x_shape))
squeeze = view_of(_squeeze, node=_squeeze_node, x=lambda g, x_shape: g.reshape(x_shape))
expand = view_of(_expand, x=lambda g, x_shape: g.sum_to_size(x_shape))
select = view_of(
    _select,
    x=lambda g, x_shape, dim, index: _placed(g, x_shape, lambda whole: whole.select(dim, index)),
)
slice_: ViewOp = view_of(
    _slice,
    x=lambda g, x_shape, dim, start, end, step: _placed(
        g, x_shape, lambda whole: slice_(whole, dim, start, end, step)
    ),
)
narrow = view_of(
    _narrow,
    node="SliceBackward0",
    x=lambda g, x_shape, dim, start, length: _placed(
        g, x_shape, lambda whole: whole.narrow(dim, start, length)
    ),
)
diagonal = view_of(
    _diagonal,
    x=lambda g, x_shape, offset, dim1, dim2: _placed(
        g, x_shape, lambda whole: whole.diagonal(offset, dim1, dim2)
    ),
)
unfold = view_of(_unfold, x=_folded)
alias = view_of(lambda x: x[...], x=lambda g: g)

register_rows(globals())
