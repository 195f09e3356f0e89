"""A perceptron with one hidden layer reads scikit-learn's digits (1797 images of 8 x 8 pixels).

Usage: python examples/digits.py [--compile] [--backend torch]
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from tqdm import trange

from _side_by_side import (
    Run,
    largest_relative_difference,
    outline,
    parse,
    parser,
    run_others,
)

TEST_IMAGES = 360
GOAL = 0.97  # of the test images read rightly
COMPARED = 50  # steps over which two libraries must draw the same loss curve


@dataclass(frozen=True)
class Reading(Run):
    """A training run and the digits that the trained network reads in the test images."""

    read: np.ndarray


@cache
def digits() -> tuple[np.ndarray, ...]:
    """Shuffled images as (1797, 64) float32 in [0, 1] and labels: for training, then for tests."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = (images[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    return images[TEST_IMAGES:], labels[TEST_IMAGES:], images[:TEST_IMAGES], labels[:TEST_IMAGES]


def train(backend: str, epochs: int, seed: int, compiled: bool = False) -> Reading:
    """Train 64-64-10 with Adam on `backend`, batches of 32, and read the test images.

    With `compiled`, the step (forward, backward and update) is one compiled function. An epoch's
    last batch is smaller: its first step is recorded too, but compiles no new kernels.
    """
    torch = importlib.import_module(backend)
    nn, data = torch.nn, torch.utils.data
    torch.manual_seed(seed)
    images, labels, test_images, _ = map(torch.from_numpy, digits())
    batches = data.DataLoader(data.TensorDataset(images, labels), batch_size=32, shuffle=True)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)

    def step(inputs, targets):
        optimizer.zero_grad()
        loss = criterion(network(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    if compiled:
        step = torch.compile(step)
    losses, finished = [], [perf_counter()]
    with trange(epochs, desc=backend, unit="epoch", disable=None) as progress:
        for _ in progress:
            for inputs, targets in batches:
                losses.append(step(inputs, targets).item())
                finished.append(perf_counter())
            progress.set_postfix(loss=f"{losses[-1]:.4f}")

    with torch.no_grad():
        read = network(test_images).argmax(1).numpy()
    weights = np.concatenate([p.detach().numpy().ravel() for p in network.parameters()])
    kernels = outline(step.explain(*next(iter(batches)))) if compiled else ""
    return Reading(np.array(losses), weights, np.diff(finished), read, kernels=kernels)


def report(reading: Reading, folder: Path) -> None:
    """Print the test accuracy, and draw the loss curve and the misread digits.

    Raises
    ------
    SystemExit
        If fewer than GOAL of the test images are read rightly.
    """
    *_, labels = digits()
    accuracy = np.mean(reading.read == labels)
    print(f"digits: {len(reading.losses)} steps, last loss {reading.losses[-1]:.4f}")
    print(f"test accuracy  {accuracy:.2%} of {len(labels)} images (goal {GOAL:.0%})")
    print(f"figure         {draw(reading, folder)}")
    if accuracy < GOAL:
        raise SystemExit("the goal was missed; try more --epochs")


def draw(reading: Reading, folder: Path) -> Path:
    """Save the loss curve and up to twelve misread digits as a PNG; return its path."""
    *_, images, labels = digits()
    misread = np.flatnonzero(reading.read != labels)[:12]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[3, 2])
    curve = left.subplots()
    curve.semilogy(reading.losses, linewidth=0.8)
    curve.set(title="Loss", xlabel="step", ylabel="cross entropy of the batch")
    right.suptitle("Misread: true, and as read")
    for axes in right.subplots(3, 4).flat:
        axes.set_axis_off()
    for axes, i in zip(right.axes, misread, strict=False):
        axes.imshow(images[i].reshape(8, 8), cmap="gray_r")
        axes.set_title(f"{labels[i]}, {reading.read[i]}", fontsize=9)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "digits.png"
    figure.savefig(path, dpi=150)
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, report, and compare with what is asked for."""
    chosen = parse(parser("A perceptron reads digits.", 30, "epochs"), arguments)
    reading = train("numtorch", chosen.epochs, chosen.seed, chosen.compile)
    report(reading, chosen.output_dir)
    if other := run_others(chosen, reading, train, chosen.epochs, chosen.seed):
        difference = largest_relative_difference(reading.losses[:COMPARED], other.losses[:COMPARED])
        print(f"loss curve over the first {COMPARED} steps: within {difference:.1e} relative")


if __name__ == "__main__":
    main()
