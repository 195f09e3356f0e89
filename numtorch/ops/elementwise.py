"""The row builder of pointwise operations: expressions in, fused loops and gradients out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numtorch_kernels import copying, layout, reduce
from numtorch_kernels import symbols as s
from numtorch_kernels.calls.alike import Argument
from numtorch_kernels.calls.backward import Gradients, make_plan, note_launch
from numtorch_kernels.calls.callables import Calls
from numtorch_kernels.calls.pointwise import PointwiseCalls
from numtorch_kernels.costs import WORTH, element_cost
from numtorch_kernels.deferral import deferring, nobody_defers
from numtorch_kernels.expression import Expr, cast, symbol
from numtorch_kernels.pointwise import launch, launch_adjacent, loop_of, run

from ..autograd.graph import Grads
from ..dtype import (
    BY_NUMPY,
    binary_result,
    can_cast,
    dtype,
    get_default_dtype,
    result_of,
    scalar_dtype,
)
from ..tensor import Tensor, wrap, wrap_array
from .apply import OpNode, refuse_overlap, scalar_type
from .signature import EMPTY, KEYWORDS, must_be_tensor
from .table import Op, Rule, check_shape_in_place

Array = np.ndarray[Any, Any]
_NUMBERS = (float, int)
_LARGE = 1 << 15  # elements that do not fit the nearest cache


class Plan:
    """How a row computes for one combination of operand kinds."""

    __slots__ = ("casts", "dtype", "is_shared", "loop")

    def __init__(self, loop: Any, kind: dtype, casts: tuple[Any, ...]) -> None:
        self.is_shared = False  # whether compiled calls were told
        self.loop = loop
        self.dtype = kind
        self.casts = casts  # per operand: None, or what makes a number of the loop's dtype of it


def number_of(kind: np.dtype[Any]) -> Callable[[Any], Any]:
    """What converts a Python number to a scalar of a dtype, wrapping and overflowing as C does."""
    make = kind.type

    def convert(value: Any) -> Any:
        try:
            if kind == np.float32 and abs(value) > 3.4e38:
                with np.errstate(over="ignore"):
                    return make(value)
            return make(value)
        except OverflowError:
            return np.asarray(value, np.float64 if kind.kind == "f" else np.int64).astype(kind)[()]

    return make if kind == np.float64 else convert


class PointwiseOp(Op):
    """A row whose forward is a function of scalars, and whose derivatives are too.

    Both are compiled into loops of their own kind; the same derivative texts, called on tensors,
    are differentiable code for graphs of higher order.

    ``promote`` is "common" (the operands' common dtype) or "float" (the default dtype where that is
    no floating dtype), or gives one of them for a call's arguments. ``refuse`` maps the kind of a
    NumPy dtype to the message of the RuntimeError for it; ``check`` may refuse arguments (of
    floating-point tensors, by their kinds alone). So may, where there are more than inputs,
    ``check_parameters``, by kinds of numbers, and ``check_values``. ``numbers`` names the inputs
    that may be Python numbers; ``optional`` inputs may be None, ``conditions`` take no part in
    promotion, and numbers among the ``constants`` are compiled into the loop.
    """

    kinds_say_all = True

    def __init__(
        self,
        forward: Callable[..., Any],
        rules: dict[str, Rule],
        *,
        promote: str | Callable[..., str] = "common",
        check: Callable[..., None] | None = None,
        refuse: dict[str, str] | None = None,
        node: str | Callable[..., str] | None = None,
        optional: tuple[str, ...] = (),
        conditions: tuple[str, ...] = (),
        constants: tuple[float, ...] = (),
        check_parameters: Callable[..., None] | None = None,
        check_values: Callable[..., None] | None = None,
        numbers: str = "",
    ) -> None:
        super().__init__(forward, rules, node=node, check=check)
        self.promote = promote
        self.refuse = refuse or {}
        self.arity = sum(default is EMPTY for default in self.defaults)
        self.conditions = tuple(self.names.index(name) for name in conditions)
        self.constants = constants
        self.check_parameters = check_parameters
        self.check_values = check_values
        self.numbers = tuple(self.names.index(name) for name in numbers.split())
        self.required = self.arity - len(optional)
        for name in optional:
            self.make_optional(self.names.index(name))
        self._plans: dict[Any, Plan] = {}
        # By the kinds of one or two operands; None: known, but it does not go the short way
        self._short: dict[tuple[Any, ...], Plan | None] = {}

    def make_calls(self) -> Calls | None:
        """What answers the calls for which there is a plan."""
        return PointwiseCalls(self.arity, self._note if self.rules else None, self.constants)

    # ------------------------------------------------------------------ forward

    def compute(self, arguments: tuple[Any, ...]) -> Any:
        """The result, after which compiled calls know of the loops that were launched."""
        result = self._compute(arguments)
        self._note_launches()
        return result

    def _note_launches(self) -> None:
        if isinstance(self.calls, PointwiseCalls):
            self.calls.learn_launches()

    def _compute(self, arguments: tuple[Any, ...]) -> Any:
        """Operands of known kinds that are alike go a short way; all else, :meth:`forward`."""
        plan = self._short.get(self._kinds(arguments))
        if plan is None:
            self._learn(arguments)
        else:
            operands = _alike(arguments, plan.casts)
            if operands is not None:
                return wrap(launch_adjacent(plan.loop, operands), plan.dtype)
        return super().compute(arguments)

    def _kinds(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The kinds of operands, and those of them that are compiled into the loop."""
        kinds = tuple([x.dtype if isinstance(x, Tensor) else x.__class__ for x in arguments])
        if self.constants and len(arguments) == 2 and self._is_static(1, arguments[1]):
            kinds += (arguments[1],)
        return kinds

    def _learn(self, arguments: tuple[Any, ...]) -> None:
        """Notes the plan of a call that may go the short way, or be answered by compiled code."""
        if not self._is_brief(arguments):
            return
        tensors = [x.dtype for x in arguments if isinstance(x, Tensor)]
        numbers = [x.__class__ for x in arguments if x.__class__ in _NUMBERS]
        if not tensors or len(tensors) + len(numbers) < self.arity or tensors[0] is not tensors[-1]:
            return
        if self.check is not None and tensors[0].category < 2:
            return  # what checks refuse among integers may depend on their values
        kinds = self._kinds(arguments)
        fixed = kinds[2] if len(kinds) > 2 else None
        if kinds in self._short:
            return
        plan = self._plan(arguments)
        if isinstance(self.calls, PointwiseCalls):
            self.calls.add_plan(kinds[:2], plan.loop, plan.dtype, fixed)
        self._short[kinds] = plan if isinstance(arguments[0], Tensor) else None

    def _is_brief(self, arguments: tuple[Any, ...]) -> bool:
        """Whether a call has just the operands of a row with one or two."""
        return len(arguments) == self.arity <= 2 and not self.conditions

    def _share(self, arguments: tuple[Any, ...], plan: Plan) -> None:
        """Tells compiled calls of a plan for other calls, unless their values are checked."""
        plan.is_shared = True
        if self._is_brief(arguments) or not isinstance(self.calls, PointwiseCalls):
            return
        tensors = [x for x in arguments if isinstance(x, Tensor)]
        checks_kinds = self.check is None or all(x.dtype.category == 2 for x in tensors)
        if self.check_values is not None or self.constants or not (tensors and checks_kinds):
            return
        known, dtypes = [], iter(plan.loop.dtypes)
        for x, make in zip(arguments, plan.casts, strict=True):
            if make is _STATIC:
                known.append(Argument("static", x))
            elif isinstance(x, Tensor):
                what = "tensor" if x._array.ndim else "scalar"
                known.append(Argument(what, x.dtype, next(dtypes)))
            else:
                known.append(Argument("number", x.__class__, next(dtypes)))
        least = 1 + max(k for k, x in enumerate(arguments) if x is not self.defaults[k])
        self.calls.add_alike(known, least, plan.loop, plan.dtype)

    def forward(self, arguments: tuple[Any, ...]) -> Any:
        """The result for these arguments, as an ndarray."""
        plan = self._plan(arguments)
        arrays = [
            x._array if make is None else make(x)
            for x, make in zip(arguments, plan.casts, strict=False)
            if make is not _STATIC
        ]
        try:
            if not deferring() and any(_is_across(x) for x in arrays):
                shape = layout.common_shape(arrays)
                out = layout.result(shape, plan.dtype.numpy, arrays)
                return run(plan.loop, [copying.laid_out_as(x, out) for x in arrays], out)
            return launch(plan.loop, arrays)
        except ValueError:
            _raise_unless_broadcastable(arrays)
            raise

    def fits(self, arguments: tuple[Any, ...], target: Tensor) -> bool:
        """Whether the result has the shape of a tensor."""
        try:
            shape = layout.common_shape([x._array for x in arguments if isinstance(x, Tensor)])
        except ValueError:
            return False
        return self.out_may_cast and target._array.shape == shape

    def forward_into(self, arguments: tuple[Any, ...], target: Tensor) -> None:
        """Computes the result into a tensor's memory, without a copy of its own."""
        if not deferring() and self._change(arguments, target):
            return
        plan = self._plan(arguments)
        arrays = [
            x._array if make is None else np.asarray(make(x))
            for x, make in zip(arguments, plan.casts, strict=False)
            if make is not _STATIC
        ]
        if not can_cast(plan.dtype, target.dtype):
            raise RuntimeError(
                f"result type {scalar_type(plan.dtype)} can't be cast to the desired output type "
                f"{scalar_type(target.dtype)}"
            )
        try:
            shape = layout.common_shape(arrays)
        except ValueError:
            _raise_unless_broadcastable(arrays)
            raise
        check_shape_in_place(target, shape)
        refuse_overlap(target._array)
        if plan.dtype is target.dtype:
            run(plan.loop, arrays, target._array)
        else:
            kinds = tuple(x.dtype for x in arrays)
            run(self._loop(arguments, kinds, target.dtype.numpy), arrays, target._array)
        self._note_launches()

    def _change(self, arguments: tuple[Any, ...], target: Tensor) -> bool:
        """Takes the short way to a target, if it is known, and that and the operands are alike."""
        plan, array = self._short.get(self._kinds(arguments)), target._array
        if plan is None:
            self._learn(arguments)
            return False
        operands = _alike(arguments, plan.casts)
        if operands is None or plan.dtype is not target.dtype:
            return False
        if array.shape != operands[0].shape or not array.flags.c_contiguous:
            return False
        for x in operands:
            if x is not array and np.may_share_memory(x, array):
                return False
        launch_adjacent(plan.loop, operands, array)
        self._note_launches()
        return True

    def _plan(self, arguments: tuple[Any, ...]) -> Plan:
        if self.check is not None:
            self.check(*arguments)
        if len(arguments) > self.arity:
            for check in (self.check_parameters, self.check_values):
                if check is not None:
                    check(*arguments)
        if len(arguments) == self.arity and not self.constants:
            key = tuple([_kind(x) for x in arguments])
        else:
            key = tuple(
                [
                    _kind(x) if isinstance(x, Tensor) or not self._is_static(position, x) else x
                    for position, x in enumerate(arguments)
                ]
            )
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._make_plan(arguments)
        elif not plan.is_shared and not deferring():
            self._share(arguments, plan)
        return plan

    def _make_plan(self, arguments: tuple[Any, ...]) -> Plan:
        self._check_operands(arguments)
        compute = self._compute_dtype(arguments)
        kinds = []
        casts: list[Any] = []
        for position, x in enumerate(arguments):
            if isinstance(x, Tensor):
                casts.append(None)
                kinds.append(x._array.dtype)
            elif self._is_static(position, x):
                casts.append(_STATIC)
            else:
                casts.append(number_of(compute.numpy))
                kinds.append(compute.numpy)
        loop = self._loop(arguments, tuple(kinds), None)
        return Plan(loop, wrap_array(np.empty(0, loop.dtypes[-1])).dtype, tuple(casts))

    def _loop(self, arguments: Any, kinds: tuple[Any, ...], result: np.dtype[Any] | None) -> Any:
        """The loop of the forward for operands of these NumPy dtypes."""
        compute = self._compute_dtype(arguments).numpy
        given = len(arguments)
        operands = dict(zip(self.names[given:], self.defaults[given:], strict=True))
        count = 0
        for position, x in enumerate(arguments):
            if not isinstance(x, Tensor) and self._is_static(position, x):
                operands[self.names[position]] = x
                continue
            operand = symbol(count, kinds[count])
            truth = position in self.conditions
            operands[self.names[position]] = operand if truth else cast(operand, compute)
            count += 1
        try:
            value = self._forward(**operands)
        except TypeError as error:
            raise self._unsupported(compute, error) from None
        value = cast(value, compute) if not isinstance(value, Expr) else value
        return loop_of([value if result is None else cast(value, result)], kinds)

    def _is_static(self, position: int, x: Any) -> bool:
        """Whether an argument is part of the expression instead of an operand of the loop."""
        if x is None or isinstance(x, str):
            return True
        if position < self.arity:
            return position > 0 and x.__class__ in (int, float) and x in self.constants
        return isinstance(x, bool) or x == self.defaults[position]

    def _compute_dtype(self, arguments: tuple[Any, ...]) -> dtype:
        """The dtype that the operands are computed in."""
        promote = self.promote(*arguments) if callable(self.promote) else self.promote
        operands = arguments[: self.arity]
        if self.conditions:
            operands = tuple(x for i, x in enumerate(operands) if i not in self.conditions)
        found = operands_dtype(operands)
        if promote == "float" and found.category != 2:
            return get_default_dtype()
        return found

    def _check_operands(self, arguments: tuple[Any, ...]) -> None:
        if not any(isinstance(x, Tensor) for x in arguments[: self.arity]):
            must_be_tensor(self.name, "input", 1, arguments[0])
        for position, x in enumerate(arguments[: self.arity]):
            number = isinstance(x, int | float | np.generic) and position in self.numbers
            if not (isinstance(x, Tensor) or number or (x is None and position >= self.required)):
                name = self.names[position]
                must_be_tensor(self.name, KEYWORDS.get(name, name), position + 1, x)

    def _unsupported(self, compute: np.dtype[Any], error: TypeError) -> Exception:
        """PyTorch's error for a dtype that the operation is not defined for."""
        message = self.refuse.get(compute.kind)
        if message is not None:
            return RuntimeError(message)
        if "not defined for" not in str(error):
            return error
        kind = scalar_type(wrap_array(np.empty(0, compute)).dtype)
        return NotImplementedError(f"\"{self.name}_cpu\" not implemented for '{kind}'")

    # ------------------------------------------------------------------ backward

    def backward(
        self, node: OpNode, grads: Grads, values: list[Any], create_graph: bool
    ) -> Sequence[Tensor | None]:
        """The gradients of the inputs, by one fused loop; by the rules for a graph of its own."""
        if create_graph:
            results = super().backward(node, grads, values, create_graph)
            return [
                None if grad is None else _fitted(grad, *like)
                for grad, like in zip(results, node.likes, strict=True)
            ]
        (g,) = grads
        assert g is not None
        recipe = node.recipe
        key = (
            g.dtype,
            *[_kind(x) if isinstance(x, Tensor) else self._fixed(x) for x in values],
            *[like and like[1] for like in node.likes],
        )
        fused = recipe.fused.get(key)
        if fused is None:
            fused = recipe.fused[key] = [*self._fuse(node, g, values), _UNPLANNED]
        loop, casts, places, plan = fused
        if plan is _UNPLANNED and nobody_defers():  # it needs the loop compiled
            plan = fused[-1] = self._plan_backward(node, g, values, loop, casts, places)
        results = [None] * len(node.likes)
        if loop is not None:
            arrays = [g._array]
            for x, make in zip(values, casts, strict=True):
                if make is not _STATIC:
                    arrays.append(x._array if make is None else make(x))
            computed = launch(loop, arrays)
            computed = computed if computed.__class__ is tuple else (computed,)
            if plan is not None and plan is not _UNPLANNED:
                note_launch(plan, loop)
        for position, place in places:
            shape, kind = node.likes[position]
            grad = g if place is None else wrap(computed[place], kind)
            results[position] = _summed(grad, shape) if grad._array.shape != shape else grad
        return results

    def _plan_backward(
        self, node: OpNode, g: Tensor, values: list[Any], loop: Any, casts: Any, places: Any
    ) -> Any:
        """Notes how compiled calls are to use a backward loop; what it wrote, or None."""
        assert node.saved is not None
        kinds: list[tuple[str, Any]] = []
        for saved, x, make in zip(node.saved, values, casts, strict=True):
            if make is _STATIC:
                kinds.append(("static", x))
            elif make is not None:
                if self.constants:
                    return None  # a plan for all numbers would be followed for these too
                kinds.append(("number", x.__class__))
            elif isinstance(saved, Tensor):
                kinds.append(("tensor", x.dtype))
            else:
                kinds.append(("saved", x.dtype.numpy))
        targets = {position: (place, node.likes[position][1]) for position, place in places}
        gradients = Gradients(loop, g.dtype, kinds, targets, len(node.likes))
        limit = 0 if loop is None else int(WORTH / element_cost(loop))
        recipe = node.recipe
        plan = make_plan(gradients, recipe.plans or 0, limit, BY_NUMPY)
        if plan is not None:
            recipe.plans = plan.ctypes.data
            recipe.kept += [plan, gradients]
        return plan

    def _fixed(self, x: Any) -> Any:
        """What a saved value that is no tensor contributes to the key of a backward loop."""
        return x if x is None or x.__class__ in (str, bool) or x in self.constants else x.__class__

    def _fuse(self, node: OpNode, g: Tensor, values: list[Any]) -> Any:
        """One loop for all wanted gradients: (loop, casts, which output belongs to which input).

        A gradient that is ``g`` itself needs no loop; its place is None.
        """
        compute = g._array.dtype
        known: dict[str, Any] = {"g": symbol(0, compute)}
        kinds = [compute]
        casts: list[Any] = []
        for name, x in zip(node.recipe.names, values, strict=True):
            if isinstance(x, Tensor):
                casts.append(None)
                operand = symbol(len(kinds), x._array.dtype)
                kinds.append(x._array.dtype)
                floating = x.dtype.category == 2
                known[name] = cast(operand, compute) if floating else operand
            elif x is None or isinstance(x, str | bool | dtype) or x in node.op.constants:
                casts.append(_STATIC)
                known[name] = x
            else:
                casts.append(number_of(compute))
                known[name] = symbol(len(kinds), compute)
                kinds.append(compute)
        outputs: list[Expr] = []
        places: list[tuple[int, int | None]] = []
        for position, _, rule, needs in node.recipe.rules:
            value = cast(rule(*[known[name] for name in needs]), node.likes[position][1].numpy)
            if value.key == known["g"].key:
                places.append((position, None))
            else:
                places.append((position, len(outputs)))
                outputs.append(value)
        loop = loop_of(outputs, tuple(kinds)) if outputs else None
        return loop, casts, places


