"""Pointwise kernels: an expression for one element becomes a broadcasting, parallel loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from . import arithmetic, bits, intrinsics, memory, scalar
from .build import LOOP, Loop, MachineCode, Written
from .costs import is_costly
from .deferral import deferring
from .drive import drive, drive_adjacent, drive_strided, is_large, is_writable
from .expression import Expr, cast, common_dtype, nearness, nodes_of, render, symbol
from .layout import (
    SHORT,
    aligned,
    common_shape,
    data_address,
    native,
    result,
    with_long_rows,
)

Array = np.ndarray[Any, Any]
Dtypes = tuple[np.dtype[Any], ...]
ARRAYS = (np.ndarray, np.generic)

_FEW = 1 << 14  # elements below which nothing but the call matters

# What a vector has where a loop does little but load and store: with AVX-512's 64 bytes a product
# of a million elements took 1.09 times as long. (With 32, exp took 1.2 times as long.)
_VECTOR_BYTES = 32

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8")
_PIECES = {"BLOCK", "block_of", "block_size", "buffer", "clear_float_flags", "interleaved",
           "lanes", "load", "offset", "place", "put_back", "store"}  # fmt: skip
_NAMESPACE: dict[str, Any] = {
    **{name: value for module in (arithmetic, bits, scalar) for name, value in vars(module).items()
       if callable(value)},
    **{name: vars(np)[name] for name in ("float32", "float64", *_INTEGERS)},
    **{name: value for name, value in vars(intrinsics).items()
       if name.endswith("_at") or name in _PIECES},
    "inf": math.inf,
    "nan": math.nan,
}  # fmt: skip


def _loop_text(name: str, inputs: Dtypes, outputs: Sequence[Expr]) -> str:
    """The text of a C-ABI loop that runs over its operands in blocks.

    A block of an operand that is not adjacent in memory is copied to a buffer first, so that there
    is one loop to vectorise whatever the strides.
    """
    near = nearness(outputs)
    sources = [f"x{i}" for i in range(len(inputs))]
    targets = [f"y{i}" for i in range(len(outputs))]
    dtypes = (*inputs, *(output.dtype for output in outputs))
    lines = [f"def {name}(args, dims, steps, data):"]
    for i, (operand, dtype) in enumerate(zip(sources + targets, dtypes, strict=True)):
        lines += [
            f"    {operand}_all = {dtype.name}_at(args[{i}])",
            f"    {operand}_buffer = buffer({operand}_all)",
        ]
    adjacent = " & ".join(f"(steps[{i}] == {dtype.itemsize})" for i, dtype in enumerate(dtypes))
    lines += [
        "    block = " + (f"block_size({adjacent}, dims[0])" if near is None else "BLOCK"),
        "    for start in range(0, dims[0], block):",
        "        size = min(block, dims[0] - start)",
    ]
    for i, operand in enumerate(sources + targets):
        move = "block_of" if operand in sources else "place"
        step = f"steps[{i}] >> {dtypes[i].itemsize.bit_length() - 1}"
        block = f"{move}({operand}_all, {step}, {operand}_buffer, start, size)"
        lines.append(f"        {operand}_at = {block}")
    loops = _element_loops(inputs, outputs, near, frozenset())
    lines += [f"        {line}" for line in loops]
    for i, operand in enumerate(targets, len(inputs)):
        step = f"steps[{i}] >> {dtypes[i].itemsize.bit_length() - 1}"
        lines.append(f"        put_back({operand}_all, {step}, {operand}_buffer, start, size)")
    lines.append("    clear_float_flags()")
    return "\n".join(lines) + "\n"


def _adjacent_text(
    name: str, inputs: Dtypes, outputs: Sequence[Expr], scalars: frozenset[int]
) -> str:
    """The text of a loop over operands that are adjacent, but for the ``scalars`` among inputs."""
    near = nearness(outputs)
    lines = [f"def {name}(args, dims, steps, data):"]
    operands = [(f"x{i}", dtype) for i, dtype in enumerate(inputs)]
    operands += [(f"y{i}", output.dtype) for i, output in enumerate(outputs)]
    for i, (operand, dtype) in enumerate(operands):
        lines.append(f"    {operand}_all = {dtype.name}_at(args[{i}])")
        if i in scalars:
            lines.append(f"    {operand} = {operand}_all[0]{_truth(dtype)}")
    block = "max(dims[0], 1)" if near is None else "BLOCK"
    lines += [
        f"    for start in range(0, dims[0], {block}):",
        f"        size = min({block}, dims[0] - start)",
    ]
    for i, (operand, _) in enumerate(operands):
        if i not in scalars:
            lines.append(f"        {operand}_at = offset({operand}_all, start)")
    loops = _element_loops(inputs, outputs, near, scalars)
    lines += [f"        {line}" for line in loops]
    return "\n".join(lines) + "\n"


def _element_loops(
    inputs: Dtypes, outputs: Sequence[Expr], near: Expr | None, scalars: frozenset[int]
) -> list[str]:
    """The lines of a loop over ``size`` elements of a block.

    Where functions have a quicker version for operands near 0 there are two loops, and before them
    one that looks at the operands: vectorised code has no branches, but computes both versions.
    """
    loads = {
        f"x{i}": f"    x{i} = load(x{i}_at, i){_truth(dtype)}"
        for i, dtype in enumerate(inputs)
        if i not in scalars
    }
    if near is None:
        return _element_loop(loads, outputs, False)
    statements, (holds,) = render([near])
    used = [node.key.partition(":")[0] for node in nodes_of(near) if node.name == "input"]
    return [
        "near = True",
        "for i in range(size):",
        *(loads[operand] for operand in used if operand in loads),
        *(f"    {statement}" for statement in statements),
        f"    near &= {holds}",
        "if near:",
        *(f"    {line}" for line in _element_loop(loads, outputs, True)),
        "else:",
        *(f"    {line}" for line in _element_loop(loads, outputs, False)),
    ]


def _element_loop(loads: Mapping[str, str], outputs: Sequence[Expr], near: bool) -> list[str]:
    statements, results = render(outputs, near)
    widest = max(node.dtype.itemsize for node in nodes_of(*outputs))
    return [
        "for i in range(size):",
        *loads.values(),
        *(f"    {statement}" for statement in statements),
        *(f"    store(y{i}_at, i, {value})" for i, value in enumerate(results)),
        "    interleaved()" if is_costly(outputs) else f"    lanes({_VECTOR_BYTES // widest})",
    ]


def _truth(dtype: np.dtype[Any]) -> str:
    """What makes a truth value of a byte."""
    return " != 0" if dtype.kind == "b" else ""


_loops: dict[str, Loop] = {}


def loop_of(outputs: Sequence[Expr], inputs: Dtypes) -> Loop:
    """The loop of expressions over inputs of these dtypes; equal expressions share one."""
    return _made(_loop_text("pointwise", inputs, outputs), outputs, inputs)


def adjacent_loop_of(outputs: Sequence[Expr], inputs: Dtypes, scalars: frozenset[int]) -> Loop:
    """A loop for operands that are adjacent, which is quicker to compile and to call.

    Inputs at the positions ``scalars`` have one value for all elements. It leaves the CPU's
    floating-point flags as they become, so it is no ufunc for NumPy, which would warn of them.
    """
    return _made(_adjacent_text("pointwise", inputs, outputs, scalars), outputs, inputs)


def _made(text: str, outputs: Sequence[Expr], inputs: Dtypes) -> Loop:
    """The loop that a text defines, made once."""
    loop = _loops.get(text)
    if loop is None:
        signature = ",".join(["()"] * len(inputs)) + "->" + ",".join(["()"] * len(outputs))
        dtypes = (*inputs, *(output.dtype for output in outputs))
        function = Written(text, "pointwise", _NAMESPACE)
        loop = _loops[text] = Loop(
            "pointwise",
            MachineCode(function, LOOP),
            signature,
            dtypes,
            tuple(outputs),
            text=text,
        )
    return loop


class Pointwise:
    """An operation on ndarrays that computes each element by a scalar function.

    ``function`` takes symbols and gives an expression, or a tuple of them. Operands broadcast;
    Python numbers adopt the arrays' dtype. Of a call with ``out``, the result is cast to its dtype.

    >>> import numpy as np
    >>> from numtorch_kernels import Pointwise
    >>> hypot = Pointwise(lambda a, b: s.sqrt(a * a + b * b))
    >>> hypot(np.array([3.0, 6.0]), np.array([4.0, 8.0])).tolist()
    [5.0, 10.0]
    """

    __slots__ = ("function", "loops", "name")

    def __init__(self, function: Callable[..., Any], name: str = "pointwise") -> None:
        self.function = function
        self.name = name
        self.loops: dict[Any, Loop] = {}

    def loop(
        self,
        inputs: Dtypes,
        compute: np.dtype[Any] | None = None,
        outputs: Dtypes | None = None,
    ) -> Loop:
        """The loop for inputs of these dtypes, each cast to ``compute`` first if that is given."""
        key = (inputs, compute, outputs)
        loop = self.loops.get(key)
        if loop is None:
            inputs = tuple(map(native, inputs))
            operands = [symbol(i, dtype) for i, dtype in enumerate(inputs)]
            if compute is not None:
                operands = [cast(x, compute) for x in operands]
            value = self.function(*operands)
            values = value if isinstance(value, tuple) else (value,)
            if outputs is not None:
                values = tuple(
                    cast(v, native(dtype)) for v, dtype in zip(values, outputs, strict=True)
                )
            loop = self.loops[key] = loop_of(values, inputs)
        return loop

    def __call__(self, *operands: Any, out: Array | None = None) -> Any:
        """The operation on arrays and numbers, at least one of which is an array."""
        strong = [symbol(0, x.dtype) for x in operands if isinstance(x, ARRAYS)]
        arrays = [
            np.asarray(x, None if isinstance(x, ARRAYS) else common_dtype([*strong, x]))
            for x in operands
        ]
        kinds = tuple(x.dtype for x in arrays)
        return run(self.loop(kinds, None, None if out is None else (out.dtype,)), arrays, out)


def run(loop: Loop, inputs: Sequence[Array], out: Array | None = None) -> Any:
    """The loop's result(s) for inputs of its dtypes: fresh arrays, or ``out``."""
    if out is not None:
        if any(np.may_share_memory(x, out) and not _same(x, out) for x in inputs):
            inputs = [_copied(x) if np.may_share_memory(x, out) else x for x in inputs]
        if out.ndim == 0 or not is_large(loop, out.size) or deferring():
            loop.ufunc(*inputs, out)
        else:
            _drive(loop, inputs, [out])
        return out
    shape = common_shape(inputs)
    outputs = tuple([result(shape, dtype, inputs) for dtype in loop.dtypes[loop.inputs :]])
    if not is_large(loop, outputs[0].size) or deferring():
        loop.ufunc(*inputs, *outputs)
    else:
        _drive(loop, inputs, outputs)
    return outputs[0] if loop.outputs == 1 else outputs


