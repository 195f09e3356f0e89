"""Compiled calls by what they are given: names, sizes, several operands alike, parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import numtorch
from numtorch import Tensor
from numtorch.tensor import wrap
from numtorch_kernels.calls import callables, pythontypes
from python_calls import in_python, python_calls

FLOATS = (0.5, -1.25, 3.0, 2.0)


@pytest.fixture(autouse=True)
def _compiled() -> None:
    callables.begin()


def vector(*, dtype: Any = None) -> Tensor:
    return numtorch.tensor(FLOATS, dtype=dtype)


def matrix() -> Tensor:
    return numtorch.arange(12.0).reshape(3, 4).clone()


SHAPES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("reshape", (matrix(), -1), {}),
    ("reshape", (matrix(), [2, -1]), {}),
    ("reshape", (matrix().t(), 3, 4), {}),
    ("reshape", (numtorch.empty(0), 0, 3), {}),
    ("flatten", (matrix(),), {}),
    ("flatten", (numtorch.arange(24.0).reshape(2, 3, 4), 1), {}),
    ("flatten", (numtorch.arange(24.0).reshape(2, 3, 4), -3, -2), {}),
    ("flatten", (numtorch.arange(24.0).reshape(2, 3, 4),), {"end_dim": 1}),
    ("flatten", (vector(),), {}),
    ("flatten", (numtorch.tensor(1.0),), {}),
    ("flatten", (matrix().t(),), {"start_dim": 0}),
]


@pytest.mark.parametrize(("name", "arguments", "named"), SHAPES, ids=lambda value: str(value)[:24])
@pytest.mark.parametrize("grad", [False, True])
def test_shapes_are_those_of_python(
    name: str, arguments: tuple[Any, ...], named: dict[str, Any], grad: bool
) -> None:
    x = arguments[0].detach().requires_grad_(grad)
    python = pythontypes.wrapped(getattr(numtorch, name))(x, *arguments[1:], **named)
    for function in [getattr(Tensor, name), getattr(numtorch, name)] * 2:
        result = function(x, *arguments[1:], **named)
        assert (result is x) == (python is x)
        assert (result.shape, result.stride()) == (python.shape, python.stride())
        assert type(result.grad_fn) is type(python.grad_fn)
        assert (result._view is None) == (python._view is None)
        assert (result.data_ptr() == x.data_ptr()) == (python.data_ptr() == x.data_ptr())
        np.testing.assert_array_equal(result.detach().numpy(), python.detach().numpy())


def test_a_shape_that_does_not_fit_is_python_s_to_refuse() -> None:
    for sizes in ((5, 2), (-1, -1), (-2, 6), (5, -1), (2.0, 6)):
        for name in ("view", "reshape"):
            with pytest.raises((RuntimeError, TypeError)) as compiled:
                getattr(matrix(), name)(*sizes)
            with pytest.raises(compiled.type) as python:
                pythontypes.wrapped(getattr(Tensor, name))(matrix(), *sizes)
            assert str(compiled.value) == str(python.value)


def test_a_shape_given_to_memory_that_must_not_be_written() -> None:
    fixed = np.arange(6.0)
    fixed.flags.writeable = False
    assert not wrap(fixed, numtorch.float64).view(2, 3)._array.flags.writeable


NAMED: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("sum", (matrix(),), {"dim": 0}),
    ("sum", (matrix(),), {"keepdim": True, "dim": -1}),
    ("sum", (matrix(), 1), {"keepdim": True}),
    ("mean", (matrix(),), {"dim": 1}),
    ("argmax", (matrix(),), {"dim": 0}),
    ("argmax", (matrix(),), {"keepdim": True}),
    ("softmax", (matrix(),), {"dim": 1}),
    ("cat", ([matrix(), matrix()],), {"dim": 1}),
    ("stack", ([matrix(), matrix()],), {"dim": -1}),
    ("add", (vector(),), {"other": vector()}),
    ("transpose", (matrix(),), {"dim0": 1, "dim1": 0}),
    ("unsqueeze", (matrix(),), {"dim": 0}),
]


@pytest.mark.parametrize(("name", "arguments", "named"), NAMED, ids=lambda value: str(value)[:24])
def test_arguments_may_be_given_by_name(
    name: str,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    function = getattr(numtorch, name)
    expected = pythontypes.wrapped(function)(*arguments, **named)
    function(*arguments, **named)
    seen = python_calls(monkeypatch)
    result = function(*arguments, **named)
    assert not seen
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result.numpy(), expected.numpy())


DIMS: list[Any] = [
    (0, 1), [1, 2], (2, 1), (-1,), [0], (0, 1, 2), (-1, 0, 1), (0, 2), (), (1, 1), (0, 3), (0, -3),
    (True,), (1.0, 2), [[1], 2], numtorch.Size((1, 2)),
]  # fmt: skip


def outcome(function: Any, *arguments: Any) -> Any:
    """What a call gives, or raises."""
    try:
        result = function(*arguments)
    except Exception as error:
        return type(error), str(error)
    return str(result.dtype), result.numpy().tobytes(), result.shape, result.stride()


@pytest.mark.parametrize("dims", DIMS, ids=str)
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "prod", "any", "argmax"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (40, 1, 50), (3, 300, 50), (2, 700, 300)], ids=str)
def test_several_dimensions_are_reduced_as_by_python(
    name: str, dims: Any, shape: tuple[int, ...]
) -> None:
    x = (numtorch.arange(float(np.prod(shape))) * 0.37).sin().reshape(shape)
    method, python = getattr(Tensor, name), pythontypes.wrapped(getattr(Tensor, name))
    method(x, 0)
    for keep in (False, True):
        expected = outcome(python, x, dims, keep)
        for _ in range(2):  # where Python computes, compiled calls know its loops then
            assert outcome(method, x, dims, keep) == expected


@pytest.mark.parametrize(
    "shape",
    [
        (9000, 2), (10_000, 3), (16_000, 2), (20_000, 2), (300_000, 3), (70_001, 7), (40_000, 15),
        (2, 9000, 2), (3, 4, 9000, 3),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "any"])
def test_narrow_matrices_are_reduced_as_by_python(
    name: str, shape: tuple[int, ...], thread_counts: Callable[[], Iterator[int]]
) -> None:
    x = (numtorch.arange(float(np.prod(shape))) * 0.37).sin().reshape(shape)
    method, python = getattr(Tensor, name), pythontypes.wrapped(getattr(Tensor, name))
    seen = set()
    for _ in thread_counts():
        for dims in (-2, tuple(range(len(shape) - 1))):
            expected = outcome(python, x, dims)
            for _ in range(2):
                assert outcome(method, x, dims) == expected
            seen.add((dims, expected[1]))
    assert len(seen) == 2
    wide = numtorch.zeros(*shape[:-1], 20)
    wide[..., : shape[-1]] = x
    gaps = method(wide[..., : shape[-1]], -2).double()
    close = 1e-6 * shape[-2] * (name == "sum") + 1e-6
    np.testing.assert_allclose(gaps.numpy(), method(x, -2).double().numpy(), rtol=0, atol=close)


def test_several_dimensions_need_no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    x = numtorch.ones(2, 3, 4)
    x.sum(1), x.mean()
    seen = python_calls(monkeypatch)
    assert (x.sum((0, 1)).tolist(), x.mean([0, 1, 2]).item()) == ([6.0] * 4, 1.0)
    assert not seen
    w = x.clone().requires_grad_()
    w.sum((1, 2)).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == x.tolist()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), {"dim": 0}),
        ((0,), {"dim": 0}),
        ((0,), {"nothing": 1}),
        ((0, True, None, 1), {"dim": 2}),
    ],
    ids=str,
)
def test_names_that_do_not_fit_are_python_s_to_refuse(
    arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    given = (matrix(), *arguments) if arguments else ()
    with pytest.raises(TypeError) as compiled:
        numtorch.sum(*given, **named)
    with pytest.raises(TypeError) as python:
        pythontypes.wrapped(numtorch.sum)(*given, **named)
    assert str(compiled.value) == str(python.value)


ALIKE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("clamp", (vector(), 0, 1), {}),
    ("clamp", (vector(),), {"min": 0.5}),
    ("clamp", (vector(),), {"max": numtorch.tensor(1.0)}),
    ("clamp", (matrix(), matrix() - 1, 5.5), {}),
    ("clamp", (numtorch.tensor(3.0), -1.0, 1.0), {}),
    ("where", (vector() > 0, vector(), -vector()), {}),
    ("where", (vector() > 0, vector(), 0.0), {}),
    ("where", (numtorch.tensor(True), vector(), numtorch.tensor(2.0)), {}),
    ("where", (vector() > 0, vector(), vector(dtype=numtorch.float64)), {}),
    ("lerp", (vector(), -vector(), 0.25), {}),
    ("lerp", (vector(), -vector(), vector()), {}),
    ("addcmul", (vector(), vector(), vector()), {}),
    ("addcmul", (numtorch.empty(0), numtorch.empty(0), numtorch.empty(0)), {}),
    ("round", (vector(),), {}),
    ("add", (vector(), vector()), {"alpha": 0.5}),
    ("sub", (vector(), 3.0), {"alpha": 2}),
    ("addcmul", (vector(), vector(), vector()), {"value": -0.5}),
    ("div", (vector(), vector()), {"rounding_mode": "floor"}),
    ("nan_to_num", (vector(),), {"nan": 1.0}),
]


def test_losses_are_not_taken_for_their_functions() -> None:
    a, b = vector(), -vector()
    for reduction in ("mean", "sum", "none"):
        losses = [numtorch.nn.functional.mse_loss(a, b, reduction=reduction) for _ in range(4)]
        assert [loss.tolist() for loss in losses] == [losses[0].tolist()] * 4
        assert losses[0].ndim == (reduction == "none")


@pytest.mark.parametrize("value", [2.0, True])
def test_parameters_are_refused_whatever_was_known_before(value: Any) -> None:
    whole = numtorch.arange(3)
    for _ in range(3):
        vector().add(vector(), alpha=2.0)
        whole.add(whole, alpha=2)
        numtorch.nn.functional.hardtanh(vector(), -1.0, 1.0)
        with pytest.raises(RuntimeError, match="alpha"):
            whole.add(whole, alpha=value)
        with pytest.raises(ValueError, match="min_val"):
            numtorch.nn.functional.hardtanh(vector(), 1.0, -1.0)


@pytest.mark.parametrize(("name", "arguments", "named"), ALIKE, ids=lambda value: str(value)[:24])
def test_operands_that_are_alike(
    name: str, arguments: tuple[Any, ...], named: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    function = getattr(numtorch, name)
    python: Any = pythontypes.wrapped(function)
    for _ in range(2):  # a plan is made, then shared
        expected = python(*arguments, **named)
    seen = python_calls(monkeypatch)
    result = function(*arguments, **named)
    assert not seen
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result.numpy(), expected.numpy())


@pytest.mark.parametrize("wanted", [(True, False, False), (True, True, False), (False, True, True)])
@pytest.mark.parametrize("name", ["clamp", "lerp", "addcmul"])
def test_gradients_of_operands_that_are_alike(name: str, wanted: tuple[bool, ...]) -> None:
    values = ([0.5, -1.25, 3.0], [0.25, -2.0, 4.0], [1.5, 0.5, 3.5])
    found = []
    for function in [in_python(name)] * 2 + [getattr(numtorch, name)] * 2:
        operands = [numtorch.tensor(x) for x in values]
        for x, needs in zip(operands, wanted, strict=True):
            x.requires_grad_(needs)
        result = function(*operands)
        result.square().sum().backward()
        grads = [None if x.grad is None else x.grad.tolist() for x in operands]
        found.append((type(result.grad_fn), result.tolist(), grads))
    assert all(each == found[0] for each in found)


def test_operands_that_are_no_longer_alike() -> None:
    x, low = numtorch.arange(12.0).reshape(3, 4).clone(), numtorch.full((4,), 3.0)
    for _ in range(3):
        low.clamp(numtorch.zeros(4), 2.0)
    for a, b in ((x, low), (x, low.expand(3, 4)), (x.t(), x.t()), (x, x[0, 1]), (x[:, :2], 5.0)):
        expected = np.minimum(np.maximum(a.numpy(), 0 * a.numpy()), np.asarray(b))
        np.testing.assert_array_equal(a.clamp(a * 0, b).numpy(), expected)
    with pytest.raises(RuntimeError, match="must match the size"):
        x.clamp(numtorch.zeros(5), 2.0)


def test_operands_that_overlap_what_is_clamped() -> None:
    for _ in range(3):
        x = numtorch.tensor([5.0, 1.0, 4.0, 2.0])
        assert x.clamp_(0.0, x[2]) is x
        assert x.tolist() == [4.0, 1.0, 4.0, 2.0]
        assert x._version == 1
        pair = numtorch.tensor([1.0, 2.0, 3.0])
        pair[1:].clamp_(pair[:2] * 1, pair[:2])
        assert pair.tolist() == [1.0, 1.0, 2.0]
    leaf = numtorch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        leaf.clamp_(0.0, 1.0)


def test_powers_to_numbers_with_loops_of_their_own_and_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = numtorch.tensor([0.3, 1.7, 2.9, 11.1])
    powers: list[Any] = [2.5, 2, 0.1, 3, -2.0, 2.5, 0.5, 1.3]
    expected = {power: in_python("pow")(x, power).numpy() for power in powers}
    for power in powers:  # plans are made in this order
        _ = x**power, abs(power) ** x
    seen = python_calls(monkeypatch)
    for power in powers:
        np.testing.assert_array_equal((x**power).numpy(), expected[power])
        np.testing.assert_array_equal(x.clone().pow_(power).numpy(), expected[power])
        expected_other = abs(power) ** x.numpy().astype(float)
        np.testing.assert_allclose((abs(power) ** x).numpy(), expected_other, 1e-6)
    assert set(seen) <= {"clone"}


@pytest.mark.parametrize("name", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_items_are_python_s_numbers(name: str) -> None:
    kind = getattr(numtorch, name)
    python: Any = pythontypes.wrapped(Tensor.item)
    for x in (numtorch.tensor(1.7), numtorch.tensor([[-3.0]]).abs(), matrix()[1:2, ::4][:, :1]):
        number = x.to(kind)
        assert type(number.item()) is type(python(number))
        assert number.item() == python(number)
    assert numtorch.tensor(float("nan")).item() != numtorch.tensor(float("nan")).item()
    assert numtorch.tensor(1.5, requires_grad=True).item() == 1.5
    assert numtorch.tensor(-(2**63)).item() == -(2**63)
    for several in (vector(), numtorch.empty(0)):
        with pytest.raises(RuntimeError, match="cannot be converted to Scalar"):
            several.item()
