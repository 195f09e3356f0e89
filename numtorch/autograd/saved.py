"""What nodes keep for their backward, and the check that nobody changed it since."""

from __future__ import annotations

from typing import Any, NoReturn

from ..dtype import TENSOR_TYPES
from ..tensor import Tensor, wrap_array

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you call "
    ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
    "graph a second time or if you need to access saved tensors after calling backward."
)


class SavedResult:
    """A result that its own node needs: kept without the tensor, which refers to the node."""

    __slots__ = ("array", "counter", "needs_grad", "output")

    def __init__(self, tensor: Tensor, output: int, needs_grad: bool = True) -> None:
        self.array = tensor._array
        self.counter = tensor._shared_version()
        self.output = output
        self.needs_grad = needs_grad


def unpacked(value: Any, version: Any, node: Any) -> Any:
    """A value that ``node`` saved when its version was ``version``; None of what has none.

    Raises RuntimeError of a tensor that was changed in place since.
    """
    if version is None:
        return value
    if value.__class__ is tuple:
        return [unpacked(*pair, node) for pair in zip(value, version, strict=True)]
    if isinstance(value, Tensor):
        if value._version != version:
            _refuse_modified(value, value._version, version)
        return value
    result = wrap_array(value.array)
    if value.needs_grad:
        result._node, result._output, result._needs_grad = node, value.output, True
    if value.counter.number != version:
        _refuse_modified(result, value.counter.number, version)
    return result


def _refuse_modified(tensor: Tensor, found: int, expected: int) -> NoReturn:
    kind = TENSOR_TYPES[tensor.dtype.name]
    origin = ""
    if tensor._node is not None:
        origin = f", which is output {tensor._output} of {tensor._node.stem()},"
    raise RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [{kind} {list(tensor.shape)}]{origin} is at version {found}; expected version "
        f"{expected} instead. Hint: enable anomaly detection to find the operation that failed to "
        "compute its gradient, with torch.autograd.set_detect_anomaly(True, check_nan=False)."
    )
