"""Operations with a derivative of the user's own."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..dtype import dtype, type_name
from ..tensor import Tensor, View, wrap
from .graph import Grads, Node, edge_of
from .inplace import alias, rebase
from .mode import mode
from .saved import FREED, SavedResult, unpacked


class FunctionCtx:
    """What ``forward`` notes down for ``backward``; any attribute may be set on it besides."""

    needs_input_grad: tuple[bool, ...] = ()
    """For each argument of ``forward``, whether it is a tensor that requires grad."""

    _to_save: tuple[Any, ...] = ()
    _saved: list[tuple[Any, int | None]] | None = None  # None before forward is done
    _freed = False
    _dirty: tuple[Tensor, ...] = ()
    _plain: tuple[Tensor, ...] = ()
    _materialize = True
    _node: Callable[[], Node | None]

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs, outputs or other tensors for ``backward``, where ``saved_tensors`` is.

        Raises TypeError of anything but a tensor or None.
        """
        for place, tensor in enumerate(tensors):
            if not (tensor is None or isinstance(tensor, Tensor)):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {place} is of type "
                    f"{type_name(type(tensor))}"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted for programs that define a forward derivative, which is not computed."""

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Says which inputs ``forward`` changes in place; it must return them."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Says which results do not depend differentiably on the inputs."""
        self._plain = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether ``backward`` gets zeros for a missing gradient (the default), or None."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What was saved.

        Raises RuntimeError if it was freed, or a tensor was changed in place since.
        """
        if self._freed:
            raise RuntimeError(FREED)
        if self._saved is None:
            return self._to_save
        node = self._node()
        return tuple(unpacked(value, version, node) for value, version in self._saved)

    def _keep(self, node: Node, results: Sequence[Any]) -> None:
        """Saves what forward asked for, now that its results have their place in the graph."""
        self._node = weakref.ref(node)
        self._saved = []
        for tensor in self._to_save:
            kept: Any = tensor
            for output, result in enumerate(results):
                if tensor is result and tensor is not None:
                    kept = SavedResult(tensor, output, tensor._node is node)
            self._saved.append((kept, None if tensor is None else tensor._version))
        self._to_save = ()


class FunctionNode(Node):
    """The node of a call of a :class:`Function`."""

    __slots__ = ("ctx", "likes", "places", "results")
    function: ClassVar[type[Function]]

    def __init__(self, ctx: FunctionCtx, inputs: Sequence[Any], results: Sequence[Any]) -> None:
        tensors = [(place, x) for place, x in enumerate(inputs) if isinstance(x, Tensor)]
        super().__init__(tuple(edge_of(x) for _, x in tensors), len(results))
        self.ctx = ctx
        self.places = {place: edge for edge, (place, _) in enumerate(tensors)}
        self.likes = [(x._array.shape, x.dtype) for _, x in tensors]
        self.results = [
            (x._array.shape, x.dtype) if isinstance(x, Tensor) else None for x in results
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ctx, name)

    def __repr__(self) -> str:
        return f"<torch.autograd.function.{self.name()} object at {id(self):#x}>"

    def run(self, grads: Grads, create_graph: bool) -> Sequence[Tensor | None]:
        """The gradients that the user's ``backward`` gives, checked."""
        if self.ctx._materialize:
            grads = [
                _zeros(*like) if grad is None and like is not None else grad
                for grad, like in zip(grads, self.results, strict=True)
            ]
        given = self.function._derivative()(self.ctx, *grads)
        given = given if isinstance(given, tuple) else (given,)
        count = len(self.ctx.needs_input_grad)
        if len(given) < count or any(grad is not None for grad in given[count:]):
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients "
                f"(expected {count}, got {len(given)})"
            )
        found: list[Tensor | None] = [None] * len(self.edges)
        for place, grad in enumerate(given[:count]):
            if grad is None:
                continue
            if place not in self.places:
                raise RuntimeError(
                    f"function {self.name()} returned a gradient different than None at position "
                    f"{place + 1}, but the corresponding forward input was not a Variable"
                )
            if not isinstance(grad, Tensor):
                raise RuntimeError(f"expected Variable or None (got {type_name(type(grad))})")
            edge = self.places[place]
            if self.edges[edge] is not None:
                found[edge] = self._fitted(grad, edge)
        return found

    def _fitted(self, grad: Tensor, edge: int) -> Tensor:
        """A gradient of the shape and dtype of its input."""
        shape, kind = self.likes[edge]
        if grad._array.shape != shape:
            try:
                fits = np.broadcast_shapes(grad._array.shape, shape) == grad._array.shape
            except ValueError:
                fits = False
            if not fits:
                raise RuntimeError(
                    f"Function {self.name()} returned an invalid gradient at index {edge} - got "
                    f"{list(grad.shape)} but expected shape compatible with {list(shape)}"
                )
            grad = grad.sum_to_size(shape)
        return grad if grad.dtype is kind else grad.to(kind)

    def release(self) -> None:
        """Lets go of the saved tensors."""
        if self.ctx._saved:
            self.ctx._saved = []
        self.ctx._freed = True


