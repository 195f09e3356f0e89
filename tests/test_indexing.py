"""Reading and writing at indices, against PyTorch."""

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import numtorch as torch
from helpers import assert_same
from programs import answer, transcript

SETUP = """
x = torch.arange(24.0).reshape(2, 3, 4)
y = torch.arange(6.0).reshape(2, 3)
v = torch.arange(3.0)
r = x.clone().requires_grad_()
m = torch.tensor([[True, False, True], [False, True, True]])
i = torch.tensor([0, 1])
b = torch.tensor([True, False])
s = torch.tensor(5.0)
I = torch.tensor

def put(target, index, value):
    target = target.clone()
    target[index] = value
    return target

def nodes(target, index, value):
    target = target.clone()
    target[index] = value
    return target.grad_fn, [each and each.name() for each, _ in target.grad_fn.next_functions]
"""

READING = """
x[2]
x[-3]
x[0, 5]
x[0, 0, 0, 0]
x[0:2, 0, 0, 0]
x[..., ...]
x[..., 0, ...]
s[0]
s[...]
s[()]
s[None]
s[True]
s[False]
s[I(True)]
x[::-1]
x[::0]
x[1.5]
x[[0, 1]]
x[[0, 1], [0, 1]]
x[[[0, 1], [0, 1]]]
x[[0, slice(0, 1)]]
x[[0, None]]
x[[True, False]]
x[[True, False, True]]
x[True]
x[False]
x[True, True]
x[True, False]
x[0, True]
x[i]
x[i, i]
x[i, :, i]
x[:, i, i]
x[:, i, None, i]
x[None, i]
x[0, i]
x[i, 0]
x[0, :, i]
x[:, 0, i]
x[i, :, 0]
x[m]
x[m, 0]
x[m, i]
x[m, I([0, 1, 2, 3])]
x[:, m]
x[m.byte()]
x[b]
x[b, i]
x[b, :, I([0])]
x[I([True, False, True])]
x[:, I([True, False, True])]
x[i.int()]
x[i.float()]
x[i.short()]
x[I([2])]
x[I([-3])]
x[:, I([0, 3])]
x[:, i]
x[:, I([[0, -3], [2, 2]])]
x[:, :, i, :]
x[i, :, :]
x[i, :, :, :]
x[1:, i]
x[I(0) : I(2), i]
x[:, I([], dtype=torch.long)]
torch.zeros(2, 0)[:, I([0])]
torch.zeros(0, 2)[:, I([0, 2])]
torch.zeros(0, 2)[I([0])]
y.t()[I([0, -1])]
y.t()[:, I([0, 2])]
r[i].grad_fn, r[:, i].grad_fn, r[r > 3].grad_fn
x[i, I([0, 1, 2])]
x[I(1)]
x[I(True)]
x[I(1, dtype=torch.uint8)]
x[I(1.0)]
x[np.array([0, 1])]
x[np.array([True, False])]
x[np.int64(1)]
x[np.array(1)]
x[np.float64(1)]
x[np.bool_(True)]
x[range(2)]
x[(0, 1),]
x[I([], dtype=torch.long)]
x[[]]
x[I([])]
x[I(0) : I(1)]
x[0.5:1]
x["a":1]
x[10:]
x[:, -2:]
x[1, ..., 0]
x[..., None]
x[{0}]
x[i, :, :, i]
x[0, 0, 0, True]
x[0, 0, 0, None]
x[0, 0, 0, ...]
x[i, ..., i]
x[I([[0], [1]]), I([0, 2])]
x[i, m]
x[0][b]
x[m, None]
x[None, m]
x[:, None, i]
x[m[:, :2]]
I([1, 2, 3])[I([[0, 1], [1, 2]])]
r[0]
r[i].grad_fn
r[0, i].grad_fn.next_functions[0][0]
r[0, 1].grad_fn.next_functions[0][0]
r[:].grad_fn
r[:, 1:].grad_fn.next_functions[0][0]
r[:, 1:, 0].grad_fn.next_functions[0][0]
r[0, ...].grad_fn.next_functions[0][0]
r[()].grad_fn
r[None, ...].grad_fn.next_functions[0][0]
r[True].grad_fn
r[:, :, :].grad_fn.next_functions[0][0]
r[m].grad_fn
"""

