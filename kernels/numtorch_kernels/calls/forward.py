"""Calls of functions of arrays with objects that hold arrays, without Python in between.

Compiled code takes the arrays out of their holders, calls the function, puts what it gives into a
new holder, and notes for views what they are views of. What is unusual it leaves to Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..intrinsics import address_of, helper, int64_at, offset, words
from ..objects import DESCRIPTION, NDIM
from .callables import (
    FORM,
    ITEM,
    PLANS,
    RECORD,
    Calls,
)
from .holders import (
    ARRAY,
    FALSE,
    FLOAT,
    HEAD,
    INTEGER,
    LIST,
    MISS,
    NDARRAY,
    NONE,
    TEXT,
    TRUE,
    TUPLE,
    TYPE,
    array_of,
    call_python,
    hold,
    is_holder,
    kind_of_dtype,
    list_items,
    needs_gradients,
    new_holder,
    new_list,
    new_tuple,
    release,
    tuple_items,
)
from .recording import record_call
from .views import attach, read_item, take_items

# Words of a row, after those of all rows: the least and most arguments; from which on they are
# sizes; the function of arrays; what makes results of other things than an array; whether results
# are views of the first argument; whether several are given in a tuple; what refuses arguments, or
# 0; then places for recipes, and before each one the key that it is for.
(_LEAST, _MOST, _SIZES_FROM, _FORWARD, _FINISH, _IS_VIEW, _GIVES_TUPLES, _CHECK,
 _RECIPES) = range(PLANS + 1, PLANS + 10)  # fmt: skip
_PLACES = 8
FIRST_FREE = _RECIPES + 2 * _PLACES  # a row's words from here on are a subclass's

_OTHERS = 8  # the bit that says that gradients are needed of more than the first three arguments
_MOST_ARGUMENTS = 60


@helper
def items_of(t, x):
    """The items of a list or a tuple."""
    return list_items(x) if int64_at(x)[TYPE] == t[LIST] else tuple_items(x)


@helper
def list_of_arrays(t, x):
    """A new list of the arrays in a list or tuple of holders; MISS if there are other things."""
    count, items = int64_at(x)[HEAD], items_of(t, x)
    for i in range(count):
        if not is_holder(t, items[i]):
            return MISS
    made = new_list(count)
    if made == 0:
        return 0
    targets = list_items(made)
    for i in range(count):
        array = int64_at(items[i])[t[ARRAY]]
        hold(array)
        targets[i] = array
    return made


@helper
def are_integers(t, x):
    """Whether a list or tuple has integers, and nothing else."""
    count, items = int64_at(x)[HEAD], items_of(t, x)
    found = 0
    for i in range(count):
        found += int64_at(items[i])[TYPE] == t[INTEGER]
    return count > 0 and found == count


@helper
def is_passed_on(t, x):
    """Whether the function gets an argument as it is."""
    kind = int64_at(x)[TYPE]
    if kind == t[LIST] or kind == t[TUPLE]:
        return are_integers(t, x)
    if kind == t[FLOAT] or kind == t[TEXT]:
        return True
    return x == t[NONE] or x == t[TRUE] or x == t[FALSE]


@helper
def any_needs_gradients(t, x):
    """Whether one of the holders in a list or tuple needs gradients."""
    items, needs = items_of(t, x), False
    for i in range(int64_at(x)[HEAD]):
        needs |= needs_gradients(t, items[i])
    return needs


@helper
def take_arrays(row, t, given, count, values):
    """Writes what the function gets for arguments, all new references.

    Gives bits of the arguments that need gradients, -1 after an error, and -2 where an argument is
    of another type than these, after which there are no references.
    """
    needs = 0
    for i in range(count):
        x = given[i]
        kind = int64_at(x)[TYPE]
        status = 0
        if kind == t[INTEGER]:
            hold(x)
            values[i] = x
        elif i >= row[_SIZES_FROM]:
            status = -2
        elif is_holder(t, x):
            values[i] = int64_at(x)[t[ARRAY]]
            hold(values[i])
            if needs_gradients(t, x):
                needs |= 1 << i
        elif is_passed_on(t, x):
            hold(x)
            values[i] = x
        elif kind == t[LIST] or kind == t[TUPLE]:
            made = list_of_arrays(t, x)
            values[i] = made
            if made == MISS:
                status = -2
            elif made == 0:
                status = -1
            elif any_needs_gradients(t, x):
                needs |= _OTHERS
        else:
            status = -2
        if status < 0:
            for j in range(i):
                release(values[j])
            return status
    return needs


@helper
def holder_of(t, array):
    """A new holder of what a function gave; MISS if that is no array of a known kind."""
    if int64_at(array)[TYPE] != t[NDARRAY]:
        return MISS
    kind = kind_of_dtype(t, offset(int64_at(array), HEAD)[DESCRIPTION])
    return new_holder(t, array, kind) if kind != 0 else MISS


@helper
def holders_of(row, t, source, arrays):
    """A new tuple of holders for a tuple of arrays, as ``holder_of``; views of a source, if so."""
    count, items = int64_at(arrays)[HEAD], tuple_items(arrays)
    made = new_tuple(count)
    for k in range(count if made != 0 else 0):
        hold(items[k])
        holder = holder_of(t, items[k])
        if holder > MISS:
            tuple_items(made)[k] = holder
            if row[_IS_VIEW] == 0 or attach(t, source, holder, count > 1):
                continue
            holder = 0
        elif holder == MISS:
            release(items[k])
        release(made)
        return holder
    return made


@helper
def finish_in_python(row, arguments, count, value, frame):
    """The result that Python makes of what the function gave."""
    frame[0] = value
    for i in range(count):
        frame[1 + i] = arguments[i]
    result = call_python(row[_FINISH], address_of(frame), count + 1, 0)
    release(value)
    return result


@helper
def place_for(row, t, arguments, count, needs):
    """The address of the place for a recipe; 0 where there is none.

    Its key is how many arguments there are, which need gradients, and of the first three the
    dimensions, or that they are no tensors.
    """
    if needs >= _OTHERS:
        return 0
    key = count << 3 | needs
    for i in range(min(count, 3)):
        rank = 15
        if is_holder(t, arguments[i]):
            rank = array_of(t, arguments[i])[NDIM] & 0xFFFFFFFF
        key = key << 4 | rank
    place, k = offset(row, _RECIPES), 0
    while k < _PLACES and place[2 * k] != key and place[2 * k] != 0:
        k += 1
    if k == _PLACES:
        return 0
    place[2 * k] = key
    return address_of(offset(place, 2 * k + 1))


@helper
def recorded(row, t, arguments, count, needs, result, frame):
    """The result of a call, which is noted if gradients are needed; 0 after an error."""
    if needs == 0 or row[RECORD] == 0:
        return result
    recipe = place_for(row, t, arguments, count, needs)
    return record_call(row[RECORD], t, recipe, arguments, count, needs, result, frame)


@helper
def passes(row, arguments, count):
    """Whether nothing is wrong with arguments; an error is set if there is."""
    if row[_CHECK] == 0:
        return True
    checked = call_python(row[_CHECK], address_of(arguments), count, 0)
    if checked != 0:
        release(checked)
    return checked != 0


@helper
def is_in_bounds(row, count):
    """Whether the function takes so many arguments."""
    return row[_LEAST] <= count <= row[_MOST]


@helper
def compute_result(row, t, arguments, count):
    """The result of a call, a new reference; 0 after an error; or MISS, and nothing is done."""
    frame = words()
    if not passes(row, arguments, count):
        return 0
    needs = take_arrays(row, t, arguments, count, frame)
    if needs < 0:
        return MISS if needs == -2 else 0
    value = call_python(row[_FORWARD], address_of(frame), count, 0)
    for i in range(count):
        release(frame[i])
    if value == 0:
        return 0
    if int64_at(value)[TYPE] == t[TUPLE] and needs == 0 and row[_GIVES_TUPLES] != 0:
        result = holders_of(row, t, arguments[0], value)
        if result != MISS:
            release(value)
            return result
    result = holder_of(t, value)
    if result == MISS:
        return finish_in_python(row, arguments, count, value, frame)
    if result == 0:
        return 0
    result = recorded(row, t, arguments, count, needs, result, frame)
    if result != 0 and row[_IS_VIEW] != 0 and not attach(t, arguments[0], result, False):
        release(result)
        return 0
    return result


@helper
def or_compute(result, row, t, arguments, count):
    """A result, or where there is none (MISS) what the row's function of arrays gives."""
    return compute_result(row, t, arguments, count) if result == MISS else result


