"""Types of Python objects whose call is compiled code, made through CPython's C interface.

They derive from ``staticmethod``, which holds a Python function and calls it; compiled code that is
put before it later takes over the calls that it can do, and leaves it the others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

from ..objects import OBJECT_HEAD

# Numbers of CPython's C interface: of slots of types, of a member's type, and of flags.
_DESCR_GET, _MEMBERS, _NEW = 54, 72, 65
_SSIZE, _READONLY = 19, 1
_DEFAULT, _HAS_VECTORCALL, _IS_METHOD = 1 << 18, 1 << 11, 1 << 17

WORDS = 5
"""How many words an object has for compiled code: the address of it, and what it is told."""

PLACE = staticmethod.__basicsize__ - OBJECT_HEAD
"""Where they are, in bytes from the end of the object's head."""


class _Slot(ctypes.Structure):
    _fields_ = (("slot", ctypes.c_int), ("function", ctypes.c_void_p))


class _Member(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("offset", ctypes.c_ssize_t),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class _Spec(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("size", ctypes.c_int),
        ("item_size", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("slots", ctypes.POINTER(_Slot)),
    )


def slot(cls: type, number: int) -> int:
    """The address of a function of a type, such as that which makes an instance."""
    get = ctypes.pythonapi.PyType_GetSlot
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_int]
    return get(cls, number)


def new_object() -> int:
    """The address of what ``object.__new__`` calls."""
    return slot(object, _NEW)


_kept: list[Any] = []  # what types refer to for good


def _made_type(name: str, is_method: bool) -> type:
    """A type whose instances have words for compiled code, the first of them its address."""
    members = (_Member * 2)(
        _Member(b"__vectorcalloffset__", _SSIZE, staticmethod.__basicsize__, _READONLY, None)
    )
    slots = (_Slot * 3)(_Slot(_MEMBERS, ctypes.addressof(members)))
    flags = _DEFAULT | _HAS_VECTORCALL
    if is_method:
        flags |= _IS_METHOD
        slots[1] = _Slot(_DESCR_GET, slot(FunctionType, _DESCR_GET))
    title = name.encode()
    size = staticmethod.__basicsize__ + ctypes.sizeof(ctypes.c_int64) * WORDS
    spec = _Spec(title, size, 0, flags, slots)
    make = ctypes.pythonapi.PyType_FromSpecWithBases
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object]
    _kept.extend((members, slots, title))
    return make(ctypes.addressof(spec), (staticmethod,))


@cache
def function_type() -> type:
    """The type of functions that are bound to no instance of a class that they are found in."""
    return _made_type("numtorch.Function", False)


@cache
def method_type() -> type:
    """The type of functions that are methods of a class that they are found in."""
    return _made_type("numtorch.Method", True)


def words_of(value: Any) -> Any:
    """The words for compiled code of an object of these types."""
    return (ctypes.c_int64 * WORDS).from_address(id(value) + OBJECT_HEAD + PLACE)


def wrapped(value: Any) -> Callable[..., Any]:
    """The Python function that an object of these types calls where compiled code does not."""
    return value.__func__
