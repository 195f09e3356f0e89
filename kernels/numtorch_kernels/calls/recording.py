"""Calls noted for gradients, without Python: compiled code makes the node of a call.

What a node is made of depends on the operation, the kinds of its operands and which of them need
gradients. Python makes the first node of each sort, and a *recipe* of how the others are made.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

from ..intrinsics import address_of, helper, int64_at, offset, words
from ..objects import NDIM, SHAPE
from .holders import (
    ARRAY,
    KIND,
    MISS,
    NEEDS,
    NO_FLAG,
    NODE,
    NONE,
    NUMBER,
    OUTPUT,
    RECORDING,
    SINCE,
    TRUE,
    TRUE_FLAG,
    VERSION,
    VIEW,
    ZERO,
    array_of,
    call_python,
    flag_of_mode,
    hold,
    integer_of,
    is_holder,
    list_items,
    new_integer,
    new_list,
    new_object,
    new_tuple,
    next_of,
    place_of,
    release,
    tuple_items,
    version_of,
)

# Words of what all recipes share: the class of saved results, of sizes, what counts nodes, the
# number 1, whether nodes are to know who called; places of a node's fields, a saved result's, and
# a recipe's.
(SAVED_CLASS, _SIZE_CLASS, _COUNTER, _ONE, _TRACED, _EDGES, _OUTPUTS, _NUMBER_OF, _HOOKS,
 _PREHOOKS, _TENSOR_HOOKS, _RETAINING, _TRACE, RECIPE_OF, LIKES, _SHAPES, SAVED, VERSIONS,
 S_ARRAY, S_COUNTER, _S_OUTPUT, _S_NEEDS, PLANS_OF) = range(23)  # fmt: skip

# Words of a recipe: those above, the node's class, the recipe object, whether results are linked to
# the node, how many edges there are and values to save; then the operand of each edge, and of each
# value its source, which argument it is of, and what that is where it is not given.
_COMMON, _NODE_CLASS, _OBJECT, _LINKS, _EDGE_COUNT, _SAVE_COUNT, _PLACES = range(7)
SOURCES = {"argument": 0, "shape": 1, "dtype": 2, "result": 3}
_ARGUMENT, _SHAPE, _DTYPE, _RESULT = range(4)

_MOST = 8  # edges, and values that are saved

common = np.zeros(23, np.int64)
_kept: list[Any] = []


class Save(NamedTuple):
    """A value that a node saves: its source, a key of SOURCES, its argument, and the default."""

    source: str
    position: int
    default: Any


def describe_nodes(node: type, recipe: type, saved: type, size: type, counter: Any) -> None:
    """Says what nodes, their recipes and saved results are, and what gives the numbers of nodes."""
    common[PLANS_OF] = place_of(object.__new__(recipe), "plans")
    example: Any = object.__new__(node)
    example_saved: Any = object.__new__(saved)
    fields = {
        _EDGES: "edges", _OUTPUTS: "outputs", _NUMBER_OF: "number", _HOOKS: "hooks",
        _PREHOOKS: "prehooks", _TENSOR_HOOKS: "_tensor_hooks", _RETAINING: "_retaining",
        _TRACE: "trace", RECIPE_OF: "recipe", LIKES: "likes", _SHAPES: "shapes", SAVED: "saved",
        VERSIONS: "versions",
    }  # fmt: skip
    for place, name in fields.items():
        common[place] = place_of(example, name)
    for place, name in (
        (S_ARRAY, "array"),
        (S_COUNTER, "counter"),
        (_S_OUTPUT, "output"),
        (_S_NEEDS, "needs_grad"),
    ):
        common[place] = place_of(example_saved, name)
    values = {SAVED_CLASS: saved, _SIZE_CLASS: size, _COUNTER: counter, _ONE: 1}
    common[list(values)] = [id(value) for value in values.values()]
    _kept.extend(values.values())


def set_traced(traced: bool) -> None:
    """Says whether nodes are to know who called, which only Python can tell."""
    common[_TRACED] = traced


def write_recipe(
    place: int, node: type, recipe: Any, links: bool, edges: list[int], saves: list[Save]
) -> None:
    """Writes how nodes are made to a place that a call for one gave."""
    if len(edges) > _MOST or len(saves) > _MOST:
        return
    made = [common.ctypes.data, id(node), id(recipe), links, len(edges), len(saves), *edges]
    for save in saves:
        made += [SOURCES[save.source], save.position, id(save.default)]
    array = np.array(made, np.int64)
    _kept.extend((array, node, recipe, saves))
    ctypes.c_int64.from_address(place).value = array.ctypes.data


# ---------------------------------------------------------------------- in compiled code


@helper
def sizes_of(t, x):
    """A new tuple of the sizes of a holder's array."""
    array = array_of(t, x)
    rank, sizes = array[NDIM] & 0xFFFFFFFF, int64_at(array[SHAPE])
    made = new_tuple(rank)
    items = tuple_items(made)
    for axis in range(rank):
        items[axis] = new_integer(sizes[axis])
    return made