@helper
def run_forward(own, row, t, arguments, given):
    """The answer to a call; a part of a tensor is taken here, or as its row does."""
    values, count = arguments, given
    if own[FORM] == ITEM:
        if given == 2:
            result = take_items(t, arguments[0], arguments[1])
            if result != MISS:
                return result
        values = words()
        count = read_item(t, arguments, given, values)
    return compute_result(row, t, values, count) if is_in_bounds(row, count) else MISS


class ForwardCalls(Calls):
    """Calls of a function of arrays.

    It takes from ``least`` to ``most`` arguments, which are sizes from ``sizes_from`` on. Where it
    gives no array, ``finish`` makes the result of what it gives and the arguments; ``is_view``
    says that it gives views of the first argument, ``gives_tuples`` that a tuple of arrays is to
    become one of tensors. ``check`` may refuse arguments; it may be called twice.
    """

    compute = run_forward

    def __init__(
        self,
        function: Callable[..., Any],
        least: int,
        most: int | None,
        sizes_from: int | None,
        finish: Callable[..., Any],
        record: Callable[..., None] | None,
        is_view: bool,
        gives_tuples: bool,
        check: Callable[..., None] | None,
    ) -> None:
        super().__init__(0, record)
        self.words[_LEAST] = least
        self.words[_MOST] = _MOST_ARGUMENTS if most is None else most
        self.words[_SIZES_FROM] = _MOST_ARGUMENTS if sizes_from is None else sizes_from
        self.words[_FORWARD], self.words[_FINISH] = id(function), id(finish)
        self.words[_IS_VIEW], self.words[_GIVES_TUPLES] = is_view, gives_tuples
        self.words[_CHECK] = 0 if check is None else id(check)
        self.keep(function, finish, check)
