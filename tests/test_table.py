"""Every operation, as PyTorch has it: values, gradients, memory layouts, special values, dtypes."""

from __future__ import annotations

import inspect
import reprlib
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import numtorch
from numtorch.ops.table import TABLE
from numtorch.tensor import wrap_array
from table import ROWS
from table.row import Array, Call, Make, Row, replaced, special_arrays

TOLERANCE = {"float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7)}
INTERNAL = {"alias", "slice", "fill", "zero"}  # rows that torch has as methods or syntax only

each_row = pytest.mark.parametrize("row", ROWS, ids=str)
each_row_and_dtype = pytest.mark.parametrize(
    ("row", "dtype"), [(row, dtype) for row in ROWS for dtype in row.dtypes], ids=str
)


def only(condition: Callable[[Row], Any]) -> pytest.MarkDecorator:
    """Parametrizes over the rows of which something is true."""
    return pytest.mark.parametrize("row", [row for row in ROWS if condition(row)], ids=str)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """PyTorch warns of what it will refuse one day; that is tested elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ---------------------------------------------------------------------- comparing


def tensor(torch: ModuleType, array: Array) -> Any:
    """A tensor of a copy of an array; for numtorch, with the array's strides."""
    if torch is numtorch:
        return wrap_array(array.copy() if array.flags.c_contiguous else array)
    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape).copy())


def arguments(torch: ModuleType, call: Call) -> Call:
    return call.on(lambda array: tensor(torch, array))


def outcome(torch: ModuleType, row: Row, call: Call) -> Any:
    """The result of a call, or the exception that it raises."""
    given = arguments(torch, call)
    try:
        return row.function(torch)(*given.args, **given.kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        return error


def assert_equal(actual: Any, expected: Any, call: Any = None, signs: bool = True) -> None:
    """Check that a result is the oracle's: structure, dtype, shape, values; or the same refusal."""
    if isinstance(expected, Exception):
        assert type(actual) is type(expected), (actual, expected, call)
        return
    assert not isinstance(actual, Exception), (actual, expected, call)
    if isinstance(expected, tuple | list):
        assert len(actual) == len(expected), call
        for one, other in zip(actual, expected, strict=True):
            assert_equal(one, other, call, signs)
        return
    if not hasattr(expected, "detach"):
        assert actual == expected, call
        return
    kind = str(expected.dtype).removeprefix("torch.")
    assert str(actual.dtype).removeprefix("torch.") == kind, call
    assert tuple(actual.shape) == tuple(expected.shape), call
    assert_close(actual.detach().numpy(), expected.detach().numpy(), kind, call, signs)


def assert_close(actual: Array, expected: Array, kind: str, call: Any, signs: bool) -> None:
    if kind not in TOLERANCE:
        np.testing.assert_array_equal(actual, expected, err_msg=repr(call))
        return
    rtol, atol = TOLERANCE[kind]
    both_zero = (actual == 0) & (expected == 0)
    wrong = ~np.isclose(actual, expected, rtol, atol, equal_nan=True)
    if signs:
        wrong |= both_zero & (np.signbit(actual) != np.signbit(expected))
    shown = [
        (tuple(map(int, at)), actual[tuple(at)], expected[tuple(at)]) for at in np.argwhere(wrong)
    ]
    assert not shown, (shown[:5], reprlib.repr(call))


# ---------------------------------------------------------------------- values


@each_row_and_dtype
def test_values(oracle: ModuleType, row: Row, dtype: str) -> None:
    for call in row.calls(Make(dtype)):
        assert_equal(
            outcome(numtorch, row, call), outcome(oracle, row, call), call, row.signed_zeros
        )


@only(lambda row: row.refused(Make("float64")))
def test_refusals(oracle: ModuleType, row: Row) -> None:
    for call in row.refused(Make(row.dtypes[0])):
        expected = outcome(oracle, row, call)
        assert isinstance(expected, Exception), call
        assert_equal(outcome(numtorch, row, call), expected, call)


SPECIALS = [
    (row, dtype)
    for row in ROWS
    for dtype in row.dtypes
    if row.special and (dtype in TOLERANCE or (dtype == "int64" and row.integers))
]


@pytest.mark.parametrize(("row", "dtype"), SPECIALS, ids=str)
def test_special_values(oracle: ModuleType, row: Row, dtype: str) -> None:
    call = Call(*special_arrays(row, dtype))
    assert_equal(outcome(numtorch, row, call), outcome(oracle, row, call), call, row.signed_zeros)


# ---------------------------------------------------------------------- memory


def _expanded(x: Array) -> Array:
    return np.broadcast_to(x[:1], x.shape) if x.ndim else x


def _read_only(x: Array) -> Array:
    y = x.copy()
    y.flags.writeable = False
    return y


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "transposed": lambda x: np.asfortranarray(x) if x.ndim else x,
    "reversed": lambda x: x[::-1].copy()[::-1] if x.ndim else x,
    "with gaps": lambda x: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
    "expanded": _expanded,
    "read-only": _read_only,
}


