"""How a row is called: a Python function with PyTorch's signature, made of the row's parameters."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable
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


def make_functions(op: Any, name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The function of a row and its in-place twin, which call the dispatch path."""
    p = op.parameters
    head, values, unchanged = [], [], []
    namespace: dict[str, Any] = {"op": op, "apply": apply, "apply_inplace": apply_inplace}
    namespace |= {"respell": respell, "spread": spread}
    for position, (parameter, default) in enumerate(zip(p.names, p.defaults, strict=True)):
        spelled = KEYWORDS.get(parameter, parameter)
        spelled += "_" if keyword.iskeyword(spelled) else ""
        if p.gathers and position == len(p.names) - 1:
            head.append(f"*{spelled}")
            values.append(f"spread({spelled})")
            break
        if position == p.positional:
            head.append("*")
        if default is EMPTY:
            head.append(spelled)
        else:
            namespace[f"default{position}"] = default
            head.append(f"{spelled}=default{position}")
            unchanged.append(f"{spelled} is default{position}")
        values.append(spelled)
    star = [] if p.gathers or "*" in head else ["*"]
    inputs = values[: sum(default is EMPTY for default in p.defaults)]
    lines = []
    for function, path, extra, end in (
        (name, "apply", [*star, "out=None"], ", out)"),
        (name + "_", "apply_inplace", [], ")"),
    ):
        lines.append(f"def {function}({', '.join([*head, *extra])}, **others):")
        lines.append(f"    if others: return respell({function}, others, locals())")
        if unchanged:
            lines.append(f"    if {' and '.join(unchanged)}:")
            lines.append(f"        return {path}(op, ({', '.join(inputs)},){end}")
        lines.append(f"    return {path}(op, ({', '.join(values)},){end}")
    exec(compile("\n".join(lines), f"<{name}>", "exec"), namespace)
    made = namespace[name], namespace[name + "_"]
    for function in made:
        function.__module__ = "torch"
        function.__doc__ = op.summary
    return made


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
