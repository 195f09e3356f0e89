"""Operands without gaps that are broadcast to a common shape, and pointwise loops over them.

A call of a loop takes 50 ns, as long as it works on hundreds of elements. So it takes all elements
at once where every operand has all of them or one. Where one has but those of the last dimensions,
which the other meets again and again, these are written side by side until they are worth a call.
"""

from __future__ import annotations

from ..intrinsics import call_loop, helper, int64_at, offset, uint8_at
from .holders import AT, COUNT, RANK, SIZES

MOST_DIMENSIONS = 16
_MOST_BYTES = 1 << 12  # of a repeated operand: with 8 KB, 64k elements took 1.1 times as long
_FEW = 4  # rows for which it does not pay to repeat one of them


@helper
def broadcast(first, second, sizes):
    """Writes the sizes of the common shape; gives how many there are, or -1 if there is none."""
    rank = max(first[RANK], second[RANK])
    if rank > MOST_DIMENSIONS:
        return -1
    a, b = int64_at(first[SIZES]), int64_at(second[SIZES])
    for axis in range(rank):
        i, j = axis - rank + first[RANK], axis - rank + second[RANK]
        m, n = 1, 1
        if i >= 0:
            m = a[i]
        if j >= 0:
            n = b[j]
        if m != n and min(m, n) != 1:
            return -1
        sizes[axis] = n if m == 1 else m
    return rank


# ---------------------------------------------------------------------- many elements at once


@helper
def period_of(operand, sizes, rank):
    """After how many elements an operand is met again from its beginning; 0 if that is not so."""
    own, period, ended = int64_at(operand[SIZES]), 1, False
    for k in range(1, operand[RANK] + 1):
        size = own[operand[RANK] - k]
        if size != sizes[rank - k]:
            ended = True  # its size is 1
        elif size != 1 and ended:
            return 0
        else:
            period *= size
    return period


@helper
def repeat(operand, period, count, item, memory):
    """Writes an operand again and again, until it has ``count`` elements."""
    source, copy = uint8_at(operand[AT]), uint8_at(memory)
    done, size = period * item, count * item
    for i in range(done):
        copy[i] = source[i]
    while done < size:
        more = min(done, size - done)
        for i in range(more):
            copy[done + i] = copy[i]
        done += more
    operand[AT], operand[COUNT] = memory, count


@helper
def span_with(operand, sizes, rank, total, item, memory):
    """:func:`span_of` for an operand of fewer elements than another, which has all."""
    period = period_of(operand, sizes, rank)
    if period == 0:
        return 0
    rows = total // period
    count = min(_MOST_BYTES // (period * item), rows) * period
    if rows < _FEW or count <= period:
        return period
    repeat(operand, period, count, item, memory)
    return count


@helper
def span_of(first, second, sizes, rank, total, items, memory):
    """How many elements a loop can take at once; 0 if only those along the last dimension.

    For that, an operand may be replaced by one in ``memory`` that repeats it.
    """
    if (first[COUNT] == total or first[COUNT] == 1) and (
        second[COUNT] == total or second[COUNT] == 1
    ):
        return total
    if first[COUNT] == total and total > 0:
        return span_with(second, sizes, rank, total, items[1], memory)
    if second[COUNT] == total and total > 0:
        return span_with(first, sizes, rank, total, items[0], memory)
    return 0


@helper
def run_spans(loop, items, operands, first, second, target, start, total, span, frame):
    """Runs a loop over the elements from ``start`` on."""
    pointers, steps, count = frame, offset(frame, 4), offset(frame, 8)
    for k in range(operands):
        operand = second if k == 1 else first
        steps[k] = 0 if operand[COUNT] == 1 and total > 1 else items[k]
    steps[operands] = items[operands]
    while start < total:
        count[0] = min(span, total - start)
        for k in range(operands):
            operand = second if k == 1 else first
            pointers[k] = operand[AT]
            if operand[COUNT] == total:
                pointers[k] += start * steps[k]
        pointers[operands] = target + start * items[operands]
        call_loop(loop, pointers, count, steps)
        start += span


# ---------------------------------------------------------------------- row by row


@helper
def row_of(operand, sizes, rank, row, item):
    """Where the elements of an operand begin that meet a row of the common shape."""
    own = int64_at(operand[SIZES])
    step = item
    if operand[RANK] > 0:
        step *= own[operand[RANK] - 1]
    address = operand[AT]
    for axis in range(rank - 2, -1, -1):
        place = row % sizes[axis]
        row //= sizes[axis]
        i = axis - rank + operand[RANK]
        if i >= 0 and own[i] != 1:
            address += place * step
            step *= own[i]
    return address


@helper
def inner_step(operand, item):
    """How far apart an operand's elements are along the common last dimension."""
    rank = operand[RANK]
    return item if rank > 0 and int64_at(operand[SIZES])[rank - 1] != 1 else 0


@helper
def run_rows(loop, items, first, second, target, sizes, rank, frame):
    """Runs a loop over the rows of the common shape."""
    pointers, steps, count = frame, offset(frame, 4), offset(frame, 8)
    size = sizes[rank - 1]
    count[0] = size
    rows = 1
    for axis in range(rank - 1):
        rows *= sizes[axis]
    steps[0], steps[1] = inner_step(first, items[0]), inner_step(second, items[1])
    steps[2] = items[2]
    for row in range(rows):
        pointers[0] = row_of(first, sizes, rank, row, items[0])
        pointers[1] = row_of(second, sizes, rank, row, items[1])
        pointers[2] = target + row * size * items[2]
        call_loop(loop, pointers, count, steps)


@helper
def strides_of(operand, sizes, span, total, item, entry):
    """Writes how far apart rows of so many elements are, and elements; 0 for rows of a matrix."""
    if span > 0:
        entry[0] = span * item if operand[COUNT] == total else 0
        entry[1] = 0 if operand[COUNT] == 1 else item
        return
    entry[0], entry[1] = 0, inner_step(operand, item)
    if operand[RANK] == 2 and int64_at(operand[SIZES])[0] != 1:
        entry[0] = item if entry[1] == 0 else sizes[1] * item
