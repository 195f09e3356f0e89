"""Compiled code that reads Python objects which hold arrays, and makes new ones.

Who has a class of such objects describes it once, by :func:`describe`; compiled code then finds the
fields at their places, and everything else that it needs of Python and NumPy, in one table.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .. import memory, objects, threads
from ..intrinsics import WORD, address_of, helper, int64_at, offset, words
from ..objects import DATA, SHAPE, TUPLE_HEAD, is_plain, rank_of
from . import pythontypes

Array = np.ndarray[Any, Any]

# Words of the table. Places of fields are in words from an object's address.
(BUSY, CLASS, ARRAY, KIND, NEEDS, VIEW, VERSION, VIEW_CLASS, BASE, WHY, SINCE, VERSION_CLASS,
 NUMBER, FALSE, TRUE, NONE, NOTHING, FLOAT, INTEGER, TEXT, LIST, TUPLE, NDARRAY, NEW_ARRAY,
 NEW_OBJECT, NO_ARGUMENTS, ZERO, MODE, RECORDING, INFERENCE, NO_GRAD, MULTIPLE, NODE, OUTPUT,
 POOL, THREADS, BACK_OFF, CLOCK, SET_BASE, SLICE, ELLIPSIS, KINDS) = range(42)  # fmt: skip

HEAD = objects.OBJECT_HEAD // 8  # words before an object's own
TYPE = HEAD - 1  # the word with an object's type
NO_FLAG, FALSE_FLAG, TRUE_FLAG = range(3)
MISS = 1  # what compiled code gives where the Python function is to be called,
UNKNOWN = 2  # and that where it has to be, as it notes what compiled code does not know yet

# Words that are known of an operand: where its first element is, dimensions, sizes, elements.
AT, RANK, SIZES, COUNT = range(4)
OPERAND = 4

_NEW_FROM_DESCR, _SET_BASE_OBJECT = 94, 282  # places of functions in NumPy's C interface
_MOST_KINDS = 16
_KIND_WORDS = 3  # of the table: a dtype, its kind, and the bytes of an element

table = np.zeros(KINDS + _KIND_WORDS * _MOST_KINDS, np.int64)
_kept: list[Any] = []  # what the table refers to


def c_function(name: str, count: int, given: types.Type = types.intp) -> Any:
    """An intrinsic that calls a function of the running process, which gives an address or integer.

    It is given so many of these, or numbers of another type.
    """
    argument = ir.DoubleType() if given is types.float64 else WORD

    def codegen(_context, builder, _signature, arguments):
        kind = ir.FunctionType(WORD, [argument] * count)
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(function, arguments)

    scope: dict[str, Any] = {"__name__": __name__, "codegen": codegen, "intp": types.intp}
    scope["given"] = given
    listed = ", ".join(f"a{i}" for i in range(count))
    result = f"intp({', '.join(['given'] * count)}), codegen"
    text = f"def {name}(context, {listed}):\n    return {result}\n"
    exec(text, scope)
    return intrinsic(scope[name])


hold = c_function("Py_IncRef", 1)
release = c_function("Py_DecRef", 1)
is_subtype = c_function("PyType_IsSubtype", 2)
call_python = c_function("PyObject_Vectorcall", 4)
attribute_of = c_function("PyObject_GetAttr", 2)
integer_of = c_function("PyLong_AsLongLongAndOverflow", 2)
new_integer = c_function("PyLong_FromLongLong", 1)
new_list = c_function("PyList_New", 1)
new_tuple = c_function("PyTuple_New", 1)
next_of = c_function("PyIter_Next", 1)


@intrinsic
def call_address(_context, address, arguments):
    """What the C function at an address gives of a tuple of integers or addresses."""
    count = len(arguments)

    def codegen(context, builder, signature, values):
        packed = signature.args[1]
        given = [
            context.cast(builder, builder.extract_value(values[1], i), packed[i], types.intp)
            for i in range(count)
        ]
        kind = ir.FunctionType(WORD, [WORD] * count).as_pointer()
        return builder.call(builder.inttoptr(values[0], kind), given)

    return types.intp(types.intp, arguments), codegen


def place_of(instance: Any, field: str) -> int:
    """The word of an object in which a field of its is, which this gives another value."""
    value = object()
    setattr(instance, field, value)
    size = type(instance).__basicsize__ // 8
    return list((ctypes.c_int64 * size).from_address(id(instance))).index(id(value), HEAD)


def describe(
    holder: type,
    view: type,
    version: type,
    kinds: Iterable[tuple[np.dtype[Any], Any]],
    mode: Any,
) -> None:
    """Says what classes hold arrays, which fields they must have, and what kinds of arrays are.

    Of a holder ``_array``, ``dtype`` (the kind), ``_needs_grad`` (a bool), ``_view`` (what it is a
    view of, or None), ``_version_counter`` (or None), ``_node`` and ``_output`` (what computed it,
    and which of its results it is); of a view ``base``, ``kind`` (why it may not be changed) and
    ``number``, which a version has too. ``mode.recording`` says whether gradients are wanted,
    ``mode.inference`` that they never will be.
    """
    example: Any = object.__new__(holder)
    example_view: Any = object.__new__(view)
    values = {
        CLASS: id(holder),
        ARRAY: place_of(example, "_array"),
        KIND: place_of(example, "dtype"),
        NEEDS: place_of(example, "_needs_grad"),
        VIEW: place_of(example, "_view"),
        VERSION: place_of(example, "_version_counter"),
        NODE: place_of(example, "_node"),
        OUTPUT: place_of(example, "_output"),
        VIEW_CLASS: id(view),
        BASE: place_of(example_view, "base"),
        WHY: place_of(example_view, "kind"),
        SINCE: place_of(example_view, "number"),
        VERSION_CLASS: id(version),
        NUMBER: place_of(object.__new__(version), "number"),
        NEW_ARRAY: _numpy_function(_NEW_FROM_DESCR),
        NEW_OBJECT: pythontypes.new_object(),
        POOL: memory.pool_table().ctypes.data,
        THREADS: threads.state.ctypes.data,
        CLOCK: threads.clock(),
        SET_BASE: _numpy_function(_SET_BASE_OBJECT),
    }
    named = {
        FALSE: False,
        TRUE: True,
        NONE: None,
        NOTHING: "",
        FLOAT: float,
        INTEGER: int,
        TEXT: str,
        LIST: list,
        TUPLE: tuple,
        SLICE: slice,
        ELLIPSIS: Ellipsis,
        NDARRAY: np.ndarray,
        NO_ARGUMENTS: (),
        ZERO: 0,
        MODE: mode,
        RECORDING: "recording",
        INFERENCE: "inference",
        NO_GRAD: "no_grad",
        MULTIPLE: "multiple",
        BACK_OFF: threads.back_off,
    }
    values |= {place: id(value) for place, value in named.items()}
    for place, (dtype, kind) in enumerate(kinds):
        assert place < _MOST_KINDS - 1  # the last word stays 0
        words = enumerate((id(dtype), id(kind), dtype.itemsize), KINDS + _KIND_WORDS * place)
        values |= dict(words)
        _kept.extend((dtype, kind))
    _kept.extend((holder, view, version, *named.values()))
    table[list(values)] = list(values.values())


def _numpy_function(number: int) -> int:
    """The address of a function of NumPy's C interface."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = np._core._multiarray_umath._ARRAY_API  # type: ignore[attr-defined]
    return (ctypes.c_int64 * (number + 1)).from_address(pointer(capsule, None))[number]


