"""Where things lie in CPython's and NumPy's objects, for compiled code that is handed them.

Compiled code reads a tuple of arrays in a few nanoseconds; to ask an array for its address in
Python takes 1 to 3 us. Places are counted in words from the end of the object's head.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import numpy as np

from .intrinsics import helper, int64_at

OBJECT_HEAD = object.__basicsize__  # bytes
TUPLE_HEAD = tuple.__basicsize__

# Words of an array, and bits of its flags
DATA, NDIM, SHAPE, STRIDES, _BASE, DESCRIPTION, FLAGS = range(7)
CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400

# The word of a dtype's object that says what it is: all but a byte of flags.
KIND_WORD, KIND_MASK = 1, ~0xFF000000


def kind_of(dtype: np.dtype[Any]) -> int:
    """What is found in the object of a dtype."""
    word = ctypes.c_int64.from_address(id(dtype) + OBJECT_HEAD + 8 * KIND_WORD)
    return word.value & KIND_MASK


@helper
def kind_in(array):
    """:func:`kind_of` the dtype of an array, whose words are given."""
    return int64_at(array[DESCRIPTION] + OBJECT_HEAD)[KIND_WORD] & KIND_MASK


@helper
def rank_of(array):
    """The number of dimensions."""
    return array[NDIM] & 0xFFFFFFFF


@helper
def is_plain(array):
    """Whether an array has no gaps."""
    return array[FLAGS] & (CONTIGUOUS | ALIGNED) == CONTIGUOUS | ALIGNED


@helper
def are_apart(one, one_size, other, other_size):
    """Whether so many bytes from each of two addresses on are no memory in common."""
    return one + one_size <= other or other + other_size <= one


@cache
def are_as_expected() -> bool:
    """Whether objects are laid out like this, and one thread at a time deals with them."""
    if sys.implementation.name != "cpython" or not has_lock():
        return False
    return _are_arrays() and _are_simple()


def has_lock() -> bool:
    """Whether Python has a global lock."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def _word(value: Any, place: int) -> int:
    """The word of an object at a place in bytes."""
    return ctypes.c_int64.from_address(id(value) + place).value


def _are_simple() -> bool:
    """Whether types, numbers, tuples and lists are where compiled code looks for them."""
    value = 1.5
    listed, single = [value, listing := object()], object()
    number = ctypes.c_double.from_address(id(value) + OBJECT_HEAD).value
    items = _word(listed, OBJECT_HEAD + 8)
    return (
        _word(value, OBJECT_HEAD - 8) == id(float)
        and number == value
        and _word((single, value), TUPLE_HEAD) == id(single)
        and _word(listed, OBJECT_HEAD) == len(listed)
        and ctypes.c_int64.from_address(items + 8).value == id(listing)
        and ctypes.c_int32.from_address(id(single)).value == sys.getrefcount(single) - 1
    )


def _are_arrays() -> bool:
    array = np.zeros((2, 3), np.float32)[:, ::2]
    holder = (array,)
    item = _word(holder, TUPLE_HEAD)
    words = (ctypes.c_int64 * 7).from_address(id(array) + OBJECT_HEAD)
    address = array.__array_interface__["data"][0]
    if item != id(array) or words[DATA] != address or words[NDIM] & 0xFFFF != 2:
        return False
    shape, strides = (
        tuple((ctypes.c_int64 * 2).from_address(words[place])) for place in (SHAPE, STRIDES)
    )
    names = ("f4", "f8", "i4", "i8", "u1", "?")
    return (
        (shape, strides) == (array.shape, array.strides)
        and words[DESCRIPTION] == id(array.dtype)
        and words[FLAGS] & (CONTIGUOUS | ALIGNED | WRITEABLE) == ALIGNED | WRITEABLE
        and len({kind_of(np.dtype(name)) for name in names}) == len(names)
    )
