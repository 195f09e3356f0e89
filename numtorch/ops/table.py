"""Rows of the table of operations.

A row is an operation's forward and its derivatives, side by side::

    tanh = pointwise(lambda x: s.tanh(x), x=lambda g, y: g * (1 - y * y))
    mul = pointwise(lambda a, b: a * b, a=lambda g, b: g * b, b=lambda g, a: g * a)

The name of a derivative says which input it is for. Its parameters say what it needs, and so what
is saved: ``g`` the incoming gradient, ``y`` the result (or results by name, or ``n_outputs``), an
input or parameter by its name, ``x_shape`` or ``x_dtype`` of an input without its values.

Everything else follows from the row: the function with PyTorch's signature, the method, the
in-place twin, ``out=``, the node and its name.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from numtorch_kernels import copying, layout

from ..autograd.graph import Grads
from ..dtype import type_name
from ..size import Size
from ..tensor import Tensor, wrap_array
from .apply import (
    OpNode,
    apply,
    apply_inplace,
    check_castable,
    write,
)

Array = np.ndarray[Any, Any]
Rule = Callable[..., Any]

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

TABLE: dict[str, Op] = {}
"""Every row by its name."""


class Recipe:
    """What the node of a call saves and computes, given which inputs need gradients."""

    __slots__ = ("fused", "names", "rules", "saves")

    def __init__(
        self,
        rules: list[tuple[int, Rule, list[str]]],
        names: list[str],
        saves: list[tuple[str, int]],
    ) -> None:
        self.rules = rules  # (position among the differentiable inputs, rule, its parameters)
        self.names = names  # of all saved values
        self.saves = saves  # where each comes from: ("argument" | "shape" | ..., position)
        self.fused: dict[Any, Any] = {}  # compiled backward loops of a pointwise row


class Op:
    """A row: any function of ndarrays, with derivatives that are functions of tensors.

    ``forward`` gets the arguments with tensors replaced by their ndarrays and gives an ndarray, or
    a tuple of them. Its parameters without default are the inputs.
    """

    attach: Callable[[Tensor, Sequence[Tensor]], None] | None = None  # what views do when made

    def __init__(
        self,
        forward: Callable[..., Any],
        rules: dict[str, Rule],
        *,
        node: str | Callable[..., str] | None = None,
        outputs: tuple[str, ...] = (),
        check: Callable[..., None] | None = None,
        pack: Callable[[tuple[Tensor, ...]], Any] = tuple,
    ) -> None:
        self.name = ""
        self._forward = forward
        self.rules = rules
        self.outputs = outputs
        self.check = check
        self.pack = pack
        self._node = node
        self.only_node: type[OpNode] | None = None  # the class of all nodes, once it is made
        self._node_classes: dict[str, type[OpNode]] = {}
        parameters = inspect.signature(forward).parameters
        self.parameters = list(parameters.values())
        self.names = list(parameters)
        self.defaults = [p.default for p in self.parameters]
        self._gathers = self.parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL
        self._positional = sum(p.kind is not p.KEYWORD_ONLY for p in self.parameters)
        self.differentiable = [self.names.index(name) for name in rules]
        self._recipes: dict[Any, Recipe] = {}
        self.function: Callable[..., Any]
        self.inplace: Callable[..., Any]

    def make_optional(self, position: int) -> None:
        """Lets an input be left out of a call, as None."""
        self.parameters[position] = self.parameters[position].replace(default=None)
        self.defaults[position] = None

    def register(self, name: str) -> None:
        """Takes the name of the variable that holds the row, and makes its functions."""
        self.name = name
        TABLE[name] = self
        self.function = _make_function(self, name, "apply")
        self.inplace = _make_function(self, name + "_", "apply_inplace")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<row {self.name}>"

    # ------------------------------------------------------------------ forward

    def forward(self, arguments: tuple[Any, ...]) -> Any:
        """The result for these arguments, as ndarrays."""
        if self.check is not None:
            self.check(*arguments)
        values = [_array_of(x) for x in arguments]
        if self._gathers:
            return self._forward(*values[:-1], *values[-1])
        if len(values) <= self._positional:
            return self._forward(*values)
        named = dict(zip(self.names[self._positional :], values[self._positional :], strict=False))
        return self._forward(*values[: self._positional], **named)

    def compute(self, arguments: tuple[Any, ...]) -> Any:
        """The result for these arguments, as a tensor or a tuple of them."""
        values = self.forward(arguments)
        if values.__class__ is tuple:
            return tuple([wrap_array(value) for value in values])
        return wrap_array(values)

    def forward_into(self, arguments: tuple[Any, ...], target: Tensor) -> None:
        """Computes the result into a tensor's memory."""
        value = np.asarray(self.forward(arguments))
        check_castable(value.dtype, target.dtype)
        check_shape_in_place(target, value.shape)
        write(target._array, value)

    # ------------------------------------------------------------------ backward

    def node_class(self, arguments: tuple[Any, ...]) -> type[OpNode]:
        """The class of this call's node, whose name is PyTorch's."""
        name = self._node(*arguments) if callable(self._node) else self._node
        name = name or camel(self.name) + "Backward0"
        found = self._node_classes.get(name)
        if found is None:
            found = type(name, (OpNode,), {"__slots__": (), "op": self, "__module__": "torch"})
            self._node_classes[name] = found
            if not callable(self._node):
                self.only_node = found
        return found

    def recipe(self, mask: int, arguments: tuple[Any, ...]) -> Recipe:
        """What to save when the differentiable inputs whose bits are set need gradients."""
        found = self._recipes.get(mask)
        if found is None:
            found = self._recipes[mask] = self._make_recipe(mask)
        return found

    def _make_recipe(self, mask: int) -> Recipe:
        rules = []
        names: list[str] = []
        for bit, rule in enumerate(self.rules.values()):
            if mask >> bit & 1:
                needs = list(inspect.signature(rule).parameters)
                rules.append((bit, rule, needs))
                names += [name for name in needs if name != "g" and name not in names]
        return Recipe(rules, names, [self._source(name) for name in names])

    def _source(self, name: str) -> tuple[str, int]:
        """Where the value that a rule calls ``name`` comes from."""
        if name == "y":
            return "result", 0
        if name == "n_outputs":
            return "outputs", 0
        if name in self.outputs:
            return "result", self.outputs.index(name)
        if name in self.names:
            return "argument", self.names.index(name)
        for ending in ("shape", "dtype"):
            stem = name.removesuffix("_" + ending)
            if stem != name and stem in self.names:
                return ending, self.names.index(stem)
        raise NameError(f"a rule of {self.name} asks for {name!r}, which the row does not have")

    def backward(
        self, node: OpNode, grads: Grads, values: list[Any], create_graph: bool
    ) -> Sequence[Tensor | None]:
        """The gradients of the differentiable inputs, by the rules."""
        results: list[Any] = [None] * len(self.differentiable)
        known = dict(zip(node.recipe.names, values, strict=True))
        known["g"] = _incoming(grads, node)
        for bit, rule, needs in node.recipe.rules:
            results[bit] = rule(*[known[name] for name in needs])
        return _flat(results)


