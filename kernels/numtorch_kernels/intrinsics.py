"""What kernels are written with beyond plain Python: typed pointers, typed constants, C calls.

Everything here is usable inside compiled kernels only. Scalar bit tricks live in :mod:`.bits`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .loophints import hint
from .target import Part

WORD = ir.IntType(64)
BYTE_POINTER = ir.IntType(8).as_pointer()

BLOCK = 512  # elements of a stack buffer: 4 KB of float64, so six operands stay within L1


class Helper:
    """A function that kernels call; LLVM inlines it. Numba sees it when a kernel is compiled.

    To make Numba's dispatchers of all helpers at once would cost half of the time of an import.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self.py_func = function
        self.targetoptions = options

    def __call__(self, *operands: Any) -> Any:
        """What the function gives where it is plain Python throughout."""
        return self.py_func(*operands)

    @cached_property
    def dispatcher(self) -> Any:
        """Numba's object for the function."""
        return Part(self.py_func, **self.targetoptions)

    @property
    def _numba_type_(self) -> Any:
        return self.dispatcher._numba_type_


def helper(function: Callable[..., Any]) -> Any:
    """Decorates a function that kernels call."""
    return Helper(function)


def element_type(dtype: np.dtype[Any]) -> types.Type:
    """Numba's type of one element in memory; a bool is a byte that holds 0 or 1."""
    if dtype.kind == "b":
        return types.uint8
    return getattr(types, dtype.name)


def pointer_type(dtype: np.dtype[Any]) -> types.Type:
    """Numba's type of a pointer to elements."""
    return types.CPointer(element_type(dtype))


def _llvm_pointer(dtype: np.dtype[Any]) -> ir.Type:
    if dtype.kind == "f":
        return (ir.FloatType() if dtype.itemsize == 4 else ir.DoubleType()).as_pointer()
    return ir.IntType(8 * dtype.itemsize).as_pointer()


def typed_pointer(dtype: np.dtype[Any]) -> Any:
    """An intrinsic that reads an address (an integer or a ``char *``) as a pointer to dtype."""

    @intrinsic
    def at(_context, address):
        def codegen(_context, builder, signature, arguments):
            target = _llvm_pointer(dtype)
            if isinstance(signature.args[0], types.CPointer):
                return builder.bitcast(arguments[0], target)
            return builder.inttoptr(arguments[0], target)

        return pointer_type(dtype)(address), codegen

    at.__qualname__ = f"{dtype.name}_at"  # by which the cache tells what a kernel is bound to
    return at


float32_at = typed_pointer(np.dtype(np.float32))
float64_at = typed_pointer(np.dtype(np.float64))
int8_at = typed_pointer(np.dtype(np.int8))
int16_at = typed_pointer(np.dtype(np.int16))
int32_at = typed_pointer(np.dtype(np.int32))
int64_at = typed_pointer(np.dtype(np.int64))
uint8_at = typed_pointer(np.dtype(np.uint8))
bool_at = uint8_at


def pointer_reader(dtype: np.dtype[Any]) -> Any:
    """The intrinsic among ``float32_at`` ... ``bool_at`` that belongs to a dtype."""
    return globals()[f"{dtype.name}_at"]


@intrinsic
def address_of(_context, pointer):
    """The address in a pointer, as an integer."""

    def codegen(_context, builder, _signature, arguments):
        return builder.ptrtoint(arguments[0], WORD)

    return types.intp(pointer), codegen


@intrinsic
def offset(_context, pointer, count):
    """The pointer moved by a number of elements."""

    def codegen(_context, builder, _signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, count), codegen


def _on_stack(builder: ir.IRBuilder, element: ir.Type, count: int) -> ir.Value:
    """Uninitialised memory in the function's frame; Numba's alloca would set every element to 0."""
    with builder.goto_entry_block():
        memory = builder.alloca(ir.ArrayType(element, count))
    memory.align = 64
    return builder.bitcast(memory, element.as_pointer())


