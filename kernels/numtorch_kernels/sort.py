"""Sorting along an axis, stable, with NaN above all numbers; what follows from it; searching.

Every dtype is sorted as unsigned integers, ``keys``, whose order is that of the values: a radix
sort, least significant byte first, that skips bytes in which all keys agree. Short rows are sorted
by insertion. Descending order complements the keys, so it is stable as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import memory
from .bits import bits
from .build import Loop, gufunc
from .copying import contiguous, flat, moved
from .deferral import settled
from .drive import drive
from .index import gather, index_select
from .intrinsics import address_of, cast, helper, offset, typed_pointer, words
from .layout import aligned

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

_INT64, _BOOL = np.dtype(np.int64), np.dtype(np.bool_)

SHORT = 48  # elements; up to here insertion is faster
RADIX = 256

uint32_at = typed_pointer(np.dtype(np.uint32))
uint64_at = typed_pointer(np.dtype(np.uint64))


@helper
def key_small(x):
    """The key of an integer of at most 32 bits."""
    return np.uint32(np.int64(x) + 0x80000000)


@helper
def key_int64(x):
    """The key of an int64."""
    return np.uint64(x) ^ np.uint64(0x8000000000000000)


@helper
def key_float32(x):
    """The key of a float32; adding 0 makes -0 the equal of 0."""
    if math.isnan(x):
        return np.uint32(0xFFFFFFFF)
    pattern = np.int64(bits(x + np.float32(0.0)))
    return np.uint32(~pattern if pattern < 0 else pattern | 0x80000000)


@helper
def key_float64(x):
    """Likewise."""
    if math.isnan(x):
        return np.uint64(0xFFFFFFFFFFFFFFFF)
    pattern = np.uint64(bits(x + 0.0))
    top = np.uint64(0x8000000000000000)
    return ~pattern if pattern & top else pattern | top


def key_of(x):
    """Stands for the key of a dtype."""
    raise NotImplementedError


WIDTH = 32  # bits of a key; builds for 64-bit dtypes bind 64


def is_nan(x):
    """Stands for one of the next two."""
    raise NotImplementedError


@helper
def is_float_nan(x):
    """Whether a float is NaN."""
    return math.isnan(x)


@helper
def never(x):
    """No integer is NaN."""
    return False


def keys_at(pointer):
    """Stands for ``uint32_at`` or ``uint64_at``."""
    raise NotImplementedError


@helper
def insert(n, keys, order):
    """Sorts keys, and order with them, by insertion."""
    for i in range(1, n):
        key, index = keys[i], order[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j], order[j] = keys[j - 1], order[j - 1]
            j -= 1
        keys[j], order[j] = key, index


@helper
def distribute(n, shift, starts, keys, order, new_keys, new_order):
    """One pass of a radix sort; False, and nothing moved, if all keys have the same byte there."""
    for byte in range(RADIX):
        starts[byte] = 0
    for i in range(n):
        starts[np.int64(keys[i] >> shift) & 0xFF] += 1
    if starts[np.int64(keys[0] >> shift) & 0xFF] == n:
        return False
    total = 0
    for byte in range(RADIX):
        size = starts[byte]
        starts[byte] = total
        total += size
    for i in range(n):
        key = keys[i]
        bucket = np.int64(key >> shift) & 0xFF
        place = starts[bucket]
        starts[bucket] = place + 1
        new_keys[place], new_order[place] = key, order[i]
    return True


@helper
def sort_keys(width, n, keys, order, other_keys, other_order):
    """Sorts keys, and order with them; gives whichever order array then holds the result."""
    if n <= SHORT:
        insert(n, keys, order)
        return order
    starts = words()
    for shift in range(0, width, 8):
        if distribute(n, shift, starts, keys, order, other_keys, other_order):
            keys, other_keys = other_keys, keys
            order, other_order = other_order, order
    return order


@helper
def threshold(width, n, rank, keys):
    """The key of a rank, found byte by byte from the top, and its rank among its equals."""
    counts = words()
    prefix, mask = np.uint64(0), np.uint64(0)
    for step in range(width - 8, -8, -8):
        shift = np.uint64(step)
        for byte in range(RADIX):
            counts[byte] = 0
        for i in range(n):
            key = np.uint64(keys[i])
            if key & mask == prefix:
                counts[np.int64(key >> shift) & 0xFF] += 1
        byte = 0
        while counts[byte] <= rank:
            rank -= counts[byte]
            byte += 1
        prefix |= np.uint64(byte) << shift
        mask |= np.uint64(0xFF) << shift
    return prefix, rank


def argsort_rows(count, n, m, x, x_outer, x_step, flip, flip_step, spare, spare_outer, spare_step,
                 order, order_outer, order_step):  # fmt: skip
    """The stable order of each row; spare is three rows of 64 bits to work in."""
    for row in range(count):
        block = offset(spare, row * spare_outer)
        keys, other_keys, now = keys_at(block), keys_at(offset(block, n)), offset(block, 2 * n)
        other = offset(order, row * order_outer)
        for i in range(n):
            keys[i] = key_of(x[row * x_outer + i * x_step]) ^ cast(keys, flip[0])
            now[i] = i
        result = sort_keys(WIDTH, n, keys, now, other_keys, other)
        if address_of(result) != address_of(other):
            for i in range(n):
                other[i] = result[i]


def topk_rows(count, n, m, k, x, x_outer, x_step, flip, flip_step, spare, spare_outer, spare_step,
              order, order_outer, order_step):  # fmt: skip
    """Where the k smallest of each row are, in stable order."""
    for row in range(count):
        block = offset(spare, row * spare_outer)
        keys, other_keys, now = keys_at(block), keys_at(offset(block, n)), offset(block, 2 * n)
        other = offset(order, row * order_outer)
        for i in range(n):
            keys[i] = key_of(x[row * x_outer + i * x_step]) ^ cast(keys, flip[0])
        last, ties = threshold(WIDTH, n, k - 1, keys)
        found = 0
        for i in range(n):
            key = np.uint64(keys[i])
            if key < last or (key == last and ties >= 0):
                ties -= key == last
                keys[found] = keys[i]
                now[found] = i
                found += 1
        result = sort_keys(WIDTH, k, keys, now, other_keys, other)
        if address_of(result) != address_of(other):
            for i in range(k):
                other[i] = result[i]


def nth_rows(count, n, m, x, x_outer, x_step, rank, rank_step, spare, spare_outer, spare_step,
             place, place_step):  # fmt: skip
    """Where the element of a rank of each row is, the first of equals; -1 stands for the median.

    The median of a row with NaN is its first NaN.
    """
    for row in range(count):
        keys = keys_at(offset(spare, row * spare_outer))
        nan = -1
        for i in range(n):
            value = x[row * x_outer + i * x_step]
            keys[i] = key_of(value)
            if nan < 0 and is_nan(value):
                nan = i
        if rank[0] < 0 and nan >= 0:
            place[row * place_step] = nan
            continue
        wanted, _ = threshold(WIDTH, n, rank[0] if rank[0] >= 0 else (n - 1) // 2, keys)
        i = 0
        while np.uint64(keys[i]) != wanted:
            i += 1
        place[row * place_step] = i


@helper
def compare(key_of, c, a, a_step, b, b_step):
    """-1, 0 or 1 as one row is before, equal to or after another."""
    for j in range(c):
        left, right = key_of(a[j * a_step]), key_of(b[j * b_step])
        if left != right:
            return -1 if left < right else 1
    return 0


def argsort_slices(count, n, c, x, x_outer, x_n, x_c, spare, spare_outer, spare_step,
                   order, order_outer, order_step):  # fmt: skip
    """The lexicographic order of x's rows, by merging ever longer runs."""
    source, target = order, spare
    for i in range(n):
        source[i] = i
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            middle, end = min(start + width, n), min(start + 2 * width, n)
            left, right = start, middle
            for i in range(start, end):
                if left < middle and (
                    right == end
                    or compare(
                        key_of,
                        c,
                        offset(x, source[left] * x_n),
                        x_c,
                        offset(x, source[right] * x_n),
                        x_c,
                    )
                    <= 0
                ):
                    target[i] = source[left]
                    left += 1
                else:
                    target[i] = source[right]
                    right += 1
        source, target = target, source
        width *= 2
    if address_of(source) != address_of(order):
        for i in range(n):
            order[i] = source[i]


