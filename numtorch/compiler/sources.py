"""What a function's result depends on, and the code that checks that it is still the same.

Arguments, closed-over values and globals are followed into lists, dictionaries, modules, optimizers
and the user's own objects and functions. A tensor becomes an input; of everything else the value,
or if it is none that can be compared the identity, must stay as it was.
"""

from __future__ import annotations

import collections
import dis
import functools
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..autograd.graph import Run
from ..dtype import dtype
from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..size import Size
from ..tensor import Tensor

MOST_SOURCES = 4096  # that checking at each call is worth
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range)
_COMPARED = (dtype, np.dtype, np.generic, Size)
_OPAQUE = (types.ModuleType, type, types.BuiltinFunctionType)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_OUTSIDE = frozenset({"print", "input", "open", "breakpoint"})
_GLOBAL_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_CLOCKS = frozenset({"time", "datetime"})
_LIBRARIES = {
    "torch",
    "numtorch",
    "numtorch_kernels",
    "numpy",
    "numba",
    *sys.stdlib_module_names,
} - {"__main__"}


class Unsupported(Exception):
    """Why a function cannot be compiled."""


class Impure(Exception):
    """Why a call cannot be repeated without running its Python."""


def is_library(module: str | None) -> bool:
    """Whether what is in a module is taken to stay as it is."""
    return (module or "").partition(".")[0] in _LIBRARIES


def _is_of_library(function: Any) -> bool:
    """Whether a function is a library's, whatever it says: what wraps another repeats its names."""
    return is_library(function.__globals__.get("__name__"))


class Source:
    """A tensor that a function uses, how the checking code calls it, and how it was found."""

    __slots__ = ("array", "grad", "leaf", "name", "needs_grad", "tensor", "version")

    def __init__(self, tensor: Tensor, name: str) -> None:
        self.tensor = tensor
        self.name = name
        self.array = tensor._array
        self.grad = tensor._grad
        self.needs_grad = tensor.requires_grad
        self.leaf = tensor._node is None
        self.version = tensor._version


