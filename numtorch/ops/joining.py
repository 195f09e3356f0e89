"""Rows: taking tensors apart and putting them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..size import Size
from ..tensor import Tensor, normalized_dim
from .table import register_rows
from .views import view_of

Array = np.ndarray[Any, Any]


def _split_sizes(length: int, size: int) -> list[int]:
    return [min(size, length - start) for start in range(0, length, size)] or [0]


def _split_with_sizes(x: Array, split_sizes: Sequence[int], dim: int = 0) -> tuple[Array, ...]:
    if not x.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    axis = normalized_dim(dim, x.ndim)
    if any(n < 0 for n in split_sizes) or sum(split_sizes) != x.shape[axis]:
        raise RuntimeError(
            "split_with_sizes expects split_sizes to sum exactly to "
            f"{x.shape[axis]} (input tensor's size at dimension {dim}), but got split_sizes="
            f"{list(split_sizes)}"
        )
    lead, parts, start = (slice(None),) * axis, [], 0
    for n in split_sizes:
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
    length = x.shape[normalized_dim(dim, x.ndim)]
    if not split_size and length:
        raise RuntimeError(
            "split_size can only be 0 if dimension size is 0, "
            f"but got dimension size of {length}"
        )
    return _split_with_sizes(x, _split_sizes(length, split_size) if split_size else [0], dim)


def _unbind(x: Array, dim: int = 0) -> tuple[Array, ...]:
    if not x.ndim:
        raise IndexError(
            "Dimension specified as 0 but tensor has no dimensions"
            if dim in (0, -1)
            else f"Dimension out of range (expected to be in range of [-1, 0], but got {dim})"
        )
    lead = (slice(None),) * normalized_dim(dim, x.ndim)
    return tuple(x[(*lead, index, ...)] for index in range(x.shape[len(lead)]))


def joined(grads: Sequence[Tensor | None], shape: Size, dim: int, lengths: Sequence[int]) -> Tensor:
    """The gradients of the parts of a tensor along a dimension, put together."""
    axis = normalized_dim(dim, len(shape))
    like = next(grad for grad in grads if grad is not None)
    parts = [
        like.new_zeros((*shape[:axis], n, *shape[axis + 1 :])) if grad is None else grad  # type: ignore[attr-defined]
        for grad, n in zip(grads, lengths, strict=True)
    ]
    return cat(parts, axis)


register_rows(globals())
