"""From a plain Python function over pointers to machine code that is kept on disk.

Every compiled thing is one C function: a loop in the shape of NumPy's inner loops, or a task that
:func:`numtorch_kernels.threads.parallel_for` hands out.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import types as pytypes
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from threading import RLock, main_thread
from typing import Any, ClassVar

import numpy as np
from llvmlite.binding import ffi
from numba import types
from numba.np.ufunc import _internal  # type: ignore[attr-defined]

from . import (
    bits,
    compiler,
    convention,
    diskcache,
    intrinsics,
    llvmtext,
    loophints,
    passes,
    target,
    translation,
)
from .intrinsics import Helper, clear_float_flags, pointer_reader

_PACKAGE = __name__.rpartition(".")[0]
_BYTES = types.CPointer(types.uint8)
_WORDS = types.CPointer(types.intp)
LOOP = (types.CPointer(_BYTES), _WORDS, _WORDS, _BYTES)
TASK = (types.intp, types.intp)
REGION = (types.intp, types.intp, types.intp)

Dtypes = tuple[np.dtype[Any], ...]
Function = Callable[..., Any]

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype)


@cache
def _source_digest(module: str) -> str:
    """The digest of a module's text."""
    return hashlib.sha256(Path(str(sys.modules[module].__file__)).read_bytes()).hexdigest()


@cache
def _environment() -> tuple[str, ...]:
    """What decides the machine code of every kernel."""
    base = (
        bits,
        compiler,
        convention,
        intrinsics,
        llvmtext,
        loophints,
        passes,
        target,
        translation,
        sys.modules[__name__],
    )
    texts = (_source_digest(module.__name__) for module in base)
    return (str(sys.implementation.cache_tag), repr(compiler.environment()), *texts)


