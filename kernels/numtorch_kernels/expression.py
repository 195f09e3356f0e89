"""Scalar expressions: what a pointwise operation computes for one element.

An operation is written as a plain function, ``lambda x: s.tanh(x) * 2``. Called on symbols it gives
a tree of :class:`Expr` nodes with dtypes, which :func:`render` turns into the statements of a loop
body. The functions of :mod:`.symbols` (``s``) accept symbols, ndarrays and tensors alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .scalar.trigonometric import TRIG_BOUND_F32, TRIG_BOUND_F64

Number = bool | int | float
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
INT64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)


@dataclass(frozen=True)
class Primitive:
    """How one function of scalars is written, for each kind of operand.

    Templates name operands ``{0}``, ``{1}``, ...; ``{suffix}`` is ``f32`` or ``f64``, ``{width}``
    the number of bits. ``result`` is "same" (the operands' common dtype) or "bool". ``near`` may be
    written instead where the operand's magnitude is below a bound.
    """

    floating: str | None = None
    integer: str | None = None
    boolean: str | None = None
    result: str = "same"
    near: str | None = None

    def template(self, name: str, dtype: np.dtype[Any]) -> str:
        """The text for operands of a dtype; TypeError where there is none."""
        text = {"f": self.floating, "b": self.boolean}.get(dtype.kind, self.integer)
        if text is None:
            raise TypeError(f"{name} is not defined for {dtype.name}")
        return text


def _everywhere(text: str, result: str = "same") -> Primitive:
    return Primitive(text, text, text, result)


def _compiled(name: str, operands: int = 1) -> Primitive:
    """A function of :mod:`.scalar`, which has a version for either floating dtype."""
    arguments = ", ".join(f"{{{i}}}" for i in range(operands))
    return Primitive(floating=f"{name}_{{suffix}}({arguments})")


_SIGN = "select({0} > 0, {dtype}(1), select({0} < 0, {dtype}(-1), {dtype}(0)))"

_COMPILED = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sigmoid", "erf", "erfc",
    "erfinv", "rsqrt",
)  # fmt: skip

_WAVES = ("sin", "cos")
_BOUNDS = {FLOAT32: TRIG_BOUND_F32, FLOAT64: TRIG_BOUND_F64}

PRIMITIVES: dict[str, Primitive] = {
    "add": Primitive("{0} + {1}", "{0} + {1}", "{0} | {1}"),
    "sub": Primitive("{0} - {1}", "{0} - {1}"),
    "mul": Primitive("{0} * {1}", "{0} * {1}", "{0} & {1}"),
    "div": Primitive("{0} / {1}"),
    "neg": Primitive("-{0}", "-{0}"),
    "abs": Primitive("fabs({0})", "abs({0})", "{0}"),
    "sign": Primitive(_SIGN, _SIGN, "{0}"),
    "floor_divide": Primitive("float_floor_divide({0}, {1})", "int_floor_divide({0}, {1})"),
    "trunc_divide": Primitive("trunc({0} / {1})", "int_trunc_divide({0}, {1})"),
    "remainder": Primitive("float_remainder({0}, {1})", "int_remainder({0}, {1})"),
    "fmod": Primitive("fmod({0}, {1})", "int_fmod({0}, {1})"),
    "pow": Primitive("pow_{suffix}({0}, {1})", "int_pow({0}, {1})"),
    "lt": _everywhere("{0} < {1}", "bool"),
    "le": _everywhere("{0} <= {1}", "bool"),
    "gt": _everywhere("{0} > {1}", "bool"),
    "ge": _everywhere("{0} >= {1}", "bool"),
    "eq": _everywhere("{0} == {1}", "bool"),
    "ne": _everywhere("{0} != {1}", "bool"),
    "minimum": Primitive("minimum({0}, {1})", "minimum({0}, {1})", "{0} & {1}"),
    "maximum": Primitive("maximum({0}, {1})", "maximum({0}, {1})", "{0} | {1}"),
    "bitwise_and": Primitive(None, "{0} & {1}", "{0} & {1}"),
    "bitwise_or": Primitive(None, "{0} | {1}", "{0} | {1}"),
    "bitwise_xor": Primitive(None, "{0} ^ {1}", "{0} ^ {1}"),
    "bitwise_not": Primitive(None, "~{0}", "not {0}"),
    "bitwise_left_shift": Primitive(None, "shift_left({0}, {1}, {width})"),
    "bitwise_right_shift": Primitive(None, "shift_right({0}, {1}, {width})"),
    "sqrt": Primitive("sqrt({0})"),
    "floor": Primitive("floor({0})", "{0}"),
    "ceil": Primitive("-floor(-{0})", "{0}"),
    "trunc": Primitive("trunc({0})", "{0}"),
    "round": Primitive("rint({0})", "{0}"),
    "copysign": Primitive("copysign({0}, {1})"),
    **{name: _compiled(name) for name in _COMPILED},
    **{name: replace(_compiled(name), near=f"{name}_bounded_{{suffix}}({{0}})") for name in _WAVES},
    "atan2": _compiled("atan2", 2),
}


_LONGEST_KEY = 80  # characters; what is longer is known by its digest, or keys would double


def _key(text: str) -> str:
    """A short text that is the same for equal texts only."""
    if len(text) <= _LONGEST_KEY:
        return text
    return "#" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Expr:
    """A node: an input, a constant, or a primitive applied to nodes."""

    __slots__ = ("arguments", "dtype", "key", "name")

    def __init__(
        self, name: str, arguments: tuple[Any, ...], dtype: np.dtype[Any], key: str = ""
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.dtype = dtype
        self.key = key or _key(f"{name}:{dtype.char}({','.join(a.key for a in arguments)})")

    def __repr__(self) -> str:
        return self.key

    def __bool__(self) -> bool:
        raise TypeError("a symbol has no truth value; use s.where(condition, a, b)")

    def __add__(self, other: Any) -> Expr:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return apply("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return apply("sub", other, self)

    def __mul__(self, other: Any) -> Expr:
        return apply("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return apply("mul", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return apply("div", other, self)

    def __pow__(self, other: Any) -> Expr:
        return apply("pow", self, other)

    def __neg__(self) -> Expr:
        return apply("neg", self)

    def __lt__(self, other: Any) -> Expr:
        return apply("lt", self, other)

    def __le__(self, other: Any) -> Expr:
        return apply("le", self, other)

    def __gt__(self, other: Any) -> Expr:
        return apply("gt", self, other)

    def __ge__(self, other: Any) -> Expr:
        return apply("ge", self, other)

    def __eq__(self, other: object) -> Expr:  # type: ignore[override]
        return apply("eq", self, other)

    def __ne__(self, other: object) -> Expr:  # type: ignore[override]
        return apply("ne", self, other)

    def __and__(self, other: Any) -> Expr:
        return apply("bitwise_and", self, other)

    def __or__(self, other: Any) -> Expr:
        return apply("bitwise_or", self, other)

    def __xor__(self, other: Any) -> Expr:
        return apply("bitwise_xor", self, other)

    def __invert__(self) -> Expr:
        return apply("bitwise_not", self)

    __hash__ = object.__hash__


def symbol(index: int, dtype: np.dtype[Any]) -> Expr:
    """The input at a position."""
    return Expr("input", (), dtype, f"x{index}:{dtype.char}")


def constant(value: Number, dtype: np.dtype[Any]) -> Expr:
    """A number of a dtype."""
    return Expr("constant", (value,), dtype, f"{value!r}:{dtype.char}")


_KIND_ORDER = {"b": 0, "u": 1, "i": 1, "f": 2}


def common_dtype(operands: Sequence[Any]) -> np.dtype[Any]:
    """The dtype that operands meet in: symbols decide, numbers only raise the kind."""
    dtypes = [x.dtype for x in operands if isinstance(x, Expr)]
    meeting = max(dtypes, key=lambda d: (_KIND_ORDER[d.kind], d.itemsize, d.kind == "i"))
    if meeting.kind in "iu" and any(d.kind != meeting.kind and d.kind in "iu" for d in dtypes):
        meeting = np.result_type(*[d for d in dtypes if d.kind in "iu"])
    for x in operands:
        if isinstance(x, float) and meeting.kind != "f":
            return FLOAT32
        if isinstance(x, int) and not isinstance(x, bool) and meeting.kind == "b":
            meeting = INT64
    return meeting


def cast(x: Any, dtype: np.dtype[Any]) -> Expr:
    """The operand in a dtype."""
    if not isinstance(x, Expr):
        return constant(x, dtype)
    return x if x.dtype == dtype else Expr("cast", (x,), dtype)


def apply(name: str, *operands: Any) -> Expr:
    """A primitive applied to symbols and numbers, all cast to their common dtype."""
    dtype = common_dtype(operands)
    if name == "div" and dtype.kind != "f":
        dtype = FLOAT32
    primitive = PRIMITIVES[name]
    primitive.template(name, dtype)
    if name == "mul":
        for number, other in (operands, operands[::-1]):
            if not isinstance(number, Expr) and number == 1 and other.dtype == dtype:
                return other
    result = BOOL if primitive.result == "bool" else dtype
    return Expr(name, tuple(cast(x, dtype) for x in operands), result)


def where(condition: Any, a: Any, b: Any) -> Expr:
    """The element of a where the condition holds, else of b; both sides are computed."""
    dtype = common_dtype([x for x in (a, b) if isinstance(x, Expr)] or [constant(0.0, FLOAT32)])
    return Expr("where", (cast(condition, BOOL), cast(a, dtype), cast(b, dtype)), dtype)


def _constant_text(value: Number, dtype: np.dtype[Any]) -> str:
    if dtype.kind == "b":
        return repr(bool(value))
    if dtype.kind == "f":
        return f"{dtype.name}({float(value)!r})"
    return f"{dtype.name}({int(value)})"


def _cast_text(operand: str, source: np.dtype[Any], target: np.dtype[Any]) -> str:
    if target.kind == "b":
        return f"{operand} != 0"
    if source.kind == "f" and target.kind in "iu":
        whole = f"to_int{64 if target == INT64 else 32}({operand})"
        return whole if target.itemsize >= 4 else f"{target.name}({whole})"
    return f"{target.name}({operand})"


def _statement(node: Expr, operands: list[str], near: bool) -> str:
    if node.name == "where":
        return "select({}, {}, {})".format(*operands)
    operand = node.arguments[0].dtype
    if node.name == "cast":
        return _cast_text(operands[0], operand, node.dtype)
    suffix = {FLOAT32: "f32", FLOAT64: "f64"}.get(operand, "")
    primitive = PRIMITIVES[node.name]
    text = (near and primitive.near) or primitive.template(node.name, operand)
    text = text.format(*operands, suffix=suffix, width=8 * operand.itemsize, dtype=node.dtype.name)
    narrow = node.dtype.kind in "iu" and node.dtype != INT64
    return f"{node.dtype.name}({text})" if narrow else text


def _operands(node: Expr) -> tuple[Expr, ...]:
    return () if node.name == "constant" else node.arguments


def nodes_of(*outputs: Expr) -> Iterator[Expr]:
    """The distinct nodes of expressions, each before its operands."""
    seen: set[str] = set()
    pending = list(reversed(outputs))
    while pending:
        node = pending.pop()
        if node.key not in seen:
            seen.add(node.key)
            yield node
            pending += reversed(_operands(node))


def _operands_first(outputs: Sequence[Expr]) -> Iterator[Expr]:
    """The distinct nodes of expressions, each after its operands."""
    done: set[str] = set()
    pending = list(reversed(outputs))
    while pending:  # no recursion: an unrolled loop is hundreds of nodes deep
        node = pending[-1]
        missing = [x for x in _operands(node) if x.key not in done]
        if missing and node.key not in done:
            pending += reversed(missing)
            continue
        pending.pop()
        if node.key not in done:
            done.add(node.key)
            yield node


def nearness(outputs: Sequence[Expr]) -> Expr | None:
    """Whether all operands are within their bounds; None if there are no bounds."""
    condition: Expr | None = None
    for node in nodes_of(*outputs):
        if node.name in PRIMITIVES and PRIMITIVES[node.name].near:
            (operand,) = node.arguments
            holds = apply("lt", apply("abs", operand), _BOUNDS[operand.dtype])
            condition = holds if condition is None else condition & holds
    return condition


def render(outputs: Sequence[Expr], near: bool = False) -> tuple[list[str], list[str]]:
    """Statements that compute each distinct node once, and the name of each output.

    If they are ``near``, they suppose that :func:`nearness` holds.
    """
    lines: list[str] = []
    names: dict[str, str] = {}
    for node in _operands_first(outputs):
        if node.name == "input":
            names[node.key] = node.key.split(":")[0]
        elif node.name == "constant":
            names[node.key] = _constant_text(node.arguments[0], node.dtype)
        else:
            text = names[node.key] = f"t{len(lines)}"
            lines.append(
                f"{text} = {_statement(node, [names[x.key] for x in node.arguments], near)}"
            )
    return lines, [names[node.key] for node in outputs]


def substituted(outputs: Sequence[Expr], inputs: Mapping[str, Expr]) -> list[Expr]:
    """The expressions with each input replaced by the expression that stands under its key."""
    made: dict[str, Expr] = {}
    for node in _operands_first(outputs):
        if node.name == "input":
            made[node.key] = inputs[node.key]
        elif node.name == "constant":
            made[node.key] = node
        else:
            operands = tuple([made[x.key] for x in node.arguments])
            made[node.key] = Expr(node.name, operands, node.dtype)
    return [made[node.key] for node in outputs]


def trace(function: Callable[..., Any], dtypes: Sequence[np.dtype[Any]], **numbers: Any) -> Any:
    """The expression(s) that a function gives for inputs of these dtypes."""
    return function(*(symbol(i, dtype) for i, dtype in enumerate(dtypes)), **numbers)