WRITING = """
put(v, 0, 5)
put(v, slice(None), 7)
put(v, i, 9)
put(v, i, I([7, 8]))
put(v, i, I([7.0, 8]))
put(v, i, I([[7.0, 8]]))
put(v, i, [7, 8])
put(v, i, np.array([7.0, 8]))
put(v, i, I(5))
put(v, I([0, 0, 0]), I([1.0, 2, 3]))
put(v, 0, I([7]))
put(v, 0, I([7, 8]))
put(v, slice(0, 2), I([7, 8, 9]))
put(v, slice(0, 2), I([[7, 8]]))
put(v, slice(0, 2), I([[7, 8], [7, 8]]))
put(v, slice(0, 3, 2), I([7, 8]))
put(v, v > 0, 5)
put(v, v > 0, I(5))
put(v, v > 0, I([5]))
put(v, v > 0, I([5.0]))
put(v, v > 0, I([5, 6]))
put(v, v > 0, I([5.0, 6]))
put(v, v > 0, I([5, 6, 7]))
put(v, i, I([7, 8]).double())
put(v.long(), i, I([7.5, 8]))
put(v.long(), 0, 7.5)
put(v.long(), i, 7.5)
put(v.bool(), 0, 2)
put(v, 0, "a")
put(v, 0, None)
put(v, 0, np.float32(5))
put(v, 0, np.float64(5))
put(v, 5, 1)
put(v, I([5]), 1)
put(v, True, 1)
put(v, False, 1)
put(v, [True, False, True], 1)
put(v, [], 1)
put(v, I([]), 1)
put(s, (), 1)
put(s, ..., 1)
put(s, True, 1)
put(s, 0, 1)
put(v, None, 1)
put(v, (None, 0), 1)
put(v.byte(), 0, 300)
put(v.byte(), i, 300)
put(v.byte(), 0, -1)
put(x, (slice(None), i), y[:, :1].expand(2, 2).unsqueeze(-1))
put(x, (i, slice(None), i), y)
put(x, (slice(None), 0, i), 3)
put(x, (m, 0), I([1.0, 2, 3, 4]))
put(x, (m, slice(1, 3)), 0)
put(x, m, x[0, 0])
put(x, (0, m[0]), 1)
put(x, (slice(None), m[1]), 1)
put(x.expand(2, 2, 3, 4)[0], 0, 1)
put(x[:, :, ::2], (..., 0), y)
nodes(r, 0, 1.0)
nodes(r, 0, r[1])
nodes(r, i, 1.0)
nodes(r, i, r[i])
nodes(r, (0, i), 1.0)
nodes(r, slice(None), 1.0)
nodes(r, ..., 1.0)
nodes(r, r > 2, 1.0)
r.__setitem__(0, 1)
torch.zeros(1, 2).expand(3, 2).__setitem__((0, 0), torch.ones(()))
torch.zeros(1, 2).expand(3, 2).__setitem__(slice(None), torch.ones(3, 2))
"""

