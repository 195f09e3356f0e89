"""Arrays made from numbers alone: constants and progressions."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import memory
from .build import gufunc
from .copying import copy_into
from .drive import GRAIN, drive
from .intrinsics import cast

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

_ROW = 4096  # elements that one task computes


def arithmetic(count, n, start, start_step, step, step_step, out, out_outer, out_step):  # fmt: skip
    """out[i] = start + i * step."""
    for row in range(count):
        first, by = start[row * start_step], step[row * step_step]
        for i in range(n):
            out[row * out_outer + i * out_step] = cast(out, first + i * by)


def geometric(count, exponent, exponent_step, base, base_step, out, out_step):
    """Out = base to the exponent."""
    for i in range(count):
        out[i * out_step] = cast(out, base[i * base_step] ** exponent[i * exponent_step])


def full(shape: tuple[int, ...], value: Array) -> Array:
    """An array of a 0-d array's dtype that holds its value everywhere."""
    out = memory.empty(shape, value.dtype)
    if out.size < GRAIN:
        out.fill(value)
        return out
    return copy_into(out, value)


def arange(start: float, step: float, length: int, dtype: Dtype) -> Array:
    """start, start + step, ...: computed in int64 for integers and float64 for floats."""
    kind = np.dtype(np.float64 if dtype.kind == "f" else np.int64)
    out = memory.empty((length,), dtype)
    loop = gufunc(arithmetic, "(),()->(n)", (kind, kind, dtype))
    whole = length - length % _ROW
    by = np.array(step, kind)
    starts = np.arange(0, length, _ROW).astype(kind) * by + np.array(start, kind)
    if whole:
        drive(loop, starts[: whole // _ROW], by, out[:whole].reshape(-1, _ROW), work=whole)
    if whole < length:
        loop.ufunc(starts[-1], by, out[whole:])
    return out


def linspace(start: float, end: float, length: int, dtype: Dtype) -> Array:
    """``length`` numbers from start to end at equal distances, each half counted from its end."""
    if length < 2:
        return arange(start, 0, length, dtype)
    step = (end - start) / (length - 1)
    half = length // 2
    out = memory.empty((length,), dtype)
    copy_into(out[:half], arange(start, step, half, np.dtype(np.float64)))
    down = arange(end, -step, length - half, np.dtype(np.float64))
    copy_into(out[half:], down[::-1])
    return out


def logspace(start: float, end: float, length: int, base: float, dtype: Dtype) -> Array:
    """``base`` to the power of each number of a linspace."""
    exponents = linspace(start, end, length, np.dtype(np.float64))
    out = memory.empty((length,), dtype)
    double = np.dtype(np.float64)
    drive(
        gufunc(geometric, "(),()->()", (double, double, dtype)),
        exponents,
        np.array(base, double),
        out,
    )
    return out
