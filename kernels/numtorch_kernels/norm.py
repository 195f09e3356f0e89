"""Softmax, cross entropy and layer normalisation: several passes over a row while it is in cache.

As in :mod:`.reduction`, there are loops along rows and, where another axis than the reduced one is
adjacent, over columns side by side. All arrays of a call are float32, or all are float64; but for
targets, which are int64.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np

from . import memory, reduce, scalar
from .bits import sqrt
from .build import Loop
from .copying import reshaped
from .drive import GRAIN, drive
from .intrinsics import BLOCK, buffer, cast, load, lowest, offset, one, store, zero
from .layout import aligned
from .reduce import larger
from .reduction import add, bound, is_adjacent, last_axis, reassociable

Array = np.ndarray[Any, Any]
Dtype = np.dtype[Any]

INT64 = np.dtype(np.int64)
GROUP = 64  # rows whose contributions to the gradient of a weight are added up in turn


plus = reassociable(add.py_func)

# What a build binds, here as for the softmax of float32
exp, log, logarithm = scalar.exp_f32, scalar.log_f32, False


def softmax_rows(count, n, x, x_outer, x_inner, y, y_outer, y_inner):
    """exp(x - m) / sum(exp(x - m)) for each row, or its logarithm."""
    for row in range(count):
        here, there = offset(x, row * x_outer), offset(y, row * y_outer)
        peak, total = lowest(x), zero(x)
        for i in range(n):
            peak = larger(peak, here[i * x_inner])
        for i in range(n):
            value = exp(load(here, i * x_inner) - peak)
            total = plus(total, value)
            if not logarithm:
                store(there, i * y_inner, value)
        if logarithm:
            shift = log(total)
            for i in range(n):
                store(there, i * y_inner, (load(here, i * x_inner) - peak) - shift)
        else:
            scale = one(x) / total
            for i in range(n):
                there[i * y_inner] *= scale


def softmax_columns(count, n, x, x_outer, x_inner, y, y_outer, y_inner):
    """exp(x - m) / sum(exp(x - m)) for each column, or its logarithm."""
    peak, total = buffer(x), buffer(x)
    for start in range(0, count, BLOCK):
        width = BLOCK if count - start > BLOCK else count - start
        x_at, y_at = offset(x, start * x_outer), offset(y, start * y_outer)
        for j in range(width):
            peak[j], total[j] = lowest(x), zero(x)
        for i in range(n):
            here = offset(x_at, i * x_inner)
            for j in range(width):
                peak[j] = larger(peak[j], here[j * x_outer])
        for i in range(n):
            here, there = offset(x_at, i * x_inner), offset(y_at, i * y_inner)
            for j in range(width):
                value = exp(load(here, j * x_outer) - peak[j])
                total[j] += value
                if not logarithm:
                    store(there, j * y_outer, value)
        for j in range(width):
            total[j] = log(total[j]) if logarithm else one(x) / total[j]
        for i in range(n):
            here, there = offset(x_at, i * x_inner), offset(y_at, i * y_inner)
            for j in range(width):
                if logarithm:
                    store(there, j * y_outer, (load(here, j * x_outer) - peak[j]) - total[j])
                else:
                    there[j * y_outer] *= total[j]


def softmax_backward_rows(
    count, n, g, g_outer, g_inner, y, y_outer, y_inner, out, out_outer, out_inner
):
    """The gradient y (g - sum(g y)) for each row of a softmax y, or of its logarithm."""
    for row in range(count):
        slope, result = offset(g, row * g_outer), offset(y, row * y_outer)
        target = offset(out, row * out_outer)
        total = zero(g)
        for i in range(n):
            part = slope[i * g_inner]
            total = plus(total, part if logarithm else part * result[i * y_inner])
        for i in range(n):
            a, b = load(slope, i * g_inner), load(result, i * y_inner)
            store(target, i * out_inner, a - exp(b) * total if logarithm else b * (a - total))


def softmax_backward_columns(
    count, n, g, g_outer, g_inner, y, y_outer, y_inner, out, out_outer, out_inner
):
    """The gradient y (g - sum(g y)) for each column of a softmax y, or of its logarithm."""
    total = buffer(g)
    for start in range(0, count, BLOCK):
        width = BLOCK if count - start > BLOCK else count - start
        g_at, y_at = offset(g, start * g_outer), offset(y, start * y_outer)
        out_at = offset(out, start * out_outer)
        for j in range(width):
            total[j] = zero(g)
        for i in range(n):
            slope, result = offset(g_at, i * g_inner), offset(y_at, i * y_inner)
            for j in range(width):
                part = slope[j * g_outer]
                total[j] += part if logarithm else part * result[j * y_outer]
        for i in range(n):
            slope, result = offset(g_at, i * g_inner), offset(y_at, i * y_inner)
            target = offset(out_at, i * out_inner)
            for j in range(width):
                a, b, s = load(slope, j * g_outer), load(result, j * y_outer), total[j]
                store(target, j * out_outer, a - exp(b) * s if logarithm else b * (a - s))


def cross_entropy_rows(
    count, n, x, x_outer, x_inner, target, target_outer, weight, weight_outer, weight_inner,
    ignored, ignored_outer, loss, loss_outer, lse, lse_outer, share, share_outer
):  # fmt: skip
    """The loss w (logsumexp(x) - x[target]), logsumexp(x) and w = weight[target] for each row."""
    for row in range(count):
        here, index = offset(x, row * x_outer), target[row * target_outer]
        peak, total = lowest(x), zero(x)
        for i in range(n):
            peak = larger(peak, here[i * x_inner])
        for i in range(n):
            total = plus(total, exp(here[i * x_inner] - peak))
        shift = log(total)
        lse[row * lse_outer] = peak + shift
        factor, value = zero(x), zero(x)
        if index != ignored[row * ignored_outer]:
            factor = value = zero(x) / zero(x)
            if 0 <= index < n:
                factor = weight[row * weight_outer + index * weight_inner]
                value = factor * ((peak - here[index * x_inner]) + shift)
        loss[row * loss_outer] = value
        share[row * share_outer] = factor


def cross_entropy_backward_rows(
    count, n, x, x_outer, x_inner, target, target_outer, lse, lse_outer, scale, scale_outer,
    out, out_outer, out_inner
):  # fmt: skip
    """(exp(x - lse) - [i == target]) scale for each row."""
    for row in range(count):
        here, there = offset(x, row * x_outer), offset(out, row * out_outer)
        shift, factor = lse[row * lse_outer], scale[row * scale_outer]
        index = target[row * target_outer]
        for i in range(n):
            store(there, i * out_inner, exp(load(here, i * x_inner) - shift) * factor)
        if 0 <= index < n:
            there[index * out_inner] -= factor


def nll_rows(
    count, n, x, x_outer, x_inner, target, target_outer, weight, weight_outer, weight_inner,
    ignored, ignored_outer, loss, loss_outer, share, share_outer
):  # fmt: skip
    """-w x[target] and w = weight[target] for each row."""
    for row in range(count):
        index = target[row * target_outer]
        factor, value = zero(x), zero(x)
        if index != ignored[row * ignored_outer]:
            factor = value = zero(x) / zero(x)
            if 0 <= index < n:
                factor = weight[row * weight_outer + index * weight_inner]
                value = -factor * x[row * x_outer + index * x_inner]
        loss[row * loss_outer] = value
        share[row * share_outer] = factor


def nll_backward_rows(
    count, n, target, target_outer, scale, scale_outer, out, out_outer, out_inner
):
    """-scale at the target of each row, else 0."""
    for row in range(count):
        there, index = offset(out, row * out_outer), target[row * target_outer]
        for i in range(n):
            there[i * out_inner] = zero(out)
        if 0 <= index < n:
            there[index * out_inner] = -scale[row * scale_outer]


def layer_norm_rows(
    count, n, x, x_outer, x_inner, weight, weight_outer, weight_inner, bias, bias_outer, bias_inner,
    eps, eps_outer, y, y_outer, y_inner, mean, mean_outer, rstd, rstd_outer
):  # fmt: skip
    """The results weight (x - mean) rstd + bias, mean and rstd = 1 / sqrt(var + eps)."""
    for row in range(count):
        here, there = offset(x, row * x_outer), offset(y, row * y_outer)
        slope, shift = offset(weight, row * weight_outer), offset(bias, row * bias_outer)
        total = zero(x)
        for i in range(n):
            total = plus(total, here[i * x_inner])
        centre = total / cast(x, n)
        total = zero(x)
        for i in range(n):
            deviation = here[i * x_inner] - centre
            total = plus(total, deviation * deviation)
        scale = one(x) / sqrt(total / cast(x, n) + eps[row * eps_outer])
        for i in range(n):
            normal = (load(here, i * x_inner) - centre) * scale
            value = normal * load(slope, i * weight_inner) + load(shift, i * bias_inner)
            store(there, i * y_inner, value)
        mean[row * mean_outer] = centre
        rstd[row * rstd_outer] = scale


def layer_norm_backward_rows(
    count, n, g, g_outer, g_inner, x, x_outer, x_inner, weight, weight_outer, weight_inner,
    mean, mean_outer, rstd, rstd_outer, out, out_outer, out_inner
):  # fmt: skip
    """The gradient rstd (h - mean(h) - z mean(h z)) with h = g weight, z = (x - mean) rstd."""
    for row in range(count):
        slope, here = offset(g, row * g_outer), offset(x, row * x_outer)
        factor, there = offset(weight, row * weight_outer), offset(out, row * out_outer)
        centre, scale = mean[row * mean_outer], rstd[row * rstd_outer]
        level, tilt = zero(x), zero(x)
        for i in range(n):
            h = slope[i * g_inner] * factor[i * weight_inner]
            level = plus(level, h)
            tilt = plus(tilt, h * ((here[i * x_inner] - centre) * scale))
        level, tilt = level / cast(x, n), tilt / cast(x, n)
        for i in range(n):
            h = load(slope, i * g_inner) * load(factor, i * weight_inner)
            normal = (load(here, i * x_inner) - centre) * scale
            store(there, i * out_inner, ((h - level) - normal * tilt) * scale)


def layer_norm_weights_rows(
    count, m, n, g, g_outer, g_row, g_inner, x, x_outer, x_row, x_inner, mean, mean_outer, mean_row,
    rstd, rstd_outer, rstd_row, product, product_outer, product_inner,
    plain, plain_outer, plain_inner
):  # fmt: skip
    """The sums of g (x - mean) rstd and of g over the m rows of each group."""
    for group in range(count):
        weights = offset(product, group * product_outer)
        biases = offset(plain, group * plain_outer)
        for i in range(n):
            weights[i * product_inner] = biases[i * plain_inner] = zero(g)
        for row in range(m):
            slope = offset(g, group * g_outer + row * g_row)
            here = offset(x, group * x_outer + row * x_row)
            centre = mean[group * mean_outer + row * mean_row]
            scale = rstd[group * rstd_outer + row * rstd_row]
            for i in range(n):
                a, b = load(slope, i * g_inner), load(here, i * x_inner)
                at_weight, at_bias = i * product_inner, i * plain_inner
                store(weights, at_weight, weights[at_weight] + a * ((b - centre) * scale))
                store(biases, at_bias, biases[at_bias] + a)


_FUNCTIONS = {
    np.dtype(np.float32): {"exp": scalar.exp_f32, "log": scalar.log_f32},
    np.dtype(np.float64): {"exp": scalar.exp_f64, "log": scalar.log_f64},
}


@cache
def _rows_loop(dtype: Dtype, logarithm: bool) -> Loop:
    kinds = (dtype, dtype)
    return bound(softmax_rows, "(n)->(n)", kinds, logarithm=logarithm, **_FUNCTIONS[dtype])


def _softmax(x: Array, axis: int, logarithm: bool) -> Array:
    if axis == x.ndim - 1 and x.size < GRAIN and x.flags.c_contiguous:
        return _rows_loop(x.dtype, logarithm).ufunc(x)
    out = memory.empty(x.shape, x.dtype)
    views = last_axis(aligned(x), axis), last_axis(out, axis)
    if is_adjacent(views[1]):
        loop = _rows_loop(x.dtype, logarithm)
    else:
        options = {"logarithm": logarithm, **_FUNCTIONS[x.dtype]}
        loop = bound(softmax_columns, "(n)->(n)", (x.dtype, x.dtype), **options)
    drive(loop, *views, unit=1)
    return out


def _softmax_backward(grad: Array, y: Array, axis: int, logarithm: bool) -> Array:
    out = memory.empty(y.shape, y.dtype)
    views = [last_axis(array, axis) for array in (aligned(grad), aligned(y), out)]
    kernel = softmax_backward_rows if is_adjacent(views[2]) else softmax_backward_columns
    functions = _FUNCTIONS[y.dtype]
    loop = bound(kernel, "(n),(n)->(n)", (y.dtype,) * 3, logarithm=logarithm, **functions)
    drive(loop, *views, unit=1)
    return out


def softmax(x: Array, axis: int) -> Array:
    """exp(x) / sum(exp(x)) along an axis."""
    return _softmax(x, axis, False)


def log_softmax(x: Array, axis: int) -> Array:
    """The logarithm of :func:`softmax`, without its overflow and underflow."""
    return _softmax(x, axis, True)


def softmax_backward(grad: Array, y: Array, axis: int) -> Array:
    """The gradient for x of y = softmax(x), given that for y."""
    return _softmax_backward(grad, y, axis, False)


def log_softmax_backward(grad: Array, y: Array, axis: int) -> Array:
    """The gradient for x of y = log_softmax(x), given that for y."""
    return _softmax_backward(grad, y, axis, True)


def gains(weight: Array | None, x: Array) -> Array:
    """The weight of each element of a row, by default 1."""
    return _filled(x.shape[-1:], 1.0, x.dtype) if weight is None else aligned(weight)


@cache
def cross_entropy_loop(dtype: Dtype) -> Loop:
    """The loop of :func:`cross_entropy` for logits of a dtype."""
    kinds = (dtype, INT64, dtype, INT64, dtype, dtype, dtype)
    return bound(cross_entropy_rows, "(n),(),(n),()->(),(),()", kinds, **_FUNCTIONS[dtype])


def cross_entropy(
    x: Array, target: Array, weight: Array | None = None, ignore_index: int = -100
) -> tuple[Array, Array, Array]:
    """The loss of logits x (..., C) with class indices target (...), int64: three arrays (...).

    They are w (logsumexp(x) - x[target]), logsumexp(x) and w = weight[target]. Rows whose target is
    ``ignore_index`` have loss and w 0; rows whose target is no class have NaN.
    """
    loss, lse, share = (memory.empty(target.shape, x.dtype) for _ in range(3))
    loop = cross_entropy_loop(x.dtype)
    ignored = np.array(ignore_index, INT64)
    drive(loop, aligned(x), aligned(target), gains(weight, x), ignored, loss, lse, share, unit=1)
    return loss, lse, share


def cross_entropy_backward(x: Array, target: Array, lse: Array, scale: Array) -> Array:
    """(softmax(x) - onehot(target)) scale: the gradient for the logits x (..., C).

    ``scale`` broadcasts to (...): the gradient for each loss times the w of :func:`cross_entropy`.
    """
    out = memory.empty(x.shape, x.dtype)
    kinds = (x.dtype, INT64, x.dtype, x.dtype, x.dtype)
    loop = bound(cross_entropy_backward_rows, "(n),(),(),()->(n)", kinds, **_FUNCTIONS[x.dtype])
    drive(loop, aligned(x), aligned(target), lse, aligned(scale), out, unit=1)
    return out


@cache
def nll_loop(dtype: Dtype) -> Loop:
    """The loop of :func:`nll` for log-probabilities of a dtype."""
    return bound(nll_rows, "(n),(),(n),()->(),()", (dtype, INT64, dtype, INT64, dtype, dtype))


def nll(
    x: Array, target: Array, weight: Array | None = None, ignore_index: int = -100
) -> tuple[Array, Array]:
    """-w x[target] and w = weight[target] of log-probabilities x (..., C); see cross_entropy."""
    loss, share = (memory.empty(target.shape, x.dtype) for _ in range(2))
    loop = nll_loop(x.dtype)
    ignored = np.array(ignore_index, INT64)
    drive(loop, aligned(x), aligned(target), gains(weight, x), ignored, loss, share, unit=1)
    return loss, share


def nll_backward(target: Array, scale: Array, classes: int) -> Array:
    """-scale at each target, else 0: (..., classes); scale broadcasts to the target's shape."""
    out = memory.empty((*target.shape, classes), scale.dtype)
    loop = bound(nll_backward_rows, "(),()->(n)", (INT64, scale.dtype, scale.dtype))
    drive(loop, aligned(target), aligned(scale), out, unit=1)
    return out


