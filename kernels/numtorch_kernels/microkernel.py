"""The innermost pieces of matrix multiplication, as explicit vector code.

A tile of C is held in vector registers while a loop over k adds outer products to it: one row of B
times each element of a column of A. This is the microkernel of Goto and van de Geijn ("Anatomy of
High-Performance Matrix Multiplication", 2008) as refined by BLIS (Van Zee and van de Geijn, 2015).
Vectors are generic LLVM vectors, so the same code serves every machine and every dtype.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .llvmtext import codegen
from .loophints import hint

_INT32 = ir.IntType(32)
_LINE = 64  # bytes of the cache


def vector_bytes() -> int:
    """The size of this CPU's vector registers."""
    features = codegen().magic_tuple()[2].split(",")
    return 64 if "+avx512f" in features else 32 if "+avx" in features else 16


def vector_registers() -> int:
    """How many vector registers this CPU has."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return 16 if x86 and vector_bytes() < 64 else 32


def lanes_of(dtype: np.dtype[Any]) -> int:
    """How many elements fill a vector register."""
    return vector_bytes() // dtype.itemsize


def _vector_at(builder: ir.IRBuilder, pointer: ir.Value, lanes: int) -> ir.Value:
    """The pointer as a pointer to a vector."""
    return builder.bitcast(pointer, ir.VectorType(pointer.type.pointee, lanes).as_pointer())


def _element_bytes(pointer: ir.Value) -> int:
    element = pointer.type.pointee
    if isinstance(element, ir.IntType):
        return element.width // 8
    return 4 if isinstance(element, ir.FloatType) else 8


def load_vector(builder: ir.IRBuilder, pointer: ir.Value, lanes: int) -> ir.Value:
    """A vector of adjacent elements, aligned as the elements are."""
    return builder.load(_vector_at(builder, pointer, lanes), align=_element_bytes(pointer))


def store_vector(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value, lanes: int) -> None:
    """Stores a vector as adjacent elements, aligned as the elements are."""
    builder.store(value, _vector_at(builder, pointer, lanes), align=_element_bytes(pointer))


def splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """A vector of copies of a scalar."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, _INT32(0))
    zeros = ir.Constant(ir.VectorType(_INT32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, undefined, zeros)


def _suffix(vector: ir.VectorType) -> str:
    """How LLVM's intrinsics name a vector type."""
    kind = "i" if isinstance(vector.element, ir.IntType) else "f"
    width = {"float": 32, "double": 64}.get(str(vector.element)) or vector.element.width
    return f"v{vector.count}{kind}{width}"


def _multiply_add(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """The sum of a product and z, rounded once; integers wrap."""
    vector = x.type
    if isinstance(vector.element, ir.IntType):
        return builder.add(builder.mul(x, y), z)
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.{_suffix(vector)}"
    )
    return builder.call(fma, [x, y, z])


def _add(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return builder.add(x, y) if isinstance(x.type.element, ir.IntType) else builder.fadd(x, y)


def _prefetch(builder: ir.IRBuilder, pointer: ir.Value, write: bool) -> None:
    """Asks for the cache line of a place that is read or written to later."""
    place = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [place.type, _INT32, _INT32, _INT32]),
        "llvm.prefetch.p0",
    )
    builder.call(function, [place, _INT32(int(write)), _INT32(3), _INT32(1)])


def _masked_load(
    builder: ir.IRBuilder, pointer: ir.Value, lanes: int, mask: ir.Value, otherwise: ir.Value
) -> ir.Value:
    """The lanes that the mask names, of a vector that may lie partly outside of an array."""
    kind, place = otherwise.type, _vector_at(builder, pointer, lanes)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [place.type, _INT32, mask.type, kind]),
        f"llvm.masked.load.{_suffix(kind)}.p0",
    )
    return builder.call(function, [place, _INT32(_element_bytes(pointer)), mask, otherwise])


def _masked_store(
    builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value, lanes: int, mask: ir.Value
) -> None:
    """Stores the lanes that the mask names."""
    kind, place = value.type, _vector_at(builder, pointer, lanes)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [kind, place.type, _INT32, mask.type]),
        f"llvm.masked.store.{_suffix(kind)}.p0",
    )
    builder.call(function, [value, place, _INT32(_element_bytes(pointer)), mask])


