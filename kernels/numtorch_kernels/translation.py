"""From LLVM's text to object code, of several functions side by side.

llvmlite lets one thread at a time into LLVM, so the functions of a training step, 2 s of work, kept
one core of two idle. LLVM itself asks no more than that each thread has its own context and target
machine, which a translation has here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from ctypes import CDLL, c_char_p, string_at
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from .llvmtext import Codegen, codegen

_STAGES: tuple[dict[str, Any], ...] = (
    {"cost": "cheap", "opt": 0, "loop_vectorize": False, "slp_vectorize": False},
    {},
)
"""As Numba optimises: loops are rotated and calls inlined, without which few would be vectorised;
then all of it."""

_OBJECT = 1  # what LLVM shall write: object code, not assembly


def _unlocked(name: str) -> Any:
    """A function of llvmlite's library, that several threads may call at once."""
    locked = getattr(ffi.lib, name)
    function = CDLL(ffi.lib._name, handle=ffi.lib._handle)[name]
    function.argtypes, function.restype = locked.argtypes, locked.restype
    return function


_parse = _unlocked("LLVMPY_ParseAssembly")
_run = _unlocked("LLVMPY_RunNewModulePassManager")
_emit = _unlocked("LLVMPY_TargetMachineEmitToMemory")


def _parsed(text: str, context: llvm.ContextRef) -> llvm.ModuleRef:
    with ffi.OutputString() as message:
        module = llvm.ModuleRef(_parse(context, c_char_p(text.encode()), message), context)
        if message:
            module.close()
            raise RuntimeError(f"LLVM IR parsing error\n{message}")
    return module


def optimised(texts: Sequence[str], generator: Codegen) -> llvm.ModuleRef:
    """The module of linked texts."""
    context = llvm.create_context()
    module, *rest = (_parsed(text, context) for text in texts)
    for other in rest:
        module.link_in(other)
    module.verify()
    for settings in _STAGES:
        passes, builder = generator._module_pass_manager(**settings)
        _run(passes, module, builder)
    return module


def object_code(texts: Sequence[str]) -> bytes:
    """What the linked texts become."""
    generator = codegen().apart()
    module = optimised(texts, generator)
    with ffi.OutputString() as message:
        buffer = _emit(generator._tm, module, _OBJECT, message)
        if not buffer:
            raise RuntimeError(str(message))
    try:
        start, size = ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer)
        return string_at(start, size)
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


# ---------------------------------------------------------------------- side by side

_begun: dict[str, tuple[Future[bytes], Sequence[str]]] = {}


@cache
def _workers() -> ThreadPoolExecutor:
    """The threads that translate while Numba, on the caller's, makes the texts of what follows."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "translates")


def is_begun(name: str) -> bool:
    """Whether a function of that name is being translated, or waits for it."""
    return name in _begun


def begin(texts: Sequence[str], name: str) -> None:
    """Has a thread translate a function; its caller goes on."""
    with suppress(RuntimeError):  # the program ends, and what is still wanted is made by its caller
        _begun[name] = _workers().submit(object_code, texts), texts


def finished(name: str) -> bytes | None:
    """The object code of a function that was begun; what no thread has taken is translated here."""
    if name not in _begun:
        return None
    future, texts = _begun.pop(name)
    return object_code(texts) if future.cancel() else future.result()


def _after_fork() -> None:
    """A child has none of the threads, and makes anew what they were at."""
    _begun.clear()
    _workers.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
