"""Calls that join a few small arrays of one kind and shape, without gaps: cat and stack."""

from __future__ import annotations

from typing import Any

from ..drive import GRAIN
from ..intrinsics import address_of, helper, int64_at, offset, uint8_at, words
from ..objects import DATA, DESCRIPTION, NDIM, SHAPE
from .forward import FIRST_FREE, ForwardCalls, items_of, or_compute
from .holders import (
    AT,
    COUNT,
    HEAD,
    INTEGER,
    KIND,
    LIST,
    MISS,
    OPERAND,
    TUPLE,
    TYPE,
    array_of,
    integer_of,
    is_holder,
    item_size,
    needs_gradients,
    new_array,
    new_holder,
    read_array,
)

_STACKS = FIRST_FREE  # a row's word: whether it makes a new dimension

_MOST_ARRAYS, _MOST_DIMENSIONS = 64, 8


@helper
def joined_axis(t, arguments, given, rank):
    """The axis along which to join; -1 if Python has to say."""
    if given == 1:
        return 0 if rank > 0 else -1
    if int64_at(arguments[1])[TYPE] != t[INTEGER]:
        return -1
    axis = integer_of(arguments[1], address_of(words()))
    if axis < 0:
        axis += rank
    return axis if axis < rank else -1


@helper
def read_parts(t, items, count, stacks, axis, parts):
    """Writes where each array's elements are, and how many it has along the axis; their sum.

    Gives 0 unless all are of one kind and shape, but for the axis where they are not stacked.
    """
    kind, first, total = int64_at(items[0])[t[KIND]], array_of(t, items[0]), 0
    rank, sizes = first[NDIM] & 0xFFFFFFFF, int64_at(first[SHAPE])
    for i in range(count):
        if not is_holder(t, items[i]) or int64_at(items[i])[t[KIND]] != kind:
            return 0
        array, operand = array_of(t, items[i]), offset(parts, 2 * count)
        if needs_gradients(t, items[i]) or not read_array(array, operand):
            return 0
        if array[NDIM] & 0xFFFFFFFF != rank or operand[COUNT] == 0:
            return 0
        own = int64_at(array[SHAPE])
        for k in range(rank):
            if own[k] != sizes[k] and (stacks or k != axis):
                return 0
        parts[2 * i], parts[2 * i + 1] = operand[AT], 1 if stacks else own[axis]
        total += parts[2 * i + 1]
    return total


@helper
def copy_parts(parts, count, before, inner, total, target):
    """Copies the parts into rows of the target; ``inner`` are the bytes for one along the axis."""
    for i in range(count):
        size = parts[2 * i + 1] * inner
        for row in range(before):
            source, place = uint8_at(parts[2 * i] + row * size), uint8_at(target + row * total)
            for k in range(size):
                place[k] = source[k]
        target += size


@helper
def join(row, t, arguments, given):
    """The result of a call, a new reference; 0 after an error; or MISS, and nothing is done."""
    x, stacks = arguments[0], row[_STACKS] != 0
    if int64_at(x)[TYPE] != t[LIST] and int64_at(x)[TYPE] != t[TUPLE]:
        return MISS
    count, items = int64_at(x)[HEAD], items_of(t, x)
    if count == 0 or count > _MOST_ARRAYS or not is_holder(t, items[0]):
        return MISS
    array = array_of(t, items[0])
    known, rank = int64_at(array[SHAPE]), array[NDIM] & 0xFFFFFFFF
    if rank > _MOST_DIMENSIONS:
        return MISS
    axis = joined_axis(t, arguments, given, rank + stacks)
    parts = words()
    total = 0
    if axis >= 0:
        total = read_parts(t, items, count, stacks, axis, parts)
    if total == 0:
        return MISS
    sizes = offset(parts, 2 * count + OPERAND)
    before, after = 1, 1
    for k in range(rank):
        place = k + 1 if stacks and k >= axis else k
        sizes[place] = known[k]
        if k < axis:
            before *= known[k]
        elif k > axis or stacks:
            after *= known[k]
    sizes[axis] = total
    if before * total * after > GRAIN:
        return MISS
    made = new_array(t, array[DESCRIPTION], rank + stacks, address_of(sizes))
    if made == 0:
        return 0
    inner = after * item_size(t, int64_at(items[0])[t[KIND]])
    target = offset(int64_at(made), HEAD)[DATA]
    copy_parts(parts, count, before, inner, total * inner, target)
    return new_holder(t, made, int64_at(items[0])[t[KIND]])


@helper
def join_or_compute(own, row, t, arguments, given):
    """The answer to a call."""
    if given < 1 or given > 2:
        return MISS
    return or_compute(join(row, t, arguments, given), row, t, arguments, given)


class JoiningCalls(ForwardCalls):
    """Calls of a function of several arrays and an axis, along which it joins or stacks them."""

    compute = join_or_compute

    def __init__(self, stacks: bool, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.words[_STACKS] = stacks
