"""Indexing where little is moved: one call of compiled code, which checks the indices as well.

It is for arrays without gaps and int64 indices. Where there is anything else, an index out of range
among it, functions do nothing and say so; :mod:`.index` has what does all. Axes are not negative.
Only of NumPy's own arrays is it known where things lie in them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numba import types
from numpy import ndarray

from . import objects
from .build import REGION, MachineCode, with_globals
from .copying import PAYLOADS, contiguous
from .deferral import nobody_defers
from .intrinsics import helper, int64_at, offset, pointer_reader, uint8_at, zero
from .objects import (
    DATA,
    FLAGS,
    OBJECT_HEAD,
    SHAPE,
    TUPLE_HEAD,
    WRITEABLE,
    are_apart,
    is_plain,
    kind_in,
    rank_of,
)

Array = np.ndarray[Any, Any]

FEW = 4096  # elements of a result; more are worth several threads, or loops of vectors
INT64, _BOOL = objects.kind_of(np.dtype(np.int64)), objects.kind_of(np.dtype(np.bool_))
_DONE, _UNUSUAL = 0, -1


@helper
def elements_at(address):
    """Stands for an address read as a pointer to elements."""
    raise NotImplementedError


@helper
def array_in(arrays, k):
    """The words of an array in a tuple."""
    return offset(int64_at(int64_at(arrays + TUPLE_HEAD)[k]), OBJECT_HEAD // 8)


@helper
def size_between(array, first, last):
    """The product of the sizes of dimensions."""
    sizes, size = int64_at(array[SHAPE]), 1
    for k in range(first, last):
        size *= sizes[k]
    return size


@helper
def are_indices(index, count, low, high):
    """Whether an array are indices of which none is out of range."""
    if not is_plain(index) or kind_in(index) != INT64:
        return False
    places, bad = int64_at(index[DATA]), 0
    for i in range(count):
        bad |= (places[i] < low) | (places[i] >= high)
    return bad == 0


def select_few(axis: int, from_end: int, arrays: int) -> int:
    """Copies the parts of x along an axis at indices, which may count from the end, to out."""
    x, index, out = array_in(arrays, 0), array_in(arrays, 1), array_in(arrays, 2)
    rank, m = rank_of(x), size_between(index, 0, rank_of(index))
    n = int64_at(x[SHAPE])[axis]
    if not is_plain(x) or not are_indices(index, m, -n * from_end, n):
        return _UNUSUAL
    before, after = size_between(x, 0, axis), size_between(x, axis + 1, rank)
    places = int64_at(index[DATA])
    for row in range(before):
        for i in range(m):
            place = places[i] + n * (places[i] < 0)
            source = offset(elements_at(x[DATA]), (row * n + place) * after)
            target = offset(elements_at(out[DATA]), (row * m + i) * after)
            for k in range(after):
                target[k] = source[k]
    return _DONE


def gather_few(axis: int, _: int, arrays: int) -> int:
    """Copies x[..., index[..., i, ...], ...] to out; but for the axis, all have one shape."""
    x, index, out = array_in(arrays, 0), array_in(arrays, 1), array_in(arrays, 2)
    rank = rank_of(x)
    if not is_plain(x) or rank_of(index) != rank or axis >= rank:
        return _UNUSUAL
    sizes, wanted = int64_at(x[SHAPE]), int64_at(index[SHAPE])
    for k in range(rank):
        if sizes[k] != wanted[k] and k != axis:
            return _UNUSUAL
    n, m = sizes[axis], wanted[axis]
    if not are_indices(index, size_between(index, 0, rank), 0, n):
        return _UNUSUAL
    before, after = size_between(x, 0, axis), size_between(x, axis + 1, rank)
    places, source, target = int64_at(index[DATA]), elements_at(x[DATA]), elements_at(out[DATA])
    for row in range(before):
        for i in range(m):
            for k in range(after):
                at = (row * m + i) * after + k
                target[at] = source[(row * n + places[at]) * after + k]
    return _DONE


@helper
def assigned(_, value):
    """What an element becomes that a value is written to."""
    return value


@helper
def added(old, value):
    """What it becomes if the value is added."""
    return old + value


ITEM, merged = 1, added  # what is bound: the bytes of an element, and what it becomes


@helper
def takes(out, value, wanted, item):
    """Whether a value of so many elements, or of one for all, can be merged with parts of out.

    An element has so many bytes.
    """
    size, given = size_between(out, 0, rank_of(out)), size_between(value, 0, rank_of(value))
    is_whole = given == wanted
    return (
        is_plain(value)
        and is_plain(out)
        and kind_in(value) == kind_in(out)
        and (is_whole or given == 1)
        and (out[FLAGS] & WRITEABLE) != 0
        and are_apart(out[DATA], size * item, value[DATA], given * item)
    )


@helper
def is_beside(out, index, count, item):
    """Whether so many indices lie apart from an array that is written to."""
    size = size_between(out, 0, rank_of(out))
    return are_apart(out[DATA], size * item, index[DATA], count * 8)


def write_few(axis: int, from_end: int, arrays: int) -> int:
    """Merges the parts of value along an axis with those of out at indices, in their order.

    Value is of the indices' number of parts, or one element for all.
    """
    value, index, out = array_in(arrays, 0), array_in(arrays, 1), array_in(arrays, 2)
    rank, m = rank_of(out), size_between(index, 0, rank_of(index))
    n = int64_at(out[SHAPE])[axis]
    before, after = size_between(out, 0, axis), size_between(out, axis + 1, rank)
    if not (
        takes(out, value, before * m * after, ITEM)
        and are_indices(index, m, -n * from_end, n)
        and is_beside(out, index, m, ITEM)
    ):
        return _UNUSUAL
    given = size_between(value, 0, rank_of(value))
    places, step = int64_at(index[DATA]), 1 if given > 1 else 0
    for row in range(before):
        for i in range(m):
            place = places[i] + n * (places[i] < 0)
            source = offset(elements_at(value[DATA]), (row * m + i) * after * step)
            target = offset(elements_at(out[DATA]), (row * n + place) * after)
            for k in range(after):
                target[k] = merged(target[k], source[k * step])
    return _DONE


@helper
def is_point_index(k, arrays):
    """Whether all after the first two arrays are indices of x's first k axes, from either end."""
    sizes, fine = int64_at(array_in(arrays, 0)[SHAPE]), True
    for axis in range(k):
        index = array_in(arrays, 2 + axis)
        m = size_between(index, 0, rank_of(index))
        fine &= are_indices(index, m, -sizes[axis], sizes[axis])
    return fine


