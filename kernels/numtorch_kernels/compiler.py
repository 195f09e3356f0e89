"""From a Python function to object code, and from object code to an address.

This is the one place that knows the insides of Numba. Its pipeline optimises and translates every
function that a kernel calls by itself, and then again as part of its callers. Here they stay as
they are until the whole is linked, and are then optimised once. Nothing but the entry is visible in
the object code, so that code of several processes can be loaded into one: Numba numbers the names
of functions anew in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba.core import config, cpu, registry, types
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler import Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime import rtsys

from .intrinsics import PART

compiler_lock = global_compiler_lock


class _Part(JITCodeLibrary):  # type: ignore[misc]
    """The unoptimised code of one function, to be linked into others."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Null: there is no machine code of a part."""
        self._ensure_finalized()
        return 0

    def optimised(self, entry: str) -> Any:
        """The module of this and all linked parts, where only ``entry`` is visible."""
        self._ensure_finalized()
        module = self._final_module
        for value in (*module.functions, *module.global_variables):
            if not value.is_declaration and value.name != entry:
                value.linkage = "internal"
        JITCodeLibrary._optimize_final_module(self)
        return self._final_module


class _Codegen(JITCPUCodegen):  # type: ignore[misc]
    """A code generator of our own, with its own table of symbols."""

    _library_class = _Part

    def set_env(self, env_name: str, env: Any) -> None:
        """Nothing: kernels have no Python objects."""


@compiler_lock
@cache
def _codegen() -> _Codegen:
    """The only one: whoever asks while it is made has to wait."""
    context = registry.cpu_target.target_context
    rtsys.initialize(context)
    llvm.initialize_native_asmparser()
    return _Codegen("numtorch")


def environment() -> tuple[Any, ...]:
    """All that decides what object code a function becomes, besides the function."""
    return (
        numba.__version__,
        llvmlite.__version__,
        llvm.llvm_version_info,
        np.__version__,
        _codegen().magic_tuple(),
        str(config.OPT),
        config.LOOP_VECTORIZE,
        config.SLP_VECTORIZE,
        config.BOUNDSCHECK,
        config.DEBUGINFO_DEFAULT,
        config.LLVM_REFPRUNE_PASS,
    )


@contextmanager
def _our_codegen(context: cpu.CPUContext) -> Iterator[_Codegen]:
    """Numba generates code with our generator within."""
    usual, context._internal_codegen = context._internal_codegen, _codegen()
    try:
        yield context._internal_codegen
    finally:
        context._internal_codegen = usual


@compiler_lock
def translate(
    function: Callable[..., None],
    parameters: tuple[Any, ...],
    name: str,
    fastmath: frozenset[str] = frozenset(),
    result: Any = types.void,
) -> bytes:
    """Object code that defines the C function ``name`` over parameters of Numba's types."""
    target = registry.cpu_target
    flags = Flags()
    target.options.parse_as_flags(flags, {**PART, "nopython": True, "fastmath": set(fastmath)})
    flags.no_compile = True
    context = target.target_context
    with _our_codegen(context) as codegen:
        part = codegen.create_library(name)
        compiled = compile_extra(
            target.typing_context, context, function, parameters, result, flags, {}, part
        )
        part.add_ir_module(_entry(context, compiled.fndesc, name))
        return codegen._tm.emit_object(part.optimised(name))


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
    engine = _codegen()._engine._ee
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine.get_function_address(name)