class Update(Op):
    """A row whose forward changes the memory of its first argument.

    Out of place it works on a copy; so one function of an array serves both twins.
    """

    refuses_overlap = True  # whether the order of writes to one place would show

    def forward(self, arguments: tuple[Any, ...]) -> Any:
        if self.check is not None:
            self.check(*arguments)
        x, *others = arguments
        target = copying.copy_into(layout.result(x._array.shape, x._array.dtype, (x._array,)), x._array)
        self._forward(target, *[_array_of(each) for each in others])
        return target

    def forward_into(self, arguments: tuple[Any, ...], target: Tensor) -> None:
        if self.check is not None:
            self.check(*arguments)
        if self.refuses_overlap:
            refuse_overlap(target._array)
        self._forward(target._array, *[_array_of(each) for each in arguments[1:]])


def refuse_overlap(array: Array) -> None:
    """Raises PyTorch's error where elements that are to be written share memory."""
    if 0 in array.strides and any(
        n > 1 and not step for n, step in zip(array.shape, array.strides, strict=True)
    ):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )


def _incoming(grads: Grads, node: OpNode) -> Any:
    """What a rule gets as ``g``: the gradient, or a list where several outputs have one."""
    if len(grads) == 1:
        return grads[0]
    present = [grad for grad in grads if grad is not None]
    if node.op.outputs and len(present) == 1 and grads[0] is not None:
        return grads[0]
    return grads


