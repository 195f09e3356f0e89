"""From a Python function to LLVM's text, and from object code to an address.

Nothing but the entry is visible in the text, so that object code of several processes can be loaded
into one: Numba numbers the names of functions anew in each.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba.core import config, cpu, registry, types
from numba.core.compiler import Compiler, Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.target_extension import target_override

from .llvmtext import codegen
from .passes import Passes
from .target import OPTIONS, Part

compiler_lock = global_compiler_lock

listeners: list[Callable[[], None]] = []
"""Called before a function is compiled."""

_SWITCH = 2e-4  # s; with Python's usual 5 ms a first call of ten operations took 1.8 s for 1.4


def environment() -> tuple[Any, ...]:
    """All that decides what object code a function becomes, besides the function."""
    return (
        numba.__version__,
        llvmlite.__version__,
        llvm.llvm_version_info,
        np.__version__,
        codegen().magic_tuple(),
        str(config.OPT),
        config.LOOP_VECTORIZE,
        config.SLP_VECTORIZE,
        config.BOUNDSCHECK,
        config.DEBUGINFO_DEFAULT,
        config.LLVM_REFPRUNE_PASS,
    )


@contextmanager
def _compiling(context: cpu.CPUContext) -> Iterator[None]:
    """Numba generates code with our generator within, and nothing looks for garbage.

    There is hardly any, but to look for it among all of Numba's objects costs 0.1 s. A thread that
    translates gets Python's lock at once when it wants it, some thirty times for a moment.
    """
    usual, context._internal_codegen = context._internal_codegen, codegen()
    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(_SWITCH)
    try:
        with target_override(context.target_name):
            yield
    finally:
        context._internal_codegen = usual
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()


@compiler_lock
def lowered(
    function: Callable[..., None],
    parameters: tuple[Any, ...],
    name: str,
    fastmath: frozenset[str] = frozenset(),
    result: Any = types.void,
    parallel: bool = False,
) -> list[str]:
    """LLVM modules, as text, with the C function ``name`` over parameters of Numba's types.

    What calls a parallel function (a ``prange`` loop) needs Numba's own target and all its passes.
    """
    for listener in listeners:
        listener()
    target, passes = (registry.cpu_target, Compiler) if parallel else (Part.targetdescr, Passes)
    flags = Flags()
    options = {**OPTIONS, "_nrt": parallel, "fastmath": set(fastmath)}
    target.options.parse_as_flags(flags, options)
    flags.no_compile = True
    typing, context = target.typing_context, target.target_context
    with _compiling(context):
        library = codegen().create_library(name)
        compiled = compile_extra(
            typing, context, function, parameters, result, flags, {}, library, passes
        )
        library.add_ir_module(_entry(context, compiled.fndesc, name))
        return library.texts()


def _entry(context: cpu.CPUContext, callee: Any, name: str) -> ir.Module:
    """A module with the C function that calls a function of Numba's calling convention."""
    module = context.create_module(name)
    convention = context.call_conv
    body = ir.Function(
        module, convention.get_function_type(callee.restype, callee.argtypes), callee.llvm_func_name
    )
    parameters = [context.get_value_type(kind) for kind in callee.argtypes]
    empty = callee.restype == types.void
    result = ir.VoidType() if empty else context.get_value_type(callee.restype)
    entry = ir.Function(module, ir.FunctionType(result, parameters), name)
    builder = ir.IRBuilder(entry.append_basic_block())
    _, value = convention.call_function(builder, body, callee.restype, callee.argtypes, entry.args)
    if empty:
        builder.ret_void()
    else:
        builder.ret(value)
    return module


@compiler_lock
def load(code: bytes, name: str) -> int:
    """The address of the function ``name`` of object code, which stays in memory for good."""
    engine = codegen()._engine._ee
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine.get_function_address(name)
