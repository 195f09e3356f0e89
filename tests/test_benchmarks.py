"""Every row of the benchmarks computes the same on all libraries, and the runners run."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import compiled
import first_calls
import memory
import numtorch
from compiled_rows import COMPILED_ROWS
from report import Result, agree, joined, markdown
from rows import ROWS, Row
from scaling_rows import SCALING_ROWS
from small_rows import SMALL_ROWS
from turns import renew
from worker import digest, namespace_of

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SHORTEST = ("--seconds", "0.001")  # turns
LARGE = ("16M", "2048 x 2048", "batch 256")
SMALLER = [row for row in ROWS if not any(size in row.group for size in LARGE)]
STEPS = [row for row in COMPILED_ROWS if not any(size in row.group for size in ("1M", "16M"))]


def assert_close(ours: list[np.ndarray], theirs: list[np.ndarray], name: str = "") -> None:
    for one, other in zip(ours, theirs, strict=True):
        tolerance = 1e-4 * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=tolerance, err_msg=name)


def run(runner: str, *options: str) -> str:
    """What a runner prints."""
    command = [sys.executable, BENCHMARKS / f"{runner}.py", *options]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "DIFFER" not in finished.stdout
    return finished.stdout


def test_names_are_unique() -> None:
    rows = [*ROWS, *COMPILED_ROWS, *SCALING_ROWS, *SMALL_ROWS]
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize("row", [*SMALLER, *STEPS, *SMALL_ROWS], ids=lambda row: row.name)
def test_numtorch_computes_what_pytorch_computes(row: Row, oracle: ModuleType) -> None:
    ours = row.first_answer(numtorch, row.namespace(numtorch))
    assert_close(ours, row.first_answer(oracle, row.namespace(oracle)))


@pytest.mark.slow
@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_compiled_steps_give_the_bits_of_eager_ones(row: Row) -> None:
    eager = row.first_answer(numtorch, namespace_of(row, numtorch, compiles=False))
    compiles = namespace_of(row, numtorch, compiles=True)
    replayed = row.first_answer(numtorch, compiles)
    for one, other in zip(replayed, eager, strict=True):
        np.testing.assert_array_equal(one, other)
    report = compiles["step"].explain()
    assert report.graphs
    assert not report.breaks


def test_numpys_words_mean_the_same(oracle: ModuleType) -> None:
    for row in SMALLER:
        if row.numpy is not None:
            numpys = row.first_answer(np, row.namespace(np))
            assert_close(numpys, row.first_answer(oracle, row.namespace(oracle)), row.name)


def test_tables_are_aligned() -> None:
    assert markdown(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_small_parts_of_an_answer_are_compared_too() -> None:
    loss, gradient = np.full(1, 7.0), np.linspace(-1e-5, 1e-5, 1000)
    assert agree(digest([loss, gradient]), digest([loss * (1 + 1e-6), gradient + 1e-12]))
    assert not agree(digest([loss, gradient]), digest([loss, gradient * 1.01]))
    assert not agree(digest([loss, gradient]), digest([loss, gradient + 1e-7]))
    assert not agree(digest([loss, gradient]), digest([loss, gradient[:-1]]))
    assert not agree(digest([loss]), digest([loss * np.nan]))


def results_of_steps() -> list[Result]:
    """Two made-up results: in the second torch.compile failed and numtorch.compile erred."""
    times = {"torch": [4e-6], "torch.compile": [8e-6], "numtorch": [1e-6], compiled.OURS: [2e-6]}
    answers = {variant: [1.0, 1.0, 1] for variant in times}
    failed = {variant: times[variant] for variant in times if variant != "torch.compile"}
    erring = {**answers, compiled.OURS: [1.0 + 1e-9, 1.0, 1]}
    return [
        Result(COMPILED_ROWS[0], times, {}, answers),
        Result(COMPILED_ROWS[1], failed, {"torch.compile": "Error: no compiler"}, erring),
    ]


def test_ratios_are_to_the_compiled_step() -> None:
    lines = compiled.table(results_of_steps()).splitlines()
    assert lines[2].endswith("| 4.00 | 8.00 | 1.00 | 2.00 | 2.00 | 4.00 | **0.50** |")
    assert lines[3].endswith("| 4.00 | - | 1.00 | 2.00 | 2.00 | - | **0.50** |")
    assert lines[4].endswith("| geometric mean |  |  |  |  | 2.00 | 4.00 | 0.50 |")


def test_the_document_tells_of_failures_and_of_other_bits() -> None:
    text = compiled.document(results_of_steps(), {"numtorch": "0.1.0"}, "2 threads")
    failed, differing, bits = (
        text.split(heading, 1)[1].split("##")[0]
        for heading in ("failed", "different answers", "eager execution\n")
    )
    assert "no compiler" in failed
    assert "None." in differing
    assert COMPILED_ROWS[1].group in bits
    assert COMPILED_ROWS[0].group not in bits
    assert ", 2 threads; " in text


def test_first_calls_are_shown_by_cache() -> None:
    operation, step = first_calls.OPERATIONS[0], first_calls.STEPS[0]
    ours = first_calls.First([0.3, 0.2, 0.25], [0.004, 0.003, 0.006], [0.4], "0.1.0")
    failed = first_calls.First(error="InductorError: no compiler", imports=[1.5], version="2.13.0")
    results = [
        (operation, {"numtorch": ours}),
        (step, {"torch.compile": failed, "numtorch.compile": ours}),
    ]
    text = first_calls.document(results, "2 threads")
    assert f"| `{operation.statement}` | - | - | 250 (300) | 4.00 (6.00) |" in text
    assert f"| {step.group} | InductorError | InductorError | 250 (300) | 4.00 (6.00) |" in text
    assert "numtorch 400 (400); torch 1,500 (1,500) ms" in text


def test_a_variant_that_failed_in_one_run_has_no_ratio() -> None:
    first, second = (results_of_steps()[:1] for _ in range(2))
    first[0].errors.clear()
    second[0].errors["torch.compile"] = "Error: once"
    del second[0].times["torch.compile"]
    (result,) = joined([first, second])
    assert result.ratio("torch.compile", compiled.OURS) is None
    assert result.times[compiled.OURS] == [2e-6, 2e-6]


@pytest.mark.parametrize("marks", [compiled.MARKS, ("<!-- a -->", "<!-- b -->")])
def test_only_what_stands_between_the_marks_is_renewed(
    tmp_path: Path, marks: tuple[str, str]
) -> None:
    file = tmp_path / "README.md"
    text = "\n".join(["before", marks[0], "{}", marks[1], "after"])
    file.write_text(text.format("old"))
    renew(file, "new", compiled.MARKS)
    assert file.read_text() == text.format("new" if marks == compiled.MARKS else "old")


@pytest.mark.slow
def test_the_runner_measures_in_turns() -> None:
    printed = run("compare", *SHORTEST, "--rows", r"elements: a \+ b$", "--turns", "2")
    assert "small, 4 to 64 elements: a + b" in printed
    assert "| all | 1 |" in printed


@pytest.mark.slow
def test_the_runner_compares_compiled_steps() -> None:
    printed = run("compiled", *SHORTEST, "--rows", "ten pointwise operations, 4:", "--turns", "1")
    assert "OTHER BITS" not in printed
    assert "| geometric mean |" in printed


@pytest.mark.slow
def test_first_calls_start_without_a_cache_and_then_with_it() -> None:
    first = first_calls.First()
    row = next(row for row in first_calls.STEPS if "ten pointwise operations, 4" in row.group)
    first.measure(row, compiled.OURS, threads=1)
    assert not first.error
    assert first.cached[0] < first.cold[0]


@pytest.mark.slow
def test_the_runner_measures_first_calls() -> None:
    printed = run("first_calls", "--rows", r"elements: a \+ b$", "--turns", "1")
    assert "small, 4 to 64 elements: a + b" in printed


@pytest.mark.slow
def test_the_runner_of_threads_has_a_busy_neighbour() -> None:
    printed = run("threads", *SHORTEST, "--rows", "matmul, 128 x 128", "--turns", "1")
    assert "| matmul, 128 x 128: `A @ B` |" in printed


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")
def test_peak_memory_is_that_of_the_program() -> None:
    reply = memory.measured("numtorch", "ten operations on 16M elements")
    result = 64 * memory.MB  # of 16M float32
    assert 2 * result < reply["after"] - reply["before"] < 6 * result