def _sha256(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _named_values(function: Function) -> Iterator[tuple[str, Any]]:
    """The values that a function refers to by a global name, an attribute of a module or a cell."""
    pending = [function.__code__]
    while pending:
        code = pending.pop()
        pending += [value for value in code.co_consts if isinstance(value, pytypes.CodeType)]
        for name in code.co_names:
            if name not in function.__globals__:
                continue
            value = function.__globals__[name]
            yield name, value
            if isinstance(value, pytypes.ModuleType) and value.__name__.startswith(_PACKAGE):
                for attribute in code.co_names:
                    if hasattr(value, attribute):
                        yield f"{name}.{attribute}", getattr(value, attribute)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield name, cell.cell_contents


def _text(code: pytypes.CodeType) -> str:
    """What a code object does, whatever file and line it stands in."""
    constants = [_text(c) if isinstance(c, pytypes.CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars))


_naming = RLock()  # for one thread at a time: another would take an unfinished digest for the whole
_digests: dict[Function, str] = {}

if hasattr(os, "register_at_fork"):
    # What another thread held would stay locked in a child: a fork waits for a compilation.
    # The last of these is taken first, as where functions are compiled.
    for _lock in (ffi.lib._lock, _naming, compiler.compiler_lock):
        _unlock = partial(_lock.__exit__, None, None, None)
        os.register_at_fork(before=_lock.__enter__, after_in_parent=_unlock, after_in_child=_unlock)


def _digest(function: Function) -> str:
    """The digest of all that a function's machine code depends on."""
    if function not in _digests:
        _digests[function] = ""  # where it calls itself
        _digests[function] = _sha256(*meaning(function))
    return _digests[function]


_known: dict[int, tuple[Any, str]] = {}  # which holds the values, so that their ids stay theirs


def _value_text(value: Any) -> str:
    """What a named value contributes to a function's meaning; nothing if versions say it all."""
    if isinstance(value, tuple):
        return repr([_value_text(each) for each in value])
    # isinstance() would ask all of Numba's abstract classes, which takes 3 ms
    if isinstance(value, _PLAIN) or types.Type in type(value).__mro__:
        return repr(value)
    if isinstance(value, np.ndarray):  # a constant table
        return repr((value.dtype, value.shape, value.tobytes()))
    if id(value) not in _known:
        _known[id(value)] = value, _callable_text(value)
    return _known[id(value)][1]


def _callable_text(value: Any) -> str:
    definition = getattr(value, "_defn", None)  # an intrinsic
    if definition is not None:
        return _source_digest(definition.__module__) + _digest(definition)
    function = getattr(value, "py_func", value)
    if function is not value:
        options = sorted(
            f"{key}={sorted(option) if isinstance(option, set) else option}"
            for key, option in value.targetoptions.items()
        )
        return _sha256(_digest(function), *options)
    if isinstance(function, pytypes.FunctionType):
        outside = function.__module__.partition(".")[0] in ("numpy", "numba", "llvmlite", "math")
        return function.__qualname__ if outside else _digest(function)
    return str(getattr(value, "__qualname__", ""))


class Written:
    """A function that is given as text, and becomes one of Python's only if it is compiled."""

    def __init__(self, text: str, name: str, namespace: Mapping[str, Any]) -> None:
        self._text = text
        self._namespace = namespace
        self.__name__ = name

    def function(self) -> Function:
        """The function itself."""
        return define(self._text, self.__name__, self._namespace)

    def meaning(self) -> tuple[str, ...]:
        """The text, and the values that it names."""
        names = set(re.findall(r"[^\W\d]\w*", self._text)) & self._namespace.keys()
        values = (f"{name}={_value_text(self._namespace[name])}" for name in sorted(names))
        return (self._text, *values)


def meaning(function: Function | Written) -> tuple[str, ...]:
    """The texts and values that a function's machine code depends on, whatever module has them."""
    if isinstance(function, Written):
        return function.meaning()
    values = (f"{name}={_value_text(value)}" for name, value in _named_values(function))
    return (_text(function.__code__), *sorted(values))


_addresses: dict[str, int] = {}


class MachineCode:
    """The C function that a Python function becomes: compiled, or read from the cache, if needed.

    Its name has the digest of all it depends on; those of one name are the same. ``parallel`` says
    that it calls a parallel function of Numba's own target.
    """

    def __init__(
        self,
        function: Function | Written,
        parameters: tuple[Any, ...],
        fastmath: frozenset[str] = frozenset(),
        result: Any = types.void,
        parallel: bool = False,
    ) -> None:
        self._function = function
        self._parameters = parameters
        self._options = (fastmath, result, parallel)
        self._name = ""

    @property
    def name(self) -> str:
        """The name of the C function, and of its file in the cache."""
        if not self._name:
            fastmath, result, _ = self._options
            options = map(str, (*self._parameters, *sorted(fastmath), result))
            with _naming:
                digest = _sha256(*_environment(), *options, *meaning(self._function))
            self._name = f"{self._function.__name__}_{digest[:32]}"
        return self._name

    def is_at_hand(self) -> bool:
        """Whether it need not be compiled."""
        return self.name in _addresses or diskcache.holds(self.name)

    def begin(self) -> None:
        """Starts the compilation, if there has to be one; of others begun, it goes on meanwhile."""
        with compiler.compiler_lock:
            if not (translation.is_begun(self.name) or self.is_at_hand()):
                translation.begin(self.lowered(), self.name)

    def lowered(self) -> list[str]:
        """LLVM's text of it."""
        function = self._function
        function = function.function() if isinstance(function, Written) else function
        return compiler.lowered(function, self._parameters, self.name, *self._options)

    @property
    def address(self) -> int:
        """Where the machine code is, for good."""
        return _addresses.get(self.name) or self._loaded()

    def _loaded(self) -> int:
        """Where it is put: taken from disk, or compiled."""
        name = self.name
        with compiler.compiler_lock:
            if name not in _addresses:
                code = None if translation.is_begun(name) else diskcache.read(name)
                if code is None:
                    code = translation.finished(name) or translation.object_code(self.lowered())
                    diskcache.write(name, code)
                _addresses[name] = compiler.load(code, name)
            return _addresses[name]


def compile_each(codes: Iterable[MachineCode]) -> bool:
    """Compiles them in turn, for a thread that a program which ends has not long to wait for.

    Says whether it came to the last.
    """
    for code in codes:
        if not main_thread().is_alive():
            return False
        code.address  # noqa: B018  it is compiled when it is asked for
    return True


def with_globals(function: Function, bind: Mapping[str, Any]) -> Function:
    """The function with those values of its globals that ``bind`` names."""
    namespace = {**function.__globals__, **bind}
    name, cells = function.__name__, function.__closure__
    return pytypes.FunctionType(function.__code__, namespace, name, None, cells)


def specialise(
    function: Function, bind: Mapping[str, Any], fastmath: frozenset[str] = frozenset()
) -> Any:
    """A function for kernels to call, whose globals named in ``bind`` have those values."""
    return Helper(with_globals(function, bind), fastmath=set(fastmath))


def core_dimensions(signature: str) -> tuple[list[list[str]], int]:
    """The core dimensions of each operand of "(m,n),(n)->(m)", and the number of inputs."""
    inputs, outputs = signature.replace(" ", "").split("->")
    operands = [re.findall(r"\w+", part) for part in re.findall(r"\(([^)]*)\)", signature)]
    assert outputs
    return operands, inputs.count("(")


def _loop_text(name: str, operands: list[list[str]], dtypes: Dtypes) -> str:
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
        f"def {name}(args, dims, steps, data):\n"
        f"    kernel_({', '.join(arguments)})\n"
        "    clear_float_flags()\n"
    )