def find_new(count, n, c, x, x_outer, x_n, x_c, order, order_outer, order_step,
             new, new_outer, new_step):  # fmt: skip
    """Whether a row of x differs from the one before it in an order; NaN differs from itself."""
    for i in range(n):
        new[i * new_step] = i == 0
        if i > 0:
            here = offset(x, order[i * order_step] * x_n)
            before = offset(x, order[(i - 1) * order_step] * x_n)
            for j in range(c):
                if here[j * x_c] != before[j * x_c]:
                    new[i * new_step] = 1


def number_groups(count, n, new, new_outer, new_step, order, order_outer, order_step,
                  group, group_outer, group_step, first, first_outer, first_step,
                  size, size_outer, size_step, groups, groups_step):  # fmt: skip
    """Numbers the runs that ``new`` starts: each element's group, each group's first and size."""
    found = -1
    for i in range(n):
        if new[i * new_step] != 0:
            found += 1
            first[found * first_step] = order[i * order_step]
            size[found * size_step] = 0
        group[order[i * order_step] * group_step] = found
        size[found * size_step] += 1
    groups[0] = found + 1


def longest_run(count, n, x, x_outer, x_step, order, order_outer, order_step, place, place_step):
    """Where the last of the most frequent value is, of equally frequent ones the smallest."""
    for row in range(count):
        values, at = offset(x, row * x_outer), offset(order, row * order_outer)
        length, best = 0, 0
        for i in range(n):
            here = at[i * order_step]
            same = i > 0 and values[here * x_step] == values[at[(i - 1) * order_step] * x_step]
            length = length + 1 if same else 1
            if length > best:
                best = length
                place[row * place_step] = here


