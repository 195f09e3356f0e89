"""Reductions of deviations from the mean, which take two loops: of few elements one call of both.

The loops are those of two reductions, so either way gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .build import Loop
from .deferral import nobody_defers
from .intrinsics import address_of, call_loop, offset, words
from .reduction import Axes, Reduction, bound, count, one_stage, restored

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

_WORD = np.dtype(np.int64)

# Words of a plan: the loops, and for each the word that its scale begins.
_MEAN, _DEVIATIONS, _COUNT, _FREE, _WORDS = range(5)


def in_turn(count, n, size, x, x_outer, x_inner, plan, plan_outer, plan_inner, out, out_outer):
    """Runs a loop that gives the means of rows, and one that takes these for its centres."""
    pointers = words()
    dims, steps = offset(pointers, 4), offset(pointers, 6)
    dims[0], dims[1] = count, n
    pointers[0], pointers[1], pointers[3] = address_of(x), address_of(out), address_of(out)
    steps[0] = address_of(offset(x, x_outer)) - pointers[0]
    steps[1] = address_of(offset(out, out_outer)) - pointers[1]
    steps[2], steps[3] = 0, steps[1]
    steps[4] = address_of(offset(x, x_inner)) - pointers[0]
    pointers[2] = address_of(offset(plan, _COUNT))
    call_loop(plan[_MEAN], pointers, dims, steps)
    pointers[2] = address_of(offset(plan, _FREE))
    call_loop(plan[_DEVIATIONS], pointers, dims, steps)


class Spread:
    """The reduction of floats whose centres are their means: the variance, or its root."""

    def __init__(self, mean: Reduction, deviations: Reduction) -> None:
        self.mean = mean
        self.deviations = deviations
        self.plan = lru_cache(maxsize=1024)(self._plan)

    def __call__(
        self, x: Array, axes: Axes, correction: float = 1, keepdims: bool = False
    ) -> Array:
        """The sum of squared deviations, over how many elements there are less ``correction``."""
        small = one_stage(x, axes) if nobody_defers() else None
        if small is None:
            return self.and_mean(x, axes, correction, keepdims)[0]
        view, kernel = small
        loop, plan = self.plan(x.dtype, kernel, view.shape[-1], correction)
        if view.ndim == 2:
            out = loop.ufunc(view, plan)
        else:
            out = np.empty(view.shape[:-1], x.dtype)
            loop.ufunc(view, plan, out)
        return restored(out, x.shape, axes) if keepdims else out

    def and_mean(
        self, x: Array, axes: Axes, correction: float = 1, keepdims: bool = False
    ) -> tuple[Array, Array]:
        """What a call gives, and the mean."""
        n, dtype = count(x, axes), x.dtype
        mean = self.mean(x, axes, False, dtype, scale=np.array(n, dtype))
        free = np.array(max(n - correction, 0), dtype)
        out = self.deviations(x, axes, False, dtype, mean, free)
        if keepdims:
            return restored(out, x.shape, axes), restored(mean, x.shape, axes)
        return out, mean

    def _plan(
        self, dtype: Dtype, kernel: Callable[..., Any], n: int, correction: float
    ) -> tuple[Loop, Array]:
        """What runs both loops over rows of n elements, and the words it needs."""
        plan = np.zeros(_WORDS, _WORD)
        plan[_MEAN] = self.mean.loop(dtype, dtype, kernel).address
        plan[_DEVIATIONS] = self.deviations.loop(dtype, dtype, kernel).address
        plan[_COUNT:_FREE].view(dtype)[0] = n
        plan[_FREE:].view(dtype)[0] = max(n - correction, 0)
        return bound(in_turn, "(n),(k)->()", (dtype, _WORD, dtype)), plan
