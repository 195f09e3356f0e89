"""Measure what a second thread gains, on free cores and beside a process that keeps one busy.

Usage: python benchmarks/threads.py [--rows PATTERN] [--turns N] [--seconds N]

Without --rows, THREADS.md is written.
"""

import ctypes
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from timeit import repeat

from numtorch_kernels import threads
from numtorch_kernels.build import MachineCode, task
from report import Result, figure, machine, markdown, page
from rows import ROWS, Row
from turns import HERE, Worker, chosen_rows, conditions, measure, parser

# Statements whose cost is arithmetic, rather than memory, at one size each.
COMPUTE_BOUND = {
    ("pointwise, 1M", "a.exp()"),
    ("pointwise, 1M", "p.log()"),
    ("pointwise, 1M", "a.tanh()"),
    ("pointwise, 1M", "a.sigmoid()"),
    ("pointwise, 1M", "a.sin()"),
    ("pointwise, 1M", "p ** 2.5"),
    ("pointwise, 16M", "a.exp()"),
    ("pointwise, 16M", "a.sin()"),
    ("matmul, 128 x 128", "A @ B"),
    ("matmul, 256 x 256", "A @ B"),
    ("matmul, 512 x 512", "A @ B"),
    ("matmul, 1000 x 1000", "A @ B"),
    ("matmul, 2048 x 2048", "A @ B"),
}
THREAD_ROWS = [row for row in ROWS if (row.group, row.statement) in COMPUTE_BOUND]
ONE, TWO, THEIRS = "1 thread", "2 threads", "PyTorch"


@contextmanager
def neighbour() -> Iterator[None]:
    """A process that never waits."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measured(
    rows: Sequence[Row], turns: int, seconds: float, is_busy: bool
) -> tuple[list[Result], dict[str, str]]:
    """The rows' times on one thread and on two, in turns with PyTorch on two; and versions."""
    workers = {ONE: Worker("numtorch", 1), TWO: Worker("numtorch", 2), THEIRS: Worker("torch", 2)}
    with neighbour() if is_busy else nullcontext():
        results = [measure(row, workers, turns, seconds) for row in rows]
    for worker in workers.values():
        worker.close()
    return results, {"torch": workers[THEIRS].version, "numtorch": workers[TWO].version}


def nothing(descriptor: int, index: int) -> None:
    """A task, to see what a launch takes by itself."""


def launch(code: MachineCode) -> float:
    """Seconds that two threads take for a task each of nothing, called from Python."""
    word = ctypes.c_int64
    region = ctypes.CFUNCTYPE(None, word, word, word)(code.address)
    address = task(nothing)
    return min(repeat(lambda: region(address, 0, 2), number=10_000, repeat=20)) / 10_000


def launches() -> str:
    """What launches of the region in use take, and of Numba's."""
    codes = threads.region_code(), threads.NUMBAS_REGION
    own, numba = (figure(launch(code), 1e-6) for code in codes)
    return f"A launch of nothing takes {own} us, and {numba} us by Numba's own region."


def cells(free: Result, busy: Result) -> list[str]:
    """Row, microseconds on one thread and on two, their ratio; that again beside a busy process."""
    parts = [f"{free.row.group}: `{free.row.statement}`"]
    for result in (free, busy):
        parts += [figure(result.time(variant), 1e-6) for variant in (ONE, TWO)]
        parts.append(figure(result.ratio(ONE, TWO)))
    return [*parts, figure(busy.ratio(THEIRS, TWO))]


def table(free: Sequence[Result], busy: Sequence[Result]) -> str:
    """Render all rows."""
    head = ["us", ONE, TWO, "gain", *(f"{title}, busy" for title in (ONE, TWO, "gain"))]
    head.append("PyTorch / numtorch, 2 threads, busy")
    return markdown(head, [cells(*pair) for pair in zip(free, busy, strict=True)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print their table, and write the file."""
    options = parser(
        "one thread and two, on free cores and beside a busy process", "rows", "turns", "seconds"
    )
    options.set_defaults(seconds=0.2)
    chosen = options.parse_args(arguments)
    rows = chosen_rows(options, chosen, THREAD_ROWS)
    start = conditions(2)
    (free, versions), (busy, _) = (
        measured(rows, chosen.turns, chosen.seconds, each) for each in (False, True)
    )
    text = f"{table(free, busy)}\n\n{launches()}"
    print(text)
    if chosen.rows is None:
        says = "Medians of turns. Busy: another process, which never waits, wants one of the cores."
        text = page("Threads", "threads", machine(versions, start), says, text)
        (HERE / "THREADS.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
