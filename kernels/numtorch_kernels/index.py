"""Indexing: gather and scatter of every kind, masks and counts.

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

from . import memory, picking
from .arithmetic import maximum, minimum
from .build import Loop, gufunc
from .copying import PAYLOADS, contiguous, copy_into, expanded, flat, moved, payload, reshaped
from .deferral import deferring, settled
from .drive import drive
from .expression import symbol, where
from .intrinsics import cast, helper, zero
from .layout import aligned, common_shape
from .pointwise import loop_of

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

_INT64, _BOOL = np.dtype(np.int64), np.dtype(np.bool_)
_CHUNK = 1 << 15  # indices that one task checks
_COLUMNS = 64  # of a wide row that one task writes


@helper
def assign(old, new):
    """The new value."""
    return new


@helper
def add(old, new):
    """The sum."""
    return old + new


@helper
def multiply(old, new):
    """The product."""
    return old * new


def combine(old, new):
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


def pick(count, one, x, x_step, x_inner, index, index_step, scale, scale_step, out, out_step):
    """Reads at index * scale elements from each place of x.

    x has a core dimension of 1 only because NumPy hands no copies to loops that have one.
    """
    if index_step == 0 and count > 0:
        shift = index[0] * scale[0]
        for i in range(count):
            out[i * out_step] = x[i * x_step + shift]
    else:
        for i in range(count):
            out[i * out_step] = x[i * x_step + index[i * index_step] * scale[0]]


def drop(count, m, o, c, index, index_outer, index_m, index_o, value, value_outer, value_m, value_c,
         scale, scale_outer, out, out_outer, out_c):  # fmt: skip
    """Combines each value into out at index * scale elements from its place, in order.

    There is one index for all columns of a value (o is 1), or one for each.
    """
    for row in range(count):
        for i in range(m):
            at = row * index_outer + i * index_m
            source = row * value_outer + i * value_m
            target = row * out_outer
            if o == 1:
                target += index[at] * scale[0]
                for j in range(c):
                    place = target + j * out_c
                    out[place] = combine(out[place], value[source + j * value_c])
            else:
                for j in range(c):
                    place = target + j * out_c + index[at + j * index_o] * scale[0]
                    out[place] = combine(out[place], value[source + j * value_c])


def bad_index(count, n, two, index, index_outer, index_step, bounds, bounds_outer, bounds_step,
              found, found_outer, found_step):  # fmt: skip
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
              out, out_step):  # fmt: skip
    """Adds stride * index to what was before; negative indices count from the end."""
    for i in range(count):
        at = index[i * index_step]
        at += size[i * size_step] * (at < 0)
        out[i * out_step] = before[i * before_step] + at * stride[i * stride_step]


def is_true(count, x, x_step, out, out_step):
    """Whether an element is not 0."""
    for i in range(count):
        out[i * out_step] = x[i * x_step] != zero(x)


def count_true(count, n, mask, mask_outer, mask_step, out, out_step):
    """How many elements of each row are set."""
    for row in range(count):
        total = 0
        for i in range(n):
            total += mask[row * mask_outer + i * mask_step]
        out[row * out_step] = total


def locate(count, n, k, mask, mask_outer, mask_step, out, out_outer, out_step):
    """The positions at which a mask is set; the one element more in out takes what is dropped."""
    for row in range(count):
        found = 0
        for i in range(n):
            out[row * out_outer + found * out_step] = i
            found += mask[row * mask_outer + i * mask_step]


def unravel(count, d, flat, flat_step, sizes, sizes_outer, sizes_step, out, out_outer, out_step):
    """Ascending positions in C order become one index per dimension, by division once a row.

    There is at least one dimension.
    """
    last = sizes[(d - 1) * sizes_step]
    start = np.int64(0)
    for i in range(count):
        position, row = flat[i * flat_step], i * out_outer
        if i == 0 or position - start >= last:
            rest = position // last
            start = rest * last
            for k in range(d - 2, -1, -1):
                size = sizes[k * sizes_step]
                out[row + k * out_step] = rest % size
                rest //= size
        else:
            for k in range(d - 1):
                out[row + k * out_step] = out[row - out_outer + k * out_step]
        out[row + (d - 1) * out_step] = position - start


def repeat_index(count, n, m, repeats, repeats_outer, repeats_step, out, out_outer, out_step):
    """Each position as often as repeats says."""
    at = 0
    for i in range(n):
        for _ in range(repeats[i * repeats_step]):
            out[at * out_step] = i
            at += 1


def average(count, n, n_step, keep, keep_step, out, out_step):
    """Sums over how many values went in, besides the old ones where those are kept."""
    for i in range(count):
        values = n[i * n_step]
        if values:
            total = values + keep[0]
            out[i * out_step] = quotient(out[i * out_step], cast(out, total))


def quotient(total, count):
    """Stands for true or floor division."""
    raise NotImplementedError


@helper
def true_quotient(total, count):
    """The quotient of floats."""
    return total / count


@helper
def floor_quotient(total, count):
    """The floor of the quotient of integers."""
    return total // count


@cache
def _pick_loop(size: int) -> Loop:
    moving = PAYLOADS[size]
    return gufunc(pick, "(o),(),()->()", (moving, _INT64, _INT64, moving))


@cache
def _drop_loop(dtype: Dtype, how: str) -> Loop:
    size = PAYLOADS[dtype.itemsize] if how == "assign" else dtype
    table = _COMBINE_BOOL if dtype == _BOOL else _COMBINE
    dtypes = (_INT64, size, _INT64, size)
    bind = {"combine": table[how]}
    return gufunc(drop, "(m,o),(m,c),()->(c)", dtypes, bind=bind, updates=True)


@cache
def _fill_loop(dtype: Dtype) -> Loop:
    """The loop for the value where the mask is set, else x."""
    x, mask, value = symbol(0, dtype), symbol(1, _BOOL), symbol(2, dtype)
    return loop_of([where(mask, value, x)], (dtype, _BOOL, dtype))


def _scalar(value: int) -> Array:
    return np.array(value, _INT64)


@cache
def _bounds_loop() -> Loop:
    return gufunc(bad_index, "(n),(b)->(b)", (_INT64, _INT64, _INT64))


@settled()
def out_of_range(index: Array, low: int, high: int) -> int | None:
    """The first index, in C order, that is not in [low, high); None if all are."""
    distinct = index[tuple([slice(None) if step else slice(1) for step in index.strides])]
    values = flat(aligned(distinct))
    bounds = np.array((low, high))
    loop = _bounds_loop()
    if values.size <= _CHUNK:
        found = np.empty(2, _INT64)
        loop.ufunc(values, bounds, found)
        return int(found[1]) if found[0] else None
    whole = values.size - values.size % _CHUNK
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
    shape = common_shape(indices)
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
    loop = _pick_loop(out.itemsize)
    drive(loop, payload(start)[..., None], aligned(index), _scalar(stride), payload(out))


def _stride(x: Array, axis: int) -> int:
    return x.strides[axis] // x.itemsize


@settled()
def _drop(how: str, out: Array, index: Array, value: Array, stride: int) -> None:
    """Combines values into out at ``index * stride`` from its places.

    value is [..., m, c], index [..., m, c] or [..., m, 1], and out [..., c], whose elements are
    where index 0 lies.
    """
    loop = _drop_loop(out.dtype, how)
    index, value = (
        contiguous(x) if np.may_share_memory(out, x) else aligned(x) for x in (index, value)
    )
    if how == "assign":
        out, value = payload(out), payload(value)
    if out.ndim == 1 and out.size > _COLUMNS and out.size % _COLUMNS == 0:
        out, value = (_cut(x) for x in (out, value))
        if index.shape[-1] > 1:
            index = _cut(index)
    work = value.size if out.ndim > 1 else 0  # what is one row is one task
    drive(loop, index, value, _scalar(stride), out, work=work)


def _cut(x: Array) -> Array:
    """A view in which the last axis is cut into pieces, which the first axis numbers."""
    return moved(x.reshape(*x.shape[:-1], -1, _COLUMNS), -2, 0)


def _drop_along(how: str, out: Array, axis: int, index: Array, value: Array) -> None:
    """Combines values into out at places along an axis; index and value have out's dimensions."""
    if not value.size:
        return
    if axis == out.ndim - 1:
        start, index, value = out[..., :1], index[..., None], value[..., None]
    else:
        start = moved(out, axis, 0)[0]
        index, value = moved(index, axis, -2), moved(value, axis, -2)
    _drop(how, start, index, value, _stride(out, axis))


