"""Results of the benchmarks, and the tables that are made of them."""

import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import geometric_mean, median

from rows import Row

LIBRARIES = {"numpy": "NumPy", "torch": "PyTorch", "numtorch": "numtorch"}
AGREEMENT = 1e-3  # relative, between the digests of two libraries' answers


@dataclass
class Result:
    """A row's times in seconds, a turn each, its errors and its digests, by variant."""

    row: Row
    times: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    answers: dict[str, list[float]] = field(default_factory=dict)

    def time(self, variant: str) -> float | None:
        """Median time of a call, None if the variant did not run the row."""
        return median(self.times[variant]) if variant in self.times else None

    def ratio(self, variant: str, to: str = "numtorch") -> float | None:
        """Median over the turns of the variant's time by another's, numtorch's by default."""
        if variant not in self.times or to not in self.times:
            return None
        pairs = zip(self.times[variant], self.times[to], strict=True)
        return median(theirs / ours for theirs, ours in pairs)

    def disagrees(self) -> bool:
        """Tell whether the variants computed different answers."""
        digests = list(self.answers.values())
        return not all(agree(digests[0], digest) for digest in digests[1:])

    def has_other_bits(self) -> bool:
        """Tell whether numtorch's compiled answer differs in any digit from its eager one."""
        eager, compiled = (self.answers.get(name) for name in ("numtorch", "numtorch.compile"))
        return eager is not None and compiled is not None and eager != compiled


def joined(runs: Sequence[Sequence[Result]]) -> list[Result]:
    """The results of several runs as one, which has the turns of all."""
    results = list(runs[0])
    for others in runs[1:]:
        for result, other in zip(results, others, strict=True):
            result.errors |= other.errors
            for variant, times in other.times.items():
                result.times.setdefault(variant, []).extend(times)
    for result in results:
        for variant in result.errors:  # even if only one run failed
            result.times.pop(variant, None)
    return results


def agree(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tell whether two digests are of the same answer: a mean is as exact as its numbers are."""
    return len(one) == len(other) and all(
        one[part + 2] == other[part + 2]
        and all(
            abs(one[i] - other[i]) <= AGREEMENT * (one[part + 1] + other[part + 1])
            for i in (part, part + 1)
        )
        for part in range(0, len(one), 3)
    )


def figure(value: float | None, unit: float = 1.0) -> str:
    """Three significant digits, thousands apart; a dash for what was not measured."""
    if value is None:
        return "-"
    scaled = value / unit
    decimals = 2 if scaled < 10 else 1 if scaled < 100 else 0
    return f"{scaled:,.{decimals}f}"


def emphasised(ratio: float | None) -> str:
    """A ratio, in bold where numtorch is the slower."""
    return f"**{figure(ratio)}**" if (ratio or 1) < 1 else figure(ratio)


def cells(result: Result) -> list[str]:
    """Statement, time of each library in microseconds, ratios of PyTorch and NumPy to numtorch."""
    times = [figure(result.time(library), 1e-6) for library in LIBRARIES]
    return [
        f"`{result.row.statement}`",
        *times,
        emphasised(result.ratio("torch")),
        figure(result.ratio("numpy")),
    ]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a table whose first column is text and the others numbers."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))


def ratios(results: Sequence[Result], library: str) -> list[float]:
    """Ratios to numtorch of the rows that both ran."""
    return [ratio for result in results if (ratio := result.ratio(library)) is not None]


def mean(values: Sequence[float]) -> float | None:
    """Geometric mean, None of nothing."""
    return geometric_mean(values) if values else None


def by_group(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results under their groups, in the table's order."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.row.group, []).append(result)
    return groups


def summary(results: Sequence[Result]) -> str:
    """Render how many times faster numtorch is, family by family."""
    families: dict[str, list[Result]] = {}
    for result in results:
        families.setdefault(result.row.group.split(",")[0], []).append(result)
    families["all"] = list(results)
    lines = [
        [
            family,
            str(len(rows)),
            figure(mean(ratios(rows, "torch"))),
            figure(min(ratios(rows, "torch"), default=None)),
            figure(mean(ratios(rows, "numpy"))),
        ]
        for family, rows in families.items()
    ]
    head = ["family", "rows", "PyTorch / numtorch", "least", "NumPy / numtorch"]
    return markdown(head, lines)


def listed(results: Sequence[Result], says: Callable[[Result], str]) -> str:
    """One line for each result of which there is something to say."""
    return "\n".join(f"- {r.row.group}: `{r.row.statement}`: {says(r)}" for r in results) or "None."


def processor() -> str:
    """Name of the CPU, as the system calls it."""
    information = Path("/proc/cpuinfo")
    named = (
        re.search(r"model name\s*: (.*)", information.read_text()) if information.exists() else None
    )
    return named[1] if named else platform.processor() or platform.machine()


def machine(versions: dict[str, str], conditions: str) -> str:
    """Render what was measured on which machine."""
    named = ", ".join(
        f"{LIBRARIES[library]} {version}"
        for library, version in versions.items()
        if library in LIBRARIES
    )
    return (
        f"{processor()}, {conditions}; {platform.system()}, Python {platform.python_version()}, "
        f"{named}."
    )


def preamble(versions: dict[str, str], conditions: str, each: str, ours: str) -> str:
    """Render what was measured on which machine, and how to read times and ratios."""
    return (
        f"{machine(versions, conditions)} {each} runs in its own process and they take turns; "
        f"times are medians over the turns, ratios the median of each turn's ratio: above 1 {ours} "
        "is the faster."
    )


def page(title: str, script: str, *parts: str) -> str:
    """Render a file that a script writes."""
    written = f"Written by `python benchmarks/{script}.py`; do not edit."
    return "\n\n".join([f"# {title}", written, *parts]) + "\n"


def problems(results: Sequence[Result]) -> list[str]:
    """Render the sections about rows that failed, and about answers that differ."""
    failed = [result for result in results if result.errors.keys() - {"numpy"}]
    differing = [result for result in results if result.disagrees()]
    return [
        "## Rows that failed",
        listed(failed, lambda result: str(result.errors)),
        "## Rows with different answers",
        listed(differing, lambda result: str(result.answers)),
    ]


def document(
    results: Sequence[Result],
    versions: dict[str, str],
    conditions: str,
    title: str = "Benchmarks",
    script: str = "compare",
) -> str:
    """Render the whole of RESULTS.md, or of the file of another script."""
    slower = [result for result in results if (result.ratio("torch") or 1) < 1]
    head = ["us a call", *LIBRARIES.values(), "PyTorch / numtorch", "NumPy / numtorch"]
    parts = [
        preamble(versions, conditions, "Each library", "numtorch"),
        "## Summary",
        summary(results),
        "## Rows on which PyTorch is faster",
        listed(slower, lambda result: figure(result.ratio("torch"))),
        *problems(results),
    ]
    for group, members in groupby(results, lambda result: result.row.group):
        parts += [f"## {group[0].upper()}{group[1:]}", markdown(head, [cells(r) for r in members])]
    return page(title, script, *parts)
