"""Compare numtorch with PyTorch and NumPy, each in its own process, taking turns.

Usage: python benchmarks/compare.py [--rows PATTERN] [--turns N] [--threads N]

Without --rows the whole table is measured, and RESULTS.md and the summary in README.md are written.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import LIBRARIES, Result, cells, document, summary
from rows import ROWS, Row

HERE = Path(__file__).resolve().parent
MARKS = ("<!-- benchmarks:begin -->", "<!-- benchmarks:end -->")


class Worker:
    """A process that times one library's rows."""

    def __init__(self, library: str, threads: int) -> None:
        pools = ("OMP", "OPENBLAS", "MKL", "NUMBA")
        limits = {f"{pool}_NUM_THREADS": str(threads) for pool in pools}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), library, str(threads)],
            env=os.environ | limits,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self._reply()["version"]

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


def measure(row: Row, workers: dict[str, Worker], turns: int, seconds: float) -> Result:
    """Time a row on all libraries in turns: A B C, A B C, ..."""
    result = Result(row)

    def ask(library: str, key: str, **request: Any) -> Any:
        reply = workers[library].ask(**request)
        if "error" in reply:
            result.errors[library] = reply["error"]
        return reply.get(key)

    for library in filter(row.words, workers):
        if (answer := ask(library, "answer", row=row.name)) is not None:
            result.answers[library] = answer
    for _ in range(turns):
        for library in result.answers:
            if library not in result.errors:
                result.times.setdefault(library, []).append(ask(library, "time", seconds=seconds))
    for library in result.errors:
        result.times.pop(library, None)
    return result


def renew(readme: Path, table: str) -> None:
    """Replace what stands between the marks."""
    begin, end = map(re.escape, MARKS)
    text = readme.read_text(encoding="utf-8")
    filled = "\n".join([MARKS[0], table, MARKS[1]])
    renewed = re.sub(f"{begin}.*{end}", lambda _: filled, text, flags=re.DOTALL)
    readme.write_text(renewed, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print them as they come, and write the files."""
    options = argparse.ArgumentParser(
        description="numtorch, PyTorch and NumPy, in turns",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--rows", help="measure rows whose name matches this; write no file")
    options.add_argument("--turns", type=int, default=7, help="of each library at each row")
    options.add_argument("--seconds", type=float, default=0.05, help="that a turn takes")
    options.add_argument("--threads", type=int, default=os.cpu_count(), help="of each library")
    chosen = options.parse_args(arguments)
    rows = [row for row in ROWS if re.search(chosen.rows or "", row.name)]
    if not rows:
        options.error(f"no row matches {chosen.rows!r}")

    conditions = f"{chosen.threads} threads, load average {os.getloadavg()[0]:.1f} at the start"
    workers = {
        library: Worker(library, chosen.threads)
        for library in LIBRARIES
        if importlib.util.find_spec(library)
    }
    results = []
    for row in rows:
        result = measure(row, workers, chosen.turns, chosen.seconds)
        results.append(result)
        warnings = [f"{library}: {error}" for library, error in result.errors.items()]
        warnings += ["ANSWERS DIFFER"] * result.disagrees()
        line = "  ".join(f"{cell:>9}" for cell in cells(result)[1:])
        print(line, row.name, *warnings, sep="  ", flush=True)
    for worker in workers.values():
        worker.close()

    print(f"\n{summary(results)}")
    if chosen.rows is None:
        versions = {library: worker.version for library, worker in workers.items()}
        results_file = HERE / "RESULTS.md"
        results_file.write_text(document(results, versions, conditions), encoding="utf-8")
        renew(HERE.parent / "README.md", summary(results))


if __name__ == "__main__":
    main()