def _static(_: Any) -> Any:
    raise AssertionError("a static argument is no operand")


_STATIC = _static
_UNPLANNED: Any = object()
"""Stands for the plan of a loop of which compiled calls know nothing yet."""


def _is_across(x: Any) -> bool:
    """Whether an operand is so large that the order in which it is read matters."""
    return x.size >= _LARGE and x.ndim > 1 and not x.flags.c_contiguous


def _alike(arguments: tuple[Any, ...], casts: tuple[Any, ...]) -> tuple[Array, ...] | None:
    """The operands as arrays, if those of tensors are of one shape and have no gaps."""
    shape = arguments[0]._array.shape
    operands = []
    for x, make in zip(arguments, casts, strict=True):
        if make is None:
            array = x._array
            if array.shape != shape or not array.flags.c_contiguous:
                return None
            operands.append(array)
        elif make is not _STATIC:
            operands.append(np.asarray(make(x)))
    return tuple(operands)


def _kind(x: Any) -> Any:
    """What the plan of a call depends on, of one operand."""
    if isinstance(x, Tensor):
        return x.dtype if x._array.ndim else x.dtype.name
    return x.__class__


def operands_dtype(operands: Sequence[Any]) -> dtype:
    """The dtype that tensors and numbers promote to, by PyTorch's three categories."""
    dims: dtype | None = None
    zero_dim: dtype | None = None
    wrapped: type | None = None
    for x in operands:
        if isinstance(x, Tensor):
            if x._array.ndim:
                dims = x.dtype if dims is None else binary_result(dims, x.dtype)
            else:
                zero_dim = x.dtype if zero_dim is None else binary_result(zero_dim, x.dtype)
        elif x is not None and (
            wrapped is None or scalar_dtype(x).category > scalar_dtype(wrapped()).category
        ):
            wrapped = type(x)
    return result_of(dims, zero_dim, wrapped)