@only(lambda row: row.layouts)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(oracle: ModuleType, row: Row, layout: str) -> None:
    for plain in row.calls(Make("float64" if "float64" in row.dtypes else row.dtypes[0])):
        call = plain.on(LAYOUTS[layout])
        assert_equal(
            outcome(numtorch, row, call), outcome(oracle, row, call), call, row.signed_zeros
        )


def _inplace(torch: ModuleType, row: Row) -> Any:
    return getattr(torch.Tensor, (row.path or row.name).split(".")[-1] + "_", None)


@only(lambda row: row.inplace)
def test_in_place(oracle: ModuleType, row: Row) -> None:
    """The twin whose name ends in an underscore, where PyTorch has one."""
    theirs, ours = _inplace(oracle, row), _inplace(numtorch, row)
    if theirs is None:
        return
    assert ours is not None
    for call in row.calls(Make("float64" if "float64" in row.dtypes else row.dtypes[0])):
        if not isinstance(call.args[0], np.ndarray):
            continue
        results = []
        for torch, twin in ((numtorch, ours), (oracle, theirs)):
            given = arguments(torch, call)
            try:
                result = twin(*given.args, **given.kwargs)
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                results.append(error)
            else:
                assert result is given.args[0]
                assert result._version > 0
                results.append(result)
        assert_equal(*results, call)


def _accepts_out(row: Row, oracle: ModuleType) -> bool:
    """Whether PyTorch's function has the keyword, which its text signature or the call says."""
    call = row.calls(Make(row.dtypes[0]))[0]
    expected = outcome(oracle, row, call)
    if isinstance(expected, Exception) or not hasattr(expected, "detach"):
        return False
    given = arguments(oracle, call)
    try:
        row.function(oracle)(*given.args, **given.kwargs, out=oracle.empty_like(expected))
    except TypeError:
        return False
    return True


@each_row
def test_out(oracle: ModuleType, row: Row) -> None:
    if row.path.startswith("Tensor.") or not _accepts_out(row, oracle):
        return
    for call in row.calls(Make(row.dtypes[0])):
        expected = outcome(oracle, row, call)
        if isinstance(expected, Exception) or not hasattr(expected, "detach"):
            continue
        given = arguments(numtorch, call)
        shape, kind = tuple(expected.shape), str(expected.dtype).removeprefix("torch.")
        target = numtorch.from_numpy(np.ones((1, *shape), kind)[0, ...])
        result = row.function(numtorch)(*given.args, **given.kwargs, out=target)
        assert result is target
        assert_equal(target, expected, call, row.signed_zeros)
        resized = numtorch.from_numpy(np.ones(0, kind))
        row.function(numtorch)(*given.args, **given.kwargs, out=resized)
        assert_equal(resized, expected, call, row.signed_zeros)


# ---------------------------------------------------------------------- dtypes

PAIRS = (
    ("float32", "float64"),
    ("int64", "float32"),
    ("bool", "uint8"),
    ("int8", "uint8"),
)


@only(lambda row: row.promotes)
def test_promotion(oracle: ModuleType, row: Row) -> None:
    """Operands of two dtypes, with dimensions and without, and Python numbers."""
    for first, second in PAIRS:
        one, two = (Make(dtype)(3, low=1) for dtype in (first, second))
        for call in (Call(one, two), Call(one, two[0].reshape(())), Call(one[0].reshape(()), two)):
            assert_equal(
                outcome(numtorch, row, call), outcome(oracle, row, call), call, row.signed_zeros
            )
    for number in (2, 1.5, True):
        call = Call(Make("int64")(3, low=1), number)
        assert_equal(
            outcome(numtorch, row, call), outcome(oracle, row, call), call, row.signed_zeros
        )


# ---------------------------------------------------------------------- gradients