_KEYS: dict[str, Callable[..., Any]] = {
    "float32": key_float32,
    "float64": key_float64,
    "int64": key_int64,
}


@cache
def _keyed(kernel: Callable[..., Any], signature: str, others: str, dtype: Dtype) -> Loop:
    """The loop of a kernel that sorts a dtype; ``others`` are its further operands."""
    wide = dtype.itemsize == 8
    bind = {
        "key_of": _KEYS.get(dtype.name, key_small),
        "keys_at": uint64_at if wide else uint32_at,
        "is_nan": is_float_nan if dtype.kind == "f" else never,
        "WIDTH": 64 if wide else 32,
    }
    return gufunc(kernel, signature, (dtype, *map(np.dtype, others.split())), bind=bind)


def _last(x: Array, axis: int) -> Array:
    """The array with an axis moved to the end, adjacent in memory if there are other axes."""
    if axis == x.ndim - 1:
        return aligned(x)
    return contiguous(moved(x, axis, -1))


def _back(x: Array, axis: int) -> Array:
    """The array with its last axis moved back to its place, C-contiguous."""
    return x if axis == x.ndim - 1 else contiguous(moved(x, -1, axis))


def _work(x: Array) -> int:
    """What a sort of x is worth to several threads: one row is one task."""
    return x.size if x.ndim > 1 else 0


def _ordered(x: Array, descending: bool, k: int | None) -> Array:
    """The order of the last axis, or of its first k."""
    n = x.shape[-1]
    order = memory.empty((*x.shape[:-1], n if k is None else k), _INT64)
    if order.size:
        flip = np.array(-1 if descending else 0, _INT64)
        spare = memory.empty((*x.shape[:-1], 3 * n), _INT64)
        if k is None:
            loop = _keyed(argsort_rows, "(n),(),(m)->(n)", "i8 i8 i8", x.dtype)
        else:
            loop = _keyed(topk_rows, "(n),(),(m)->(k)", "i8 i8 i8", x.dtype)
        drive(loop, x, flip, spare, order, work=_work(x))
    return order


def argsort(x: Array, axis: int, descending: bool = False) -> Array:
    """The places of the elements along an axis, in their order: int64 of x's shape."""
    if x.ndim == 0:
        return np.zeros((), _INT64)
    return _back(_ordered(_last(x, axis), descending, None), axis)


def sort(x: Array, axis: int, descending: bool = False) -> tuple[Array, Array]:
    """The elements along an axis in order, equal ones as they stood, and where they stood.

    >>> import numpy as np
    >>> from numtorch_kernels import sort
    >>> values, places = sort.sort(np.array([2.0, np.nan, 1.0, 2.0]), 0)
    >>> values.tolist(), places.tolist()
    ([1.0, 2.0, 2.0, nan], [2, 0, 3, 1])
    """
    order = argsort(x, axis, descending)
    return gather(x, axis, order), order


def topk(x: Array, k: int, axis: int, largest: bool = True) -> tuple[Array, Array]:
    """The k largest, or smallest, elements along an axis in order, and where they stood."""
    if x.ndim == 0:
        return contiguous(x), np.zeros((), _INT64)
    order = _back(_ordered(_last(x, axis), largest, k), axis)
    return gather(x, axis, order), order


def kthvalue(x: Array, k: int, axis: int) -> tuple[Array, Array]:
    """The k-th smallest element along an axis, counted from 1, and the first place where it is."""
    return _nth(x, k - 1, axis)


