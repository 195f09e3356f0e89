"""Shapes, views, copies and their gradients, against PyTorch."""

from collections.abc import Callable
from itertools import permutations, product
from math import prod
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numtorch as torch
from helpers import assert_same, to_torch
from programs import answer, transcript

SETUP = """
x = torch.arange(24.0).reshape(2, 3, 4)
v = torch.arange(3.0)
r = x.clone().requires_grad_()
s = torch.tensor(1)
i = torch.tensor([0, 1])
"""

EXPRESSIONS = """
x.reshape(6, 4)
x.reshape((4, -1))
x.reshape([-1])
x.reshape(5, 5)
x.reshape(-1, -1)
x.reshape(-2, 3)
x.view(2, 12)
x.view(-1)
x.t
x.transpose(0, 1).view(-1)
x.transpose(0, 1).reshape(-1)
x.view(torch.int32)
x.view(torch.float64)
v.view(torch.float64)
v.reshape(3) is v, v.flatten() is v, v.contiguous() is v, v.expand(3) is v
torch.reshape(x, (3, 8))
torch.reshape(input=x, shape=(3, 8))
torch.cat([])
torch.cat([v, 1])
torch.cat(v)
torch.cat([v, x])
torch.cat([v, torch.empty(0)])
torch.cat([x, torch.empty(0)])
torch.cat([s, s])
torch.cat([x, x[:, :2]])
torch.cat([x, x[:, :2]], dim=1)
torch.cat([x, x[:, :2]], 1).stride()
torch.cat([x, x], axis=-1)
torch.cat([x, x], dim=3)
torch.cat([v, v.long()])
torch.cat([v.long(), v.bool()])
torch.cat((v, v), 0, out=torch.empty(0))
torch.concat([v, v])
torch.stack([])
torch.stack([v, x])
torch.stack([v, v[:2]])
torch.stack([v, v], 1)
torch.stack([v, v], -1)
torch.stack([v, v], 2)
torch.stack([v, v.long()])
torch.chunk(v, 0)
torch.chunk(v, 2)
x.chunk(5, 2)
x.chunk(2, dim=-1)
v.split(2)
v.split([1, 1])
v.split([1, -1, 3])
v.split([1, 2])
v.split(0)
v.split(-1)
v.split("a")
s.split(1)
v.split_with_sizes([1, 2])
torch.tensor_split(v, 2)
torch.tensor_split(x, [1, 2], dim=2)
torch.hsplit(x, 3)
torch.hsplit(x, 2)
x.unbind()
x.unbind(-1)
s.unbind()
x[0].T
v.mT
x.mT
x[0].H
x.H
v.H
x.mH
torch.meshgrid(v, v, indexing="ij")
torch.meshgrid(v, v[:2], indexing="xy")
torch.meshgrid(v, v[:2], i, indexing="xy")
torch.meshgrid(v, v[:2], v[:1], indexing="xy")
torch.meshgrid([v, v], indexing="a")
torch.meshgrid(v, v)
x.flatten(2, 1)
x.flatten(1)
x.flatten(0, 1)
x.flatten()
s.flatten()
x.ravel()
x.unflatten(0, (3, 1))
x.unflatten(0, (-1, 1))
x.unflatten(-1, (2, 2))
x.unflatten(0, ())
x.movedim(0, 2)
x.movedim((0, 1), (1, 2))
x.movedim((0, 0), (1, 2))
x.movedim((0, 1), (1, 1))
x.movedim(0, 3)
x.moveaxis(0, -1)
x.swapaxes(0, 1)
x.swapdims(0, -1)
x.permute(2, 0, 1)
x.permute(0, 0, 1)
x.permute(0, 1)
x.transpose(0, 3)
x.t()
x[0].t()
x.squeeze()
x[:1].squeeze(0)
x[:1].squeeze((0, 1))
x[:1].squeeze(1)
x.unsqueeze(-1)
x.unsqueeze(4)
v.expand(2, 3)
v.expand(2, -1)
v.expand(-1, 3)
x.expand(2)
v.expand(2, 4)
v.expand_as(x[:, :, :3])
v.broadcast_to(2, 3)
v.broadcast_to((2, 4))
torch.broadcast_to(v, (2, 3))
torch.broadcast_tensors(v, x)
torch.broadcast_tensors(v, v[:, None])
torch.broadcast_shapes((2, 1), (3,), 1)
torch.broadcast_shapes((2,), (3,))
v.view_as(x)
x.view_as(x.reshape(4, 6))
x.reshape_as(x.reshape(4, 6))
x.flip(0)
x.flip((0, 2))
x.flip(-1, 0)
x.flip(3)
x.flip(0, 0)
v.fliplr()
x.fliplr()
x.flipud()
s.flipud()
v.roll(1)
x.roll(-5)
x.roll(1, 2)
x.roll((1, 2), (0, 2))
x.roll(1, (0, 1))
x.roll((1, 2))
x.roll(1, 5)
x.rot90()
x.rot90(2)
x.rot90(-1, (1, 2))
x.rot90(0)
x.rot90(1, (0,))
x.rot90(1, (0, 0))
x.rot90(1, (0, 5))
v.repeat(2)
v.repeat(2, 2)
v.repeat(0)
v.repeat(-1)
x.repeat(2)
x.repeat(1, 2, 1)
x[0].t().repeat(2, 1)
v.tile(2, 2)
v.tile(())
x.tile(2)
torch.tile(v, (2,))
v.repeat_interleave(2)
v.repeat_interleave(torch.tensor([1, 2, 0]))
v.repeat_interleave(torch.tensor([1, 2]))
v.repeat_interleave(torch.tensor([1.0, 2, 3]))
v.repeat_interleave(-1)
v.repeat_interleave(torch.tensor([1, -2, 0]))
torch.repeat_interleave(torch.tensor([1, 2, 0]))
x.repeat_interleave(2, dim=1)
x.repeat_interleave(torch.tensor([2]), dim=1)
v.tril()
x.tril(1)
x.triu(-1)
x.mT.triu(1)
x.bool().tril()
s.tril()
v.diag()
v.diag(1)
v.diag(-2)
x.diag()
x[0].diag(1)
x[0].diagonal(1)
x.diagonal(0, 1, 2)
x.diagonal(-1, 0, 2)
x.diagonal(5)
x.diagonal(0, 1, 1)
v.diag_embed(1)
x[0].diag_embed(-1, 0, 2)
v.diag_embed(0, 0, 0)
x.narrow(2, 1, 2)
x.narrow(0, -1, 1)
x.narrow(0, 1, 2)
x.narrow(0, 3, 1)
x.narrow(0, 0, -1)
x.select(1, -1)
x.select(1, 3)
s.select(0, 0)
x.unfold(2, 2, 1)
x.unfold(2, 3, 2)
x.unfold(2, 5, 1)
x.unfold(2, 2, 0)
x.as_strided((2, 2), (1, 2), 1)
x.as_strided((2, 2), (1, 200))
torch.hstack([v, v])
torch.hstack([x, x]).shape
torch.vstack([v, v])
torch.dstack([v, v])
torch.column_stack([v, v])
torch.hstack([])
torch.vstack(v)
torch.atleast_1d(s)
torch.atleast_2d(v)
torch.atleast_3d(v, s)
torch.atleast_1d([v, s])
x.sum_to_size(3, 1)
x.sum_to_size(2, 1)
x.sum_to_size(x.shape) is x
v.clone().t_()
x[0].clone().t_()
x.clone().transpose_(0, 1)
x[:1].clone().squeeze_()
v.clone().unsqueeze_(0)
v.clone().unsqueeze_(5)
v.clone().resize_(2)
v.clone().resize_(5).shape
r.transpose_(0, 1)
x.contiguous() is x, x.mT.contiguous() is x
x.mT.contiguous()
x.is_contiguous(), x.mT.is_contiguous()
torch.zeros(1, 2).expand(3, 2).add_(1)
r.reshape(6, 4)
r.mT.reshape(-1)
r.flatten()
r.contiguous().grad_fn
r.mT.contiguous()
r.t_
torch.stack([r, r]).grad_fn, torch.cat([r, r]).grad_fn
r.chunk(2)[0].grad_fn, r.split([1, 1])[1].grad_fn, r.unbind()[0].grad_fn
r[0].diag().grad_fn, r[0].diag_embed().grad_fn, r.tril().grad_fn, r.flip(0).grad_fn
r.roll(1).grad_fn, r.repeat(1, 1, 1).grad_fn, r.tile(2).grad_fn, r.repeat_interleave(2).grad_fn
r.movedim(0, 1).grad_fn, r.expand_as(r).grad_fn, r.unfold(2, 2, 1).grad_fn, r.mT.grad_fn
r[0].T.grad_fn, r.unflatten(0, (2, 1)).grad_fn
"""


