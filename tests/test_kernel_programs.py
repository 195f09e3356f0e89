"""Random programs: read as expressions, they compute what Python computes, derivatives included.

Python runs them on numbers that carry their derivative; so only branches that are taken count.
"""

from __future__ import annotations

import linecache
import math
import operator
import textwrap
from itertools import count
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from numtorch.ops.formula import Formula
from numtorch.userkernel import Kernel
from numtorch_kernels.expression import Expr, nodes_of, symbol

F64 = np.dtype("float64")
POINTS = np.array([[0.0, 0.0], [1.5, 0.0], [-0.7, 2.1], [0.3, -1.2], [2.6, 0.9], [-1.9, -0.4]])


# ---------------------------------------------------------------------- programs

NAMES = ("x", "y", "a", "b")
leaves = st.sampled_from((*NAMES, *NAMES, "0.5", "2.0", "1", "0"))


def _expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: "({} {} {})".format(*t))
    functions = st.sampled_from(("math.sin", "math.log", "math.sqrt", "abs", "-"))
    unary = st.tuples(functions, inner).map(lambda t: "{}({})".format(*t))
    either = st.tuples(inner, conditions(inner), inner)
    return binary | unary | either.map(lambda t: "({} if {} else {})".format(*t))


def conditions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    comparison = st.tuples(inner, st.sampled_from(("<", ">=", "!=")), inner).map(" ".join)
    several = st.tuples(comparison, st.sampled_from(("and", "or", "and not")), comparison)
    return comparison | several.map(" ".join) | st.just("0 < x <= y")


expressions = st.recursive(leaves, _expressions, max_leaves=4)
assignments = st.tuples(
    st.sampled_from(("a", "b")), st.sampled_from(("=", "+=", "*=")), expressions
).map(" ".join)
returns = expressions.map("return {}".format)
leaving = st.sampled_from(("break", "continue"))


def _block(statements: list[str]) -> str:
    return textwrap.indent("\n".join(statements), "    ")


def _branches(t: tuple[str, list[str], list[str]]) -> str:
    condition, yes, no = t
    return f"if {condition}:\n{_block(yes)}" + (f"\nelse:\n{_block(no)}" if no else "")


def _statements(depth: int, looping: bool) -> st.SearchStrategy[list[str]]:
    one = assignments | assignments | returns
    if looping:
        once = st.tuples(conditions(leaves), leaving | returns)
        one |= leaving | once.map(lambda t: f"if {t[0]}:\n{_block([t[1]])}")
    if depth:
        inside = _statements(depth - 1, looping)
        one |= st.tuples(conditions(leaves), inside, st.just([]) | inside).map(_branches)
        turns = st.tuples(st.integers(0, 3), _statements(depth - 1, True))
        one |= turns.map(lambda t: f"for _ in range({t[0]}):\n{_block(t[1])}")
    return st.lists(one, min_size=1, max_size=3)


programs = st.tuples(_statements(3, False), expressions).map(
    lambda t: f"def f(x, y):\n    a = 0.5\n    b = x\n{_block(t[0])}\n    return {t[1]}\n"
)


# ---------------------------------------------------------------------- by Python


class Dual:
    """A number with its derivatives by x and y; its parts may be such numbers themselves."""

    def __init__(self, value: Any, slopes: tuple[Any, Any] = (0.0, 0.0)) -> None:
        self.value = value
        self.slopes = slopes

    def along(self, value: Any, *steps: tuple[Any, Any]) -> Dual:
        """A result, given its derivative by each operand and the operand."""
        slopes = [sum(d * x.slopes[i] for d, x in steps) for i in (0, 1)]
        return Dual(value, (slopes[0], slopes[1]))

    def __add__(self, o: Any) -> Dual:
        o = dual(o)
        return self.along(self.value + o.value, (1.0, self), (1.0, o))

    def __neg__(self) -> Dual:
        return self.along(-self.value, (-1.0, self))

    def __mul__(self, o: Any) -> Dual:
        o = dual(o)
        return self.along(self.value * o.value, (o.value, self), (self.value, o))

    def __truediv__(self, o: Any) -> Dual:
        o = dual(o)
        value = self.value / o.value
        return self.along(value, (1.0 / o.value, self), (-value / o.value, o))

    def __sub__(self, o: Any) -> Dual:
        return self + -dual(o)

    def __rsub__(self, o: Any) -> Dual:
        return dual(o) - self

    def __rtruediv__(self, o: Any) -> Dual:
        return dual(o) / self

    def __abs__(self) -> Dual:
        sign = (self > 0) - (self < 0)
        return self.along(abs(self.value), (float(sign), self))

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, o: Any) -> bool:
        return plain(self) < plain(o)

    def __le__(self, o: Any) -> bool:
        return plain(self) <= plain(o)

    def __gt__(self, o: Any) -> bool:
        return plain(self) > plain(o)

    def __ge__(self, o: Any) -> bool:
        return plain(self) >= plain(o)

    def __ne__(self, o: object) -> bool:
        return plain(self) != plain(o)

    __hash__ = None  # type: ignore[assignment]


def dual(x: Any) -> Dual:
    return x if isinstance(x, Dual) else Dual(x)


def plain(x: Any) -> Any:
    return plain(x.value) if isinstance(x, Dual) else x


def sin(x: Any) -> Any:
    return x.along(sin(x.value), (cos(x.value), x)) if isinstance(x, Dual) else math.sin(x)


