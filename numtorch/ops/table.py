"""Rows of the table of operations.

A row is an operation's forward and its derivatives, side by side::

    tanh = pointwise(lambda x: s.tanh(x), x=lambda g, y: g * (1 - y * y))
    mul = pointwise(lambda a, b: a * b, a=lambda g, b: g * b, b=lambda g, a: g * a)

The name of a derivative says which input it is for; or which, as ``weight_and_bias``, if it gives
several gradients. Its parameters say what it needs, and so what is saved: ``g`` the incoming
gradient, ``y`` the result (or results by name, or ``n_outputs``), an input or parameter by its
name, ``x_shape`` or ``x_dtype`` of an input without its values.

Everything else follows from the row: the function with PyTorch's signature, the method, the
in-place twin, ``out=``, the node and its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from numtorch_kernels import copying, layout
from numtorch_kernels.calls.callables import Calls
from numtorch_kernels.calls.forward import ForwardCalls
from numtorch_kernels.calls.recording import SOURCES, Save, write_recipe
from numtorch_kernels.calls.updates import UpdateCalls

from ..autograd.graph import Grads
from ..autograd.mode import mode
from ..size import Size
from ..tensor import Tensor, wrap_array
from .apply import OpNode, any_needs_grad, check_castable, finish, record, refuse_overlap, write
from .signature import EMPTY, Parameters, make_functions

Array = np.ndarray[Any, Any]
Rule = Callable[..., Any]

TABLE: dict[str, Op] = {}
"""Every row by its name."""


class Recipe:
    """What the node of a call saves and computes, given which inputs need gradients."""

    __slots__ = ("fused", "kept", "names", "plans", "rules", "saves")

    def __init__(
        self,
        rules: list[tuple[int, int, Rule, list[str]]],
        names: list[str],
        saves: list[tuple[str, int]],
    ) -> None:
        self.rules = rules  # (first of the differentiable inputs, how many, rule, its parameters)
        self.names = names  # of all saved values
        self.saves = saves  # where each comes from: ("argument" | "shape" | ..., position)
        self.fused: dict[Any, Any] = {}  # compiled backward loops of a pointwise row
        self.plans: int | None = None  # where compiled calls find how to use them
        self.kept: list[Any] = []  # what is there


class Op:
    """A row: any function of ndarrays, with derivatives that are functions of tensors.

    ``forward`` gets the arguments with tensors replaced by their ndarrays and gives an ndarray, or
    a tuple of them. Its parameters without default are the inputs.
    """

    attach: Callable[[Tensor, Sequence[Tensor]], None] | None = None  # what views do when made
    kinds_say_all = False  # whether the node depends on kinds and dimensions of arguments alone
    out_may_share = True  # whether PyTorch lets ``out`` be an input's memory
    out_may_cast = True  # whether ``out`` may have another dtype than the result

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
        self.summary = forward.__doc__ or type(self).__doc__
        self._forward = forward
        self.rules = rules
        self.outputs = outputs
        self.check = check
        self.pack = pack
        self._node = node
        self.only_node: type[OpNode] | None = None  # the class of all nodes, once it is made
        self._node_classes: dict[str, type[OpNode]] = {}
        self.parameters = Parameters(forward)
        self.names = self.parameters.names
        self.defaults = self.parameters.defaults
        self._plain = -1 if self.parameters.gathers else self.parameters.positional
        self._inputs = [names.split("_and_") for names in rules]  # that each rule is for
        self.differentiable = [self.names.index(name) for each in self._inputs for name in each]
        self._recipes: dict[Any, Recipe] = {}
        self.calls: Calls | None = None
        self.function: Callable[..., Any]
        self.method: Callable[..., Any]
        self.inplace: Callable[..., Any]

    def make_optional(self, position: int) -> None:
        """Lets an input be left out of a call, as None."""
        self.defaults[position] = None

    def register(self, name: str) -> None:
        """Takes the name of the variable that holds the row, and its place in the table."""
        TABLE[name] = self
        self.take_name(name)

    def take_name(self, name: str) -> None:
        """Takes a name, and makes the functions of that name."""
        self.name = name
        function, twin = make_functions(self, name)
        self.calls = self.make_calls()
        self.function = self.entry(function, is_method=False)
        self.method, self.inplace = self.entry(function), self.entry(twin, inplace=True)

    def make_calls(self) -> Calls | None:
        """What answers simple calls of the row's functions without Python, if there is something.

        That calls the forward, unless a class does something else for a result.
        """
        own = type(self)
        if (own.compute, own.forward) != (Op.compute, Op.forward):
            return None
        return self.forward_calls()

    def forward_calls(
        self,
        kind: Callable[..., ForwardCalls] = ForwardCalls,
        forward: Callable[..., Any] | None = None,
    ) -> ForwardCalls:
        """What answers calls by calling the forward, or another function of its arguments."""
        first = self.parameters.positional
        return kind(
            forward or self._forward,
            least=sum(default is EMPTY for default in self.defaults[:first]),
            most=None if self.parameters.gathers else first,
            sizes_from=first if self.parameters.gathers else None,
            finish=self._finish,
            record=self._note if self.rules else None,
            is_view=self.attach is not None,
            gives_tuples=self.pack is tuple,
            check=self.check,
        )

    def entry(
        self, function: Callable[..., Any], *, inplace: bool = False, **options: Any
    ) -> Callable[..., Any]:
        """What callers get for one of the row's functions."""
        if self.calls is None or (inplace and not self.calls.changes):
            return function
        return self.calls.entry(function, inplace=inplace, **options)

    def _gathered(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments in the order of the parameters, the last of which may take all the rest."""
        if not self.parameters.gathers:
            return arguments
        first = self.parameters.positional
        return (*arguments[:first], arguments[first:])

    def _note(self, place: int, *call: Any) -> None:
        """Records a call, given its arguments one by one and its result."""
        self.note(place, self._gathered(call[:-1]), call[-1])

    def note(self, place: int, arguments: tuple[Any, ...], result: Tensor) -> None:
        """Records a call, and writes to a place, if it is not 0, how to do so again."""
        if not mode.recording:
            return
        node = record(self, arguments, (result,))
        if not place:
            return
        saves = [
            Save(source, position, self.defaults[position] if position >= 0 else None)
            for source, position in node.recipe.saves
        ]
        given = len(self.names) - self.parameters.gathers
        simple = all(x.__class__ not in (list, tuple) for x in arguments[:given]) and all(
            save.source in SOURCES and save.position < given for save in saves
        )
        if simple and (self.only_node or self.kinds_say_all):
            links = result.dtype.category == 2
            write_recipe(place, type(node), node.recipe, links, self.differentiable, saves)

    def _finish(self, values: Any, *arguments: Any) -> Any:
        """The result of a call, given what the forward gave."""
        if self.pack is first and not (mode.recording and any_needs_grad(arguments)):
            return wrap_array(values[0])
        return finish(self, self._gathered(arguments), wrapped(values))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The row's function, called."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<row {self.name}>"

    # ------------------------------------------------------------------ forward

    def forward(self, arguments: tuple[Any, ...]) -> Any:
        """The result for these arguments, as ndarrays."""
        if self.check is not None:
            self.check(*arguments)
        values = [
            x._array if isinstance(x, Tensor) else x if x.__class__ in _PLAIN else _array_of(x)
            for x in arguments
        ]
        return self._forward(*values) if len(values) <= self._plain else self.call(values)

    def call(self, values: list[Any]) -> Any:
        """The forward of ndarrays, given in the order of its parameters."""
        if self.parameters.gathers:
            return self._forward(*values[:-1], *values[-1])
        first = self.parameters.positional
        if len(values) <= first:
            return self._forward(*values)
        named = dict(zip(self.names[first:], values[first:], strict=False))
        return self._forward(*values[:first], **named)

    def compute(self, arguments: tuple[Any, ...]) -> Any:
        """The result for these arguments, as a tensor or a tuple of them."""
        return wrapped(self.forward(arguments))

    def fits(self, arguments: tuple[Any, ...], target: Tensor) -> bool:
        """Whether the result can be computed where a tensor lies that has its shape."""
        return False

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
        bit = 0
        for inputs, rule in zip(self._inputs, self.rules.values(), strict=True):
            count = len(inputs)
            if mask >> bit & ((1 << count) - 1):
                needs = Parameters(rule).names
                rules.append((bit, count, rule, needs))
                names += [name for name in needs if name != "g" and name not in names]
            bit += count
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
        for bit, count, rule, needs in node.recipe.rules:
            found = rule(*[known[name] for name in needs])
            results[bit : bit + count] = [found] if count == 1 else found
        return _flat(results)


def first(results: tuple[Tensor, ...]) -> Tensor:
    """The only result that callers see, where the others are for gradients."""
    return results[0]


def wrapped(values: Any) -> Any:
    """A tensor of what a forward gave, or a tuple of them."""
    if values.__class__ is tuple:
        return tuple([wrap_array(value) for value in values])
    return wrap_array(values)


class Update(Op):
    """A row whose forward changes the memory of its first argument.

    Out of place it works on a copy; so one function of an array serves both twins.
    """

    refuses_overlap = True  # whether the order of writes to one place would show

    def forward(self, arguments: tuple[Any, ...]) -> Any:
        """The changed first argument, copied."""
        if self.check is not None:
            self.check(*arguments)
        return self._changed(*[_array_of(each) for each in arguments])

    def _changed(self, x: Array, /, *others: Any) -> Array:
        """A changed copy of an array."""
        target = copying.copy_into(layout.result(x.shape, x.dtype, (x,)), x)
        self.call([target, *others])
        return target

    def make_calls(self) -> Calls | None:
        """What answers calls of both twins."""
        return self.forward_calls(partial(UpdateCalls, change=self._forward), self._changed)

    def forward_into(self, arguments: tuple[Any, ...], target: Tensor) -> None:
        """Changes the tensor's memory itself."""
        if self.check is not None:
            self.check(*arguments)
        if self.refuses_overlap:
            refuse_overlap(target._array)
        self.call([target._array, *[_array_of(each) for each in arguments[1:]]])


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


_PLAIN = frozenset({int, float, bool, str, type(None)})


def _array_of(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x._array
    if x.__class__ in (list, tuple):
        for each in x:
            if isinstance(each, Tensor):
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