@pytest.mark.parametrize("expression", EXPRESSIONS.strip().splitlines())
def test_shapes_are_pytorchs(oracle: ModuleType, expression: str) -> None:
    ours, theirs = (answer(module, expression, SETUP) for module in (torch, oracle))
    if theirs.startswith(("<built-in", "<bound")):
        assert ours.startswith("<bound method")
    else:
        assert ours == theirs


# Functions of a tensor [2, 3, 4] whose first and second derivatives are compared.
FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "reshape": lambda torch, x: x.reshape(4, 6),
    "reshape of a transposed": lambda torch, x: x.mT.reshape(6, 4),
    "flatten": lambda torch, x: x.flatten(1),
    "unflatten": lambda torch, x: x.unflatten(2, (2, 2)),
    "cat": lambda torch, x: torch.cat([x, x * 2, x[:, :1]], 1),
    "cat of dtypes": lambda torch, x: torch.cat([x, x.float()], -1),
    "stack": lambda torch, x: torch.stack([x, x * x], 1),
    "split": lambda torch, x: x.split(3, 2)[0] * 2,
    "split of sizes": lambda torch, x: x.split([1, 2], 1)[1],
    "chunk": lambda torch, x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "unbind": lambda torch, x: x.unbind(1)[1] * x.unbind(1)[2],
    "tensor_split": lambda torch, x: x.tensor_split([1], 2)[1],
    "hstack": lambda torch, x: torch.hstack([x, x]),
    "flip": lambda torch, x: x.flip(0, 2),
    "roll": lambda torch, x: x.roll((1, 2), (0, 2)),
    "roll of all": lambda torch, x: x.roll(5),
    "rot90": lambda torch, x: x.rot90(1, (1, 2)),
    "repeat": lambda torch, x: x.repeat(2, 1, 3, 1),
    "tile": lambda torch, x: x.tile(2, 2),
    "repeat_interleave": lambda torch, x: x.repeat_interleave(2, 1),
    "repeat_interleave by counts": lambda torch, x: x.repeat_interleave(
        torch.tensor([2, 0, 1]), dim=1
    ),
    "tril": lambda torch, x: x.tril(),
    "triu": lambda torch, x: x.triu(1),
    "diag": lambda torch, x: x[0, 0].diag(1),
    "diag of a matrix": lambda torch, x: x[0].diag(1),
    "diag_embed": lambda torch, x: x.diag_embed(1),
    "diagonal": lambda torch, x: x.diagonal(1, 1, 2),
    "movedim": lambda torch, x: x.movedim(0, 2),
    "expand": lambda torch, x: x.unsqueeze(0).expand(3, 2, 3, 4),
    "broadcast_tensors": lambda torch, x: torch.broadcast_tensors(x, x[:, :1])[1],
    "meshgrid": lambda torch, x: torch.meshgrid(x[0, 0], x[1, 0], indexing="xy")[0],
    "unfold": lambda torch, x: x.unfold(2, 3, 1),
    "unfold with gaps": lambda torch, x: x.unfold(1, 1, 2),
    "as_strided that overlaps": lambda torch, x: x.as_strided((3, 4), (2, 1), 3),
    "sum_to_size": lambda torch, x: x.sum_to_size(3, 1),
    "clone": lambda torch, x: x.mT.clone(),
    "to": lambda torch, x: x.to(torch.float32) * 2,
    "copy_": lambda torch, x: torch.zeros(2, 3, 4).copy_(x * 2),
    "copy_ that broadcasts": lambda torch, x: (x * 1).copy_(x[:, :1]),
    "fill_": lambda torch, x: (x * 2).fill_(x[0, 0, 0]),
    "zero_": lambda torch, x: (x * 2).zero_() + x,
    "squeeze and transpose in place": lambda torch, x: x[:1].clone().squeeze_().transpose_(0, 1),
    "a view changed": lambda torch, x: _with_changed_view(x * 1),
    "a reshaped view changed": lambda torch, x: _with_changed_reshape(x * 1),
}


