"""Backward of pointwise operations, without Python.

Python computes the first gradients for each combination of kinds, and adds a plan; compiled code
follows it where all arrays are as large as the incoming gradient, or of one element.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import objects
from ..build import Loop
from ..costs import element_cost
from ..drive import HEADER, LANES, expected_cost, template_of
from ..intrinsics import address_of, call_loop, helper, int64_at, offset, words
from ..objects import DATA, DESCRIPTION, NDIM, SHAPE, STRIDES
from .callables import PLANS, Calls
from .holders import (
    AT,
    COUNT,
    FALSE,
    HEAD,
    KIND,
    MISS,
    NONE,
    NUMBER,
    OPERAND,
    TYPE,
    VERSION,
    array_of,
    hold,
    integer_of,
    is_holder,
    list_items,
    new_holder,
    new_list,
    read_array,
    release,
    tuple_items,
)
from .large import large_array, share, tasks_for
from .numbers import NUMBER_KINDS, read_number
from .recording import (
    LIKES,
    PLANS_OF,
    RECIPE_OF,
    S_ARRAY,
    S_COUNTER,
    SAVED,
    SAVED_CLASS,
    VERSIONS,
    common,
)

# Words of a plan: the kind of the incoming gradient and its items' size, the loop, how many values,
# results and edges there are, from how many elements on threads may share it; what launches need
# to know of the loop, or 0; what an element costs and may take, in 1024ths of nanoseconds;
(_NEXT, _OF, _ITEM, _LOOP, _VALUES, _RESULTS, _EDGES, _LIMIT, _TEMPLATE, _COST, _EXPECTED,
 _PARTS) = range(12)  # fmt: skip
# then of each value what it is, its kind or dtype (or the object itself), and its items' size
# or what number it becomes;
_TENSOR, _SAVED, _NUMBER, _STATIC = range(4)
# then of each result its dtype, kind and items' size; then of each edge which result goes there,
# and the kind of the input.
_NO_RESULT, _INCOMING = -1, -2

MOST = 8  # values, results and edges


@helper
def read_spread(array, operand):
    """Reads an operand; says whether its elements are adjacent, or (COUNT 1) all the same one."""
    if read_array(array, operand):
        return True
    sizes, strides = int64_at(array[SHAPE]), int64_at(array[STRIDES])
    for axis in range(array[NDIM] & 0xFFFFFFFF):
        if sizes[axis] > 1 and strides[axis] != 0:
            return False
    operand[COUNT] = min(operand[COUNT], 1)
    return True


@helper
def is_version(t, counter, expected):
    """Whether a version counter, or None, is at the number that was expected."""
    if counter == t[NONE]:
        return integer_of(expected, address_of(words())) == 0
    overflow = address_of(words())
    now = int64_at(counter)[t[NUMBER]]
    return now == expected or integer_of(now, overflow) == integer_of(expected, overflow)


@helper
def read_value(t, n, what, value, version, operand, spot):
    """Reads a saved value; says whether it is as a plan has it, and unchanged."""
    if what[0] == _STATIC:
        return value == what[1]
    if what[0] == _NUMBER:
        operand[AT], operand[COUNT] = address_of(spot), 1
        return int64_at(value)[TYPE] == what[1] and read_number(t, value, what[2], spot)
    if version == t[NONE]:
        return False
    if what[0] == _SAVED:
        if int64_at(value)[TYPE] != n[SAVED_CLASS]:
            return False
        array = offset(int64_at(int64_at(value)[n[S_ARRAY]]), HEAD)
        counter = int64_at(value)[n[S_COUNTER]]
        alike = array[DESCRIPTION] == what[1]
    else:
        if not is_holder(t, value):
            return False
        array, counter = array_of(t, value), int64_at(value)[t[VERSION]]
        alike = int64_at(value)[t[KIND]] == what[1]
    return alike and read_spread(array, operand) and is_version(t, counter, version)


@helper
def is_like(like, kind, array):
    """Whether an input was of a kind and had the sizes of an array."""
    parts, rank = tuple_items(like), array[NDIM] & 0xFFFFFFFF
    sizes, own, overflow = parts[0], int64_at(array[SHAPE]), address_of(words())
    alike = parts[1] == kind and int64_at(sizes)[HEAD] == rank
    for axis in range(rank if alike else 0):
        alike &= integer_of(tuple_items(sizes)[axis], overflow) == own[axis]
    return alike


@helper
def make_results(t, plan, array, total, results):
    """Makes holders of the results, all like an array; says if it did, or MISS, or 0."""
    part = offset(plan, _PARTS + 4 * plan[_VALUES])
    for k in range(plan[_RESULTS]):
        rank, size = array[NDIM] & 0xFFFFFFFF, total * part[3 * k + 2]
        made = large_array(t, part[3 * k], rank, array[SHAPE], size)
        if made > MISS:
            made = new_holder(t, made, part[3 * k + 1])
        results[k] = made
        if made <= MISS:
            for j in range(k):
                release(results[j])
            return made
    return 2


@helper
def results_of(t, plan, g, results):
    """A list of the gradients of all edges, given those that were computed."""
    goes = offset(plan, _PARTS + 4 * plan[_VALUES] + 3 * plan[_RESULTS])
    gradients = new_list(plan[_EDGES])
    items = list_items(gradients)
    for k in range(plan[_EDGES]):
        value = t[NONE]
        if goes[2 * k] == _INCOMING:
            value = g
        elif goes[2 * k] != _NO_RESULT:
            value = results[goes[2 * k]]
        hold(value)
        items[k] = value
    for k in range(plan[_RESULTS]):
        release(results[k])
    return gradients


@helper
def run_shared(t, plan, g, values, pointers, steps, total, tasks):
    """Runs a plan's loop on so many threads; nobody lets go of its operands meanwhile."""
    descriptor, count = words(), plan[_VALUES]
    table = offset(descriptor, HEADER)
    for k in range(1 + MOST + MOST):
        table[2 * k], table[2 * k + 1] = pointers[k], steps[k]
    hold(g)
    for k in range(count):
        hold(values[k])
    template = int64_at(plan[_TEMPLATE])
    done = share(t, template, descriptor, total, 1, tasks, LANES, plan[_EXPECTED] * total >> 10)
    for k in range(count):
        release(values[k])
    release(g)
    return done


