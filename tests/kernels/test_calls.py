"""Calls that compiled code answers: what they give, what they leave to Python, what they hold."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest

import numtorch
from numtorch import Tensor
from numtorch.ops.table import TABLE
from numtorch.tensor import wrap
from numtorch_kernels import memory, threads
from numtorch_kernels.calls import callables, pythontypes
from python_calls import are_answered, in_python, python_calls

FLOATS = (0.5, -1.25, 3.0, 2.0)


@pytest.fixture(autouse=True)
def _compiled() -> None:
    callables.begin()


def vector(*, grad: bool = False, dtype: Any = None) -> Tensor:
    return numtorch.tensor(FLOATS, dtype=dtype, requires_grad=grad)


def matrix(*, grad: bool = False) -> Tensor:
    return numtorch.arange(12.0).reshape(3, 4).clone().requires_grad_(grad)


CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("add", (vector(), vector())),
    ("add", (vector(), 2.5)),
    ("add", (vector(), 2)),
    ("mul", (numtorch.tensor([1, 2, 3]), 4)),
    ("mul", (numtorch.tensor([1, 2, 3]), 0.5)),
    ("add", (numtorch.ones(3, 1), numtorch.arange(4.0))),
    ("add", (numtorch.ones(2, 3, 1), numtorch.arange(12.0).reshape(3, 4))),
    ("sub", (matrix(), numtorch.tensor(2.0))),
    ("pow", (vector(), 2)),
    ("pow", (vector(), 3.0)),
    ("pow", (vector(), 2.5)),
    ("gt", (vector(), 1.0)),
    ("exp", (vector(dtype=numtorch.float64),)),
    ("add", (matrix().t(), 1.0)),
    ("add", (numtorch.empty(0), 1.0)),
    ("sum", (matrix(),)),
    ("sum", (matrix(), 0)),
    ("sum", (matrix(), -1, True)),
    ("sum", (numtorch.tensor([True, False, True]),)),
    ("mean", (matrix(), 1)),
    ("amax", (matrix(), 0)),
    ("any", (matrix() > 3,)),
    ("sum", (numtorch.ones(40, 3), 0)),
    ("sum", (numtorch.ones(3, 40), 1)),
    ("sum", (numtorch.arange(24.0).reshape(2, 3, 4), 1)),
    ("mm", (matrix(), matrix().t())),
    ("mm", (matrix(), numtorch.ones(4, 1))),
    ("mm", (numtorch.ones(1, 3), matrix())),
    ("mm", (matrix().t(), matrix())),
    ("t", (matrix(),)),
    ("view", (matrix(), 2, 6)),
    ("view", (matrix(), (2, 6))),
    ("view", (matrix(), -1, 3)),
    ("view", (matrix(), numtorch.Size((4, 3)))),
    ("view", (numtorch.empty(0, 3), 3, -1)),
    ("view", (matrix().t(), 4, 3, 1)),
    ("view", (numtorch.tensor(2.0), ())),
    ("select", (matrix(), 0, 1)),
    ("cat", ([vector(), vector()],)),
    ("argmax", (matrix(), 1)),
    ("argmax", (matrix(), 0, True)),
    ("argmax", (numtorch.tensor([[1.0, 3.0, 3.0], [2.0, float("nan"), float("nan")]]), 1)),
    ("argmin", (matrix(),)),
    ("argmin", (numtorch.arange(24).reshape(2, 3, 4) % 5, -2)),
    ("argmin", (numtorch.arange(4000.0).reshape(400, 10), 1)),
    ("argmax", (numtorch.tensor(3.0),)),
    ("argmax", ((numtorch.arange(9000.0) * 0.37).sin(),)),
    ("argmin", ((numtorch.arange(40_000.0) * 0.37).sin(),)),
    ("cat", ([matrix(), matrix()[:2]],)),
    ("cat", ((matrix(), matrix()[:, :1].contiguous()), -1)),
    ("cat", ([matrix()[:, :3], matrix().t()[:, :3]], 0)),
    ("cat", ([vector(), vector(dtype=numtorch.float64)],)),
    ("cat", ([numtorch.empty(0), matrix()],)),
    ("stack", ([vector(), vector()],)),
    ("stack", ([matrix(), matrix() + 1, matrix()], 1)),
    ("stack", ([matrix(), matrix() + 1], -1)),
    ("stack", ((numtorch.tensor(1), numtorch.tensor(2)),)),
    ("dot", (vector(), vector())),
    ("dot", (vector(), vector().flip(0))),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=lambda value: str(value)[:24])
def test_compiled_and_python_give_the_same(name: str, arguments: tuple[Any, ...]) -> None:
    method = getattr(Tensor, name, TABLE[name].method)
    method(*arguments)  # Python makes the plan
    result, expected = method(*arguments), in_python(name)(*arguments)
    assert result.dtype is expected.dtype
    assert result.shape == expected.shape
    assert result.stride() == expected.stride()
    np.testing.assert_array_equal(result.numpy(), expected.numpy())
    assert (result._view is None) == (expected._view is None)


PARTS: list[tuple[str, tuple[Any, ...]]] = [
    ("split", (2,)),
    ("split_with_sizes", ([1, 2],)),
    ("split_with_sizes", ((3, 1), 1)),
    ("split_with_sizes", ([3], 0)),
    ("unbind", ()),
    ("unbind", (-1,)),
]


@pytest.mark.parametrize(("name", "others"), PARTS, ids=str)
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("recording", [False, True])
def test_parts_are_those_of_python(
    name: str, others: tuple[Any, ...], grad: bool, recording: bool
) -> None:
    x = matrix(grad=grad) * 1
    for source in (x, x[0:], x.detach()):
        with numtorch.set_grad_enabled(recording):
            results = TABLE[name].method(source, *others)
            expected = in_python(name)(source, *others)
        assert type(results) is type(expected)
        assert len(results) == len(expected)
        for result, other in zip(results, expected, strict=True):
            assert (result.dtype, result.shape) == (other.dtype, other.shape)
            assert (result.stride(), result.data_ptr()) == (other.stride(), other.data_ptr())
            assert (result.requires_grad, result.is_leaf) == (other.requires_grad, other.is_leaf)
            assert result._view is not None
            assert result._view.base is other._view.base
            assert result._view.kind == other._view.kind
            assert result._version_counter is x._version_counter


def test_one_of_several_views_is_not_changed_where_that_is_recorded() -> None:
    first, _ = matrix().split([1, 2])
    first.zero_()
    with pytest.raises(RuntimeError, match="multiple views"):
        first.add_(matrix(grad=True)[:1])


INDICES: list[Any] = [
    1, -1, slice(1, None), slice(None), slice(-2, None), slice(0, 3, 2), slice(2, 1),
    (slice(None), 1), (1, slice(1, 3)), (..., 0), (0, ...), (slice(1, 99), slice(-99, 2)),
    (slice(None), slice(None, None, 3)), (1, 2), None, (None, 1), True, [0, 1],
    (slice(None), [0, 2]), slice(True, 2), numtorch.tensor(1), (0, None, slice(1, 2)), (None, 2, 1),
    (..., 2, 1), (-1, -1), (None, None), (1, None, 1),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("grad", [False, True])
def test_items_are_those_of_python(index: Any, grad: bool) -> None:
    x = matrix(grad=grad)
    expected = pythontypes.wrapped(Tensor.__getitem__)(x, index)
    for _ in range(2):
        result = x[index]
        assert result.shape == expected.shape
        assert result.stride() == expected.stride()
        assert result.requires_grad == grad
        np.testing.assert_array_equal(result.detach().numpy(), expected.detach().numpy())
        assert (result._view is None) == (expected._view is None)


def test_parts_share_memory_and_versions() -> None:
    x = matrix()
    part = x[:, 1:3][1]
    part.add_(10.0)
    np.testing.assert_array_equal(x.numpy()[1, 1:3], [15.0, 16.0])
    assert part._version == x._version == 1
    assert part._view is not None
    assert part._view.base is x


@pytest.mark.parametrize(
    "index", [3, -4, (0, 4), (0, 0, slice(None)), slice(None, None, -1), 1 << 70]
)
def test_indices_that_python_refuses(index: Any) -> None:
    x = matrix()
    with pytest.raises((IndexError, ValueError, RuntimeError, OverflowError)) as compiled:
        x[index]
    with pytest.raises(compiled.type) as python:
        pythontypes.wrapped(Tensor.__getitem__)(x, index)
    assert str(compiled.value) == str(python.value)


def test_small_calls_do_not_enter_python(monkeypatch: pytest.MonkeyPatch) -> None:
    x, m, w = vector(grad=True), matrix(), vector()

    def calls() -> None:
        y = (x * x + 1).exp() - 2 * x
        (y.sum() / 3 + x.mean()).detach()
        w.add_(1.0)
        m[1], m.t(), m.view(12), m @ m.t(), m.sum(0), w.dot(w), m.argmax(1)
        numtorch.cat([w, w]), numtorch.stack((m, m), 1), numtorch.nn.functional.linear(m, m, w[:3])
        m[:, 1:], numtorch.bmm(m.unsqueeze(0), m.t().unsqueeze(0))

    calls()
    seen = python_calls(monkeypatch)
    calls()
    assert seen == []
    m.t() * 2.0  # which has another layout
    assert seen == ["mul"]


def test_nodes_are_those_of_python() -> None:
    def graph(y: Tensor) -> list[Any]:
        rest, found = [y.grad_fn], []
        while rest:
            node = rest.pop()
            if node is None or not hasattr(node, "likes"):
                continue
            found.append((type(node), node.likes, node.versions, len(node.saved), node.outputs))
            rest += [each for each, _ in node.next_functions]
        return found

    def compute(x: Tensor, w: Tensor) -> Tensor:
        return ((x @ w).tanh() * 2 + x[1].sum()).mean(0).norm()

    x, w = matrix(grad=True), numtorch.ones(4, 2, requires_grad=True)
    first = graph(compute(x, w))
    assert graph(compute(x, w)) == first
    assert {kind.__name__ for kind, *_ in first} >= {
        "MmBackward0", "TanhBackward0", "MulBackward0", "SumBackward0", "MeanBackward1",
        "SelectBackward0", "AddBackward0", "LinalgVectorNormBackward0",
    }  # fmt: skip


def test_gradients_are_those_of_python() -> None:
    def gradients(create_graph: bool) -> list[np.ndarray[Any, Any]]:
        x, w = matrix(grad=True), vector(grad=True)
        y = numtorch.tanh(x * w + x / 3).sum(0) ** 2
        grads = numtorch.autograd.grad(y.sum(), (x, w), create_graph=create_graph)
        return [each.detach().numpy() for each in grads]

    in_a_graph, first, again = gradients(True), gradients(False), gradients(False)
    for one, two, three in zip(in_a_graph, first, again, strict=True):
        np.testing.assert_array_equal(two, three)
        np.testing.assert_allclose(one, two, rtol=1e-6)


@pytest.mark.parametrize("size", [1 << 16, (1 << 19) + 3])
def test_large_gradients_are_those_of_python(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    threads.set_num_threads(2)
    a, b = (numtorch.rand(size, requires_grad=True) for _ in range(2))
    kind = type(TABLE["mul"])
    python, seen, found = kind.backward, [], []

    def watched(op: Any, *rest: Any) -> Any:
        seen.append(op.name)
        return python(op, *rest)

    monkeypatch.setattr(kind, "backward", watched)
    for _ in range(5):
        a.grad = b.grad = None
        seen.clear()
        ((a * b + 2.0).tanh() * (a > 0.5)).sum().backward()
        found.append((a.grad.numpy().copy(), b.grad.numpy().copy()))  # blocks go back to the pool
    slope = 1 - np.tanh((a * b + 2.0).detach().numpy().astype(np.float64)) ** 2
    slope = np.where(a.detach().numpy() > 0.5, slope, 0)
    np.testing.assert_allclose(found[0][1], slope * a.detach().numpy(), rtol=1e-4, atol=1e-6)
    for grads in found[1:]:
        np.testing.assert_array_equal(grads, found[0])
    if threads.state[threads.WORKERS]:
        assert seen == []


def test_without_recording_nothing_is_recorded() -> None:
    x = vector(grad=True)
    x * x, x[1:]
    with numtorch.no_grad():
        assert (x * x).grad_fn is None
        assert x.view(2, 2)._view.kind == "no_grad"
    with numtorch.inference_mode():
        assert x.view(2, 2)._view.kind == ""
    assert (x * x).grad_fn is not None


def test_changes_after_saving_are_refused() -> None:
    x, w = vector(grad=True), vector()
    for _ in range(3):
        y = (x * w).sum()
        w.mul_(2.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()


def test_a_graph_is_run_once() -> None:
    x = vector(grad=True)
    for _ in range(3):
        y = (x * x).sum()
        y.backward()
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            y.backward()


def test_changes_in_place() -> None:
    x = vector()
    for count in range(1, 4):
        x += 1.0
        assert x._version == count
    part = x[1:]
    part.add_(x[:-1])  # which overlap
    shared = np.array(FLOATS, np.float32) + 3
    expected = shared.copy()
    expected[1:] += shared[:-1]
    np.testing.assert_array_equal(x.numpy(), expected)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        vector(grad=True).add_(1.0)
    whole = numtorch.tensor([1, 2])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="can't be cast"):
            whole.mul_(0.5)


@pytest.mark.parametrize("name", ["mul_", "floor_divide_", "remainder_"])
def test_leaves_that_require_gradients_are_not_changed(name: str) -> None:
    """Also by rows without derivatives."""
    for _ in range(2):
        getattr(vector(), name)(2.0)
    x = vector(grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        getattr(x, name)(2.0)
    assert x.tolist() == list(FLOATS)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300, 2**70, -(2**62), True])
def test_unusual_numbers(number: Any) -> None:
    x = vector()
    x * 1.0, x * 1
    result, expected = x * number, in_python("mul")(x, number)
    assert result.dtype is expected.dtype
    np.testing.assert_array_equal(result.numpy(), expected.numpy())


def test_errors_are_those_of_python() -> None:
    x = vector()
    x + x, x.sum(0), matrix() @ matrix().t()
    for call, error, message in (
        (lambda: x + numtorch.ones(3), RuntimeError, "size of tensor a \\(4\\) must match"),
        (lambda: x + "a", TypeError, "unsupported operand"),
        (lambda: x.sum(1), IndexError, "Dimension out of range"),
        (lambda: x.sum(0, False, 3, 4), TypeError, "takes from 1 to 3"),
        (lambda: matrix() @ matrix(), RuntimeError, "mat1 and mat2 shapes"),
        (lambda: matrix()[3], IndexError, "index 3 is out of bounds"),
        (lambda: x.exp(x), TypeError, "positional"),
        (lambda: numtorch.exp(3), TypeError, "must be Tensor, not int"),
    ):
        with pytest.raises(error, match=message):
            call()


def test_references_are_given_back() -> None:
    x, w, m = vector(grad=True), vector(), matrix()

    def calls() -> None:
        y = (x * w + x) * 2.0
        y.sum().backward()
        m[1], m.t(), m.view(2, 6), m.sum(0), m @ m.t(), numtorch.cat([w, w]), w.add_(1.0)
        with pytest.raises(RuntimeError):
            w + numtorch.ones(3)

    held: list[Any] = [
        x,
        w,
        m,
        x._array,
        w._array,
        m._array,
        x.dtype,
        False,
        None,
        numtorch.no_grad,
    ]
    calls()
    calls()
    before = [sys.getrefcount(each) for each in held]
    for _ in range(100):
        calls()
    after = [sys.getrefcount(each) for each in held]
    grown = [b - a for a, b in zip(before, after, strict=True)]
    assert max(grown) < 50, grown  # None and False are Python's own, too


def test_callables_are_like_functions() -> None:
    assert numtorch.add.__name__ == "add"
    assert pickle.loads(pickle.dumps(numtorch.exp)) is numtorch.exp
    assert copy.deepcopy(numtorch.exp) is numtorch.exp

    class Holds:
        activation = numtorch.relu  # no method, as PyTorch's are none

    assert Holds().activation(vector()).tolist() == [0.5, 0.0, 3.0, 2.0]
    x = vector()
    assert x.add.__self__ is x
    assert numtorch.add(x, other=x).tolist() == (x + x).tolist()


def test_subclasses_of_tensors() -> None:
    class Own(Tensor):
        pass

    x = numtorch.nn.Parameter(vector())
    y = vector().as_subclass(Own) if hasattr(Tensor, "as_subclass") else x
    for _ in range(2):
        assert type(x * y) is Tensor
        assert (x * y).requires_grad


def test_large_calls_share_memory_and_work_as_python_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads.set_num_threads(2)
    size = 1 << 19
    x, column, row = numtorch.rand(size), numtorch.rand(2048, 1), numtorch.rand(256)
    block = numtorch.rand(2048, 256)

    def results() -> list[Tensor]:
        return [x * 2.0, x + x, x.exp(), block + row, column * row, x.double(), x > 0.5, x.mul(1.0)]

    expected = [y.numpy().copy() for y in results()]  # in Python, which launches the loops
    assert are_answered(results, monkeypatch) or sys.platform != "linux"
    held_by_pool, addresses = memory.cached_bytes(), set[int]()
    for _ in range(3):
        again = results()
        addresses |= {y.data_ptr() for y in again}
        for y, values in zip(again, expected, strict=True):
            np.testing.assert_array_equal(y.numpy(), values)
        del again, y
    assert len(addresses) == len(expected)
    assert memory.cached_bytes() == held_by_pool
    held = x + x
    assert (x + x).data_ptr() != held.data_ptr()
    part = held[10:]
    del held
    assert (x + x).data_ptr() + 40 != part.data_ptr()  # a view keeps the block


def test_plans_know_loops_that_were_launched_before(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.set_num_threads(2)
    x = numtorch.rand(1 << 18)
    x - x, x - x, x - 0.125, x - 0.125
    if not threads.state[threads.WORKERS]:
        pytest.skip("compiled calls use no threads on this system")
    seen = python_calls(monkeypatch)
    x - 0.125
    assert seen == []


def test_a_large_call_that_has_to_wait_has_launches_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.set_num_threads(2)
    x = numtorch.rand(1 << 18)
    x + x, x + x
    if not threads.state[threads.WORKERS]:
        pytest.skip("compiled calls use no threads on this system")
    expected = (x + x).numpy().copy()
    monkeypatch.setattr(threads._Backoff, "pause", threads.SHORTEST_PAUSE)
    threads.back_off()
    assert threads.state[threads.UNTIL] > 0
    np.testing.assert_array_equal((x + x).numpy(), expected)
    threads.state[threads.UNTIL] = 0
    monkeypatch.setattr(threads._Backoff, "until", 0.0)


def test_while_launches_pause_compiled_code_goes_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.set_num_threads(2)
    x, line = numtorch.rand(300, 300), numtorch.rand(1 << 18)
    calls = [lambda: line + line, lambda: x @ x, lambda: line.dot(line), lambda: line.sum()]
    expected = [[call(), call(), call()][2].numpy() for call in calls]
    if not threads.state[threads.WORKERS]:
        pytest.skip("compiled calls use no threads on this system")
    seen = python_calls(monkeypatch)
    threads.state[threads.UNTIL] = np.iinfo(np.int64).max
    try:
        results = [call().numpy() for call in calls]
    finally:
        threads.state[threads.UNTIL] = 0
    assert seen == []
    for result, before in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, before)


def test_a_forked_process_stays_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    x = numtorch.rand(1 << 18)
    expected = (x + x).numpy().copy()
    monkeypatch.setattr(threads._State, "forked", True)
    threads._publish()
    try:
        assert threads.state[threads.WORKERS] == (sys.platform == "linux")
        np.testing.assert_array_equal((x + x).numpy(), expected)
    finally:
        monkeypatch.undo()
        threads._publish()


def test_one_thread_needs_no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.set_num_threads(1)
    x, line = numtorch.rand(130, 130), numtorch.rand(1 << 18)
    stack = numtorch.rand(4, 90, 90)
    calls = [
        lambda: line + line, lambda: x @ x, lambda: line.dot(line), lambda: line.sum(),
        lambda: stack @ stack[0],
    ]  # fmt: skip
    expected = [[call(), call(), call()][2].numpy() for call in calls]
    if not threads.state[threads.WORKERS]:
        pytest.skip("compiled calls use no threads on this system")
    seen = python_calls(monkeypatch)
    results = [call().numpy() for call in calls]
    assert seen == []
    for result, before in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, before)


def test_equal_dtypes_need_not_be_the_same_object() -> None:
    dtype = np.dtype(np.float32).newbyteorder("=")
    assert dtype is not np.dtype(np.float32)
    x, y = (wrap(np.random.rand(4, 4).astype(dtype), numtorch.float32) for _ in range(2))
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("bmm", (x[None], y[None])), ("linear", (x, y)), ("cat", ([x, y],)), ("stack", ([x, y],)),
        ("mm", (x, y)), ("dot", (x[0], y[1])), ("argmax", (x, 1)), ("sum", (x, 0)), ("add", (x, y)),
    ]  # fmt: skip
    for name, arguments in calls:
        expected = in_python(name)(*arguments).numpy()
        for _ in range(3):
            np.testing.assert_array_equal(TABLE[name].method(*arguments).numpy(), expected)
