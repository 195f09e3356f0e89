"""Compare what small calls take in numtorch and PyTorch, each in its own process, taking turns.

Usage: python benchmarks/small_calls.py [--rows PATTERN] [--turns N] [--runs N] [--threads N]

Without --rows the whole table is measured, and SMALL_CALLS.md is written.
"""

from collections.abc import Sequence

from report import cells, document, summary
from small_rows import SMALL_ROWS
from turns import HERE, measured, parser

LIBRARIES = {"torch": "PyTorch", "numtorch": "numtorch"}
SECONDS = 0.02  # of a turn: calls take microseconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print them as they come, and write the file."""
    options = parser("small calls of numtorch and PyTorch, in turns")
    options.set_defaults(seconds=SECONDS)
    results, versions, start = measured(options, arguments, SMALL_ROWS, LIBRARIES, cells)
    print(f"\n{summary(results)}")
    if start is not None:
        text = document(results, versions, start, "Small calls", "small_calls")
        (HERE / "SMALL_CALLS.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