@helper
def run_plan(t, n, plan, fields, g, frame):
    """The gradients of a node's edges, a new list; or MISS where the plan is for another case."""
    values, versions = list_items(fields[n[SAVED]]), list_items(fields[n[VERSIONS]])
    likes, array, operand = list_items(fields[n[LIKES]]), array_of(t, g), frame
    if int64_at(g)[t[KIND]] != plan[_OF] or not read_spread(array, operand):
        return MISS
    count, results, total = plan[_VALUES], plan[_RESULTS], 1
    for axis in range(array[NDIM] & 0xFFFFFFFF):
        total *= int64_at(array[SHAPE])[axis]
    tasks = 0
    if total >= plan[_LIMIT] and plan[_LOOP] != 0:
        tasks = tasks_for(t, plan[_COST] * total >> 10)
        if tasks == 0 or plan[_TEMPLATE] == 0:
            return MISS
    if total == 0:
        return MISS
    pointers, steps = offset(frame, OPERAND), offset(frame, OPERAND + 3 * MOST)
    spots, made = offset(frame, OPERAND + 6 * MOST), offset(frame, OPERAND + 8 * MOST)
    pointers[0], steps[0] = operand[AT], 0 if operand[COUNT] != total else plan[_ITEM]
    inputs = 1
    for k in range(count):
        what, spot = offset(plan, _PARTS + 4 * k), offset(spots, 2 * k)
        if not read_value(t, n, what, values[k], versions[k], operand, spot):
            return MISS
        if what[0] != _STATIC:
            if operand[COUNT] != 1 and operand[COUNT] != total:
                return MISS
            pointers[inputs] = operand[AT]
            steps[inputs] = what[2] if operand[COUNT] == total else 0
            inputs += 1
    part = offset(plan, _PARTS + 4 * count)
    goes = offset(part, 3 * results)
    for k in range(plan[_EDGES]):
        if goes[2 * k] != _NO_RESULT and not is_like(likes[k], goes[2 * k + 1], array):
            return MISS
    status = make_results(t, plan, array, total, made)
    if status <= MISS:
        return status
    for k in range(results):
        pointers[inputs + k] = array_of(t, made[k])[DATA]
        steps[inputs + k] = part[3 * k + 2]
    frame[0] = total
    done = True
    if plan[_LOOP] != 0 and tasks == 0:
        call_loop(plan[_LOOP], pointers, frame, steps)
    elif plan[_LOOP] != 0:
        done = run_shared(t, plan, g, values, pointers, steps, total, tasks)
    if not done:
        for k in range(results):
            release(made[k])
        return 0
    return results_of(t, plan, g, made)


