"""Derivatives of kernels: of any order, by hand, and without NaN where a branch is not taken."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import numtorch
from kernel_functions import (
    COMPOSED,
    F64,
    FUNCTIONS,
    KERNELS,
    SWISH,
    each_function,
    passed,
    samples,
    step,
)
from numtorch.autograd import grad, gradcheck, gradgradcheck
from numtorch.ops.derivation import _row
from numtorch_kernels.expression import PRIMITIVES


@each_function
def test_gradients(name: str) -> None:
    _, count = FUNCTIONS[name]
    inputs = [numtorch.tensor(x, requires_grad=True) for x in samples(count, (3, 1), (4,))]
    assert gradcheck(KERNELS[name], inputs)
    assert gradgradcheck(KERNELS[name], inputs)


def test_gradients_of_kernels_in_kernels() -> None:
    x, beta = (numtorch.tensor(x, requires_grad=True) for x in samples(2))
    assert gradcheck(COMPOSED, (x, beta))
    assert gradgradcheck(COMPOSED, (x, beta))


def test_gradients_are_pytorchs(oracle: ModuleType) -> None:
    results = []
    for torch, function in ((oracle, lambda x, b: x * (b * x).sigmoid()), (numtorch, SWISH)):
        x = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
        b = torch.tensor([[0.5], [1.5]], dtype=torch.float64, requires_grad=True)
        y = function(x, b)
        first = torch.autograd.grad((y * y).sum(), (x, b), create_graph=True)
        second = torch.autograd.grad((first[0].sum() + first[1].sum()), (x, b), create_graph=True)
        third = torch.autograd.grad(second[0].sum() * second[1].sum(), (x, b))
        results.append([z.detach().numpy() for z in (y, *first, *second, *third)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_nodes() -> None:
    x = numtorch.tensor([1.0, 2.0], requires_grad=True)
    y = SWISH(x, 1.0)
    assert y.grad_fn.name() == "SwishBackward0"
    (g,) = grad(y.sum(), x, create_graph=True)
    assert g.grad_fn.name() == "SwishBackwardBackward0"
    assert not passed(x).requires_grad
    assert not SWISH(x.detach(), 1.0).requires_grad
    with numtorch.no_grad():
        assert not SWISH(x, 1.0).requires_grad
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        SWISH(x, 1.0, out=numtorch.empty(2))
    y = step(x)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0]


def test_what_no_derivative_needs_is_not_saved() -> None:
    @numtorch.kernel
    def shifted(x, y):
        return 2 * x + y

    x = numtorch.tensor([1.0, 2.0], requires_grad=True)
    inner = x * 1
    y = shifted(inner, x)
    inner.add_(1)  # backward would refuse this, if it had been saved
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3, 3]


# ---------------------------------------------------------------------- branches not taken


@numtorch.kernel
def entropy(x):
    return x * math.log(x) if x > 0 else 0.0


@numtorch.kernel
def entropy_by_return(x):
    if x <= 0:
        return 0.0
    logarithm = math.log(x)
    for _ in range(2):
        if logarithm > 100:
            return 0.0
    return x * logarithm


@numtorch.kernel
def twice_conditional(x):
    a = math.log(x) if x > 0 else 0.0
    b = math.sqrt(x) if x > 0 else x
    return a * b + x * b


@numtorch.kernel
def sinc(x):
    return math.sin(x) / x if x != 0 else 1.0


@pytest.mark.parametrize("kernel", [entropy, entropy_by_return, twice_conditional, sinc])
def test_branches_not_taken_give_no_nan(kernel: Any) -> None:
    x = numtorch.tensor([0.0, 2.0], dtype=F64, requires_grad=True)
    alone = numtorch.tensor([2.0], dtype=F64, requires_grad=True)
    results = []
    for point in (x, alone):
        result = [kernel(point)]
        for _ in range(3):
            result += grad(result[-1].sum(), point, create_graph=True)
        results.append(numtorch.stack(result).detach().numpy())
    assert np.isfinite(results[0]).all()
    np.testing.assert_allclose(results[0][:, 1:], results[1], rtol=1e-14)
    if kernel is not twice_conditional:
        assert not results[0][1:, 0].any()


# ---------------------------------------------------------------------- derivatives by hand


def test_derivatives_by_hand() -> None:
    @numtorch.kernel
    def through(x):
        return round(x)

    assert through.derivative(x=lambda g: g) is through
    x = numtorch.tensor([0.4, 1.7], requires_grad=True)
    (g,) = grad((through(x) * x).sum(), x)
    assert g.tolist() == pytest.approx([0.4, 3.7])

    @numtorch.kernel
    def doubled(x, w):
        return 2 * through(x) * w + x

    @numtorch.kernel
    def zero(x):
        return 0.0

    zero.derivative(x=lambda g, x: 5 * x * g)

    @numtorch.kernel
    def zeros(x):
        return zero(x) + zero(x * x)

    (g,) = grad(zeros(x).sum(), x)
    np.testing.assert_allclose(
        g.numpy(), 5 * x.detach().numpy() + 10 * x.detach().numpy() ** 3, 1e-6
    )

    (g,) = grad(doubled(x, 3.0).sum(), x)  # the derivative holds within other kernels, too
    assert g.tolist() == [7, 7]

    @numtorch.kernel
    def exponential(x, scale):
        return math.exp(x * scale)

    exponential.derivative(x=lambda g, y, scale: g * y * scale)  # that by scale is derived
    inputs = [numtorch.tensor(x, requires_grad=True) for x in samples(2)]
    assert gradcheck(exponential, inputs)
    assert gradgradcheck(exponential, inputs)

    @numtorch.kernel
    def outside(x):
        return exponential(x, x) + exponential(x, 2)

    assert gradcheck(outside, inputs[:1])
    assert gradgradcheck(outside, inputs[:1])


def test_an_input_called_y_is_the_input() -> None:
    @numtorch.kernel
    def product(x, y):
        return x * y

    def by_x(g, y):
        if y > 0:
            return g * y
        return 0.0

    product.derivative(x=by_x)
    x, y = numtorch.ones(2, requires_grad=True), numtorch.tensor([3.0, -3.0])
    (g,) = grad(product(x, y).sum(), x, create_graph=True)
    assert g.tolist() == [3, 0]


def test_derivatives_that_make_no_sense() -> None:
    with pytest.raises(TypeError, match="swish has no input 'z', only x, beta"):
        SWISH.derivative(z=lambda g: g)
    with pytest.raises(NameError, match="by x asks for 'z'; there are g, y, x, beta"):
        SWISH.derivative(x=lambda g, z: g * z)
    with pytest.raises(TypeError, match="a Python function"):
        SWISH.derivative(x=3)
    with pytest.raises(TypeError, match="input g of clash"):
        numtorch.kernel(clash).derivative(x=lambda g, x: g)
    with pytest.raises(NotImplementedError, match="a while loop"):
        SWISH.derivative(x=endless)


def endless(g):
    while g > 1:
        g = g / 2
    return g


def clash(g, x):
    return g * x


def test_every_primitive_has_a_row() -> None:
    """So that each can be differentiated; the inverse error function alone has none yet."""
    for name in set(PRIMITIVES) - {"erfinv"}:
        assert _row(name).names
