"""Tensors made from data, numbers and other tensors, against PyTorch."""

import copy
import pickle
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numtorch as torch
from numtorch import creation
from programs import answer

SETUP = """
v = torch.ones(2)
transposed = torch.ones(3, 4).t()
"""

EXPRESSIONS = """
torch.tensor(np.float64(1.5))
torch.tensor(np.int32(3))
torch.tensor([np.float64(1.5)])
torch.tensor([np.float32(1.5), 2])
torch.tensor([np.int32(3), np.float64(2)])
torch.tensor([np.bool_(True)])
torch.tensor([torch.tensor(1), torch.tensor(3.0)])
torch.tensor([torch.tensor([1]), torch.tensor([3.0])])
torch.tensor([np.array([1, 2]), np.array([3, 4])])
torch.tensor([1, True])
torch.tensor([True, 2.5])
torch.tensor([])
torch.tensor((1.5, 2))
torch.tensor([True, 2], dtype=torch.float64)
torch.tensor([[]])
torch.tensor([[], []]).shape
torch.tensor(())
torch.tensor(range(3))
torch.tensor(3)
torch.tensor(True)
torch.tensor("abc")
torch.tensor(["abc"])
torch.tensor(None)
torch.tensor([None])
torch.tensor({})
torch.tensor({1, 2})
torch.tensor([[1, 2], [3]])
torch.tensor([[1, 2, 3], [3, 4]])
torch.tensor([[1, 2], 3])
torch.tensor([1, [2]])
torch.tensor([[[1, 2], [3, 4]], [[1, 2], [3]]])
torch.tensor([300], dtype=torch.uint8)
torch.tensor([-1], dtype=torch.uint8)
torch.tensor([-300], dtype=torch.uint8)
torch.tensor([1.7, -1.7], dtype=torch.int64)
torch.tensor([1.7], dtype=torch.bool)
torch.tensor([2**63])
torch.tensor(2**63)
torch.tensor([2**40], dtype=torch.int32)
torch.tensor([1e40])
torch.tensor(1e40)
torch.tensor([2**70], dtype=torch.float32)
torch.tensor([float("inf")], dtype=torch.int32)
torch.tensor(3, dtype=float)
torch.tensor(3, dtype=bool)
torch.tensor(3, dtype="f")
torch.tensor(3, dtype=np.float32)
torch.tensor(3, requires_grad=True)
torch.tensor(3.0, requires_grad=True)
torch.tensor(torch.ones(2))
torch.tensor(torch.tensor(3.5), dtype=torch.int64)
torch.tensor([1], foo=3)
torch.tensor(data=[1])
torch.tensor([1], device="cpu")
torch.tensor(np.ones(3)[::-1])
torch.tensor(np.ones((3, 4)).T)
torch.as_tensor(np.ones((3, 4)).T)
torch.as_tensor([1.0, 2], dtype=torch.int32)
torch.as_tensor(3)
torch.as_tensor(v) is v
torch.asarray([1, 2])
torch.from_numpy([1])
torch.from_numpy(np.float64(3))
torch.from_numpy(np.ones(3)[::-1])
torch.from_numpy(np.ones((4, 6))[::2, ::3])
torch.zeros(2, 3)
torch.zeros((2, 3))
torch.zeros([2, 3])
torch.zeros(torch.Size([2, 3]))
torch.zeros(size=(2, 3))
torch.zeros(())
torch.zeros()
torch.zeros(2.0)
torch.zeros([2.0])
torch.zeros("a")
torch.zeros(None)
torch.zeros(True)
torch.zeros(-1)
torch.ones(2, -1)
torch.empty(2, -1)
torch.full((2, -1), 1)
torch.zeros(np.int64(2))
torch.zeros((np.int64(2), torch.tensor(3)))
torch.zeros((2, 3), 4)
torch.zeros(2, 3, foo=1)
torch.zeros(2, dtype="float32")
torch.zeros(2, dtype=torch.long, requires_grad=True)
torch.zeros(2, out=torch.ones(3, dtype=torch.int64))
torch.zeros(2, out=torch.zeros(2), dtype=torch.int64)
torch.ones(2, layout=torch.strided, device="cpu", pin_memory=False)
torch.full((2,), True)
torch.full((2,), 3)
torch.full((2,), 3.0)
torch.full((2,), torch.tensor(3.0))
torch.full((2,), "a")
torch.full(2, 1.0)
torch.full(size=(2,), fill_value=3)
torch.full((2,), 300, dtype=torch.uint8)
torch.full((2,), 1e40)
torch.full((2,), 1.5, dtype=torch.int32)
torch.eye(2)
torch.eye(2, 3, dtype=torch.int64)
torch.eye(0)
torch.eye(-1)
torch.eye(3, 2)
torch.eye(4, 1)
torch.eye(2, 0)
torch.eye(2, -1)
torch.eye(3, 2, out=torch.ones(3, 2))
torch.eye(2.0)
torch.arange(3)
torch.arange(3.0)
torch.arange(1, 4)
torch.arange(1, 4, 0.5)
torch.arange(5, 1, -2)
torch.arange(0)
torch.arange(5, 1)
torch.arange(1, 5, 0)
torch.arange(0, float("nan"))
torch.arange(0, float("inf"))
torch.arange(end=3)
torch.arange(start=1, end=3)
torch.arange(torch.tensor(3))
torch.arange(np.float64(3))
torch.arange("a")
torch.arange(True)
torch.arange(3, dtype=torch.bool)
torch.arange(3, dtype=torch.float64, requires_grad=True)
torch.arange(0, 2, 0.3, dtype=torch.int64)
torch.linspace(0, 1, 5)
torch.linspace(0, 1, 1)
torch.linspace(0, 1, 0)
torch.linspace(0, 1, -1)
torch.linspace(0, 10, 4, dtype=torch.int64)
torch.linspace(-1.5, 4.25, 7, dtype=torch.float64)
torch.linspace(torch.tensor(0.0), torch.tensor(1.0), 3)
torch.linspace(start=0, end=1, steps=3)
torch.logspace(0, 2, 3)
torch.logspace(0, 3, 4, base=2)
torch.tril_indices(3, 3)
torch.triu_indices(3, 4, 1)
torch.scalar_tensor(3)
torch.empty_strided((2, 3), (1, 2)).stride()
torch.zeros_like(v, dtype=torch.int64)
torch.zeros_like(v, requires_grad=True)
torch.zeros_like([1])
torch.zeros_like(transposed).stride()
torch.full_like(transposed, 2.5)
torch.full_like(v, 1e40)
torch.full((2,), -1, dtype=torch.uint8)
1 / torch.full((2,), -0.0)
torch.ones_like(transposed)
torch.empty_like(transposed).stride()
torch.full_like(torch.ones(2, dtype=torch.int64), 3.5)
torch.full_like(v, True)
torch.full_like(torch.ones(2, dtype=torch.bool), 3)
v.new_tensor([1, 2])
v.new_tensor([1.5, 2], dtype=torch.int32)
v.new_tensor(torch.ones(2))
v.new_zeros(2, 3)
v.new_zeros((2, 3), dtype=int)
v.new_ones([1], requires_grad=True)
v.new_full((2,), 3)
v.long().new_full((2,), 3.5)
v.new_empty(2, 3).shape
v.new([1, 2])
v.new(2, 3).shape
torch.Tensor(2, 3).shape
torch.Tensor([1, 2])
torch.Tensor()
torch.Tensor(3).shape
torch.Tensor((2, 3))
torch.Tensor(torch.Size([2, 3])).shape
torch.Tensor(np.array([1, 2]))
torch.Tensor(torch.tensor([1]))
torch.Tensor(2.5)
torch.Tensor("a")
torch.Tensor([1], device="cpu")
torch.LongTensor([1.5])
torch.LongTensor([[1, 2]])
torch.LongTensor(2, 3).shape
torch.FloatTensor(np.array([1.5]))
torch.DoubleTensor([1])
torch.BoolTensor([1, 0])
torch.ByteTensor([1, 255])
isinstance(v, torch.FloatTensor), isinstance(v, torch.LongTensor)
isinstance(v, torch.Tensor), issubclass(torch.FloatTensor, torch.Tensor)
repr(torch.FloatTensor)
torch.FloatTensor.dtype
v.type()
v.type("torch.LongTensor")
v.type(torch.LongTensor)
v.type(torch.int8)
v.type("foo")
v.to(torch.int64)
v.to("cpu", torch.int64)
v.to(torch.zeros(1, dtype=torch.int16))
v.to(v) is v, v.to(torch.float32) is v, v.float() is v, v.cpu() is v, v.type_as(v) is v
v.to(copy=True) is v
v.to(torch.float32, copy=True) is v
v.double(), v.half if False else v.int(), v.long(), v.short(), v.char(), v.byte(), v.bool()
transposed.double()
transposed.clone()
transposed.clone(memory_format=torch.contiguous_format)
torch.ones(1, 4).expand(3, 4).clone()
torch.ones(3, 1).expand(3, 4).clone()
torch.ones(2, 3, 4).permute(2, 0, 1)[:, :, ::2].clone()
torch.tensor([1.9, -1.9]).int()
torch.tensor([0.5, 0.0]).bool()
torch.tensor([255], dtype=torch.uint8).char()
torch.zeros(2).fill_(3)
torch.zeros(2).fill_(torch.tensor(3))
torch.zeros(2).fill_(torch.ones(2))
torch.zeros(2, dtype=torch.uint8).fill_(-1)
torch.zeros(2, dtype=torch.uint8).fill_(300)
torch.zeros(2, dtype=torch.uint8).fill_(1e10)
torch.zeros(1, 2).expand(3, 2).fill_(2)
torch.ones(3, 2).t().zero_()
torch.zeros(2).copy_(torch.arange(2))
torch.zeros(2, 3).copy_(torch.arange(3))
torch.zeros(2).copy_(torch.ones(3))
torch.zeros(2).copy_(torch.ones(3, 2))
torch.zeros(2).copy_(1)
torch.zeros(2).copy_([1, 2])
torch.zeros(2, dtype=torch.int64).copy_(torch.tensor([1.5, -1.5]))
torch.zeros(1, 2).expand(3, 2).copy_(torch.ones(3, 2))
torch.ones(2, requires_grad=True).clone().copy_(v)
torch.zeros(2).copy_(torch.ones(2, dtype=torch.float64, requires_grad=True))
torch.ones(2, requires_grad=True).clone().fill_(3)
torch.ones(2, requires_grad=True).clone().zero_()
torch.ones(2, requires_grad=True).double()
torch.ones(2, requires_grad=True).long()
torch.strided, v.layout, torch.contiguous_format, torch.preserve_format
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("expression", lines(EXPRESSIONS))
def test_creation_is_pytorchs(oracle: ModuleType, expression: str) -> None:
    assert answer(torch, expression, SETUP) == answer(oracle, expression, SETUP)


numbers = st.one_of(st.booleans(), st.integers(-100, 100), st.floats(width=32))


@st.composite
def nested(draw: st.DrawFn) -> Any:
    """Lists of numbers, nested, mostly of equal lengths."""
    shape = draw(st.lists(st.integers(0, 3), max_size=3))

    def build(sizes: list[int]) -> Any:
        if not sizes:
            return draw(numbers)
        length = sizes[0] + (draw(st.integers(0, 30)) == 0)
        return [build(sizes[1:]) for _ in range(length)]

    return build(shape)


@given(data=nested())
def test_nested_lists_are_read_as_pytorch_reads_them(oracle: ModuleType, data: Any) -> None:
    expression = f"torch.tensor({data!r})"
    setup = "inf, nan = float('inf'), float('nan')"
    assert answer(torch, expression, setup) == answer(oracle, expression, setup)


@given(
    start=st.floats(-50, 50),
    step=st.floats(0.01, 7),
    span=st.floats(0, 60),
    dtype=st.sampled_from(["float32", "float64", "int64", "int32", "int8"]),
)
def test_arange_has_pytorchs_length_and_values(
    oracle: ModuleType, start: float, step: float, span: float, dtype: str
) -> None:
    if dtype.startswith("int"):
        start, step, span = int(start), int(step) + 1, int(span)
    ours = torch.arange(start, start + span, step, dtype=getattr(torch, dtype))
    theirs = oracle.arange(start, start + span, step, dtype=getattr(oracle, dtype))
    assert ours.shape == tuple(theirs.shape)
    # PyTorch adds multiples of the step to every eighth number, which rounds twice.
    error = {"float32": 2e-5, "float64": 4e-14}.get(dtype, 0)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=error)


@pytest.mark.parametrize("length", [100, 40_000, 300_000])
def test_long_progressions_and_constants(length: int) -> None:
    assert np.array_equal(torch.arange(length).numpy(), np.arange(length))
    assert np.array_equal(torch.arange(0, length, 3).numpy(), np.arange(0, length, 3))
    ends = torch.linspace(-1, 1, length, dtype=torch.float64).numpy()
    np.testing.assert_allclose(ends, np.linspace(-1, 1, length), rtol=0, atol=1e-15)
    assert ends[0] == -1
    assert ends[-1] == 1
    assert (torch.full((length,), 7).numpy() == 7).all()
    assert not torch.zeros(length).numpy().any()


def test_memory_is_shared_both_ways() -> None:
    array = np.zeros((2, 3))
    for tensor in (torch.from_numpy(array), torch.as_tensor(array), torch.asarray(array)):
        array[...] = 0
        tensor[0, 1] = 5
        assert array[0, 1] == 5
        array[1, 2] = 7
        assert tensor[1, 2].item() == 7
        assert tensor.numpy() is tensor.numpy()
        assert np.shares_memory(tensor.numpy(), array)


def test_tensor_copies() -> None:
    array = np.zeros(3)
    tensor = torch.tensor(array)
    array[0] = 1
    assert tensor[0].item() == 0
    source = torch.zeros(3)
    with pytest.warns(UserWarning, match="To copy construct from a tensor"):
        duplicate = torch.tensor(source)
    source[0] = 1
    assert duplicate[0].item() == 0


def test_read_only_arrays_are_shared_and_told_about_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(creation._ReadOnly, "warned", False)
    array = np.arange(3.0)
    array.flags.writeable = False
    with pytest.warns(UserWarning, match="The given NumPy array is not writable"):
        tensor = torch.from_numpy(array)
    assert np.shares_memory(tensor.numpy(), array)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.from_numpy(array)


def test_foreign_byte_order_is_refused() -> None:
    with pytest.raises(ValueError, match="byte order"):
        torch.from_numpy(np.ones(2, ">f8"))


def test_asarray_copies_when_told() -> None:
    array = np.zeros(2)
    assert not np.shares_memory(torch.asarray(array, copy=True).numpy(), array)
    with pytest.raises(ValueError, match="without a copy"):
        torch.asarray([1, 2], copy=False)
    assert torch.asarray(array, requires_grad=True).requires_grad


def test_default_dtype_rules_creation() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        made = [torch.tensor(1.5), torch.zeros(1), torch.arange(1.0), torch.Tensor([1]),
                torch.full((1,), 1.0), torch.linspace(0, 1, 2), torch.eye(1)]  # fmt: skip
        assert {each.dtype for each in made} == {torch.float64}
        assert torch.full((1,), 1).dtype is torch.int64
    finally:
        torch.set_default_dtype(torch.float32)


class Parameter(torch.Tensor):
    """What a library built on tensors does: a subclass that makes itself of data."""

    def __new__(cls, data: torch.Tensor) -> "Parameter":
        made = super().__new__(cls, data)
        made.requires_grad_()
        return made


def test_subclasses_share_the_data_they_are_made_of() -> None:
    data = torch.zeros(2)
    parameter = Parameter(data)
    assert type(parameter) is Parameter
    assert parameter.requires_grad
    assert type(parameter * 2) is torch.Tensor
    data.fill_(3)
    assert parameter.tolist() == [3, 3]
    for duplicate in (copy.deepcopy(parameter), pickle.loads(pickle.dumps(parameter))):
        assert type(duplicate) is Parameter
        assert duplicate.tolist() == [3, 3]


def test_layouts_and_types_survive_pickling() -> None:
    for each in (torch.strided, torch.contiguous_format):
        assert pickle.loads(pickle.dumps(each)) is each