class Loop:
    """A kernel for certain dtypes, compiled when its machine code is first asked for.

    It is a NumPy ufunc for calls on one thread, and an address for the driver. ``expressions`` says
    what a pointwise loop computes, ``updates`` that its outputs are read as well,
    and ``text`` how the kernel is written.
    """

    __slots__ = (
        "address",
        "code",
        "core",
        "dtypes",
        "expressions",
        "inputs",
        "name",
        "names",
        "outputs",
        "signature",
        "text",
        "ufunc",
        "updates",
    )
    address: int
    ufunc: Any
    compiled: ClassVar[int] = 0  # how many loops have their machine code

    def __init__(
        self,
        name: str,
        code: MachineCode,
        signature: str,
        dtypes: Dtypes,
        expressions: tuple[Any, ...] | None = None,
        updates: bool = False,
        text: str = "",
    ) -> None:
        operands, inputs = core_dimensions(signature)
        self.code = code
        self.name = name
        self.signature = signature
        self.dtypes = dtypes
        self.expressions = expressions
        self.updates = updates
        self.text = text
        self.inputs = inputs
        self.outputs = len(operands) - inputs
        self.names = operands
        self.core = tuple(len(dims) for dims in operands)

    def is_compiled(self) -> bool:
        """Whether the address is known already."""
        try:
            return bool(_address_of.__get__(self, Loop))
        except AttributeError:
            return False

    def __getattr__(self, attribute: str) -> Any:
        """The machine code's address and the ufunc, made at their first use."""
        if attribute == "address":
            self.address = self.code.address
            Loop.compiled += 1
            return self.address
        if attribute == "ufunc":
            return made_ufunc(self)
        raise AttributeError(f"a loop has no attribute {attribute!r}")


_address_of = Loop.__dict__["address"]
_ufunc_of = Loop.__dict__["ufunc"]  # the slot, whatever stands before it for a while


def made_ufunc(loop: Loop) -> Any:
    """The loop as a NumPy ufunc."""
    try:
        return _ufunc_of.__get__(loop, Loop)
    except AttributeError:
        ufunc = _internal.fromfunc(
            loop.name,
            None,
            [loop.address],
            [[dtype.num for dtype in loop.dtypes]],
            loop.inputs,
            loop.outputs,
            [None],
            (),
            _internal.PyUFunc_None,
            *((loop.signature, ()) if any(loop.core) else ()),
        )
        _ufunc_of.__set__(loop, ufunc)
        return ufunc


def replace_ufuncs(substitute: Callable[[Loop], Any] | None) -> None:
    """Lets ``loop.ufunc`` give what a function makes of the loop; None takes that back."""
    attribute = _ufunc_of if substitute is None else property(substitute)
    type.__setattr__(Loop, "ufunc", attribute)


_loops: dict[Any, Loop] = {}


def gufunc(
    kernel: Function,
    signature: str,
    dtypes: Dtypes,
    *,
    bind: Mapping[str, Any] | None = None,
    fastmath: frozenset[str] = frozenset(),
    updates: bool = False,
) -> Loop:
    """The loop of a kernel for one choice of dtypes, compiled at its first use.

    ``signature`` is NumPy's generalized-ufunc signature. The kernel's parameters are the outer
    count, the core dimensions in order of appearance, and for each operand its pointer, outer
    stride and core strides, in elements. ``bind`` replaces globals of the kernel for this build;
    ``updates`` says that it reads what its outputs held before.
    """
    bind = bind or {}
    key = (kernel, signature, dtypes, tuple(bind.items()), fastmath)
    loop = _loops.get(key)
    if loop is None:
        operands, _ = core_dimensions(signature)
        namespace = {f"{dtype.name}_at": pointer_reader(dtype) for dtype in dtypes}
        namespace |= {
            "kernel_": specialise(kernel, bind, fastmath),
            "clear_float_flags": clear_float_flags,
        }
        name = kernel.__name__
        function = Written(_loop_text(name, operands, dtypes), name, namespace)
        loop = Loop(
            name,
            MachineCode(function, LOOP),
            signature,
            dtypes,
            updates=updates,
            text=kernel.__doc__ or "",
        )
        _loops[key] = loop
    return loop


def define(text: str, name: str, namespace: Mapping[str, Any]) -> Function:
    """The function ``name`` that a text defines, where ``namespace`` is known."""
    scope = dict(namespace)
    exec(compile(text, f"<{name}>", "exec"), scope)
    return scope[name]


_tasks: dict[Any, int] = {}


def task(
    function: Function,
    *,
    bind: Mapping[str, Any] | None = None,
    fastmath: frozenset[str] = frozenset(),
) -> int:
    """The address of ``function(descriptor, index)``, compiled for ``parallel_for``.

    The descriptor is the address of an int64 array that the caller fills.
    """
    bind = bind or {}
    key = (function, tuple(bind.items()), fastmath)
    address = _tasks.get(key)
    if address is None:
        address = _tasks[key] = MachineCode(with_globals(function, bind), TASK, fastmath).address
    return address