def _gradients(torch: ModuleType, row: Row, call: Call) -> list[Array | None]:
    """The gradients of all floating inputs in places, from fixed gradients of the results."""
    inputs: list[Any] = []

    def requiring(array: Array) -> Any:
        made = tensor(torch, array)
        if array.dtype.kind == "f":
            inputs.append(made.requires_grad_())
        return made

    args = [replaced(x, requiring) for x in call.args]
    result = row.function(torch)(*args, **arguments(torch, call).kwargs)
    results = [
        x for x in (result if isinstance(result, tuple | list) else (result,)) if x.requires_grad
    ]
    random = np.random.default_rng(7)
    starts = [tensor(torch, np.asarray(random.standard_normal(tuple(x.shape)))) for x in results]
    if results:
        torch.autograd.backward(results, starts)
    return [None if x.grad is None else x.grad.numpy() for x in inputs]


differentiable = only(lambda row: row.gradient and "float64" in row.dtypes)


@differentiable
def test_gradients(oracle: ModuleType, row: Row) -> None:
    for call in row.calls(Make("float64")):
        if isinstance(outcome(oracle, row, call), Exception):
            continue
        found, expected = _gradients(numtorch, row, call), _gradients(oracle, row, call)
        for one, other in zip(found, expected, strict=True):
            if other is None:
                assert one is None or not one.any(), call
            else:
                assert one is not None, call
                assert one.shape == other.shape, call
                np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9, err_msg=repr(call))


def _checked(check: Callable[..., bool], row: Row) -> None:
    """Applies gradcheck or gradgradcheck to the row's small samples."""
    small = [call for call in row.calls(Make("float64")) if 0 < call.size() <= 60]
    assert small
    for call in small[:3]:
        function, inputs = _of_floats(row, call)
        result = function(*inputs)
        results = result if isinstance(result, tuple | list) else (result,)
        if any(x.requires_grad for x in results):
            assert check(function, inputs), call


def _of_floats(row: Row, call: Call) -> tuple[Callable[..., Any], list[Any]]:
    """The operation as a function of the floating tensors of a call alone, and those tensors."""
    inputs: list[Any] = []

    def collect(array: Array) -> Array:
        if array.dtype.kind == "f":
            inputs.append(tensor(numtorch, array).requires_grad_())
        return array

    def function(*given: Any) -> Any:
        rest = iter(given)
        filled = call.on(lambda x: next(rest) if x.dtype.kind == "f" else tensor(numtorch, x))
        return row.function(numtorch)(*filled.args, **filled.kwargs)

    call.on(collect)
    return function, inputs


@differentiable
def test_gradcheck(row: Row) -> None:
    _checked(numtorch.autograd.gradcheck, row)


@only(lambda row: row.gradient and row.second and "float64" in row.dtypes)
def test_gradgradcheck(row: Row) -> None:
    _checked(numtorch.autograd.gradgradcheck, row)


@only(lambda row: row.gradient and row.inplace and "float64" in row.dtypes)
def test_gradients_in_place(oracle: ModuleType, row: Row) -> None:
    """The in-place twin on the result of another operation, and on a view of it."""
    if _inplace(oracle, row) is None:
        return
    for call in row.calls(Make("float64"))[:4]:
        if not isinstance(call.args[0], np.ndarray) or not call.args[0].size:
            continue
        for view in (lambda y: y, lambda y: y.view(y.shape)):
            found, expected = (_in_place_gradient(m, row, call, view) for m in (numtorch, oracle))
            if expected is not None:  # PyTorch refuses some that can be differentiated
                np.testing.assert_allclose(found, expected, rtol=1e-7, err_msg=repr(call))


def _in_place_gradient(torch: ModuleType, row: Row, call: Call, view: Any) -> Any:
    given = arguments(torch, call)
    x = given.args[0].requires_grad_()
    y = x * 1
    try:
        _inplace(torch, row)(view(y), *given.args[1:], **given.kwargs)
        y.sin().sum().backward()
    except (RuntimeError, TypeError):
        return None
    return x.grad.numpy()


# ---------------------------------------------------------------------- completeness


def test_every_operation_has_a_row() -> None:
    """But for those whose names begin with an underscore: other functions call them."""
    names = {name for name in TABLE if not name.startswith("_")}
    assert names - INTERNAL - {row.name for row in ROWS} == set()


def test_rows_are_of_operations() -> None:
    for row in ROWS:
        assert callable(row.function(numtorch)), row.name
        assert row.calls(Make(row.dtypes[0])), row.name
        assert inspect.cleandoc(row.name) == row.name
        assert replaced(1, np.negative) == 1
