"""Rows: reductions over dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod as product
from typing import Any

import numpy as np

from numtorch_kernels import copying, reduce
from numtorch_kernels import symbols as s
from numtorch_kernels.calls.callables import Calls
from numtorch_kernels.calls.reduction import ReductionCalls
from numtorch_kernels.deferral import settled
from numtorch_kernels.reduction import Reduction

from ..autograd.graph import Grads
from ..dtype import from_numpy_dtype, to_dtype
from ..size import Size
from ..tensor import Tensor, normalized_dim, wrap
from .apply import OpNode, scalar_type
from .elementwise import pointwise
from .joining import cat
from .signature import must_be_tensor
from .table import Op, Rule, op, register_rows

Array = np.ndarray[Any, Any]
Dims = int | Sequence[int] | None

_INTEGERS = (int, np.integer)
_NEITHER = (Tensor, float, str, bool)  # an integer nor a sequence of them


def axes_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """The sorted non-negative axes that a dim argument means; all for None and ().

    Raises IndexError for a dimension that there is not, RuntimeError for one given twice.
    """
    if dim.__class__ is int and -ndim <= dim < ndim:
        return (dim % ndim,)
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, _INTEGERS) and not isinstance(dim, bool):
        return (normalized_dim(int(dim), ndim),) if ndim else _checked_scalar_dim(int(dim))
    if isinstance(dim, _NEITHER):
        raise TypeError(f"argument 'dim' must be tuple of ints, not {type(dim).__name__}")
    found = [normalized_dim(int(each), ndim) for each in dim]
    if len({*found}) < len(found):
        twice = next(each for each in found if found.count(each) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return tuple(sorted(found)) if ndim and found else tuple(range(ndim))


def _checked_scalar_dim(dim: int) -> tuple[int, ...]:
    normalized_dim(dim, 0)
    return ()


def restored(x: Tensor, shape: Sequence[int], dim: Any, keepdim: bool) -> Tensor:
    """A reduced tensor with its reduced dimensions back, of size 1."""
    if keepdim or not shape:
        return x
    axes = axes_of(dim, len(shape))
    if len(axes) == 1:
        return x.unsqueeze(axes[0])
    return x.reshape([1 if axis in axes else n for axis, n in enumerate(shape)])


def _spread(x: Tensor, shape: Size, dim: Any, keepdim: bool) -> Tensor:
    """A reduced tensor expanded to the shape before."""
    return restored(x, shape, dim, keepdim).expand(shape)


def _count(shape: Sequence[int], dim: Any) -> int:
    return product(shape[axis] for axis in axes_of(dim, len(shape)))


def _floating(function: str, x: Array, dtype: Any = None) -> np.dtype[Any]:
    """The dtype to average in; RuntimeError for integers."""
    kind = to_dtype(dtype) if dtype is not None else from_numpy_dtype(x.dtype)
    if kind.category != 2:
        what = "Input" if dtype is None else "Optional"
        raise RuntimeError(
            f"{function}(): could not infer output dtype. {what} dtype must be either a floating "
            f"point or complex dtype. Got: {scalar_type(kind)}"
        )
    return kind.numpy


def nonempty(function: str, x: Array, dim: Any) -> tuple[int, ...]:
    """The axes, none of which may be empty."""
    if dim is None and not x.size:
        raise RuntimeError(
            f"{function}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
            "the reduction dim with the 'dim' argument."
        )
    axes = axes_of(dim, x.ndim)
    for axis in axes:
        if not x.shape[axis]:
            raise IndexError(f"{function}(): Expected reduction dim {axis} to have non-zero size.")
    return axes


def _in_dtype(x: Array, kind: np.dtype[Any] | None) -> Array:
    return x if kind is None or x.dtype == kind else copying.contiguous(x, kind)


def _numpy(dtype: Any) -> np.dtype[Any] | None:
    return None if dtype is None else to_dtype(dtype).numpy


class ReductionOp(Op):
    """A reduction, whose small ones do not come here once their loops are known."""

    kinds_say_all = True  # and whether there is a dimension

    def __init__(
        self,
        reduction: Reduction,
        forward: Any,
        *,
        node: Any = None,
        one_dim: bool = False,
        **rules: Rule,
    ) -> None:
        super().__init__(forward, rules, node=node)
        self.reduction = reduction
        self.one_dim = one_dim  # whether it takes one dimension only, as a number

    def make_calls(self) -> Calls:
        """What answers calls with small tensors."""
        is_mean = self.reduction is reduce.MEAN
        note = self._note if self.rules else None
        arity = self.parameters.positional
        return ReductionCalls(self.reduction, is_mean, arity, note, not self.one_dim)

    def compute(self, arguments: tuple[Any, ...]) -> Tensor:
        """The result, whose loops are noted."""
        result: Tensor = super().compute(arguments)
        x, kind = arguments[0], result.dtype
        plain = len(arguments) <= 3 or arguments[3] is None  # the dtype
        if isinstance(self.calls, ReductionCalls) and plain:
            self.calls.learn(x.dtype.numpy, x.dtype, kind.numpy, kind)
        return result

    def backward(
        self, node: OpNode, grads: Grads, values: list[Any], create_graph: bool
    ) -> Sequence[Tensor | None]:
        """The gradient; that of a sum or mean goes to all elements, without a graph of its own."""
        (g,) = grads
        assert g is not None
        shape, kind = node.likes[0]
        if create_graph or g.dtype is not kind or self.reduction not in (reduce.SUM, reduce.MEAN):
            return super().backward(node, grads, values, create_graph)
        known = dict(zip(node.recipe.names, values, strict=True))
        dim, keepdim = known["dim"], known["keepdim"]
        if self.reduction is reduce.MEAN:
            g = g / max(_count(shape, dim), 1)
        array = g._array
        if dim is not None and not keepdim:
            axes = axes_of(dim, len(shape))
            array = array.reshape([1 if axis in axes else n for axis, n in enumerate(shape)])
        return [wrap(copying.expanded(array, shape), kind)]


# ---------------------------------------------------------------------- sums and products


def _sum(x: Array, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    return reduce.sum(x, axes_of(dim, x.ndim), keepdim, _numpy(dtype))


def _mean(x: Array, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    return reduce.mean(x, axes_of(dim, x.ndim), keepdim, _floating("mean", x, dtype))


def _prod(x: Array, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Array:
    if dim is not None and not isinstance(dim, int):
        raise TypeError(
            f"prod() received an invalid combination of arguments - got ({type(dim).__name__})"
        )
    return reduce.prod(x, axes_of(dim, x.ndim), keepdim, _numpy(dtype))


def nowhere_zero(x: Tensor) -> bool:
    """Whether no element is 0."""
    with settled():
        return bool(reduce.all(x._array, tuple(range(x.ndim))))


def _others_product(x: Tensor, dim: int) -> Tensor:
    """For each element along a dimension, the product of all others."""
    one = x.select(dim, 0).unsqueeze(dim) * 0 + 1
    length = x.shape[dim]

    def before(values: Tensor) -> Tensor:
        return cat([one, values.narrow(dim, 0, length - 1)], dim).cumprod(dim)

    return before(x) * before(x.flip(dim)).flip(dim)


def _prod_gradient(g: Tensor, x: Tensor, y: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if not x.numel():
        return x * 0
    if nowhere_zero(x):
        return restored(g * y, x.shape, dim, keepdim) / x
    if dim is None:
        return (g * _others_product(x.reshape(-1), 0)).reshape(x.shape)
    if not x.ndim:
        return g
    return restored(g, x.shape, dim, keepdim) * _others_product(x, dim)


sum = ReductionOp(
    reduce.SUM,
    _sum,
    x=lambda g, x_shape, x_dtype, dim, keepdim: _spread(g, x_shape, dim, keepdim).to(x_dtype),
    node=lambda x, dim=None, *_: "SumBackward0" if dim is None else "SumBackward1",
)
mean = ReductionOp(
    reduce.MEAN,
    _mean,
    x=lambda g, x_shape, x_dtype, dim, keepdim: _spread(
        g / max(_count(x_shape, dim), 1), x_shape, dim, keepdim
    ).to(x_dtype),
    node=lambda x, dim=None, *_: "MeanBackward0" if dim is None else "MeanBackward1",
)
prod = ReductionOp(
    reduce.PROD,
    _prod,
    one_dim=True,
    x=_prod_gradient,
    node=lambda x, dim=None, *_: "ProdBackward0" if dim is None else "ProdBackward1",
)


# ---------------------------------------------------------------------- spread


def _unbiased(dim: Any, unbiased: Any, correction: Any) -> tuple[Any, float]:
    """The dim and correction that the old positional ``unbiased`` and the new keyword mean."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        return dim, 1.0 if unbiased else 0.0
    return dim, 1.0 if correction is None else float(correction)


