"""Results of compiled calls that are views of their first operand, among them parts of it."""

from __future__ import annotations

from ..intrinsics import address_of, helper, int64_at, offset, words
from ..objects import NDIM, SHAPE
from .holders import (
    ARRAY,
    BASE,
    ELLIPSIS,
    FALSE_FLAG,
    HEAD,
    INFERENCE,
    INTEGER,
    KIND,
    MISS,
    MULTIPLE,
    NO_FLAG,
    NO_GRAD,
    NONE,
    NOTHING,
    NUMBER,
    RECORDING,
    SINCE,
    SLICE,
    TUPLE,
    TYPE,
    VERSION,
    VIEW,
    VIEW_CLASS,
    WHY,
    ZERO,
    array_of,
    c_function,
    flag_of_mode,
    hold,
    integer_of,
    is_holder,
    needs_gradients,
    new_holder,
    new_object,
    new_tuple,
    release,
    tuple_items,
    version_of,
)

get_item = c_function("PyObject_GetItem", 2)
forget_error = c_function("PyErr_Clear", 0)


@helper
def attach(t, source, result, is_one_of_several):
    """Notes that a result is a view of a source, or of what that is a view of; says if it could."""
    recording, inference = flag_of_mode(t, RECORDING), FALSE_FLAG
    if recording == FALSE_FLAG:
        inference = flag_of_mode(t, INFERENCE)
    version, view = version_of(t, source), new_object(t, t[VIEW_CLASS])
    if min(recording, inference) == NO_FLAG or version == 0 or view == 0:
        return False
    known, fields, target = int64_at(source)[t[VIEW]], int64_at(view), int64_at(result)
    fields[t[BASE]], fields[t[WHY]] = source, t[NOTHING]
    if known != t[NONE]:
        fields[t[BASE]], fields[t[WHY]] = int64_at(known)[t[BASE]], int64_at(known)[t[WHY]]
    if is_one_of_several and fields[t[WHY]] == t[NOTHING]:
        fields[t[WHY]] = t[MULTIPLE]
    if recording == FALSE_FLAG and inference == FALSE_FLAG:
        fields[t[WHY]] = t[NO_GRAD]
    fields[t[SINCE]] = int64_at(version)[t[NUMBER]]
    hold(fields[t[BASE]])
    hold(fields[t[WHY]])
    hold(fields[t[SINCE]])
    hold(version)
    release(target[t[VIEW]])
    release(target[t[VERSION]])
    target[t[VIEW]], target[t[VERSION]] = view, version
    return True


@helper
def read_item(t, arguments, count, values):
    """Writes a holder, 0 and an index of its first dimension, and gives 3; or gives 0."""
    if count != 2 or int64_at(arguments[1])[TYPE] != t[INTEGER] or not is_holder(t, arguments[0]):
        return 0
    array = array_of(t, arguments[0])
    index = integer_of(arguments[1], address_of(values))
    if array[NDIM] & 0xFFFFFFFF == 0 or index < 0 or index >= int64_at(array[SHAPE])[0]:
        return 0
    values[0], values[1], values[2] = arguments[0], t[ZERO], arguments[1]
    return 3


@helper
def is_plain_slice(t, x):
    """Whether a slice goes forwards, by numbers."""
    fields = offset(int64_at(x), HEAD)
    for k in range(3):
        if fields[k] != t[NONE] and int64_at(fields[k])[TYPE] != t[INTEGER]:
            return False
    return fields[2] == t[NONE] or integer_of(fields[2], address_of(words())) > 0


@helper
def read_index(t, items, count):
    """How many integers an index has, and whether an ellipsis.

    There are -1 if not all else are slices and new dimensions, or a number is too large.
    """
    found, open_ended = 0, False
    for k in range(count):
        kind = int64_at(items[k])[TYPE]
        if kind == t[INTEGER]:
            found += 1
        elif items[k] == t[ELLIPSIS]:
            open_ended = True
        elif items[k] != t[NONE] and (kind != t[SLICE] or not is_plain_slice(t, items[k])):
            return -1, False
    return found, open_ended


@helper
def with_ellipsis(t, items, count):
    """A new tuple of items and an ellipsis; 0 after an error."""
    made = new_tuple(count + 1)
    if made != 0:
        targets = tuple_items(made)
        for k in range(count):
            hold(items[k])
            targets[k] = items[k]
        hold(t[ELLIPSIS])
        targets[count] = t[ELLIPSIS]
    return made


@helper
def take_items(t, x, index):
    """The part that slices and integers name, a view; 0 after an error, MISS where Python has to.

    That is where gradients are needed. NumPy gives single elements as numbers, but for an ellipsis.
    """
    if not is_holder(t, x) or needs_gradients(t, x):
        return MISS
    items, count = words(), 1
    items[0] = index
    if int64_at(index)[TYPE] == t[TUPLE]:
        items, count = tuple_items(index), int64_at(index)[HEAD]
    found, open_ended = read_index(t, items, count)
    rank = array_of(t, x)[NDIM] & 0xFFFFFFFF
    if found < 0 or found > rank:
        return MISS
    array = int64_at(x)[t[ARRAY]]
    if found == rank and not open_ended:
        key = with_ellipsis(t, items, count)
        if key == 0:
            return 0
        part = get_item(array, key)
        release(key)
    else:
        part = get_item(array, index)
    if part == 0:
        forget_error()  # Python says it in its own words
        return MISS
    result = new_holder(t, part, int64_at(x)[t[KIND]])
    if result != 0 and not attach(t, x, result, False):
        release(result)
        return 0
    return result