@helper
def run_node(t, n, node, grads):
    """The gradients of a node's edges, a new list; or MISS."""
    fields = int64_at(node)
    known = int64_at(fields[n[RECIPE_OF]])[n[PLANS_OF]]
    if fields[n[SAVED]] == t[NONE] or known == t[NONE] or int64_at(grads)[HEAD] != 1:
        return MISS
    g = list_items(grads)[0]
    frame = words()
    place = integer_of(known, address_of(frame))
    result = MISS
    while place != 0 and result == MISS and g != t[NONE]:
        plan = int64_at(place)
        result = run_plan(t, n, plan, fields, g, frame)
        place = plan[_NEXT]
    return result


@helper
def run_backward(own, row, t, arguments, given):
    """The answer to a call."""
    if given != 3 or arguments[2] != t[FALSE]:
        return MISS
    return run_node(t, int64_at(row[PLANS]), arguments[0], arguments[1])


class BackwardCalls(Calls):
    """Calls of a node, a list of gradients, and whether the result is to be differentiated."""

    compute = run_backward

    def __init__(self) -> None:
        super().__init__(3, None)
        self.words[PLANS] = common.ctypes.data


class Gradients(NamedTuple):
    """How the gradients of a pointwise operation are computed, once values are as here.

    ``values`` are, of each saved one, a dtype with what it makes, or None of an object that must
    be the same: pairs (what, kind). ``places`` say of each edge which result goes there (None: the
    incoming gradient), and of what kind the input is.
    """

    loop: Loop | None
    kind: Any
    values: list[tuple[str, Any]]
    places: dict[int, tuple[int | None, Any]]
    edges: int


_WHAT = {"tensor": _TENSOR, "saved": _SAVED, "number": _NUMBER, "static": _STATIC}


def _launch_words(loop: Loop) -> list[int]:
    return [template_of(loop), int(1024 * element_cost(loop)), int(1024 * expected_cost(loop))]


def note_launch(plan: Any, loop: Loop) -> None:
    """Notes what launches need to know of a plan's loop, once it was launched."""
    if not plan[_TEMPLATE]:
        plan[_TEMPLATE] = template_of(loop)


def make_plan(gradients: Gradients, following: int, limit: int, kinds: dict[Any, Any]) -> Any:
    """The words of a plan, before that at ``following``; None where that cannot be.

    ``kinds`` are those of arrays by their dtypes.
    """
    loop, values = gradients.loop, gradients.values
    dtypes = () if loop is None else loop.dtypes
    inputs = 1 if loop is None else loop.inputs
    results = dtypes[inputs:]
    if max(len(values), len(results), gradients.edges) > MOST or not objects.are_as_expected():
        return None
    made = [following, id(gradients.kind), gradients.kind.itemsize]
    made += [0 if loop is None else loop.address, len(values), len(results), gradients.edges, limit]
    made += [0, 0, 0] if loop is None else _launch_words(loop)
    operands = iter(dtypes[1:inputs])
    for what, kind in values:
        size = 0
        if what != "static" and loop is not None:
            dtype = next(operands)
            if what == "number" and dtype.name not in NUMBER_KINDS:
                return None
            size = NUMBER_KINDS[dtype.name] if what == "number" else dtype.itemsize
        made += [_WHAT[what], id(kind), size, 0]
    for dtype in results:
        made += [id(dtype), id(kinds[dtype]), dtype.itemsize]
    for edge in range(gradients.edges):
        place, kind = gradients.places.get(edge, (_NO_RESULT, None))
        made += [_INCOMING if place is None else place, id(kind)]
    return np.array(made, np.int64)
