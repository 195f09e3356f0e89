"""The examples, run as a user runs them."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PNG = b"\x89PNG\r\n\x1a\n"


def run(example: str, folder: Path, *options: str) -> str:
    """What the example prints; its figures go into the folder."""
    command = [sys.executable, EXAMPLES / f"{example}.py", "--output-dir", folder, *options]
    finished = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert (folder / f"{example}.png").read_bytes().startswith(PNG)
    return finished.stdout


def number(pattern: str, text: str) -> float:
    """The number in the pattern's group."""
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def descend(torch: ModuleType) -> list[list[float]]:
    """Loss and weights after each of the twenty steps that the example prints first."""
    torch.manual_seed(0)
    X = torch.randn(50, 2)
    y = X @ torch.tensor([[-1.0], [2.0]]) + torch.randn(50, 1) * 0.1
    w = torch.tensor([[1.0], [0.0]])
    table = []
    for _ in range(20):
        loss = (y - X @ w).square().mean()
        w = w + 0.1 * 2 / 50 * X.T @ (y - X @ w)
        table.append([loss.item(), *w.ravel().tolist()])
    return table


def assert_table(printed: str, oracle: ModuleType) -> None:
    """What is printed begins with the table of the twenty steps."""
    lines = printed.splitlines()
    assert lines[0] == "iter \tloss \tw"
    for i, (line, expected) in enumerate(zip(lines[1:], descend(oracle), strict=False)):
        iteration, loss, *w = line.replace("[", " ").replace("]", " ").split()
        assert (int(iteration), loss) == (i, f"{expected[0]:.2f}")
        assert [float(x) for x in w] == pytest.approx(expected[1:], abs=1e-5)


def assert_compiled(printed: str) -> None:
    """What is printed compares eager with compiled steps, and says what these became."""
    assert "loss curves:   equal, bit for bit" in printed
    assert "weights 0.0e+00" in printed
    assert number(r" us eager, (\d+) us compiled", printed) > 0
    kernels, passes = (number(p, printed) for p in (r"(\d+) kernels in", r"in (\d+) passes"))
    assert kernels >= passes == len(printed.split("one native call:\n")[1].splitlines())


@pytest.mark.slow
def test_gradient_descent(tmp_path: Path, oracle: ModuleType) -> None:
    printed = run("gradient_descent", tmp_path, "--backend", "torch")
    assert_table(printed, oracle)
    assert number(r"excess +(\S+) relative", printed) <= 1e-3
    assert number(r"losses (\S+) relative", printed) < 1e-4


@pytest.mark.slow
def test_digits(tmp_path: Path, oracle: ModuleType) -> None:
    printed = run("digits", tmp_path, "--backend", "torch")
    assert number(r"test accuracy +(\S+)%", printed) >= 97
    assert number(r"first 50 steps: within (\S+) relative", printed) <= 1e-3


@pytest.mark.slow
def test_gradient_descent_compiled(tmp_path: Path, oracle: ModuleType) -> None:
    printed = run("gradient_descent", tmp_path, "--compile")
    assert_table(printed, oracle)
    assert_compiled(printed)


@pytest.mark.slow
def test_digits_compiled(tmp_path: Path) -> None:
    printed = run("digits", tmp_path, "--compile", "--epochs", "20")
    assert number(r"test accuracy +(\S+)%", printed) >= 97
    assert_compiled(printed)


@pytest.mark.slow
def test_an_unreached_goal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="3 steps did not suffice"):
        run("gradient_descent", tmp_path, "--steps", "4")