def _stack_memory(count: int, purpose: str) -> Any:
    """An intrinsic ``f(like)``: that many uninitialised elements of the type ``like`` points to."""

    @intrinsic
    def memory(_context, like):
        def codegen(_context, builder, _signature, arguments):
            return _on_stack(builder, arguments[0].type.pointee, count)

        return like(like), codegen

    memory.__doc__ = purpose
    return memory


buffer = _stack_memory(BLOCK, "BLOCK elements on the stack.")
levels = _stack_memory(8 * BLOCK, "Eight times BLOCK elements on the stack.")


@intrinsic
def words(_context):
    """BLOCK int64 on the stack."""

    def codegen(_context, builder, _signature, _arguments):
        return _on_stack(builder, WORD, BLOCK)

    return types.CPointer(types.intp)(), codegen


def _typed_constant(choose):
    """An intrinsic ``f(pointer)``: the constant ``choose(element type)`` of that type."""

    @intrinsic
    def constant(_context, pointer):
        def codegen(context, _builder, signature, _arguments):
            element = signature.return_type
            return context.get_constant(element, choose(element))

        return pointer.dtype(pointer), codegen

    return constant


zero = _typed_constant(lambda element: 0)
one = _typed_constant(lambda element: 1)
lowest = _typed_constant(
    lambda element: -np.inf if isinstance(element, types.Float) else element.minval
)
highest = _typed_constant(
    lambda element: np.inf if isinstance(element, types.Float) else element.maxval
)


@intrinsic
def cast(_context, pointer, value):
    """The value converted to the type that the pointer points to, as C converts."""

    def codegen(context, builder, signature, arguments):
        return context.cast(builder, arguments[1], signature.args[1], signature.return_type)

    return pointer.dtype(pointer, value), codegen


def _scope(module: ir.Module, name: str) -> Any:
    domain = module.add_metadata(["numtorch"])
    return module.add_metadata([module.add_metadata([name, domain])])


@intrinsic
def load(_context, pointer, index):
    """pointer[index], promised not to depend on any :func:`store` of another loop iteration.

    The promise lets LLVM vectorise in-place loops, where its own overlap test must fail.
    """

    def codegen(_context, builder, _signature, arguments):
        value = builder.load(builder.gep(arguments[0], [arguments[1]]))
        value.set_metadata("noalias", _scope(builder.module, "stores"))
        return value

    return pointer.dtype(pointer, index), codegen


@intrinsic
def store(_context, pointer, index, value):
    """pointer[index] = value, with the promise of :func:`load`."""

    def codegen(context, builder, signature, arguments):
        element = signature.args[0].dtype
        converted = context.cast(builder, arguments[2], signature.args[2], element)
        place = builder.gep(arguments[0], [arguments[1]])
        builder.store(converted, place).set_metadata(
            "alias.scope", _scope(builder.module, "stores")
        )
        return context.get_dummy_value()

    return types.void(pointer, index, value), codegen


