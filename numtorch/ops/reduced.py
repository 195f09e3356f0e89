"""The row builder of losses: a function of scalars, then its mean or sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from numtorch_kernels import reduce

from ..autograd.graph import Grads
from ..tensor import Tensor
from .apply import OpNode
from .elementwise import PointwiseOp
from .table import Op, Recipe, Rule

Array = np.ndarray[Any, Any]


def reduced(values: Array, reduction: str) -> Array:
    """The mean or the sum of all values, or for "none" the values.

    Raises ValueError for other words.
    """
    if reduction == "none":
        return values
    axes = tuple(range(values.ndim))
    if reduction == "mean":
        return reduce.mean(values, axes)
    check_reduction(reduction)
    return reduce.sum(values, axes)


def check_reduction(reduction: str) -> None:
    """Raises ValueError for anything but "none", "mean" and "sum"."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


class ReducedOp(PointwiseOp):
    """A pointwise row whose result is reduced as its parameter ``reduction`` says.

    The derivatives are those of one element: the incoming gradient is divided among all first.
    """

    compute = Op.compute

    def make_calls(self) -> None:
        """Compiled calls know the loops of functions, not what is made of their values."""

    def forward(self, arguments: tuple[Any, ...]) -> Any:
        """The reduced values of the function."""
        reduction = "mean"
        if len(arguments) > self.arity:
            position = self.names.index("reduction")
            reduction = arguments[position] if position < len(arguments) else reduction
            check_reduction(reduction)
        return reduced(super().forward(arguments), reduction)

    def _make_recipe(self, mask: int) -> Recipe:
        recipe = super()._make_recipe(mask)
        recipe.names.append("reduction")
        recipe.saves.append(self._source("reduction"))
        return recipe

    def backward(
        self, node: OpNode, grads: Grads, values: list[Any], create_graph: bool
    ) -> Sequence[Tensor | None]:
        """The gradients, each element getting its share of the incoming one."""
        if values[-1] == "mean":
            shapes = [x._array.shape for x in values if isinstance(x, Tensor)]
            g: Any = grads[0]
            grads = [g / max(prod(np.broadcast_shapes(*shapes)), 1)]
        return super().backward(node, grads, values, create_graph)


def loss(
    forward: Callable[..., Any],
    *,
    check: Callable[..., None] | None = None,
    check_values: Callable[..., None] | None = None,
    optional: tuple[str, ...] = (),
    **rules: Rule,
) -> ReducedOp:
    """A row for a loss: each rule needs all tensors that the loss's shape comes from."""
    return ReducedOp(forward, rules, check=check, check_values=check_values, optional=optional)
