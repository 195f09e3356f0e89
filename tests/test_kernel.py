"""Kernels of the user's own compute what Python computes, of each element."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numtorch
from kernel_functions import (
    COMPOSED,
    F64,
    FUNCTIONS,
    KERNELS,
    SWISH,
    by_python,
    each_function,
    passed,
    samples,
    step,
    swish,
)


@each_function
def test_values(name: str) -> None:
    function, count = FUNCTIONS[name]
    arrays = samples(count)
    expected = by_python(function, *arrays)
    result = KERNELS[name](*map(numtorch.tensor, arrays))
    assert result.dtype is F64
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-13, atol=1e-14)
    of_arrays = KERNELS[name](*arrays)
    assert type(of_arrays) is np.ndarray
    np.testing.assert_array_equal(of_arrays, result.numpy())
    single = KERNELS[name](*(numtorch.tensor(x, dtype=numtorch.float32) for x in arrays))
    assert single.dtype is numtorch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=2e-4, atol=2e-4)


@each_function
@given(numbers=st.tuples(*[st.floats(-3, 3, allow_subnormal=False)] * 2))
def test_any_numbers(name: str, numbers: tuple[float, ...]) -> None:
    function, count = FUNCTIONS[name]
    try:
        expected = function(*numbers[:count])
    except (ZeroDivisionError, OverflowError, ValueError):
        return
    assert KERNELS[name](*numbers[:count]) == expected
    result = KERNELS[name](np.array(numbers[0]), *numbers[1:count])
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-13)


def test_broadcasting_and_layouts() -> None:
    kernel, (x, y) = SWISH, samples(2, (3, 1, 5), (4, 1))
    expected = by_python(swish, x, y)
    gaps, backwards = np.repeat(x, 2, 2)[..., ::2], y[::-1].copy()[::-1]
    for a, b in ((x, y), (np.asfortranarray(x), backwards), (gaps, y)):
        np.testing.assert_allclose(kernel(a, b), expected, rtol=1e-14)
        tensors = [numtorch.from_numpy(z if min(z.strides) > 0 else z.copy()) for z in (a, b)]
        result = kernel(*tensors)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-14)
    assert kernel(numtorch.zeros(0, 3), numtorch.zeros(3)).shape == (0, 3)
    assert kernel(np.zeros((0, 3)), 1).shape == (0, 3)
    assert kernel(numtorch.tensor(1.0), 2).shape == ()
    with pytest.raises(RuntimeError, match="must match the size of tensor b"):
        kernel(numtorch.zeros(2), numtorch.zeros(3))
    with pytest.raises(ValueError, match="broadcast"):
        kernel(np.zeros(2), np.zeros(3))


def test_arguments() -> None:
    x = numtorch.tensor([0.5, -1.0])
    expected = SWISH(x, numtorch.tensor(2.0)).tolist()
    assert SWISH(x, 2).tolist() == SWISH(beta=2.0, x=x).tolist() == expected
    assert SWISH(x, np.float64(2)).tolist() == SWISH(x, True + 1).tolist() == expected
    assert SWISH(2.0, numtorch.tensor([1.0])).shape == (1,)
    assert COMPOSED(x).tolist() == COMPOSED(x, 0.5).tolist() != COMPOSED(x, beta=1).tolist()
    assert SWISH(1.0, 2) == swish(1.0, 2)
    assert SWISH(1.0, beta=2) == swish(1.0, 2)
    target = numtorch.empty(2)
    assert SWISH(x, 2, out=target) is target
    assert target.tolist() == expected
    for wrong, message in (
        (([1.0], x), r"swish\(\): argument 'x' \(position 1\) must be Tensor, not list"),
        ((x, np.zeros(2)), r"argument 'beta' \(position 2\) must be Tensor, not numpy.ndarray"),
        ((x, None), "'beta'"),
        ((x,), "missing a required argument: 'beta'"),
        ((x, 1, 2), "too many positional arguments"),
    ):
        with pytest.raises(TypeError, match=message):
            SWISH(*wrong)
    with pytest.raises(TypeError, match="out is for calls with tensors"):
        SWISH(np.zeros(2), 1, out=target)


def test_large_operands_run_in_parallel() -> None:
    x = np.linspace(-4, 4, 1_000_003)
    expected = x / (1 + np.exp(-0.75 * x))
    np.testing.assert_allclose(SWISH(x, 0.75), expected, rtol=1e-13, atol=1e-15)
    ours = numtorch.from_numpy(x).requires_grad_()
    result = SWISH(ours, 0.75)
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-13, atol=1e-15)
    result.sum().backward()
    gate = 1 / (1 + np.exp(-0.75 * x))
    assert ours.grad is not None
    np.testing.assert_allclose(ours.grad.numpy(), gate + 0.75 * x * gate * (1 - gate), atol=1e-12)
    pairs = numtorch.from_numpy(x[:1_000_000].reshape(1000, 1000))
    np.testing.assert_array_equal(
        SWISH(pairs.T, pairs[0]).numpy(), SWISH(pairs.numpy().T.copy(), pairs[0].numpy())
    )


# ---------------------------------------------------------------------- dtypes


@numtorch.kernel
def sign(x):
    return 1 if x > 0 else -1 if x < 0 else 0


@numtorch.kernel
def between(x, low, high):
    return low < x < high


@numtorch.kernel
def tenth(x):
    return 0.1 * (x > 0) + x


@numtorch.kernel
def halved(x):
    return x // 2


@numtorch.kernel
def inverse(x):
    return x**-1


@numtorch.kernel
def masked(x, y):
    return (x & y) << 1 | 1


DTYPES = (
    (step, "float64", "float64", "float64"),
    (step, "float32", "float32", "float32"),
    (step, "int64", "float32", "float64"),  # fractions: PyTorch's default dtype, or NumPy's
    (sign, "float32", "float32", "float32"),
    (sign, "int8", "int8", "int8"),
    (sign, "bool", "int64", "int64"),
    (passed, "float32", "int64", "int64"),
    (tenth, "float64", "float64", "float64"),
    (tenth, "int32", "float32", "float64"),
    (halved, "int16", "int16", "int16"),
    (halved, "float32", "float32", "float32"),
    (halved, "bool", "int64", "int64"),
    (inverse, "int64", "float32", "float64"),
    (SWISH, "uint8", "float32", "float64"),
)


@pytest.mark.parametrize(("kernel", "given", "of_tensor", "of_array"), DTYPES)
def test_dtypes(kernel: Any, given: str, of_tensor: str, of_array: str) -> None:
    x = np.array([1, 2, 5], given)
    rest = (1,) * (2 if kernel is SWISH else 1)
    result = kernel(numtorch.from_numpy(x), *rest[1:])
    assert str(result.dtype) == f"torch.{of_tensor}"
    assert kernel(x, *rest[1:]).dtype == of_array
    expected = by_python(kernel.__wrapped__, x, *rest[1:])
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(kernel(x, *rest[1:]), expected, rtol=1e-14)


def test_promotion() -> None:
    whole, single, double = (numtorch.ones(2, dtype=d) for d in (numtorch.int64, None, F64))
    assert SWISH(whole, single).dtype is numtorch.float32
    assert SWISH(single, double).dtype is F64
    assert SWISH(single, double[0]).dtype is numtorch.float32  # no dimensions, no say
    assert SWISH(single.numpy(), double.numpy()).dtype == "float64"
    assert SWISH(single.numpy(), 2.0).dtype == "float32"
    assert between(whole, 0.5, 1.5).dtype is numtorch.bool
    assert between(whole, 0.5, 1.5).tolist() == [True, True]
    assert masked(whole * 7, 3).tolist() == [7, 7]
    assert type(SWISH(np.float32(1), 2.0)) is np.float32
    assert SWISH(np.ones(2, ">f8"), 1).dtype == "float64"
    with pytest.raises(TypeError, match="complex128 are not supported"):
        SWISH(np.zeros(2, complex), 1)
    with pytest.raises(NotImplementedError, match="bitwise_and is not defined for float32"):
        masked(single, 3)


# ---------------------------------------------------------------------- the rest


def test_lambdas_of_one_line_are_told_apart() -> None:
    double, triple = numtorch.kernel(lambda x: 2 * x), numtorch.kernel(lambda x: x * 3)
    made = [numtorch.kernel(lambda x, n=n: x**n) for n in (2, 3)]
    x = numtorch.tensor([2.0], requires_grad=True)
    assert [k(x).item() for k in (double, triple, *made)] == [4, 6, 4, 8]
    assert double(x).grad_fn.name() == "LambdaBackward0"


def test_names_from_outside_have_the_value_of_the_first_use() -> None:
    factor = 2.0

    @numtorch.kernel
    def scaled(x):
        return factor * x

    assert scaled(numtorch.ones(1)).item() == 2
    factor = 3.0
    assert scaled(numtorch.ones(1, dtype=F64)).item() == 2
    assert scaled(1.0) == 3


def test_a_kernel_looks_like_its_function() -> None:
    assert repr(SWISH) == "<kernel swish(x, beta)>"
    assert SWISH.__name__ == "swish"
    assert KERNELS["piecewise"].__doc__ == "Three pieces."
    assert pickle.loads(pickle.dumps(step)) is step
    assert copy.deepcopy(step) is step
