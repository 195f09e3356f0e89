"""Derivatives of functions: products with vectors, Jacobians and Hessians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ops.joining import stack
from ..tensor import Tensor, wrap
from .calls import grad
from .mode import enable_grad, is_grad_enabled, set_grad_enabled

Tensors = tuple[Tensor, ...]
Given = Tensor | Tensors
_STRICT = "This is not allowed in strict mode"


def vjp(
    func: Callable[..., Any],
    inputs: Given,
    v: Given | None = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The outputs of ``func``, and the product of ``v`` with its Jacobian.

    ``v`` has the shapes of the outputs, and may be None where there is one with one element. The
    product has the shapes of the inputs. With ``strict`` an output that does not depend on an input
    raises RuntimeError; otherwise its derivative is zero.

    >>> import numtorch as torch
    >>> x = torch.tensor([1.0, 2.0])
    >>> torch.autograd.functional.vjp(lambda x: x * x, x, torch.ones(2))
    (tensor([1., 4.]), tensor([2., 4.]))
    """
    call = _Call("vjp", func, inputs, create_graph, strict)
    call.run()
    weights = call.weights(v, call.outputs, call.several_outputs, "function returns a single")
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _gradients(call.outputs, call.inputs, weights, create_graph)
    return call.finished(found, call.inputs, call.several_inputs, "back")