@helper
def is_current(t, x):
    """Whether a holder's node says how it was computed, also after changes of what it views."""
    view = int64_at(x)[t[VIEW]]
    if view == t[NONE]:
        return True
    overflow = address_of(words())
    version = int64_at(x)[t[VERSION]]
    if version == t[NONE]:
        return False
    now = integer_of(int64_at(version)[t[NUMBER]], overflow)
    return now == integer_of(int64_at(view)[t[SINCE]], overflow)


@helper
def edge_of(t, x):
    """Where the gradient of a holder goes, a new reference."""
    node, output = int64_at(x)[t[NODE]], int64_at(x)[t[OUTPUT]]
    if node == t[NONE]:
        hold(x)
        return x
    hold(node)
    if output == t[ZERO]:
        return node
    pair = new_tuple(2)
    hold(output)
    items = tuple_items(pair)
    items[0], items[1] = node, output
    return pair


@helper
def like_of(t, x):
    """A new tuple of a holder's sizes and kind."""
    pair = new_tuple(2)
    kind = int64_at(x)[t[KIND]]
    hold(kind)
    items = tuple_items(pair)
    items[0], items[1] = sizes_of(t, x), kind
    return pair


@helper
def version_number(t, x):
    """The version of a holder, a new reference."""
    version = int64_at(x)[t[VERSION]]
    number = t[ZERO]
    if version != t[NONE]:
        number = int64_at(version)[t[NUMBER]]
    hold(number)
    return number


@helper
def saved_result(t, c, x):
    """What a node keeps of its own result."""
    made = new_object(t, c[SAVED_CLASS])
    fields = int64_at(made)
    array, version = int64_at(x)[t[ARRAY]], version_of(t, x)
    hold(array)
    hold(version)
    hold(t[ZERO])
    hold(t[TRUE])
    fields[c[S_ARRAY]], fields[c[S_COUNTER]] = array, version
    fields[c[_S_OUTPUT]], fields[c[_S_NEEDS]] = t[ZERO], t[TRUE]
    return made


@helper
def save(t, c, what, arguments, count, result, frame):
    """Writes a value to save and its version, both new references."""
    source, position = what[0], what[1]
    value, number = what[2], t[NONE]
    if source == _RESULT:
        frame[0], frame[1] = saved_result(t, c, result), version_number(t, result)
        return
    if position < count:
        value = arguments[position]
    if source == _SHAPE:
        frame[0] = sizes_of(t, value)
        value = call_python(c[_SIZE_CLASS], address_of(frame), 1, 0)
        release(frame[0])
    elif source == _DTYPE:
        value = int64_at(value)[t[KIND]]
        hold(value)
    else:
        if is_holder(t, value):
            number = version_number(t, value)
            release(number)
        hold(value)
    hold(number)
    frame[0], frame[1] = value, number


