"""Adam, and its forms AdamW and AMSGrad."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from numtorch_kernels import optim as kernels

from ..tensor import Tensor, wrap_array
from .optimizer import Group, Optimizer, alike, check_lr, live, number, require, zeros_of


class Adam(Optimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

    Kingma and Ba, Adam: A Method for Stochastic Optimization (2015). ``amsgrad`` divides by the
    largest average so far; ``decoupled_weight_decay`` shrinks the parameters themselves.

    Raises ValueError for options that make no sense. ``foreach``, ``capturable``, ``fused`` and
    ``differentiable`` have no effect: one kernel does each parameter's step.
    """

    structural = ("amsgrad",)

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_lr(lr)
        require(eps >= 0, "epsilon value", eps)
        for i, beta in enumerate(betas):
            require(0 <= beta < 1, f"beta parameter at index {i}", beta)
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _state_of(self, parameter: Tensor, amsgrad: bool) -> dict[str, Any]:
        """A parameter's state, made at its first step."""
        state = self.state[parameter]
        if not state:
            state["step"] = wrap_array(np.zeros((), np.float32))
            state["exp_avg"] = zeros_of(parameter)
            state["exp_avg_sq"] = zeros_of(parameter)
            if amsgrad:
                state["max_exp_avg_sq"] = zeros_of(parameter)
        return state

    def update(self, group: Group, parameters: list[Tensor]) -> None:
        """Moves parameters by their scaled average gradients."""
        amsgrad = group["amsgrad"]

        def steps_taken(parameter: Tensor) -> float:
            return float(self._state_of(parameter, amsgrad)["step"]._array)

        for arrays, grads, members in alike(parameters, steps_taken):
            states = [self.state[parameter] for parameter in members]
            kernels.adam_step(
                live(partial(self._next_numbers, group, members), members[0].dtype),
                arrays,
                grads,
                [state["exp_avg"]._array for state in states],
                [state["exp_avg_sq"]._array for state in states],
                [state["max_exp_avg_sq"]._array for state in states] if amsgrad else None,
            )

    def _next_numbers(self, group: Group, members: list[Tensor]) -> list[float]:
        """Counts a step of parameters that have taken equally many; gives the numbers of it."""
        counters = [self.state[parameter]["step"]._array for parameter in members]
        step = float(counters[0]) + 1
        for counter in counters:
            counter[...] = step
        beta1, beta2 = group["betas"]
        return kernels.adam_numbers(
            members[0].dtype.numpy,
            step=step,
            lr=number(group["lr"]),
            betas=(number(beta1), number(beta2)),
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled=group["decoupled_weight_decay"],
            maximize=group["maximize"],
        )


class AdamW(Adam):
    """:class:`Adam` with decoupled weight decay.

    Loshchilov and Hutter, Decoupled Weight Decay Regularization (2019).
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