@intrinsic
def never_inlined(_context):
    """Keeps this function, called once a block, from being compiled anew for each of its calls."""

    def codegen(context, builder, _signature, _arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


@helper
def gather(pointer, step, memory, start, count):
    """Copies elements ``step`` apart to adjacent memory."""
    never_inlined()
    for i in range(count):
        memory[i] = pointer[(start + i) * step]


@helper
def scatter(pointer, step, memory, start, count):
    """Copies adjacent elements to places ``step`` apart."""
    never_inlined()
    for i in range(count):
        pointer[(start + i) * step] = memory[i]


@helper
def block_of(pointer, step, memory, start, count):
    """A pointer to ``count`` adjacent elements: in place where step is 1, else copied to memory."""
    if step == 1:
        return offset(pointer, start)
    if step != 0 or start == 0:
        gather(pointer, step, memory, start, count)
    return memory


@helper
def place(pointer, step, memory, start, _count):
    """Where ``count`` elements are to be written: in place where step is 1, else in memory."""
    return offset(pointer, start) if step == 1 else memory


@helper
def put_back(pointer, step, memory, start, count):
    """Copies a written block from memory to where it belongs, if it is not in place."""
    if step != 1:
        scatter(pointer, step, memory, start, count)


@helper
def block_size(adjacent, count):
    """How many elements to take at a time: all of them where no buffer is needed."""
    return max(count, 1) if adjacent else BLOCK


_INTERLEAVED_VECTORS = 4


@intrinsic
def interleaved(_context):
    """Ends the body of a loop of which LLVM shall work on several vectors side by side.

    A long chain of instructions on one vector leaves the CPU idle, as it does not look far ahead.
    """

    def codegen(context, builder, _signature, _arguments):
        hint(builder, "llvm.loop.interleave.count", _INTERLEAVED_VECTORS)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic(prefer_literal=True)
def lanes(_context, count):
    """Ends the body of a loop of which LLVM shall make vectors of so many elements."""

    def codegen(context, builder, _signature, _arguments):
        hint(builder, "llvm.loop.vectorize.width", count.literal_value)
        return context.get_dummy_value()

    return types.void(count), codegen


@intrinsic
def call_loop(_context, loop, args, dims, steps):
    """Calls the C-ABI loop at an address."""

    def codegen(context, builder, _signature, arguments):
        byte_pointers, words = BYTE_POINTER.as_pointer(), WORD.as_pointer()
        function = ir.FunctionType(
            ir.VoidType(), [byte_pointers, words, words, BYTE_POINTER]
        ).as_pointer()
        builder.call(
            builder.inttoptr(arguments[0], function),
            [
                builder.bitcast(arguments[1], byte_pointers),
                arguments[2],
                arguments[3],
                ir.Constant(BYTE_POINTER, None),
            ],
        )
        return context.get_dummy_value()

    return types.void(loop, args, dims, steps), codegen


@intrinsic
def call_task(_context, task, descriptor, index):
    """Calls the task ``void(intp descriptor, intp index)`` at an address."""

    def codegen(context, builder, _signature, arguments):
        function = ir.FunctionType(ir.VoidType(), [WORD, WORD]).as_pointer()
        builder.call(builder.inttoptr(arguments[0], function), arguments[1:])
        return context.get_dummy_value()

    return types.void(task, descriptor, index), codegen


@intrinsic
def call_region(_context, region, task, descriptor, tasks):
    """Calls the parallel region at an address."""

    def codegen(context, builder, _signature, arguments):
        function = ir.FunctionType(ir.VoidType(), [WORD] * 3).as_pointer()
        builder.call(builder.inttoptr(arguments[0], function), arguments[1:])
        return context.get_dummy_value()

    return types.void(region, task, descriptor, tasks), codegen


_ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
_FE_ALL_EXCEPT = {"aarch64": 0x1F, "arm64": 0x1F}.get(platform.machine().lower(), 0x3F)


@intrinsic
def clear_float_flags(_context):
    """Clears the CPU's floating-point flags, which NumPy would turn into RuntimeWarnings."""

    def codegen(context, builder, _signature, _arguments):
        module, word = builder.module, ir.IntType(32)
        if _ON_X86:
            control = cgutils.alloca_once(builder, word)
            place = builder.bitcast(control, BYTE_POINTER)
            kind = ir.FunctionType(ir.VoidType(), [BYTE_POINTER])
            read, write = (
                cgutils.get_or_insert_function(module, kind, f"llvm.x86.sse.{name}")
                for name in ("stmxcsr", "ldmxcsr")
            )
            builder.call(read, [place])
            builder.store(builder.and_(builder.load(control), word(~0x3F)), control)
            builder.call(write, [place])
            nothing = ir.FunctionType(ir.VoidType(), [])
            builder.asm(nothing, "fnclex", "", [], side_effect=True)  # set by fmod
        else:
            kind = ir.FunctionType(word, [word])
            clear = cgutils.get_or_insert_function(module, kind, "feclearexcept")
            builder.call(clear, [word(_FE_ALL_EXCEPT)])
        return context.get_dummy_value()

    return types.void(), codegen
