"""Rows and functions: the same elements in other shapes, and dimensions in other orders."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from numtorch_kernels import copying, memory
from numtorch_kernels.calls.callables import FLAT, WIDER

from ..autograd.inplace import alias, check_inplace
from ..autograd.mode import mode
from ..size import Size
from ..tensor import Tensor, normalized_dim
from .apply import record
from .signature import spread
from .table import Op, op, register_rows
from .views import (
    as_strided,
    expand,
    infer_size,
    permute,
    squeeze,
    t,
    transpose,
    unsqueeze,
    view,
)

Array = np.ndarray[Any, Any]

# ---------------------------------------------------------------------- views or copies


def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """The elements in C order in another shape: a view where strides allow, else a copy.

    One size may be -1 and follows from the others. Raises RuntimeError where the number of
    elements differs.
    """
    wanted = infer_size(spread(sizes) if shape is None else shape, input._array.size)
    if input._array.flags.c_contiguous or can_view(input._array, wanted):
        return view.function(input, wanted)
    return _unsafe_view.function(input, wanted)


def can_view(array: Array, shape: tuple[int, ...]) -> bool:
    """Whether strides allow to see an array's elements in another shape."""
    try:
        np.reshape(array, shape, copy=False)
    except ValueError:
        return False
    return True


def _copied(x: Array, shape: tuple[int, ...]) -> Array:
    out = memory.empty(shape, x.dtype)
    copying.copy_into(out.reshape(x.shape), x)
    return out


_unsafe_view = op(_copied, node="UnsafeViewBackward0", x=lambda g, x_shape: g.reshape(x_shape))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The tensor with a range of its dimensions made one."""
    shape = input._array.shape
    start, end = normalized_dim(start_dim, len(shape)), normalized_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshape(input, 1)
    if start == end:
        return input
    return reshape(input, (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """The tensor with one dimension made several, of given sizes; one may be -1."""
    shape = input._array.shape
    axis = normalized_dim(dim, len(shape))
    if not len(sizes):
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        parts = infer_size(sizes, shape[axis] if shape else 1)
    except RuntimeError as error:
        if "is invalid for input" not in str(error):
            raise
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {axis} "
            f"({shape[axis]}) in the input tensor"
        ) from None
    return view.function(input, (*shape[:axis], *parts, *shape[axis + 1 :]))


def ravel(input: Tensor) -> Tensor:
    """The elements in C order in one dimension."""
    return reshape(input, -1)


def view_as(self: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of another tensor."""
    return view.function(self, other._array.shape)


def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The elements in the shape of another tensor."""
    return reshape(self, other._array.shape)


def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor repeated, without a copy, to the shape of another."""
    return expand.function(self, *other._array.shape)


