"""Rows and functions: the same elements in another order, repeated, or on diagonals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numtorch_kernels import copying, index, memory, picking

from ..size import Size, contiguous_format
from ..tensor import Tensor, normalized_dim, out_of_range, wrap_array
from .conversion import clone
from .shaping import flatten, reshape
from .signature import spread
from .table import op, register_rows
from .views import diagonal, expand, transpose, unsqueeze

Array = np.ndarray[Any, Any]

# ---------------------------------------------------------------------- order of elements


def _flip(x: Array, *dims: int) -> Array:
    axes = tuple(normalized_dim(dim, x.ndim) for dim in dims)
    if len(set(axes)) < len(axes):
        repeated = next(axis for axis in axes if axes.count(axis) > 1)
        raise RuntimeError(f"dim {repeated} appears multiple times in the list of dims")
    return copying.flip(x, axes if x.ndim else ())


def _roll(x: Array, shifts: Any, dims: Any = ()) -> Array:
    moves = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    axes = (dims,) if isinstance(dims, int) else tuple(dims)
    if not moves:
        raise RuntimeError("`shifts` required")
    if not axes and len(moves) == 1:
        return copying.roll(copying.flat(x), moves, (0,)).reshape(x.shape)
    if len(moves) != len(axes):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(axes)}"
        )
    if not x.ndim:
        raise IndexError(f"Dimension specified as {axes[0]} but tensor has no dimensions")
    if not x.size:
        return copying.contiguous(x)
    return copying.roll(x, moves, tuple(normalized_dim(dim, x.ndim) for dim in axes))


def _negated(shifts: Any) -> Any:
    return -shifts if isinstance(shifts, int) else tuple(-shift for shift in shifts)


def fliplr(input: Tensor) -> Tensor:
    """A copy with its columns in reverse order."""
    if input._array.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip.function(input, 1)


def flipud(input: Tensor) -> Tensor:
    """A copy with its rows in reverse order."""
    if input._array.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip.function(input, 0)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A copy turned by k quarters, from the first of two dimensions towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    ndim = input._array.ndim
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    first, second = (normalized_dim(dim, ndim) for dim in dims)
    if first == second:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    turns = k % 4
    if turns == 0:
        return clone.function(input, memory_format=contiguous_format)
    if turns == 2:
        return flip.function(input, first, second)
    turned = flip.function(input, second if turns == 1 else first)
    return transpose.function(turned, first, second)


# ---------------------------------------------------------------------- repetition


def _repeat(x: Array, *repeats: int) -> Array:
    extra = len(repeats) - x.ndim
    if extra < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    shape = (1,) * extra + x.shape
    sizes = [n * count for n, count in zip(shape, repeats, strict=True)]
    if any(n < 0 for n in repeats):
        worst = next(n for n in sizes if n < 0) if any(n < 0 for n in sizes) else min(repeats)
        raise RuntimeError(f"Trying to create tensor with negative dimension {worst}: {sizes}")
    out = memory.empty(tuple(sizes), x.dtype)
    pairs = [each for pair in zip(repeats, shape, strict=True) for each in pair]
    blocks = x.reshape([each for n in shape for each in (1, n)])
    copying.copy_into(out.reshape(pairs), blocks)
    return out


def _summed_repeats(g: Tensor, x_shape: Size, repeats: Sequence[int]) -> Tensor:
    extra = len(repeats) - len(x_shape)
    shape = (1,) * extra + tuple(x_shape)
    if not g._array.size:
        return g.new_zeros(x_shape)
    pairs = [each for pair in zip(repeats, shape, strict=True) for each in pair]
    blocks = reshape(g, pairs)
    dims = [2 * axis for axis, count in enumerate(repeats) if count != 1]
    total = blocks.sum(dims) if dims else blocks
    return reshape(total, x_shape)


def tile(input: Tensor, *dims: Any) -> Tensor:
    """Copies of the tensor side by side, as often along each of the last dimensions as given."""
    counts = tuple(spread(dims))
    missing = input._array.ndim - len(counts)
    return repeat.function(input, *((1,) * missing + counts))


def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element (with ``dim``, each part along it) as often as ``repeats``, one after another.

    Without ``repeats``, input holds them, and the positions are given.
    """
    if repeats is None:
        counts = _checked_repeats(input)
        return wrap_array(index.repeat_interleave(np.arange(counts.size), counts, 0))
    if isinstance(repeats, int) and repeats < 0:
        raise RuntimeError("Repeats must be non-negative")
    if dim is None:
        input, dim = flatten(input), 0
    shape = input._array.shape
    if not shape:
        out_of_range(1, 1)
    axis = normalized_dim(dim, len(shape))
    if isinstance(repeats, int):
        wide = unsqueeze.function(input, axis + 1)
        wide = expand.function(wide, *shape[: axis + 1], repeats, *shape[axis + 1 :])
        copy = clone.function(wide, memory_format=contiguous_format)
        return flatten(copy, axis, axis + 1)
    counts = _checked_repeats(repeats)
    if counts.size == 1:
        counts = np.broadcast_to(counts, shape[axis : axis + 1])
    if counts.size != shape[axis]:
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got "
            f"repeats.size(0) = {counts.size} and input.size({axis}) = {shape[axis]}"
        )
    places = index.repeat_interleave(np.arange(counts.size), counts, 0)
    return input.index_select(axis, wrap_array(places))


