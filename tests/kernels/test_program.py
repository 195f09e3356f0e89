"""Launches that are put off and run as one program give the bits that they give one by one."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numtorch_kernels import (
    Pointwise,
    argreduce,
    copying,
    interim,
    matmul,
    norm,
    reduce,
    threads,
)
from numtorch_kernels import symbols as s
from numtorch_kernels.deferral import deferred_to, deferring, require, settle, settled
from numtorch_kernels.launches import LaunchQueue
from numtorch_kernels.program import Program

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]
F32 = np.dtype("f4")


@pytest.fixture(scope="module", params=["compiled", "in Python"], autouse=True)
def interpreter(request: pytest.FixtureRequest) -> Iterator[None]:
    """Programs run by the compiled interpreter, or as they do until it is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "compiled":
            patch.setattr(interim, "MOST_CALLS", 0)
        else:
            patch.setattr(interim, "MOST_CALLS", sys.maxsize)
            patch.setattr("numtorch_kernels.program.LASTING", sys.maxsize)
            patch.setattr("numtorch_kernels.program._are_at_hand", lambda codes: False)
        yield


def refuse(steps: Any) -> None:
    raise AssertionError("nothing here looks at values")


def recorded(function: Function, inputs: Sequence[Array]) -> tuple[Program, list[Array]]:
    """The program of what a function launches, and its results, which have no values yet."""
    queue = LaunchQueue(refuse)
    with deferred_to(queue) as mine:
        assert mine
        results = function(*inputs)
    outputs = list(results) if isinstance(results, tuple) else [results]
    return Program(queue.steps, inputs, outputs), outputs


def fresh(arrays: Sequence[Array], seed: int) -> list[Array]:
    """Arrays like these with other values."""
    random = np.random.default_rng(seed)
    return [random.standard_normal(x.shape).astype(x.dtype) for x in arrays]


def assert_program_is_eager(function: Function, *inputs: Array) -> Program:
    """Check a program on the arrays of the recording and on others."""
    copies = [x.copy() for x in inputs]
    program, outputs = recorded(function, inputs)
    arrays = list(inputs)
    for seed in range(3):
        assert program.run((*arrays, *outputs)) == 0
        expected = function(*copies)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for one, other in zip([*outputs, *arrays], [*expected, *copies], strict=True):
            np.testing.assert_array_equal(one, other)
        arrays = fresh(inputs, seed)
        copies = [x.copy() for x in arrays]
        outputs = [np.empty_like(x) for x in outputs]
    return program


add = Pointwise(lambda a, b: a + b, "add")
mul = Pointwise(lambda a, b: a * b, "mul")
bent = Pointwise(lambda a: s.tanh(a) * 0.5, "bent")
larger = Pointwise(lambda a, b: s.where(a > b, a, b), "larger")


def normal(*shape: int, dtype: str = "f4") -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def stages(program: Program) -> list[tuple[int, str]]:
    """The group and the name of the loop of each stage."""
    return [(report.group, report.loop.name) for report in program.reports]


# ---------------------------------------------------------------------- what is fused


def test_a_chain_is_one_loop() -> None:
    program = assert_program_is_eager(
        lambda a, b: bent(add(mul(a, b), a)), normal(50, 70), normal(50, 70)
    )
    assert stages(program) == [(0, "pointwise")]


def test_broadcasting_within_a_chain() -> None:
    program = assert_program_is_eager(
        lambda a, row, column: bent(add(mul(a, row), column)),
        normal(50, 70),
        normal(70),
        normal(50, 1),
    )
    assert stages(program) == [(0, "pointwise")]


def test_short_rows_run_along_the_long_dimension() -> None:
    assert_program_is_eager(lambda a, b: add(mul(a, b), b), normal(5000, 3), normal(3))
    assert_program_is_eager(lambda a, b: add(mul(a, b), b), normal(4, 1000, 3), normal(3))