def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """The result weight (x - mean) rstd + bias for x (..., n), and mean and rstd (...)."""
    dtype, outer = x.dtype, x.shape[:-1]
    shift = _filled(x.shape[-1:], 0.0, dtype) if bias is None else aligned(bias)
    inputs = aligned(x), gains(weight, x), shift, _filled((), eps, dtype)
    loop = _layer_norm_loop(dtype)
    if x.ndim == 2 and x.nbytes < memory.SMALLEST:
        return loop.ufunc(*inputs)
    y, mean, rstd = (memory.empty(shape, dtype) for shape in (x.shape, outer, outer))
    drive(loop, *inputs, y, mean, rstd, unit=1)
    return y, mean, rstd


@cache
def _layer_norm_loop(dtype: Dtype) -> Loop:
    return bound(layer_norm_rows, "(n),(n),(n),()->(n),(),()", (dtype,) * 7)


@lru_cache(maxsize=16)
def _filled(shape: tuple[int, ...], value: float, dtype: Dtype) -> Array:
    """An array of one number, which nobody changes."""
    return np.full(shape, value, dtype)


def layer_norm_backward(
    grad: Array, x: Array, weight: Array | None, mean: Array, rstd: Array
) -> Array:
    """The gradient for x of :func:`layer_norm`, given that for y."""
    out = memory.empty(x.shape, x.dtype)
    loop = bound(layer_norm_backward_rows, "(n),(n),(n),(),()->(n)", (x.dtype,) * 6)
    drive(loop, aligned(grad), aligned(x), gains(weight, x), mean, rstd, out, unit=1)
    return out


def layer_norm_backward_weights(
    grad: Array, x: Array, mean: Array, rstd: Array
) -> tuple[Array, Array]:
    """The gradients for weight and bias of :func:`layer_norm`, given that for y."""
    n = x.shape[-1]
    grad, x = reshaped(aligned(grad), -1, n), reshaped(aligned(x), -1, n)
    mean, rstd = mean.reshape(-1), rstd.reshape(-1)
    groups, rest = divmod(len(x), GROUP)
    by_weight, by_bias = (memory.empty((groups + (rest > 0), n), x.dtype) for _ in range(2))
    loop = bound(layer_norm_weights_rows, "(m,n),(m,n),(m),(m)->(n),(n)", (x.dtype,) * 6)
    whole = groups * GROUP
    if groups:
        parts = [a[:whole].reshape(groups, GROUP, *a.shape[1:]) for a in (grad, x, mean, rstd)]
        drive(loop, *parts, by_weight[:groups], by_bias[:groups], unit=1)
    if rest:
        drive(loop, *(a[whole:] for a in (grad, x, mean, rstd)), by_weight[-1], by_bias[-1])
    return reduce.sum(by_weight, (0,)), reduce.sum(by_bias, (0,))
