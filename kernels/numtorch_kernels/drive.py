"""Hands a compiled loop its operands: through NumPy on one thread, in chunks on several.

Work is cut along the outer dimensions only and at multiples of 64 elements, so that each element
is computed by the same instructions whatever the number of threads.
"""

from __future__ import annotations

import ctypes
from functools import cache
from math import prod
from time import perf_counter
from typing import Any

import numpy as np
from numba import types

from . import objects, threads
from .build import REGION, Loop, MachineCode, task
from .costs import WORTH, element_cost
from .deferral import deferring
from .intrinsics import (
    address_of,
    call_loop,
    call_region,
    call_task,
    helper,
    int64_at,
    offset,
    words,
)
from .layout import SHORT, broadcast_strides, data_address, merge
from .objects import (
    ALIGNED,
    CONTIGUOUS,
    DATA,
    DESCRIPTION,
    FLAGS,
    KIND_MASK,
    KIND_WORD,
    NDIM,
    SHAPE,
    STRIDES,
    WRITEABLE,
)

Array = np.ndarray[Any, Any]

GRAIN = 1 << 18  # elements of other than pointwise loops from which a parallel launch pays
_ELEMENT = WORTH / GRAIN  # nanoseconds
_BYTE = 0.1  # nanoseconds that a byte takes to or from memory
LANES = 64  # a chunk's length is a multiple: sixteen float32 lanes, unrolled four times

# Words of the descriptor. Strides and steps are in bytes.
_LOOP, _OPERANDS, _TASKS, _ROWS, _SEGMENTS, _LENGTH, _INNER, _DEPTH, _CORES, _CORE_STEPS = range(10)
HEADER = 10


@helper
def _run_rows(loop, operands, table, first, last, dims, steps, pointers):
    """Runs a loop for each of some rows, which lie at one distance from the next."""
    for k in range(operands):
        entry = offset(table, 3 * k)
        pointers[k] = entry[0] + first * entry[1]
    for _ in range(first, last):
        call_loop(loop, pointers, dims, steps)
        for k in range(operands):
            pointers[k] += table[3 * k + 1]


@helper
def _run_unit(d, sizes, table, unit, dims, steps, pointers):
    """Runs a loop for a unit: a segment of a row."""
    segments, depth, row, start = d[_SEGMENTS], d[_DEPTH], unit, 0
    if segments > 1:  # a division takes as long as a loop over a hundred elements
        row, start = unit // segments, unit % segments * d[_LENGTH]
    dims[0] = min(d[_LENGTH], d[_INNER] - start)
    for k in range(d[_OPERANDS]):
        entry = offset(table, k * (depth + 2))
        address, rest = entry[0] + start * entry[depth + 1], row
        for axis in range(depth - 1, 0, -1):
            address += rest % sizes[axis] * entry[1 + axis]
            rest //= sizes[axis]
        if depth > 0:
            address += rest * entry[1]
        pointers[k] = address
    call_loop(d[_LOOP], pointers, dims, steps)


def _run_chunk(descriptor: int, index: int) -> None:
    """One task: its share of the units, each one call of the loop."""
    d = int64_at(descriptor)
    operands, tasks, depth = d[_OPERANDS], d[_TASKS], d[_DEPTH]
    cores, core_steps = d[_CORES], d[_CORE_STEPS]
    frame = words()
    dims, steps, pointers = frame, offset(frame, 8), offset(frame, 40)
    sizes = offset(d, HEADER + cores + core_steps)
    table = offset(sizes, depth)  # per operand: address, stride of each outer dimension, inner step
    dims[0] = d[_INNER]
    for k in range(cores):
        dims[1 + k] = d[HEADER + k]
    for k in range(operands):
        steps[k] = table[k * (depth + 2) + depth + 1]
    for k in range(core_steps):
        steps[operands + k] = d[HEADER + cores + k]
    units = d[_ROWS] * d[_SEGMENTS]
    first, last = units * index // tasks, units * (index + 1) // tasks
    if d[_SEGMENTS] == 1 and depth == 1:
        _run_rows(d[_LOOP], operands, table, first, last, dims, steps, pointers)
        return
    for unit in range(first, last):
        _run_unit(d, sizes, table, unit, dims, steps, pointers)


# Words of a template, which says what a loop needs of its operands; and of the record that it has
# of each operand: the dtype's kind; its size, negative of outputs; how many core dimensions there
# are, the place of their first step among those of all operands, and the places of their sizes.
_ADDRESS, _COUNT, _STATE, CHUNK, _ITEMS, _OBJECT, _SIZES, _ALL_STEPS, _TEMPLATE = range(9)
_KIND, _ITEM, _OWN, _FIRST_STEP, _FIRST_SIZE = range(5)
_RECORD = _FIRST_SIZE + 3


