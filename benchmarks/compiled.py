"""Compare numtorch.compile with torch.compile and with both libraries' eager execution.

Usage: python benchmarks/compiled.py [--rows PATTERN] [--turns N] [--runs N] [--threads N]

Without --rows the whole table is measured, and COMPILED.md and the table in README.md are written.
What a step's first call takes, in which it is compiled, first_calls.py measures.
"""

from collections.abc import Sequence

from compiled_rows import CALLS, COMPILED_ROWS
from report import Result, emphasised, figure, listed, markdown, mean, page, preamble, problems
from turns import HERE, README, measured, parser, renew

OURS = "numtorch.compile"
OTHERS = {"torch": "PyTorch", "torch.compile": "torch.compile", "numtorch": "numtorch"}
VARIANTS = {**OTHERS, OURS: OURS}
MARKS = ("<!-- compiled:begin -->", "<!-- compiled:end -->")

# Seconds that a turn takes: this machine is quicker or slower by a factor of 1.8 for tenths of a
# second, and a turn counts its best block. Turns of 0.05 s saw either.
SECONDS = 0.5


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


def document(results: Sequence[Result], versions: dict[str, str], start: str) -> str:
    """Render the whole of COMPILED.md."""
    return page(
        "Compiled steps",
        "compiled",
        preamble(versions, start, "Each variant", OURS),
        "All variants run the same step, which calls `backward()` and the optimizer where there "
        f"are some. It has run {CALLS} times when the measurement starts.",
        "## Steps",
        table(results),
        *problems(results),
        "## Rows whose compiled bits are not those of eager execution",
        listed(list(filter(Result.has_other_bits, results)), lambda result: str(result.answers)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print them as they come, and write the files."""
    options = parser("compiled and eager steps of numtorch and PyTorch, in turns")
    options.set_defaults(seconds=SECONDS)
    results, versions, start = measured(options, arguments, COMPILED_ROWS, VARIANTS, cells)
    print(f"\n{table(results)}\n")
    if start is not None:
        text = document(results, versions, start)
        (HERE / "COMPILED.md").write_text(text, encoding="utf-8")
        renew(README, table(results), MARKS)


if __name__ == "__main__":
    main()
