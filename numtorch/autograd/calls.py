"""Starting the engine: :func:`backward`, :func:`grad`, and the tensor methods of the graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .graph import Edge, RemovableHandle, add_hook, add_leaf_hook, edge_of, run_backward

Tensors = Tensor | Sequence[Tensor]
Gradients = Tensor | Sequence[Tensor | None] | None

_CREATES_CYCLE = (
    "Using backward() with create_graph=True will create a reference cycle between the parameter "
    "and its gradient which can cause a memory leak. We recommend using autograd.grad when "
    "creating the graph to avoid this. If you have to use this function, make sure to reset the "
    ".grad fields of your parameters to None after use to break the cycle and avoid the leak."
)


def backward(
    tensors: Tensors,
    grad_tensors: Gradients = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    *,
    inputs: Tensors | None = None,
) -> None:
    """Adds the gradients of ``tensors`` to the ``grad`` of the leaves that they depend on.

    ``grad_tensors`` are the gradients of the tensors themselves, of the same shapes; of a tensor
    with one element it may be None, which means 1. With ``inputs``, only those get gradients.

    Raises RuntimeError where a tensor does not require grad, a gradient is missing or has another
    shape, or the graph was freed by an earlier call without ``retain_graph``.

    >>> import numtorch as torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> torch.autograd.backward((x * x).sum())
    >>> x.grad
    tensor([2., 4.])
    """
    wanted = None if inputs is None else _as_tuple(inputs)
    if wanted is not None and not wanted:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    if create_graph:
        warnings.warn(_CREATES_CYCLE, stacklevel=2)
    for tensor in wanted or ():
        if not (tensor.is_leaf and tensor.requires_grad):
            retain_grad(tensor)
    run_backward(
        _roots(_as_tuple(tensors), grad_tensors),
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
        inputs=wanted,
    )


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Gradients = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of the sum of ``outputs``, weighted by ``grad_outputs``, for each input.

    No ``grad`` is changed. With ``create_graph`` the results are differentiable. An input that the
    outputs do not depend on has the gradient None where ``allow_unused``, zeros where
    ``materialize_grads``.

    Raises RuntimeError as :func:`backward` does, and of an unused input.

    >>> import numtorch as torch
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> (slope,) = torch.autograd.grad(x * x, x, create_graph=True)
    >>> torch.autograd.grad(slope, x)
    (tensor(2.),)
    """
    if is_grads_batched:
        raise NotImplementedError("grad(): is_grads_batched=True is not supported")
    if materialize_grads:
        if allow_unused is False:
            raise ValueError(
                "Expected allow_unused to be True or not passed when materialize_grads=True, "
                "but got: allow_unused=False."
            )
        allow_unused = True
    wanted = _as_tuple(inputs)
    if not wanted:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    results = run_backward(
        _roots(_as_tuple(outputs), grad_outputs),
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
        inputs=wanted,
        accumulate=False,
    )
    for index, result in enumerate(results):
        if result is None:
            if not allow_unused:
                raise RuntimeError(
                    f"The differentiated Tensor at index {index} appears to not have been used in "
                    "the graph. Set allow_unused=True if this is the desired behavior."
                )
            if materialize_grads:
                like = wanted[index]
                results[index] = wrap(np.zeros(like.shape, like.dtype.numpy), like.dtype)
    return tuple(results)


def _as_tuple(tensors: Tensors) -> tuple[Tensor, ...]:
    return (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)


def _roots(tensors: tuple[Tensor, ...], grads: Gradients) -> list[tuple[Edge, Tensor]]:
    """Where the engine starts, with what; everything that can be wrong is found here."""
    if grads is None:
        grads = (None,) * len(tensors)
    elif isinstance(grads, Tensor):
        grads = (grads,)
    if len(tensors) != len(grads):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(grads)} gradients")
    starts = [_start(tensor, grads[index], index) for index, tensor in enumerate(tensors)]
    roots = []
    for index, start in enumerate(starts):
        edge = edge_of(tensors[index])
        if edge is None or start is None:
            raise RuntimeError(
                f"element {index} of tensors does not require grad and does not have a grad_fn"
            )
        roots.append((edge, start))
    return roots


def _start(tensor: Tensor, grad: Any, index: int) -> Tensor | None:
    """The gradient to start from; None where the tensor requires none."""
    if isinstance(grad, Tensor):
        if grad._array.shape != tensor._array.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{index}] has a shape of {grad.shape} and "
                f"output[{index}] has a shape of {tensor.shape}."
            )
        return grad if grad.dtype is tensor.dtype else grad.to(tensor.dtype)
    if grad is not None:
        raise TypeError(f"gradients can be either Tensors or None, but got {type(grad).__name__}")
    if not tensor.requires_grad:
        return None
    if tensor._array.size != 1:
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    one = np.array(1, tensor._array.dtype)  # a quarter of the time of np.ones
    return wrap(one.reshape(tensor._array.shape) if tensor._array.ndim else one, tensor.dtype)


# ---------------------------------------------------------------------- methods of tensors


def _backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Adds the tensor's gradients to the leaves' ``grad``; see :func:`numtorch.autograd.backward`.

    ``gradient``, of the tensor's shape, may be left out of a tensor with one element.
    """
    backward(self, gradient, retain_graph, create_graph, inputs=inputs)


def register_hook(self: Tensor, hook: Callable[..., Any]) -> RemovableHandle:
    """Calls ``hook(grad)`` when the tensor's gradient is known; it may give another in its place.

    Raises RuntimeError of a tensor that does not require grad.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    node = self.grad_fn
    if node is not None:
        return add_hook(node.tensor_hooks(self._output), hook)
    if self._hooks is None:
        self._hooks = {}
    return add_leaf_hook(self._hooks, hook)


def register_post_accumulate_grad_hook(
    self: Tensor, hook: Callable[[Tensor], Any]
) -> RemovableHandle:
    """Calls ``hook(tensor)`` each time its ``grad`` has been added to.

    Raises RuntimeError of a tensor that is no leaf or does not require grad.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self.grad_fn is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    if self._accumulated_hooks is None:
        self._accumulated_hooks = {}
    return add_leaf_hook(self._accumulated_hooks, hook)


def retain_grad(self: Tensor) -> None:
    """Lets a tensor that is no leaf keep its gradient in ``grad``.

    Raises RuntimeError of a tensor that does not require grad.
    """
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self.grad_fn is not None and not self._retains_grad:
        self._retains_grad = True
        self._node.retain(self)


def detach_(self: Tensor) -> Tensor:
    """Takes the tensor out of the graph, in place.

    Raises RuntimeError of a view.
    """
    if self._view is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using "
            "DistributedDataParallel (DDP) for training, and gradient_as_bucket_view is set as "
            "True, gradients are views of DDP buckets, and hence detach_() cannot be called on "
            "these gradients. To fix this error, please refer to the Optimizer.zero_grad() "
            "function in torch/optim/optimizer.py as the solution."
        )
    self._node, self._output, self._needs_grad, self._retains_grad = None, 0, False, False
    return self


METHODS = {
    "backward": _backward,
    "detach_": detach_,
    "register_hook": register_hook,
    "register_post_accumulate_grad_hook": register_post_accumulate_grad_hook,
    "retain_grad": retain_grad,
}