def _tile_masks(
    builder: ir.IRBuilder, shape: tuple[int, int, int], height: ir.Value, width: ir.Value
) -> list[list[ir.Value]]:
    """Which lanes of each vector of a tile belong to its first ``height`` rows and columns."""
    rows, vectors, lanes = shape
    places = ir.Constant(ir.VectorType(_INT32, lanes), list(range(lanes)))
    height, width = builder.trunc(height, _INT32), builder.trunc(width, _INT32)
    masks = []
    for row in range(rows):
        valid = builder.icmp_signed(">", height, _INT32(row))
        columns = builder.select(valid, width, _INT32(0))
        left = [builder.sub(columns, _INT32(j * lanes)) for j in range(vectors)]
        masks.append([builder.icmp_signed("<", places, splat(builder, x, lanes)) for x in left])
    return masks


def _add_products(builder, sums, lanes, a_rows, a_step, b, b_step, depth):
    """Adds to the sums of a tile, for each k, an element of each row of A times a row of B.

    Where A's step is not known, two steps at once would have more places than registers.
    """
    index = depth.type
    vectors = len(sums[0])
    with cgutils.for_range(builder, depth) as loop:
        b_row = builder.gep(b, [builder.mul(loop.index, b_step)])
        b_vectors = [
            load_vector(builder, builder.gep(b_row, [index(j * lanes)]), lanes)
            for j in range(vectors)
        ]
        column = builder.mul(loop.index, a_step)
        for a_row, sum_row in zip(a_rows, sums, strict=True):
            factor = builder.load(builder.gep(a_row, [column]))
            factors = splat(builder, factor, lanes)
            for total, b_vector in zip(sum_row, b_vectors, strict=True):
                value = _multiply_add(builder, factors, b_vector, builder.load(total))
                builder.store(value, total)
        if not isinstance(a_step, ir.Constant):
            hint(builder, "llvm.loop.unroll.disable")


def _store_whole(builder, sums, places, lanes, add):
    """Stores the sums of a tile, or adds them to what is there."""
    tile = [(i, j) for i, sum_row in enumerate(sums) for j in range(len(sum_row))]
    with builder.if_then(add):
        for i, j in tile:
            before = load_vector(builder, places[i][j], lanes)
            builder.store(_add(builder, before, builder.load(sums[i][j])), sums[i][j])
    for i, j in tile:
        store_vector(builder, builder.load(sums[i][j]), places[i][j], lanes)


def _store_part(builder, sums, places, masks, lanes, add):
    """As :func:`_store_whole`, where the masks say."""
    for sum_row, place_row, mask_row in zip(sums, places, masks, strict=True):
        for total, place, mask in zip(sum_row, place_row, mask_row, strict=True):
            with builder.if_then(add):
                value = builder.load(total)
                before = _masked_load(builder, place, lanes, mask, value.type(None))
                builder.store(_add(builder, before, value), total)
            _masked_store(builder, builder.load(total), place, lanes, mask)