def _with_changed_view(y: Any) -> Any:
    y.select(1, 0).mul_(y.select(1, 1).clone())
    return y


def _with_changed_reshape(y: Any) -> Any:
    y.reshape(-1).narrow(0, 3, 7).copy_(y.reshape(-1).narrow(0, 0, 7) * 3)
    return y * y


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_pytorchs(oracle: ModuleType, name: str) -> None:
    values = np.random.normal(size=(2, 3, 4))
    results = []
    for module in (torch, oracle):
        x = module.tensor(values, requires_grad=True)
        y = FUNCTIONS[name](module, x)
        weights = module.tensor(np.cos(np.arange(y.numel()))).reshape(tuple(y.shape))
        (first,) = module.autograd.grad((y * y * weights).sum(), x, create_graph=True)
        (second,) = module.autograd.grad((first * first).sum(), x)
        results.append((y, first, second))
    assert_same(results[0], results[1], rtol=1e-6, atol=1e-12)


def outcome(function: Callable[[Any], Any], x: Any) -> Any:
    """A result, or the message of a RuntimeError."""
    try:
        return function(x)
    except RuntimeError as error:
        return str(error)


@given(data=st.data())
def test_reshape_views_or_copies_as_pytorch_does(oracle: ModuleType, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 4), max_size=4))
    order = data.draw(st.permutations(range(len(shape))))
    steps = [data.draw(st.sampled_from([1, 1, 2])) for _ in shape]
    base = np.arange(prod(n * k for n, k in zip(shape, steps, strict=True)), dtype=np.int64)
    base = base.reshape([n * k for n, k in zip(shape, steps, strict=True)])
    base = base[(*(slice(None, None, k) for k in steps), ...)].transpose(order)
    wanted = data.draw(st.lists(st.sampled_from([-1, 0, 1, 2, 3, 4, 6, 8, 12, 24]), max_size=4))
    if data.draw(st.booleans()):
        wanted = list(data.draw(st.permutations(base.shape)))
    ours, theirs = torch.from_numpy(base), oracle.from_numpy(base)
    for call in (
        lambda x: x.reshape(wanted), lambda x: x.view(wanted), lambda x: x.flatten()
    ):  # fmt: skip
        result, expected = outcome(call, ours), outcome(call, theirs)
        if isinstance(expected, str):
            assert result == expected
            continue
        assert_same(result, expected)
        assert (result.data_ptr() == ours.data_ptr()) == (expected.data_ptr() == theirs.data_ptr())


