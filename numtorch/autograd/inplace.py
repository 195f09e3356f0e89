"""In-place changes in the graph: of tensors, of views, and of what views are views of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from ..tensor import Tensor, View, wrap
from .graph import Grads, Node, edge_of

_MULTIPLE = (
    " This view is the output of a function that returns multiple views. Such functions do not "
    "allow the output views to be modified inplace. You should replace the inplace operation by an "
    "out-of-place one."
)
_FUNCTION = (
    " This view was created inside a custom Function (or because an input was returned as-is) and "
    "the autograd logic to handle view+inplace would override the custom backward associated with "
    "the custom Function, leading to incorrect gradients. This behavior is forbidden. You can fix "
    "this by cloning the output of the custom Function."
)
_NO_GRAD = (
    " with grad mode enabled. Given that this use case is ambiguous and error-prone, it is "
    "forbidden. You can clarify your code by moving both the view and the inplace either both "
    "inside the no_grad block (if you don't want the inplace to be tracked) or both outside (if "
    "you want the inplace to be tracked)."
)


def alias(tensor: Tensor) -> Tensor:
    """Another tensor for the same memory and the same place in the graph."""
    if tensor._view is not None:
        tensor._refresh_view()
    result = wrap(tensor._array, tensor.dtype)
    result._node, result._output = tensor._node, tensor._output
    result._needs_grad = tensor.requires_grad
    result._version_counter = tensor._shared_version()
    return result


def check_inplace(target: Tensor) -> None:
    """Raises PyTorch's errors where a recorded in-place change is not allowed."""
    view = target._view
    if view is not None:
        refuse_change(target, view, "is being modified inplace")
    if target.requires_grad and (target if view is None else view.base)._node is None:
        raise RuntimeError(
            f"a {'' if view is None else 'view of a '}leaf Variable that requires grad is being "
            "used in an in-place operation."
        )


def refuse_change(target: Tensor, view: View, what: str) -> None:
    """Raises PyTorch's error of a view that neither it nor its base may be changed in place."""
    if view.kind in ("multiple", "function"):
        node = "None" if target._node is None else target._node.stem()
        reason = _MULTIPLE if view.kind == "multiple" else _FUNCTION
        raise RuntimeError(f"Output {target._output} of {node} is a view and {what}.{reason}")
    if view.kind == "no_grad":
        raise RuntimeError(f"A view was created in no_grad mode and {what}{_NO_GRAD}")


def move(target: Tensor, node: Node, output: int = 0) -> None:
    """Gives a tensor another place in the graph; the gradient that it retains is of that place."""
    old = target._node
    if target._retains_grad and old is not None and old._retaining is not None:
        old._retaining.pop(target._output, None)
        target._node, target._output = node, output
        node.retain(target)
    target._node, target._output, target._needs_grad = node, output, True


def rebase(target: Tensor, node: Node, output: int = 0, edge: int | None = 0) -> None:
    """Makes a tensor that was changed in place, or the base of a changed view, an output of a node.

    ``edge`` says which of the node's edges is the target's own, None if it has none.
    """
    view = target._view
    if view is None:
        move(target, node, output)
    else:
        move(view.base, CopySlices(view.base, target, node, output, edge))
        target._refresh_view()


class CopySlices(Node):
    """The node of a tensor, one of whose views was changed in place by another node."""

    __slots__ = ("change", "edge", "layout", "output", "view")
    as_strided: ClassVar[Callable[..., Tensor]]  # set by ops.views
    scatter: ClassVar[Callable[..., Tensor]]

    def __init__(
        self, base: Tensor, view: Tensor, change: Node, output: int, edge: int | None
    ) -> None:
        others = [each for place, each in enumerate(change.edges) if place != edge]
        super().__init__((edge_of(base), *others))
        self.change = change
        self.output = output
        self.edge = edge
        self.layout = base.stride()
        offset = (view.data_ptr() - base.data_ptr()) // view.element_size()
        self.view = (view.shape, view.stride(), offset)

    def name(self) -> str:
        """The name of the node, with its namespace."""
        return "torch::autograd::CopySlices"

    def run(self, grads: Grads, create_graph: bool) -> Sequence[Tensor | None]:
        """The base's gradient with the view's part put through the change."""
        (grad,) = grads
        if grad is None:
            return [None] * len(self.edges)
        part = CopySlices.as_strided(grad, *self.view, self.layout)
        incoming: Grads = [None] * self.change.outputs
        incoming[self.output] = part
        results = list(self.change.run(incoming, create_graph))
        inner = None if self.edge is None else results.pop(self.edge)
        if inner is None:
            inner = wrap(np.zeros(part._array.shape, part._array.dtype), part.dtype)
        return [CopySlices.scatter(grad, inner, *self.view, self.layout), *results]

    def release(self) -> None:
        """Lets go of what the change saved."""
        self.change.release()