class Sources:
    """Follows values, and writes the code that finds and checks them."""

    def __init__(self) -> None:
        self.lines: list[str] = []  # checks of values, at every call
        self.settled: list[str] = []  # checks of modules, when one of them was changed
        self.checks: list[str] = []  # checks of tensors
        self.names: dict[str, Any] = {}  # what the code refers to
        self.tensors: list[Source] = []
        self.arrays: list[tuple[str, np.ndarray[Any, Any]]] = []
        self.optimizers: list[Optimizer] = []
        self._known: dict[int, str] = {}
        self._attributes: set[str] = set()
        self._inside = 0  # modules that are being followed
        self._codes: set[types.CodeType] = set()
        self.talks = False  # whether some code prints, reads, or looks at a clock

    # ------------------------------------------------------------------ writing code

    def bind(self, value: Any) -> str:
        """A name for an object in the code."""
        name = f"k{len(self.names)}"
        self.names[name] = value
        return name

    def check(self, condition: str) -> None:
        """Writes that a condition must hold."""
        if len(self.lines) + len(self.settled) > MOST_SOURCES:
            raise Unsupported(f"it depends on more than {MOST_SOURCES} values")
        where = self.settled if self._inside else self.lines
        where.append(f"if not ({condition}): return None")

    # ------------------------------------------------------------------ following values

    def follow(self, value: Any, path: str) -> None:
        """Follows the value that is found under a path."""
        known = self._known.get(id(value))
        if isinstance(value, _PLAIN):
            self._follow_plain(value, path)
        elif known is not None:
            self.check(f"{path} is {known}")
        elif isinstance(value, Tensor):
            self._follow_tensor(value, path)
        elif isinstance(value, np.ndarray):
            self._known[id(value)] = name = self._variable(path)
            self.check(f"{name}.__class__ is {self.bind(type(value))}")
            self.arrays.append((name, value))
        elif isinstance(value, list | tuple) and not isinstance(value, Size):
            self._follow_items(value, path)
        elif isinstance(value, dict):
            self._follow_dictionary(value, path)
        elif isinstance(value, _COMPARED):
            self.check(f"{path} == {self.bind(value)}")
        else:
            self._follow_object(value, path)

    def _variable(self, path: str) -> str:
        """A local variable of the code that holds what is under a path."""
        if path in self.names:
            return path
        name = f"v{len(self._known)}"
        self.lines.append(f"{name} = {path}")
        return name

    def _follow_plain(self, value: Any, path: str) -> None:
        if value is None or isinstance(value, bool) or value is Ellipsis:
            self.check(f"{path} is {value!r}")
        else:
            bound = self.bind(value)
            same = f"{path}.__class__ is {bound}.__class__"
            self.check(f"{path} is {bound} or ({same} and {path} == {bound})")

    def _follow_tensor(self, value: Tensor, path: str) -> None:
        if value._hooks or value._accumulated_hooks:
            raise Unsupported("a tensor that it uses has hooks")
        self._known[id(value)] = name = self._variable(path)
        source = Source(value, name)
        self.tensors.append(source)
        conditions = [f"{name}.__class__ is {self.bind(type(value))}"]
        if not (value._needs_grad or value._view or vars(value)):
            conditions.append(f"not ({name}._needs_grad or {name}._view or {name}.__dict__)")
        else:
            conditions += _conditions(value, name)
        self.checks.append(f"if not ({' and '.join(conditions)}): return None")
        if value._grad is not None:
            grad = f"{name}g"
            self.checks.append(f"{grad} = {name}._grad")
            self._known[id(value._grad)] = grad
            self.tensors.append(Source(value._grad, grad))
            self.checks.append(f"if {grad} is None or {grad}._needs_grad: return None")
            if value._grad.requires_grad:
                raise Unsupported("a gradient that it uses requires grad")

    def _follow_items(self, value: Any, path: str) -> None:
        self._follow_container(value, path, ((str(i), each) for i, each in enumerate(value)))

    def _follow_dictionary(self, value: dict[Any, Any], path: str) -> None:
        def place(key: Any) -> str:
            return repr(key) if isinstance(key, int | str) else self.bind(key)

        self._follow_container(value, path, ((place(key), each) for key, each in value.items()))

    def _follow_container(self, value: Any, path: str, items: Iterable[tuple[str, Any]]) -> None:
        """Follows what a container holds, by place; it may change, so every call reads it."""
        inside, self._inside = self._inside, 0
        self._known[id(value)] = name = f"v{len(self._known)}"
        self.lines.append(f"{name} = {path}")
        self.check(f"{name}.__class__ is {self.bind(type(value))} and len({name}) == {len(value)}")
        for place, each in items:
            self.follow(each, f"{name}[{place}]")
        self._inside = inside

    def _follow_object(self, value: Any, path: str) -> None:
        self._known[id(value)] = name = self.bind(value)
        if isinstance(value, types.MethodType):
            self._known.pop(id(value))  # made anew at each access
            self.follow(value.__self__, f"{path}.__self__")
            self.follow(value.__func__, f"{path}.__func__")
            return
        if isinstance(value, functools.partial):
            self.check(f"{path} is {name}")
            for attribute in ("func", "args", "keywords"):
                self.follow(getattr(value, attribute), f"{name}.{attribute}")
            return
        self.check(f"{path} is {name}")
        if isinstance(value, types.FunctionType):
            self.follow_function(value, name)
        elif isinstance(value, Module):
            self._follow_module(value, name)
        elif isinstance(value, Optimizer):
            self._follow_optimizer(value, name)
        elif hasattr(type(value), "__next__"):
            raise Unsupported(f"it uses an iterator, a {type(value).__name__}")
        elif isinstance(value, set | frozenset):
            self.lines[-1] = f"if {path} != {self.bind(frozenset(value))}: return None"
        elif isinstance(value, collections.deque):
            self._follow_items(value, path)
        elif not isinstance(value, _OPAQUE):
            self._follow_attributes(value, name)

    def _follow_attributes(self, value: Any, name: str) -> None:
        """Follows what an object of the user's, or one of ours with a state of its own, holds."""
        package = type(value).__module__.partition(".")[0]
        if package != "numtorch" and is_library(package):
            return
        for attribute, each in getattr(value, "__dict__", {}).items():
            if package == "numtorch" or attribute in self._attributes:
                self.follow(each, f"{name}.__dict__[{attribute!r}]")
        self._follow_class(type(value))

    def _follow_class(self, kind: type) -> None:
        """Follows the plain values and tensors that the user's classes hold."""
        for each in kind.__mro__:
            if not is_library(each.__module__):
                for attribute, value in vars(each).items():
                    if attribute in self._attributes and isinstance(value, (*_PLAIN, Tensor)):
                        self.follow(value, f"{self.bind(each)}.{attribute}")

    def _follow_module(self, value: Module, name: str) -> None:
        own = vars(value)
        if any(own[hooks] for hooks in _HOOKS):
            raise Unsupported("a module that it uses has hooks")
        self._inside += 1
        self.check("not (" + " or ".join(f"{name}.__dict__[{h!r}]" for h in _HOOKS) + ")")
        if not is_library(type(value).__module__):
            self._follow_code(type(value).forward, self.bind(type(value).forward))
            self._follow_class(type(value))
        for attribute, each in own.items():
            path = f"{name}.__dict__[{attribute!r}]"
            if attribute in ("_parameters", "_buffers", "_modules"):
                self.check(f"len({path}) == {len(each)}")
                for key, member in each.items():
                    self._follow_member(member, f"{path}[{key!r}]")
            elif attribute not in _HOOKS and not attribute.endswith("hooks"):
                self.follow(each, path)
        self._inside -= 1

    def _follow_member(self, member: Any, path: str) -> None:
        """A parameter, buffer or module: the check of its identity makes it a constant."""
        if isinstance(member, Tensor) and id(member) not in self._known:
            name = self.bind(member)
            self.check(f"{path} is {name}")
            self._follow_tensor(member, name)
        else:
            self.follow(member, path)

    def _follow_optimizer(self, value: Optimizer, name: str) -> None:
        if value._pre_hooks or value._post_hooks:
            raise Unsupported("an optimizer that it uses has hooks")
        self.optimizers.append(value)
        self.check(f"not ({name}._pre_hooks or {name}._post_hooks)")
        self.check(f"len({name}.param_groups) == {len(value.param_groups)}")
        for i, group in enumerate(value.param_groups):
            place = f"{name}.param_groups[{i}]"
            self.follow(group["params"], f"{place}['params']")
            for option in value.structural:
                self.follow(group[option], f"{place}[{option!r}]")
        self.check(f"len({name}.state) == {len(value.state)}")
        for parameter, state in value.state.items():
            owner = self._known.get(id(parameter))
            if owner is None:
                raise Unsupported("an optimizer has state of a tensor that is no parameter of it")
            self.checks.append(f"s = {name}.state[{owner}]")
            for key, each in state.items():
                if isinstance(each, Tensor) and key != "step":
                    variable = f"t{len(self.tensors)}"
                    self.checks.append(f"{variable} = s[{key!r}]")
                    self._follow_tensor(each, self._state_name(variable))

    def _state_name(self, variable: str) -> str:
        self.names[variable] = None  # so that it counts as a name already
        return variable

    # ------------------------------------------------------------------ following code

    def follow_function(self, function: types.FunctionType, name: str) -> None:
        """Follows what a function of the user's refers to; and one that a library's stands for."""
        if _is_of_library(function):
            if hasattr(function, "__wrapped__"):
                self.follow(function.__wrapped__, f"{name}.__wrapped__")
            return
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            self.follow(value, f"{self.bind(cell)}.cell_contents")
        for i, value in enumerate(function.__defaults__ or ()):
            self.follow(value, f"{name}.__defaults__[{i}]")
        self._follow_code(function, name)

    def _follow_code(self, function: Any, name: str) -> None:
        code = getattr(function, "__code__", None)
        if code is None or code in self._codes or _is_of_library(function):
            return
        self._codes.add(code)
        if not _OUTSIDE.isdisjoint(names_in(code)):
            self.talks = True
        scope = function.__globals__
        space = self.bind(scope)
        for each in names_in(code):
            self._attributes.add(each)
        for each in globals_in(code):
            if each in scope:
                self._follow_global(scope[each], f"{space}[{each!r}]")

    def _follow_global(self, value: Any, path: str) -> None:
        if not isinstance(value, types.ModuleType):
            self.follow(value, path)
        elif value.__name__ in _CLOCKS:
            self.talks = True
        elif not is_library(value.__name__):
            for attribute in sorted(self._attributes & vars(value).keys()):
                found = vars(value)[attribute]
                if not isinstance(found, types.ModuleType):
                    self.follow(found, f"{path}.{attribute}")


def _conditions(value: Tensor, name: str) -> list[str]:
    """What must hold of a tensor that has a gradient, a place in a graph, or a version."""
    conditions = [f"{name}._node is {'' if value._node is None else 'not '}None"]
    if value._view is None:
        conditions += [f"{name}._view is None", f"{name}._needs_grad is {value._needs_grad}"]
    else:
        conditions.append(f"{name}.requires_grad is {value.requires_grad}")
    if Run.hooked_leaves:
        conditions.append(f"not ({name}._hooks or {name}._accumulated_hooks)")
    if value._grad is None:
        conditions.append(f"{name}._grad is None")
    return conditions


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """Code, and what is nested in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _codes_in(each)


def names_in(code: types.CodeType) -> Iterator[str]:
    """The names of globals and attributes that code refers to, nested code included."""
    for each in _codes_in(code):
        yield from each.co_names


def globals_in(code: types.CodeType) -> dict[str, None]:
    """The names of globals that code reads, likewise; an attribute may be called like one."""
    instructions = (each for part in _codes_in(code) for each in dis.get_instructions(part))
    return {each.argval: None for each in instructions if each.opname in _GLOBAL_READS}