def _checked_repeats(repeats: Tensor) -> Array:
    counts = repeats._array
    if repeats.dtype.name not in ("int64", "int32"):
        kind = "Float" if repeats.dtype.name == "float32" else repeats.dtype.name.capitalize()
        raise NotImplementedError(f"\"repeat_interleave_cpu\" not implemented for '{kind}'")
    if counts.ndim > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")
    return copying.contiguous(copying.flat(counts), np.dtype(np.int64))


# ---------------------------------------------------------------------- triangles and diagonals


def _triangle(name: str) -> Callable[..., Array]:
    part, is_upper = getattr(copying, name), name == "triu"

    def forward(x: Array, diagonal: int = 0) -> Array:
        if x.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        few = picking.triangle(x, diagonal, is_upper)
        return part(x, diagonal) if few is None else few

    return forward


def _diag_embed(x: Array, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Array:
    ndim = x.ndim + 1
    first, second = normalized_dim(dim1, ndim), normalized_dim(dim2, ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    if not x.ndim:
        raise RuntimeError("diag_embed: input tensor must have at least 1 dimension")
    size = x.shape[-1] + abs(offset)
    shape = list(x.shape[:-1])
    for axis in sorted((first, second)):
        shape.insert(axis, size)
    out = memory.empty(tuple(shape), x.dtype)
    copying.copy_into(out, np.zeros((), x.dtype))
    copying.copy_into(diagonal._forward(out, offset, first, second), x)
    return out


def _copy_diagonal(x: Array, offset: int) -> Array:
    within = min(max(offset, -x.shape[0]), x.shape[1])  # NumPy takes a C int
    return copying.contiguous(x.diagonal(within))


def diag(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The matrix with a diagonal, or the diagonal of a matrix."""
    if input._array.ndim == 1:
        result = diag_embed.function(input, diagonal)
    elif input._array.ndim == 2:
        result = _diagonal_copy.function(input, diagonal)
    else:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input._array.ndim}D")
    return result if out is None else out.copy_(result)


def _on_diagonal(g: Any, x_shape: Size, offset: int) -> Tensor:
    whole = g.new_zeros(x_shape)
    whole.diagonal(offset).copy_(g)
    return whole


flip = op(_flip, x=lambda g, dims: g.flip(dims))
roll = op(_roll, x=lambda g, shifts, dims: g.roll(_negated(shifts), dims))
repeat = op(_repeat, x=_summed_repeats)
tril = op(_triangle("tril"), x=lambda g, diagonal: g.tril(diagonal))
triu = op(_triangle("triu"), x=lambda g, diagonal: g.triu(diagonal))
diag_embed = op(_diag_embed, x=lambda g, offset, dim1, dim2: g.diagonal(offset, dim1, dim2))
_diagonal_copy = op(_copy_diagonal, node="DiagonalBackward0_copy", x=_on_diagonal)


register_rows(globals())

FUNCTIONS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (fliplr, flipud, rot90, tile, repeat_interleave, diag)
}
METHODS: dict[str, Callable[..., Any]] = FUNCTIONS