@helper
def new_node(t, recipe, c, arguments, count, bits, result, frame):
    """The node of a call; ``bits`` say which arguments need gradients."""
    node = new_object(t, recipe[_NODE_CLASS])
    fields = int64_at(node)
    edge_count, save_count = recipe[_EDGE_COUNT], recipe[_SAVE_COUNT]
    edges, likes = new_tuple(edge_count), new_list(edge_count)
    edge_items, like_items = tuple_items(edges), list_items(likes)
    for k in range(edge_count):
        position = recipe[_PLACES + k]
        if bits >> position & 1:
            edge_items[k] = edge_of(t, arguments[position])
            like_items[k] = like_of(t, arguments[position])
        else:
            hold(t[NONE])
            hold(t[NONE])
            edge_items[k], like_items[k] = t[NONE], t[NONE]
    saved, versions = new_list(save_count), new_list(save_count)
    saved_items, version_items = list_items(saved), list_items(versions)
    for k in range(save_count):
        what = offset(recipe, _PLACES + edge_count + 3 * k)
        save(t, c, what, arguments, count, result, frame)
        saved_items[k], version_items[k] = frame[0], frame[1]
    for _ in range(6):
        hold(t[NONE])
    hold(c[_ONE])
    hold(recipe[_OBJECT])
    fields[c[_EDGES]], fields[c[LIKES]] = edges, likes
    fields[c[SAVED]], fields[c[VERSIONS]] = saved, versions
    fields[c[_OUTPUTS]], fields[c[RECIPE_OF]] = c[_ONE], recipe[_OBJECT]
    fields[c[_HOOKS]], fields[c[_PREHOOKS]], fields[c[_TENSOR_HOOKS]] = t[NONE], t[NONE], t[NONE]
    fields[c[_RETAINING]], fields[c[_TRACE]], fields[c[_SHAPES]] = t[NONE], t[NONE], t[NONE]
    fields[c[_NUMBER_OF]] = next_of(c[_COUNTER])
    return node


@helper
def note(t, place, arguments, count, bits, result, frame):
    """Notes a call for gradients where there is a recipe; gives 0 after an error, or MISS."""
    recording = flag_of_mode(t, RECORDING)
    if recording != TRUE_FLAG:
        return 0 if recording == NO_FLAG else result
    if place == 0 or int64_at(place)[0] == 0:
        return MISS
    recipe = int64_at(int64_at(place)[0])
    c = int64_at(recipe[_COMMON])
    if c[_TRACED] != 0:
        return MISS
    for k in range(recipe[_EDGE_COUNT]):
        position = recipe[_PLACES + k]
        if bits >> position & 1 and not is_current(t, arguments[position]):
            return MISS
    node = new_node(t, recipe, c, arguments, count, bits, result, frame)
    if recipe[_LINKS] == 0:
        release(node)
        return result
    fields = int64_at(result)
    release(fields[t[NODE]])
    release(fields[t[NEEDS]])
    hold(t[TRUE])
    fields[t[NODE]], fields[t[NEEDS]] = node, t[TRUE]
    return result


@helper
def record_call(in_python, t, place, arguments, count, bits, result, frame):
    """Notes a call for gradients; gives its result, or 0 after an error, and it is released.

    ``in_python`` is what does it otherwise, given the place for a recipe, 0 if there is none.
    """
    noted = note(t, place, arguments, count, bits, result, offset(frame, count + 2))
    if noted == result:
        return result
    done = noted
    if noted == MISS:
        frame[0] = new_integer(place)
        for i in range(count):
            frame[1 + i] = arguments[i]
        frame[count + 1] = result
        done = call_python(in_python, address_of(frame), count + 2, 0)
        release(frame[0])
        if done != 0:
            release(done)
            return result
    release(result)
    return 0