class Function:
    """An operation whose forward and backward are given as static methods.

    ``forward(ctx, *args)`` computes the result (or a tuple of them) and is not recorded;
    ``backward(ctx, *grads)`` gives, for each argument, its gradient or None. ``forward`` may leave
    ``ctx`` to ``setup_context(ctx, inputs, output)``. A call is ``Name.apply(*args)``.

    >>> import numtorch as torch
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (x,) = ctx.saved_tensors
    ...         return 3 * x * x * grad
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    _node_class: ClassVar[type[FunctionNode]]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls._node_class = type(
            f"{cls.__name__}Backward",
            (FunctionNode,),
            {"__slots__": (), "__module__": "torch.autograd.function", "function": cls},
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the result."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Notes down what ``backward`` needs, if ``forward`` takes no ``ctx``."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Computes the gradients of the arguments from those of the results."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    vjp = backward

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """The result of ``forward``, recorded with this class's ``backward``."""
        ctx = FunctionCtx()
        apart = cls.setup_context is not Function.setup_context
        if apart:
            bound = inspect.signature(cls.forward).bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        inputs = (*args, *kwargs.values())
        ctx.needs_input_grad = tuple(isinstance(x, Tensor) and x.requires_grad for x in inputs)
        recording, mode.recording = mode.recording, False
        try:
            if apart:
                output = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, inputs, output)
            else:
                output = cls.forward(ctx, *args, **kwargs)
        finally:
            mode.recording = recording
        needed = recording and any(ctx.needs_input_grad)
        if isinstance(output, tuple):
            return cls._recorded(ctx, inputs, output, needed)
        return cls._recorded(ctx, inputs, (output,), needed)[0]

    @classmethod
    def _recorded(
        cls, ctx: FunctionCtx, inputs: tuple[Any, ...], outputs: tuple[Any, ...], needed: bool
    ) -> tuple[Any, ...]:
        """The outputs of forward with their place in the graph."""
        if any(all(x is not output for output in outputs) for x in ctx._dirty):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as "
                "output. The inputs that are modified inplace must all be outputs of the Function."
            )
        node = cls._node_class(ctx, inputs, outputs) if needed else None
        results = tuple(
            cls._placed(ctx, node, place, x, inputs) if isinstance(x, Tensor) else x
            for place, x in enumerate(outputs)
        )
        if node is not None:
            saved = {id(old): new for old, new in zip(outputs, results, strict=True)}
            ctx._to_save = tuple(saved.get(id(x), x) for x in ctx._to_save)
            ctx._keep(node, results)
        return results

    @classmethod
    def _placed(
        cls,
        ctx: FunctionCtx,
        node: FunctionNode | None,
        output: int,
        tensor: Tensor,
        inputs: tuple[Any, ...],
    ) -> Tensor:
        """One tensor that forward gave, as output of a node."""
        taken = [place for place, x in enumerate(inputs) if x is tensor]
        plain = tensor.dtype.category != 2 or any(tensor is x for x in ctx._plain)
        if any(tensor is x for x in ctx._dirty):
            tensor._bump_version()
            if node is None:
                return tensor
            if tensor.requires_grad and tensor.grad_fn is None:
                raise RuntimeError(
                    "a leaf Variable that requires grad has been used in an in-place operation."
                )
            rebase(tensor, node, output, node.places[taken[0]] if taken else None)
            return tensor
        if node is None or plain:
            return tensor.detach() if taken else tensor
        if taken or tensor._view is not None:
            base = tensor if tensor._view is None else tensor._view.base
            tensor = alias(tensor)
            tensor._view = View(base, "function", tensor._version)
        tensor._node, tensor._output, tensor._needs_grad = node, output, True
        return tensor

    @classmethod
    def _derivative(cls) -> Callable[..., Any]:
        """``backward``, or ``vjp`` where that is what the class defines."""
        return cls.vjp if cls.vjp is not Function.vjp else cls.backward


def _zeros(shape: tuple[int, ...], kind: dtype) -> Tensor:
    return wrap(np.zeros(shape, kind.numpy), kind)


class _DelayedError(Node):
    """The node of a gradient that must not be differentiated again."""

    __slots__ = ("message",)

    def __init__(self, message: str, outputs: int) -> None:
        super().__init__((), outputs)
        self.message = message

    def run(self, grads: Grads, create_graph: bool) -> Sequence[Tensor | None]:
        """Raises the error."""
        raise RuntimeError(self.message)


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a ``backward`` whose result is not differentiable itself.

    Differentiating it raises RuntimeError.
    """

    @functools.wraps(function)
    def wrapped(ctx: Any, *args: Any) -> Any:
        recording, mode.recording = mode.recording, False
        try:
            outputs = function(ctx, *args)
        finally:
            mode.recording = recording
        if not recording or not any(isinstance(x, Tensor) and x.requires_grad for x in args):
            return outputs
        results = outputs if isinstance(outputs, tuple) else (outputs,)
        error = _DelayedError(
            "trying to differentiate twice a function that was marked with @once_differentiable",
            len(results),
        )
        refusing = []
        for output, x in enumerate(results):
            result = alias(x) if isinstance(x, Tensor) else x
            if isinstance(x, Tensor):
                result._node, result._output, result._needs_grad = error, output, True
            refusing.append(result)
        return tuple(refusing) if isinstance(outputs, tuple) else refusing[0]

    return wrapped