def _flat(results: list[Any]) -> list[Tensor | None]:
    flat: list[Tensor | None] = []
    for result in results:
        if isinstance(result, list | tuple):
            flat += result
        else:
            flat.append(result)
    return flat


def _array_of(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x._array
    if x.__class__ in (list, tuple) and any(isinstance(each, Tensor) for each in x):
        return [each._array if isinstance(each, Tensor) else each for each in x]
    return x


def check_shape_in_place(target: Tensor, shape: tuple[int, ...]) -> None:
    """Raises PyTorch's error where an in-place result has another shape than its target."""
    if target._array.shape != shape:
        raise RuntimeError(
            f"output with shape {list(target.shape)} doesn't match the broadcast shape "
            f"{list(shape)}"
        )


def camel(name: str) -> str:
    """The name in camel case: ``masked_fill`` gives ``MaskedFill``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


# ---------------------------------------------------------------------- calls


def _make_function(op: Op, name: str, path: str) -> Callable[..., Any]:
    """A Python function with the row's signature, which calls the dispatch path."""
    head, values, fast = [], [], []
    star = False
    namespace: dict[str, Any] = {"op": op, "apply": apply, "apply_inplace": apply_inplace}
    for position, parameter in enumerate(op.parameters):
        spelled = KEYWORDS.get(parameter.name, parameter.name)
        if keyword.iskeyword(spelled):
            spelled += "_"
        if parameter.kind is parameter.VAR_POSITIONAL:
            head.append(f"*{spelled}")
            values.append(f"_spread({spelled})")
            star = True
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            head.append("*")
            star = True
        if parameter.default is parameter.empty:
            head.append(spelled)
        else:
            namespace[f"default{position}"] = parameter.default
            head.append(f"{spelled}=default{position}")
            fast.append(f"{spelled} is default{position}")
        values.append(spelled)
    namespace["_respell"] = _respell
    namespace["_spread"] = spread
    inputs = sum(p.default is p.empty for p in op.parameters)
    call = f"{path}(op, ({', '.join(values)},)"
    lines = []
    if path == "apply":
        head += ([] if star else ["*"]) + ["out=None", "**others"]
        end = ", out)"
    else:
        head.append("**others")
        end = ")"
    lines.append(f"def {name}({', '.join(head)}):")
    lines.append(f"    if others: return _respell({name}, others, locals())")
    if fast and not any(p.kind is p.VAR_POSITIONAL for p in op.parameters):
        short = f"{path}(op, ({', '.join(values[:inputs])},){end}"
        lines.append(f"    if {' and '.join(fast)}: return {short}")
    lines.append(f"    return {call}{end}")
    exec(compile("\n".join(lines), f"<{name}>", "exec"), namespace)
    function = namespace[name]
    function.__module__ = "torch"
    function.__doc__ = inspect.getdoc(op._forward) or op.__doc__
    return function


def spread(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The sizes or dims of ``view(2, 3)``, ``view((2, 3))`` and ``view([2, 3])`` alike."""
    if len(values) == 1 and isinstance(values[0], list | tuple):
        return tuple(values[0])
    return values


def _respell(function: Callable[..., Any], others: dict[str, Any], given: dict[str, Any]) -> Any:
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


# ---------------------------------------------------------------------- builders


def op(
    forward: Callable[..., Any],
    *,
    node: str | Callable[..., str] | None = None,
    outputs: tuple[str, ...] = (),
    check: Callable[..., None] | None = None,
    pack: Callable[[tuple[Tensor, ...]], Any] = tuple,
    **rules: Rule,
) -> Op:
    """A row whose forward computes on ndarrays with kernels of its own."""
    return Op(forward, rules, node=node, outputs=outputs, check=check, pack=pack)


def register_rows(namespace: dict[str, Any]) -> None:
    """Names every row of a module after its variable; a trailing underscore is dropped."""
    for name, value in list(namespace.items()):
        if isinstance(value, Op) and not value.name:
            value.register(name.rstrip("_"))


def sizes(shape: Sequence[Any]) -> Size:
    """A shape argument as a Size of ints."""
    return Size(int(n) for n in shape)
