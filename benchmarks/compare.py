"""Compare numtorch with PyTorch and NumPy, each in its own process, taking turns.

Usage: python benchmarks/compare.py [--rows PATTERN] [--turns N] [--runs N] [--threads N]

Without --rows the whole table is measured, and RESULTS.md and the summary in README.md are written.
"""

from collections.abc import Sequence

from report import LIBRARIES, cells, document, summary
from rows import ROWS
from turns import HERE, README, measured, parser, renew

MARKS = ("<!-- benchmarks:begin -->", "<!-- benchmarks:end -->")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print them as they come, and write the files."""
    options = parser("numtorch, PyTorch and NumPy, in turns")
    results, versions, start = measured(options, arguments, ROWS, LIBRARIES, cells)
    print(f"\n{summary(results)}")
    if start is not None:
        text = document(results, versions, start)
        (HERE / "RESULTS.md").write_text(text, encoding="utf-8")
        renew(README, summary(results), MARKS)


if __name__ == "__main__":
    main()
