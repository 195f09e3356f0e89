"""Helpers for parameters and gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..autograd.mode import no_grad
from ..creation import tensor as new_tensor
from ..ops.joining import cat, stack
from ..tensor import Tensor


def _grads(parameters: Any) -> list[Any]:
    each = [parameters] if isinstance(parameters, Tensor) else parameters
    return [parameter.grad for parameter in each if parameter.grad is not None]


def get_total_norm(
    tensors: Iterable[Any], norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """The norm of all elements of tensors together.

    Raises RuntimeError where that is not finite, if asked.
    """
    norms = [each.norm(norm_type) for each in tensors]
    if not norms:
        return new_tensor(0.0)
    total = stack(norms).norm(norm_type)
    if error_if_nonfinite and not total.isfinite():
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return total


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales all gradients in place so that their common norm is at most ``max_norm``.

    Gives the norm before.
    """
    grads = _grads(list(parameters) if not isinstance(parameters, Tensor) else parameters)
    with no_grad():
        total: Any = get_total_norm(grads, float(norm_type), error_if_nonfinite)
        scale = (max_norm / (total + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale)
    return total


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Clamps all gradients in place to [-clip_value, clip_value]."""
    with no_grad():
        for grad in _grads(parameters):
            grad.clamp_(min=-float(clip_value), max=float(clip_value))


def parameters_to_vector(parameters: Iterable[Any]) -> Tensor:
    """All parameters, flattened and joined."""
    return cat([parameter.view(-1) for parameter in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Makes the parts of a vector the data of the parameters, in order.

    Raises TypeError for what is no tensor.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    vector: Any = vec
    start = 0
    for parameter in parameters:
        count = parameter.numel()
        parameter.data = vector[start : start + count].view_as(parameter).data
        start += count
