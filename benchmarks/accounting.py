"""Where the time of a row goes: samples that Linux's perf takes, told apart by whose code ran.

Usage: python benchmarks/accounting.py [--rows PATTERN] [--seconds N]

Without --rows some small rows and training steps are looked at. Needs perf.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numtorch
from numtorch_kernels import build
from numtorch_kernels.calls.callables import begin
from rows import ROWS, Row

LOOKED_AT = (
    r"elements: (a \+ b|a\.sum|m\[1\]|m\.t\(|X @ w|m\.softmax)"
    r"|small, with gradients: |descent|training, 64-.*SGD"
)
START = 3000  # milliseconds until imports and first calls are over
KINDS = {
    "_multiarray_umath": "NumPy",
    "libpython": "interpreter",
    "python3": "interpreter",
    "libc.": "memory",
    "omp": "threads",
    "kernel": "system",
}
COLUMNS = ["kernels", "compiled calls", *dict.fromkeys(KINDS.values()), "other"]


def run(name: str, seconds: float, file: Path) -> None:
    """Run a row for so long; write where the compiled functions are that it used."""
    row = next(row for row in ROWS if row.name == name)
    namespace = row.namespace(numtorch)
    code = compile(row.statement, name, "exec")
    for _ in range(200):
        exec(code, namespace)
    begin()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(50):
            exec(code, namespace)
    file.write_text(json.dumps(build._addresses), encoding="utf-8")


def samples(row: Row, seconds: float) -> Counter[str]:
    """How many samples fell into code of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        data, places = Path(folder, "perf.data"), Path(folder, "places.json")
        own = [sys.executable, __file__, "--run", row.name, "--seconds", str(seconds)]
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-D", str(START)]
        subprocess.run([*record, "-o", data, "--", *own, "--places", places], check=True)
        script = ["perf", "script", "-i", data, "-F", "ip,dso"]
        text = subprocess.run(script, check=True, capture_output=True, text=True).stdout
        functions = sorted((at, name) for name, at in json.loads(places.read_text()).items())
    return Counter(kinds(text.splitlines(), functions))


def kinds(lines: Iterable[str], functions: list[tuple[int, str]]) -> Iterable[str]:
    """Tell for each sample whose code ran."""
    starts = [at for at, _ in functions]
    for line in lines:
        if not (parts := line.split(maxsplit=1)):
            continue
        library = parts[1].rpartition("/")[2]
        known = [kind for mark, kind in KINDS.items() if mark in library]
        if "perf-" in library:  # code that was made in memory
            place = bisect(starts, int(parts[0], 16)) - 1
            is_call = place >= 0 and "_call_" in functions[place][1]
            yield "compiled calls" if is_call else "kernels"
        else:
            yield known[0] if known else "other"


def main() -> None:
    """Print a table of shares."""
    options = argparse.ArgumentParser(description="where the time of rows goes")
    options.add_argument("--rows", default=LOOKED_AT)
    options.add_argument("--seconds", type=float, default=6.0)
    options.add_argument("--run", help=argparse.SUPPRESS)
    options.add_argument("--places", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.run:
        run(chosen.run, chosen.seconds, chosen.places)
        return
    print("| row |", " | ".join(COLUMNS), "|")
    print("| --- |", " | ".join(["---:"] * len(COLUMNS)), "|")
    for row in ROWS:
        if re.search(chosen.rows, row.name):
            found = samples(row, chosen.seconds)
            shares = (f"{100 * found[kind] / found.total():.0f} %" for kind in COLUMNS)
            print(f"| `{row.statement}` |", " | ".join(shares), "|", flush=True)


if __name__ == "__main__":
    main()