@given(
    shape=st.lists(st.integers(0, 3), max_size=4),
    calls=st.lists(
        st.sampled_from([
            ("flip", 1), ("roll", 2), ("squeeze", 1), ("unsqueeze", 1), ("movedim", 2),
            ("transpose", 2), ("unbind", 1), ("flatten", 2), ("repeat_interleave", 2),
        ]),
        max_size=3,
    ),
    numbers=st.lists(st.integers(-3, 3), min_size=6, max_size=6),
)  # fmt: skip
def test_chains_of_shape_functions(
    oracle: ModuleType, shape: list[int], calls: list[tuple[str, int]], numbers: list[int]
) -> None:
    ours: Any = torch.arange(prod(shape)).reshape(shape)
    theirs: Any = to_torch(oracle, ours)
    for name, count in calls:
        arguments, numbers = numbers[:count], numbers[count:]
        try:
            expected = getattr(theirs, name)(*arguments)
        except (RuntimeError, IndexError):
            with pytest.raises((RuntimeError, IndexError)):  # of two faults, one is named
                getattr(ours, name)(*arguments)
            return
        result = getattr(ours, name)(*arguments)
        assert_same(result, expected)
        if isinstance(result, tuple):
            if not result:
                return
            result, expected = result[0], expected[0]
        ours, theirs = result, expected


