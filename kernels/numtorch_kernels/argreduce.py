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
from .intrinsics import BLOCK, block_of, buffer, cast, helper, int32_at, offset, words
from .layout import aligned
from .reduce import INT64, maximum, minimum
from .reduction import along_rows, last_axis, reassociable

Array = np.ndarray[Any, Any]

CHUNK = 8192  # elements of a long flat array that one row takes
LARGE = 1 << 18  # elements from which threads pay


@helper
def above(a, b):
    """Whether a wins over an earlier b."""
    return (a > b) | (math.isnan(a) & (not math.isnan(b)))


@helper
def below(a, b):
    """Whether a wins over an earlier b."""
    return (a < b) | (math.isnan(a) & (not math.isnan(b)))


wins, extreme = above, maximum  # what a build binds


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


def rows(count, n, x, x_outer, x_inner, value, value_outer, index, index_outer):
    """For each of ``count`` rows the first element that wins over all, and its position.

    Blocks give their extremes; the position is looked for in the first block that has the winner.
    """
    memory, number = buffer(x), int32_at(words())
    nowhere = cast(number, BLOCK)
    for row in range(count):
        at = offset(x, row * x_outer)
        best, home = at[0], 0
        for start in range(0, n, BLOCK):
            size = BLOCK if n - start > BLOCK else n - start
            here = block_of(at, x_inner, memory, start, size)
            top = here[0]
            for i in range(size):
                top = extreme(top, here[i])
            if wins(top, best):
                best, home = top, start
        size, first = BLOCK if n - home > BLOCK else n - home, nowhere
        here = block_of(at, x_inner, memory, home, size)
        for i in range(size):
            hit = (here[i] == best) | math.isnan(here[i])
            candidate = cast(number, i) if hit else nowhere
            first = candidate if candidate < first else first
        value[row * value_outer] = here[first]
        index[row * index_outer] = home + first


_EXTREMES = {above: reassociable(maximum.py_func), below: reassociable(minimum.py_func)}


@cache
def rows_loop(wins: Callable[..., Any], dtype: np.dtype[Any]) -> Loop:
    """The loop that finds the winners along rows, and their positions."""
    bind = {"wins": wins, "extreme": _EXTREMES[wins]}
    return gufunc(rows, "(n)->(),()", (dtype, dtype, INT64), bind=bind)


@cache
def columns_loop(wins: Callable[..., Any], dtype: np.dtype[Any]) -> Loop:
    """The loop that finds the winners along columns, and their positions."""
    return gufunc(columns, "(n)->(),()", (dtype, dtype, INT64), bind={"wins": wins})


def _along(wins: Callable[..., Any], x: Array, axis: int) -> tuple[Array, Array]:
    """The winners along an axis, and their positions."""
    is_small = x.size < LARGE
    view = last_axis(x if is_small else aligned(x), axis)
    loop = rows_loop(wins, x.dtype) if along_rows(view) else columns_loop(wins, x.dtype)
    if is_small and view.ndim == 2:
        return loop.ufunc(view)
    outer = view.shape[:-1]
    values, indices = memory.empty(outer, x.dtype), memory.empty(outer, INT64)
    if is_small:
        loop.ufunc(view, values, indices)
    else:
        drive(loop, view, values, indices, unit=1)
    return values, indices


def _flat(wins: Callable[..., Any], x: Array) -> Array:
    """The position, in C order, of the winner of all elements."""
    row = x if x.ndim == 1 else flat(x)
    if row.size < LARGE:
        return np.asarray(rows_loop(wins, x.dtype).ufunc(row)[1])
    return _of_chunks(wins, row)


@settled()
def _of_chunks(wins: Callable[..., Any], row: Array) -> Array:
    """The position of the winner of a long row: of the winners of chunks, with that in its own."""
    whole, rest = divmod(row.size, CHUNK)
    values, inside = _along(wins, row[: row.size - rest].reshape(whole, CHUNK), 1)
    if rest:
        last = _along(wins, row[row.size - rest :], 0)
        values, inside = np.append(values, last[0]), np.append(inside, last[1])
    chunk = int(_along(wins, values, 0)[1])
    return np.array(chunk * CHUNK + int(inside[chunk]), INT64)


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