@helper
def point(k, arrays, i):
    """Which element of x's first k axes the i-th elements of the indices name."""
    sizes, at = int64_at(array_in(arrays, 0)[SHAPE]), 0
    for axis in range(k):
        place = int64_at(array_in(arrays, 2 + axis)[DATA])[i]
        at = at * sizes[axis] + place + sizes[axis] * (place < 0)
    return at


def read_points_few(k: int, m: int, arrays: int) -> int:
    """Copies the parts of x at m points to out."""
    x, out = array_in(arrays, 0), array_in(arrays, 1)
    if not is_plain(x) or not is_point_index(k, arrays):
        return _UNUSUAL
    after = size_between(x, k, rank_of(x))
    for i in range(m):
        source = offset(elements_at(x[DATA]), point(k, arrays, i) * after)
        target = offset(elements_at(out[DATA]), i * after)
        for j in range(after):
            target[j] = source[j]
    return _DONE


def write_points_few(k: int, m: int, arrays: int) -> int:
    """Merges a value for each of m points, or one element for all, with the parts of x there."""
    x, value = array_in(arrays, 0), array_in(arrays, 1)
    after, given = size_between(x, k, rank_of(x)), size_between(value, 0, rank_of(value))
    fine = takes(x, value, m * after, ITEM) and is_point_index(k, arrays)
    for axis in range(k):
        fine &= is_beside(x, array_in(arrays, 2 + axis), m, ITEM)
    if not fine:
        return _UNUSUAL
    step = 1 if given > 1 else 0
    for i in range(m):
        source = offset(elements_at(value[DATA]), i * after * step)
        target = offset(elements_at(x[DATA]), point(k, arrays, i) * after)
        for j in range(after):
            target[j] = merged(target[j], source[j * step])
    return _DONE


def masked_few(_: int, __: int, arrays: int) -> int:
    """Copies the elements of x where the mask, of its shape, is set to out; says how many."""
    x, mask, out = array_in(arrays, 0), array_in(arrays, 1), array_in(arrays, 2)
    if not (is_plain(x) and is_plain(mask) and kind_in(mask) == _BOOL):
        return _UNUSUAL
    source, target, chosen = elements_at(x[DATA]), elements_at(out[DATA]), uint8_at(mask[DATA])
    count = 0
    for i in range(size_between(x, 0, rank_of(x))):
        if chosen[i]:
            target[count] = source[i]
            count += 1
    return count


