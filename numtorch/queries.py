"""Functions of the package that ask about tensors, and about the machine."""

from __future__ import annotations

from typing import Any

from numtorch_kernels import get_num_threads, set_num_threads

from .dtype import dtype
from .ops.elementwise import operands_dtype
from .ops.signature import must_be_tensor
from .tensor import Tensor


def is_tensor(obj: object) -> bool:
    """Whether an object is a tensor.

    >>> import numtorch as torch
    >>> torch.is_tensor(torch.zeros(2)), torch.is_tensor([0.0, 0.0])
    (True, False)
    """
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether a tensor's dtype is float32 or float64."""
    if not isinstance(input, Tensor):
        must_be_tensor("is_floating_point", "input", 1, input)
    return input.dtype.is_floating_point


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero; RuntimeError where there is not one element."""
    return bool(input)


def numel(input: Tensor) -> int:
    """The number of elements of a tensor."""
    if not isinstance(input, Tensor):
        must_be_tensor("numel", "input", 1, input)
    return input.numel()


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype that two tensors or Python numbers promote to.

    >>> import numtorch as torch
    >>> torch.result_type(torch.tensor([1, 2]), 1.0)
    torch.float32
    """
    return operands_dtype((tensor1, tensor2))


FUNCTIONS = {
    function.__name__: function
    for function in (
        is_tensor,
        is_floating_point,
        is_nonzero,
        numel,
        result_type,
        get_num_threads,
        set_num_threads,
    )
}