def broadcast_to(input: Tensor, *size: Any) -> Tensor:
    """The tensor repeated, without a copy, to a shape."""
    return expand.function(input, *spread(size))


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape; RuntimeError where there is none."""
    given = spread(tensors)
    shape = broadcast_shape([each._array.shape for each in given])
    return tuple(expand.function(each, *shape) for each in given)


def broadcast_shape(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The shape to which shapes broadcast."""
    result = [1] * max(map(len, shapes), default=0)
    for shape in shapes:
        for place in range(-1, -len(shape) - 1, -1):
            size = shape[place]
            if result[place] == 1:
                result[place] = size
            elif size not in (1, result[place]):
                raise RuntimeError(
                    f"The size of tensor a ({result[place]}) must match the size of tensor b "
                    f"({size}) at non-singleton dimension {len(result) + place}"
                )
    return tuple(result)


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape to which shapes broadcast; RuntimeError where there is none."""
    given = [(shape,) if isinstance(shape, int) else tuple(shape) for shape in shapes]
    result = [1] * max(map(len, given), default=0)
    for at, shape in enumerate(given):
        for place in range(-1, -len(shape) - 1, -1):
            if result[place] != 1 and shape[place] not in (1, result[place]):
                raise RuntimeError(
                    f"Attempting to broadcast a dimension of length {shape[place]} at {place}! "
                    f"Mismatching argument at index {at} had {shape}; but expected shape should be "
                    f"broadcastable to {result}"
                )
            result[place] = shape[place] if result[place] == 1 else result[place]
    return Size(result)


def sum_to_size(self: Any, *size: Any) -> Tensor:
    """The sum over the dimensions that were broadcast from a size."""
    shape, wanted = self._array.shape, tuple(spread(size))
    if not wanted:
        return self.sum()
    if shape == wanted:
        return self
    missing = len(shape) - len(wanted)
    if missing < 0 or any(
        want not in (1, had) for want, had in zip(wanted, shape[missing:], strict=True)
    ):
        raise RuntimeError(f"size {{{list(wanted)}}} is not expandable to size {{{list(shape)}}}.")
    dims = [
        axis for axis, had in enumerate(shape)
        if axis < missing or (wanted[axis - missing] == 1 and had != 1)
    ]  # fmt: skip
    if len(dims) == 1:
        return self.sum(dims[0], not missing)
    total = self.sum(dims, keepdim=True)
    return reshape(total, wanted) if missing else total


# ---------------------------------------------------------------------- order of dimensions


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """A view in which some dimensions have moved to other places."""
    if isinstance(source, int) != isinstance(destination, int):
        raise TypeError(
            "movedim() received an invalid combination of arguments - got "
            f"({type(source).__name__}, {type(destination).__name__})"
        )
    froms, tos = ((source,), (destination,)) if isinstance(source, int) else (source, destination)
    if len(froms) != len(tos):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source "
            f"({list(froms)} dims) should contain the same number of dims as destination "
            f"({list(tos)} dims)"
        )
    ndim = input._array.ndim
    places = [[normalized_dim(dim, ndim) for dim in dims] for dims in (froms, tos)]
    for name, dims, given in zip(("source", "destination"), places, (froms, tos), strict=True):
        if len(set(dims)) < len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(given)})")
    rest = [axis for axis in range(ndim) if axis not in places[0]]
    moved = dict(zip(places[1], places[0], strict=True))
    order = [moved[axis] if axis in moved else rest.pop(0) for axis in range(ndim)]
    return permute.function(input, *order)


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Views of one-dimensional tensors that vary along one dimension each.

    ``indexing`` is "ij", or "xy", which swaps the first two dimensions.
    """
    given = list(spread(tensors))
    if indexing is None:
        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing "
            "argument.",
            stacklevel=2,
        )
    if not given:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for each in given:
        if each._array.ndim > 1:
            raise RuntimeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {each}"
            )
        if each.dtype is not given[0].dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    swap = indexing == "xy" and len(given) > 1
    if swap:
        given[:2] = given[1::-1]
    shape = [each._array.size for each in given]
    grids = []
    for axis, each in enumerate(given):
        column = view.function(each, (1,) * axis + (-1,) + (1,) * (len(given) - axis - 1))
        grids.append(expand.function(column, *shape))
    if swap:
        grids[:2] = grids[1::-1]
    return tuple(grids)


def _reversed(self: Tensor) -> Tensor:
    """The tensor with its dimensions in reverse order."""
    ndim = self._array.ndim
    if ndim == 0:
        _warn_scalar("T")
    elif ndim != 2:
        warnings.warn(
            "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is "
            "deprecated and it will throw an error in a future release. Consider `x.mT` to "
            "transpose batches of matrices or `x.permute(*torch.arange(x.ndim - 1, -1, -1))` to "
            "reverse the dimensions of a tensor.",
            stacklevel=2,
        )
    elif not self.requires_grad:  # whose node would have another name
        return t.function(self)
    return permute.function(self, *range(ndim - 1, -1, -1))