def scatter(out: Array, axis: int, index: Array, value: Array, how: str = "assign") -> Array:
    """Combines value[..., i, ...] into out[..., index[..., i, ...], ...] and returns out.

    ``how`` is "assign", "sum", "prod", "amax" or "amin". index may be smaller than value, which
    broadcasts where it has one dimension only, and than out in all dimensions but ``axis``.
    """
    if out.ndim == 0:
        scatter(out.reshape(1), 0, index.reshape(1), value.reshape(1), how)
        return out
    if index.ndim == 0:
        index = index.reshape(1)
    values = value[tuple(slice(n) for n in index.shape)] if value.ndim == index.ndim else value
    part = tuple(slice(n) for n in (*index.shape[:axis], out.shape[axis], *index.shape[axis + 1 :]))
    _drop_along(how, out[part], axis, index, expanded(values, index.shape))
    return out


def scatter_reduce(
    out: Array, axis: int, index: Array, value: Array, how: str, include_self: bool = True
) -> Array:
    """Combines like :func:`scatter`, also by "mean"; without self, places hit start afresh."""
    if not include_self:
        scatter(out, axis, index, _identity(how, out.dtype), "assign")
    scatter(out, axis, index, value, how)
    if how == "mean":
        counts = np.zeros(out.shape, _INT64)
        scatter(counts, axis, index, np.ones((), _INT64), "sum")
        division = true_quotient if out.dtype.kind == "f" else floor_quotient
        signature, dtypes = "(),()->()", (_INT64, _INT64, out.dtype)
        loop = gufunc(average, signature, dtypes, bind={"quotient": division}, updates=True)
        drive(loop, counts, _scalar(include_self), out)
    return out


