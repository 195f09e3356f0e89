"""Gradient descent on a linear model: twenty steps by hand, then scikit-learn's diabetes data.

Usage: python examples/gradient_descent.py [--compile] [--backend torch]
"""

import importlib
from collections.abc import Sequence
from types import ModuleType

from _side_by_side import parse, parser, run_others


def twenty_steps(torch: ModuleType, seed: int, compiled: bool) -> None:
    """Fit y = X w + noise, 50 samples of 2 features, and print the loss and w after each step."""
    torch.manual_seed(seed)
    d, n, step_size = 2, 50, 0.1
    X = torch.randn(n, d)
    true_w = torch.tensor([[-1.0], [2.0]])
    y = X @ true_w + torch.randn(n, 1) * 0.1
    w = torch.tensor([[1.0], [0]], requires_grad=True)

    def step():
        loss = torch.norm(y - X @ w) ** 2 / n
        loss.backward()
        w.data = w.data - step_size * w.grad
        w.grad.zero_()
        return loss

    if compiled:
        step = torch.compile(step)
    print("iter \tloss \tw")
    for i in range(20):
        loss = step()
        print(f"{i} \t{loss.item():.2f} \t{w.view(2).detach().numpy()}")

    print(true_w.view(2).numpy())
    print(w.view(2).detach().numpy(), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, fit the diabetes data, draw, and compare with what is asked for."""
    chosen = parse(parser("Gradient descent on a linear model.", 5000, "steps"), arguments)
    twenty_steps(importlib.import_module("numtorch"), chosen.seed, chosen.compile)

    # scikit-learn and matplotlib take seconds to import: the table must not wait for them.
    diabetes = importlib.import_module("_diabetes")
    run = diabetes.fit("numtorch", chosen.steps, chosen.compile)
    diabetes.report(run, chosen.output_dir)
    run_others(chosen, run, diabetes.fit, chosen.steps)


if __name__ == "__main__":
    main()
