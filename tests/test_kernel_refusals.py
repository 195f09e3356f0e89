"""What a kernel cannot contain is refused, and the line named."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import numtorch
from kernel_functions import swish


def endless(x):
    while x > 1:
        x = x / 2
    return x


def guarded(x):
    try:
        return 1 / x
    except ZeroDivisionError:
        return 0.0


def generator(x):
    yield x


def stored(x):
    numtorch.x = x
    return x


def unlimited(*x):
    return sum(x)


def contained(x):
    return x in (1, 2)


def lists(x):
    return sum(x * k for k in range(3))


AT_ONCE = {
    endless: "while x > 1:",
    guarded: "try:",
    generator: "yield x",
    stored: "numtorch.x = x",
    unlimited: "def unlimited(*x):",
    contained: "return x in (1, 2)",
    lists: "return sum(x * k for k in range(3))",
}


def _named(function: Callable[..., Any], text: str) -> str:
    """The end of the message that names a line of a function."""
    with open(__file__) as file:
        lines = [line.strip() for line in file]
    number = lines.index(text, function.__code__.co_firstlineno - 1) + 1
    return f'  File "{__file__}", line {number}, in {function.__name__}\n    {text}'


@pytest.mark.parametrize("function", AT_ONCE)
def test_refused_at_once(function: FunctionType) -> None:
    with pytest.raises(NotImplementedError) as caught:
        numtorch.kernel(function)
    assert str(caught.value).endswith(_named(function, AT_ONCE[function]))


def data_dependent(x):
    total = 0.0
    for i in range(x):
        total += i
    return total


def too_long(x):
    for _ in range(1000):
        x = x / 2
    return x


def unknown_call(x):
    return math.gamma(x)


def unknown_name(x):
    return x * undefined_name  # noqa: F821


def falls_off(x):  # noqa: RET503
    if x > 0:
        return x


def half_assigned(x):
    if x > 0:
        y = x
    return y


def endless_recursion(x):
    return endless_recursion(x - 1)


def two_results(x):
    return x, x


def mixed(x):
    return (x, x) if x > 0 else x


def loops_in_loops(x):
    for _ in range(200):
        for _ in range(100):
            x = x / 2
    return x


def of_text(x):
    return x * "a"


def of_a_tensor(x):
    return x * ONES


def within_a_helper(x):
    return unknown_call(x) + 1


def with_domain_error(x):
    return x * math.log(-1.0)


def wrong_arguments(x):
    return math.exp(x, x)


ONES = numtorch.ones(2)
AT_FIRST_USE = {
    data_dependent: ("range of a number that is not known", "for i in range(x):"),
    too_long: ("at most 256 turns, not 1000", "for _ in range(1000):"),
    unknown_call: ("cannot call gamma", "return math.gamma(x)"),
    unknown_name: ("undefined_name", "return x * undefined_name  # noqa: F821"),
    falls_off: ("without a return", "if x > 0:"),
    half_assigned: ("y has no value", "return y"),
    endless_recursion: ("call themselves", "return endless_recursion(x - 1)"),
    two_results: ("one number, not a tuple", "def two_results(x):"),
    mixed: ("not of one kind", "return (x, x) if x > 0 else x"),
    loops_in_loops: ("at most 2048 turns in all", "for _ in range(100):"),
    of_text: ("not with 'a'", 'return x * "a"'),
    of_a_tensor: ("not with a Tensor", "return x * ONES"),
    with_domain_error: ("math domain error", "return x * math.log(-1.0)"),
    wrong_arguments: ("TypeError", "return math.exp(x, x)"),
}


@pytest.mark.parametrize("function", AT_FIRST_USE)
def test_refused_at_first_use(function: FunctionType) -> None:
    kernel = numtorch.kernel(function)
    what, text = AT_FIRST_USE[function]
    for x in (numtorch.ones(2), numtorch.ones(2, requires_grad=True), np.ones(2, "int64")):
        with pytest.raises(NotImplementedError) as caught:
            kernel(x)
        assert what in str(caught.value)
        assert str(caught.value).endswith(_named(function, text))


def test_a_refusal_in_a_helper_names_the_helper() -> None:
    with pytest.raises(NotImplementedError) as caught:
        numtorch.kernel(within_a_helper)(numtorch.ones(2))
    assert str(caught.value).endswith(_named(unknown_call, "return math.gamma(x)"))


def test_what_cannot_be_a_kernel(tmp_path: Path) -> None:
    space: dict[str, Any] = {}
    exec("def typed(x):\n    return x", space)
    with pytest.raises(OSError, match="the source of typed is not available"):
        numtorch.kernel(space["typed"])
    path = tmp_path / "edited.py"
    path.write_text("def edited(x):\n    return x + 1\n")
    exec(compile(path.read_text(), path, "exec"), space)
    path.write_text("def edited(x):\n    return x + 2\n")
    with pytest.raises(OSError, match="was changed after it had been read"):
        numtorch.kernel(space["edited"])
    for wrong in (math.exp, 3, functools.partial(swish, 1)):
        with pytest.raises(TypeError, match="made of a Python function"):
            numtorch.kernel(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no parameters"):
        numtorch.kernel(lambda: 1)