GATHERING = """
y.gather(0, i)
y.gather(0, I([[0, 1]]))
y.gather(2, I([[0, 1]]))
y.gather(0, I([[0, 2]]))
y.gather(0, I([[0, -1]]))
y.gather(0, I([[0, 1]]).int())
y.gather(0, I([[0.0, 1]]))
y.gather(0, I([[0, 1, 0, 1]]))
y.gather(1, I([[0], [1], [2]]))
y.gather(0, I([], dtype=torch.long))
torch.gather(input=y, dim=1, index=I([[2, 1], [0, 0]]))
s.gather(0, I([0, 0]))
s.gather(0, I(0))
y.scatter(0, I([[0, 1]]), y)
y.scatter(0, I([[0, 1, 0]]), y[:1, :2])
y.scatter(0, I([[0, 1]]), 1)
y.scatter(0, I([[0, 1]]), value=1)
y.scatter(0, I([[0, 2]]), 1)
y.scatter(0, I([[0, 1]]), 1, reduce="add")
y.scatter(0, I([[0, 1]]), 1, reduce="foo")
y.scatter(0, I([[0, 1]]), y, reduce="multiply")
y.scatter(0, I([[0, 1]]), y.long())
y.scatter(0, I([[0, 1]]).int(), y)
y.scatter(0, I([[0], [0], [0]]), 1)
y.scatter(1, I([[0], [0], [0]]), 1)
y.scatter(1, I([[0], [0], [0]]), torch.ones(3, 1))
y.scatter(0, i, 1)
y.long().scatter(0, I([[0, 1]]), 1.5)
y.scatter_add(0, I([[0, 1]]), y)
y.scatter_add(0, I([[0, 0, 0], [0, 0, 1]]), y)
y.scatter_add(0, I([[0, 1]]), 1)
y.scatter_add(0, I([[0, 1]]), y.double())
y.scatter_reduce(0, I([[0, 1]]), y, "sum")
y.scatter_reduce(0, I([[0, 1]]), y, "foo")
y.scatter_reduce(0, I([[0, 1]]), y, "mean", include_self=False)
y.scatter_reduce(1, I([[0, 0, 1], [2, 2, 2]]), y, "amax")
y.scatter_reduce(1, I([[0, 0, 1], [2, 2, 2]]), y, "prod", include_self=False)
y.clone().scatter_(0, I([[0, 1]]), 9)
y.index_select(0, I([0, 2]))
y.index_select(0, I([1, 0, 1]))
y.index_select(1, I([1, 0, 1]))
y.index_select(0, I([0, -1]))
y.index_select(0, I([[0, 1]]))
y.index_select(0, I([0.0, 1]))
y.index_select(0, I(1))
y.index_select(0, I([1]).int())
y.index_select(2, I([1]))
s.index_select(0, I([0]))
s.index_select(0, I([0, 0]))
y.index_add(0, I([0, 1]), y)
y.index_add(1, I([0, 0, 2]), y)
y.index_add(0, I([0, 1, 0]), y)
y.index_add(0, I([0, 1]), y[:, :2])
y.index_add(0, I([0, 2]), y)
y.index_add(0, I([0, 1]), y.long())
y.index_add(0, I([0, 1]), y, alpha=2)
y.index_add(0, I([[0, 1]]), y)
y.index_add(0, I([0.0, 1]), y)
y.index_add(0, I(1), y[:1])
y.index_copy(0, I([1, 0]), y)
y.index_copy(0, I([0, 2]), y)
y.index_copy(0, I([0, 1, 0]), y)
y.index_copy(0, I([0, 1]), y[:, :2])
y.index_copy(0, I([0, 1]), y.long())
y.index_copy(0, I([0, 1]).int(), y)
y.index_fill(0, I([0]), 5)
y.index_fill(1, I([0, 2]), s)
y.index_fill(0, I([2]), 5)
y.index_fill(0, I([-1]), 5)
y.index_fill(0, I([[0]]), 5)
y.index_fill(0, I([0.0]), 5)
y.index_fill(0, I([0]), v)
y.index_put((i,), s)
y.index_put((I([5]),), s)
y.index_put((i, i), v)
y.index_put((i,), 5)
y.index_put(i, s)
y.index_put((i,), s.long())
y.index_put((I([0, 0]),), torch.ones(2, 3), accumulate=True)
y.clone().index_put_((i, i), v[:2])
y.masked_fill(y > 2, 5)
y.masked_fill(y, 5)
y.masked_fill(m[:, :2], 5)
y.masked_fill(m, v)
y.masked_fill(m, I(3))
y.long().masked_fill(m, 3.5)
y.long().masked_fill(m, I(3.5))
v.masked_fill(m, 3)
v.clone().masked_fill_(m, 3)
y.masked_fill(m.byte(), 3)
y.clone().masked_fill_(m[0], 3)
y.masked_select(y > 2)
y.masked_select(y)
y.masked_select(m[:, :2])
y.masked_select(m[0])
y.masked_select(m.byte())
y.masked_scatter(y > 2, v)
y.masked_scatter(y > 2, v[:1])
y.masked_scatter(y > 2, v.long())
y.masked_scatter(y, v)
y.take(I([0, 5]))
y.take(I([0, 6]))
y.take(I([0, -7]))
y.take(I([-1]))
y.t().take(I([[0, 1]]))
y.take(I([0.0]))
y.take(I([0]).int())
y.put(I([0, 1]), I([5.0, 6]))
y.put(I([0, 6]), I([5.0, 6]))
y.put(I([0, 1]), I([5.0]))
y.put(I([0, 1]), I([5, 6]))
y.clone().put_(I([0, 0]), I([5.0, 6]), accumulate=True)
y.clone().t().put_(I([1]), I([5.0]))
torch.take_along_dim(y, I([[0]]), 0)
torch.take_along_dim(y, I([[0]]), 1)
torch.take_along_dim(y, I([5]))
torch.take_along_dim(y, I([7]))
torch.take_along_dim(y, I([0]), 0)
torch.take_along_dim(y, I([[0.0]]), 0)
torch.take_along_dim(y, y.argsort(1) if False else I([[2, 1, 0], [0, 1, 2]]), 1)
y.nonzero().tolist()
torch.nonzero(y, as_tuple=True)
y.nonzero(as_tuple=True)
s.nonzero()
s.nonzero(as_tuple=True)
torch.zeros(0, 3).nonzero().shape
y.t().nonzero().tolist()
y.argwhere().tolist()
torch.where(y > 2)
torch.where(s > 2)
torch.where(y > 2, y, 0)
torch.where(y > 2, 1, 0)
torch.where(y > 2, 1.0, y.long())
y.where(y > 2, -1)
torch.where(y)
torch.where(y, y, y)
torch.select_scatter(y, v, 0, 1)
torch.select_scatter(y, v, 0, 5)
torch.select_scatter(y, v[:2], 0, 1)
torch.slice_scatter(y, y[:, :1], 1, 0, 1)
torch.slice_scatter(y, y, 1, 0, 1)
torch.diagonal_scatter(y, i.float())
torch.diagonal_scatter(y, v)
torch.gather(y, 0, I([[0, 1]]), out=torch.empty(0))
torch.index_select(y, 0, i, out=y)
r.gather(0, I([[[0]]])).grad_fn, r.scatter(0, I([[[0]]]), 1).grad_fn
r.scatter(0, I([[[0]]]), r).grad_fn
r.scatter_add(0, I([[[0]]]), r).grad_fn, r.scatter_reduce(0, I([[[0]]]), r, "sum").grad_fn
r.take(I([0])).grad_fn, r.put(I([0]), s).grad_fn, r.masked_scatter(r > 2, r).grad_fn
r.index_copy(0, i, r).grad_fn, r.index_fill(0, i, s).grad_fn, r.index_fill(0, i, 1).grad_fn
r.masked_fill(r > 2, s).grad_fn, r.masked_fill(r > 2, 1).grad_fn, r.masked_select(r > 2).grad_fn
r.index_select(0, i).grad_fn, r.index_add(0, i, r).grad_fn, r.index_put((i,), s).grad_fn
r.select_scatter(r[0], 0, 1).grad_fn, r.slice_scatter(r[:1], 0, 0, 1).grad_fn
r.diagonal_scatter(r.diagonal()).grad_fn, torch.take_along_dim(r, I([[[0]]]), 0).grad_fn
"""


