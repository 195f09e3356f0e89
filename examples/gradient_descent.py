"""Gradient descent on a linear model: twenty steps by hand, then scikit-learn's diabetes data.

Usage: python examples/gradient_descent.py [--backend torch]
"""

import importlib
from collections.abc import Sequence
from types import ModuleType

from _side_by_side import in_own_process, parse, parser, print_comparison


def twenty_steps(torch: ModuleType, seed: int) -> None:
    """Fit y = X w + noise, 50 samples of 2 features, and print the loss and w after each step."""
    torch.manual_seed(seed)
    d, n, step_size = 2, 50, 0.1
    X = torch.randn(n, d)
    true_w = torch.tensor([[-1.0], [2.0]])
    y = X @ true_w + torch.randn(n, 1) * 0.1
    w = torch.tensor([[1.0], [0]], requires_grad=True)

    print("iter \tloss \tw")
    for i in range(20):
        loss = torch.norm(y - X @ w) ** 2 / n
        loss.backward()
        w.data = w.data - step_size * w.grad
        print(f"{i} \t{loss.item():.2f} \t{w.view(2).detach().numpy()}")
        w.grad.zero_()

    print(true_w.view(2).numpy())
    print(w.view(2).detach().numpy(), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, fit the diabetes data, draw, and compare with PyTorch if asked."""
    chosen = parse(parser("Gradient descent on a linear model.", 5000, "steps"), arguments)
    twenty_steps(importlib.import_module("numtorch"), chosen.seed)

    # scikit-learn and matplotlib take seconds to import: the table must not wait for them.
    diabetes = importlib.import_module("_diabetes")
    run = diabetes.fit("numtorch", chosen.steps)
    diabetes.report(run, chosen.output_dir)
    if chosen.backend == "torch":
        print_comparison(run, in_own_process(diabetes.fit, "torch", chosen.steps))


if __name__ == "__main__":
    main()
