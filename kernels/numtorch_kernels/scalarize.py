"""Reading a Python function of numbers as an expression: its body, evaluated on symbols.

Branches on symbols are both evaluated and their results chosen from; loops are unrolled. What
follows a branch that may have left the function is evaluated as the other side of a choice, so that
an expression says under which conditions each of its parts counts.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Sequence
from types import FunctionType
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .expression import Expr
from .meanings import MEANINGS, OPERATORS, STRUCTURAL, Arithmetic, known, symbolic
from .source import Source

MOST_TURNS = 256  # of one loop: each is compiled by itself
MOST_IN_ALL = 2048  # turns of all loops of a function, which take some 20 seconds to compile
DEEPEST = 16  # calls within calls, beyond which functions are taken to call themselves

Variables = dict[str, Any]


class Exit(NamedTuple):
    """A way out of a block: by return, break or continue, where no earlier exit was taken."""

    kind: str
    condition: Any  # a symbol; True of an exit that is always taken
    payload: Any  # what is returned, or the variables at a break or continue


class Undecided:
    """What a variable is where some path that leads there gives it no value to choose."""


class ScalarFunction:
    """A function and those it calls, with the values that their names have at first use."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self._sources: dict[FunctionType, Source] = {}
        self._values: dict[tuple[FunctionType, str], Any] = {}
        self._attributes: dict[tuple[int, str], tuple[Any, Any]] = {}
        self.turns = 0  # of loops, in the evaluation that goes on
        self.source(function)

    def source(self, function: FunctionType) -> Source:
        """The text of a function, which is read and checked once."""
        found = self._sources.get(function)
        if found is None:
            found = Source(function)
            check(found)
            self._sources[function] = found
        return found

    def value(self, function: FunctionType, name: str) -> Any:
        """The value of a name that a function does not assign; KeyError if it has none."""
        key = (function, name)
        if key not in self._values:
            self._values[key] = _frozen(_outer_value(function, name))
        return self._values[key]

    def attribute(self, owner: Any, name: str) -> Any:
        """The value of an attribute of something outside the function."""
        key = (id(owner), name)
        if key not in self._attributes:
            self._attributes[key] = (owner, _frozen(getattr(owner, name)))
        return self._attributes[key][1]

    def evaluate(
        self, arguments: Sequence[Any], at: Arithmetic, notes: Any = None, depth: int = 0
    ) -> Any:
        """What the function gives for symbols and numbers: a symbol or a number.

        Calls of an object that has a method ``__inline__`` are left to it: it gets the calling
        :class:`Body`, which holds ``notes``, the arguments and those by keyword.
        """
        self.turns = 0
        result = Body(self, self.function, at, notes, depth).run(arguments, {})
        if not isinstance(result, Expr | bool | int | float):
            source = self.source(self.function)
            source.refuse(source.tree, f"a kernel returns one number, not {_article(result)}")
        return result


def _outer_value(function: FunctionType, name: str) -> Any:
    """The value of a name in the scopes around a function."""
    closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    if name in closure:
        try:
            return closure[name].cell_contents
        except ValueError:
            raise KeyError(name) from None
    space = function.__globals__ if name in function.__globals__ else vars(builtins)
    return space[name]


