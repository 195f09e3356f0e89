"""Least squares by full-batch gradient descent on scikit-learn's diabetes data."""

import importlib
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes
from tqdm import trange

from _side_by_side import Run, outline

TOLERANCE = 1e-3  # of the loss above the closed-form optimum


@cache
def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Standardised features and a column of ones, (442, 11), and targets, (442, 1), float32."""
    features, target = load_diabetes(return_X_y=True)
    standard = (features - features.mean(0)) / features.std(0)
    X = np.column_stack([standard, np.ones(len(standard))])
    return X.astype(np.float32), target[:, None].astype(np.float32)


@cache
def least_loss() -> float:
    """Mean squared error of the closed-form least squares solution."""
    X, y = (array.astype(np.float64) for array in diabetes())
    w = np.linalg.lstsq(X, y)[0]
    return float(np.mean((X @ w - y) ** 2))


def fit(backend: str, steps: int, compiled: bool = False, step_size: float = 0.2) -> Run:
    """Descend on `backend` until the loss is within TOLERANCE of the optimum, or `steps` are done.

    With `compiled`, the step (forward, backward and update) is one compiled function.

    The largest curvature of this loss is 8.05, so steps above 2 / 8.05 = 0.248 would diverge.
    """
    torch = importlib.import_module(backend)
    X, y = map(torch.from_numpy, diabetes())
    w = torch.zeros(X.shape[1], 1, requires_grad=True)
    goal = (1 + TOLERANCE) * least_loss()

    def step():
        loss = ((X @ w - y) ** 2).mean()
        loss.backward()
        w.data = w.data - step_size * w.grad
        w.grad = None
        return loss

    if compiled:
        step = torch.compile(step)
    losses, finished = [], [perf_counter()]
    with trange(steps, desc=backend, unit="step", disable=None) as progress:
        for _ in progress:
            reached = w.data
            losses.append(step().item())
            if losses[-1] <= goal:
                w.data = reached  # this step's loss is of the weights before it
                break
            finished.append(perf_counter())
    weights = w.detach().numpy().ravel()
    kernels = outline(step.explain()) if compiled else ""
    return Run(np.array(losses), weights, np.diff(finished), kernels=kernels)


def report(run: Run, folder: Path) -> None:
    """Print the final figures and draw the loss curve and predicted against true.

    Raises
    ------
    SystemExit
        If the steps did not suffice to come within TOLERANCE of the optimum.
    """
    X, y = diabetes()
    predicted = X @ run.weights
    excess = run.losses[-1] / least_loss() - 1
    explained = 1 - np.mean((predicted - y[:, 0]) ** 2) / np.var(y)
    print(f"\ndiabetes, {X.shape[0]} x {X.shape[1] - 1}: {len(run.losses) - 1} steps")
    print(f"loss           {run.losses[-1]:.4f}")
    print(f"closed form    {least_loss():.4f}")
    print(f"excess         {excess:.2e} relative (goal {TOLERANCE:g})")
    print(f"R squared      {explained:.4f}")
    print(f"figure         {draw(run, predicted, y[:, 0], folder)}")
    if excess > TOLERANCE:
        raise SystemExit(f"{len(run.losses) - 1} steps did not suffice; try more with --steps")


def draw(run: Run, predicted: np.ndarray, true: np.ndarray, folder: Path) -> Path:
    """Save the two panels as a PNG in `folder` and return its path."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    curve, scatter = figure.subplots(1, 2)
    curve.semilogy(run.losses / least_loss() - 1)
    curve.axhline(TOLERANCE, color="0.5", linestyle="--", linewidth=1, label="goal")
    curve.set(title="Loss", xlabel="step", ylabel="excess over the closed form, relative")
    curve.legend()
    scatter.scatter(true, predicted, s=12, alpha=0.6)
    scatter.axline((150, 150), slope=1, color="0.5", linestyle="--", linewidth=1)
    scatter.set(title="Disease progression", xlabel="true", ylabel="predicted", aspect="equal")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "gradient_descent.png"
    figure.savefig(path, dpi=150)
    return path