PROGRAMS = {
    "views share memory": """
        x = torch.zeros(2, 3)
        x.view(-1)[4] = 1
        x.t()[0, 0] = 2
        x.reshape(3, 2)[0, 1] = 3
        x.expand(2, 2, 3)[1, 1, 1] = 4
        for part in x.chunk(3, 1):
            part += 10
        show(x)
    """,
    "copies do not": """
        x = torch.zeros(2, 3)
        for y in (x.clone(), x.t().reshape(-1), x.t().contiguous(), x.flip(0), x.repeat(1, 1),
                  x.double(), x.roll(1), torch.cat([x]), torch.stack([x]), x.tril()):
            y.fill_(7)
        show(x)
    """,
    "changes of shape in place": """
        y = leaf(2, 3) * 2
        z = y
        y.t_()
        show(z.shape, z.is_contiguous(), z._version)
        z.unsqueeze_(0).squeeze_()
        show(z.shape, z.stride(), z._version)
    """,
    "gradients through changed shapes": """
        x = leaf(2, 3)
        y = x * 2
        y.transpose_(0, 1)
        (y * torch.arange(6.0).reshape(3, 2)).sum().backward()
        show(x.grad)
    """,
    "several views may not be changed": """
        x = leaf(2, 3) * 1
        a, b = x.unbind()
        refused(lambda: a.add_(1))
        refused(lambda: leaf(4).split(2)[0].mul_(2))
    """,
    "out": """
        out = torch.empty(0)
        show(torch.stack([torch.ones(2), torch.zeros(2)], out=out) is out, out)
        refused(lambda: torch.cat([leaf(2), leaf(2)], out=out))
    """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_show_what_pytorch_shows(oracle: ModuleType, name: str) -> None:
    assert transcript(torch, PROGRAMS[name]) == transcript(oracle, PROGRAMS[name])


@pytest.mark.parametrize("shape", [(300, 500), (64, 3, 257), (1000, 1)])
def test_large_copies(shape: tuple[int, ...]) -> None:
    array = np.random.normal(size=shape).astype(np.float32)
    x = torch.from_numpy(array)
    turned = tuple(range(len(shape)))[::-1]
    assert np.array_equal(x.permute(turned).contiguous().numpy(), array.transpose(turned))
    assert np.array_equal(x.permute(turned).double().numpy(), array.transpose(turned))
    assert np.array_equal(x.flip(0).numpy(), array[::-1])
    assert np.array_equal(torch.cat([x, x], -1).numpy(), np.concatenate([array, array], -1))
    assert np.array_equal(x.roll(7, 0).numpy(), np.roll(array, 7, 0))
    assert np.array_equal(x.repeat(*(2,) * len(shape)).numpy(), np.tile(array, (2,) * len(shape)))


def laid_out(library: ModuleType) -> list[Any]:
    """Operands of one common shape, in all its orders in memory, and some that are broadcast."""
    whole = library.arange(24.0).reshape(2, 3, 4)
    orders = [
        whole.permute(order).contiguous().permute([order.index(axis) for axis in range(3)])
        for order in permutations(range(3))
    ]
    row, column = library.arange(4.0), library.arange(6.0).reshape(2, 3, 1)
    return [*orders, row, column, row.expand(2, 3, 4)]


def test_results_lie_in_memory_as_pytorchs_do(oracle: ModuleType) -> None:
    for mine, theirs in zip(
        product(laid_out(torch), repeat=2), product(laid_out(oracle), repeat=2), strict=True
    ):
        actual, expected = mine[0] + mine[1], theirs[0] + theirs[1]
        assert actual.stride() == expected.stride(), [x.stride() for x in theirs]
        assert_same(actual, expected)


@pytest.mark.parametrize("shape", [(64, 64), (100, 333), (3, 200, 130), (1024, 256)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_large_transposes(shape: tuple[int, ...], dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    turned = torch.tensor(array).transpose(-1, -2)
    np.testing.assert_array_equal(turned.contiguous().numpy(), array.swapaxes(-1, -2))
    other = torch.ones(turned.shape, dtype=turned.dtype)
    np.testing.assert_array_equal((other + turned).numpy(), array.swapaxes(-1, -2) + 1)
