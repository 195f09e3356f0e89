"""Softmax, cross entropy and layer normalisation: fused passes over rows that stay in cache.

Lanes are chosen as in :mod:`.reduction`: several results side by side where another axis is the
adjacent one, else shares of one result, whose maxima and sums are then folded together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import memory, reduce, scalar
from .bits import sqrt
from .build import Loop, gufunc
from .drive import drive
from .intrinsics import BLOCK, buffer, helper, load, lowest, offset, one, store, zero
from .layout import aligned
from .reduction import SHARES, is_adjacent, last_axis

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

INT64 = np.dtype(np.int64)
ROWS = 64  # rows whose gradients of layer_norm's weights are added up in turn


@helper
def add(a, b):  # type: ignore[no-untyped-def]
    return a + b


@helper
def larger(a, b):  # type: ignore[no-untyped-def]
    return a if a > b else b


@helper
def fold(lanes, width, combine):  # type: ignore[no-untyped-def]
    """Combines the lanes, and gives the result to each."""
    size = width
    while size > 1:
        half = (size + 1) // 2
        for j in range(size - half):
            lanes[j] = combine(lanes[j], lanes[half + j])
        size = half
    for j in range(1, width):
        lanes[j] = lanes[0]


@helper
def peaks_and_sums(  # type: ignore[no-untyped-def]
    peak, total, x, n, width, row_step, step, y, y_row_step, y_step, shared, keep, exp
):
    """The lanes' maxima m (NaN aside) and sums of exp(x - m), which y receives if ``keep``."""
    for j in range(width):
        peak[j] = lowest(peak)
        total[j] = zero(total)
    for first in range(0, n, width if shared else 1):
        size = n - first if shared and n - first < width else width
        for j in range(size):
            value = x[first * row_step + j * step]
            peak[j] = value if value > peak[j] else peak[j]
    if shared:
        fold(peak, width, larger)
    for first in range(0, n, width if shared else 1):
        size = n - first if shared and n - first < width else width
        from_x, to_y = offset(x, first * row_step), offset(y, first * y_row_step)
        for j in range(size):
            value = exp(load(from_x, j * step) - peak[j])
            total[j] += value
            if keep:
                store(to_y, j * y_step, value)
    if shared:
        fold(total, width, add)


def softmax(count, n, x, x_outer, x_inner, y, y_outer, y_inner):  # type: ignore[no-untyped-def]
    """exp(x - m) / sum of it, or its logarithm if not ``keep``."""
    peak, total = buffer(y), buffer(y)
    width = (SHARES if n > SHARES else n) if shared else BLOCK
    x_step, y_step = (x_inner, y_inner) if shared else (x_outer, y_outer)
    source_inner, source_step = (y_inner, y_step) if keep else (x_inner, x_step)
    start = 0
    while start < count:
        if not shared and count - start < BLOCK:
            width = count - start
        x_at, y_at = offset(x, start * x_outer), offset(y, start * y_outer)
        peaks_and_sums(
            peak, total, x_at, n, width, x_inner, x_step, y_at, y_inner, y_step, shared, keep, exp
        )
        for j in range(width):
            total[j] = one(total) / total[j] if keep else log(total[j])
        source = y_at if keep else x_at
        for first in range(0, n, width if shared else 1):
            size = n - first if shared and n - first < width else width
            here, there = offset(source, first * source_inner), offset(y_at, first * y_inner)
            for j in range(size):
                value = load(here, j * source_step)
                value = value * total[j] if keep else (value - peak[j]) - total[j]
                store(there, j * y_step, value)
        start += 1 if shared else width


def softmax_backward(  # type: ignore[no-untyped-def]
    count, n, g, g_outer, g_inner, y, y_outer, y_inner, x, x_outer, x_inner
):
    """The gradient y (g - sum(g y)) of softmax y, or g - exp(y) sum(g) of its logarithm."""
    total = buffer(x)
    width = (SHARES if n > SHARES else n) if shared else BLOCK
    g_step, y_step, x_step = (g_inner, y_inner, x_inner) if shared else (g_outer, y_outer, x_outer)
    start = 0
    while start < count:
        if not shared and count - start < BLOCK:
            width = count - start
        g_at, y_at, x_at = (
            offset(g, start * g_outer),
            offset(y, start * y_outer),
            offset(x, start * x_outer),
        )
        for j in range(width):
            total[j] = zero(total)
        for first in range(0, n, width if shared else 1):
            size = n - first if shared and n - first < width else width
            from_g, from_y = offset(g_at, first * g_inner), offset(y_at, first * y_inner)
            for j in range(size):
                total[j] += from_g[j * g_step] * (from_y[j * y_step] if keep else one(y))
        if shared:
            fold(total, width, add)
        for first in range(0, n, width if shared else 1):
            size = n - first if shared and n - first < width else width
            from_g, from_y = offset(g_at, first * g_inner), offset(y_at, first * y_inner)
            to_x = offset(x_at, first * x_inner)
            for j in range(size):
                slope, result = load(from_g, j * g_step), load(from_y, j * y_step)
                if keep:
                    store(to_x, j * x_step, result * (slope - total[j]))
                else:
                    store(to_x, j * x_step, slope - exp(result) * total[j])
        start += 1 if shared else width


_loops: dict[Any, Loop] = {}


def _loop(kernel: Callable[..., Any], signature: str, dtypes: tuple[Dtype, ...], **bind: Any) -> Loop:
    key = (kernel, dtypes, *bind.values())
    loop = _loops.get(key)
    if loop is None:
        suffix = "f32" if dtypes[0].itemsize == 4 else "f64"
        functions = {name: getattr(scalar, f"{name}_{suffix}") for name in ("exp", "log")}
        loop = _loops[key] = gufunc(kernel, signature, dtypes, bind=bind | functions)
    return loop


def _softmax(x: Array, axis: int, keep: bool) -> Array:
    out = memory.empty(x.shape, x.dtype)
    source, target = last_axis(aligned(x), axis), last_axis(out, axis)
    loop = _loop(softmax, "(n)->(n)", (x.dtype,) * 2, shared=is_adjacent(target), keep=keep)
    drive(loop, source, target)
    return out


def s1(x, axis, shared):
    out = memory.empty(x.shape, x.dtype)
    source, target = last_axis(aligned(x), axis), last_axis(out, axis)
    loop = _loop(softmax, "(n)->(n)", (x.dtype,) * 2, shared=shared, keep=True)
    drive(loop, source, target)
    return out