def _spread_forward(name: str, kernel: Any) -> Any:
    """The forward of a row that says how far elements are from their mean."""

    def forward(
        x: Array,
        dim: Any = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> Any:
        if x.dtype.kind != "f":
            raise RuntimeError("std and var only support floating point and complex dtypes")
        dim, amount = _unbiased(dim, unbiased, correction)
        return kernel(x, axes_of(dim, x.ndim), amount, keepdim)

    forward.__doc__ = f"The {name} over dimensions, of size - ``correction`` degrees of freedom."
    return forward


def _var_gradient(
    g: Tensor, x: Tensor, dim: Any, unbiased: Any, keepdim: bool, correction: Any
) -> Tensor:
    dim, amount = _unbiased(dim, unbiased, correction)
    freedom = _count(x.shape, dim) - amount
    scale = 2 / freedom if freedom > 0 else math.nan if freedom == 0 else math.inf
    deviation = x - mean(x, dim, True) if x.ndim else x - mean(x)
    return restored(g, x.shape, dim, keepdim) * (deviation * scale)


def _std_gradient(
    g: Tensor, x: Tensor, y: Tensor, dim: Any, unbiased: Any, keepdim: bool, correction: Any
) -> Tensor:
    g = s.where(y == 0, 0, g / (2 * y))
    return _var_gradient(g, x, dim, unbiased, keepdim, correction)


def _pair_gradient(
    grads: Any, x: Tensor, first: Any, dim: Any, unbiased: Any, keepdim: bool
) -> Tensor:
    """The gradient of (spread, mean), each of which may have none."""
    g, average = grads if isinstance(grads, list) else (grads, None)
    total = None if g is None else first(g)
    if average is not None:
        shape, (dim, _) = x.shape, _unbiased(dim, unbiased, None)
        even = _spread(average / max(_count(shape, dim), 1), shape, dim, keepdim)
        total = even if total is None else total + even
    assert total is not None
    return total


var = op(_spread_forward("var", reduce.var), x=_var_gradient)
std = op(_spread_forward("std", reduce.std), x=_std_gradient)
var_mean = op(
    _spread_forward("var_mean", reduce.var_mean),
    outputs=("var", "mean"),
    x=lambda g, x, dim, unbiased, keepdim, correction: _pair_gradient(
        g,
        x,
        lambda each: _var_gradient(each, x, dim, unbiased, keepdim, correction),
        dim,
        unbiased,
        keepdim,
    ),
)
std_mean = op(
    _spread_forward("std_mean", reduce.std_mean),
    outputs=("std", "mean"),
    x=lambda g, x, std, dim, unbiased, keepdim, correction: _pair_gradient(
        g,
        x,
        lambda each: _std_gradient(each, x, std, dim, unbiased, keepdim, correction),
        dim,
        unbiased,
        keepdim,
    ),
)


# ---------------------------------------------------------------------- logic and counts


def _truth(kernel: Any) -> Any:
    def forward(x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
        result = kernel(x, axes_of(dim, x.ndim), keepdim)
        return result.view(np.uint8) if x.dtype == np.uint8 else result

    return forward


any = ReductionOp(reduce.ANY, _truth(reduce.any))
all = ReductionOp(reduce.ALL, _truth(reduce.all))
count_nonzero = ReductionOp(
    reduce.COUNT_NONZERO, lambda x, dim=None: reduce.count_nonzero(x, axes_of(dim, x.ndim))
)


# ---------------------------------------------------------------------- norms


def _vector_norm(
    x: Array, ord: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Array:
    if x.dtype.kind != "f":
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. "
            f"Got {scalar_type(from_numpy_dtype(x.dtype))}"
        )
    axes = axes_of(dim, x.ndim)
    if not x.size and (ord == math.inf or ord < 0) and product(x.shape[a] for a in axes) == 0:
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {float(ord)} norm on an empty tensor because "
            "the operation does not have an identity"
        )
    kind = _numpy(dtype)
    return reduce.norm(_in_dtype(x, kind), axes, float(ord), keepdim)


_ratio = pointwise(
    lambda a, b: s.where(b == 0, 0, a / b),
    a=lambda g, b: s.where(b == 0, 0, g / b),
    b=lambda g, a, b: s.where(b == 0, 0, -g * ((a / b) / b)),
)


def _norm_gradient(g: Tensor, x: Tensor, y: Tensor, ord: float, dim: Any, keepdim: bool) -> Tensor:
    if dim is not None:
        g, y = (restored(each, x.shape, dim, keepdim) for each in (g, y))
    g, y = (each if each.dtype is x.dtype else each.to(x.dtype) for each in (g, y))
    if ord == 0:
        return x * 0
    if ord == 1:
        return x.sign() * g
    if ord == 2:
        return x * _ratio(g, y)
    size = x.abs()
    if math.isinf(ord):
        chosen = size == y
        count = sum(chosen, dim, True) if x.ndim else sum(chosen)
        return x.sign() * (g * chosen / count)
    if ord < 1:
        direction = s.where(x == 0, 0, x.sign() * size ** (ord - 1))
        return direction * g * y ** (1 - ord)
    if ord < 2:
        return s.where(y == 0, 0, x.sign() * size ** (ord - 1) * (g * y ** (1 - ord)))
    return s.where(y == 0, 0, x * size ** (ord - 2) * (g / y ** (ord - 1)))


_vector_norm_row = op(_vector_norm, x=_norm_gradient, node="LinalgVectorNormBackward0")


def _logsumexp(x: Array, dim: Dims, keepdim: bool = False) -> Array:
    kind = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    return reduce.logsumexp(_in_dtype(x, kind), axes_of(dim, x.ndim), keepdim)


def _exp_from(x: Any, level: Any) -> Any:
    """exp(x - level), where an infinite level counts as 0."""
    return s.exp(x - s.where(s.abs(level) == math.inf, 0, level))


_scaled_exp = pointwise(
    lambda scale, x, level: scale * _exp_from(x, level),
    scale=lambda g, x, level: g * _exp_from(x, level),
    x=lambda g, scale, x, level: g * (scale * _exp_from(x, level)),
    level=lambda g, scale, x, level: s.where(
        s.abs(level) == math.inf, 0, -g * (scale * _exp_from(x, level))
    ),
)
logsumexp = op(
    _logsumexp,
    x=lambda g, x, y, dim, keepdim: _scaled_exp(
        restored(g, x.shape, dim, keepdim), x, restored(y, x.shape, dim, keepdim)
    ),
)


def norm(
    input: Tensor,
    p: float | str | None = "fro",
    dim: Dims = None,
    keepdim: bool = False,
    out: Tensor | None = None,
    dtype: Any = None,
) -> Tensor:
    """The p-norm over dimensions; ``"fro"`` and None are the 2-norm.

    Raises RuntimeError for integers and for orders that are not numbers.

    >>> import numtorch as torch
    >>> torch.norm(torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
    order = 2.0 if p is None or isinstance(p, str) else p
    if dtype is None and out is None:
        return _vector_norm_row.function(input, order, dim, keepdim)
    return _vector_norm_row.function(input, order, dim, keepdim, dtype=dtype, out=out)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same size and elements."""
    if input._array.shape != other._array.shape:
        return False
    same: bool = all.function(input == other).item()
    return same


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Element by element, whether abs(input - other) <= atol + rtol * abs(other)."""
    for position, (name, x) in enumerate((("input", input), ("other", other))):
        if not isinstance(x, Tensor):
            must_be_tensor("isclose", name, position + 1, x)
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{scalar_type(input.dtype)} did not match {scalar_type(other.dtype)}")
    if rtol < 0 or atol < 0:
        name, value = ("rtol", rtol) if rtol < 0 else ("atol", atol)
        raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    close = input == other
    if equal_nan and input.dtype.is_floating_point:
        close = close | ((input != input) & (other != other))
    if rtol == 0 and atol == 0:
        return close
    if input.dtype.category == 0:
        input, other = input * 1.0, other * 1.0
    allowed = atol + (rtol * other).abs()
    difference = (input - other).abs()
    return close | (difference.isfinite() & (difference <= allowed))


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close, as :func:`isclose` says."""
    return bool(all(isclose(input, other, rtol, atol, equal_nan)))


FUNCTIONS = {
    "norm": norm,
    "equal": equal,
    "isclose": isclose,
    "allclose": allclose,
}
METHODS = FUNCTIONS

register_rows(globals())
