"""Calls that give arrays without gaps in another shape: views, made without Python."""

from __future__ import annotations

from ..intrinsics import address_of, helper, int64_at, offset, words
from ..objects import ALIGNED, CONTIGUOUS, DATA, DESCRIPTION, FLAGS, WRITEABLE
from .callables import FLAT, FORM, PLAIN
from .forward import ForwardCalls, items_of, recorded, run_forward
from .holders import (
    ARRAY,
    COUNT,
    HEAD,
    INTEGER,
    KIND,
    LIST,
    MISS,
    NDARRAY,
    NEW_ARRAY,
    RANK,
    SET_BASE,
    SIZES,
    TUPLE,
    TYPE,
    array_of,
    call_address,
    hold,
    integer_of,
    is_holder,
    is_subtype,
    needs_gradients,
    new_holder,
    read_array,
    release,
)
from .reduction import MOST_DIMENSIONS, read_axis
from .views import attach

_OWN_FLAGS = CONTIGUOUS | ALIGNED


@helper
def read_sizes(t, arguments, count, sizes):
    """Writes the sizes that a call gives, one by one or in a list; gives how many, or -1."""
    items, rank, overflow = arguments, count, words()
    if count == 1:
        kind = int64_at(arguments[0])[TYPE]
        if kind == t[LIST] or is_subtype(kind, t[TUPLE]) & 0xFFFFFFFF != 0:
            items, rank = items_of(t, arguments[0]), int64_at(arguments[0])[HEAD]
    if rank > MOST_DIMENSIONS:
        return -1
    for k in range(rank):
        if int64_at(items[k])[TYPE] != t[INTEGER]:
            return -1
        sizes[k] = integer_of(items[k], address_of(overflow))
        if sizes[k] < -1:
            return -1
    return rank


@helper
def read_flattened(t, arguments, count, operand, sizes):
    """Writes the sizes after a range of dimensions became one; gives how many, or -1.

    The range is all dimensions if no arguments name others.
    """
    own, rank, bounds = int64_at(operand[SIZES]), operand[RANK], words()
    bounds[0], bounds[1] = 0, rank - 1
    for k in range(min(count, 2)):
        if int64_at(arguments[k])[TYPE] != t[INTEGER]:
            return -1
        bounds[k] = read_axis(arguments[k], rank)
    first, last = bounds[0], bounds[1]
    if count > 2 or first < 0 or last <= first:
        return -1
    for axis in range(rank):
        if axis <= first:
            sizes[axis] = own[axis]
        elif axis <= last:
            sizes[first] *= own[axis]
        else:
            sizes[axis - last + first] = own[axis]
    return rank - last + first


@helper
def fill_in(sizes, rank, count):
    """Replaces a size of -1; says whether the sizes are those of so many elements."""
    known, unknown = 1, -1
    for k in range(rank):
        if sizes[k] != -1:
            known *= sizes[k]
        elif unknown >= 0:
            return False
        else:
            unknown = k
    if unknown < 0:
        return known == count
    if known == 0 or count % known != 0:
        return False
    sizes[unknown] = count // known
    return True


@helper
def array_in_shape(t, source, rank, sizes):
    """A new array that shares the memory of one without gaps; 0 after an error."""
    fields = offset(int64_at(source), HEAD)
    description, flags = fields[DESCRIPTION], _OWN_FLAGS | fields[FLAGS] & WRITEABLE
    hold(description)
    made = call_address(
        t[NEW_ARRAY],
        (t[NDARRAY], description, rank, address_of(sizes), 0, fields[DATA], flags, 0),
    )
    if made != 0:
        hold(source)
        call_address(t[SET_BASE], (made, source))
    return made


@helper
def view_in_shape(own, row, t, arguments, given):
    """A holder's view in the shape that a call gives; 0 after an error; MISS where it has gaps."""
    x, operand, sizes = arguments[0], words(), words()
    if not read_array(array_of(t, x), operand):
        return MISS
    others = offset(arguments, 1)
    if own[FORM] == FLAT:
        wanted = read_flattened(t, others, given - 1, operand, sizes)
    else:
        wanted = read_sizes(t, others, given - 1, sizes)
    if wanted < 0 or not fill_in(sizes, wanted, operand[COUNT]):
        return MISS
    made = array_in_shape(t, int64_at(x)[t[ARRAY]], wanted, sizes)
    if made == 0:
        return 0
    result = new_holder(t, made, int64_at(x)[t[KIND]])
    if result != 0 and needs_gradients(t, x):
        result = recorded(row, t, arguments, 1, 1, result, words())
    if result != 0 and not attach(t, x, result, False):
        release(result)
        return 0
    return result


@helper
def run_shape(own, row, t, arguments, given):
    """The answer to a call; what only copies would give is left to Python, or to the row."""
    result = MISS
    if given > 0 and is_holder(t, arguments[0]):
        result = view_in_shape(own, row, t, arguments, given)
    if result != MISS or own[FORM] != PLAIN:
        return result
    return run_forward(own, row, t, arguments, given)


class ShapeCalls(ForwardCalls):
    """Calls of x and sizes, one by one or in a list."""

    compute = run_shape
