"""From a plain Python function over pointers to machine code that is kept on disk.

Every compiled thing is one C function: a loop in the shape of NumPy's inner loops, or a task that
:func:`numtorch_kernels.threads.parallel_for` hands out. This is the one place that knows Numba's
compile options and the cache.
"""

from __future__ import annotations

import hashlib
import re
import sys
import types as pytypes
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import cfunc, njit, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.np.ufunc import _internal

from . import arithmetic, bits, diskcache, intrinsics, scalar
from .intrinsics import clear_float_flags, pointer_reader

LOOP = types.void(
    types.CPointer(types.CPointer(types.uint8)),
    types.CPointer(types.intp),
    types.CPointer(types.intp),
    types.CPointer(types.uint8),
)
TASK = types.void(types.intp, types.intp)
REGION = types.void(types.intp, types.intp, types.intp)

Dtypes = tuple[np.dtype[Any], ...]


class Machine:
    """Machine code in memory: its address, and the library that keeps it alive."""

    __slots__ = ("address", "library")

    def __init__(self, library: Any, name: str) -> None:
        self.library = library
        self.address: int = library.get_pointer_to_function(name)


@cache
def _source_digest(module: str) -> str:
    """The digest of a module's text."""
    return hashlib.sha256(Path(str(sys.modules[module].__file__)).read_bytes()).hexdigest()


@cache
def environment() -> str:
    """All that decides what machine code a source becomes, besides the source."""
    codegen = cpu_target.target_context.codegen()
    return repr(
        (
            numba.__version__,
            llvmlite.__version__,
            np.__version__,
            sys.implementation.cache_tag,
            codegen.magic_tuple(),
            [_source_digest(m.__name__) for m in (arithmetic, bits, intrinsics, scalar, sys.modules[__name__])],
            [_source_digest(m) for m in scalar_modules()],
        )
    )


def scalar_modules() -> list[str]:
    """The submodules of :mod:`numtorch_kernels.scalar`, whose text is part of every key."""
    return sorted(name for name in sys.modules if name.startswith(scalar.__name__ + "."))


@cache
def _runtime() -> Any:
    """Numba's code generator, with the runtime symbols that stored code refers to in place."""
    context = cpu_target.target_context
    rtsys.initialize(context)
    return context.codegen()


def machine_code(
    text: str,
    entry: str,
    signature: Any,
    namespace: Mapping[str, Any],
    parts: tuple[str, ...] = (),
) -> Machine:
    """Compiles (or reads from the cache) the function that ``text`` defines under ``entry``.

    ``parts`` is whatever else its meaning depends on, such as the sources of kernels in
    ``namespace``. The compiled function is named by the digest of it all.
    """
    key = hashlib.sha256("\0".join((environment(), text, str(signature), *parts)).encode())
    name = f"{entry}_{key.hexdigest()[:32]}"
    codegen = _runtime()
    stored = diskcache.read(name)
    if stored is not None:
        symbol, object_code, bitcode = stored
        library = codegen.unserialize_library((name, "object", (object_code, bitcode)))
        return Machine(library, symbol.decode())
    with global_compiler_lock:
        scope = dict(namespace)
        exec(compile(re.sub(rf"\b{entry}\b", name, text), f"<{name}>", "exec"), scope)
        compiled = cfunc(signature, error_model="numpy")(scope[name])
        library, symbol = compiled._library, compiled._wrapper_name
        _, _, (object_code, bitcode) = library.serialize_using_object_code()
    diskcache.write(name, (symbol.encode(), object_code, bitcode))
    machine = Machine(library, symbol)
    return machine


def specialise(
    kernel: Callable[..., Any],
    bind: Mapping[str, Any],
    fastmath: frozenset[str],
    parts: tuple[str, ...],
) -> Any:
    """The kernel as a Numba function whose globals named in ``bind`` have those values.

    It is named by the digest of ``parts``: stored code of several processes is loaded into one,
    where functions of the same name would be taken for the same.
    """
    namespace = {**kernel.__globals__, **bind}
    function = pytypes.FunctionType(kernel.__code__, namespace, kernel.__name__)
    digest = hashlib.sha256("\0".join((environment(), *parts)).encode()).hexdigest()
    function.__qualname__ = f"{kernel.__name__}_{digest[:32]}"
    return njit(error_model="numpy", fastmath=set(fastmath) or False)(function)


