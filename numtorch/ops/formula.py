"""Functions of numbers that are known by their expressions, as differentiable operations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numtorch_kernels.build import define
from numtorch_kernels.expression import FLOAT64, Expr, cast, nodes_of, symbol

from .apply import apply
from .derivation import Calls, Differentiable, gradient, mark
from .elementwise import PointwiseOp, nothing, operands_dtype

Trace = Callable[[Sequence[Expr], Calls], Expr]


class Derivative:
    """The gradient of an input, as a formula of what its names say: g, y and inputs x0, x1, ..."""

    def __init__(self, names: list[str], formula: Formula, passes: bool = False) -> None:
        self.names = names
        self.formula = formula
        self.passes = passes  # whether it is g itself

    def rule(self) -> Callable[..., Any]:
        """The derivative as a row has it: of symbols, or of tensors."""

        def compute(g: Any, *others: Any) -> Any:
            if self.passes:
                return g
            if isinstance(g, Expr):
                return self.formula.trace([g, *(cast(x, g.dtype) for x in others)], {})
            return apply(self.formula.op, (g, *others))

        return _with_parameters(self.names, compute)


class Formula(Differentiable):
    """A function of numbers that is known by its expression, with derivatives.

    ``trace`` gives its expression for symbols of one dtype, each an object of its own, and notes
    calls in it; ``given`` are the derivatives that do not follow from the expression.
    """

    def __init__(self, name: str, count: int, trace: Trace) -> None:
        self.name = name
        self.count = count
        self.trace = trace
        self.given: dict[int, Derivative] = {}
        self._derivatives: dict[int, Derivative | None] = {}
        self._makes_floats: dict[np.dtype[Any], bool] = {}

    # ------------------------------------------------------------------ derivatives

    def derivative(self, position: int) -> Derivative | None:
        """How to get the gradient of an input; None where it is zero."""
        if position in self.given:
            return self.given[position]
        if position not in self._derivatives:
            self._derivatives[position] = self._derive(position)
        return self._derivatives[position]

    def _derive(self, position: int) -> Derivative | None:
        """The derivative that follows from the expression, of those inputs that occur in it."""
        inputs = [symbol(i, FLOAT64) for i in range(self.count + 1)]
        found = self._gradient(position, inputs[0], inputs[1:], {})
        if found is None:
            return None
        used = {node.key for node in nodes_of(found)}
        needed = [i for i, x in enumerate(inputs[1:]) if x.key in used]

        def trace(operands: Sequence[Expr], calls: Calls) -> Expr:
            g, *given = operands
            filled = [symbol(i, g.dtype) for i in range(self.count)]  # most are not looked at
            for i, x in zip(needed, given, strict=True):
                filled[i] = x
            result = self._gradient(position, g, filled, calls)
            assert result is not None
            return result

        formula = Formula(self.name + "_backward", 1 + len(needed), trace)
        names = ["g", *(f"x{i}" for i in needed)]
        return Derivative(names, formula, passes=found is inputs[0])

    def _gradient(
        self, position: int, g: Expr, inputs: Sequence[Expr], calls: Calls
    ) -> Expr | None:
        return gradient(self.trace(inputs, calls), g, inputs, position, calls)

    def contribution(
        self, position: int, g: Expr, y: Expr, inputs: Sequence[Expr], calls: Calls
    ) -> Expr | None:
        """What the gradient of a call's result adds to that of an argument."""
        derivative = self.derivative(position)
        if derivative is None:
            return None
        known = {"g": g, "y": y, **{f"x{i}": x for i, x in enumerate(inputs)}}
        operands = [distinct(known[name], calls) for name in derivative.names]
        return derivative.formula.trace(operands, calls)

    # ------------------------------------------------------------------ the operation

    @functools.cached_property
    def op(self) -> PointwiseOp:
        """The operation on tensors."""
        names = [f"x{i}" for i in range(self.count)]
        forward = _with_parameters(names, lambda *operands: self.trace(operands, {}))
        op = PointwiseOp(
            forward, self._rules(names), promote=self._promote, numbers=" ".join(names)
        )
        op.take_name(self.name)
        return op

    def _rules(self, names: list[str]) -> dict[str, Callable[..., Any]]:
        try:
            self.trace([symbol(i, FLOAT64) for i in range(self.count)], {})
        except NotImplementedError:  # it is not defined for floats; or the forward will say why not
            return {}
        found = [self.derivative(position) for position in range(self.count)]
        return {
            name: nothing if each is None else each.rule()
            for name, each in zip(names, found, strict=True)
        }

    def _promote(self, *arguments: Any) -> str:
        """Whether other operands than floats are computed with as floats."""
        kind = operands_dtype(arguments)
        return "float" if kind.category < 2 and self.makes_floats(kind.numpy) else "common"

    def makes_floats(self, dtype: np.dtype[Any]) -> bool:
        """Whether floats arise from inputs of a dtype."""
        if dtype not in self._makes_floats:
            try:
                value = self.trace([symbol(i, dtype) for i in range(self.count)], {})
            except NotImplementedError:  # there is a part that is not defined for it
                return True
            self._makes_floats[dtype] = any(node.dtype.kind == "f" for node in nodes_of(value))
        return self._makes_floats[dtype]


def distinct(x: Expr, calls: Calls) -> Expr:
    """An object of its own for a symbol, from which gradients flow to the symbol."""
    return mark(x, (x,), None, calls)


def _with_parameters(names: Sequence[str], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with parameters of these names, from which a row takes what to pass."""
    listed = ", ".join(names)
    text = f"def made({listed}): return function({listed})"
    made: Callable[..., Any] = define(text, "made", {"function": function})
    return made