def _identity(how: str, dtype: Dtype) -> Array:
    """What a combination starts with."""
    if how in ("sum", "mean"):
        return np.zeros((), dtype)
    if how == "prod":
        return np.ones((), dtype)
    if dtype.kind == "f":
        return np.array(-np.inf if how == "amax" else np.inf, dtype)
    if dtype == _BOOL:
        return np.array(how == "amin")
    limits = np.iinfo(dtype)
    return np.array(limits.min if how == "amax" else limits.max, dtype)


def index_add(out: Array, axis: int, index: Array, value: Array) -> Array:
    """Adds the parts of value along an axis to those of out at index[m]."""
    return index_reduce(out, axis, index, value, "sum")


def index_copy(out: Array, axis: int, index: Array, value: Array) -> Array:
    """Writes the parts of value along an axis to out at index[m]."""
    return index_reduce(out, axis, index, value, "assign")


def index_fill(out: Array, axis: int, index: Array, value: Array) -> Array:
    """Writes a value to the parts of out along an axis at index[m]."""
    return index_reduce(out, axis, index, value, "assign")


def index_reduce(out: Array, axis: int, index: Array, value: Array, how: str) -> Array:
    """Combines the parts of value, broadcast, along an axis into those of out at index[m]."""
    if out.ndim == 0:
        index_reduce(out.reshape(1), 0, index, flat(value), how)
        return out
    if how == "sum" and picking.add(out, axis, index, value):
        return out
    shape = (*out.shape[:axis], index.size, *out.shape[axis + 1 :])
    along = index.reshape(*(1,) * axis, -1, *(1,) * (out.ndim - axis - 1))
    _drop_along(how, out, axis, along, expanded(value, shape))
    return out


def index_get(x: Array, indices: Sequence[Array]) -> Array:
    """x[indices]: integer arrays, broadcast together, for the first dimensions of x."""
    k = len(indices)
    shape = common_shape(indices)
    rest = x.shape[k:]
    out = memory.empty((*shape, *rest), x.dtype)
    if out.size:
        x = aligned(x)
        where = _offsets(indices, x.shape[:k], [_stride(x, axis) for axis in range(k)])
        _pick(_start(x, k), where.reshape((*shape, *(1,) * len(rest))), 1, out)
    return out


def index_put(
    out: Array, indices: Sequence[Array], value: Array, accumulate: bool = False
) -> Array:
    """out[indices] = value, or += with every occurrence of an index; returns out."""
    k = len(indices)
    shape = common_shape(indices)
    values = expanded(value, (*shape, *out.shape[k:]))
    if not values.size:
        return out
    where = _offsets(indices, out.shape[:k], [_stride(out, axis) for axis in range(k)])
    start = _start(out, k)
    values = moved(reshaped(values, where.size, *start.shape), 0, -2)
    _drop("sum" if accumulate else "assign", start, where.reshape(-1, 1), values, 1)
    return out


