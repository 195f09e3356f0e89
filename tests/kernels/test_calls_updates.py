"""Compiled calls of functions that change memory: what Python's do, or nothing at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numtorch
from numtorch import Tensor
from numtorch_kernels.calls import callables, pythontypes
from python_calls import python_calls


@pytest.fixture(autouse=True)
def _compiled() -> None:
    callables.begin()


def matrix() -> Tensor:
    return numtorch.arange(12.0).reshape(3, 4).clone()


PLACES = numtorch.tensor([2, 0, 2])
ALONG = numtorch.tensor([[0, 1, 2, 0], [2, 2, 2, 2]])
MASK = numtorch.tensor([True, False, True, False])
CHANGES: list[tuple[str, tuple[Any, ...]]] = [
    ("zero_", ()),
    ("fill_", (2.5,)),
    ("fill_", (numtorch.tensor(3),)),
    ("fill_", (True,)),
    ("copy_", (matrix().flip(0),)),
    ("copy_", (matrix()[0].double(),)),
    ("copy_", (7,)),
    ("masked_fill_", (MASK, -1.0)),
    ("masked_scatter_", (MASK, matrix())),
    ("scatter_add_", (0, ALONG, matrix())),
    ("index_add_", (0, PLACES, matrix())),
    ("index_copy_", (0, PLACES[:2], matrix()[:2])),
    ("index_fill_", (1, PLACES, 9.0)),
    ("index_put_", ([PLACES], matrix())),
    ("put_", (PLACES, matrix()[0, :3])),
]


@pytest.mark.parametrize(("name", "others"), CHANGES, ids=lambda value: str(value)[:24])
@pytest.mark.parametrize("is_view", [False, True])
def test_memory_changes_as_by_python(
    name: str, others: tuple[Any, ...], is_view: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, x = numtorch.zeros(4, 4), matrix()
    if is_view:
        x = whole[1:].copy_(x)
    expected, version = matrix(), x._version
    pythontypes.wrapped(getattr(Tensor, name))(expected, *others)
    seen = python_calls(monkeypatch)
    assert getattr(x, name)(*others) is x
    assert not [each for each in seen if each.startswith(name.rstrip("_"))]
    np.testing.assert_array_equal(x.numpy(), expected.numpy())
    assert x._version == version + 1
    if is_view:
        np.testing.assert_array_equal(whole[1:].numpy(), expected.numpy())


@pytest.mark.parametrize(
    ("name", "others"), [each for each in CHANGES if hasattr(Tensor, each[0][:-1])], ids=str
)
def test_copies_are_changed_as_by_python(name: str, others: tuple[Any, ...]) -> None:
    x, method = matrix(), getattr(Tensor, name[:-1])
    expected = pythontypes.wrapped(method)(x, *others)
    result = method(x, *others)
    assert result.dtype is expected.dtype
    assert x._version == 0
    np.testing.assert_array_equal(result.numpy(), expected.numpy())
    np.testing.assert_array_equal(x.numpy(), matrix().numpy())


REFUSED: list[tuple[str, tuple[Any, ...]]] = [
    ("fill_", ("one",)),
    ("fill_", (None,)),
    ("fill_", (1e40,)),
    ("fill_", (matrix(),)),
    ("fill_", ([matrix()],)),
    ("copy_", ("one",)),
    ("copy_", (None,)),
    ("copy_", ([matrix()],)),
    ("copy_", (np.zeros(3),)),
    ("copy_", (numtorch.ones(5),)),
    ("copy_", (numtorch.ones(2, 3, 4),)),
    ("masked_fill_", (PLACES, 1.0)),
    ("masked_fill_", (MASK, "one")),
    ("index_add_", (0, PLACES + 1, matrix())),
    ("index_fill_", (5, PLACES, 1.0)),
]


@pytest.mark.parametrize(("name", "others"), REFUSED, ids=lambda value: str(value)[:24])
def test_what_python_refuses_changes_nothing(name: str, others: tuple[Any, ...]) -> None:
    x = matrix()
    with pytest.raises(Exception) as compiled:  # noqa: PT011  the next lines say which
        getattr(x, name)(*others)
    with pytest.raises(compiled.type) as python:
        pythontypes.wrapped(getattr(Tensor, name))(matrix(), *others)
    assert str(compiled.value) == str(python.value)
    assert x._version == 0
    np.testing.assert_array_equal(x.numpy(), matrix().numpy())


def test_gradients_are_recorded() -> None:
    w = matrix().requires_grad_()
    x = w * 2
    x.masked_fill_(MASK, 0.0)
    x.copy_(x.detach())
    y = (w * 3).fill_(1.0) + matrix().copy_(w)
    y.sum().backward()
    assert w.grad is not None
    np.testing.assert_array_equal(w.grad.numpy(), np.ones((3, 4)))


def test_a_leaf_is_changed_only_while_nothing_is_recorded() -> None:
    w = matrix().requires_grad_()
    for change in (w.zero_, lambda: w.fill_(1.0), lambda: w.copy_(w.detach() + 1)):
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            change()
        with numtorch.no_grad():
            assert change() is w
        assert w.is_leaf
        assert w.requires_grad
        assert w.grad_fn is None
    np.testing.assert_array_equal(w.detach().numpy(), 2)


def test_elements_that_share_memory() -> None:
    for name, others in (("copy_", (matrix(),)), ("masked_fill_", (MASK, 1.0))):
        with pytest.raises(RuntimeError, match="more than one element"):
            getattr(numtorch.zeros(4).expand(3, 4), name)(*others)
    assert numtorch.zeros(4).expand(3, 4).fill_(2.0).tolist() == [[2.0] * 4] * 3


WRITES: list[tuple[Any, Any]] = [
    (PLACES, 1.0),
    (PLACES, 5),
    (PLACES - 3, -2.0),
    (PLACES, numtorch.arange(12.0).reshape(3, 4)),
    (PLACES, numtorch.arange(4.0)),
    ((slice(None), PLACES), 3.0),
    ((slice(None), PLACES), numtorch.arange(9.0).reshape(3, 3)),
    (PLACES.reshape(1, 3), 4.0),
    ((PLACES, PLACES + 1), -4.0),
    ((PLACES - 3, PLACES), numtorch.tensor([7.0, 8.0, 9.0])),
    ((PLACES, PLACES), numtorch.tensor([7.0])),
    (matrix() > 4, 0.0),
    (MASK.reshape(1, 4).expand(3, 4), numtorch.tensor(8.0)),
    (numtorch.zeros(0, dtype=numtorch.int64), 1.0),
]


@pytest.mark.parametrize(("index", "value"), WRITES, ids=lambda value: str(value)[:24])
@pytest.mark.parametrize("strided", [False, True])
def test_few_elements_are_written_as_many_are(index: Any, value: Any, strided: bool) -> None:
    x = matrix().t().contiguous().t() if strided else matrix()
    expected, version = matrix().numpy(), x._version
    items = index if isinstance(index, tuple) else (index,)
    places = tuple(each.numpy() if isinstance(each, Tensor) else each for each in items)
    expected[places] = value.numpy() if isinstance(value, Tensor) else value
    x[index] = value
    np.testing.assert_array_equal(x.numpy(), expected)
    assert x._version == version + 1


def test_writes_that_are_refused_change_nothing() -> None:
    for index, value, error in (
        (PLACES + 1, 1.0, IndexError),
        (PLACES - 6, 1.0, IndexError),
        (PLACES, numtorch.ones(5), RuntimeError),
        (PLACES, matrix().double(), RuntimeError),
        (matrix() > 0, 1e40, RuntimeError),
    ):
        x = matrix()
        with pytest.raises(error):
            x[index] = value
        assert x._version == 0
        np.testing.assert_array_equal(x.numpy(), matrix().numpy())
