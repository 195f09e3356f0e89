"""Optimizer steps: one pass over a parameter, its gradient and its state, in place.

Terms are added and rounded in the order of PyTorch's optimizers, with ``fma`` where its kernels
have one, so that both give the same bits. An option that is off is a neutral number (a weight decay
of 0, a sign of 1), so that there are few builds.

Each function takes lists of arrays, one entry a parameter, all of one floating dtype: parameters
and state are written, gradients are read. For a small parameter a step is a single call of a
compiled loop, of 1 to 2 us; large ones are split among threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from .arithmetic import maximum
from .bits import fma, sqrt
from .build import Loop, gufunc
from .drive import drive
from .intrinsics import helper
from .layout import aligned

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

NESTEROV = False  # a build binds it


@helper
def moments(near, p, g, mean, square, h):
    """The running averages of the gradient and of its square, after another one."""
    gradient = fma(p, h[1], g * h[0])
    mean = fma(gradient - mean, h[3], mean if near else gradient)
    return mean, fma(gradient * h[5], gradient, square * h[4])


def descend(count, k, g, g_step, h, h_outer, h_step, p, p_step):
    """A plain step; h: sign, weight decay, -learning rate."""
    for i in range(count):
        weight = p[i * p_step]
        gradient = fma(weight, h[1], g[i * g_step] * h[0])
        p[i * p_step] = fma(gradient, h[2], weight)


def descend_with_momentum(count, k, g, g_step, h, h_outer, h_step, p, p_step, buffer, buffer_step):
    """A step with momentum.

    h: sign, weight decay, -learning rate, momentum, 1 - dampening, and the factor of the old
    buffer, which is 0 at first and then the momentum.
    """
    for i in range(count):
        weight = p[i * p_step]
        gradient = fma(weight, h[1], g[i * g_step] * h[0])
        speed = fma(gradient, h[4], buffer[i * buffer_step] * h[5])
        buffer[i * buffer_step] = speed
        if NESTEROV:
            speed = fma(speed, h[3], gradient)
        p[i * p_step] = fma(speed, h[2], weight)


def adapt(count, k, g, g_step, h, h_outer, h_step, p, p_step,
          mean, mean_step, square, square_step):  # fmt: skip
    """Adam's step.

    h: sign, weight decay, factor of the weights, factor of the news to the mean, beta 2,
    1 - beta 2, root of the bias correction, eps, -step size, and whether the mean is nearer to its
    old value than to the news.
    """
    near = h[9] != 0
    for i in range(count):
        weight = p[i * p_step] * h[2]
        first, second = moments(
            near, weight, g[i * g_step], mean[i * mean_step], square[i * square_step], h
        )
        mean[i * mean_step], square[i * square_step] = first, second
        p[i * p_step] = weight + h[8] * first / (sqrt(second) / h[6] + h[7])


def adapt_to_maximum(count, k, g, g_step, h, h_outer, h_step, p, p_step, mean, mean_step,
                     square, square_step, largest, largest_step):  # fmt: skip
    """Likewise, against the largest average of squares so far."""
    near = h[9] != 0
    for i in range(count):
        weight = p[i * p_step] * h[2]
        first, second = moments(
            near, weight, g[i * g_step], mean[i * mean_step], square[i * square_step], h
        )
        mean[i * mean_step], square[i * square_step] = first, second
        bound = maximum(largest[i * largest_step], second)
        largest[i * largest_step] = bound
        p[i * p_step] = weight + h[8] * first / (sqrt(bound) / h[6] + h[7])


@cache
def _loop(kernel: Any, written: int, dtype: Dtype, nesterov: bool = False) -> Loop:
    """The loop of a step that writes a number of arrays."""
    signature = "(),(k)->" + ",".join(["()"] * written)
    return gufunc(
        kernel, signature, (dtype,) * (2 + written), bind={"NESTEROV": nesterov}, updates=True
    )


def _step(loop: Loop, constants: Array, grads: Sequence[Array], *written: Sequence[Array]) -> None:
    for grad, *arrays in zip(grads, *written, strict=True):
        drive(loop, aligned(grad), constants, *arrays)


def sgd_numbers(
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    maximize: bool = False,
    first: bool = False,
) -> list[float]:
    """What :func:`sgd_step` needs of the options; the last three for a step with momentum.

    ``first`` says that buffers are used for the first time, when dampening does not apply.
    """
    numbers = [-1.0 if maximize else 1.0, weight_decay, -lr]
    return numbers + ([momentum, 1.0, 0.0] if first else [momentum, 1.0 - dampening, momentum])


def sgd_step(
    numbers: Array,
    params: Sequence[Array],
    grads: Sequence[Array],
    buffers: Sequence[Array] | None,
    nesterov: bool = False,
) -> None:
    """Stochastic gradient descent by :func:`sgd_numbers`; with momentum if there are buffers."""
    if buffers is None:
        _step(_loop(descend, 1, numbers.dtype), numbers, grads, params)
    else:
        loop = _loop(descend_with_momentum, 2, numbers.dtype, nesterov)
        _step(loop, numbers, grads, params, buffers)


def sgd(
    params: Sequence[Array],
    grads: Sequence[Array],
    buffers: Sequence[Array] | None,
    *,
    nesterov: bool = False,
    **options: Any,
) -> None:
    """Stochastic gradient descent; with momentum if there are buffers, which start as zeros.

    Options are those of :func:`sgd_numbers`.

    >>> import numpy as np
    >>> from numtorch_kernels import optim
    >>> w = np.ones(3)
    >>> optim.sgd([w], [np.full(3, 2.0)], None, lr=0.25)
    >>> w.tolist()
    [0.5, 0.5, 0.5]
    """
    if params:
        numbers = np.array(sgd_numbers(**options), params[0].dtype)
        sgd_step(numbers, params, grads, buffers, nesterov)


def adam_numbers(
    dtype: Dtype,
    *,
    step: float,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
) -> list[float]:
    """What :func:`adam_step` needs of the options, for parameters of a dtype; ``step`` is from 1.

    Kingma and Ba, "Adam: a method for stochastic optimization" (2015); Loshchilov and Hutter,
    "Decoupled weight decay regularization" (2019), which is Adam with ``decoupled`` weight decay.
    """
    beta1, beta2 = betas
    news = 1 - beta1
    near = abs(dtype.type(news)) < 0.5
    return [
        -1.0 if maximize else 1.0,
        0.0 if decoupled else weight_decay,
        1 - lr * weight_decay if decoupled else 1.0,
        news if near else dtype.type(news) - dtype.type(1),
        beta2,
        1 - beta2,
        (1 - beta2**step) ** 0.5,
        eps,
        -(lr / (1 - beta1**step)),
        near,
    ]


def adam_step(
    numbers: Array,
    params: Sequence[Array],
    grads: Sequence[Array],
    means: Sequence[Array],
    squares: Sequence[Array],
    largest: Sequence[Array] | None,
) -> None:
    """Adam by :func:`adam_numbers`, or AMSGrad if there are ``largest`` squares.

    The state starts as zeros. Reddi, Kale and Kumar, "On the convergence of Adam and beyond"
    (2018).
    """
    if largest is None:
        _step(_loop(adapt, 3, numbers.dtype), numbers, grads, params, means, squares)
    else:
        loop = _loop(adapt_to_maximum, 4, numbers.dtype)
        _step(loop, numbers, grads, params, means, squares, largest)


def adam(
    params: Sequence[Array],
    grads: Sequence[Array],
    means: Sequence[Array],
    squares: Sequence[Array],
    largest: Sequence[Array] | None,
    **options: Any,
) -> None:
    """:func:`adam_step` by the options of :func:`adam_numbers`."""
    if params:
        dtype = params[0].dtype
        numbers = np.array(adam_numbers(dtype, **options), dtype)
        adam_step(numbers, params, grads, means, squares, largest)
