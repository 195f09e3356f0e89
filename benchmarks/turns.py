"""Variants of libraries, each in a process of its own, that take turns at the rows.

A variant is a library's name, or that with ".compile" behind it: its rows' steps are compiled then.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import sleep
from typing import Any

from report import Result, joined
from rows import Row, library_of

# Seconds before a turn: the threads of the last one's OpenMP go on waiting for some ms, on the core
# that the next one wants.
REST = 0.03
# The power of two of cycles for which NumPy's threads go on waiting: usually 26, some 30 ms, in
# which they kept a core from PyTorch, whose products of 128 x 128 then took 14 ms instead of 50 us.
PATIENCE = "4"

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"


class Worker:
    """A process that times one variant's rows; with changes of its environment."""

    def __init__(self, variant: str, threads: int, **changes: str) -> None:
        pools = ("OMP", "OPENBLAS", "MKL", "NUMBA")
        limits = {f"{pool}_NUM_THREADS": str(threads) for pool in pools}
        limits["OPENBLAS_THREAD_TIMEOUT"] = PATIENCE
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), variant, str(threads)],
            env=os.environ | limits | changes,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        hello = self._reply()
        self.version = hello["version"]
        self.seconds = hello["seconds"]  # that the import took

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._reply()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _reply(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with status {self.process.wait()}")
        return json.loads(line)


_OPTIONS: dict[str, dict[str, Any]] = {
    "rows": {"help": "measure rows whose name matches this; write no file"},
    "turns": {"type": int, "default": 7, "help": "of each variant at each row"},
    "runs": {"type": int, "default": 1, "help": "through all rows, in new processes"},
    "seconds": {"type": float, "default": 0.05, "help": "that a turn takes"},
    "threads": {"type": int, "default": os.cpu_count(), "help": "of each variant"},
}


def parser(description: str, *names: str) -> argparse.ArgumentParser:
    """Command line of a runner, with options of those names; all if none is given."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for name in names or _OPTIONS:
        options.add_argument(f"--{name}", **_OPTIONS[name])
    return options


def chosen_rows(
    options: argparse.ArgumentParser, chosen: argparse.Namespace, table: Sequence[Row]
) -> list[Row]:
    """Rows of the table that the command line asks for."""
    rows = [row for row in table if re.search(chosen.rows or "", row.name)]
    if not rows:
        options.error(f"no row matches {chosen.rows!r}")
    return rows


def present(variants: Iterable[str]) -> list[str]:
    """Those variants whose library is installed."""
    return [variant for variant in variants if importlib.util.find_spec(library_of(variant))]


def conditions(threads: int) -> str:
    """Under what conditions a measurement starts."""
    return f"{threads} threads, load average {os.getloadavg()[0]:.1f} at the start"


def measure(row: Row, workers: dict[str, Worker], turns: int, seconds: float) -> Result:
    """Time a row on all variants in turns: A B C, A B C, ..."""
    result = Result(row)

    def ask(variant: str, key: str, **request: Any) -> Any:
        reply = workers[variant].ask(**request)
        if "error" in reply:
            result.errors[variant] = reply["error"]
        return reply.get(key)

    for variant in filter(row.words, workers):
        if (answer := ask(variant, "answer", row=row.name)) is not None:
            result.answers[variant] = answer
    for _ in range(turns):
        for variant in result.answers:
            if variant not in result.errors:
                sleep(REST)
                result.times.setdefault(variant, []).append(ask(variant, "time", seconds=seconds))
    for variant in result.errors:
        result.times.pop(variant, None)
    return result


def measured(
    options: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    table: Sequence[Row],
    variants: Iterable[str],
    cells: Callable[[Result], Sequence[str]],
) -> tuple[list[Result], dict[str, str], str | None]:
    """Measure the rows of a table that a command line asks for: results and versions.

    And under what conditions it started; None where only some rows are wanted.
    """
    chosen = options.parse_args(arguments)
    rows = chosen_rows(options, chosen, table)
    start = f"{conditions(chosen.threads)}, {chosen.runs} runs"
    results, versions = measure_all(rows, variants, chosen, cells)
    return results, versions, start if chosen.rows is None else None


def measure_all(
    rows: Sequence[Row],
    variants: Iterable[str],
    chosen: argparse.Namespace,
    cells: Callable[[Result], Sequence[str]],
) -> tuple[list[Result], dict[str, str]]:
    """Measure the rows, print their cells as they come; the results and each variant's version.

    A run has processes of its own, and so its own luck with where memory lies, and its own time.
    """
    runs, versions = [], {}
    for _ in range(chosen.runs):
        workers = {variant: Worker(variant, chosen.threads) for variant in present(variants)}
        versions = {variant: worker.version for variant, worker in workers.items()}
        runs.append([measure_and_print(row, workers, chosen, cells) for row in rows])
        for worker in workers.values():
            worker.close()
    return joined(runs), versions


def measure_and_print(
    row: Row,
    workers: dict[str, Worker],
    chosen: argparse.Namespace,
    cells: Callable[[Result], Sequence[str]],
) -> Result:
    """Measure a row, and print its cells and what is wrong with it."""
    result = measure(row, workers, chosen.turns, chosen.seconds)
    warnings = [f"{variant}: {error}" for variant, error in result.errors.items()]
    warnings += ["ANSWERS DIFFER"] * result.disagrees()
    warnings += ["OTHER BITS THAN EAGER"] * result.has_other_bits()
    line = "  ".join(f"{cell:>9}" for cell in cells(result)[1:])
    print(line, row.name, *warnings, sep="  ", flush=True)
    return result


def renew(file: Path, table: str, marks: tuple[str, str]) -> None:
    """Replace what stands between the marks, if they stand in the file."""
    begin, end = map(re.escape, marks)
    text = file.read_text(encoding="utf-8")
    filled = "\n".join([marks[0], table, marks[1]])
    renewed = re.sub(f"{begin}.*{end}", lambda _: filled, text, flags=re.DOTALL)
    file.write_text(renewed, encoding="utf-8")
