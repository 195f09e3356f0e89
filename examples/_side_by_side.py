"""What the examples share: their options, and running one function in several ways."""

import argparse
import importlib.util
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Run:
    """One training run: the losses, the fitted weights, and the seconds that each step took.

    ``kernels`` says what the step was compiled to, if it was.
    """

    losses: np.ndarray
    weights: np.ndarray
    seconds: np.ndarray
    kernels: str = field(default="", kw_only=True)

    def __str__(self) -> str:
        """Total time, and apart from it the first step, which loads or compiles kernels."""
        first, others = self.seconds[0], self.seconds[1:].mean()
        return (
            f"{len(self.seconds)} steps in {self.seconds.sum():.3f} s "
            f"(the first {first * 1e3:.1f} ms, the others {others * 1e6:.0f} us each)"
        )


def parser(description: str, steps: int, unit: str) -> argparse.ArgumentParser:
    """Command line of an example that trains for at most `steps` of its `unit`."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument(
        "--backend",
        choices=["numtorch", "torch"],
        default="numtorch",
        help="torch: run the same on PyTorch afterwards, and compare",
    )
    options.add_argument(
        "--compile",
        action="store_true",
        help="compile the training step; run the same eagerly afterwards, and compare",
    )
    options.add_argument("--output-dir", type=Path, default=Path("figures"), help="for the PNG")
    options.add_argument(
        f"--{unit}", type=int, default=steps, help=f"train for at most so many {unit}"
    )
    options.add_argument("--seed", type=int, default=0)
    return options


def parse(options: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; refuse a comparison with a PyTorch that is not there."""
    chosen = options.parse_args(arguments)
    if chosen.backend == "torch" and importlib.util.find_spec("torch") is None:
        options.error("--backend torch needs PyTorch: pip install torch")
    return chosen


def in_own_process(function: Callable[..., Run], *arguments: Any) -> Run:
    """Call a function in a fresh process: two OpenMP runtimes in one would fight for cores."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def largest_relative_difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest |actual - expected| / |expected| over the entries that both have."""
    common = min(len(actual), len(expected))
    return float(np.max(np.abs(actual[:common] / expected[:common] - 1)))


def run_others(
    chosen: argparse.Namespace, run: Run, train: Callable[..., Run], *arguments: Any
) -> Run | None:
    """Run what the command line asks for besides, and compare; PyTorch's run if it is among it."""
    eager = run
    if chosen.compile:
        eager = in_own_process(train, "numtorch", *arguments)
        print_compilation(eager, run)
    if chosen.backend != "torch":
        return None
    torch = in_own_process(train, "torch", *arguments)
    print_comparison({"numtorch": eager, "PyTorch": torch})
    return torch


def print_comparison(runs: dict[str, Run]) -> None:
    """Print the times of two runs under their names, and how far apart the results are."""
    for name, run in runs.items():
        print(f"{name + ':':9} {run}")
    one, other = runs.values()
    losses = largest_relative_difference(one.losses, other.losses)
    weights = np.max(np.abs(one.weights - other.weights))
    print(
        f"largest difference: losses {losses:.1e} relative, "
        f"weights {weights:.1e} of {np.max(np.abs(other.weights)):.3g}"
    )


def print_compilation(eager: Run, compiled: Run) -> None:
    """Print what compiling the step made of its time, of its results, and of its kernels.

    A step's time is the median: the first steps, and those of a new batch size, are recorded.
    """
    print_comparison({"eager": eager, "compiled": compiled})
    same = np.array_equal(eager.losses, compiled.losses)
    print(f"loss curves:   {'equal, bit for bit' if same else 'NOT EQUAL'}")
    before, after = np.median(eager.seconds) * 1e6, np.median(compiled.seconds) * 1e6
    print(f"a step takes:  {before:.0f} us eager, {after:.0f} us compiled")
    print(compiled.kernels, flush=True)


def outline(report: Any) -> str:
    """The report of a compiled function's `explain` in short: a line for each pass over memory."""
    if not report.graphs:
        return str(report)
    latest = report.graphs[-1]
    passes = [
        list(members)
        for part in latest.parts
        for _, members in groupby(part.kernels, key=lambda kernel: kernel.group)
    ]
    lines = [
        f"compiled for {len(report.graphs)} kinds of calls; the last is "
        f"{sum(map(len, passes))} kernels in {len(passes)} passes, "
        f"{latest.bytes_moved / 1000:,.1f} kB moved, one native call:"
    ]
    for kernels in passes:
        names = [name for kernel in kernels for name in kernel.operations or [kernel.name]]
        lines.append(f"  {', '.join(names)}")
    return "\n".join(lines)