def _warn_scalar(name: str) -> None:
    warnings.warn(
        f"Tensor.{name} is deprecated on 0-D tensors. This function is the identity in these "
        "cases.",
        stacklevel=3,
    )


def _matrix_transpose(name: str) -> Callable[[Tensor], Tensor]:
    def transposed(self: Tensor) -> Tensor:
        if self._array.ndim == 0:
            _warn_scalar(name)
            return self
        if self._array.ndim == 1:
            raise RuntimeError(
                f"tensor.{name} is only supported on matrices or batches of matrices. "
                "Got 1-D tensor."
            )
        return transpose.function(self, -2, -1)

    transposed.__doc__ = "The tensor with its last two dimensions swapped."
    return transposed


def _conjugate_transpose(self: Tensor) -> Tensor:
    """The transposed matrix."""
    ndim = self._array.ndim
    if ndim == 0:
        _warn_scalar("H")
        return self
    if ndim != 2:
        batches = " For batches of matrices, consider using tensor.mH" if ndim > 2 else ""
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {ndim}-D tensor.{batches}"
        )
    return transpose.function(self, 0, 1)


# ---------------------------------------------------------------------- changes of shape in place


def _in_place(row: Op, name: str) -> Callable[..., Tensor]:
    """The method that makes a tensor what a view of it would be."""

    def method(self: Tensor, *args: Any) -> Tensor:
        needs = mode.recording and self._needs_grad
        if needs:
            check_inplace(self)
            source = alias(self)
        self._array = row.forward((self, *args))
        self._bump_version()
        if needs and self._view is None:
            record(row, (source, *args), (self,))
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Makes the tensor what ``{name[:-1]}`` gives a view of."
    return method


def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Gives the tensor another shape, with the elements in C order; added ones are not set."""
    if mode.recording and self._needs_grad:
        raise RuntimeError("cannot resize variables that require grad")
    shape = tuple(spread(sizes))
    count = prod(shape)
    flat = copying.flat(self._array)
    if count > flat.size:
        grown = memory.empty((count,), flat.dtype)
        copying.copy_into(grown[: flat.size], flat)
        flat = grown
    self._array = flat[:count].reshape(shape)
    self._bump_version()
    return self


register_rows(globals())

FUNCTIONS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        unflatten, ravel, broadcast_to, broadcast_tensors, broadcast_shapes, movedim, meshgrid,
    )
}  # fmt: skip
FUNCTIONS |= {"moveaxis": movedim, "swapaxes": transpose.function, "swapdims": transpose.function}
METHODS: dict[str, Any] = {
    name: function
    for name, function in FUNCTIONS.items()
    if name not in ("broadcast_tensors", "broadcast_shapes", "meshgrid")
}
FUNCTIONS |= {
    "reshape": view.entry(reshape, is_method=False, form=WIDER),
    "flatten": view.entry(flatten, is_method=False, form=FLAT),
}
METHODS |= {
    "reshape": view.entry(reshape, form=WIDER),
    "flatten": view.entry(flatten, form=FLAT),
    "swapaxes": transpose.method,
    "swapdims": transpose.method,
    "view_as": view_as,
    "reshape_as": reshape_as,
    "expand_as": expand_as,
    "sum_to_size": sum_to_size,
    "T": property(_reversed),
    "mT": property(_matrix_transpose("mT")),
    "mH": property(_matrix_transpose("mH")),
    "H": property(_conjugate_transpose),
    "t_": _in_place(t, "t_"),
    "transpose_": _in_place(transpose, "transpose_"),
    "swapaxes_": _in_place(transpose, "swapaxes_"),
    "swapdims_": _in_place(transpose, "swapdims_"),
    "squeeze_": _in_place(squeeze, "squeeze_"),
    "unsqueeze_": _in_place(unsqueeze, "unsqueeze_"),
    "as_strided_": _in_place(as_strided, "as_strided_"),
    "resize_": resize_,
}
