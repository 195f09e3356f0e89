"""What the examples share: their options, and running one function on two libraries."""

import argparse
import importlib.util
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Run:
    """One training run: the losses, the fitted weights, and the seconds that each step took."""

    losses: np.ndarray
    weights: np.ndarray
    seconds: np.ndarray

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


def print_comparison(numtorch: Run, torch: Run) -> None:
    """Print both times and how far apart the results are."""
    print(f"numtorch: {numtorch}")
    print(f"PyTorch:  {torch}")
    losses = largest_relative_difference(numtorch.losses, torch.losses)
    weights = np.max(np.abs(numtorch.weights - torch.weights))
    print(
        f"largest difference: losses {losses:.1e} relative, "
        f"weights {weights:.1e} of {np.max(np.abs(torch.weights)):.3g}"
    )