def fill_few(_: int, __: int, arrays: int) -> int:
    """Copies x to out, but a value where the mask, of its shape, is set."""
    x, mask = array_in(arrays, 0), array_in(arrays, 1)
    value, out = array_in(arrays, 2), array_in(arrays, 3)
    if not (is_plain(x) and is_plain(mask) and kind_in(mask) == _BOOL):
        return _UNUSUAL
    source, target, chosen = elements_at(x[DATA]), elements_at(out[DATA]), uint8_at(mask[DATA])
    number = elements_at(value[DATA])[0]
    for i in range(size_between(x, 0, rank_of(x))):
        target[i] = number if chosen[i] else source[i]
    return _DONE


def triangle_few(diagonal: int, upper: int, arrays: int) -> int:
    """Copies to out what matrices have from a diagonal on, or up to it; the rest is 0."""
    x, out = array_in(arrays, 0), array_in(arrays, 1)
    if not is_plain(x):
        return _UNUSUAL
    rank, sizes = rank_of(x), int64_at(x[SHAPE])
    m, n = sizes[rank - 2], sizes[rank - 1]
    for row in range(size_between(x, 0, rank - 1)):
        source = offset(elements_at(x[DATA]), row * n)
        target = offset(elements_at(out[DATA]), row * n)
        edge = row % m + diagonal
        for k in range(n):
            is_kept = k >= edge if upper else k <= edge
            target[k] = source[k] if is_kept else zero(target)
    return _DONE


def one_hot_few(classes: int, _: int, arrays: int) -> int:
    """Writes rows of 0 with a 1 at each index."""
    index, out = array_in(arrays, 0), array_in(arrays, 1)
    m = size_between(index, 0, rank_of(index))
    if not are_indices(index, m, 0, classes):
        return _UNUSUAL
    places, target = int64_at(index[DATA]), elements_at(out[DATA])
    for i in range(m):
        for k in range(classes):
            target[i * classes + k] = places[i] == k
    return _DONE


def _unusual(*_: Any) -> int:
    return _UNUSUAL


@cache
def entry(function: Callable[..., int], kind: str, merge: Any = added) -> Any:
    """The compiled function for elements of a kind, to be called with two numbers and a tuple."""
    if not objects.are_as_expected():
        return _unusual
    dtype = np.dtype(kind)
    bind = {"elements_at": pointer_reader(dtype), "ITEM": dtype.itemsize, "merged": merge}
    bound = with_globals(function, bind)
    word = ctypes.c_int64
    address = MachineCode(bound, REGION, result=types.intp).address
    return ctypes.PYFUNCTYPE(word, word, word, ctypes.py_object)(address)


@cache
def _moving(function: Callable[..., int], kind: str, merge: Any = added) -> Any:
    """The compiled function for elements of a kind, which it only moves."""
    dtype = np.dtype(kind)
    if dtype.kind not in "fiub" or dtype.itemsize not in PAYLOADS:
        return _unusual
    return entry(function, PAYLOADS[dtype.itemsize].char, merge)


def select(x: Array, axis: int, index: Array, from_end: bool = False) -> Array | None:
    """X with the elements at indices, of any shape, in place of an axis.

    ``from_end`` says that negative indices count from the end.
    """
    if not (x.__class__ is index.__class__ is ndarray and axis.__class__ is int):
        return None
    shape = x.shape
    if not nobody_defers() or x.size * index.size > FEW * shape[axis]:
        return None
    out = np.empty(shape[:axis] + index.shape + shape[axis + 1 :], x.dtype)
    enter = _moving(select_few, x.dtype.char)
    return None if enter(axis, from_end, (x, index, out)) else out


def gather(x: Array, axis: int, index: Array) -> Array | None:
    """x[..., index[..., i, ...], ...], of index's shape."""
    if not (x.__class__ is index.__class__ is ndarray and axis.__class__ is int):
        return None
    if not nobody_defers() or index.size > FEW:
        return None
    out = np.empty(index.shape, x.dtype)
    enter = _moving(gather_few, x.dtype.char)
    return None if enter(axis, 0, (x, index, out)) else out


def add(out: Array, axis: int, index: Array, value: Array) -> bool:
    """Adds the parts of value along an axis to those of out at indices; says whether it did."""
    if not (index.__class__ is value.__class__ is ndarray and axis.__class__ is int):
        return False
    if not nobody_defers() or value.size > FEW or out.dtype.char == "?":
        return False
    if not value.flags.c_contiguous:
        value = contiguous(value)
    return not entry(write_few, out.dtype.char)(axis, False, (value, index, out))


