"""Compare numtorch.compile with torch.compile and with both libraries' eager execution.

Usage: python benchmarks/compiled.py [--rows PATTERN] [--turns N] [--threads N] [--first-calls]

Without --rows the whole table is measured, and COMPILED.md and the table in README.md are written.
With --first-calls also what a step's first calls take, in which it is compiled.
"""

from collections.abc import Sequence
from tempfile import TemporaryDirectory

from compiled_rows import CALLS, COMPILED_ROWS
from report import LIBRARIES, Result, emphasised, figure, listed, markdown, mean, preamble, problems
from rows import Row
from turns import HERE, README, Worker, chosen_rows, conditions, measure_all, parser, present, renew

OURS = "numtorch.compile"
OTHERS = {"torch": "PyTorch", "torch.compile": "torch.compile", "numtorch": "numtorch"}
VARIANTS = {**OTHERS, OURS: OURS}
COMPILING = [variant for variant in VARIANTS if variant not in LIBRARIES]
CACHES = ("NUMTORCH_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
MARKS = ("<!-- compiled:begin -->", "<!-- compiled:end -->")

# Seconds that a turn takes: this machine is quicker or slower by a factor of 1.8 for tenths of a
# second, and a turn counts its best block. Turns of 0.05 s saw either.
SECONDS = 0.5

Seconds = list[float] | str  # of the first calls, or why there were none


def cells(result: Result) -> list[str]:
    """Row, time of each variant in microseconds, ratios of the others to numtorch.compile."""
    times = [figure(result.time(variant), 1e-6) for variant in VARIANTS]
    return [result.row.group, *times, *(emphasised(result.ratio(other, OURS)) for other in OTHERS)]


def table(results: Sequence[Result]) -> str:
    """Render all rows, and below them the geometric means of the ratios."""
    head = ["us a step", *VARIANTS.values(), *(f"{name} / {OURS}" for name in OTHERS.values())]
    ratios = [[result.ratio(other, OURS) for result in results] for other in OTHERS]
    means = [figure(mean([ratio for ratio in column if ratio])) for column in ratios]
    below = ["geometric mean", *[""] * len(VARIANTS), *means]
    return markdown(head, [*map(cells, results), below])


def first_calls(row: Row, threads: int) -> dict[str, list[Seconds]]:
    """Seconds of a step's first calls in fresh processes: with empty caches, and with filled ones.

    What compiling libraries keep on disk they keep in directories made for this row.
    """
    seconds: dict[str, list[Seconds]] = {}
    for variant in present(COMPILING):
        with TemporaryDirectory() as directory:
            for _ in range(2):
                worker = Worker(variant, threads, **dict.fromkeys(CACHES, directory))
                reply = worker.ask(first=row.name)
                worker.close()
                seconds.setdefault(variant, []).append(reply.get("times") or reply["error"])
    return seconds


def first_cells(seconds: dict[str, list[Seconds]]) -> list[str]:
    """Seconds of the first call and of those after it: empty and filled caches of each variant."""
    return [
        each.partition(":")[0]
        if isinstance(each, str)
        else f"{figure(each[0])} + {figure(sum(each[1:]))}"
        for variant in COMPILING
        for each in seconds.get(variant, ["-", "-"])
    ]


def first_table(rows: Sequence[Row], threads: int) -> str:
    """Measure the first calls of all rows, print them as they come, and render the table."""
    lines = []
    for row in rows:
        lines.append([row.group, *first_cells(first_calls(row, threads))])
        print("  ".join(f"{cell:>15}" for cell in lines[-1][1:]), row.name, sep="  ", flush=True)
    caches = ("cold", "cached")
    head = ["s", *(f"{variant}, {cache}" for variant in COMPILING for cache in caches)]
    return markdown(head, lines)


def document(
    results: Sequence[Result], versions: dict[str, str], start: str, first: str | None
) -> str:
    """Render the whole of COMPILED.md."""
    parts = [
        "# Compiled steps",
        "Written by `python benchmarks/compiled.py`; do not edit.",
        preamble(versions, start, "Each variant", OURS),
        "All variants run the same step, which calls `backward()` and the optimizer where there "
        f"are some. It has run {CALLS} times when the measurement starts.",
        "## Steps",
        table(results),
        *problems(results),
        "## Rows whose compiled bits are not those of eager execution",
        listed(list(filter(Result.has_other_bits, results)), lambda result: str(result.answers)),
    ]
    if first is not None:
        parts += [
            "## First calls",
            f"Seconds of the first call and of the next {CALLS - 1} together, in fresh processes: "
            "with an empty cache on disk, and with what that process left there.",
            first,
        ]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print them as they come, and write the files."""
    options = parser("compiled and eager steps of numtorch and PyTorch, in turns")
    options.set_defaults(seconds=SECONDS)
    options.add_argument(
        "--first-calls", action="store_true", help="measure the first calls too, which takes long"
    )
    chosen = options.parse_args(arguments)
    rows = chosen_rows(options, chosen, COMPILED_ROWS)
    start = conditions(chosen.threads)
    results, versions = measure_all(rows, VARIANTS, chosen, cells)
    print(f"\n{table(results)}\n")
    first = first_table(rows, chosen.threads) if chosen.first_calls else None
    if chosen.rows is None:
        text = document(results, versions, start, first)
        (HERE / "COMPILED.md").write_text(text, encoding="utf-8")
        renew(README, table(results), MARKS)


if __name__ == "__main__":
    main()