def cos(x: Any) -> Any:
    return x.along(cos(x.value), (-sin(x.value), x)) if isinstance(x, Dual) else math.cos(x)


def log(x: Any) -> Any:
    return x.along(log(x.value), (1.0 / x.value, x)) if isinstance(x, Dual) else math.log(x)


def sqrt(x: Any) -> Any:
    if not isinstance(x, Dual):
        return math.sqrt(x)
    value = sqrt(x.value)
    return x.along(value, (0.5 / value, x))


MATH = SimpleNamespace(sin=sin, log=log, sqrt=sqrt)


def by_python(text: str, x: float, y: float) -> list[float] | None:
    """The value, the slopes and the slopes' slopes at a point; None where Python refuses."""
    space: dict[str, Any] = {"math": MATH}
    exec(text, space)
    try:
        one = Dual(Dual(x, (1.0, 0.0)), (1.0, 0.0))
        two = Dual(Dual(y, (0.0, 1.0)), (0.0, 1.0))
        result = dual(space["f"](one, two))
    except (ZeroDivisionError, ValueError, OverflowError):
        return None
    slopes = [dual(each) for each in result.slopes]
    return [plain(result), *map(plain, slopes), *(plain(d) for each in slopes for d in each.slopes)]


# ---------------------------------------------------------------------- by expressions

PLAIN: dict[str, Any] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "neg": operator.neg, "lt": operator.lt, "le": operator.le, "gt": operator.gt,
    "ge": operator.ge, "eq": operator.eq, "ne": operator.ne, "bitwise_and": operator.and_,
    "bitwise_or": operator.or_, "bitwise_not": operator.invert, "where": np.where, "sin": np.sin,
    "cos": np.cos, "log": np.log, "sqrt": np.sqrt, "abs": np.abs, "sign": np.sign,
}  # fmt: skip


def value_of(output: Expr, inputs: dict[str, Any]) -> Any:
    """The value of an expression by NumPy, without compiling it."""
    known: dict[int, Any] = {}

    def visit(node: Expr) -> Any:
        if id(node) not in known:
            if node.name == "input":
                known[id(node)] = inputs[node.key]
            elif node.name == "constant":
                known[id(node)] = np.asarray(node.arguments[0], node.dtype)
            elif node.name == "cast":
                known[id(node)] = visit(node.arguments[0]).astype(node.dtype)
            else:
                known[id(node)] = PLAIN[node.name](*map(visit, node.arguments))
        return known[id(node)]

    with np.errstate(all="ignore"):
        return np.broadcast_to(visit(output), POINTS.shape[:1])


def by_expressions(function: FunctionType) -> list[Any]:
    """The same as :func:`by_python` at all points, by gradients of gradients."""
    formula = Kernel(function)._formula
    x, y, g = (symbol(i, F64) for i in range(3))
    values = {x.key: POINTS[:, 0], y.key: POINTS[:, 1], g.key: np.ones(len(POINTS))}
    results = [value_of(formula.trace([x, y], {}), values)]
    first, second = [], []
    for position in (0, 1):
        slope = formula.derivative(position)
        if slope is None:
            first.append(np.zeros(len(POINTS)))
            second += [np.zeros(len(POINTS))] * 2
            continue
        operands = {"g": g, "x0": x, "x1": y}
        inputs = [operands[name] for name in slope.names]
        first.append(value_of(slope.formula.trace(inputs, {}), values))
        for other in ("x0", "x1"):
            second.append(_second(slope.formula, slope.names, other, inputs, values))
    return [*results, *first, *second]


def _second(
    formula: Formula, names: list[str], other: str, inputs: list[Expr], values: dict[str, Any]
) -> Any:
    """The value of the derivative of a derivative, whose inputs are the symbols of ``names``."""
    again = formula.derivative(names.index(other)) if other in names else None
    if again is None:
        return np.zeros(len(POINTS))
    start = symbol(2, F64)  # all ones
    operands = [start if name == "g" else inputs[int(name[1:])] for name in again.names]
    return value_of(again.formula.trace(operands, {}), values)


numbers = count()


def compiled(text: str) -> FunctionType:
    """The function of a text, whose source can be found."""
    name = f"<program {next(numbers)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {"math": math}
    exec(compile(text, name, "exec"), space)
    return space["f"]  # type: ignore[no-any-return]


# A value used on two paths that share but a part of their conditions.
SHARED = """def f(x, y):
    a = 0.5
    if 0 < x <= y:
        a = x / x
        if a < x:
            return a
    return a
"""


@settings(max_examples=300)
@example(SHARED)
@given(programs)
def test_programs(text: str) -> None:
    try:
        found = by_expressions(compiled(text))
    except NotImplementedError as error:
        if not isinstance(error.__context__, ArithmeticError | ValueError):
            raise
        return  # such as log(0), of a number alone
    for place, (x, y) in enumerate(POINTS.tolist()):
        expected = by_python(text, x, y)
        if expected is None or not np.all(np.abs(expected) < 1e5):
            continue
        actual = [each[place] for each in found]
        np.testing.assert_allclose(actual, expected, 1e-7, 1e-7, err_msg=f"{text}\nat {x}, {y}")


def test_nodes_are_given_once() -> None:
    x = symbol(0, F64)
    assert [node.name for node in nodes_of(x * x)] == ["mul", "input"]
