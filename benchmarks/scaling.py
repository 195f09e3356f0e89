"""Measure what an element costs as there are more of them, and draw it.

Usage: python benchmarks/scaling.py [--rows PATTERN] [--turns N] [--threads N]

Without --rows all is measured, and docs/scaling.svg is written. Needs matplotlib.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from report import LIBRARIES, Result, cells
from scaling_rows import SCALING_ROWS, operation, size, work
from turns import HERE, chosen_rows, conditions, measure_all, parser

PLOT = HERE.parent / "docs" / "scaling.svg"
COLOURS = {"numpy": "0.6", "torch": "tab:orange", "numtorch": "tab:blue"}


def draw(results: Sequence[Result], start: str, file: Path) -> None:
    """Draw the cost of an element over the number of elements, a panel an operation."""
    operations = list(dict.fromkeys(operation(result.row) for result in results))
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for panel, name in zip(panels, operations, strict=False):
        own = [result for result in results if operation(result.row) == name]
        for library, title in LIBRARIES.items():
            points = [
                (size(result.row), 1e9 * time / work(result.row))
                for result in own
                if (time := result.time(library)) is not None
            ]
            panel.loglog(*zip(*points, strict=True), ".-", label=title, color=COLOURS[library])
        panel.set_title(name)
        is_product = name == "matmul"
        panel.set_xlabel("side of the matrices" if is_product else "elements (float32)")
        panel.set_ylabel("ns per multiply-add" if is_product else "ns per element")
        panel.grid(alpha=0.3, which="both", linewidth=0.5)
    panels[0].legend()
    for panel in panels[len(operations) :]:
        panel.set_axis_off()
        panel.text(0, 0.5, start.replace(", ", "\n"), transform=panel.transAxes)
    figure.savefig(file, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print them as they come, and draw the plot."""
    options = parser("cost of an element as there are more of them")
    chosen = options.parse_args(arguments)
    rows = chosen_rows(options, chosen, SCALING_ROWS)
    start = conditions(chosen.threads)
    results, _ = measure_all(rows, LIBRARIES, chosen, cells)
    if chosen.rows is None:
        draw(results, start, PLOT)


if __name__ == "__main__":
    main()