@pytest.mark.parametrize(
    "expression", [*READING.split("\n"), *WRITING.split("\n"), *GATHERING.split("\n")]
)
def test_indexing_is_pytorchs(oracle: ModuleType, expression: str) -> None:
    if expression:
        assert answer(torch, expression, SETUP) == answer(oracle, expression, SETUP)


# ---------------------------------------------------------------------- derivatives

GATHERED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "basic": lambda t, x, w: x[1, ..., ::2] * w[0, :, :2],
    "index tensors": lambda t, x, w: x[t.tensor([1, 0, 1]), :, t.tensor([0, 3, 0])],
    "an index tensor": lambda t, x, w: x[t.tensor([[1, 0], [1, -1]])],
    "an index tensor of a later dimension": lambda t, x, w: x[:, t.tensor([2, 0, 2])],
    "a mask": lambda t, x, w: x[x > 0],
    "setitem": lambda t, x, w: _with(x * 2, (slice(None), 1), w[:, 0]),
    "setitem of index tensors": lambda t, x, w: _with(x * 2, t.tensor([1]), w[:1]),
    "setitem of a number": lambda t, x, w: _with(x * 2, (0, slice(1, 3)), 3.0),
    "gather": lambda t, x, w: x.gather(2, t.tensor([[[0, 0, 3]], [[1, 1, 1]]])),
    "scatter": lambda t, x, w: x.scatter(1, t.tensor([[[2, 1, 0, 0]]]), w[:1, :1]),
    "scatter of a number": lambda t, x, w: x.scatter(1, t.tensor([[[2, 1, 0, 0]]]), 2.0),
    "scatter_add": lambda t, x, w: x.scatter_add(
        1, t.tensor([[[2, 2, 0]], [[1, 1, 1]]]), w[:, :1, :3]
    ),
    "index_select": lambda t, x, w: x.index_select(1, t.tensor([2, 0, 2])),
    "index_add": lambda t, x, w: x.index_add(1, t.tensor([2, 2, 0]), w, alpha=3),
    "index_copy": lambda t, x, w: x.index_copy(1, t.tensor([2, 1, 0]), w),
    "index_fill": lambda t, x, w: x.index_fill(1, t.tensor([2, 2]), w[0, 0, 0]),
    "index_put": lambda t, x, w: x.index_put((t.tensor([1, 0]), t.tensor([1, 2])), w[:, 0]),
    "index_put that adds": lambda t, x, w: x.index_put(
        (t.tensor([1, 1]),), w, accumulate=True
    ),
    "masked_fill": lambda t, x, w: x.masked_fill(x > 0, w[0, 0, 0]),
    "masked_fill that broadcasts": lambda t, x, w: x[0].masked_fill(w > 0, 2.0),
    "masked_select": lambda t, x, w: x.masked_select(w[0] > 0),
    "masked_scatter": lambda t, x, w: x.masked_scatter(x > 0, w),
    "take": lambda t, x, w: x.take(t.tensor([[0, 5], [5, -1]])),
    "put": lambda t, x, w: x.put(t.tensor([0, 7]), w[0, 0, :2]),
    "put that adds": lambda t, x, w: x.put(t.tensor([3, 3]), w[0, 0, :2], accumulate=True),
    "take_along_dim": lambda t, x, w: t.take_along_dim(x, t.tensor([[[1], [0], [3]]]), 2),
    "where": lambda t, x, w: t.where(x > 0, x, w),
    "select_scatter": lambda t, x, w: x.select_scatter(w[0], 0, 1),
    "slice_scatter": lambda t, x, w: x.slice_scatter(w[..., :2], 2, 0, 4, 2),
    "diagonal_scatter": lambda t, x, w: x.diagonal_scatter(w.diagonal(0, 1, 2), 0, 1, 2),
    **{
        f"scatter_reduce {how} {own}": lambda t, x, w, how=how, own=own: x.scatter_reduce(
            1, t.tensor([[[2, 2, 0, 1], [2, 1, 0, 1]]]), w[:1, :2], how, include_self=own
        )
        for how in ("sum", "prod", "mean", "amax", "amin")
        for own in (True, False)
    },
}  # fmt: skip