def _copied(x: Array) -> Array:
    """A copy, put off like other launches."""
    return loop_of([symbol(0, x.dtype)], (x.dtype,)).ufunc(x) if deferring() else x.copy()


def launch(loop: Loop, inputs: Sequence[Array]) -> Any:
    """:func:`run` without ``out``, with a short way for small inputs without gaps."""
    total = 1
    for x in inputs:
        total *= x.size
        if x.ndim > 1 and not x.flags.c_contiguous:
            return run(loop, inputs)
    if total >= _FEW:
        return run(loop, inputs)
    values = loop.ufunc(*inputs)
    if values.__class__ is np.ndarray:
        return values
    if values.__class__ is tuple:
        return tuple(np.asarray(value) for value in values)
    return np.asarray(values)


def launch_adjacent(loop: Loop, inputs: tuple[Array, ...], out: Array | None = None) -> Array:
    """:func:`run` for inputs that are contiguous and of one shape, or 0-d after the first."""
    if out is None:
        out = memory.empty(inputs[0].shape, loop.dtypes[-1])
    if (
        deferring()
        or not is_large(loop, out.size)
        or not drive_adjacent(_beside_numbers(loop, inputs, out), (*inputs, out))
    ):
        loop.ufunc(*inputs, out)
    return out


def _drive(loop: Loop, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
    """Drives the loop over arrays, and NumPy scalars among them, in whatever layout suits it."""
    arrays = [np.asarray(x) for x in inputs]
    if drive_adjacent(_beside_numbers(loop, arrays, outputs[0]), (*arrays, *outputs)):
        return
    readable = [aligned(x) for x in arrays]
    for operands in with_long_rows([*readable, *outputs]):
        rows = _along_rows(loop, operands)
        if rows is loop:
            drive(loop, *operands)
        else:
            drive_strided(rows, tuple(operands), operands[-1].size)


def _beside_numbers(loop: Loop, inputs: Sequence[Array], out: Array) -> Loop:
    """A quicker loop, if some inputs are numbers and all else is adjacent."""
    numbers = [i for i, x in enumerate(inputs) if x.size == 1]
    if not numbers or not is_writable(out):
        return loop
    others = [x for x in (*inputs, out) if x.size != 1]
    whole = all(x.size == out.size and x.flags.c_contiguous for x in others)
    return of_numbers(loop, *numbers) if whole else loop


def of_numbers(loop: Loop, *numbers: int) -> Loop:
    """A quicker loop, if there is one, where those inputs are numbers.

    Of a costly expression there is none: LLVM makes loops for several kinds of numbers, and does
    not work on vectors side by side in them (64k elements to a power: 96 -> 140 us).
    """
    assert loop.expressions is not None
    costly = loop.outputs > 1 or is_costly(loop.expressions)
    return loop if costly else _of_rows(loop, frozenset(numbers))


def _along_rows(loop: Loop, operands: Sequence[Array]) -> Loop:
    """A quicker loop, if along the last axis, but not throughout, operands are adjacent or one."""
    out, width = operands[-1], operands[-1].shape[-1]
    if loop.outputs > 1 or width < SHORT or not out.flags.c_contiguous:
        return loop
    if all(x.size == 1 or (x.size == out.size and x.flags.c_contiguous) for x in operands):
        return loop
    scalars = []
    for i, x in enumerate(operands[:-1]):
        if not x.ndim or x.shape[-1] == 1 or not x.strides[-1]:
            scalars.append(i)
        elif x.strides[-1] != x.itemsize:
            return loop
    able = is_writable(out) and is_large(loop, out.size)
    return _of_rows(loop, frozenset(scalars)) if able else loop


def rows_of(loop: Loop) -> list[Loop]:
    """Loops for rows in each of which no input is a number, or only the first, the second ..."""
    scalars = [frozenset[int](), *(frozenset((k,)) for k in range(loop.inputs))]
    return [_of_rows(loop, each) for each in scalars]


@cache
def _of_rows(loop: Loop, scalars: frozenset[int]) -> Loop:
    assert loop.expressions is not None
    return adjacent_loop_of(loop.expressions, loop.dtypes[: loop.inputs], scalars)


def _same(x: Array, out: Array) -> bool:
    """Whether two arrays are the same elements in the same order."""
    return (
        x.shape == out.shape and x.strides == out.strides and data_address(x) == data_address(out)
    )