def put(out: Array, axis: int, index: Array, value: Array) -> bool:
    """Writes a value to the parts of out along an axis at indices; says whether it did.

    The value is of one element, or has the indices' dimensions in place of the axis. Negative
    indices count from the end.
    """
    if not out.__class__ is index.__class__ is value.__class__ is ndarray:
        return False
    shape = out.shape
    wanted = shape[:axis] + index.shape + shape[axis + 1 :]
    if not nobody_defers() or value.dtype != out.dtype or value.shape not in ((), wanted):
        return False
    if out.size * index.size > FEW * shape[axis]:
        return False
    return not _moving(write_few, out.dtype.char, assigned)(axis, True, (value, index, out))


def _shape_of_points(x: Array, indices: Sequence[Any]) -> tuple[int, ...] | None:
    """The shape of x[indices], if those are of one shape and one for each of the first axes."""
    for each in (x, *indices):
        if each.__class__ is not ndarray:
            return None
    shape: tuple[int, ...] = indices[0].shape
    for each in indices:
        if each.shape != shape:
            return None
    wanted = shape + x.shape[len(indices) :]
    fits = nobody_defers() and len(indices) <= x.ndim and prod(wanted) <= FEW
    return wanted if fits else None


def points(x: Array, indices: Sequence[Any]) -> Array | None:
    """x[indices]: one index, of one shape, for each of the first axes, from either end."""
    shape = _shape_of_points(x, indices)
    if shape is None:
        return None
    out = np.empty(shape, x.dtype)
    enter = _moving(read_points_few, x.dtype.char)
    return None if enter(len(indices), indices[0].size, (x, out, *indices)) else out


def put_points(out: Array, indices: Sequence[Any], value: Array, adds: bool = False) -> bool:
    """Writes to out[indices], or adds to it, a value of one element, or of that part's shape.

    Says whether it did; see :func:`points`.
    """
    shape = _shape_of_points(out, indices)
    if shape is None or value.__class__ is not ndarray or value.shape not in ((), shape):
        return False
    if value.dtype != out.dtype or (adds and out.dtype.char == "?"):
        return False
    if not value.flags.c_contiguous:
        value = contiguous(value)
    merge = added if adds else assigned
    enter = (entry if adds else _moving)(write_points_few, out.dtype.char, merge)
    return not enter(len(indices), indices[0].size, (out, value, *indices))


def masked(x: Array, mask: Array) -> Array | None:
    """The elements of x where a mask is set, in C order."""
    if not x.__class__ is mask.__class__ is ndarray:
        return None
    if not nobody_defers() or x.size > FEW or x.shape != mask.shape:
        return None
    out = np.empty(x.size, x.dtype)
    count = _moving(masked_few, x.dtype.char)(0, 0, (x, mask, out))
    return None if count < 0 else out[:count].copy()


def fill(x: Array, mask: Array, value: Array, out: Array | None = None) -> Array | None:
    """A copy of x, or ``out``, which is x, with a 0-d array of its dtype where a mask is set."""
    if not x.__class__ is mask.__class__ is value.__class__ is ndarray or value.dtype != x.dtype:
        return None
    if not nobody_defers() or x.size > FEW or x.shape != mask.shape:
        return None
    if out is None:
        out = np.empty(x.shape, x.dtype)
    elif out is not x or not x.flags.writeable:
        return None
    enter = _moving(fill_few, x.dtype.char)
    return None if enter(0, 0, (x, mask, value, out)) else out


def triangle(x: Array, diagonal: int, upper: bool) -> Array | None:
    """The triangles of the last two axes from a diagonal on, or up to it, among zeros."""
    if not (x.__class__ is ndarray and diagonal.__class__ is int):
        return None
    if not nobody_defers() or x.size > FEW or abs(diagonal) > FEW:
        return None
    out = np.empty(x.shape, x.dtype)
    enter = _moving(triangle_few, x.dtype.char)
    return None if enter(diagonal, upper, (x, out)) else out


def one_hot(index: Array, classes: int) -> Array | None:
    """int64[..., classes] that is 1 at each index and 0 elsewhere."""
    if not nobody_defers() or classes.__class__ is not int or not 0 < index.size * classes <= FEW:
        return None
    out = np.empty((*index.shape, classes), np.int64)
    return None if entry(one_hot_few, "int64")(classes, 0, (index, out)) else out