def jvp(
    func: Callable[..., Any],
    inputs: Given,
    v: Given | None = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The outputs of ``func``, and the product of its Jacobian with ``v``.

    ``v`` has the shapes of the inputs, and may be None where there is one with one element. The
    product, of the outputs' shapes, is the derivative of a vector-Jacobian product for its vector.
    """
    call = _Call("jvp", func, inputs, create_graph, strict)
    weights = call.weights(v, call.inputs, call.several_inputs, "input is a single")
    call.run()
    with enable_grad():
        starts = tuple(_zeros_like(x).requires_grad_() for x in call.outputs)
        back = _gradients(call.outputs, call.inputs, starts, True)
        call.require(back, "grad_inputs")
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _gradients(back, starts, weights, create_graph)
    return call.finished(found, call.outputs, call.several_outputs, "back_trick")


def vhp(
    func: Callable[..., Any],
    inputs: Given,
    v: Given | None = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The output of ``func``, a scalar, and the product of ``v`` with its Hessian."""
    call = _Call("vhp", func, inputs, create_graph, strict)
    weights = call.weights(v, call.inputs, call.several_inputs, "input is a single")
    slopes = call.slopes()
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _gradients(slopes, call.inputs, weights, create_graph)
    return call.finished(found, call.inputs, call.several_inputs, "double_back")


def hvp(
    func: Callable[..., Any],
    inputs: Given,
    v: Given | None = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The output of ``func``, a scalar, and the product of its Hessian with ``v``."""
    call = _Call("hvp", func, inputs, create_graph, strict)
    weights = call.weights(v, call.inputs, call.several_inputs, "input is a single")
    slopes = call.slopes()
    with enable_grad():
        starts = tuple(_zeros_like(x).requires_grad_() for x in call.inputs)
        back = _gradients(slopes, call.inputs, starts, True)
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _gradients(back, starts, weights, create_graph)
    return call.finished(found, call.inputs, call.several_inputs, "double_back_trick")


def jacobian(
    func: Callable[..., Any],
    inputs: Given,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The derivative of each output of ``func`` for each input: of both shapes, the output's first.

    Tuples of inputs or outputs give tuples: ``jacobian[output][input]``. ``vectorize`` and
    ``strategy`` are accepted, and do not change how the rows are computed: one backward pass each.

    >>> import numtorch as torch
    >>> torch.autograd.functional.jacobian(lambda x: x * x, torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    _check_strategy(strategy, create_graph, strict, vectorize)
    call = _Call("jacobian", func, inputs, create_graph, strict)
    call.run()
    with set_grad_enabled(create_graph or is_grad_enabled()):
        rows = tuple(_finish(call.rows(each), create_graph) for each in range(len(call.outputs)))
    inner = rows if call.several_inputs else tuple(row[0] for row in rows)
    return inner if call.several_outputs else inner[0]


def hessian(
    func: Callable[..., Any],
    inputs: Given,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of ``func``, a scalar, for each pair of inputs.

    A tuple of inputs gives tuples: ``hessian[i][j]`` has the shape of input i + that of input j.

    >>> import numtorch as torch
    >>> torch.autograd.functional.hessian(lambda x: (x * x * x).sum(), torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def slopes(*arguments: Tensor) -> Any:
        call = _Call("hessian", func, arguments, True, strict)
        found = call.slopes()
        return found if isinstance(inputs, tuple) else found[0]

    return jacobian(slopes, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)


def _check_strategy(strategy: str, create_graph: bool, strict: bool, vectorize: bool) -> None:
    where = "torch.autograd.functional.jacobian: "
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your '
            'function has more outputs than inputs, "forward-mode" tends to be more performant. '
            'Otherwise, prefer to use "reverse-mode".'
        )
    if strategy == "forward-mode":
        if create_graph:
            raise NotImplementedError(
                f'{where}`create_graph=True` and `strategy="forward-mode"` are not supported '
                "together (yet). Please either set `create_graph=False` or "
                '`strategy="reverse-mode"`.'
            )
        if strict:
            raise RuntimeError(
                f'{where}`strict=True` and `strategy="forward-mode"` are not supported together '
                '(yet). Please either set `strict=False` or `strategy="reverse-mode"`.'
            )
        if not vectorize:
            raise NotImplementedError(
                "Computing Jacobian using forward-AD or forward-over-reverse Hessian is"
                "only implemented for `vectorize=True`."
            )
    if strict and vectorize:
        raise RuntimeError(
            f"{where}`strict=True` and `vectorized=True` are not supported together. Please "
            "either set `strict=False` or `vectorize=False`."
        )


class _Call:
    """A call of the user's function on tensors of its own, and what is known of it."""

    outputs: Tensors
    several_outputs: bool

    def __init__(
        self, name: str, func: Callable[..., Any], inputs: Any, create_graph: bool, strict: bool
    ) -> None:
        self.name = name
        self.func = func
        self.create_graph = create_graph
        self.strict = strict
        self.several_inputs = isinstance(inputs, tuple)
        self.inputs = self.fresh(_as_tuple(inputs, "inputs", name), True)

    def fresh(self, tensors: Tensors, needs_grad: bool) -> Tensors:
        """Other tensors of the same memory; still in the graph where one is to be created."""
        with enable_grad():
            return tuple(
                x.view(x.shape)
                if self.create_graph and x.requires_grad
                else x.detach().requires_grad_(needs_grad)
                for x in tensors
            )

    def run(self) -> None:
        """Computes the outputs."""
        with enable_grad():
            outputs = self.func(*self.inputs)
        self.several_outputs = isinstance(outputs, tuple)
        self.outputs = _as_tuple(outputs, "outputs of the user-provided function", self.name)
        self.require(self.outputs, "outputs")

    def slopes(self) -> Tensors:
        """The differentiable gradient of the output, which must be a scalar."""
        self.run()
        if self.several_outputs:
            raise RuntimeError(f"The function given to {self.name} should return a single Tensor")
        if self.outputs[0].numel() != 1:
            raise RuntimeError(
                f"The Tensor returned by the function given to {self.name} should contain a single "
                "element"
            )
        with enable_grad():
            found = _gradients(self.outputs, self.inputs, None, True)
            self.require(found, "jacobian")
        return tuple(
            _zeros_like(x) if each is None else each
            for x, each in zip(self.inputs, found, strict=True)
        )

    def weights(self, v: Any, likes: Tensors, several: bool, single: str) -> Tensors | None:
        """The vector of a product, of the shapes of ``likes``."""
        if v is None:
            if len(likes) == 1 and likes[0].numel() == 1:
                return None
            raise RuntimeError(_VECTOR_NEEDED[single])
        given = self.fresh(_as_tuple(v, "v", self.name), False)
        if len(given) != len(likes):
            if several:
                raise RuntimeError(
                    f"v is a tuple of invalid length: should be {len(likes)} but got {len(given)}."
                )
            raise RuntimeError("The given v should contain a single Tensor.")
        for index, (have, like) in enumerate(zip(given, likes, strict=True)):
            if have.shape != like.shape:
                entry = f"Entry {index} in " if several else ""
                raise RuntimeError(
                    f"{entry}v has invalid size: should be {like.shape} but got {have.shape}."
                )
        return given

    def rows(self, output: int) -> Tensors:
        """The Jacobian of one output for each input."""
        result = self.outputs[output]
        columns: list[list[Tensor]] = [[] for _ in self.inputs]
        for place in range(result.numel()):
            start = _zeros_like(result)
            start._array.reshape(-1)[place] = 1
            found = _gradients((result,), self.inputs, (start,), self.create_graph, retain=True)
            for index, (x, each) in enumerate(zip(self.inputs, found, strict=True)):
                if each is None and self.strict:
                    raise RuntimeError(
                        f"Output {output} of the user-provided function is independent of input "
                        f"{index}. {_STRICT}."
                    )
                if self.strict and self.create_graph and not each.requires_grad:  # type: ignore[union-attr]
                    raise RuntimeError(
                        "The jacobian of the user-provided function is independent of input "
                        f"{output}. {_STRICT} when create_graph=True."
                    )
                columns[index].append(_zeros_like(x) if each is None else each)
        return tuple(
            stack(column).view(result.shape + x.shape)
            if column
            else _zeros(result.shape + x.shape, x)
            for column, x in zip(columns, self.inputs, strict=True)
        )

    def require(self, tensors: Sequence[Tensor | None], kind: str) -> None:
        """In strict mode, raises of a tensor that does not depend on the inputs."""
        if not self.strict:
            return
        for index, x in enumerate(tensors):
            if x is None:
                raise RuntimeError(
                    "The output of the user-provided function is independent of input "
                    f"{index}. {_STRICT}."
                )
            if not x.requires_grad:
                raise RuntimeError(_INDEPENDENT[kind].format(index))

    def finished(
        self, grads: Sequence[Tensor | None], likes: Tensors, several: bool, stage: str
    ) -> tuple[Any, Any]:
        """The outputs and the product as the caller gets them."""
        product = []
        for index, (each, like) in enumerate(zip(grads, likes, strict=True)):
            if each is None and self.strict:
                raise RuntimeError(_MISSING[stage].format(index))
            if self.strict and self.create_graph and not each.requires_grad:  # type: ignore[union-attr]
                order = "hessian" if "double" in stage else "jacobian"
                raise RuntimeError(
                    f"The {order} of the user-provided function is independent of input {index}. "
                    f"{_STRICT} when create_graph=True."
                )
            product.append(_zeros_like(like) if each is None else each)
        outputs = _finish(self.outputs, self.create_graph)
        result = _finish(product, self.create_graph)
        return (
            outputs if self.several_outputs else outputs[0],
            result if several else result[0],
        )


_VECTOR_NEEDED = {
    "function returns a single": "The vector v can only be None if the user-provided function "
    "returns a single Tensor with a single element.",
    "input is a single": "The vector v can only be None if the input to the user-provided function "
    "is a single Tensor with a single element.",
}
_INDEPENDENT = {
    "outputs": "Output {} of the user-provided function does not require gradients. The outputs "
    "must be computed in a differentiable manner from the input when running in strict mode.",
    "grad_inputs": "The gradient with respect to input {} is independent of the inputs of the "
    f"user-provided function. {_STRICT}.",
    "jacobian": "While computing the hessian, found that the jacobian of the user-provided "
    f"function with respect to input {{}} is independent of the input. {_STRICT}. You should "
    "ensure that your function is twice differentiable and that the jacobian depends on the inputs "
    "(this would be violated by a linear function for example).",
}
_MISSING = {
    "back": f"The output of the user-provided function is independent of input {{}}. {_STRICT}.",
    "back_trick": "The gradient with respect to the input is independent of entry {} in the "
    "grad_outputs when using the double backward trick to compute forward mode gradients. "
    f"{_STRICT}.",
    "double_back": "The jacobian of the user-provided function is independent of input {}. "
    f"{_STRICT}.",
    "double_back_trick": "The hessian of the user-provided function is independent of entry {} in "
    f"the grad_jacobian. {_STRICT} as it prevents from using the double backward trick to replace "
    "forward mode AD.",
}


def _as_tuple(given: Any, what: str, name: str) -> Tensors:
    """Tensors as a tuple; TypeError of anything else."""
    several = isinstance(given, tuple)
    tensors = given if several else (given,)
    for index, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            place = f"value at index {index}" if several else f"given {what}"
            raise TypeError(
                f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the "
                f"{place} has type {type(x)}."
            )
    return tensors


def _gradients(
    outputs: Sequence[Tensor | None],
    inputs: Tensors,
    weights: Sequence[Tensor] | None,
    create_graph: bool,
    retain: bool | None = None,
) -> tuple[Tensor | None, ...]:
    """Like :func:`grad`, of those outputs that are in the graph."""
    starts: Sequence[Tensor | None] = weights if weights is not None else (None,) * len(outputs)
    pairs = [
        (x, start)
        for x, start in zip(outputs, starts, strict=True)
        if x is not None and x.requires_grad
    ]
    if not pairs:
        return (None,) * len(inputs)
    return grad(
        [x for x, _ in pairs],
        inputs,
        [start for _, start in pairs],
        retain_graph=retain,
        create_graph=create_graph,
        allow_unused=True,
    )


def _finish(tensors: Sequence[Tensor], create_graph: bool) -> Tensors:
    return tuple(x if create_graph else x.detach() for x in tensors)


def _zeros_like(x: Tensor) -> Tensor:
    return _zeros(x.shape, x)


def _zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    return wrap(np.zeros(tuple(shape), like.dtype.numpy), like.dtype)
