"""Intrinsics that the elementary functions are built from: they vectorise and never branch.

Floating arguments of one call share a width: a Python constant, which Numba types as float64, takes
the width of its float32 companions. On a CPU without fused multiply-add, `fma` is a slow call.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types

intrinsic: Any = extending.intrinsic  # its stub would have callers pass the typing context

_F32 = ir.FloatType()
_F64 = ir.DoubleType()
_LLVM_FLOAT = {types.float32: _F32, types.float64: _F64}


def _common(*operands: types.Type) -> types.Type:
    """float32 if any operand is float32, else float64."""
    return types.float32 if types.float32 in operands else types.float64


def _narrow(builder: ir.IRBuilder, value: ir.Value, wanted: types.Type) -> ir.Value:
    """A floating value at the wanted width: LLVM folds it for constants."""
    target = _LLVM_FLOAT[wanted]
    return value if value.type == target else builder.fptrunc(value, target)


def _elementary(llvm_name: str, arity: int) -> Any:
    """Code generator that calls the LLVM intrinsic `llvm_name` on `arity` equally wide floats."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        width = signature.return_type
        function = builder.module.declare_intrinsic(
            llvm_name,
            [_LLVM_FLOAT[width]],
            ir.FunctionType(_LLVM_FLOAT[width], [_LLVM_FLOAT[width]] * arity),
        )
        return builder.call(function, [_narrow(builder, arg, width) for arg in args])

    return codegen


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once."""
    width = _common(a, b, c)
    return width(a, b, c), _elementary("llvm.fma", 3)


@intrinsic
def fmod(typingctx, a, b):
    """C's fmod: the exact remainder, with the sign of a."""
    width = _common(a, b)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.frem(*(_narrow(builder, arg, signature.return_type) for arg in args))

    return width(a, b), codegen


@intrinsic
def rint(typingctx, x):
    """The nearest integer, ties to even."""
    return x(x), _elementary("llvm.rint", 1)


@intrinsic
def trunc(typingctx, x):
    """The integer part, towards zero."""
    return x(x), _elementary("llvm.trunc", 1)


@intrinsic
def floor(typingctx, x):
    """The largest integer not above x."""
    return x(x), _elementary("llvm.floor", 1)


@intrinsic
def fabs(typingctx, x):
    """The magnitude: clears the sign bit, also of NaN and of -0."""
    return x(x), _elementary("llvm.fabs", 1)


@intrinsic
def sqrt(typingctx, x):
    """The square root, correctly rounded."""
    return x(x), _elementary("llvm.sqrt", 1)


@intrinsic
def copysign(typingctx, magnitude, sign):
    """The magnitude of the first argument with the sign bit of the second."""
    width = _common(magnitude, sign)
    return width(magnitude, sign), _elementary("llvm.copysign", 2)


@intrinsic
def select(typingctx, condition, chosen, otherwise):
    """`chosen` where the condition holds, else `otherwise`; both are always evaluated."""
    if isinstance(chosen, types.Float) or isinstance(otherwise, types.Float):
        width = _common(chosen, otherwise)
    else:
        width = typingctx.unify_types(chosen, otherwise)

    def codegen(context, builder, signature, args):
        flag, *values = args
        if isinstance(width, types.Float):
            values = [_narrow(builder, value, width) for value in values]
        else:
            values = [
                context.cast(builder, value, given, width)
                for value, given in zip(values, (chosen, otherwise), strict=True)
            ]
        flag = context.cast(builder, flag, condition, types.boolean)
        return builder.select(flag, *values)

    return width(condition, chosen, otherwise), codegen


@intrinsic
def polynomial(typingctx, x, coefficients):
    """Horner's rule with fma: coefficients[0] + coefficients[1] * x + ...; a tuple of floats."""

    def codegen(context, builder, signature, args):
        point, table = args
        function = builder.module.declare_intrinsic(
            "llvm.fma", [point.type], ir.FunctionType(point.type, [point.type] * 3)
        )
        terms = [
            _narrow(builder, builder.extract_value(table, k), x) for k in range(len(coefficients))
        ]
        total = terms.pop()
        while terms:
            total = builder.call(function, [total, point, terms.pop()])
        return total

    return x(x, coefficients), codegen


@intrinsic
def bits(typingctx, x):
    """The bit pattern of a float32 as int32, of a float64 as int64."""
    pattern, size = (types.int32, 32) if x == types.float32 else (types.int64, 64)

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(size))

    return pattern(x), codegen


def _from_bits(pattern: types.Integer, width: types.Float) -> Any:
    """Code generator that reads an integer, cut to the pattern's width, as a float."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        word = context.cast(builder, args[0], signature.args[0], pattern)
        return builder.bitcast(word, _LLVM_FLOAT[width])

    return codegen


@intrinsic
def from_bits32(typingctx, pattern):
    """The float32 whose bit pattern is the low 32 bits of an integer."""
    return types.float32(pattern), _from_bits(types.int32, types.float32)


@intrinsic
def from_bits64(typingctx, pattern):
    """The float64 whose bit pattern is an integer."""
    return types.float64(pattern), _from_bits(types.int64, types.float64)


@intrinsic
def funnel_shift(typingctx, high, low, count):
    """The upper 64 bits of the 128-bit word high:low shifted left by count, 0 to 63."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        function = builder.module.declare_intrinsic(
            "llvm.fshl", [word], ir.FunctionType(word, [word] * 3)
        )
        return builder.call(function, args)

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def window(typingctx, table, index):
    """table[index : index + 4] of a tuple of int64, by a tree of selects: gathers are slower.

    The table has 2**n + 3 words and 0 <= index < 2**n.
    """

    def codegen(context, builder, signature, args):
        words = [builder.extract_value(args[0], k) for k in range(len(table))]
        while len(words) > 4:
            step = (len(words) - 3) // 2
            bit = builder.and_(args[1], ir.Constant(args[1].type, step))
            upper = builder.icmp_signed("!=", bit, ir.Constant(args[1].type, 0))
            words = [builder.select(upper, words[k + step], words[k]) for k in range(3 + step)]
        return context.make_tuple(builder, signature.return_type, words)

    return types.UniTuple(types.int64, 4)(table, index), codegen
