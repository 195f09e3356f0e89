"""Arrays made from numbers alone: constants and progressions."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from . import memory
from .build import Loop, gufunc
from .copying import copy_into
from .deferral import nobody_defers
from .drive import GRAIN, drive
from .intrinsics import cast

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

_INT64, _FLOAT64 = np.dtype(np.int64), np.dtype(np.float64)
_ROW = 4096  # elements that one task computes


def arithmetic(count, n, start, start_step, step, step_step, out, out_outer, out_step):  # fmt: skip
    """out[i] = start + i * step."""
    for row in range(count):
        first, by = start[row * start_step], step[row * step_step]
        for i in range(n):
            out[row * out_outer + i * out_step] = cast(out, first + i * by)


# Two loops that ufuncs run in one piece, without core dimensions: to them start is a number.


def progression(count, start, start_step, step, step_step, out, out_step):
    """out[i] = start + i * step."""
    for i in range(count):
        out[i * out_step] = cast(out, start[0] + i * step[0])


def between(count, start, start_step, out, out_step):
    """Likewise, the second half counted from the end; behind start lie the end and the step."""
    first, last, step = start[0], start[1], start[2]
    half = count // 2
    for i in range(half):
        out[i * out_step] = cast(out, first + i * step)
    for i in range(half, count):
        out[i * out_step] = cast(out, last + (count - 1 - i) * -step)


def geometric(count, exponent, exponent_step, base, base_step, out, out_step):
    """Out = base to the exponent."""
    for i in range(count):
        out[i * out_step] = cast(out, base[i * base_step] ** exponent[i * exponent_step])


def full(shape: tuple[int, ...], value: Any, dtype: Dtype) -> Array:
    """An array that holds a number, or what a 0-d array of its dtype does, everywhere."""
    out = memory.empty(shape, dtype)
    if out.size < GRAIN:
        out.fill(value)
        return out
    return copy_into(out, np.asarray(value, dtype))


def fill(out: Array, value: Any) -> Array:
    """Writes such a value to all elements of an array, which is not new."""
    if out.size < GRAIN and nobody_defers():
        out.fill(value)
        return out
    return copy_into(out, np.asarray(value, out.dtype))


def eye(rows: int, columns: int, dtype: Dtype) -> Array:
    """A matrix with ones on the diagonal and zeros elsewhere."""
    out = full((rows, columns), 0, dtype)
    fill(out.ravel()[: min(rows, columns) * columns : columns + 1], 1)
    return out


@cache
def _progression(dtype: Dtype) -> tuple[Dtype, Loop]:
    """What a progression is computed in, and the loop of a short one."""
    kind = _FLOAT64 if dtype.kind == "f" else _INT64
    return kind, gufunc(progression, "(),()->()", (kind, kind, dtype))


@cache
def _between(dtype: Dtype) -> Loop:
    return gufunc(between, "()->()", (_FLOAT64, dtype))


def arange(start: float, step: float, length: int, dtype: Dtype) -> Array:
    """start, start + step, ...: computed in int64 for integers and float64 for floats."""
    out = memory.empty((length,), dtype)
    kind, short = _progression(dtype)
    first, by = np.array(start, kind), np.array(step, kind)
    if length < _ROW and nobody_defers():
        short.ufunc(first, by, out)
        return out
    loop = gufunc(arithmetic, "(),()->(n)", (kind, kind, dtype))
    whole = length - length % _ROW
    starts = np.arange(0, length, _ROW).astype(kind) * by + first
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
    out = memory.empty((length,), dtype)
    if length < _ROW and dtype.kind == "f" and nobody_defers():
        _between(dtype).ufunc(np.array((start, end, step), _FLOAT64)[0, ...], out)
        return out
    half = length // 2
    copy_into(out[:half], arange(start, step, half, _FLOAT64))
    down = arange(end, -step, length - half, _FLOAT64)
    copy_into(out[half:], down[::-1])
    return out


def logspace(start: float, end: float, length: int, base: float, dtype: Dtype) -> Array:
    """``base`` to the power of each number of a linspace."""
    exponents = linspace(start, end, length, _FLOAT64)
    out = memory.empty((length,), dtype)
    loop = gufunc(geometric, "(),()->()", (_FLOAT64, _FLOAT64, dtype))
    drive(loop, exponents, np.array(base, _FLOAT64), out)
    return out
