"""Stochastic gradient descent."""

from __future__ import annotations

from functools import partial
from typing import Any

from numtorch_kernels import optim as kernels

from ..tensor import Tensor
from .optimizer import Group, Optimizer, alike, check_lr, live, number, require, zeros_of

_NUMBERS = ("lr", "momentum", "dampening", "weight_decay")


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, Nesterov's momentum and weight decay.

    Raises ValueError for options that make no sense. ``foreach``, ``fused`` and ``differentiable``
    have no effect: one kernel does each parameter's step.

    >>> import numtorch as torch
    >>> w = torch.ones(2, requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.5000, 0.5000], requires_grad=True)
    """

    structural = ("momentum", "nesterov")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        require(momentum >= 0, "momentum value", momentum)
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def update(self, group: Group, parameters: list[Tensor]) -> None:
        """Moves parameters against their gradients, or along their momentum."""

        def numbers(first: bool = False) -> list[float]:
            options = {name: number(group[name]) for name in _NUMBERS}
            return kernels.sgd_numbers(maximize=group["maximize"], first=first, **options)

        if group["momentum"] == 0:
            for arrays, grads, members in alike(parameters, lambda _: None):
                kernels.sgd_step(live(numbers, members[0].dtype), arrays, grads, None)
            return

        def is_first(parameter: Tensor) -> bool:
            return self.state[parameter].get("momentum_buffer") is None

        for arrays, grads, members in alike(parameters, is_first):
            first = is_first(members[0])
            for parameter in members if first else ():
                self.state[parameter]["momentum_buffer"] = zeros_of(parameter)
            buffers = [self.state[parameter]["momentum_buffer"]._array for parameter in members]
            constants = live(partial(numbers, first), members[0].dtype)
            kernels.sgd_step(constants, arrays, grads, buffers, group["nesterov"])
