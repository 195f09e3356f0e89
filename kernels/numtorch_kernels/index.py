"""Indexing: gather and scatter of every kind, masks, counts and searches.

Two kernels carry most of it: ``pick`` reads and ``drop`` writes at offsets from where an array
starts, and offsets are indices times a stride. Indices are int64 and in range; ask
:func:`out_of_range` first. Axes are not negative. Writes happen in the order of the indices, so
that of several to one place the last one stays, and sums round the same way every time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from . import memory
from .arithmetic import maximum, minimum
from .build import Loop, gufunc
from .copying import PAYLOADS, contiguous, flat, payload
from .drive import drive
from .intrinsics import cast, helper, one, zero
from .layout import aligned

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

_INT64, _BOOL = np.dtype(np.int64), np.dtype(np.bool_)
_CHUNK = 1 << 15  # indices that one task checks, elements in which it counts
_COLUMNS = 64  # of a wide row that one task writes


@helper
def assign(old, new):  # type: ignore[no-untyped-def]
    return new


@helper
def add(old, new):  # type: ignore[no-untyped-def]
    return old + new


@helper
def multiply(old, new):  # type: ignore[no-untyped-def]
    return old * new


def combine(old, new):  # type: ignore[no-untyped-def]
    """Stands for what becomes of an old value and a new one."""
    raise NotImplementedError


_COMBINE: dict[str, Callable[..., Any]] = {
    "assign": assign,
    "sum": add,
    "mean": add,
    "prod": multiply,
    "amax": maximum,
    "amin": minimum,
}
_COMBINE_BOOL = _COMBINE | {"sum": maximum, "prod": minimum}


def pick(count, x, x_step, index, index_step, scale, scale_step, out, out_step):  # type: ignore[no-untyped-def]
    """out[i] = x at index[i] * scale elements from its place."""
    if index_step == 0 and count > 0:
        shift = index[0] * scale[0]
        for i in range(count):
            out[i * out_step] = x[i * x_step + shift]
    else:
        for i in range(count):
            out[i * out_step] = x[i * x_step + index[i * index_step] * scale[0]]


def drop(count, m, c, index, index_outer, index_m, index_c, value, value_outer, value_m, value_c,
         scale, scale_outer, out, out_outer, out_c):  # type: ignore[no-untyped-def]  # fmt: skip
    """Combines each value into out at index * scale elements from its place, in order."""
    for row in range(count):
        for i in range(m):
            at = row * index_outer + i * index_m
            source = row * value_outer + i * value_m
            target = row * out_outer
            if index_c == 0:
                target += index[at] * scale[0]
                for j in range(c):
                    place = target + j * out_c
                    out[place] = combine(out[place], value[source + j * value_c])
            else:
                for j in range(c):
                    place = target + j * out_c + index[at + j * index_c] * scale[0]
                    out[place] = combine(out[place], value[source + j * value_c])


def bad_index(count, n, two, index, index_outer, index_step, bounds, bounds_outer, bounds_step,
              found, found_outer, found_step):  # type: ignore[no-untyped-def]  # fmt: skip
    """Of each row, whether an index is outside the bounds, and the first that is."""
    low, high = bounds[0], bounds[bounds_step]
    for row in range(count):
        bad = 0
        for i in range(n):
            value = index[row * index_outer + i * index_step]
            bad |= (value < low) | (value >= high)
        found[row * found_outer] = bad
        if bad:
            i = 0
            while low <= index[row * index_outer + i * index_step] < high:
                i += 1
            found[row * found_outer + found_step] = index[row * index_outer + i * index_step]


def offset_by(count, index, index_step, size, size_step, stride, stride_step, before, before_step,
              out, out_step):  # type: ignore[no-untyped-def]  # fmt: skip
    """out = before + stride * index, where negative indices count from the end."""
    for i in range(count):
        at = index[i * index_step]
        at += size[i * size_step] * (at < 0)
        out[i * out_step] = before[i * before_step] + at * stride[i * stride_step]


def is_true(count, x, x_step, out, out_step):  # type: ignore[no-untyped-def]
    """Whether an element is not 0."""
    for i in range(count):
        out[i * out_step] = x[i * x_step] != zero(x)


def count_true(count, n, mask, mask_outer, mask_step, out, out_step):  # type: ignore[no-untyped-def]
    """How many elements of each row are set."""
    for row in range(count):
        total = 0
        for i in range(n):
            total += mask[row * mask_outer + i * mask_step]
        out[row * out_step] = total


def locate(count, n, k, mask, mask_outer, mask_step, out, out_outer, out_step):  # type: ignore[no-untyped-def]
    """The positions at which a mask is set; the one element more in out takes what is dropped."""
    for row in range(count):
        found = 0
        for i in range(n):
            out[row * out_outer + found * out_step] = i
            found += mask[row * mask_outer + i * mask_step]


def unravel(count, d, flat, flat_step, sizes, sizes_outer, sizes_step, out, out_outer, out_step):  # type: ignore[no-untyped-def]
    """Positions in C order become one index per dimension."""
    for i in range(count):
        rest = flat[i * flat_step]
        for k in range(d - 1, -1, -1):
            size = sizes[k * sizes_step]
            out[i * out_outer + k * out_step] = rest % size
            rest //= size


def fill_masked(count, x, x_step, mask, mask_step, value, value_step, out, out_step):  # type: ignore[no-untyped-def]
    """The value where the mask is set, else x."""
    for i in range(count):
        new, old = value[i * value_step], x[i * x_step]
        out[i * out_step] = new if mask[i * mask_step] != 0 else old


def running_count(count, n, mask, mask_outer, mask_step, out, out_outer, out_step):  # type: ignore[no-untyped-def]
    """How many elements before each one are set."""
    for row in range(count):
        total = 0
        for i in range(n):
            out[row * out_outer + i * out_step] = total
            total += mask[row * mask_outer + i * mask_step]


def not_below(found, wanted):  # type: ignore[no-untyped-def]
    """Stands for what ends a search: found >= wanted, or found > wanted."""
    raise NotImplementedError


@helper
def at_least(found, wanted):  # type: ignore[no-untyped-def]
    return found >= wanted


@helper
def above(found, wanted):  # type: ignore[no-untyped-def]
    return found > wanted


def search(count, n, x, x_outer, x_step, value, value_step, out, out_step):  # type: ignore[no-untyped-def]
    """The first place in each sorted row that is not below a value; NaN is above all."""
    for i in range(count):
        wanted = value[i * value_step]
        low, high = 0, n
        while low < high:
            middle = (low + high) // 2
            if not_below(x[i * x_outer + middle * x_step], wanted):
                high = middle
            else:
                low = middle + 1
        out[i * out_step] = low


def repeat_index(count, n, m, repeats, repeats_outer, repeats_step, out, out_outer, out_step):  # type: ignore[no-untyped-def]
    """Each position as often as repeats says."""
    at = 0
    for i in range(n):
        for _ in range(repeats[i * repeats_step]):
            out[at * out_step] = i
            at += 1


def average(count, n, n_step, keep, keep_step, out, out_step):  # type: ignore[no-untyped-def]
    """Sums over how many values went in, besides the old ones where those are kept."""
    for i in range(count):
        values = n[i * n_step]
        if values:
            total = values + keep[0]
            out[i * out_step] = quotient(out[i * out_step], cast(out, total))


def quotient(total, count):  # type: ignore[no-untyped-def]
    """Stands for true or floor division."""
    raise NotImplementedError


@helper
def true_quotient(total, count):  # type: ignore[no-untyped-def]
    return total / count


@helper
def floor_quotient(total, count):  # type: ignore[no-untyped-def]
    return total // count


@cache
def _pick_loop(size: int) -> Loop:
    moved = PAYLOADS[size]
    return gufunc(pick, "(),(),()->()", (moved, _INT64, _INT64, moved))


@cache
def _drop_loop(dtype: Dtype, how: str) -> Loop:
    moved = PAYLOADS[dtype.itemsize] if how == "assign" else dtype
    table = _COMBINE_BOOL if dtype == _BOOL else _COMBINE
    signature = "(m,c),(m,c),()->(c)"
    return gufunc(drop, signature, (_INT64, moved, _INT64, moved), bind={"combine": table[how]})


def _scalar(value: int) -> Array:
    return np.array(value, _INT64)


def out_of_range(index: Array, low: int, high: int) -> int | None:
    """The first index, in C order, that is not in [low, high); None if all are."""
    values = flat(aligned(index))
    bounds = np.array([low, high])
    whole = values.size - values.size % _CHUNK
    loop = gufunc(bad_index, "(n),(b)->(b)", (_INT64, _INT64, _INT64))
    for part in (values[:whole].reshape(-1, _CHUNK), values[whole:].reshape(1, -1)):
        if part.size:
            found = np.empty((part.shape[0], 2), _INT64)
            drive(loop, part, bounds, found, work=part.size)
            if found[:, 0].any():
                return int(found[found[:, 0].argmax(), 1])
    return None


def wrapped(index: Array, size: int) -> Array:
    """Indices in which negative ones, which count from the end, are replaced."""
    return _offsets([index], [size], [1])


def _offsets(indices: Sequence[Array], sizes: Sequence[int], strides: Sequence[int]) -> Array:
    """The sum of broadcast indices times strides; negative indices count from the end."""
    shape = np.broadcast_shapes(*(index.shape for index in indices))
    loop = gufunc(offset_by, "(),(),(),()->()", (_INT64,) * 5)
    total = _scalar(0)
    for index, size, stride in zip(indices, sizes, strides, strict=True):
        out = memory.empty(shape, _INT64)
        drive(loop, aligned(index), _scalar(size), _scalar(stride), total, out)
        total = out
    return total


def gather(x: Array, axis: int, index: Array) -> Array:
    """out[..., i, ...] = x[..., index[..., i, ...], ...]; of index's shape.

    Apart from ``axis``, x may be larger than index, and is then read in part.
    """
    if x.ndim == 0:
        x, index = x.reshape(1), index.reshape(1)
        return gather(x, 0, index).reshape(())
    out = memory.empty(index.shape, x.dtype)
    if out.size:
        x = aligned(x)[tuple(slice(n) for n in (*index.shape[:axis], 1, *index.shape[axis + 1 :]))]
        _pick(x, index, _stride(x, axis), out)
    return out


def index_select(x: Array, axis: int, index: Array) -> Array:
    """The parts of x along an axis at the places in index[m], in its order."""
    out = memory.empty((*x.shape[:axis], index.size, *x.shape[axis + 1 :]), x.dtype)
    if out.size:
        x = aligned(x)
        start = x[(*(slice(None),) * axis, slice(1))]
        along = index.reshape(-1, *(1,) * (x.ndim - axis - 1))
        _pick(start, along, _stride(x, axis), out)
    return out


def _pick(start: Array, index: Array, stride: int, out: Array) -> None:
    """Reads at ``index * stride`` elements from each place of ``start``, broadcast to out."""
    drive(_pick_loop(out.itemsize), payload(start), aligned(index), _scalar(stride), payload(out))


def _stride(x: Array, axis: int) -> int:
    return x.strides[axis] // x.itemsize


def _drop(how: str, out: Array, index: Array, value: Array, stride: int) -> None:
    """Combines values into out at ``index * stride`` from its places.

    index and value are [..., m, c] and out [..., c], whose elements are where index 0 lies.
    """
    if np.may_share_memory(out, value):
        value = value.copy()
    if np.may_share_memory(out, index):
        index = index.copy()
    index, value = aligned(index), aligned(value)
    if how == "assign":
        out, value = payload(out), payload(value)
    columns = out.shape[-1]
    if out.ndim == 1 and columns % _COLUMNS == 0 and columns > _COLUMNS:
        parts = columns // _COLUMNS
        out = out.reshape(parts, _COLUMNS) if out.flags.c_contiguous else out
        if out.ndim == 2:
            index, value = (
                np.broadcast_to(x, (*x.shape[:-1], columns)).reshape(-1, parts, _COLUMNS)
                if x.strides[-1]
                else np.broadcast_to(x[..., :1, None], (x.shape[-2], parts, _COLUMNS))
                for x in (index, value)
            )
            index, value = index.swapaxes(0, 1), value.swapaxes(0, 1)
    loop = _drop_loop(out.dtype if how != "assign" else out.dtype, how)
    drive(loop, index, value, _scalar(stride), out, work=value.size)
