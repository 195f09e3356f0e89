"""``torch.nn.functional``: what layers compute, as functions."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..creation import empty_like
from ..ops import activation, classification, layers, loss, normalisation
from ..ops.elementary import sigmoid as _sigmoid
from ..ops.elementary import tanh as _tanh
from ..ops.linear import matmul
from ..ops.table import Op
from ..random import FILLERS
from ..tensor import Tensor

# ---------------------------------------------------------------------- activations


def _with_inplace(row: Op, name: str) -> Callable[..., Any]:
    """A row's function with PyTorch's last argument ``inplace``."""
    options = inspect.signature(row.inplace).parameters.values()
    parameters = [p for p in options if p.kind is p.POSITIONAL_OR_KEYWORD]
    flag = inspect.Parameter("inplace", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False)
    count = len(parameters)

    def function(*args: Any, inplace: bool = False, **kwargs: Any) -> Any:
        if len(args) > count:
            *args, inplace = args  # type: ignore[assignment]
        return (row.inplace if inplace else row.function)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The activation function ``{name}``, in place if ``inplace``."
    function.__signature__ = inspect.Signature([*parameters, flag])  # type: ignore[attr-defined]
    return function


relu = _with_inplace(activation.relu, "relu")
hardtanh = _with_inplace(activation.hardtanh, "hardtanh")
leaky_relu = _with_inplace(activation.leaky_relu, "leaky_relu")
elu = _with_inplace(activation.elu, "elu")
selu = _with_inplace(activation.selu, "selu")
celu = _with_inplace(activation.celu, "celu")
silu = _with_inplace(activation.silu, "silu")
mish = _with_inplace(activation.mish, "mish")
hardswish = _with_inplace(activation.hardswish, "hardswish")
hardsigmoid = _with_inplace(activation.hardsigmoid, "hardsigmoid")
threshold = _with_inplace(activation.threshold, "threshold")
gelu = activation.gelu.function
softplus = activation.softplus.function
softsign = activation.softsign.function
logsigmoid = activation.logsigmoid.function
hardshrink = activation.hardshrink.function
softshrink = activation.softshrink.function
tanhshrink = activation.tanhshrink.function
sigmoid = _sigmoid.function
tanh = _tanh.function
prelu = activation.prelu
glu = activation.glu

relu_ = activation.relu.inplace
hardtanh_ = activation.hardtanh.inplace
leaky_relu_ = activation.leaky_relu.inplace
elu_ = activation.elu.inplace
selu_ = activation.selu.inplace
celu_ = activation.celu.inplace
threshold_ = activation.threshold.inplace


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """:func:`hardtanh` between 0 and 6."""
    return hardtanh(input, 0.0, 6.0, inplace)


def _implicit_dim(name: str, ndim: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include "
        "dim=X as an argument.",
        stacklevel=3,
    )
    return 0 if ndim in (0, 1, 3) else 1


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(x) over its sum along a dimension."""
    axis = _implicit_dim("softmax", input.ndim) if dim is None else dim
    return classification.softmax(input, axis, dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """:func:`softmax` of -x."""
    axis = _implicit_dim("softmin", input.ndim) if dim is None else dim
    return classification.softmax(-input, axis, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """The logarithm of :func:`softmax`."""
    axis = _implicit_dim("log_softmax", input.ndim) if dim is None else dim
    return classification.log_softmax(input, axis, dtype)


# ---------------------------------------------------------------------- losses


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that PyTorch's old arguments mean, with its warning if they are given."""
    if size_average is None and reduce is None:
        return reduction
    meant = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{meant}' instead.",
        stacklevel=3,
    )
    return meant


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The mean of the squared differences; or their sum, or all of them for "none"."""
    return loss.mse_loss(input, target, legacy_reduction(size_average, reduce, reduction), weight)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The mean of the absolute differences; or their sum, or all of them for "none"."""
    return loss.l1_loss(input, target, legacy_reduction(size_average, reduce, reduction), weight)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Squares of differences below ``beta`` (halved, over beta), absolute values above."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return loss.smooth_l1_loss(input, target, reduction, beta)


huber_loss = loss.huber_loss


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(t log x + (1 - t) log(1 - x)) of probabilities."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return loss.binary_cross_entropy(input, target, weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """:func:`binary_cross_entropy` of the sigmoid of x."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return loss.binary_cross_entropy_with_logits(input, target, weight, reduction, pos_weight)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability of each target's class."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return classification.nll_loss(input, target, weight, reduction, ignore_index)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """:func:`nll_loss` of the logarithm of the softmax; targets are classes or probabilities."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return classification.cross_entropy(
        input, target, weight, reduction, ignore_index, label_smoothing
    )


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """The Kullback-Leibler divergence of log-probabilities x from probabilities t."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.'mean' will be changed to behave the same as 'batchmean' in the next major "
            "release.",
            stacklevel=2,
        )
    return loss.kl_div(input, target, reduction, log_target)


# ---------------------------------------------------------------------- layers

linear = layers.linear.function
bilinear = layers.bilinear
one_hot = layers.one_hot
layer_norm = normalisation.layer_norm
rms_norm = normalisation.rms_norm
normalize = normalisation.normalize
cosine_similarity = normalisation.cosine_similarity


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of ``weight`` at the indices, whose norms ``max_norm`` bounds (in place) first.

    Gradients are dense, whatever ``sparse`` says. Raises AssertionError for a padding index out of
    range.
    """
    padding = -1
    if padding_idx is not None:
        rows = weight.size(0)
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding = padding_idx % rows
    if max_norm is not None:
        layers.renormalise_rows(weight, input, max_norm, norm_type)
    return layers.embedding(weight, input, padding, scale_grad_by_freq, sparse)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes each element with probability ``p`` and scales the others by 1 / (1 - p).

    Raises ValueError for a p outside [0, 1].
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if p == 0 or not training or not input.numel():
        return input
    noise = FILLERS["bernoulli_"](empty_like(input), 1 - p)
    if p < 1:
        noise.div_(1 - p)
    return input.mul_(noise) if inplace else input * noise


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Adds elements before and after the last dimensions: ``pad`` holds two numbers for each.

    They are ``value``, or of the input: ``mode`` is "constant", "reflect", "replicate" or
    "circular".
    """
    if mode != "constant":
        if value:
            raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
        return layers.pad_from_within(input, pad, mode)
    return layers.constant_pad_nd(input, list(pad), value or 0)


def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of the differences along the last dimension, ``eps`` added to each difference."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V over the last two dimensions (Vaswani et al., 2017).

    A boolean mask says where to look, any other is added to the scores.
    """
    scale = query.size(-1) ** -0.5 if scale is None else scale
    scores: Any = matmul(query, key.transpose(-2, -1))
    scores = scores * scale
    if is_causal:
        visible = scores.new_ones(scores.shape[-2:]).tril() != 0
        scores = scores.masked_fill(~visible, float("-inf"))
    if attn_mask is not None:
        if attn_mask.dtype.category == 0:
            scores = scores.masked_fill(~attn_mask, float("-inf"))
        else:
            scores = scores + attn_mask
    return matmul(dropout(softmax(scores, -1), dropout_p), value)
