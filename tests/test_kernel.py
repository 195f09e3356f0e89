"""Kernels of the user's own: what they compute, their derivatives, and what they refuse."""

import copy
import functools
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numtorch
from numtorch.autograd import grad, gradcheck, gradgradcheck
from numtorch.ops.derivation import _row
from numtorch_kernels.expression import PRIMITIVES

F64 = numtorch.float64
COEFFICIENTS = (1.0, -0.5, 0.25, 2.0)
SCALE = np.float64(1.5)
LIMITS = np.array([-1.0, 2.0])


def swish(x, beta):
    return x / (1 + math.exp(-beta * x))


def piecewise(x):
    """Three pieces."""
    if x < -1:
        y = -x - 0.5
    elif x < 1:
        y = x * x / 2
    else:
        y: float = x - 0.5
    return y


def early(x, y):
    if x > y:
        return x * y
    if x < 0:
        if y > 0:
            return x - y
        x = x * 2
    return math.sin(x) + y


def horner(x):
    total = 0.0
    for c in COEFFICIENTS:
        total = total * x + c
    return total


def indexed(x):
    total = 0
    for i, c in enumerate(reversed(COEFFICIENTS[1:])):
        total += c * COEFFICIENTS[i] * x**i
    return total


def newton(x):
    y = 1.0 + 0 * x
    for _ in range(6):
        y = 0.5 * (y + (1 + x * x) / y)
    return y


def escape(x, y):
    a, b, turns = 0.0, 0.0, 0.0
    for _ in range(5):
        if a * a + b * b > 2:
            break
        a, b = a * a - b * b + x, 2 * a * b + y
        turns += 1
    return turns + (a + b) / 100


def skipping(x):
    total = 0.0
    for k in range(1, 5):
        if x * k > 2:
            continue
        if k == 3:
            total -= x
            continue
        if total > 6:
            return total
        total += k * x + 1
    return total * x


def continued(x, y):
    total = x
    for k in range(3):
        if x > k:
            total += 1
            continue
        if y > 0:
            return total * y
        total += y
        if y < -1:
            break
    return total - x * x


def nested(x, y):
    total = 0.0
    for i in range(3):
        for j in range(3):
            if j > i:
                break
            if x > i + 1:
                return total - x
            total += (x - i) * (y + j)
        if total > 5:
            continue
        total += 0.5
    return total


def logic(x, y):
    if (0 < x <= 1 or not y > 0) and x != y:
        return x + y
    return x * y if x and y < 2 else abs(x - y)


def _half(x, by=2):
    return x / by


def helped(x, y):
    return _half(_half(x), by=3) + max(x, y, 0.5) * min(x, y)


def elementary(x, y):
    a = math.log(2 + x * x) + math.log(3 + y * y, 3) + math.sqrt(1 + x * x) + np.tanh(x * y)
    b = math.atan2(x, 3 + y * y) + math.hypot(x, y + 10) + np.square(y) + math.erf(x)
    c = np.clip(x, -1, 1) + np.where(x > y, x, -y) + math.degrees(x) * pow(1 + x * x, 0.3)
    return a * b + c


def rounding(x, y):
    quotient, rest = divmod(x, 2)
    return quotient + rest * 3 + x // 3 + y % 2 + round(x) + int(y) + math.floor(x) + float(x > y)


def outer(x):
    return sum((x, x * x, SCALE)) + LIMITS[1] * x - len(COEFFICIENTS)


def composed(x, beta=0.5):
    return numtorch.sigmoid(x) * SWISH(x, beta) + numtorch.where(x > 0, x, 0.1 * x)


SWISH = numtorch.kernel(swish)
square_or_cube = lambda x: x**2 if x > 0 else x**3  # noqa: E731

FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "swish": (swish, 2),
    "piecewise": (piecewise, 1),
    "early": (early, 2),
    "horner": (horner, 1),
    "indexed": (indexed, 1),
    "newton": (newton, 1),
    "escape": (escape, 2),
    "skipping": (skipping, 1),
    "continued": (continued, 2),
    "nested": (nested, 2),
    "logic": (logic, 2),
    "helped": (helped, 2),
    "elementary": (elementary, 2),
    "rounding": (rounding, 2),
    "outer": (outer, 1),
    "square_or_cube": (square_or_cube, 1),
}
KERNELS = {name: numtorch.kernel(function) for name, (function, _) in FUNCTIONS.items()}
COMPOSED = numtorch.kernel(composed)
each_function = pytest.mark.parametrize("name", FUNCTIONS)


def by_python(function: Callable[..., Any], *operands: Any) -> Any:
    """The function of each element, by Python."""
    arrays = np.broadcast_arrays(*operands)
    values = [function(*map(float, each)) for each in zip(*(x.flat for x in arrays), strict=True)]
    return np.array(values, "float64").reshape(arrays[0].shape)


def samples(count: int, *shapes: Any) -> list[Any]:
    random = np.random.default_rng(3)
    return [random.uniform(-2.5, 2.5, shape) for shape in (shapes or [(40,)] * count)][:count]


# ---------------------------------------------------------------------- values


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
def step(x):
    return 1.0 if x > 0 else 0.0


@numtorch.kernel
def sign(x):
    return 1 if x > 0 else -1 if x < 0 else 0


@numtorch.kernel
def between(x, low, high):
    return low < x < high


@numtorch.kernel
def passed(x):
    return (x > 0) + (x > 1)


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


