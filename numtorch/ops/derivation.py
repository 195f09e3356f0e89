"""Derivatives of expressions, by the rules of the table's rows.

The gradient of an expression is an expression again, and so has a gradient. What one side of a
choice contributes is masked where it leaves that side, not before: a branch that was not taken may
compute with numbers outside the domain of its functions, and zero times infinity is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cache
from typing import Any, NamedTuple

from numtorch_kernels import symbols as s
from numtorch_kernels.expression import Expr, cast

from .elementwise import nothing
from .signature import Parameters
from .table import TABLE, Op, Rule


class Differentiable:
    """A function of symbols with derivatives of its own."""

    def contribution(
        self, position: int, g: Expr, y: Expr, inputs: Sequence[Expr], calls: Calls
    ) -> Expr | None:
        """What the gradient of the result adds to that of an input; None for nothing."""
        raise NotImplementedError


class Call(NamedTuple):
    """A node that stands for a call, which is differentiated as a whole."""

    node: Expr
    operands: tuple[Expr, ...]
    function: Differentiable | None  # None of a node that is its operand


Calls = dict[int, Call]
"""The calls in an expression, by the identity of their nodes."""


def mark(
    result: Expr, operands: tuple[Expr, ...], function: Differentiable | None, calls: Calls
) -> Expr:
    """A node equal to the result of a call, which derivatives take for the call."""
    node = copy(result)
    calls[id(node)] = Call(node, operands, function)
    return node


def gradient(output: Expr, g: Expr, inputs: Sequence[Expr], position: int, calls: Calls) -> Any:
    """The gradient of one of the inputs, given that of the output; None if there is none.

    The inputs are distinct objects, each of which is found in the output by its identity.
    """
    return _Pass(output, g, inputs, inputs[position], calls).run()


Condition = tuple[str, bool]
"""A choice's condition, by its key, and on which side of it a node is."""


