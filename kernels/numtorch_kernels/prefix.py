"""Running sums within a vector register."""

from __future__ import annotations

from llvmlite import ir
from numba.extending import intrinsic

from .microkernel import load_vector, splat, store_vector

LANES = 8  # elements at once: two vectors of float64, whose shuffles do not wait for each other

_INDEX = ir.IntType(32)


def _add(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    kind = getattr(x.type, "element", x.type)
    return builder.add(x, y) if isinstance(kind, ir.IntType) else builder.fadd(x, y)


def _zero(kind: ir.Type) -> ir.Constant:
    """What adds nothing: of floats -0, as LLVM shifts in 0 by a slow instruction of AVX-512."""
    return ir.Constant(kind, 0 if isinstance(kind, ir.IntType) else -0.0)


def _cast(builder: ir.IRBuilder, vector: ir.Value, element: ir.Type, signed: bool) -> ir.Value:
    """The vector with elements of a type of the same kind."""
    kind = ir.VectorType(element, vector.type.count)
    if kind == vector.type:
        return vector
    if not isinstance(element, ir.IntType):
        widens = isinstance(element, ir.DoubleType)
        return builder.fpext(vector, kind) if widens else builder.fptrunc(vector, kind)
    if element.width < vector.type.element.width:
        return builder.trunc(vector, kind)
    return builder.sext(vector, kind) if signed else builder.zext(vector, kind)


@intrinsic
def running_sums(_context, source, target, total):
    """Writes the running sums of LANES adjacent elements, begun with a total; gives the last.

    Elements are added in the total's type, by pairs first, then pairs of pairs and so on (Hillis
    and Steele, "Data Parallel Algorithms", 1986), and to the total at last: of all additions but
    one the next LANES elements do not have to wait.
    """

    def codegen(_context, builder, signature, arguments):
        source, target, total = arguments
        signed = getattr(signature.args[0].dtype, "signed", True)
        sums = _cast(builder, load_vector(builder, source, LANES), total.type, signed)
        zeros = ir.Constant(sums.type, [_zero(total.type)] * LANES)
        for distance in (1, 2, 4):
            places = [i - distance if i >= distance else LANES for i in range(LANES)]
            mask = ir.Constant(ir.VectorType(_INDEX, LANES), places)
            sums = _add(builder, sums, builder.shuffle_vector(sums, zeros, mask))
        last = builder.extract_element(sums, _INDEX(LANES - 1))
        sums = _add(builder, sums, splat(builder, total, LANES))
        store_vector(builder, _cast(builder, sums, target.type.pointee, True), target, LANES)
        return _add(builder, total, last)

    return total(source, target, total), codegen
