"""Running totals and extremes along an axis: cumsum, cumprod, logcumsumexp, cummax, cummin.

Floats are accumulated in float64 and each result is rounded once; integers in int64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import memory
from .build import Loop
from .drive import GRAIN, drive
from .intrinsics import (
    BLOCK,
    buffer,
    cast,
    float64_at,
    helper,
    int32_at,
    int64_at,
    lowest,
    offset,
    one,
    words,
    zero,
)
from .layout import aligned
from .prefix import LANES, running_sums
from .reduce import INT64, WIDE, multiply
from .reduction import add, bound, is_adjacent, last_axis
from .scalar import exp_f64, log1p_f64

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

_COST = 12  # what an element takes here is what twelve of a sum take


@helper
def add_logarithms(a, b):
    """log(exp(a) + exp(b))."""
    peak, other = (a, b) if (a >= b) | math.isnan(a) else (b, a)
    if peak == other and peak - peak != 0:
        return peak  # both are the same infinity
    return peak + log1p_f64(exp_f64(other - peak))


@helper
def not_below(a, b):
    """Whether a, that comes after b, takes its place: it does so if they are equal, or if NaN."""
    return (a >= b) | math.isnan(a)


@helper
def not_above(a, b):
    """Whether a, that comes after b, takes its place: it does so if they are equal, or if NaN."""
    return (a <= b) | math.isnan(a)


# What a build binds, here as for cumsum and cummax of floats
accumulator, identity, combine, replaces = float64_at, zero, add, not_below


def totals_rows(count, n, x, x_outer, x_inner, out, out_outer, out_inner):
    """The running totals of each row; four at once, as each addition waits for the one before."""
    wide = accumulator(words())
    fours = count - count % 4
    for row in range(0, fours, 4):
        x0, y0 = offset(x, row * x_outer), offset(out, row * out_outer)
        x1, y1 = offset(x0, x_outer), offset(y0, out_outer)
        x2, y2 = offset(x1, x_outer), offset(y1, out_outer)
        x3, y3 = offset(x2, x_outer), offset(y2, out_outer)
        a, b, c, d = identity(wide), identity(wide), identity(wide), identity(wide)
        for i in range(n):
            a = combine(a, cast(wide, x0[i * x_inner]))
            b = combine(b, cast(wide, x1[i * x_inner]))
            c = combine(c, cast(wide, x2[i * x_inner]))
            d = combine(d, cast(wide, x3[i * x_inner]))
            at = i * out_inner
            y0[at], y1[at], y2[at], y3[at] = cast(out, a), cast(out, b), cast(out, c), cast(out, d)
    for row in range(fours, count):
        here, there = offset(x, row * x_outer), offset(out, row * out_outer)
        total = identity(wide)
        for i in range(n):
            total = combine(total, cast(wide, here[i * x_inner]))
            there[i * out_inner] = cast(out, total)


def sums_rows(count, n, x, x_outer, x_inner, out, out_outer, out_inner):
    """The running sums of each row, for elements that are summed in a wider type than theirs."""
    wide = accumulator(words())
    whole = n - n % LANES if x_inner == 1 and out_inner == 1 else 0
    for row in range(count):
        here, there = offset(x, row * x_outer), offset(out, row * out_outer)
        total = zero(wide)
        for i in range(0, whole, LANES):
            total = running_sums(offset(here, i), offset(there, i), total)
        for i in range(whole, n):
            total = cast(wide, total + cast(wide, here[i * x_inner]))
            there[i * out_inner] = cast(out, total)


def totals_columns(count, n, x, x_outer, x_inner, out, out_outer, out_inner):
    """The running totals of each column."""
    total = accumulator(words())
    for start in range(0, count, BLOCK):
        width = BLOCK if count - start > BLOCK else count - start
        for j in range(width):
            total[j] = identity(total)
        for i in range(n):
            here = offset(x, start * x_outer + i * x_inner)
            there = offset(out, start * out_outer + i * out_inner)
            for j in range(width):
                now = combine(total[j], cast(total, here[j * x_outer]))
                total[j] = now
                there[j * out_outer] = cast(out, now)


def extremes_rows(
    count, n, x, x_outer, x_inner, value, value_outer, value_inner, index, index_outer, index_inner
):
    """The running extremes of each row, and where each was found last."""
    for row in range(count):
        here = offset(x, row * x_outer)
        best, where = here[0], 0
        for i in range(n):
            now = here[i * x_inner]
            if replaces(now, best):
                best, where = now, i
            value[row * value_outer + i * value_inner] = best
            index[row * index_outer + i * index_inner] = where


def extremes_columns(
    count, n, x, x_outer, x_inner, value, value_outer, value_inner, index, index_outer, index_inner
):
    """The running extremes of each column, and where each was found last."""
    best, where = buffer(value), int32_at(words())
    for start in range(0, count, BLOCK):
        width = BLOCK if count - start > BLOCK else count - start
        for j in range(width):
            best[j], where[j] = x[(start + j) * x_outer], 0
        for i in range(n):
            here = offset(x, start * x_outer + i * x_inner)
            to_value = offset(value, start * value_outer + i * value_inner)
            to_index = offset(index, start * index_outer + i * index_inner)
            place = cast(where, i)
            for j in range(width):
                now = here[j * x_outer]
                taken = replaces(now, best[j])
                best[j] = now if taken else best[j]
                where[j] = place if taken else where[j]
                to_value[j * value_outer] = best[j]
                to_index[j * index_outer] = where[j]


def _totals(
    combine: Callable[..., Any], identity: Any, x: Array, axis: int, dtype: Dtype | None
) -> Array:
    dtype = dtype or WIDE[x.dtype]
    work = _COST * x.size
    if axis == x.ndim - 1 and work < GRAIN and x.flags.c_contiguous:
        return _totals_loop(combine, identity, x.dtype, dtype, True).ufunc(x)
    out = memory.empty(x.shape, dtype)
    along = out.strides[axis] == dtype.itemsize
    loop = _totals_loop(combine, identity, x.dtype, dtype, along)
    if work < GRAIN:
        loop.ufunc(last_axis(x, axis), last_axis(out, axis))
    else:
        drive(loop, last_axis(aligned(x), axis), last_axis(out, axis), work=work, unit=1)
    return out


@cache
def _totals_loop(
    combine: Callable[..., Any], identity: Any, source: Dtype, target: Dtype, along: bool
) -> Loop:
    accumulator = float64_at if target.kind == "f" else int64_at
    signature, dtypes = "(n)->(n)", (source, target)
    narrow = source.itemsize < 8 and (source.kind == "f") == (target.kind == "f")
    if combine is add and along and narrow:
        return bound(sums_rows, signature, dtypes, accumulator=accumulator)
    kernel = totals_rows if along else totals_columns
    return bound(
        kernel, signature, dtypes, accumulator=accumulator, combine=combine, identity=identity
    )


def _extremes(replaces: Callable[..., Any], x: Array, axis: int) -> tuple[Array, Array]:
    values, indices = memory.empty(x.shape, x.dtype), memory.empty(x.shape, INT64)
    views = [last_axis(array, axis) for array in (aligned(x), values, indices)]
    kernel = extremes_rows if is_adjacent(views[1]) else extremes_columns
    if x.size:
        loop = bound(kernel, "(n)->(n),(n)", (x.dtype, x.dtype, INT64), replaces=replaces)
        drive(loop, *views, unit=1)
    return values, indices


def cumsum(x: Array, axis: int, dtype: Dtype | None = None) -> Array:
    """The running sums along an axis, in ``dtype``: by default int64 for integers, else x's."""
    return _totals(add, zero, x, axis, dtype)


def cumprod(x: Array, axis: int, dtype: Dtype | None = None) -> Array:
    """The running products along an axis, in ``dtype``: by default int64 for integers, else x's."""
    return _totals(multiply, one, x, axis, dtype)


def logcumsumexp(x: Array, axis: int) -> Array:
    """The logarithms of the running sums of exp(x), for floats."""
    return _totals(add_logarithms, lowest, x, axis, x.dtype)


def cummax(x: Array, axis: int) -> tuple[Array, Array]:
    """The running maxima along an axis and their positions: the last of equals, the last NaN."""
    return _extremes(not_below, x, axis)


def cummin(x: Array, axis: int) -> tuple[Array, Array]:
    """The running minima along an axis and their positions: the last of equals, the last NaN."""
    return _extremes(not_above, x, axis)
