"""Pointwise kernels: an expression for one element becomes a broadcasting, parallel loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import arithmetic, bits, intrinsics, scalar
from .build import Loop, gufunc
from .drive import GRAIN, drive
from .expression import Expr, cast, render, symbol
from .layout import aligned, result

Array = np.ndarray[Any, Any]
Dtypes = tuple[np.dtype[Any], ...]

_NAMESPACE: dict[str, Any] = {
    **{name: value for module in (arithmetic, bits, scalar) for name, value in vars(module).items()
       if callable(value)},
    **{name: getattr(intrinsics, name) for name in ("BLOCK", "block_of", "buffer", "load", "offset",
                                                    "store")},
    **{name: getattr(np, name) for name in "float32 float64 int8 int16 int32 int64 uint8".split()},
    "inf": math.inf,
    "nan": math.nan,
}  # fmt: skip


def _loop_text(inputs: Dtypes, outputs: Sequence[Expr]) -> str:
    """The text of a kernel that runs over its operands in blocks.

    A block of an operand that is not adjacent in memory is copied to a buffer first, so that there
    is one loop to vectorise whatever the strides.
    """
    statements, results = render(outputs)
    sources = [f"x{i}" for i in range(len(inputs))]
    targets = [f"y{i}" for i in range(len(outputs))]
    operands = sources + targets
    parameters = "".join(f", {name}_all, {name}_step" for name in operands)
    adjacent = " and ".join(f"{name}_step == 1" for name in operands)
    lines = [f"def kernel(count{parameters}):"]
    lines += [f"    {name}_memory = buffer({name}_all)" for name in operands]
    lines += [
        f"    block = count if {adjacent} else BLOCK",
        "    start = 0",
        "    while start < count:",
        "        size = min(block, count - start)",
    ]
    for name in sources:
        lines.append(
            f"        {name}_at = block_of({name}_all, {name}_step, {name}_memory, start, size)"
        )
    for name in targets:
        lines.append(
            f"        {name}_at = offset({name}_all, start) if {name}_step == 1 else {name}_memory"
        )
    lines.append("        for i in range(size):")
    for name, dtype in zip(sources, inputs, strict=True):
        truth = " != 0" if dtype.kind == "b" else ""
        lines.append(f"            {name} = load({name}_at, i){truth}")
    lines += [f"            {statement}" for statement in statements]
    for name, value in zip(targets, results, strict=True):
        lines.append(f"            store({name}_at, i, {value})")
    for name in targets:
        lines += [
            f"        if {name}_step != 1:",
            "            for i in range(size):",
            f"                {name}_all[(start + i) * {name}_step] = {name}_memory[i]",
        ]
    lines.append("        start += size")
    return "\n".join(lines) + "\n"


_kernels: dict[str, Any] = {}


def _kernel(text: str) -> Any:
    """The kernel function that a text defines; the same text is always the same function."""
    kernel = _kernels.get(text)
    if kernel is None:
        scope = dict(_NAMESPACE)
        exec(compile(text, "<pointwise>", "exec"), scope)
        kernel = scope["kernel"]
        kernel.source = text
        kernel.__module__ = __name__
        _kernels[text] = kernel
    return kernel


def loop_of(outputs: Sequence[Expr], inputs: Dtypes) -> Loop:
    """The compiled loop of expressions over inputs of these dtypes; equal expressions share one."""
    signature = ",".join(["()"] * len(inputs)) + "->" + ",".join(["()"] * len(outputs))
    dtypes = (*inputs, *(output.dtype for output in outputs))
    return gufunc(_kernel(_loop_text(inputs, outputs)), signature, dtypes)


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
            operands = [symbol(i, dtype) for i, dtype in enumerate(inputs)]
            if compute is not None:
                operands = [cast(x, compute) for x in operands]
            value = self.function(*operands)
            values = value if isinstance(value, tuple) else (value,)
            if outputs is not None:
                values = tuple(cast(v, dtype) for v, dtype in zip(values, outputs, strict=True))
            loop = self.loops[key] = loop_of(values, inputs)
        return loop

    def __call__(self, *operands: Any, out: Array | None = None) -> Any:
        dtypes = [x.dtype for x in operands if isinstance(x, np.ndarray)]
        weak = np.result_type(*dtypes)
        arrays = [x if isinstance(x, np.ndarray) else np.asarray(x, weak) for x in operands]
        kinds = tuple(x.dtype for x in arrays)
        return run(self.loop(kinds, None, None if out is None else (out.dtype,)), arrays, out)


def run(loop: Loop, inputs: Sequence[Array], out: Array | None = None) -> Any:
    """The loop's result(s) for inputs of its dtypes: fresh arrays, or ``out``."""
    if out is not None:
        if any(np.may_share_memory(x, out) and not _same(x, out) for x in inputs):
            inputs = [x.copy() if np.may_share_memory(x, out) else x for x in inputs]
        if out.ndim == 0 or out.size < GRAIN:
            loop.ufunc(*inputs, out)
        else:
            drive(loop, *map(aligned, inputs), out)
        return out
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    outputs = tuple(result(shape, dtype, inputs) for dtype in loop.dtypes[loop.inputs :])
    if outputs[0].size < GRAIN:
        loop.ufunc(*inputs, *outputs)
    else:
        drive(loop, *map(aligned, inputs), *outputs)
    return outputs[0] if loop.outputs == 1 else outputs


def launch(loop: Loop, inputs: Sequence[Array]) -> Any:
    """:func:`run` without ``out``, with a short way for small inputs."""
    total = 1
    for x in inputs:
        total *= x.size
    if total >= GRAIN:
        return run(loop, inputs)
    values = loop.ufunc(*inputs)
    if values.__class__ is np.ndarray:
        return values
    if values.__class__ is tuple:
        return tuple(np.asarray(value) for value in values)
    return np.asarray(values)


def _same(x: Array, out: Array) -> bool:
    """Whether two arrays are the same elements in the same order."""
    return (
        x.shape == out.shape
        and x.strides == out.strides
        and x.__array_interface__["data"][0] == out.__array_interface__["data"][0]
    )
