"""How a row is called: a Python function with PyTorch's signature, made of the row's parameters."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable
from functools import cache
from types import CodeType, FunctionType
from typing import Any, NoReturn

from ..dtype import type_name
from .apply import apply, apply_inplace

EMPTY = inspect.Parameter.empty

# Rows use the letters of textbooks; calls use PyTorch's keywords.
KEYWORDS = {"x": "input", "a": "input", "b": "other"}
SPELLINGS = {
    "axis": "dim",
    "keepdims": "keepdim",
    "x": "input",
    "a": "input",
    "x1": "input",
    "x2": "other",
    "axes": "dims",
}


class Parameters:
    """The parameters of a row's forward, read off its code (four times as fast as inspect)."""

    __slots__ = ("defaults", "gathers", "names", "positional")

    def __init__(self, function: Callable[..., Any]) -> None:
        code = function.__code__
        self.positional = code.co_argcount
        self.gathers = bool(code.co_flags & inspect.CO_VARARGS)  # the last one takes all the rest
        count = code.co_argcount + code.co_kwonlyargcount + self.gathers
        self.names = list(code.co_varnames[:count])
        given = function.__defaults__ or ()
        self.defaults = [EMPTY] * (code.co_argcount - len(given)) + list(given)
        named = function.__kwdefaults__ or {}
        self.defaults += [named.get(name, EMPTY) for name in self.names[code.co_argcount :]]


@cache
def _codes(defaults: tuple[bool, ...], positional: int, gathers: bool) -> tuple[CodeType, CodeType]:
    """The codes of a function and its in-place twin for one form of signature.

    The form is which parameters have defaults, how many are positional, and whether the last takes
    all the rest. Parameters are called p0, p1, ...: rows of one form share what is compiled.
    """
    head, values, unchanged = [], [], []
    for position, has_default in enumerate(defaults):
        if gathers and position == len(defaults) - 1:
            head.append(f"*p{position}")
            values.append(f"spread(p{position})")
            break
        if position == positional:
            head.append("*")
        head.append(f"p{position}=None" if has_default else f"p{position}")
        values.append(f"p{position}")
        if has_default:
            unchanged.append(f"p{position} is default{position}")
    named = [f"p{i} is default{i}" for i in range(positional, len(defaults))]
    if gathers or not all(defaults[positional:]):
        named = []
    star = [] if gathers or "*" in head else ["*"]
    inputs = values[: len(defaults) - sum(defaults)]
    namespace: dict[str, Any] = {}
    for function, path, extra, end in (
        ("function", "apply", [*star, "out=None"], ", out)"),
        ("twin", "apply_inplace", [], ")"),
    ):
        lines = [f"def {function}({', '.join([*head, *extra])}, **others):"]
        lines.append(f"    if others: return respell({function}, others, locals())")
        for given, same in ((inputs, unchanged), (values[:positional], named)):
            if same:
                lines.append(f"    if {' and '.join(same)}:")
                lines.append(f"        return {path}(op, ({', '.join(given)},){end}")
        lines.append(f"    return {path}(op, ({', '.join(values)},){end}")
        exec(compile("\n".join(lines), "<numtorch row>", "exec"), namespace)
    return namespace["function"].__code__, namespace["twin"].__code__


def make_functions(op: Any, name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The function of a row and its in-place twin, which call the dispatch path."""
    p = op.parameters
    spelled = {f"p{i}": _spelling(parameter) for i, parameter in enumerate(p.names)}
    namespace: dict[str, Any] = {"op": op, "apply": apply, "apply_inplace": apply_inplace}
    namespace |= {"respell": respell, "spread": spread}
    namespace |= {f"default{i}": default for i, default in enumerate(p.defaults)}
    given = tuple(default for default in p.defaults[: p.positional] if default is not EMPTY)
    named = {
        _spelling(parameter): default
        for parameter, default in zip(p.names, p.defaults, strict=True)
        if default is not EMPTY and parameter not in p.names[: p.positional]
    }
    form = tuple(default is not EMPTY for default in p.defaults)
    made = []
    for code, title, key in zip(
        _codes(form, p.positional, p.gathers), (name, name + "_"), ("function", "twin"), strict=True
    ):
        renamed = code.replace(
            co_name=title,
            co_qualname=title,
            co_varnames=tuple(spelled.get(each, each) for each in code.co_varnames),
        )
        function = FunctionType(renamed, namespace, title, given)
        function.__kwdefaults__ = {**named, "out": None} if key == "function" else named
        function.__module__, function.__doc__ = "torch", op.summary
        namespace[key] = function
        made.append(function)
    return made[0], made[1]


def _spelling(parameter: str) -> str:
    """The keyword by which a call gives a parameter of a row."""
    spelled = KEYWORDS.get(parameter, parameter)
    return spelled + "_" if keyword.iskeyword(spelled) else spelled


def spread(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The sizes or dims of ``view(2, 3)``, ``view((2, 3))`` and ``view([2, 3])`` alike."""
    if len(values) == 1 and isinstance(values[0], list | tuple):
        return tuple(values[0])
    return values


def respell(function: Callable[..., Any], others: dict[str, Any], given: dict[str, Any]) -> Any:
    """Calls again with NumPy's keywords replaced by PyTorch's; TypeError for unknown ones."""
    code = function.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    names = code.co_varnames[:count]
    gathered = code.co_varnames[count] if code.co_flags & inspect.CO_VARARGS else None
    arguments = {name: given[name] for name in names}
    sizes = given[gathered] if gathered else ()
    for name, value in others.items():
        spelled = name if name == gathered else SPELLINGS.get(name)
        if spelled is not None and spelled == gathered:
            sizes = (value,)
        elif spelled in names:
            arguments[spelled] = value
        else:
            unexpected(function.__name__, name)
    if gathered:
        first = [arguments.pop(name) for name in code.co_varnames[: code.co_argcount]]
        return function(*first, *sizes, **arguments)
    return function(**arguments)


def unexpected(function: str, name: str) -> NoReturn:
    """Raises the error for a keyword that a function does not have."""
    raise TypeError(f"{function}() got an unexpected keyword argument '{name}'")


def must_be_tensor(function: str, name: str, position: int, value: Any) -> NoReturn:
    """Raises PyTorch's error for an argument that must be a tensor."""
    raise TypeError(
        f"{function}(): argument '{name}' (position {position}) must be Tensor, "
        f"not {type_name(type(value))}"
    )
