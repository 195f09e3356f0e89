"""Copies between any two layouts, with or without a change of dtype, and what is made of copies.

Kernels that only move values are built once per item size, not once per dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import memory
from .build import Loop, gufunc
from .deferral import deferring
from .drive import drive
from .expression import cast, symbol
from .intrinsics import buffer, offset, zero
from .layout import aligned, result
from .pointwise import loop_of

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

PAYLOADS = {size: np.dtype(name) for size, name in ((1, "u1"), (2, "i2"), (4, "i4"), (8, "i8"))}
"""The dtypes that values of each item size are moved as."""

TILE = 16  # elements: of float32 a cache line, and two tiles fit a stack buffer
SQUARE = 8  # rows and columns that are transposed in registers
_BAND = 8 * TILE  # rows of a transposed matrix that one task copies
_TILED = 32768  # elements from which a transpose no longer fits the cache line by line
_SMALL = 4096  # elements; below, all is in the nearest cache, and NumPy's copies do


def copy(count, x, x_step, out, out_step):
    """Copies x to out."""
    for i in range(count):
        out[i * out_step] = x[i * x_step]


@intrinsic
def transpose_square(_context, x, x_step, out, out_step):
    """Copies SQUARE vectors of as many adjacent elements, and turns rows into columns.

    In each of three steps, blocks of half the size before change places (Eklundh, "A fast computer
    method for matrix transposing", 1972), by vector shuffles.
    """

    def codegen(context, builder, _signature, arguments):
        source, source_step, target, target_step = arguments
        vector = ir.VectorType(source.type.pointee, SQUARE)
        item = context.get_abi_sizeof(source.type.pointee)

        def row(start, step, k):
            place = builder.gep(start, [builder.mul(step, ir.Constant(step.type, k))])
            return builder.bitcast(place, vector.as_pointer())

        rows = [builder.load(row(source, source_step, k), align=item) for k in range(SQUARE)]
        half = SQUARE // 2
        while half:
            upper = [k if not k & half else SQUARE + k - half for k in range(SQUARE)]
            lower = [k + half if not k & half else SQUARE + k for k in range(SQUARE)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), SQUARE), m) for m in (upper, lower)]
            for k in range(SQUARE):
                if not k & half:
                    pair = rows[k], rows[k + half]
                    rows[k], rows[k + half] = (builder.shuffle_vector(*pair, m) for m in masks)
            half //= 2
        for k, each in enumerate(rows):
            builder.store(each, row(target, target_step, k), align=item)
        return context.get_dummy_value()

    return types.void(x, types.intp, out, types.intp), codegen


def transpose(count, r, c, x, x_outer, x_r, x_c, out, out_outer, out_r, out_c):
    """Copies x to out by tiles: cache lines are read along r and written along c, each once."""
    tile = buffer(x)
    for outer in range(count):
        for r0 in range(0, r, TILE):
            height = min(TILE, r - r0)
            for c0 in range(0, c, TILE):
                width = min(TILE, c - c0)
                source = outer * x_outer + r0 * x_r + c0 * x_c
                target = outer * out_outer + r0 * out_r + c0 * out_c
                if height == TILE and width == TILE and x_r == 1 and out_c == 1:
                    for j in range(0, TILE, SQUARE):
                        for i in range(0, TILE, SQUARE):
                            here = offset(x, source + i + j * x_c)
                            there = offset(out, target + i * out_r + j)
                            transpose_square(here, x_c, there, out_r)
                    continue
                for j in range(width):
                    for i in range(height):
                        tile[i * TILE + j] = x[source + i * x_r + j * x_c]
                for i in range(height):
                    for j in range(width):
                        out[target + i * out_r + j * out_c] = tile[i * TILE + j]


def keep(count, n, x, x_outer, x_step, first, first_step, last, last_step,
         out, out_outer, out_step):  # fmt: skip
    """Each row keeps its elements from first up to last; the others become 0."""
    for row in range(count):
        low, high = first[row * first_step], last[row * last_step]
        for i in range(n):
            value = x[row * x_outer + i * x_step]
            out[row * out_outer + i * out_step] = value if low <= i < high else zero(out)


def moved(array: Array, axis: int, to: int) -> Array:
    """A view with an axis moved to a place, from which on the others follow in their order."""
    order = list(range(array.ndim))
    order.insert(to % array.ndim, order.pop(axis))
    return array.transpose(order)


def expanded(array: Array, shape: tuple[int, ...]) -> Array:
    """The array broadcast to a shape, as a view."""
    if array.shape == shape:
        return array
    if not array.flags.c_contiguous or not array.size:
        return np.broadcast_to(array, shape)
    missing = len(shape) - array.ndim
    steps = [0] * missing
    for had, wanted, step in zip(array.shape, shape[missing:], array.strides, strict=True):
        steps.append(0 if had == 1 != wanted else step)
    return np.ndarray(shape, array.dtype, array, 0, steps)  # a fifth of what broadcast_to takes


def payload(array: Array) -> Array:
    """The array's memory as integers of its item size."""
    return array.view(PAYLOADS[array.itemsize])


@cache
def copy_loop(source: Dtype, target: Dtype) -> Loop:
    """The loop that copies from one dtype to another."""
    if source == target:
        size = PAYLOADS[source.itemsize]
        return gufunc(copy, "()->()", (size, size))
    return conversion_loop(source, target)


def conversion_loop(source: Dtype, target: Dtype) -> Loop:
    """The loop that copies and casts, whose expression is known."""
    return loop_of([cast(symbol(0, source), target)], (source,))


def copy_into(out: Array, x: Array) -> Array:
    """Writes x, broadcast and cast to out's dtype, into out, and returns out.

    The two may share memory: what is written is what x held before.
    """
    if deferring():
        if np.may_share_memory(out, x):
            x = copy_into(memory.empty(x.shape, x.dtype), x)
        conversion_loop(x.dtype, out.dtype).ufunc(x, out)
        return out
    if out.size < _SMALL:
        if out.dtype == x.dtype:
            np.copyto(out, x)
        else:
            copy_loop(x.dtype, out.dtype).ufunc(x, out)
        return out
    if np.may_share_memory(out, x):
        x = x.copy()
    if out.dtype == x.dtype:
        source, target = payload(aligned(x)), payload(out)
        if _transpose_into(target, source):
            return out
        drive(copy_loop(x.dtype, out.dtype), source, target)
    else:
        drive(copy_loop(x.dtype, out.dtype), aligned(x), out)
    return out


def _transpose_into(out: Array, x: Array) -> bool:
    """Copies by tiles if x and out are contiguous along different axes; says whether it did."""
    if x.shape != out.shape:
        return False
    fastest = [
        next((k for k in range(a.ndim) if a.strides[k] == a.itemsize and a.shape[k] >= TILE), None)
        for a in (x, out)
    ]
    r, c = fastest
    if r is None or c is None or r == c:
        return False
    source, target = (np.moveaxis(a, (r, c), (-2, -1)) for a in (x, out))
    loop = gufunc(transpose, "(r,c)->(r,c)", (x.dtype, x.dtype))
    rows = source.shape[-2]
    whole = rows - rows % _BAND if out.size >= _TILED else 0
    if whole:
        bands = (*source.shape[:-2], whole // _BAND, _BAND, source.shape[-1])
        drive(loop, _split(source[..., :whole, :], bands), _split(target[..., :whole, :], bands))
    if whole < rows:
        drive(loop, source[..., whole:, :], target[..., whole:, :])
    return True


def _split(array: Array, shape: tuple[int, ...]) -> Array:
    """A view of a shape in which one axis is cut in two."""
    view = array.view()
    view.shape = shape
    return view


def contiguous(x: Array, dtype: Dtype | None = None) -> Array:
    """A C-contiguous copy, in a dtype if one is given."""
    return copy_into(memory.empty(x.shape, dtype or x.dtype), x)


def laid_out_as(x: Array, out: Array) -> Array:
    """The array, or a copy that lies in memory as another does, if that makes loops quicker.

    A loop along rows of one and columns of the other takes twice as long as a transposing copy and
    a loop along the rows of both.
    """
    if x.shape != out.shape or x.size < _TILED or x.strides == out.strides:
        return x
    steps = [[abs(s) for s, n in zip(a.strides, a.shape, strict=True) if n > 1] for a in (x, out)]
    if np.argmin(steps[0]) == np.argmin(steps[1]) or 0 in x.strides:
        return x
    return copy_into(result(x.shape, x.dtype, (out,)), x)


def flat(x: Array) -> Array:
    """The elements in C order, as a view if x is C-contiguous."""
    return (x if x.flags.c_contiguous else contiguous(x)).reshape(-1)


def reshaped(x: Array, *shape: int) -> Array:
    """The elements in C order in another shape: a view if there is one, else a copy.

    NumPy's own ``reshape`` would copy at once, before launches that are put off.
    """
    try:
        return np.reshape(x, shape, copy=False)
    except ValueError:
        return contiguous(x).reshape(shape)


def cat(arrays: Sequence[Array], axis: int, out: Array) -> Array:
    """Writes the arrays one after another along an axis into out, cast to its dtype."""
    if out.size < _SMALL and not deferring():
        for x in arrays:
            if x.dtype != out.dtype:
                break
        else:
            return np.concatenate(arrays, axis, out)
    at = (slice(None),) * axis
    start = 0
    for x in arrays:
        stop = start + x.shape[axis]
        copy_into(out[(*at, slice(start, stop))], x)
        start = stop
    return out


def flip(x: Array, axes: tuple[int, ...]) -> Array:
    """A copy whose elements stand in reverse order along the axes."""
    return contiguous(np.flip(x, axes) if x.ndim else x)  # of no axes, flip gives a number


def roll(x: Array, shifts: Sequence[int], axes: Sequence[int]) -> Array:
    """A copy whose elements are moved on by ``shifts`` along the axes, around the end."""
    for shift, axis in zip(shifts, axes, strict=True):
        size = x.shape[axis]
        split = -shift % size if size else 0
        at = (slice(None),) * axis
        x = cat((x[(*at, slice(split, None))], x[(*at, slice(split))]), axis, np.empty_like(x))
    return x if axes else contiguous(x)


def tril(x: Array, diagonal: int = 0) -> Array:
    """The lower triangles of the last two axes, up to a diagonal; the rest is 0."""
    rows = np.arange(x.shape[-2]) + (diagonal + 1)
    return _keep(x, np.zeros_like(rows), rows)


def triu(x: Array, diagonal: int = 0) -> Array:
    """The upper triangles of the last two axes, from a diagonal on; the rest is 0."""
    rows = np.arange(x.shape[-2]) + diagonal
    return _keep(x, rows, np.full_like(rows, x.shape[-1]))


def _keep(x: Array, first: Array, last: Array) -> Array:
    out = memory.empty(x.shape, x.dtype)
    size, word = PAYLOADS[x.itemsize], PAYLOADS[8]
    loop = gufunc(keep, "(n),(),()->(n)", (size, word, word, size))
    drive(loop, payload(aligned(x)), first, last, payload(out))
    return out