# ---------------------------------------------------------------------- gradients


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


def clash(g, x):
    return g * x


# ---------------------------------------------------------------------- refusals


def endless(x):
    while x > 1:
        x = x / 2
    return x


def guarded(x):
    try:
        return 1 / x
    except ZeroDivisionError:
        return 0.0


def generator(x):
    yield x


def stored(x):
    numtorch.x = x
    return x


def unlimited(*x):
    return sum(x)


def contained(x):
    return x in (1, 2)


def lists(x):
    return sum(x * k for k in range(3))


AT_ONCE = {
    endless: "while x > 1:",
    guarded: "try:",
    generator: "yield x",
    stored: "numtorch.x = x",
    unlimited: "def unlimited(*x):",
    contained: "return x in (1, 2)",
    lists: "return sum(x * k for k in range(3))",
}


def _named(function: Callable[..., Any], text: str) -> str:
    """The end of the message that names a line of a function."""
    with open(__file__) as file:
        lines = [line.strip() for line in file]
    number = lines.index(text, function.__code__.co_firstlineno - 1) + 1
    return f'  File "{__file__}", line {number}, in {function.__name__}\n    {text}'


@pytest.mark.parametrize("function", AT_ONCE)
def test_refused_at_once(function: FunctionType) -> None:
    with pytest.raises(NotImplementedError) as caught:
        numtorch.kernel(function)
    assert str(caught.value).endswith(_named(function, AT_ONCE[function]))


def data_dependent(x):
    total = 0.0
    for i in range(x):
        total += i
    return total


def too_long(x):
    for _ in range(1000):
        x = x / 2
    return x


def unknown_call(x):
    return math.gamma(x)


def unknown_name(x):
    return x * undefined_name  # noqa: F821


def falls_off(x):  # noqa: RET503
    if x > 0:
        return x


def half_assigned(x):
    if x > 0:
        y = x
    return y


def endless_recursion(x):
    return endless_recursion(x - 1)


def two_results(x):
    return x, x


def mixed(x):
    return (x, x) if x > 0 else x


def loops_in_loops(x):
    for _ in range(200):
        for _ in range(100):
            x = x / 2
    return x


def of_text(x):
    return x * "a"


def of_a_tensor(x):
    return x * ONES


def within_a_helper(x):
    return unknown_call(x) + 1


def with_domain_error(x):
    return x * math.log(-1.0)


def wrong_arguments(x):
    return math.exp(x, x)


ONES = numtorch.ones(2)
AT_FIRST_USE = {
    data_dependent: ("range of a number that is not known", "for i in range(x):"),
    too_long: ("at most 256 turns, not 1000", "for _ in range(1000):"),
    unknown_call: ("cannot call gamma", "return math.gamma(x)"),
    unknown_name: ("undefined_name", "return x * undefined_name  # noqa: F821"),
    falls_off: ("without a return", "if x > 0:"),
    half_assigned: ("y has no value", "return y"),
    endless_recursion: ("call themselves", "return endless_recursion(x - 1)"),
    two_results: ("one number, not a tuple", "def two_results(x):"),
    mixed: ("not of one kind", "return (x, x) if x > 0 else x"),
    loops_in_loops: ("at most 2048 turns in all", "for _ in range(100):"),
    of_text: ("not with 'a'", 'return x * "a"'),
    of_a_tensor: ("not with a Tensor", "return x * ONES"),
    with_domain_error: ("math domain error", "return x * math.log(-1.0)"),
    wrong_arguments: ("TypeError", "return math.exp(x, x)"),
}


@pytest.mark.parametrize("function", AT_FIRST_USE)
def test_refused_at_first_use(function: FunctionType) -> None:
    kernel = numtorch.kernel(function)
    what, text = AT_FIRST_USE[function]
    for x in (numtorch.ones(2), numtorch.ones(2, requires_grad=True), np.ones(2, "int64")):
        with pytest.raises(NotImplementedError) as caught:
            kernel(x)
        assert what in str(caught.value)
        assert str(caught.value).endswith(_named(function, text))


def test_a_refusal_in_a_helper_names_the_helper() -> None:
    with pytest.raises(NotImplementedError) as caught:
        numtorch.kernel(within_a_helper)(numtorch.ones(2))
    assert str(caught.value).endswith(_named(unknown_call, "return math.gamma(x)"))


def test_what_cannot_be_a_kernel(tmp_path: Path) -> None:
    space: dict[str, Any] = {}
    exec("def typed(x):\n    return x", space)
    with pytest.raises(OSError, match="the source of typed is not available"):
        numtorch.kernel(space["typed"])
    path = tmp_path / "edited.py"
    path.write_text("def edited(x):\n    return x + 1\n")
    exec(compile(path.read_text(), path, "exec"), space)
    path.write_text("def edited(x):\n    return x + 2\n")
    with pytest.raises(OSError, match="was changed after it had been read"):
        numtorch.kernel(space["edited"])
    for wrong in (math.exp, 3, functools.partial(swish, 1)):
        with pytest.raises(TypeError, match="made of a Python function"):
            numtorch.kernel(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no parameters"):
        numtorch.kernel(lambda: 1)


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


def test_every_primitive_has_a_row() -> None:
    """So that each can be differentiated; the inverse error function alone has none yet."""
    for name in set(PRIMITIVES) - {"erfinv"}:
        assert _row(name).names