def sum_to_shape(array: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the dimensions along which ``shape`` was broadcast to the array's shape."""
    extra = array.ndim - len(shape)
    axes = tuple(
        axis
        for axis, size in enumerate(array.shape)
        if axis < extra or (shape[axis - extra] == 1 and size != 1)
    )
    total = reduce.sum(array, axes, True, array.dtype) if axes else array
    return total.reshape(shape)


def _summed(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A gradient summed over the dimensions along which ``shape`` was broadcast to its own."""
    extra = grad._array.ndim - len(shape)
    if extra and grad._array.shape[extra:] == shape:  # a call that compiled code answers
        rows = grad if extra == 1 else grad.reshape(math.prod(grad.shape[:extra]), *shape)
        return rows.sum(0)
    return wrap(sum_to_shape(grad._array, shape), grad.dtype)


def _raise_unless_broadcastable(arrays: Sequence[Any]) -> None:
    """Raises PyTorch's error naming the sizes, if shapes are what is wrong."""
    shapes = [np.shape(x) for x in arrays]
    result: list[int] = []  # sizes from the last dimension on
    for shape in shapes:
        for place, size in enumerate(reversed(shape)):
            if place == len(result):
                result.append(size)
            elif result[place] == 1:
                result[place] = size
            elif size not in (1, result[place]):
                dim = max(map(len, shapes)) - 1 - place
                raise RuntimeError(
                    f"The size of tensor a ({result[place]}) must match the size of tensor b "
                    f"({size}) at non-singleton dimension {dim}"
                )


def _fitted(grad: Tensor, shape: tuple[int, ...], kind: dtype) -> Tensor:
    """A gradient summed over broadcast dimensions and cast, by recorded operations."""
    if grad._array.shape != shape:
        grad = grad.sum_to_size(shape)
    return grad if grad.dtype is kind else grad.to(kind)


def nothing(g: Any) -> Any:
    """The derivative of a step: zeros, even where ``g`` is not finite."""
    return s.where(g == g, 0.0, 0.0)


def pointwise(forward: Callable[..., Any], **keywords: Any) -> PointwiseOp:
    """A row computed element by element: options of :class:`PointwiseOp`, and derivatives."""
    options = {name: keywords.pop(name) for name in _OPTIONS & keywords.keys()}
    return PointwiseOp(forward, keywords, **options)


_OPTIONS = frozenset(PointwiseOp.__init__.__kwdefaults__ or ())
