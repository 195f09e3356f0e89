"""Chunks: whatever the number of tasks, each element is computed once, with the same bits."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numtorch_kernels import Pointwise, drive, threads
from numtorch_kernels import symbols as s
from numtorch_kernels.build import gufunc, task
from numtorch_kernels.intrinsics import cast, zero

F4, F8 = np.dtype("f4"), np.dtype("f8")
TASKS = [1, 2, 3, 5, 64]


def in_tasks(loop: Any, tasks: int, *operands: Any, unit: int = 64) -> None:
    """Drives the loop in so many tasks, however small the operands."""
    descriptor = drive._descriptor(loop, operands, tasks, unit)
    threads.parallel_for(task(drive._run_chunk), descriptor, tasks)


def sums(count, n, x, x_outer, x_inner, out, out_outer, out_inner):  # type: ignore[no-untyped-def]
    for row in range(count):
        total = zero(out)
        for i in range(n):
            total += cast(out, x[row * x_outer + i * x_inner])
            out[row * out_outer + i * out_inner] = total


SHAPES = [(1,), (63,), (64,), (65,), (1000,), (7, 33), (2, 1, 3000), (40, 9, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_same_bits_in_any_number_of_tasks(shape: tuple[int, ...]) -> None:
    loop = Pointwise(lambda a, b: s.tanh(a) * s.exp(b) / a).loop((F4, F4))
    x = np.random.standard_normal(shape).astype(F4)
    wanted = np.empty_like(x)
    loop.ufunc(x, x[..., :1], wanted)
    for tasks in TASKS:
        for out in (np.full_like(x, 7), np.full(shape[::-1], 7, F4).T):
            in_tasks(loop, tasks, x, x[..., :1], out)
            assert np.array_equal(out, wanted), tasks


@st.composite
def operands(draw: st.DrawFn) -> list[Any]:
    """Two arrays that broadcast, of any strides, and an output for them."""
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=5))
    arrays = []
    for shape in (*shapes.input_shapes, shapes.result_shape):
        order = draw(st.permutations(range(len(shape))))
        steps = [draw(st.sampled_from([1, 2, -1])) for _ in shape]
        memory = np.random.standard_normal([shape[k] * abs(steps[k]) for k in order])
        views = tuple(slice(None, None, step) for step in steps)
        arrays.append(np.asarray(memory.transpose(np.argsort(order))[views]))
    return arrays


@given(operands(), st.sampled_from(TASKS))
def test_broadcasts(arrays: list[Any], tasks: int) -> None:
    a, b, out = arrays
    in_tasks(Pointwise(lambda x, y: x - y).loop((F8, F8)), tasks, a, b, out)
    np.testing.assert_array_equal(out, a - b)


@given(operands(), st.sampled_from(TASKS), st.sampled_from([1, 64]))
def test_core_dimensions(arrays: list[Any], tasks: int, unit: int) -> None:
    a, b, _ = arrays
    x = np.stack([a + 0 * b, b + 0 * a, a * b], -1)
    out = np.empty_like(x)
    in_tasks(gufunc(sums, "(n)->(n)", (F8, F8)), tasks, x, out, unit=unit)
    np.testing.assert_allclose(out, np.cumsum(x, -1), rtol=1e-12)


@pytest.mark.parametrize("size", [0, 1, drive.GRAIN - 1, drive.GRAIN, drive.GRAIN + 1])
def test_sizes(size: int) -> None:
    loop = Pointwise(lambda a: a + 1).loop((F4,))
    x = np.random.standard_normal(size).astype(F4)
    for work in (None, 0, 10**9):
        out = np.zeros_like(x)
        drive.drive(loop, x, out, work=work)
        np.testing.assert_array_equal(out, x + np.float32(1))


def test_outputs_that_loops_cannot_write() -> None:
    loop = Pointwise(lambda a: a * 2).loop((F4,))
    x = np.random.standard_normal(2 * drive.GRAIN).astype(F4)
    odd = np.zeros(x.nbytes + 1, np.uint8)[1:].view(F4)
    for out in (odd, np.zeros_like(x, F4.newbyteorder())):
        drive.drive(loop, x, out)
        np.testing.assert_array_equal(out, 2 * x)
    locked = np.zeros_like(x)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        drive.drive(loop, x, locked)
    assert not locked.any()


def test_a_loop_of_unknown_cost_is_known_by_its_quickest_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Launches pause after one that took far longer, and tasks then run one after the other."""
    monkeypatch.setattr(threads._State, "wanted", 2)
    monkeypatch.setattr(threads, "state", threads.state.copy())
    monkeypatch.setattr(threads._Backoff, "until", 0.0)
    judged: list[float] = []
    monkeypatch.setattr(threads, "judge", lambda started, expected: judged.append(expected))
    loop = gufunc(sums, "(n)->(n)", (F4, F4))
    monkeypatch.setattr(drive, "_least_times", {})
    x = np.ones((1024, 1024), F4)
    out = np.empty_like(x)
    launches = 3 if threads.may_enter() else 0
    for _ in range(3):
        drive.drive(loop, x, out, unit=1)
    assert len(judged) == launches
    assert judged[:1] == [drive._MOST_TIME * x.size / 2][:launches]
    (least,) = drive._least_times.values()
    assert all(expected >= least / 2 for expected in judged)
    drive.drive(loop, x[:, :512].copy(), out[:, :512], unit=1)  # other steps: another launch
    assert judged[launches:] == [drive._MOST_TIME * out[:, :512].size / 2][:launches]
    del judged[launches:]
    monkeypatch.setattr(threads._Backoff, "until", float("inf"))
    drive.drive(loop, x, out, unit=1)
    assert len(judged) == launches
    assert np.array_equal(out, np.cumsum(x, 1))
