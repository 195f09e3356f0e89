"""In-place changes in the graph: of tensors, of views, and of what views are views of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from ..tensor import Tensor, wrap
from .graph import Grads, Node, edge_of


def alias(tensor: Tensor) -> Tensor:
    """Another tensor for the same memory and the same place in the graph."""
    result = wrap(tensor._array, tensor.dtype)
    result._node, result._output = tensor._node, tensor._output
    result._needs_grad = tensor._needs_grad
    result._version_counter = tensor._shared_version()
    result._hooks = tensor._hooks
    return result


def check_inplace(target: Tensor) -> None:
    """Raises PyTorch's errors where a recorded in-place change is not allowed."""
    view = target._view
    if view is not None:
        if view.kind == "multiple":
            raise RuntimeError(
                f"Output {target._output} of {target._node and target._node.name()} is a view and "
                "is being modified inplace. This view is the output of a function that returns "
                "multiple views. Such functions do not allow the output views to be modified "
                "inplace. You should replace the inplace operation by an out-of-place one."
            )
        if view.kind == "no_grad":
            raise RuntimeError(
                "A view was created in no_grad mode and is being modified inplace with grad mode "
                "enabled. Given that this use case is ambiguous and error-prone, it is forbidden. "
                "You can clarify your code by moving both the view and the inplace either both "
                "inside the no_grad block (if you don't want the inplace to be tracked) or both "
                "outside (if you want the inplace to be tracked)."
            )
        if view.base._needs_grad and view.base._node is None:
            raise RuntimeError(
                "a view of a leaf Variable that requires grad is being used in an in-place "
                "operation."
            )
    elif target._needs_grad and target._node is None:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )


def rebase(target: Tensor, node: Node) -> None:
    """Makes the base of a changed view depend on the change."""
    view = target._view
    if view is None:
        return
    base = view.base
    slices = CopySlices(base, target, node)
    base._node, base._output, base._needs_grad = slices, 0, True
    target._node = None
    target._refresh_view()  # type: ignore[attr-defined]


class CopySlices(Node):
    """The node of a tensor, one of whose views was changed in place by another node."""

    __slots__ = ("change", "layout", "view")
    as_strided: ClassVar[Callable[..., Tensor]]  # set by ops.views
    scatter: ClassVar[Callable[..., Tensor]]

    def __init__(self, base: Tensor, view: Tensor, change: Node) -> None:
        super().__init__((edge_of(base), *change.edges[1:]))
        self.change = change
        self.layout = base.stride()
        offset = (view.data_ptr() - base.data_ptr()) // view.element_size()
        self.view = (view.shape, view.stride(), offset)

    def run(self, grads: Grads, create_graph: bool) -> Sequence[Tensor | None]:
        (grad,) = grads
        part = CopySlices.as_strided(grad, *self.view, self.layout)
        inner, *others = self.change.run([part], create_graph)
        if inner is None:
            inner = part * 0  # type: ignore[operator]
        return [CopySlices.scatter(grad, inner, *self.view, self.layout), *others]

    def release(self) -> None:
        self.change.release()