class _Pass:
    """One run through an expression, from its output to one input."""

    def __init__(
        self, output: Expr, g: Expr, inputs: Sequence[Expr], wanted: Expr, calls: Calls
    ) -> None:
        self.output = output
        self.g = g
        self.leaves = {id(x) for x in inputs}
        self.wanted = wanted
        self.calls = calls
        self.nodes = self._ordered()
        self.active = self._leading_to_wanted()
        self.conditions: dict[str, Expr] = {}
        self.parts: dict[int, dict[tuple[Condition, ...], Expr]] = {}
        self.sides = self._sides()

    def run(self) -> Expr | None:
        """The gradient of the wanted input."""
        self._add(self.output, (), self.g)
        for node in reversed(self.nodes):
            if id(node) not in self.parts or node is self.wanted:
                continue
            g = self._gathered(node)
            for position, operand in self._active_operands(node):
                part = self._contribution(node, position, g)
                if part is not None:
                    conditions = self._use(self.sides[id(node)], node, position)
                    self._add(operand, conditions, cast(part, operand.dtype))
        return self._gathered(self.wanted) if id(self.wanted) in self.parts else None

    # ------------------------------------------------------------------ the expression

    def _operands(self, node: Expr) -> tuple[Any, ...]:
        if id(node) in self.leaves:
            return ()
        call = self.calls.get(id(node))
        if call is not None:
            return call.operands
        return () if node.name == "constant" else node.arguments

    def _ordered(self) -> list[Expr]:
        """The nodes, each after its operands."""
        ordered: list[Expr] = []
        seen: set[int] = set()
        pending: list[tuple[Expr, bool]] = [(self.output, False)]
        while pending:
            node, ready = pending.pop()
            if ready:
                ordered.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                pending.append((node, True))
                pending += [(each, False) for each in self._operands(node)]
        return ordered

    def _leading_to_wanted(self) -> set[int]:
        """The nodes whose gradients matter."""
        active: set[int] = set()
        for node in self.nodes:
            if node is self.wanted or any(
                id(operand) in active for _, operand in self._differentiable(node)
            ):
                active.add(id(node))
        return active

    def _differentiable(self, node: Expr) -> Iterator[tuple[int, Expr]]:
        """The operands that a node has derivatives for, with their positions."""
        whole = id(node) in self.calls or node.name == "cast"
        for position, operand in enumerate(self._operands(node)):
            floating = node.dtype.kind == operand.dtype.kind == "f"
            if floating and (whole or _rule(node.name, position) is not None):
                yield position, operand

    def _active_operands(self, node: Expr) -> list[tuple[int, Expr]]:
        return [pair for pair in self._differentiable(node) if id(pair[1]) in self.active]

    # ------------------------------------------------------------------ choices

    def _sides(self) -> dict[int, tuple[Condition, ...]]:
        """For each node the conditions under which it counts: those that all its uses share."""
        sides: dict[int, tuple[Condition, ...]] = {id(self.output): ()}
        for node in reversed(self.nodes):
            around = sides.get(id(node))
            if around is None:
                continue
            for position, operand in self._active_operands(node):
                here = self._use(around, node, position)
                shared = sides.get(id(operand))
                if id(operand) in self.leaves:
                    here = ()
                elif shared is not None:
                    here = tuple(each for each in shared if each in here)
                sides[id(operand)] = here
        return sides

    def _use(
        self, around: tuple[Condition, ...], node: Expr, position: int
    ) -> tuple[Condition, ...]:
        """The conditions under which a node's use of an operand counts."""
        if node.name != "where" or id(node) in self.calls:
            return around
        new = self._parts_of(node.arguments[0], position == 1)
        return (*around, *(each for each in new if each not in around))

    def _parts_of(self, condition: Expr, side: bool) -> list[Condition]:
        """The conditions that make up one that is on a given side: all of them hold."""
        if condition.name == "bitwise_not":
            return self._parts_of(condition.arguments[0], not side)
        if condition.name == ("bitwise_and" if side else "bitwise_or"):
            a, b = condition.arguments
            return self._parts_of(a, side) + self._parts_of(b, side)
        self.conditions[condition.key] = condition
        return [(condition.key, side)]

    def _add(self, node: Expr, conditions: tuple[Condition, ...], part: Expr) -> None:
        """Notes a part of a node's gradient, which is right where the conditions hold."""
        parts = self.parts.setdefault(id(node), {})
        parts[conditions] = parts[conditions] + part if conditions in parts else part

    def _gathered(self, node: Expr) -> Expr:
        """The gradient of a node, its parts being zero where they leave a side that is not taken.

        Parts that leave the same side do so together.
        """
        within, parts = self.sides[id(node)], self.parts[id(node)]
        for length in range(max(map(len, parts)), 0, -1):
            for conditions in [each for each in parts if len(each) == length]:
                outside = [i for i, each in enumerate(conditions) if each not in within]
                if outside:
                    part, last = parts.pop(conditions), outside[-1]
                    key, side = conditions[last]
                    condition = self.conditions[key]
                    part = s.where(condition, part, 0) if side else s.where(condition, 0, part)
                    self._add(node, conditions[:last] + conditions[last + 1 :], part)
        first, *others = parts.values()
        return sum(others, first)

    # ------------------------------------------------------------------ rules

    def _contribution(self, node: Expr, position: int, g: Expr) -> Expr | None:
        """What a node's gradient adds to that of an operand, by the rule for it."""
        call = self.calls.get(id(node))
        if call is not None:
            if call.function is None:
                return g
            return call.function.contribution(position, g, node, call.operands, self.calls)
        if node.name in ("where", "cast"):
            return g
        return _by_row(node, position, g)


def _by_row(node: Expr, position: int, g: Expr) -> Expr:
    """A primitive's contribution, by the rule of the row of its name."""
    row, rule = _row(node.name), _rule(node.name, position)
    assert rule is not None
    known = {**dict(zip(row.names, row.defaults, strict=True)), "g": g, "y": node}
    for name, operand in zip(row.names, node.arguments, strict=False):
        known[name] = operand.arguments[0] if operand.name == "constant" else operand
    return rule(*[known[name] for name in Parameters(rule).names])


def _row(primitive: str) -> Op:
    return TABLE.get(primitive) or TABLE["_" + primitive]


@cache
def _rule(primitive: str, position: int) -> Rule | None:
    """The rule for an operand of a primitive; None if its derivative is zero."""
    row = _row(primitive)
    rule = row.rules.get(row.names[position])
    return None if rule is nothing else rule