@pytest.mark.parametrize("n", [200_000, 8192 * 20, 1_000_003])
def test_a_long_sum_joins_its_chain_chunk_by_chunk(n: int) -> None:
    program = assert_program_is_eager(
        lambda a, b: reduce.sum(bent(mul(a, b)), (0,)), normal(n), normal(n)
    )
    assert stages(program) == [(0, "pointwise"), (0, "rows"), (1, "rows")]


def test_rows_join_what_is_before_and_behind() -> None:
    program = assert_program_is_eager(
        lambda x: mul(norm.softmax(bent(x), 1), bent(x)), normal(60, 100)
    )
    assert [group for group, _ in stages(program)] == [0, 0, 0]


def test_a_product_takes_what_follows_row_by_row() -> None:
    def layer(x: Array, w: Array, b: Array) -> Array:
        return larger(matmul.linear(x, w, b), np.zeros((), F32))

    program = assert_program_is_eager(layer, normal(64, 100), normal(50, 100), normal(50))
    assert stages(program) == [(0, "multiply_in_place"), (0, "pointwise")]


def test_a_sum_over_rows_ends_a_group() -> None:
    program = assert_program_is_eager(lambda x: reduce.sum(bent(x), (0,)), normal(60, 100))
    assert stages(program) == [(0, "pointwise"), (1, "columns")]


def test_copies_in_between_are_left_out() -> None:
    def function(x: Array) -> Array:
        return copying.contiguous(norm.softmax(x, 1))

    program = assert_program_is_eager(function, normal(60, 100))
    assert stages(program) == [(0, "softmax_rows")]


def test_what_nobody_needs_is_not_computed() -> None:
    def function(x: Array) -> Array:
        bent(x)
        return add(x, x)

    assert len(assert_program_is_eager(function, normal(9)).reports) == 1


# ---------------------------------------------------------------------- memory


def test_changes_of_inputs() -> None:
    def function(x: Array, y: Array) -> Array:
        add(x, y, out=x)
        mul(x, y, out=y)
        return add(x, y)

    assert_program_is_eager(function, normal(30), normal(30))


def test_an_element_is_not_read_after_it_was_changed() -> None:
    def function(x: Array) -> tuple[Array, Array]:
        before = add(x, x)
        mul(x, x, out=x)
        return before, add(before, x)

    assert_program_is_eager(function, normal(30))


def test_parts_of_memory_that_starts_with_zeros() -> None:
    def function(x: Array) -> Array:
        zeros = np.zeros((6, 10), F32)
        copying.copy_into(zeros[1:3], x)
        copying.copy_into(zeros[:, 3:5], add(x, x)[:, :1])
        return add(zeros, zeros)

    def shaped(x: Array) -> Array:
        zeros = np.zeros((4, 10), F32)
        copying.copy_into(zeros[1:3], x)
        return add(zeros, zeros)

    assert_program_is_eager(shaped, normal(2, 10))


def test_transposed_and_reversed_operands() -> None:
    assert_program_is_eager(lambda a, b: add(bent(a.T), b), normal(40, 30), normal(30, 40))
    assert_program_is_eager(lambda a: add(a[::-1], a), normal(40))


def test_results_may_be_several_and_of_other_dtypes() -> None:
    def function(x: Array) -> Any:
        values, places = argreduce.max(x, 1)
        return values, places, reduce.amin(x, (0, 1)), reduce.any(x, (0,))

    assert_program_is_eager(function, normal(20, 50))


def test_arrays_of_no_elements() -> None:
    assert_program_is_eager(lambda x: reduce.sum(add(x, x), (0,)), normal(0, 5))
    assert_program_is_eager(lambda x: add(x, x), normal(0, 5))


# ---------------------------------------------------------------------- what arrays are accepted


