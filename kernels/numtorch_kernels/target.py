"""A target for Numba: its compiler with those parts that kernels need, and no others.

Numba's own target first loads whatever a Python program may use (NumPy's functions, strings, lists,
and SciPy for their sake). Here are numbers, pointers, tuples and ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from importlib import import_module
from types import BuiltinFunctionType
from typing import Any

from llvmlite import ir
from numba.core import cpu, externals, target_extension, types, typing
from numba.core.descriptors import TargetDescriptor
from numba.core.dispatcher import Dispatcher
from numba.core.fastmathpass import rewrite_module
from numba.core.intrinsics import fix_divmod
from numba.core.typing import mathdecl

from .convention import Convention, caller_of
from .llvmtext import Library, codegen
from .loophints import write_hints
from .passes import Passes

NAME = "numtorch"  # of the target, for Numba

IMPLEMENTATIONS = (  # Numba's modules that say what code its operations become
    "cpython.mathimpl",
    "cpython.builtins",
    "cpython.iterators",
    "cpython.numbers",
    "cpython.rangeobj",
    "cpython.tupleobj",
    "core.optional",
)

OPTIONS: dict[str, Any] = {
    "nopython": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""Numba's options for a function that only compiled functions call."""


class _Typing(typing.Context):  # type: ignore[misc]
    """What types the operations on numbers, pointers, tuples and ranges have."""

    def __init__(self) -> None:
        self._signatures: dict[Any, tuple[types.Type, typing.Signature]] = {}
        super().__init__()

    def load_additional_registries(self) -> None:
        """Called by Numba before each function; arrays and the like only take time to refuse."""
        self.install_registry(mathdecl.registry)

    def resolve_value_type(self, value: Any) -> types.Type:
        """What a constant is; a function or class is little of what Numba tries first."""
        known = isinstance(value, BuiltinFunctionType | type)
        found = self._lookup_global(value) if known else None
        return found or super().resolve_value_type(value)

    def resolve_function_type(
        self, function: types.Type, arguments: Sequence[types.Type], named: dict[str, types.Type]
    ) -> typing.Signature | None:
        """What a call gives; Numba asks again and again, and of many implementations."""
        find = super().resolve_function_type
        if not isinstance(function, types.BaseFunction):
            return find(function, arguments, named)
        # equal functions will not do: each keeps what it found
        key = (id(function), tuple(arguments), *named.items())
        if key not in self._signatures:
            signature = find(function, arguments, named)
            if signature is None:
                return None
            self._signatures[key] = function, signature  # whose id stays its own
        return self._signatures[key][1]


def _layout(kind: ir.Type, pointer: int) -> tuple[int, int]:
    """The size and alignment of a type in bytes; 0 for those that are not known here."""
    if isinstance(kind, ir.PointerType):
        return pointer, pointer
    if isinstance(kind, ir.FloatType | ir.DoubleType):
        return (4, 4) if isinstance(kind, ir.FloatType) else (8, 8)
    if isinstance(kind, ir.IntType) and kind.width <= 64:
        size = max(1, 1 << (kind.width - 1).bit_length() >> 3)
        return size, size
    if isinstance(kind, ir.LiteralStructType) and not kind.packed:
        end, widest = 0, 1
        for size, alignment in (_layout(each, pointer) for each in kind.elements):
            if not size:
                return 0, 0
            end = -(-end // alignment) * alignment + size
            widest = max(widest, alignment)
        return -(-end // widest) * widest, widest
    return 0, 0


@cache
def _registries() -> list[Any]:
    modules = [import_module(f"numba.{name}") for name in IMPLEMENTATIONS]
    # the others add to the registry that all targets have
    return [module.registry for module in modules if hasattr(module, "registry")]


class _Context(cpu.CPUContext):  # type: ignore[misc]
    """What LLVM code the operations on numbers, pointers, tuples and ranges become."""

    def init(self) -> None:
        """Called by Numba when it makes the context."""
        self.is32bit = self.address_size == 32
        self._internal_codegen = codegen()
        externals.c_math_functions.install(self)

    def load_additional_registries(self) -> None:
        """Called by Numba before each function."""
        for registry in _registries():
            self.install_registry(registry)

    @property
    def call_conv(self) -> Convention:
        """How functions call one another."""
        return Convention(self)

    def insert_user_function(
        self, function: Any, description: Any, libraries: Sequence[Any] = ()
    ) -> None:
        """Called by Numba when a function has become LLVM code that others may call."""
        write = caller_of(description, libraries)
        self._defns[function].append(write, description.argtypes)

    def call_internal(
        self, builder: ir.IRBuilder, description: Any, signature: Any, arguments: Sequence[ir.Value]
    ) -> ir.Value:
        """Called by Numba where an operation is a function."""
        return self.call_internal_no_propagate(builder, description, signature, arguments)[1]

    def get_abi_sizeof(self, kind: ir.Type) -> int:
        """Bytes that a value takes; LLVM, which may be at work, is not asked for most types."""
        return _layout(kind, self.address_size // 8)[0] or super().get_abi_sizeof(kind)

    def post_lowering(self, module: ir.Module, library: Library) -> None:
        """Called by Numba when a function has become LLVM code; kernels need no runtime of its."""
        write_hints(module)
        if self.fastmath:
            rewrite_module(module, self.fastmath)
        if self.is32bit:
            fix_divmod(module)


class _Target(TargetDescriptor):  # type: ignore[misc]
    """The contexts in which kernels are typed and become LLVM code, made when first needed."""

    options = cpu.CPUTargetOptions

    @cached_property
    def typing_context(self) -> typing.Context:
        """The types of what kernels call."""
        return _Typing()

    @cached_property
    def target_context(self) -> _Context:
        """The code of what kernels call."""
        return _Context(self.typing_context, NAME)


class Kernels(target_extension.CPU):  # type: ignore[misc]
    """The target's place among Numba's: whatever is defined for the CPU is usable."""


class Part(Dispatcher):
    """A function that kernels call, as Numba knows it."""

    targetdescr = _Target(NAME)

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        super().__init__(function, None, {**OPTIONS, "_nrt": False, **options}, Passes)


def part(**options: Any) -> Callable[[Callable[..., Any]], Part]:
    """Decorates a function that kernels call, as Numba's ``njit`` does for its own target."""
    return lambda function: Part(function, **options)


target_extension.target_registry[NAME] = Kernels
target_extension.dispatcher_registry[Kernels] = Part
target_extension.jit_registry[Kernels] = part
