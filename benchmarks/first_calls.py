"""Measure what first calls take in fresh processes: of operations, and of compiled steps.

Usage: python benchmarks/first_calls.py [--rows PATTERN] [--turns N] [--threads N]

A turn begins with empty caches on disk; a second process then finds what the first one left there.
Without --rows all is measured, and FIRST_CALLS.md is written. torch.compile, which takes long, has
one turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from tempfile import TemporaryDirectory

from compiled_rows import COMPILED_ROWS
from report import figure, machine, markdown, page
from rows import SMALL, Row
from turns import HERE, Worker, chosen_rows, conditions, parser, present

OPERATIONS = [row for row in SMALL if row.statement not in ("m[1]", "s.item()", "m.t()")]
STEPS = [row for row in COMPILED_ROWS if row.group.endswith((", 4", "50 x 2", "32, SGD", "Adam"))]
ROWS = [*OPERATIONS, *STEPS]
CACHES = ("NUMTORCH_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")


@dataclass
class First:
    """Seconds of first calls and of imports, a turn each: empty caches, and filled ones."""

    cold: list[float] = field(default_factory=list)
    cached: list[float] = field(default_factory=list)
    imports: list[float] = field(default_factory=list)
    version: str = ""
    error: str = ""

    def measure(self, row: Row, variant: str, threads: int) -> None:
        """Time the variant's first call, twice if it keeps anything, each in its own process."""
        keeps = variant != "torch"
        with TemporaryDirectory() as directory:
            for seconds in (self.cold, self.cached) if keeps else (self.cold,):
                worker = Worker(variant, threads, **dict.fromkeys(CACHES, directory))
                self.imports.append(worker.seconds)
                self.version = worker.version
                reply = worker.ask(first=row.name)
                worker.close()
                self.error = reply.get("error", "")
                if self.error:
                    return
                seconds.append(reply["times"][0])

    def cells(self) -> list[str]:
        """Milliseconds with empty and with filled caches: the median, and the most."""
        if self.error:
            return [self.error.partition(":")[0]] * 2
        return [spread(self.cold), spread(self.cached)]


def spread(seconds: Sequence[float]) -> str:
    """The median of some times, and the longest; a dash if there are none."""
    if not seconds:
        return "-"
    return f"{figure(median(seconds), 1e-3)} ({figure(max(seconds), 1e-3)})"


def variants_of(row: Row) -> list[str]:
    """The variants to compare on a row, PyTorch's first."""
    suffix = ".compile" if row in STEPS else ""
    return present([f"torch{suffix}", f"numtorch{suffix}"])


def measure(row: Row, turns: int, threads: int) -> dict[str, First]:
    """Measure the first calls of a row by all variants in turns."""
    results = {variant: First() for variant in variants_of(row)}
    for turn in range(turns):
        for variant, first in results.items():
            if not first.error and not (turn and variant == "torch.compile"):
                first.measure(row, variant, threads)
    return results


def table(name: str, results: Sequence[tuple[Row, dict[str, First]]], suffix: str = "") -> str:
    """Render the first calls of operations, or of steps."""
    libraries = [f"{library}{suffix}" for library in ("torch", "numtorch")]
    head = [name, *(f"{library}, {cache}" for library in libraries for cache in ("cold", "cached"))]
    lines = [
        [
            f"`{row.statement}`" if row in OPERATIONS else row.group,
            *(
                cell
                for each in libraries
                for cell in (firsts[each].cells() if each in firsts else "--")
            ),
        ]
        for row, firsts in results
    ]
    return markdown(head, lines)


def imports(results: Sequence[tuple[Row, dict[str, First]]]) -> str:
    """Render what imports take."""
    seconds: dict[str, list[float]] = {}
    for _, firsts in results:
        for variant, first in firsts.items():
            seconds.setdefault(variant.partition(".")[0], []).extend(first.imports)
    return "; ".join(f"{library} {spread(times)}" for library, times in seconds.items())


def document(results: Sequence[tuple[Row, dict[str, First]]], start: str) -> str:
    """Render the whole of FIRST_CALLS.md."""
    versions = {each: first.version for _, firsts in results for each, first in firsts.items()}
    operations = [result for result in results if result[0] in OPERATIONS]
    steps = [result for result in results if result[0] in STEPS]
    return page(
        "First calls",
        "first_calls",
        machine(versions, start),
        "Milliseconds of the first call in a process: the median of the turns and, in parentheses, "
        "the most. Cold: nothing was on disk; cached: a process before it had made the same call.",
        f"Imports, beyond NumPy's: {imports(results)} ms.",
        "## Operations",
        table("ms", operations),
        "## Compiled steps",
        table("ms", steps, ".compile"),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print them as they come, and write the file."""
    options = parser(
        "first calls of numtorch and PyTorch, in fresh processes", "rows", "turns", "threads"
    )
    options.set_defaults(turns=3)
    chosen = options.parse_args(arguments)
    rows = chosen_rows(options, chosen, ROWS)
    start = f"{conditions(chosen.threads)}, {chosen.turns} turns"
    results = []
    for row in rows:
        firsts = measure(row, chosen.turns, chosen.threads)
        results.append((row, firsts))
        cells = [cell for first in firsts.values() for cell in first.cells()]
        print("  ".join(f"{cell:>17}" for cell in cells), row.name, sep="  ", flush=True)
    if chosen.rows is None:
        text = document(results, start)
        (HERE / "FIRST_CALLS.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