def _with(y: Any, index: Any, value: Any) -> Any:
    y[index] = value
    return y


@pytest.mark.parametrize("name", GATHERED)
def test_derivatives_are_pytorchs(oracle: ModuleType, name: str) -> None:
    values = np.random.normal(size=(2, 2, 3, 4))
    results = []
    for module in (torch, oracle):
        x, w = (module.tensor(each, requires_grad=True) for each in values)
        y = GATHERED[name](module, x, w)
        weights = module.tensor(np.cos(np.arange(y.numel()))).reshape(y.shape)
        first = module.autograd.grad(
            (y * y * weights).sum(), [x, w], create_graph=True, materialize_grads=True
        )
        total = sum((each * each).sum() for each in first)
        second = module.autograd.grad(total, [x, w], materialize_grads=True)
        results.append((y, [each.detach() for each in first], second))
    assert_same(results[0], results[1], rtol=1e-9, atol=1e-12)


def test_products_with_zeros_have_derivatives(oracle: ModuleType) -> None:
    results = []
    for module in (torch, oracle):
        x = module.tensor([2.0, 0.0, 3.0], requires_grad=True)
        w = module.tensor([0.0, 4.0, 0.0, 0.0, 5.0], requires_grad=True)
        index = module.tensor([0, 0, 1, 2, 2])
        y = x.scatter_reduce(0, index, w, "prod")
        results.append((y, *module.autograd.grad(y.sum(), [x, w])))
    assert_same(results[0], results[1])


