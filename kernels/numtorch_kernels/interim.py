"""The interpreter of programs as plain Python, which runs them until it is compiled.

Its functions are those of :mod:`.interpreter`, with Python's meaning of what they call. A program's
first run need not wait for the interpreter then, only for its loops.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

from . import interpreter
from .intrinsics import BLOCK, Helper

MOST_CALLS = 2000
"""Of loops, in one run: each takes some 30 us in Python, of which a compiled run takes a tenth."""

_Words: Any = ctypes.POINTER(ctypes.c_int64)
_Bytes: Any = ctypes.POINTER(ctypes.c_uint8)
_Loop = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)


def _int64_at(address: int) -> Any:
    return ctypes.cast(address, _Words)


def _uint8_at(address: int) -> Any:
    return ctypes.cast(address, _Bytes)


def _address_of(pointer: Any) -> int:
    return ctypes.addressof(pointer.contents)


def _offset(pointer: Any, count: int) -> Any:
    return _int64_at(_address_of(pointer) + 8 * count)


def _words() -> Any:
    return ctypes.cast((ctypes.c_int64 * BLOCK)(), _Words)


def _call_loop(loop: int, pointers: Any, dims: Any, steps: Any) -> None:
    _Loop(loop)(pointers, dims, steps, None)


def _call_task(_task: int, descriptor: int, index: int) -> None:
    _functions()["run_share"](descriptor, index)


def _call_region(_region: int, task: int, descriptor: int, tasks: int) -> None:
    for index in range(tasks):
        _call_task(task, descriptor, index)


@cache
def _functions() -> dict[str, Any]:
    """The names of the interpreter's module, where they mean what they mean to Python."""
    scope = {
        **vars(interpreter),
        "int64_at": _int64_at,
        "uint8_at": _uint8_at,
        "address_of": _address_of,
        "offset": _offset,
        "words": _words,
        "call_loop": _call_loop,
        "call_task": _call_task,
        "call_region": _call_region,
    }
    for name, value in vars(interpreter).items():
        function = value.py_func if isinstance(value, Helper) else value
        if isinstance(function, FunctionType) and function.__module__ == interpreter.__name__:
            scope[name] = FunctionType(function.__code__, scope)
    return scope


def _runner(name: str) -> Callable[[int, tuple[Any, ...]], int]:
    def run(address: int, arrays: tuple[Any, ...]) -> int:
        status: int = _functions()[name](address, id(arrays))
        return status

    return run


run_program = _runner("run_program")
bind_program = _runner("bind_program")