def _frozen(value: Any) -> Any:
    """A value from outside, as a number or a tuple of numbers if it is something like that."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        value = value.tolist()
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _article(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


# ---------------------------------------------------------------------- what is refused unread

_PHRASES: dict[str, str] = {
    "While": "a while loop",
    "AsyncFor": "an asynchronous loop",
    "Try": "a try statement",
    "TryStar": "a try statement",
    "With": "a with statement",
    "AsyncWith": "a with statement",
    "Yield": "a generator",
    "YieldFrom": "a generator",
    "Await": "await",
    "FunctionDef": "a function within the function",
    "AsyncFunctionDef": "a function within the function",
    "ClassDef": "a class",
    "Lambda": "a function within the function",
    "Raise": "a raise statement",
    "Assert": "an assert statement",
    "Global": "a global statement",
    "Nonlocal": "a nonlocal statement",
    "Delete": "a del statement",
    "Import": "an import",
    "ImportFrom": "an import",
    "Match": "a match statement",
    "NamedExpr": "an assignment within an expression",
    "ListComp": "a comprehension",
    "SetComp": "a comprehension",
    "DictComp": "a comprehension",
    "GeneratorExp": "a comprehension",
    "Dict": "a dict",
    "Set": "a set",
    "JoinedStr": "a string",
    "Starred": "an unpacking with *",
}


def check(source: Source) -> None:
    """Raises NotImplementedError naming the line of whatever a kernel cannot contain."""
    parameters = source.tree.args
    for parameter in (parameters.vararg, parameters.kwarg):
        if parameter is not None:
            source.refuse(parameter, "a kernel takes a fixed number of parameters")
    if isinstance(source.tree, ast.AsyncFunctionDef):
        source.refuse(source.tree, "a kernel is an ordinary function")
    for statement in source.body:
        for node in ast.walk(statement):
            _check_node(source, node)


def _check_node(source: Source, node: ast.AST) -> None:
    name = type(node).__name__
    if isinstance(node, ast.stmt | ast.expr) and not hasattr(Body, f"_{name}"):
        source.refuse(node, f"{_PHRASES.get(name, name)} is not supported in a kernel")
    if isinstance(node, ast.For) and node.orelse:
        source.refuse(node.orelse[0], "the else of a loop is not supported in a kernel")
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
        for part in parts:
            if isinstance(part, ast.expr) and not isinstance(part, ast.Name):
                source.refuse(part, "a kernel assigns to names and tuples of names only")
    operators = node.ops if isinstance(node, ast.Compare) else [getattr(node, "op", None)]
    for operator in operators:
        if isinstance(operator, ast.operator | ast.cmpop) and type(operator) not in OPERATORS:
            source.refuse(node, f"the operator {type(operator).__name__} is not supported")


# ---------------------------------------------------------------------- evaluation


class Body:
    """The evaluation of one function's body: a method for each kind of syntax.

    Methods of statements give the exits that they may take; those of expressions, a value.
    """

    def __init__(
        self,
        whole: ScalarFunction,
        function: FunctionType,
        at: Arithmetic,
        notes: Any,
        depth: int = 0,
    ) -> None:
        self.whole = whole
        self.function = function
        self.source = whole.source(function)
        self.at = at
        self.notes = notes
        self.depth = depth

    def run(self, arguments: Sequence[Any], named: Variables) -> Any:
        """What the function returns."""
        signature = inspect.signature(self.function, follow_wrapped=False)
        bound = signature.bind(*arguments, **named)
        bound.apply_defaults()
        tree = self.source.tree
        given = {name: self.usable(tree, _frozen(x)) for name, x in bound.arguments.items()}
        exits = self.block(self.source.body, given)
        if not _leaves(exits):
            last = self.source.body[-1]
            self.refuse(last, "a path through the function ends without a return")
        result = exits[-1].payload
        for each in reversed(exits[:-1]):
            result = self.choose(each.condition, each.payload, result)
        return self.chosen(tree, result)

    def refuse(self, node: ast.AST, what: str) -> NoReturn:
        """Raises the error for something in this function."""
        self.source.refuse(node, what)

    # ------------------------------------------------------------------ paths

    def block(self, statements: Sequence[ast.stmt], variables: Variables) -> list[Exit]:
        """Evaluates statements in turn, changing the variables, up to one that always leaves."""
        exits: list[Exit] = []
        for statement in statements:
            exits += self.visit(statement, variables)
            if _leaves(exits):
                break
        return exits

    def visit(self, node: ast.stmt | ast.expr, variables: Variables) -> Any:
        """Evaluates a statement or an expression, naming its line where Python itself refuses."""
        try:
            return getattr(self, f"_{type(node).__name__}")(node, variables)
        except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as error:
            self.refuse(node, f"{type(error).__name__}: {error}")

    def merge(self, condition: Expr, yes: Variables, no: Variables) -> Variables:
        """The variables after either of two paths."""
        merged: Variables = {}
        for name in yes | no:
            if name in yes and name in no:
                merged[name] = self.choose(condition, yes[name], no[name])
            else:
                merged[name] = Undecided()
        return merged

    def choose(self, condition: Any, a: Any, b: Any) -> Any:
        """One of two values, or what stands for values that cannot be chosen from."""
        if a is b:
            return a
        if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
            return tuple(self.choose(condition, *pair) for pair in zip(a, b, strict=True))
        if isinstance(a, Expr | bool | int | float) and isinstance(b, Expr | bool | int | float):
            return self.at.where(condition, a, b)
        return Undecided()

    def chosen(self, node: ast.AST, value: Any) -> Any:
        """A value that was chosen from two; refused if that was impossible."""
        if isinstance(value, Undecided):
            self.refuse(node, "the values of two branches are not of one kind")
        return value

    def absorb(
        self, kind: str, exits: list[Exit], variables: Variables | None
    ) -> tuple[Variables | None, list[Exit]]:
        """Joins the paths that leave by a kind of exit with the one that does not leave.

        Gives the variables after them, None where no path arrives, and the other exits.
        """
        others: list[Exit] = []
        left: Any = False
        for each in exits:
            if each.kind == kind:
                left = self.at.either(left, each.condition)
            else:
                condition = self.at.both(self.at.opposite(left), each.condition)
                others.append(each._replace(condition=condition))
        for each in reversed(exits):
            if each.kind == kind:
                if variables is None:
                    variables = each.payload
                else:
                    variables = self.merge(each.condition, each.payload, variables)
        return variables, others

    # ------------------------------------------------------------------ statements

    def _Return(self, node: ast.Return, variables: Variables) -> list[Exit]:
        if node.value is None:
            self.refuse(node, "a kernel returns a number")
        return [Exit("return", True, self.visit(node.value, variables))]

    def _Break(self, _: ast.Break, variables: Variables) -> list[Exit]:
        return [Exit("break", True, dict(variables))]

    def _Continue(self, _: ast.Continue, variables: Variables) -> list[Exit]:
        return [Exit("continue", True, dict(variables))]

    def _Pass(self, _: ast.Pass, __: Variables) -> list[Exit]:
        return []

    def _Expr(self, node: ast.Expr, _: Variables) -> list[Exit]:
        if not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):
            self.refuse(node, "a statement without an effect on the result")
        return []

    def _Assign(self, node: ast.Assign, variables: Variables) -> list[Exit]:
        value = self.visit(node.value, variables)
        for target in node.targets:
            self.assign(target, value, variables)
        return []

    def _AnnAssign(self, node: ast.AnnAssign, variables: Variables) -> list[Exit]:
        if node.value is not None:
            self.assign(node.target, self.visit(node.value, variables), variables)
        return []

    def _AugAssign(self, node: ast.AugAssign, variables: Variables) -> list[Exit]:
        assert isinstance(node.target, ast.Name)
        old = self._Name(node.target, variables)
        new = self.operate(node, node.op, old, self.visit(node.value, variables))
        self.assign(node.target, new, variables)
        return []

    def assign(self, target: ast.expr, value: Any, variables: Variables) -> None:
        """Gives a name, or each of a tuple of names, its value."""
        if isinstance(target, ast.Name):
            variables[target.id] = value
            return
        assert isinstance(target, ast.Tuple | ast.List)
        if not isinstance(value, tuple) or len(value) != len(target.elts):
            self.refuse(target, f"{len(target.elts)} values are needed here")
        for part, each in zip(target.elts, value, strict=True):
            self.assign(part, each, variables)

    def _If(self, node: ast.If, variables: Variables) -> list[Exit]:
        condition = self.truth(node.test, variables)
        if not isinstance(condition, Expr):
            return self.block(node.body if condition else node.orelse, variables)
        yes, no = dict(variables), dict(variables)
        first, second = self.block(node.body, yes), self.block(node.orelse, no)
        opposite = self.at.opposite(condition)
        if _leaves(first):
            # Whoever gets past these exits took the other path.
            variables |= no
            return self._under(condition, first) + second
        if _leaves(second):
            variables |= yes
            return self._under(opposite, second) + first
        merged = self.merge(condition, yes, no)
        variables.clear()
        variables |= merged
        return self._under(condition, first) + self._under(opposite, second)

    def _under(self, condition: Expr, exits: list[Exit]) -> list[Exit]:
        """The exits of a path that is taken where a condition holds."""
        return [each._replace(condition=self.at.both(condition, each.condition)) for each in exits]

    def _For(self, node: ast.For, variables: Variables) -> list[Exit]:
        leaving: list[Exit] = []
        ended: Variables | None = dict(variables)
        for item in self.items(node, variables):
            assert ended is not None
            self.whole.turns += 1
            if self.whole.turns > MOST_IN_ALL:
                self.refuse(node, f"the loops of a kernel have at most {MOST_IN_ALL} turns in all")
            self.assign(node.target, item, ended)
            exits = self.block(node.body, ended)
            ended, exits = self.absorb("continue", exits, None if _leaves(exits) else ended)
            leaving += exits
            if ended is None:
                break
        ended, leaving = self.absorb("break", leaving, ended)
        if ended is not None:
            variables.clear()
            variables |= ended
        return leaving

    def items(self, node: ast.For, variables: Variables) -> tuple[Any, ...]:
        """What a loop runs over."""
        items = self.visit(node.iter, variables)
        if not isinstance(items, tuple):
            self.refuse(node, f"a loop runs over a range or a tuple, not {_article(items)}")
        if len(items) > MOST_TURNS:
            self.refuse(node, f"a loop has at most {MOST_TURNS} turns, not {len(items)}")
        return items

    # ------------------------------------------------------------------ expressions

    def _Constant(self, node: ast.Constant, _: Variables) -> Any:
        if not isinstance(node.value, bool | int | float):
            self.refuse(node, f"a kernel computes with numbers, not with {node.value!r}")
        return node.value

    def _Name(self, node: ast.Name, variables: Variables) -> Any:
        if node.id in variables:
            value = variables[node.id]
            if isinstance(value, Undecided):
                self.refuse(node, f"{node.id} has no value, or none to choose, on some path here")
            return value
        if node.id in self.function.__code__.co_varnames:
            self.refuse(node, f"{node.id} has no value here")
        try:
            return self.usable(node, self.whole.value(self.function, node.id))
        except KeyError:
            self.refuse(node, f"name {node.id!r} is not defined")

    def _Attribute(self, node: ast.Attribute, variables: Variables) -> Any:
        owner = self.visit(node.value, variables)
        if isinstance(owner, Expr | bool | int | float | tuple):
            self.refuse(node, f"a number's attribute {node.attr!r} is not supported in a kernel")
        return self.usable(node, self.whole.attribute(owner, node.attr))

    def usable(self, node: ast.AST, value: Any) -> Any:
        """A value from outside, unless it is one that there is no use for."""
        if isinstance(value, str | bytes | complex | dict | set | None):
            self.refuse(node, f"a kernel computes with numbers, not with {_article(value)}")
        return value

    def _Tuple(self, node: ast.Tuple | ast.List, variables: Variables) -> tuple[Any, ...]:
        return tuple(self.visit(each, variables) for each in node.elts)

    _List = _Tuple

    def _Subscript(self, node: ast.Subscript, variables: Variables) -> Any:
        values = self.visit(node.value, variables)
        place = self.visit(node.slice, variables)
        if not isinstance(values, tuple) or symbolic(place):
            self.refuse(node, "a kernel takes elements of tuples, at places that are known")
        return values[place]

    def _Slice(self, node: ast.Slice, variables: Variables) -> slice:
        parts = (node.lower, node.upper, node.step)
        bounds = [None if each is None else self.visit(each, variables) for each in parts]
        if any(map(symbolic, bounds)):
            self.refuse(node, "a kernel takes elements of tuples, at places that are known")
        return slice(*bounds)

    def _IfExp(self, node: ast.IfExp, variables: Variables) -> Any:
        condition = self.truth(node.test, variables)
        if not isinstance(condition, Expr):
            return self.visit(node.body if condition else node.orelse, variables)
        a, b = self.visit(node.body, variables), self.visit(node.orelse, variables)
        return self.chosen(node, self.choose(condition, a, b))

    def truth(self, node: ast.expr, variables: Variables) -> Any:
        """The truth value of an expression: a symbol, or known."""
        return self.at.truth(self.visit(node, variables))

    def _BoolOp(self, node: ast.BoolOp, variables: Variables) -> Any:
        stops = isinstance(node.op, ast.Or)  # at the first operand of this truth
        value = self.visit(node.values[0], variables)
        for each in node.values[1:]:
            truth = self.at.truth(value)
            if not isinstance(truth, Expr):
                if truth is stops:
                    return value
                value = self.visit(each, variables)
                continue
            other = self.visit(each, variables)
            if truth is value and isinstance(other, Expr | bool):
                join = self.at.either if stops else self.at.both
                value = join(value, self.at.truth(other))
            else:
                pair = (value, other) if stops else (other, value)
                value = self.chosen(node, self.choose(truth, *pair))
        return value

    def _UnaryOp(self, node: ast.UnaryOp, variables: Variables) -> Any:
        value = self.visit(node.operand, variables)
        if isinstance(node.op, ast.Not):
            return self.at.opposite(self.at.truth(value))
        self.number(node, value)
        if isinstance(node.op, ast.USub):
            return self.at.negative(value) if isinstance(value, Expr) else -value
        if isinstance(node.op, ast.UAdd):
            return value
        return self.at.opposite(value) if isinstance(value, bool) else ~value

    def _BinOp(self, node: ast.BinOp, variables: Variables) -> Any:
        a, b = self.visit(node.left, variables), self.visit(node.right, variables)
        return self.operate(node, node.op, a, b)

    def operate(self, node: ast.AST, kind: ast.operator, a: Any, b: Any) -> Any:
        """The result of an operator on numbers, or on tuples without a symbol taking part."""
        if not (isinstance(a, tuple) or isinstance(b, tuple)):
            self.number(node, a)
            self.number(node, b)
        return self.at.binary(type(kind), a, b)

    def number(self, node: ast.AST, value: Any) -> None:
        """Refuses what is no number."""
        if not isinstance(value, Expr | bool | int | float):
            self.refuse(node, f"a kernel computes with numbers, not with {_article(value)}")

    def _Compare(self, node: ast.Compare, variables: Variables) -> Any:
        result: Any = True
        left = self.visit(node.left, variables)
        for kind, operand in zip(node.ops, node.comparators, strict=True):
            right = self.visit(operand, variables)
            self.number(node, left)
            self.number(node, right)
            result = self.at.both(result, self.at.compare(type(kind), left, right))
            left = right
        return result

    # ------------------------------------------------------------------ calls

    def _Call(self, node: ast.Call, variables: Variables) -> Any:
        callee = self.visit(node.func, variables)
        operands = [self.visit(each, variables) for each in node.args]
        named: Variables = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                self.refuse(node, "an unpacking with ** is not supported in a kernel")
            named[keyword.arg] = self.visit(keyword.value, variables)
        if self.depth >= DEEPEST:
            self.refuse(node, "functions that call themselves are not supported in a kernel")
        if hasattr(callee, "__inline__"):
            return callee.__inline__(self, operands, named)
        if callee in STRUCTURAL and not named:
            return self.structure(node, callee, operands)
        meaning = MEANINGS.get(callee)
        if meaning is not None:
            if symbolic((*operands, *named.values())):
                return meaning(self.at, *operands, **named)
            return known(callee, operands, named)
        if isinstance(callee, FunctionType):
            return self.inlined(node, callee, operands, named)
        name = getattr(callee, "__qualname__", type(callee).__name__)
        return self.refuse(node, f"a kernel cannot call {name}")

    def structure(self, node: ast.Call, callee: Any, operands: list[Any]) -> Any:
        """What a function of tuples gives, as a tuple or a number."""
        if any(isinstance(each, Expr) for each in operands):
            self.refuse(node, f"{callee.__name__} of a number that is not known in advance")
        value = callee(*operands)
        if isinstance(value, range) and len(value) > MOST_TURNS:
            self.refuse(node, f"a loop has at most {MOST_TURNS} turns, not {len(value)}")
        return value if isinstance(value, int) else tuple(value)

    def inlined(
        self, node: ast.Call, callee: FunctionType, operands: list[Any], named: Variables
    ) -> Any:
        """What another function of numbers gives."""
        try:
            body = Body(self.whole, callee, self.at, self.notes, self.depth + 1)
        except OSError as error:
            self.refuse(node, str(error))
        return body.run(operands, named)


def _leaves(exits: list[Exit]) -> bool:
    """Whether a block with these exits never reaches its end."""
    return bool(exits) and exits[-1].condition is True
