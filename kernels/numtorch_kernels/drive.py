"""Hands a compiled loop its operands: through NumPy on one thread, in chunks on several.

Work is cut along the outer dimensions only and at multiples of 64 elements, so that each element
is computed by the same instructions whatever the number of threads.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from . import threads
from .build import Loop, task
from .costs import WORTH, element_cost
from .deferral import deferring
from .intrinsics import call_loop, int64_at, offset, words
from .layout import broadcast_strides, merge

Array = np.ndarray[Any, Any]

GRAIN = 1 << 18  # elements of other than pointwise loops from which a parallel launch pays
_ELEMENT = WORTH / GRAIN  # nanoseconds
_BYTE = 0.1  # nanoseconds that a byte takes to or from memory
_LANES = 64  # a chunk's length is a multiple: sixteen float32 lanes, unrolled four times

# Words of the descriptor. Strides and steps are in bytes.
_LOOP, _OPERANDS, _TASKS, _ROWS, _SEGMENTS, _LENGTH, _INNER, _DEPTH, _CORES, _CORE_STEPS = range(10)
_HEADER = 10


def _run_chunk(descriptor: int, index: int) -> None:
    """One task: its share of the units (row, segment), each one call of the loop."""
    d = int64_at(descriptor)
    operands, tasks, rows, segments = d[_OPERANDS], d[_TASKS], d[_ROWS], d[_SEGMENTS]
    length, inner, depth = d[_LENGTH], d[_INNER], d[_DEPTH]
    cores, core_steps = d[_CORES], d[_CORE_STEPS]
    frame = words()
    dims, steps, pointers = frame, offset(frame, 8), offset(frame, 40)
    sizes = offset(d, _HEADER + cores + core_steps)
    table = offset(sizes, depth)  # per operand: address, stride of each outer dimension, inner step
    for k in range(cores):
        dims[1 + k] = d[_HEADER + k]
    for k in range(operands):
        steps[k] = table[k * (depth + 2) + depth + 1]
    for k in range(core_steps):
        steps[operands + k] = d[_HEADER + cores + k]
    units = rows * segments
    for unit in range(units * index // tasks, units * (index + 1) // tasks):
        row, start = unit // segments, unit % segments * length
        dims[0] = min(length, inner - start)
        for k in range(operands):
            entry = offset(table, k * (depth + 2))
            address, rest = entry[0] + start * entry[depth + 1], row
            for axis in range(depth - 1, -1, -1):
                address += rest % sizes[axis] * entry[1 + axis]
                rest //= sizes[axis]
            pointers[k] = address
        call_loop(d[_LOOP], pointers, dims, steps)


def _descriptor(loop: Loop, operands: tuple[Array, ...], tasks: int, unit: int) -> Array:
    sizes, strides = _dimensions(loop, operands)
    inner, rows = sizes.pop(), prod(sizes)
    length = inner
    if rows < 4 * tasks:
        share = -(-inner * rows // (tasks * rows))
        length = min(inner, -(-share // unit) * unit)
    core_sizes, core_steps = _core_layout(loop, operands) if any(loop.core) else ([], [])
    words_ = [loop.address, len(operands), tasks, rows, -(-inner // length), length, inner]
    words_ += [len(sizes), len(core_sizes), len(core_steps), *core_sizes, *core_steps, *sizes]
    for operand, each in zip(operands, strides, strict=True):
        words_ += [operand.__array_interface__["data"][0], *each]
    return np.array(words_, np.int64)


def _dimensions(loop: Loop, operands: tuple[Array, ...]) -> tuple[list[int], list[list[int]]]:
    """The dimensions that the loop is run over, and each operand's strides along them.

    For what is adjacent throughout, or one number, no dimensions are merged, which takes 20 us.
    """
    output = operands[-1]
    if not any(loop.core):
        size = output.size
        strides = []
        for x in operands:
            if x.size == size and x.flags.c_contiguous:
                strides.append([x.itemsize])
            elif x.size == 1:
                strides.append([0])
            else:
                break
        else:
            return [size], strides
    outer = output.shape[: output.ndim - loop.core[-1]]
    strides = [
        broadcast_strides(x, outer, core) for x, core in zip(operands, loop.core, strict=True)
    ]
    return (list(outer), strides) if len(outer) == 1 else merge(outer, strides)


def _core_layout(loop: Loop, operands: tuple[Array, ...]) -> tuple[list[int], list[int]]:
    """The sizes of the core dimensions by name, and the core steps of each operand."""
    sizes: dict[str, int] = {}
    steps: list[int] = []
    for operand, names in zip(operands, loop.names, strict=True):
        split = operand.ndim - len(names)
        sizes |= zip(names, operand.shape[split:], strict=True)
        steps += operand.strides[split:]
    return list(sizes.values()), steps


def _writable(output: Array) -> bool:
    """Whether loops can write in place; if not, NumPy copies, or raises."""
    flags = output.flags
    return flags.writeable and flags.aligned and output.dtype.isnative


def is_worth(loop: Loop, work: int) -> bool:
    """Whether a loop has enough to do for several threads; in elements."""
    return work * _cost(loop) >= WORTH and threads.concurrency() > 1


def _cost(loop: Loop) -> float:
    return _ELEMENT if loop.expressions is None else element_cost(loop)


def drive(loop: Loop, *operands: Array, work: int | None = None, unit: int = _LANES) -> None:
    """Runs the loop over its operands, inputs then outputs, which must all be given.

    Outer dimensions are those before an operand's core dimensions; inputs broadcast to the outputs.
    ``work`` is the number of elements visited, if that is not the largest operand's size; ``unit``
    is what lengths of chunks are multiples of, 1 for a loop that takes outer elements one by one.
    """
    if deferring():
        loop.ufunc(*operands)
        return
    if work is None:
        work = max(operand.size for operand in operands)
    outputs = operands[loop.inputs :]
    if not is_worth(loop, work) or not operands[-1].size or not all(map(_writable, outputs)):
        loop.ufunc(*operands)
        return
    cost = work * _cost(loop)
    tasks = min(threads.concurrency(), -int(-2 * cost // WORTH))
    expected = 0.0
    if loop.expressions is not None:
        expected = max(cost, _BYTE * sum(x.nbytes for x in operands)) / tasks
    threads.parallel_for(
        task(_run_chunk), _descriptor(loop, operands, tasks, unit), tasks, expected
    )
