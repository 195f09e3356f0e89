"""Rows: taking tensors apart and putting them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from numtorch_kernels import copying, memory, picking
from numtorch_kernels.calls.callables import Calls
from numtorch_kernels.calls.joining import JoiningCalls

from ..autograd.mode import mode
from ..dtype import type_name
from ..size import Size
from ..tensor import Tensor, normalized_dim, wrap, wrap_array
from .elementwise import operands_dtype
from .signature import spread
from .table import Op, register_rows
from .views import view, view_of

Array = np.ndarray[Any, Any]


def _split_sizes(length: int, size: int) -> list[int]:
    return [min(size, length - start) for start in range(0, length, size)] or [0]


def _split_with_sizes(x: Array, split_sizes: Sequence[int], dim: int = 0) -> tuple[Array, ...]:
    if not x.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    if any(n < 0 for n in split_sizes):
        raise RuntimeError(
            "split_with_sizes expects split_sizes have only non-negative entries, but got "
            f"split_sizes={list(split_sizes)}"
        )
    axis = normalized_dim(dim, x.ndim)
    if sum(split_sizes) != x.shape[axis]:
        raise RuntimeError(
            "split_with_sizes expects split_sizes to sum exactly to "
            f"{x.shape[axis]} (input tensor's size at dimension {dim}), but got split_sizes="
            f"{list(split_sizes)}"
        )
    return _parts(x, axis, split_sizes)


def _parts(x: Array, axis: int, sizes: Sequence[int]) -> tuple[Array, ...]:
    lead, parts, start = (slice(None),) * axis, [], 0
    for n in sizes:
        parts.append(x[(*lead, slice(start, start + n))])
        start += n
    return tuple(parts)


def _split(x: Array, split_size: int, dim: int = 0) -> tuple[Array, ...]:
    if not x.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    if split_size < 0:
        raise RuntimeError(
            f"split expects split_size be non-negative, but got split_size={split_size}"
        )
    axis = normalized_dim(dim, x.ndim)
    length = x.shape[axis]
    if not split_size and length:
        raise RuntimeError(
            f"split_size can only be 0 if dimension size is 0, but got dimension size of {length}"
        )
    return _parts(x, axis, _split_sizes(length, split_size) if split_size else [0])


def _unbind(x: Array, dim: int = 0) -> tuple[Array, ...]:
    if not x.ndim:
        raise IndexError(
            "Dimension specified as 0 but tensor has no dimensions"
            if dim in (0, -1)
            else f"Dimension out of range (expected to be in range of [-1, 0], but got {dim})"
        )
    axis = normalized_dim(dim, x.ndim)
    lead: tuple[Any, ...] = (slice(None),) * axis
    return tuple([x[(*lead, index, ...)] for index in range(x.shape[axis])])


def joined(grads: Sequence[Tensor | None], shape: Size, dim: int, lengths: Sequence[int]) -> Tensor:
    """The gradients of the parts of a tensor along a dimension, put together."""
    axis = normalized_dim(dim, len(shape))
    like: Any = next(grad for grad in grads if grad is not None)
    parts = [
        like.new_zeros((*shape[:axis], n, *shape[axis + 1 :])) if grad is None else grad
        for grad, n in zip(grads, lengths, strict=True)
    ]
    return cat(parts, axis)


def _joined_split(g: Any, x_shape: Size, split_size: int, dim: int) -> Tensor:
    lengths = _split_sizes(x_shape[dim], split_size) if split_size else [0]
    return joined(_listed(g), x_shape, dim, lengths)


def _stacked(g: Any, x_shape: Size, dim: int) -> Tensor:
    """The gradients of the slices of a tensor, put together."""
    grads = _listed(g)
    like: Any = next(grad for grad in grads if grad is not None)
    zeros = like.new_zeros(like.shape)
    return stack([zeros if grad is None else grad for grad in grads], dim)


def _listed(g: Any) -> Sequence[Tensor | None]:
    return [g] if isinstance(g, Tensor) else g


split = view_of(_split, x=_joined_split)
split_with_sizes = view_of(
    _split_with_sizes,
    x=lambda g, x_shape, split_sizes, dim: joined(_listed(g), x_shape, dim, split_sizes),
)
unbind = view_of(_unbind, x=_stacked)


def split_(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of parts of a tensor along a dimension, of one size or of given sizes.

    The last of one size may be smaller.

    Raises RuntimeError for sizes that do not sum to the dimension's.
    """
    if isinstance(split_size_or_sections, list | tuple):
        return split_with_sizes.function(tensor, split_size_or_sections, dim)
    if isinstance(split_size_or_sections, bool) or not hasattr(split_size_or_sections, "__index__"):
        raise TypeError(
            "split_with_sizes(): argument 'split_sizes' (position 2) must be tuple of ints, "
            f"not {type_name(type(split_size_or_sections))}"
        )
    return split.function(tensor, int(split_size_or_sections), dim)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` views of parts along a dimension, equal in size but for the last."""
    if not input._array.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    length = input._array.shape[normalized_dim(dim, input._array.ndim)]
    size = -(-length // chunks)
    if not size:
        return split_with_sizes.function(input, [0] * chunks, dim)
    return split.function(input, size, dim)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of parts along a dimension: a number of parts, or parts that end at given indices."""
    if not input._array.ndim:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    length = input._array.shape[normalized_dim(dim, input._array.ndim)]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        parts = indices_or_sections
        if parts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {parts}")
        ends = [part * (length // parts) + min(part, length % parts) for part in range(1, parts)]
    else:
        ends = list(indices_or_sections)
    starts = [0, *ends]
    return tuple(
        input.slice(dim, start, end) for start, end in zip(starts, [*ends, length], strict=True)
    )


def _along(name: str, dim: int, least: int) -> Callable[..., tuple[Tensor, ...]]:
    """Hsplit and its kin: tensor_split along a fixed dimension."""

    def function(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        ndim = input._array.ndim
        if ndim < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} "
                f"dimension{'s' * (least > 1)}, but got a tensor with {ndim} dimensions!"
            )
        axis = 0 if ndim == 1 else dim
        length = input._array.shape[axis]
        parts = indices_or_sections
        if isinstance(parts, int) and (parts <= 0 or length % parts):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {axis}, but the size of the "
                f"dimension {length} is not divisible by the split_size {parts}!"
            )
        return tensor_split(input, parts, axis)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Views of parts of a tensor along dimension {dim}."
    return function


# ---------------------------------------------------------------------- joining


def check_tensors(function: str, tensors: Any) -> None:
    """Raises PyTorch's TypeErrors for what is no list of tensors."""
    if not isinstance(tensors, list | tuple):
        raise TypeError(
            f"{function}(): argument 'tensors' (position 1) must be tuple of Tensors, "
            f"not {type_name(type(tensors))}"
        )
    for place, each in enumerate(tensors):
        if not isinstance(each, Tensor):
            raise TypeError(
                f"expected Tensor as element {place} in argument 0, but got {type_name(type(each))}"
            )


def _check_cat(tensors: Any, dim: int = 0) -> None:
    check_tensors("cat", tensors)
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")


def _cat(tensors: list[Array], dim: int = 0) -> Array:
    shape, kind = tensors[0].shape, tensors[0].dtype
    for x in tensors:
        if x.dtype != kind or (x.shape != shape and not x.ndim == len(shape) == 1):
            break
    else:
        if shape:
            return _joined(tensors, normalized_dim(dim, len(shape)), kind)
    for place, x in enumerate(tensors):
        if not x.ndim:
            raise RuntimeError(
                f"zero-dimensional tensor (at position {place}) cannot be concatenated"
            )
    parts = [(place, x) for place, x in enumerate(tensors) if x.shape != (0,)] or [(0, tensors[0])]
    first = parts[0][1]
    axis = normalized_dim(dim, first.ndim)
    for place, x in parts[1:]:
        if x.ndim != first.ndim:
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {first.ndim} and {x.ndim}"
            )
        if x.shape[:axis] != first.shape[:axis] or x.shape[axis + 1 :] != first.shape[axis + 1 :]:
            at = next(k for k in range(x.ndim) if k != axis and x.shape[k] != first.shape[k])
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {axis}. Expected size "
                f"{first.shape[at]} but got size {x.shape[at]} for tensor number {place} in the "
                "list."
            )
    return _joined([x for _, x in parts], axis, _common(tensors))


def _joined(arrays: Sequence[Array], axis: int, kind: np.dtype[Any]) -> Array:
    """Arrays of one shape, but for an axis, one after another."""
    shape = arrays[0].shape
    length = sum([x.shape[axis] for x in arrays])
    out = memory.empty((*shape[:axis], length, *shape[axis + 1 :]), kind)
    return copying.cat(arrays, axis, out)


def _common(arrays: Sequence[Array]) -> np.dtype[Any]:
    """The dtype that arrays promote to."""
    kind = arrays[0].dtype
    if all(x.dtype == kind for x in arrays):
        return kind
    return operands_dtype([wrap_array(x) for x in arrays]).numpy


def _cut(
    g: Tensor, tensors_shape: Sequence[Size], tensors_dtype: Sequence[Any], dim: int
) -> list[Tensor]:
    """The part of a gradient that belongs to each of the tensors that were joined."""
    axis = normalized_dim(dim, g._array.ndim)
    grads, start = [], 0
    for shape, kind in zip(tensors_shape, tensors_dtype, strict=True):
        if shape == (0,):
            grads.append(g.new_zeros(shape))
            continue
        part = _part(g, axis, start, shape[axis])
        grads.append(part if part.dtype is kind else part.to(kind))
        start += shape[axis]
    return grads


def _part(g: Tensor, axis: int, start: int, length: int) -> Tensor:
    """A part of a gradient: a view, or where that is one number throughout, a small copy.

    Gradients are added to copies in their own memory.
    """
    if mode.recording:
        return g.narrow(axis, start, length)
    part = g._array[(*(slice(None),) * axis, slice(start, start + length))]
    if part.size <= picking.FEW and not any(part.strides):
        part = copying.contiguous(part)
    return wrap(part, g.dtype)


def _check_stack(tensors: Any, dim: int = 0) -> None:
    check_tensors("stack", tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")


def _stack(tensors: list[Array], dim: int = 0) -> Array:
    shape = tensors[0].shape
    axis = normalized_dim(dim, len(shape) + 1)
    for place, x in enumerate(tensors):
        if x.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                f"{list(x.shape)} at entry {place}"
            )
    out = memory.empty((*shape[:axis], len(tensors), *shape[axis:]), _common(tensors))
    return copying.cat([np.expand_dims(x, axis) for x in tensors], axis, out)


def _unstacked(g: Tensor, tensors_dtype: Sequence[Any], dim: int) -> list[Tensor]:
    parts = g.unbind(dim)
    return [part.to(kind) for part, kind in zip(parts, tensors_dtype, strict=True)]


class JoiningOp(Op):
    """A row that joins tensors along a dimension, or stacks them along a new one."""

    def __init__(self, stacks: bool, forward: Any, check: Any, gradients: Any) -> None:
        super().__init__(forward, {"tensors": gradients}, check=check)
        self.stacks = stacks

    def make_calls(self) -> Calls:
        """What answers calls with a few small tensors, and with others calls the forward."""
        return self.forward_calls(partial(JoiningCalls, self.stacks))


cat = JoiningOp(False, _cat, _check_cat, _cut)
stack = JoiningOp(True, _stack, _check_stack, _unstacked)

# ---------------------------------------------------------------------- along fixed dimensions


def _at_least(ndim: int, tensor: Tensor) -> Tensor:
    """A view with at least so many dimensions, new ones where PyTorch puts them."""
    missing = ndim - tensor._array.ndim
    shape = tensor._array.shape
    if missing <= 0:
        return tensor
    if ndim == 3 and missing == 2:
        return tensor.view(1, *shape, 1)
    if ndim == 3 and missing == 1:
        return tensor.unsqueeze(-1)
    return tensor.reshape((1,) * missing + shape)


def _atleast(ndim: int) -> Callable[..., Any]:
    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], Tensor):
            return _at_least(ndim, tensors[0])
        return tuple(_at_least(ndim, each) for each in spread(tensors))

    function.__name__ = function.__qualname__ = f"atleast_{ndim}d"
    function.__doc__ = f"Views of the tensors with at least {ndim} dimension{'s' * (ndim > 1)}."
    return function


def _stacker(name: str, ndim: int, dim: int) -> Callable[..., Tensor]:
    def function(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
        check_tensors(name, tensors)
        if not tensors:
            raise RuntimeError(f"{name} expects a non-empty TensorList")
        parts = [_at_least(ndim, each) for each in tensors]
        axis = 0 if name == "hstack" and parts[0]._array.ndim == 1 else dim
        return cat.function(parts, axis, out=out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The tensors, of at least {ndim} dimensions each, joined along dimension {dim}."
    )
    return function


def column_stack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """The tensors side by side, those of at most one dimension as columns."""
    check_tensors("column_stack", tensors)
    if not tensors:
        raise RuntimeError("column_stack expects a non-empty TensorList")
    columns = [
        view.function(each, each.numel(), 1) if each._array.ndim <= 1 else each for each in tensors
    ]
    return cat.function(columns, 1, out=out)


cat.out_may_share = False
register_rows(globals())

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "split": split_,
    "chunk": chunk,
    "tensor_split": tensor_split,
    "hsplit": _along("hsplit", 1, 1),
    "vsplit": _along("vsplit", 0, 2),
    "dsplit": _along("dsplit", 2, 3),
    "concat": cat.function,
    "concatenate": cat.function,
    "hstack": _stacker("hstack", 1, 1),
    "vstack": _stacker("vstack", 2, 0),
    "row_stack": _stacker("vstack", 2, 0),
    "dstack": _stacker("dstack", 3, 2),
    "column_stack": column_stack,
    **{f"atleast_{n}d": _atleast(n) for n in (1, 2, 3)},
}
METHODS: dict[str, Callable[..., Any]] = {
    name: FUNCTIONS[name]
    for name in ("split", "chunk", "tensor_split", "hsplit", "vsplit", "dsplit")
}