def meaning(kernel: Callable[..., Any], bind: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts that a kernel's machine code depends on."""
    bound = []
    for name, value in sorted(bind.items()):
        function = getattr(value, "py_func", value)
        if callable(function) and hasattr(function, "__module__"):
            source = getattr(function, "source", None) or _source_digest(function.__module__)
            bound.append(f"{name}={function.__qualname__}:{source}")
        else:
            bound.append(f"{name}={value!r}")
    source = getattr(kernel, "source", None) or _source_digest(kernel.__module__)
    return (kernel.__qualname__, source, *bound)


def core_dimensions(signature: str) -> tuple[list[list[str]], int]:
    """The core dimensions of each operand of "(m,n),(n)->(m)", and the number of inputs."""
    inputs, outputs = signature.replace(" ", "").split("->")
    operands = [re.findall(r"\w+", part) for part in re.findall(r"\(([^)]*)\)", signature)]
    assert outputs
    return operands, inputs.count("(")


def _wrapper(kernel_name: str, operands: list[list[str]], dtypes: Dtypes) -> str:
    """The text of the C-ABI loop that hands a kernel its pointers and element strides."""
    names = list(dict.fromkeys(name for dims in operands for name in dims))
    arguments = ["dims[0]", *(f"dims[{i + 1}]" for i in range(len(names)))]
    core = len(operands)
    for i, (dims, dtype) in enumerate(zip(operands, dtypes, strict=True)):
        shift = dtype.itemsize.bit_length() - 1
        arguments += [f"{dtype.name}_at(args[{i}])", f"steps[{i}] >> {shift}"]
        for _ in dims:
            arguments.append(f"steps[{core}] >> {shift}")
            core += 1
    return (
        "def loop(args, dims, steps, data):\n"
        f"    {kernel_name}({', '.join(arguments)})\n"
        "    clear_float_flags()\n"
    )


class Loop:
    """A compiled kernel: a NumPy ufunc for calls on one thread, an address for the driver."""

    __slots__ = ("address", "core", "dtypes", "inputs", "machine", "names", "outputs", "ufunc")

    def __init__(self, name: str, machine: Machine, signature: str, dtypes: Dtypes) -> None:
        operands, inputs = core_dimensions(signature)
        self.machine = machine
        self.address = machine.address
        self.dtypes = dtypes
        self.inputs = inputs
        self.outputs = len(operands) - inputs
        self.names = operands
        self.core = tuple(len(dims) for dims in operands)
        plain = not any(self.core)
        self.ufunc = _internal.fromfunc(
            name,
            None,
            [machine.address],
            [[dtype.num for dtype in dtypes]],
            self.inputs,
            self.outputs,
            [None],
            (machine,),
            _internal.PyUFunc_None,
            *(() if plain else (signature, ())),
        )


_loops: dict[Any, Loop] = {}


def gufunc(
    kernel: Callable[..., Any],
    signature: str,
    dtypes: Dtypes,
    *,
    bind: Mapping[str, Any] | None = None,
    fastmath: frozenset[str] = frozenset(),
) -> Loop:
    """The loop of a kernel for one choice of dtypes, compiled at its first use.

    ``signature`` is NumPy's generalized-ufunc signature. The kernel's parameters are the outer
    count, the core dimensions in order of appearance, and for each operand its pointer, outer
    stride and core strides, in elements. ``bind`` replaces globals of the kernel for this build.
    """
    bind = bind or {}
    key = (kernel, signature, dtypes, tuple(bind.items()), fastmath)
    loop = _loops.get(key)
    if loop is None:
        operands, _ = core_dimensions(signature)
        text = _wrapper("kernel", operands, dtypes)
        namespace = {f"{dtype.name}_at": pointer_reader(dtype) for dtype in dtypes}
        parts = (*meaning(kernel, bind), repr(sorted(fastmath)))
        namespace |= {
            "kernel": specialise(kernel, bind, fastmath, parts),
            "clear_float_flags": clear_float_flags,
        }
        loop = Loop(
            kernel.__name__, machine_code(text, "loop", LOOP, namespace, parts), signature, dtypes
        )
        _loops[key] = loop
    return loop


_tasks: dict[Any, Machine] = {}


def task(
    function: Callable[..., Any],
    *,
    bind: Mapping[str, Any] | None = None,
    fastmath: frozenset[str] = frozenset(),
) -> int:
    """The address of ``function(descriptor, index)``, compiled for ``parallel_for``.

    The descriptor is the address of an int64 array that the caller fills.
    """
    bind = bind or {}
    key = (function, tuple(bind.items()), fastmath)
    machine = _tasks.get(key)
    if machine is None:
        text = "def task(descriptor, index):\n    body(descriptor, index)\n"
        parts = (*meaning(function, bind), repr(sorted(fastmath)))
        namespace = {"body": specialise(function, bind, fastmath, parts)}
        machine = _tasks[key] = machine_code(text, "task", TASK, namespace, parts)
    return machine.address