def test_an_array_of_another_form_is_refused_and_nothing_runs() -> None:
    inputs = normal(4, 6), normal(6)
    program, (out,) = recorded(add, inputs)
    assert program.run((*inputs, out)) == 0
    before = out.copy()
    wrong: list[tuple[int, Array]] = [
        (1, normal(4, 7)),
        (1, normal(4, 6, dtype="f8")),
        (1, normal(6, 4).T),
        (1, normal(24)),
        (2, normal(5)),
        (2, normal(12)[::2]),
    ]
    for number, array in wrong:
        arrays = [*inputs, out]
        arrays[number - 1] = array
        assert program.run(tuple(arrays)) == number
    np.testing.assert_array_equal(out, before)


def test_an_array_that_is_changed_may_not_overlap_another() -> None:
    def function(x: Array, y: Array) -> Array:
        add(x, y, out=x)
        return mul(x, y)

    program, (out,) = recorded(function, (normal(8), normal(8)))
    memory = normal(20)
    assert program.run((memory[:8], memory[8:16], out)) == 0
    assert program.run((memory[:8], memory[4:12], out)) == 1


# ---------------------------------------------------------------------- requirements, values


def test_what_follows_a_requirement_runs_only_if_it_holds() -> None:
    def function(x: Array, y: Array) -> Array:
        require(reduce.all(x, (0,)), lambda: None)
        add(y, x, out=y)
        return mul(y, y)

    x, y = np.ones(5, F32), np.zeros(5, F32)
    program, (out,) = recorded(function, (x, y))
    assert program.run((x, y, out)) == 0
    assert y.tolist() == [1.0] * 5
    x[3] = 0
    assert program.run((x, y, out)) == -1
    assert y.tolist() == [1.0] * 5


def test_settling_runs_what_was_put_off() -> None:
    ran: list[int] = []

    def execute(steps: Any) -> None:
        ran.append(len(steps))
        for step in steps:
            step.loop.ufunc(*step.operands)

    x = np.ones(3, F32)
    queue = LaunchQueue(execute)
    with deferred_to(queue):
        assert deferring()
        y = add(x, x)
        settle()
        assert y.tolist() == [2.0] * 3
        with settled():
            assert not deferring()
            assert add(y, y).tolist() == [4.0] * 3
        assert deferring()
        with deferred_to(LaunchQueue(refuse)) as mine:
            assert not mine
    assert not deferring()
    assert ran == [1]
    assert add(x, x).tolist() == [2.0] * 3


# ---------------------------------------------------------------------- until it is compiled


def test_a_program_takes_the_compiled_interpreter_once_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interim, "MOST_CALLS", sys.maxsize)
    monkeypatch.setattr("numtorch_kernels.program._are_at_hand", lambda codes: False)
    x = np.arange(5, dtype=F32)
    program, (out,) = recorded(lambda x: mul(add(x, x), x), (x,))
    told: list[Any] = []
    program.compile()
    program.follow_entry(told.append)
    (meanwhile,) = told
    assert meanwhile(program.address, (x, out)) == 0
    assert out.tolist() == [0.0, 2.0, 8.0, 18.0, 32.0]
    assert len(told) == 1
    monkeypatch.setattr("numtorch_kernels.program._are_at_hand", lambda codes: True)
    assert meanwhile(program.address, (x, out)) == 0
    x += 1
    _, entry = told
    assert entry(program.address, (x, out)) == 0
    assert out.tolist() == [2.0, 8.0, 18.0, 32.0, 50.0]


def test_runs_in_python_call_for_the_compiled_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr("numtorch_kernels.program._compile_meanwhile", called.append)
    monkeypatch.setattr("numtorch_kernels.program._are_at_hand", lambda codes: False)
    monkeypatch.setattr("numtorch_kernels.program._runs", itertools.count(1))
    monkeypatch.setattr("numtorch_kernels.program.LASTING", 3)
    monkeypatch.setattr(interim, "MOST_CALLS", sys.maxsize)
    x = np.ones(5, F32)
    program, (out,) = recorded(lambda x: add(x, x), (x,))
    for expected in (0, 0, 1, 2):
        assert program.run((x, out)) == 0
        assert len(called) == expected
    names = [code.name.rpartition("_")[0] for code in called[0]]
    assert names == ["run_share", "run_program"]