@helper
def is_usable(array, record, head):
    """Whether an array is of the dtype that a record says, and can be read or written in place."""
    needed = ALIGNED if record[_ITEM] > 0 else ALIGNED | WRITEABLE
    kind = int64_at(array[DESCRIPTION] + head)[KIND_WORD] & KIND_MASK
    return (array[FLAGS] & needed) == needed and kind == record[_KIND]


@helper
def cut_up(descriptor, t, size, rows, tasks, unit):
    """Describes a loop over rows of ``size`` elements; few are cut into whole units for threads."""
    length = size
    if rows < 4 * tasks:
        share = (size + tasks - 1) // tasks
        length = min(size, (share + unit - 1) // unit * unit)
    descriptor[_LOOP], descriptor[_OPERANDS], descriptor[_TASKS] = t[_ADDRESS], t[_COUNT], tasks
    descriptor[_ROWS], descriptor[_SEGMENTS] = rows, -(-size // length)
    descriptor[_LENGTH], descriptor[_INNER], descriptor[_DEPTH] = length, size, min(rows - 1, 1)
    descriptor[_CORES], descriptor[_CORE_STEPS] = t[_SIZES], t[_ALL_STEPS]


@helper
def share_out(descriptor, t, size, rows, tasks, unit):
    """Has so many threads run the loop over rows of ``size`` elements."""
    cut_up(descriptor, t, size, rows, tasks, unit)
    if tasks == 1:
        call_task(t[CHUNK], address_of(descriptor), 0)
    else:
        call_region(int64_at(t[_STATE])[threads.ENTRY], t[CHUNK], address_of(descriptor), tasks)


def run_adjacent(template: int, tasks: int, arrays: int) -> int:
    """Runs a pointwise loop over a tuple of arrays, if all are adjacent or of one element.

    Gives 0; or 1 where they are not, and nothing has happened.
    """
    t = int64_at(template)
    head, operands = t[_OBJECT], t[_COUNT]
    items = int64_at(arrays + t[_ITEMS])
    descriptor = words()
    size = 1
    for k in range(operands - 1, -1, -1):
        array, record = int64_at(items[k] + head), offset(t, _TEMPLATE + _RECORD * k)
        shape, count = int64_at(array[SHAPE]), 1
        for axis in range(array[NDIM] & 0xFFFFFFFF):
            count *= shape[axis]
        if k == operands - 1:
            size = count
        if not is_usable(array, record, head):
            return 1
        step = abs(record[_ITEM])
        if count != size or (array[FLAGS] & CONTIGUOUS) == 0:
            if count != 1:
                return 1
            step = 0
        entry = offset(descriptor, HEADER + 2 * k)
        entry[0], entry[1] = array[DATA], step
    share_out(descriptor, t, size, 1, tasks, LANES)
    return 0


def run_rows(template: int, tasks: int, unit: int, arrays: int) -> int:
    """Runs any loop over a tuple of arrays with at most one outer dimension; see `run_adjacent`.

    Or with two, if that of the result are many long rows without gaps.
    """
    t = int64_at(template)
    head, operands = t[_OBJECT], t[_COUNT]
    items = int64_at(arrays + t[_ITEMS])
    descriptor = words()
    core_sizes = offset(descriptor, HEADER)
    core_steps = offset(core_sizes, t[_SIZES])
    size, rows, depth = 0, 1, 0
    for k in range(operands - 1, -1, -1):
        array, record = int64_at(items[k] + head), offset(t, _TEMPLATE + _RECORD * k)
        shape, strides = int64_at(array[SHAPE]), int64_at(array[STRIDES])
        outer = (array[NDIM] & 0xFFFFFFFF) - record[_OWN]
        if k == operands - 1:
            if outer < 1 or outer > 2:
                return 1
            size, depth = shape[outer - 1], outer - 1
            if depth == 1:
                rows = shape[0]
                if rows < 4 * tasks or size < SHORT or (array[FLAGS] & CONTIGUOUS) == 0:
                    return 1
        if outer < 0 or outer > depth + 1 or not is_usable(array, record, head):
            return 1
        entry = offset(core_steps, t[_ALL_STEPS] + depth + (depth + 2) * k)
        entry[0], entry[depth + 1] = array[DATA], 0
        if outer > 0 and shape[outer - 1] == size:
            entry[depth + 1] = strides[outer - 1]
        elif outer > 0 and shape[outer - 1] != 1:
            return 1
        if depth == 1:
            entry[1] = 0
            if outer == 2 and shape[0] == rows:
                entry[1] = strides[0]
            elif outer == 2 and shape[0] != 1:
                return 1
        for j in range(record[_OWN]):
            core_sizes[record[_FIRST_SIZE + j]] = shape[outer + j]
            core_steps[record[_FIRST_STEP] + j] = strides[outer + j]
    if depth == 1:
        core_steps[t[_ALL_STEPS]] = rows
    share_out(descriptor, t, size, rows, tasks, unit)
    return 0


_RUN_ADJACENT = MachineCode(run_adjacent, REGION, result=types.intp)
_RUN_ROWS = MachineCode(run_rows, (*REGION, types.intp), result=types.intp)


def _template(loop: Loop) -> Array:
    names = list(dict.fromkeys(name for own in loop.names for name in own))
    words_ = [loop.address, len(loop.dtypes), data_address(threads.state), task(_run_chunk)]
    words_ += [objects.TUPLE_HEAD, objects.OBJECT_HEAD, len(names), sum(loop.core)]
    for k, (dtype, own) in enumerate(zip(loop.dtypes, loop.names, strict=True)):
        size = dtype.itemsize if k < loop.inputs else -dtype.itemsize
        record = [objects.kind_of(dtype), size, len(own), sum(loop.core[:k])]
        assert len(own) <= _RECORD - _FIRST_SIZE
        record += [names.index(name) for name in own]
        words_ += record + [0] * (_RECORD - len(record))
    return np.array(words_, np.int64)


def _entry(code: MachineCode, numbers: int) -> Any:
    """The function of so many numbers and a tuple."""
    word = ctypes.c_int64
    return ctypes.CFUNCTYPE(word, *[word] * numbers, ctypes.py_object)(code.address)


@cache
def _rows_entry() -> Any:
    return _entry(_RUN_ROWS, 3)


@cache
def _adjacent_entry() -> Any:
    return _entry(_RUN_ADJACENT, 2)


class _Known:
    """What is known of a loop before its operands are: the template's address, and costs."""

    __slots__ = ("address", "expected", "template")

    def __init__(self, loop: Loop) -> None:
        self.template = _template(loop)
        self.address = self.template.ctypes.data
        self.expected = 1e-9 * expected_cost(loop)


_known = cache(_Known)


def template_of(loop: Loop) -> int:
    """Where compiled code finds what a loop needs of its operands; 0 if that is not known yet."""
    return _known(loop).address if loop.is_compiled() and threads.state[threads.WORKERS] else 0


def templates() -> int:
    """A number that changes when :func:`template_of` has more to say; negative while it gives 0."""
    return Loop.compiled if threads.state[threads.WORKERS] else ~Loop.compiled


def expected_cost(loop: Loop) -> float:
    """Roughly the nanoseconds that an element takes, from memory."""
    return max(element_cost(loop), _BYTE * sum(dtype.itemsize for dtype in loop.dtypes))


def drive_adjacent(loop: Loop, arrays: tuple[Array, ...]) -> bool:
    """Runs a pointwise loop on the threads that there are; says whether it did.

    It does if several would pay, and all arrays are adjacent or of one element.
    """
    size = arrays[-1].size
    cost = element_cost(loop) * size
    if cost < WORTH or not objects.are_as_expected():
        return False
    tasks = min(threads.free(), -int(-2 * cost // WORTH))
    if tasks > 1 and not threads.may_enter():
        return False
    known, enter = _known(loop), _adjacent_entry()
    started = perf_counter()  # when all is compiled
    if enter(known.address, tasks, arrays):
        return False
    if tasks > 1:
        threads.judge(started, known.expected * size / tasks)
    return True


def _descriptor(loop: Loop, operands: tuple[Array, ...], tasks: int, unit: int) -> Array:
    output = operands[-1]
    outer = output.shape[: output.ndim - loop.core[-1]]
    strides = [
        broadcast_strides(x, outer, core) for x, core in zip(operands, loop.core, strict=True)
    ]
    sizes, strides = ([*outer], strides) if len(outer) == 1 else merge(outer, strides)
    inner, rows = sizes.pop(), prod(sizes)
    length = inner
    if rows < 4 * tasks:
        share = -(-inner * rows // (tasks * rows))
        length = min(inner, -(-share // unit) * unit)
    core_sizes, core_steps = _core_layout(loop, operands) if any(loop.core) else ([], [])
    words_ = [loop.address, len(operands), tasks, rows, -(-inner // length), length, inner]
    words_ += [len(sizes), len(core_sizes), len(core_steps), *core_sizes, *core_steps, *sizes]
    for operand, each in zip(operands, strides, strict=True):
        words_ += [operand.ctypes.data, *each]
    return np.array(words_, np.int64)


def _core_layout(loop: Loop, operands: tuple[Array, ...]) -> tuple[list[int], list[int]]:
    """The sizes of the core dimensions by name, and the core steps of each operand."""
    sizes: dict[str, int] = {}
    steps: list[int] = []
    for operand, names in zip(operands, loop.names, strict=True):
        split = operand.ndim - len(names)
        sizes |= zip(names, operand.shape[split:], strict=True)
        steps += operand.strides[split:]
    return list(sizes.values()), steps


def is_writable(output: Array) -> bool:
    """Whether loops can write in place; if not, NumPy copies, or raises."""
    flags = output.flags
    return flags.writeable and flags.aligned and output.dtype.isnative


def is_large(loop: Loop, work: int) -> bool:
    """Whether a loop has enough to do for several threads, were there some; in elements."""
    return work * _cost(loop) >= WORTH


def is_worth(loop: Loop, work: int) -> bool:
    """Whether a loop has enough to do for the threads that there are; in elements."""
    return is_large(loop, work) and threads.concurrency() > 1


def _cost(loop: Loop) -> float:
    return _ELEMENT if loop.expressions is None else element_cost(loop)


def drive(loop: Loop, *operands: Array, work: int | None = None, unit: int = LANES) -> None:
    """Runs the loop over its operands, inputs then outputs, which must all be given.

    Outer dimensions are those before an operand's core dimensions; inputs broadcast to the outputs.
    ``work`` is the number of elements visited, if that is not the largest operand's size; ``unit``
    is what lengths of chunks are multiples of, 1 for a loop that takes outer elements one by one.
    """
    if work is None:
        work = max([operand.size for operand in operands])
    outputs = operands[loop.inputs :]
    if (
        not is_worth(loop, work)
        or deferring()
        or not operands[-1].size
        or not all(map(is_writable, outputs))
    ):
        loop.ufunc(*operands)
        return
    if loop.expressions is not None and drive_adjacent(loop, operands):
        return
    drive_strided(loop, operands, work, unit)


def drive_strided(loop: Loop, operands: tuple[Array, ...], work: int, unit: int = LANES) -> None:
    """Runs a loop on the threads there are, over operands whose outputs are written in place."""
    tasks = min(threads.free(), -int(-2 * work * _cost(loop) // WORTH))
    launch = loop, work, operands[0].strides, operands[-1].strides
    expected = _expected(launch, operands) / tasks
    if objects.are_as_expected() and (tasks == 1 or threads.may_enter()):
        known, enter = _known(loop), _rows_entry()
        started = perf_counter()
        if enter(known.address, tasks, unit, operands) == 0:
            if tasks > 1:
                threads.judge(started, expected)
            _note_time(launch, (perf_counter() - started) * tasks)
            return
    run, descriptor = task(_run_chunk), _descriptor(loop, operands, tasks, unit)
    started = perf_counter()
    threads.parallel_for(run, descriptor, tasks, 1e9 * expected)
    _note_time(launch, (perf_counter() - started) * tasks)


Launch = tuple[Loop, int, tuple[int, ...], tuple[int, ...]]

# Seconds of one thread that launches took at best: of a loop over as many elements, with steps of
# the first and the last operand like these. How long short rows are makes 25 times of a difference.
_least_times: dict[Launch, float] = {}
_MOST_LAUNCHES = 1024
_MOST_TIME = 1e-8  # what an element is supposed to take before that is known; most take less


def _expected(launch: Launch, operands: tuple[Array, ...]) -> float:
    """The seconds that a launch should take on one thread."""
    loop, work, *_ = launch
    least = 1e-9 * max(work * _cost(loop), _BYTE * sum(x.nbytes for x in operands))
    if loop.expressions is not None:
        return least
    return max(least, _least_times.get(launch, work * _MOST_TIME))


def _note_time(launch: Launch, time: float) -> None:
    """Notes what a launch took, if that is the only way to know what a loop costs."""
    if launch[0].expressions is None:
        if len(_least_times) >= _MOST_LAUNCHES:
            _least_times.clear()
        _least_times[launch] = min(time, _least_times.get(launch, time))
