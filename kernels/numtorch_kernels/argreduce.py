"""Positions of extremes: argmax, argmin, and max and min along an axis with their indices.

The first of equal elements wins, and the first NaN over everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import memory
from .build import Loop, gufunc
from .copying import flat
from .deferral import settled
from .drive import drive
from .intrinsics import BLOCK, buffer, cast, helper, int32_at, offset, words
from .layout import aligned
from .reduce import INT64, amax, amin
from .reduction import SHORT, bound, is_adjacent, last_axis

Array = np.ndarray[Any, Any]

CHUNK = 8192  # elements of a long flat array that one row takes
LARGE = 1 << 18  # elements from which threads pay, and two passes over chunks of a long row
FEW = 1 << 12  # elements in one row below which one loop is quicker than two vectorised ones


@helper
def above(a, b):
    """Whether a wins over an earlier b."""
    return (a > b) | (math.isnan(a) & (not math.isnan(b)))


@helper
def below(a, b):
    """Whether a wins over an earlier b."""
    return (a < b) | (math.isnan(a) & (not math.isnan(b)))


wins = above  # what a build binds


def columns(count, n, x, x_outer, x_inner, value, value_outer, index, index_outer):
    """For each of ``count`` columns the element that wins over all before, and its position."""
    best, where = buffer(value), int32_at(words())
    for start in range(0, count, BLOCK):
        width = BLOCK if count - start > BLOCK else count - start
        at = offset(x, start * x_outer)
        for j in range(width):
            best[j] = at[j * x_outer]
            where[j] = 0
        for row in range(1, n):
            here, now = offset(at, row * x_inner), cast(where, row)
            for j in range(width):
                candidate = here[j * x_outer]
                better = wins(candidate, best[j])
                best[j] = candidate if better else best[j]
                where[j] = now if better else where[j]
        for j in range(width):
            value[(start + j) * value_outer] = best[j]
            index[(start + j) * index_outer] = where[j]


def position(count, n, x, x_outer, x_inner, value, value_outer, index, index_outer):
    """The position of the first element that equals a value, or is NaN as that is."""
    number = int32_at(words())
    nowhere = cast(number, BLOCK)
    for row in range(count):
        at, found = offset(x, row * x_outer), value[row * value_outer]
        start, first = 0, nowhere
        while first == nowhere and start < n:
            here, size = offset(at, start * x_inner), BLOCK if n - start > BLOCK else n - start
            for j in range(size):
                element = here[j * x_inner]
                hit = (element == found) | math.isnan(element)
                candidate = cast(number, j) if hit else nowhere
                first = candidate if candidate < first else first
            start += BLOCK
        index[row * index_outer] = start - BLOCK + first


_EXTREMES = {above: amax, below: amin}


@cache
def columns_loop(wins: Callable[..., Any], dtype: np.dtype[Any]) -> Loop:
    """The loop that finds the winners along columns, and their positions."""
    return gufunc(columns, "(n)->(),()", (dtype, dtype, INT64), bind={"wins": wins})


def _along(wins: Callable[..., Any], x: Array, axis: int) -> tuple[Array, Array]:
    """The winners along an axis, and their positions."""
    rows = last_axis(x if x.size < LARGE else aligned(x), axis)
    outer, n = rows.shape[:-1], rows.shape[-1]
    indices = memory.empty(outer, INT64)
    kinds = (x.dtype, x.dtype, INT64)
    if n >= SHORT and is_adjacent(rows):
        values = _EXTREMES[wins](x, (axis,))
        loop = bound(position, "(n),()->()", kinds)
    else:
        values = memory.empty(outer, x.dtype)
        loop = columns_loop(wins, x.dtype)
    if x.size < LARGE:
        loop.ufunc(rows, values, indices)
    else:
        drive(loop, rows, values, indices, unit=1)
    return values, indices


def _flat(wins: Callable[..., Any], x: Array) -> Array:
    """The position, in C order, of the winner of all elements."""
    row = x if x.ndim == 1 else flat(x)
    if row.size < FEW:
        return np.asarray(columns_loop(wins, x.dtype).ufunc(row)[1])
    whole = row.size // CHUNK * CHUNK
    if row.size < LARGE:
        return _along(wins, row, 0)[1]
    return _of_chunks(wins, row, whole)


@settled()
def _of_chunks(wins: Callable[..., Any], row: Array, whole: int) -> Array:
    """The position of the winner of a long row: of the winners of chunks, then in its chunk."""
    extreme = _EXTREMES[wins]
    parts = [extreme(row[:whole].reshape(-1, CHUNK), (1,))]
    if whole < row.size:
        parts.append(extreme(row[whole:], (0,), True))
    chunk = int(_along(wins, np.concatenate(parts), 0)[1])
    inside = _along(wins, row[chunk * CHUNK : (chunk + 1) * CHUNK], 0)[1]
    return np.array(chunk * CHUNK + int(inside), INT64)


def _positions(wins: Callable[..., Any], x: Array, axis: int | None, keepdims: bool) -> Array:
    if axis is None:
        found = _flat(wins, x)
        return found.reshape((1,) * x.ndim) if keepdims else found
    found = _along(wins, x, axis)[1]
    return np.expand_dims(found, axis) if keepdims else found


def _pair(wins: Callable[..., Any], x: Array, axis: int, keepdims: bool) -> tuple[Array, Array]:
    values, indices = _along(wins, x, axis)
    if keepdims:
        return np.expand_dims(values, axis), np.expand_dims(indices, axis)
    return values, indices


def argmax(x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
    """The position of the largest element along an axis, or in C order of all; not of none."""
    return _positions(above, x, axis, keepdims)


def argmin(x: Array, axis: int | None = None, keepdims: bool = False) -> Array:
    """The position of the smallest element along an axis, or in C order of all; not of none."""
    return _positions(below, x, axis, keepdims)


def max(x: Array, axis: int, keepdims: bool = False) -> tuple[Array, Array]:
    """The largest elements along an axis, and their positions."""
    return _pair(above, x, axis, keepdims)


def min(x: Array, axis: int, keepdims: bool = False) -> tuple[Array, Array]:
    """The smallest elements along an axis, and their positions."""
    return _pair(below, x, axis, keepdims)