def set_busy(busy: bool) -> None:
    """Says whether calls are to be noted instead of done, so that compiled code does none."""
    table[BUSY] = busy


# ---------------------------------------------------------------------- in compiled code


@helper
def is_holder(t, x):
    """Whether an object is one that holds an array."""
    kind = int64_at(x)[TYPE]
    return kind == t[CLASS] or is_subtype(kind, t[CLASS]) & 0xFFFFFFFF != 0


@helper
def list_items(x):
    """The items of a list."""
    return int64_at(int64_at(x)[HEAD + 1])


@helper
def tuple_items(x):
    """The items of a tuple."""
    return offset(int64_at(x), TUPLE_HEAD // 8)


@helper
def needs_gradients(t, x):
    """Whether a holder needs gradients, or what it is a view of does."""
    holder = int64_at(x)
    if holder[t[NEEDS]] != t[FALSE]:
        return True
    view = holder[t[VIEW]]
    return view != t[NONE] and int64_at(int64_at(view)[t[BASE]])[t[NEEDS]] != t[FALSE]


@helper
def gradient_bits(t, operands, count):
    """Which of so many holders, or None, need gradients: a bit each."""
    bits = 0
    for k in range(count):
        if operands[k] != t[NONE] and needs_gradients(t, operands[k]):
            bits |= 1 << k
    return bits


@helper
def flag_of_mode(t, name):
    """Whether a mode of this thread is on: one of the flags; NO_FLAG after an error."""
    value = attribute_of(t[MODE], t[name])
    if value == 0:
        return NO_FLAG
    release(value)
    return TRUE_FLAG if value == t[TRUE] else FALSE_FLAG


@helper
def array_of(t, x):
    """The words of a holder's array."""
    return offset(int64_at(int64_at(x)[t[ARRAY]]), HEAD)


@helper
def read_array(array, operand):
    """Fills in an operand's words; says whether it is an array without gaps."""
    rank, sizes, count = rank_of(array), int64_at(array[SHAPE]), 1
    for axis in range(rank):
        count *= sizes[axis]
    operand[AT], operand[RANK] = array[DATA], rank
    operand[SIZES], operand[COUNT] = array[SHAPE], count
    return is_plain(array)


@helper
def new_array(t, description, rank, sizes):
    """A new array without gaps; 0 after an error."""
    hold(description)
    return call_address(t[NEW_ARRAY], (t[NDARRAY], description, rank, sizes, 0, 0, 0, 0))


@helper
def kind_of_dtype(t, description):
    """The kind of arrays of a dtype, 0 if that object is not known; others may be equal to it."""
    place = KINDS
    while t[place] != 0 and t[place] != description:
        place += _KIND_WORDS
    return t[place + 1]


@helper
def item_size(t, kind):
    """The bytes of an element of a kind."""
    place = KINDS
    while t[place + 1] != kind:
        place += _KIND_WORDS
    return t[place + 2]


@helper
def new_object(t, kind):
    """A new object of a class without arguments; 0 after an error."""
    return call_address(t[NEW_OBJECT], (kind, t[NO_ARGUMENTS], 0))


@helper
def new_holder(t, array, kind):
    """A new object that holds an array, a reference to which it takes over; 0 after an error."""
    holder = new_object(t, t[CLASS])
    if holder == 0:
        release(array)
        return 0
    hold(kind)
    hold(t[FALSE])
    hold(t[NONE])
    hold(t[NONE])
    hold(t[NONE])
    hold(t[ZERO])
    fields = int64_at(holder)
    fields[t[ARRAY]], fields[t[KIND]], fields[t[NEEDS]] = array, kind, t[FALSE]
    fields[t[VIEW]], fields[t[VERSION]], fields[t[NODE]] = t[NONE], t[NONE], t[NONE]
    fields[t[OUTPUT]] = t[ZERO]
    return holder


@helper
def version_of(t, x):
    """The version of a holder, made if there is none yet; 0 after an error."""
    holder = int64_at(x)
    version = holder[t[VERSION]]
    if version == t[NONE]:
        version = new_object(t, t[VERSION_CLASS])
        if version != 0:
            int64_at(version)[t[NUMBER]] = new_integer(0)
            holder[t[VERSION]] = version
            release(t[NONE])
    return version


@helper
def note_change(t, x):
    """Counts a change of a holder's array; says whether that worked."""
    version = version_of(t, x)
    if version == 0:
        return False
    overflow = address_of(words())
    fields = int64_at(version)
    known = fields[t[NUMBER]]
    fields[t[NUMBER]] = new_integer(integer_of(known, overflow) + 1)
    release(known)
    return fields[t[NUMBER]] != 0