def _start(x: Array, k: int) -> Array:
    """The view where the first k indices are 0, of one element if no dimension is left."""
    return x[(0,) * k] if k < x.ndim else x[(0,) * (k - 1)][:1]


def take(x: Array, index: Array) -> Array:
    """The elements at positions in C order; negative ones count from the end."""
    return index_get(flat(x), [index])


def put(out: Array, index: Array, value: Array, accumulate: bool = False) -> Array:
    """Writes, or adds, values to the elements at positions in C order, and returns out."""
    target = flat(out)
    index_put(target, [flat(index)], flat(value), accumulate)
    return out if np.may_share_memory(target, out) else copy_into(out, target.reshape(out.shape))


def masked_fill(x: Array, mask: Array, value: Array, out: Array | None = None) -> Array:
    """A copy of x, or ``out``, which may be x, with a value of its dtype where the mask is set."""
    value = np.asarray(value)
    few = picking.fill(x, mask, value, out)
    if few is not None:
        return few
    if out is None:
        out = memory.empty(common_shape([x, mask]), x.dtype)
    operands = [aligned(x), mask, value, out]
    if not deferring():  # one loop for each item size
        operands = [each if each is mask else payload(each) for each in operands]
    loop = _fill_loop(operands[0].dtype)
    drive(loop, *operands)
    return out


def masked_select(x: Array, mask: Array) -> Array:
    """The elements of x where the mask is set, in C order; the two broadcast."""
    few = picking.masked(x, mask)
    if few is not None:
        return few
    shape = common_shape([x, mask])
    return take(expanded(x, shape), positions(expanded(mask, shape)))


def masked_scatter(out: Array, mask: Array, source: Array) -> Array:
    """Writes the first elements of source, in C order, where the mask is set; returns out."""
    where = positions(expanded(mask, out.shape))
    return put(out, where, flat(source)[: where.size])


@settled()
def _total(counts: Array) -> int:
    """The sum of int64, or of bool."""
    out = np.empty((), _INT64)
    gufunc(count_true, "(n)->()", (counts.dtype, _INT64)).ufunc(counts, out)
    return int(out)


def positions(x: Array) -> Array:
    """Where x is not 0, as positions in C order: int64[n]."""
    mask = x
    if x.dtype != _BOOL:
        mask = memory.empty(x.shape, _BOOL)
        drive(gufunc(is_true, "()->()", (x.dtype, _BOOL)), aligned(x), mask)
    mask = flat(mask)
    out = memory.empty((_total(mask) + 1,), _INT64)
    gufunc(locate, "(n)->(k)", (_BOOL, _INT64)).ufunc(mask, out)
    return out[:-1]


def nonzero(x: Array) -> Array:
    """Where x is not 0, as one index per dimension: int64[n, x.ndim]."""
    where = positions(x)
    out = memory.empty((where.size, x.ndim), _INT64)
    if x.ndim:
        loop = gufunc(unravel, "(),(d)->(d)", (_INT64, _INT64, _INT64))
        drive(loop, where, np.array(x.shape, _INT64), out)
    return out


def bincount(x: Array, size: int, weights: Array | None = None) -> Array:
    """How often each of 0 ... size - 1 occurs in x[n], or the sums of its weights."""
    values = np.ones((), _INT64) if weights is None else weights
    out = np.zeros(size, values.dtype)
    return index_put(out, [x], values, accumulate=True)


def one_hot(index: Array, classes: int) -> Array:
    """int64[..., classes] that is 1 at each index and 0 elsewhere."""
    out = np.zeros((*index.shape, classes), _INT64)
    return scatter(out, index.ndim, index[..., None], np.ones((), _INT64))


def repeat_interleave(x: Array, repeats: Array, axis: int) -> Array:
    """The parts of x along an axis, each as often as repeats[n], or repeats[1], says."""
    counts = contiguous(expanded(repeats, (x.shape[axis],)))
    index = memory.empty((_total(counts),), _INT64)
    gufunc(repeat_index, "(n)->(m)", (_INT64, _INT64)).ufunc(counts, index)
    return index_select(x, axis, index)