def test_a_long_program_waits_for_the_compiled_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interim, "run_program", refuse)
    monkeypatch.setattr("numtorch_kernels.program._are_at_hand", lambda codes: False)
    monkeypatch.setattr(interim, "MOST_CALLS", 5)
    x = np.ones((9, 8, 40), F32)[:, ::2]
    program, (out,) = recorded(lambda x: add(x, x), (x,))
    assert program.run((x, out)) == 0
    assert (out == 2).all()


# ---------------------------------------------------------------------- any program


class Choices:
    """Numbers that are drawn once, and then given again in the same order."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._made: list[int] = []
        self._place: int | None = None

    def below(self, count: int) -> int:
        """A number from 0 on."""
        if self._place is None:
            self._made.append(self._data.draw(st.integers(0, count - 1)))
            return self._made[-1]
        self._place += 1
        return self._made[self._place - 1]

    def among(self, elements: Sequence[Any]) -> Any:
        """One of several things."""
        return elements[self.below(len(elements))]

    def again(self) -> Choices:
        """The same choices from the start."""
        self._place = 0
        return self


def _pointwise(pick: Choices, known: list[Array]) -> Array:
    a, b = pick.among(known), pick.among(known)
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        b = a
    return pick.among([add, mul, larger])(a, b)


def _reduced(pick: Choices, known: list[Array]) -> Array:
    x = pick.among([x for x in known if x.ndim])
    how = pick.among([reduce.sum, reduce.amax, reduce.mean])
    return how(x, (pick.below(x.ndim),), bool(pick.below(2)))


def _product(pick: Choices, known: list[Array]) -> Array:
    x = pick.among([x for x in known if x.ndim == 2])
    return matmul.matmul(x, x.T) if pick.below(2) else matmul.matmul(x.T, x)


def _in_place(pick: Choices, known: list[Array]) -> Array:
    x = pick.among(known)
    y = pick.among([y for y in known if y.shape == x.shape])
    return pick.among([add, larger])(x, y, out=x)


def _softmax(pick: Choices, known: list[Array]) -> Array:
    x = pick.among([x for x in known if x.ndim])
    return norm.softmax(x, pick.below(x.ndim))


def _view(pick: Choices, known: list[Array]) -> Array:
    x = pick.among([x for x in known if x.ndim])
    return pick.among([x.T, x[::-1], x[:1], x[..., None]])


def _copied(pick: Choices, known: list[Array]) -> Array:
    return copying.contiguous(pick.among(known))


MOVES = [_pointwise, _pointwise, _reduced, _product, _in_place, _softmax, _view, _copied]


def played(moves: Sequence[Any], pick: Choices, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """All results of moves, each made with what is known by then."""
    known = list(inputs)
    for move in moves:
        result = move(pick, known)
        if result.ndim <= 3 and result.size < 200_000:
            known.append(result)
    return tuple(known[len(inputs) :])


@pytest.mark.parametrize("count", [1, 2])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_program(count: int, data: Any) -> None:
    """The same moves eagerly and put off; the largest sizes are worth several tasks."""
    sizes = data.draw(st.sampled_from([(3, 4), (40, 7), (300, 200)]))
    moves = data.draw(st.lists(st.sampled_from(MOVES), min_size=1, max_size=8))
    inputs = [np.abs(x) / 10 for x in fresh([np.empty(sizes, F32), np.empty(sizes[1:], F32)], 1)]
    eager = [x.copy() for x in inputs]
    pick = Choices(data)
    expected = played(moves, pick, eager)
    before = threads.get_num_threads()
    threads.set_num_threads(count)
    try:
        program, results = recorded(lambda *arrays: played(moves, pick.again(), arrays), inputs)
        assert program.run((*inputs, *results)) == 0
    finally:
        threads.set_num_threads(before)
    for one, other in zip([*results, *inputs], [*expected, *eager], strict=True):
        np.testing.assert_array_equal(one, other)