@intrinsic(prefer_literal=True)
def multiply_tile(
    _context, rows, vectors, lanes, a, a_row, a_step, b, b_step, depth, c, c_row, height, width, add
):
    """C = A @ B, or C += A @ B with ``add``, for a tile of at most (rows, vectors * lanes).

    ``height`` and ``width`` tell how much of the tile there is of C. Rows of B and C are adjacent
    in memory and ``b_step`` and ``c_row`` apart; B must be readable over the tile's whole width.
    Where ``a_row`` is a constant, A must be readable over the tile's whole height.
    """
    signature = types.void(
        rows, vectors, lanes, a, a_row, a_step, b, b_step, depth, c, c_row, height, width, add
    )
    shape = rows, vectors, lanes = tuple(x.literal_value for x in (rows, vectors, lanes))
    packed = isinstance(a_row, types.IntegerLiteral)

    def codegen(context, builder, _signature, arguments):
        a, a_row, a_step, b, b_step, depth, c, c_row, height, width, add = arguments[3:]
        index = depth.type
        a_rows, places = [], []
        for i in range(rows):
            at = builder.mul(a_row, index(i))
            if not packed:  # a row that is not there is read as the first
                at = builder.select(builder.icmp_signed(">", height, index(i)), at, index(0))
            a_rows.append(builder.gep(a, [at]))
            start = builder.mul(c_row, index(i))
            ends = [builder.add(start, index(j * lanes)) for j in range(vectors)]
            places.append([builder.gep(c, [at]) for at in ends])
            for place in places[-1][:: max(1, _LINE // (lanes * _element_bytes(c)))]:
                _prefetch(builder, place, True)
        zero = ir.VectorType(a.type.pointee, lanes)(None)
        sums = [
            [cgutils.alloca_once_value(builder, zero) for _ in range(vectors)] for _ in range(rows)
        ]
        _add_products(builder, sums, lanes, a_rows, a_step, b, b_step, depth)
        whole = builder.and_(
            builder.icmp_signed("==", height, index(rows)),
            builder.icmp_signed("==", width, index(vectors * lanes)),
        )
        add = builder.trunc(add, ir.IntType(1))
        with builder.if_else(whole, likely=True) as (then, otherwise):
            with then:
                _store_whole(builder, sums, places, lanes, add)
            with otherwise:  # the masks take as long as 64 steps of the loop
                masks = _tile_masks(builder, shape, height, width)
                _store_part(builder, sums, places, masks, lanes, add)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def transpose_block(_context, side, target, target_row, source, source_row):
    """Copies a square block of ``side`` rows of adjacent elements, transposed.

    Interleaving row i with row i + side/2, log2(side) times, transposes a block: each round moves
    one bit of the column index into the row index.
    """
    side_ = side.literal_value

    def codegen(context, builder, _signature, arguments):
        _, target, target_row, source, source_row = arguments
        index = source_row.type
        rows = [
            load_vector(builder, builder.gep(source, [builder.mul(source_row, index(i))]), side_)
            for i in range(side_)
        ]
        half = side_ // 2
        pairs = [lane for i in range(side_) for lane in (i, i + side_)]
        kind = ir.VectorType(_INT32, side_)
        masks = [ir.Constant(kind, pairs[:side_]), ir.Constant(kind, pairs[side_:])]
        for _ in range(side_.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[i], rows[i + half], mask)
                for i in range(half)
                for mask in masks
            ]
        for i, row in enumerate(rows):
            place = builder.gep(target, [builder.mul(target_row, index(i))])
            store_vector(builder, row, place, side_)
        return context.get_dummy_value()

    return types.void(side, target, target_row, source, source_row), codegen


@intrinsic(prefer_literal=True)
def copy_vector(_context, lanes, target, source):
    """Copies ``lanes`` adjacent elements."""

    def codegen(context, builder, signature, arguments):
        lanes = signature.args[0].literal_value
        store_vector(builder, load_vector(builder, arguments[2], lanes), arguments[1], lanes)
        return context.get_dummy_value()

    return types.void(lanes, target, source), codegen


@intrinsic
def prefetch(_context, pointer):
    """Asks for the cache line that a pointer points into, which may be anywhere."""

    def codegen(context, builder, _signature, arguments):
        _prefetch(builder, arguments[0], False)
        return context.get_dummy_value()

    return types.void(pointer), codegen


@intrinsic(prefer_literal=True)
def stack(_context, like, count):
    """A constant number of uninitialised elements on the stack, of the type ``like`` points to."""

    def codegen(_context, builder, signature, arguments):
        element = arguments[0].type.pointee
        with builder.goto_entry_block():  # cgutils.alloca_once would fill it with zeros
            memory = builder.alloca(ir.ArrayType(element, signature.args[1].literal_value))
        memory.align = 64
        return builder.bitcast(memory, element.as_pointer())

    return like(like, count), codegen


@intrinsic
def fetch_add(_context, counter, amount):
    """Adds to an int64 that threads share, and gives what was there before."""

    def codegen(_context, builder, _signature, arguments):
        return builder.atomic_rmw("add", arguments[0], arguments[1], "seq_cst")

    return types.int64(counter, amount), codegen