PROGRAMS = {
    "views": """
        x = torch.zeros(3, 4)
        x[1][2] = 5
        x[:, 0] += 1
        x[::2, 1:3] *= 2
        x[0, 1:] = torch.arange(3)
        x.t()[3] = -1
        show(x, x._version)
    """,
    "in-place changes of views": """
        x = leaf(3, 4)
        y = x * 1
        y[0] *= 2
        y[:, 1:3][1] = y[2, :2].clone() * 3
        y[y > 10] = 0
        (y * y).sum().backward()
        show(y, x.grad)
        refused(lambda: x.__setitem__(0, 1))
        refused(lambda: x[0].mul_(2))
    """,
    "changed indices": """
        x = leaf(3)
        index = torch.tensor([0, 2])
        y = x[index]
        index[0] = 1
        refused(lambda: y.sum().backward(), 130)
    """,
    "writing what is read": """
        x = torch.arange(6.0)
        x[1:] = x[:-1].clone()
        show(x)
        x[torch.tensor([0, 1, 2])] = x[torch.tensor([3, 4, 5])]
        show(x)
    """,
    "no_grad": """
        x = leaf(3)
        with torch.no_grad():
            x[0] = 10
            x[1:] *= 2
        show(x)
    """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_show_what_pytorch_shows(oracle: ModuleType, name: str) -> None:
    assert transcript(torch, PROGRAMS[name]) == transcript(oracle, PROGRAMS[name])


REFUSED: dict[str, Callable[[Any], Any]] = {
    "index_put_": lambda x: x.__setitem__(torch.tensor([0, 1, 7]), 1.0),
    "scatter_": lambda x: x.scatter_(0, torch.tensor([0, 7]), 1.0),
    "scatter_add_": lambda x: x.scatter_add_(0, torch.tensor([0, 7]), torch.ones(2)),
    "index_add_": lambda x: x.index_add_(0, torch.tensor([0, 7]), torch.ones(2)),
    "index_copy_": lambda x: x.index_copy_(0, torch.tensor([0, 7]), torch.ones(2)),
    "index_fill_": lambda x: x.index_fill_(0, torch.tensor([0, 7]), 1),
    "put_": lambda x: x.put_(torch.tensor([0, 7]), torch.ones(2)),
    "masked_scatter_": lambda x: x.masked_scatter_(x == 0, torch.ones(2)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_writes_change_nothing(name: str) -> None:
    x = torch.zeros(3)
    with pytest.raises((IndexError, RuntimeError)):
        REFUSED[name](x)
    assert x.tolist() == [0, 0, 0]
    assert x._version == 0


@pytest.mark.parametrize("size", [1000, 200_000])
def test_large_tensors(size: int) -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(size, 3)).astype(np.float32)
    index = rng.integers(-size, size, size)
    mask = rng.random(size) < 0.3
    x, at, where = torch.from_numpy(array), torch.from_numpy(index), torch.from_numpy(mask)
    assert np.array_equal(x[at].numpy(), array[index])
    assert np.array_equal(x[where].numpy(), array[mask])
    assert np.array_equal(x[at, 1].numpy(), array[index, 1])
    assert np.array_equal(x[:, 1][where].numpy(), array[mask, 1])
    counts = torch.zeros(size).index_put_((at,), torch.ones(()), accumulate=True)
    assert np.array_equal(counts.numpy(), np.bincount(index % size, minlength=size))
    assert np.array_equal(torch.nonzero(where)[:, 0].numpy(), np.flatnonzero(mask))
    x[where] = 0
    array[mask] = 0
    assert np.array_equal(x.numpy(), array)


def test_old_style_lists_warn_as_in_pytorch() -> None:
    x = torch.zeros(2, 3)
    with pytest.warns(UserWarning, match="non-tuple sequence for multidimensional indexing"):
        assert x[[slice(None), 0]].shape == (2,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert x[[0, 1]].shape == (2, 3)
