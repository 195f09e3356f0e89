"""A region that OpenMP's team of threads is asked for directly, as C compilers ask for theirs.

Numba's region does the same, but asks for the process's number and waits at a second barrier: a
launch of nothing takes 1.16 us with it and 0.55 us so, and half a second less to compile.
"""

from __future__ import annotations

import ctypes
import importlib

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .build import REGION, MachineCode
from .intrinsics import WORD

_TASK = ir.FunctionType(ir.VoidType(), [WORD, WORD])
_MEMBER = ir.FunctionType(ir.VoidType(), [WORD.as_pointer()])
_INT = ir.IntType(32)
_START = ir.FunctionType(ir.VoidType(), [_MEMBER.as_pointer(), WORD.as_pointer(), _INT, _INT])
_ASK = ir.FunctionType(_INT, [])
_RUNTIME = {"GOMP_parallel": _START, "omp_get_thread_num": _ASK, "omp_get_num_threads": _ASK}

THREADS = numba.config.NUMBA_NUM_THREADS
"""Of each team: one of another size than the last has threads ended and begun."""


def is_available() -> bool:
    """Whether the OpenMP that Numba has loaded answers to these names; makes them known if so."""
    library = ctypes.CDLL(importlib.import_module("numba.np.ufunc.omppool").__file__)
    if not all(hasattr(library, name) for name in _RUNTIME):
        return False
    for name in _RUNTIME:
        llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    return True


def _declared(module: ir.Module, name: str) -> ir.Function:
    return module.globals.get(name) or ir.Function(module, _RUNTIME[name], name)


def _member(module: ir.Module) -> ir.Function:
    """What each thread of a team runs: each task whose index is its number, modulo their count."""
    member = ir.Function(module, _MEMBER, f"{module.name}.member")
    member.linkage = "internal"
    builder = ir.IRBuilder(member.append_basic_block())
    task, descriptor, tasks = (
        builder.load(cgutils.gep_inbounds(builder, member.args[0], k)) for k in range(3)
    )
    number, count = (
        builder.zext(builder.call(_declared(module, f"omp_get_{name}"), ()), WORD)
        for name in ("thread_num", "num_threads")
    )
    function = builder.inttoptr(task, _TASK.as_pointer())
    with cgutils.for_range_slice(builder, number, tasks, count, inc=True) as (index, _):
        builder.call(function, (descriptor, index))
    builder.ret_void()
    return member


@intrinsic
def _run_by_team(_context, task, descriptor, tasks, size):
    """Calls a task for each index below a number on a team of so many threads."""

    def codegen(context, builder, _signature, arguments):
        frame = cgutils.alloca_once(builder, WORD, 3)
        for k in range(3):
            builder.store(arguments[k], cgutils.gep_inbounds(builder, frame, k))
        size = builder.trunc(arguments[3], _INT)
        start = _declared(builder.module, "GOMP_parallel")
        builder.call(start, (_member(builder.module), frame, size, ir.Constant(_INT, 0)))
        return context.get_dummy_value()

    return types.void(task, descriptor, tasks, size), codegen


def team(task: int, descriptor: int, tasks: int) -> None:
    """What is compiled: a C function like :func:`numtorch_kernels.threads.region`."""
    _run_by_team(task, descriptor, tasks, THREADS)


TEAM_CODE = MachineCode(team, REGION)