def median(x: Array, axis: int) -> tuple[Array, Array]:
    """The median along an axis, of two the lower one, and the first place where it is.

    NaN if there is one.
    """
    return _nth(x, -1, axis)


def _nth(x: Array, rank: int, axis: int) -> tuple[Array, Array]:
    if x.ndim == 0:
        return contiguous(x), np.zeros((), _INT64)
    rows = _last(x, axis)
    place = memory.empty(rows.shape[:-1], _INT64)
    spare = memory.empty((*rows.shape[:-1], rows.shape[-1]), _INT64)
    loop = _keyed(nth_rows, "(n),(),(m)->()", "i8 i8 i8", x.dtype)
    drive(loop, rows, np.array(rank, _INT64), spare, place, work=_work(x))
    return _at(x, axis, place), place


def _at(x: Array, axis: int, place: Array) -> Array:
    """The elements at one place each along an axis."""
    return gather(x, axis, np.expand_dims(place, axis)).reshape(place.shape)


def mode(x: Array, axis: int) -> tuple[Array, Array]:
    """The most frequent element along an axis, of several the smallest, and its last place."""
    if x.ndim == 0:
        return contiguous(x), np.zeros((), _INT64)
    rows = _last(x, axis)
    place = memory.empty(rows.shape[:-1], _INT64)
    loop = gufunc(longest_run, "(n),(n)->()", (x.dtype, _INT64, _INT64))
    drive(loop, rows, _ordered(rows, False, None), place, work=_work(x))
    return _at(x, axis, place), place


def unique(x: Array, axis: int | None = None) -> tuple[Array, Array, Array]:
    """The different elements, or slices along an axis, in order.

    Also, of each element or slice, which of them it is; and how often each occurs.
    """
    slices = _slices(x, axis)
    if slices.shape[1] == 1:
        return _groups(x, axis, slices, _ordered(slices[:, 0], False, None))
    order = memory.empty((slices.shape[0],), _INT64)
    loop = _keyed(argsort_slices, "(n,c),(n)->(n)", "i8 i8", x.dtype)
    loop.ufunc(slices, np.empty_like(order), order)
    return _groups(x, axis, slices, order)


def unique_consecutive(x: Array, axis: int | None = None) -> tuple[Array, Array, Array]:
    """Likewise, but only neighbours are compared, and stay in place."""
    slices = _slices(x, axis)
    return _groups(x, axis, slices, np.arange(slices.shape[0]))


def _slices(x: Array, axis: int | None) -> Array:
    """The elements, or the slices along an axis, as the rows of a matrix."""
    if axis is None:
        return flat(x).reshape(-1, 1)
    return flat(moved(x, axis, 0)).reshape(x.shape[axis], -1 if x.size else 0)


@settled()
def _groups(x: Array, axis: int | None, slices: Array, order: Array) -> tuple[Array, Array, Array]:
    """What :func:`unique` returns, once an order of the slices is known."""
    n = order.size
    new = memory.empty((n,), _BOOL)
    find = gufunc(find_new, "(n,c),(n)->(n)", (x.dtype, _INT64, _BOOL))
    find.ufunc(slices, order, new)
    group, first, size = (memory.empty((n,), _INT64) for _ in range(3))
    groups = np.empty((), _INT64)
    number = gufunc(number_groups, "(n),(n)->(n),(n),(n),()", (_BOOL, *(_INT64,) * 5))
    number.ufunc(new, order, group, first, size, groups)
    first, size = first[: int(groups)], contiguous(size[: int(groups)])
    if axis is None:
        return index_select(flat(x), 0, first), group.reshape(x.shape), size
    return index_select(x, axis, first), group, size


def not_below(found, wanted):
    """Stands for what ends a search: found >= wanted, or found > wanted."""
    raise NotImplementedError


@helper
def at_least(found, wanted):
    """Ends a search before equals."""
    return found >= wanted


@helper
def above(found, wanted):
    """Ends a search after equals."""
    return found > wanted


def search(count, n, x, x_outer, x_step, value, value_step, out, out_step):
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


def searchsorted(x: Array, values: Array, right: bool = False) -> Array:
    """Where values would go into x[..., n], sorted along its last axis, before or after equals.

    x and values are of one dtype; x has one dimension, or those of values but for the last.
    """
    out = memory.empty(values.shape, _INT64)
    loop = gufunc(
        search,
        "(n),()->()",
        (x.dtype, x.dtype, _INT64),
        bind={"not_below": above if right else at_least},
    )
    drive(loop, aligned(x if x.ndim == 1 else x[..., None, :]), aligned(values), out)
    return out
