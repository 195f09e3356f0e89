"""Compiled functions: when they are replayed, when recorded again, and what they leave behind."""

from __future__ import annotations

import functools
import logging
import math
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numtorch as torch
from numtorch import compiler, nn
from numtorch.compiler import GraphBreak
from numtorch.compiler.compiled import RETRACES, Compiled
from numtorch_kernels import diskcache
from numtorch_kernels.plan import Refused
from processes import environment


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Nothing is compiled at the start of a test."""
    compiler.reset()


def newest() -> Compiled:
    """What stands behind the function that was compiled last."""
    return compiler._all[max(compiler._all)]


def same(actual: Any, expected: Any) -> bool:
    """Whether two tensors have the same bits."""
    return bool(np.array_equal(actual.detach().numpy(), expected.detach().numpy(), equal_nan=True))


def runs(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    """The function, and a list that grows each time its Python runs, unseen by the recording."""
    calls: list[int] = []
    note = calls.append

    class Note:
        __slots__ = ()

        def __call__(self) -> None:
            note(1)

    noted = Note()

    def counted(*args: Any, **kwargs: Any) -> Any:
        noted()
        return function(*args, **kwargs)

    return counted, calls


# ---------------------------------------------------------------------- replays


def test_python_runs_once() -> None:
    function, calls = runs(lambda a, b: torch.tanh(a * b + a))
    compiled = torch.compile(function)
    for _ in range(3):
        a, b = torch.randn(4), torch.randn(4)
        assert same(compiled(a, b), function(a, b))
    assert len(calls) == 1 + 3


@pytest.mark.parametrize("decorate", [torch.compile, torch.compile(fullgraph=True)])
def test_it_is_a_decorator_that_keeps_the_name(decorate: Callable[..., Any]) -> None:
    @decorate
    def doubled(x: Any) -> Any:
        """Twice x."""
        return x * 2

    assert doubled.__name__ == "doubled"
    assert doubled.__doc__ == "Twice x."
    assert doubled(torch.ones(2)).tolist() == [2.0, 2.0]


def test_results_keep_their_structure() -> None:
    @torch.compile
    def function(x: Any) -> Any:
        return {"a": [x + 1, (x, 3)], "b": None}

    for _ in range(2):
        x = torch.ones(2)
        result = function(x)
        assert result["a"][0].tolist() == [2.0, 2.0]
        assert result["a"][1][0] is x
        assert result["a"][1][1] == 3
        assert result["b"] is None


def test_constants_are_made_anew() -> None:
    @torch.compile
    def function(x: Any) -> Any:
        return torch.zeros(3), x + torch.arange(3)

    function(torch.ones(3))[0].add_(1)
    assert function(torch.ones(3))[0].tolist() == [0.0, 0.0, 0.0]
    function(torch.ones(3))[0].add_(1)
    assert function(torch.ones(3))[0].tolist() == [0.0, 0.0, 0.0]


def test_a_new_batch_size_runs_without_compilation() -> None:
    @torch.compile
    def function(x: Any, w: Any) -> Any:
        return torch.relu(x @ w).sum(1)

    w = torch.randn(6, 5)
    for n in (64, 3, 128, 1):
        x = torch.randn(n, 6)
        assert same(function(x, w), torch.relu(x @ w).sum(1))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.double(),
        lambda x: x.reshape(2, 3),
        lambda x: torch.ones(12)[::2],
        lambda x: x.requires_grad_(),
        lambda x: x.int(),
    ],
    ids=["dtype", "rank", "strides", "requires_grad", "integer"],
)
def test_another_kind_of_tensor_is_recorded(change: Callable[[Any], Any]) -> None:
    function, calls = runs(lambda x: x * 2 + 1)
    compiled = torch.compile(function)
    compiled(torch.ones(6))
    other = change(torch.ones(6))
    result = compiled(other)
    assert len(calls) == 2
    assert result.dtype is other.dtype
    assert result.requires_grad == other.requires_grad
    assert same(result, other * 2 + 1)


SCALE = 2.0


def test_globals_and_cells_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    shift = 1.0

    @torch.compile
    def function(x: Any) -> Any:
        return x * SCALE + shift

    assert function(torch.ones(1)).item() == 3.0
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 5.0)
    assert function(torch.ones(1)).item() == 6.0
    shift = -1.0
    assert function(torch.ones(1)).item() == 4.0
    assert len(newest().replays) == 3


SCRIPT = """
import numtorch as torch

model = torch.nn.Linear(3, 2)
opt = torch.optim.SGD(model.parameters(), lr=0.01)
scale = 2.0

def loss_of(x):
    return model(x).square().sum() * scale

{decorator}
def half(x):
    return x * 0.5

@torch.compile
def step(x):
    opt.zero_grad()
    loss = half(loss_of(x))
    loss.backward()
    opt.step()
    return loss
"""


@pytest.mark.parametrize("decorator", ["", "@torch.compile", "@torch.enable_grad()"])
def test_a_script_may_call_its_function_like_a_method(decorator: str) -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(SCRIPT.format(decorator=decorator), scope)
    x, compiled = torch.rand(5, 3), newest()
    for scale in (2.0, 4.0):
        scope["scale"] = scale
        for _ in range(4):
            expected = scope["loss_of"](x).item() / 2
            assert scope["step"](x).item() == pytest.approx(expected)
    # without gradients, with gradients, with another scale
    assert (len(compiled.replays), compiled.reason) == (3, "")


def test_what_wraps_a_librarys_function_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    @functools.wraps(math.hypot)
    def scaled(x: Any) -> Any:
        return x * SCALE

    compiled = torch.compile(lambda x: scaled(x))
    assert compiled(torch.ones(1)).item() == 2.0
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 5.0)
    assert compiled(torch.ones(1)).item() == 5.0


def test_numbers_among_the_arguments() -> None:
    @torch.compile
    def function(x: Any, n: int, *, factor: float = 1.0) -> Any:
        return x[:n] * factor

    x = torch.arange(4.0)
    assert function(x, 2).tolist() == [0.0, 1.0]
    assert function(x, 3, factor=2.0).tolist() == [0.0, 2.0, 4.0]
    assert function(x, 3, factor=math.nan).isnan().all()
    assert function(x, 3, factor=math.nan).isnan().all()


def test_ndarrays_are_inputs() -> None:
    data = np.ones(3, np.float32)

    @torch.compile
    def function(x: Any) -> Any:
        return x + torch.from_numpy(data)

    assert function(torch.ones(3)).tolist() == [2.0, 2.0, 2.0]
    data[:] = 5
    assert function(torch.ones(3)).tolist() == [6.0, 6.0, 6.0]


def test_too_many_kinds_of_calls_warn_once_and_run_eagerly() -> None:
    function = torch.compile(lambda x, n: x * n)
    for n in range(RETRACES):
        function(torch.ones(2), n)
    with pytest.warns(UserWarning, match=f"was recorded {RETRACES} times"):
        assert function(torch.ones(2), -1).tolist() == [-1.0, -1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert function(torch.ones(2), -2).tolist() == [-2.0, -2.0]


# ---------------------------------------------------------------------- tensors that are changed


def test_changes_in_place_are_kept() -> None:
    @torch.compile
    def function(x: Any, y: Any) -> Any:
        x.add_(y)
        return x * 2

    x, y = torch.zeros(3), torch.ones(3)
    for step in range(1, 5):
        version = x._version
        assert function(x, y).tolist() == [2.0 * step] * 3
        assert x.tolist() == [1.0 * step] * 3
        assert x._version > version


def test_arguments_that_share_memory_are_told_apart() -> None:
    def function(x: Any, y: Any) -> Any:
        x.add_(1)
        return x * y

    compiled = torch.compile(function)
    compiled(torch.ones(3), torch.ones(3))
    compiled(torch.ones(3), torch.ones(3))
    one, other = torch.ones(4), torch.ones(4)
    assert same(compiled(one[:3], one[1:]), function(other[:3], other[1:]))
    assert same(one, other)
    one, other = torch.ones(3), torch.ones(3)
    assert same(compiled(one, one), function(other, other))


def test_a_view_of_an_argument_is_a_view() -> None:
    compiled = torch.compile(lambda x: (x.t(), x + 1))
    for _ in range(5):
        x = torch.zeros(2, 3)
        view, _ = compiled(x)
        view[0, 1] = 7
        assert x[1, 0].item() == 7


def test_what_is_kept_elsewhere_has_its_values() -> None:
    kept: list[Any] = []

    def function(x: Any) -> Any:
        y = x * 2
        kept.append(y)
        return y + 1

    compiled = torch.compile(function)
    for step in range(5):
        compiled(torch.full((2,), float(step)))
    assert [each.tolist() for each in kept] == [[2.0 * s] * 2 for s in range(5)]


def test_counters_count() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return x * self.calls

    module = Counting()
    compiled = torch.compile(module)
    assert [compiled(torch.ones(1)).item() for _ in range(5)] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert module.calls == 5


# ---------------------------------------------------------------------- graph breaks


def branching(x: Any) -> Any:
    y = x * 2
    if y.sum() > 0:
        return y.exp()
    return -y


@pytest.mark.parametrize("size", [3, 70_000])
def test_branches_on_values_go_on_rightly(size: int) -> None:
    compiled = torch.compile(branching)
    for value in (1.0, -1.0, 2.0, -2.0, 1.0, -1.0):
        x = torch.full((size,), value)
        assert same(compiled(x), branching(x))
    (place,) = newest().breaks
    assert place.text == "if y.sum() > 0:"


def test_fullgraph_names_the_line_and_changes_nothing() -> None:
    compiled = torch.compile(branching, fullgraph=True)
    with pytest.raises(GraphBreak, match=r"test_compile\.py:\d+: if y\.sum\(\) > 0:"):
        compiled(torch.ones(3))

    w = torch.ones(2, requires_grad=True)

    @torch.compile(fullgraph=True)
    def step() -> Any:
        (w * w).sum().backward()
        with torch.no_grad():
            w.sub_(w.grad)
        return w.sum().item()

    with pytest.raises(GraphBreak):
        step()
    assert w.grad is None
    assert w.tolist() == [1.0, 1.0]


def test_prints_print(capsys: pytest.CaptureFixture[str]) -> None:
    @torch.compile
    def function(x: Any) -> Any:
        y = x + 1
        print("y =", y)
        return y * 2

    for _ in range(5):
        assert function(torch.ones(1)).item() == 4.0
    assert capsys.readouterr().out == "y = tensor([2.])\n" * 5


def test_item_and_tolist() -> None:
    @torch.compile
    def function(x: Any) -> Any:
        return x * x.sum().item() + sum(x.tolist())

    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        assert function(torch.full((2,), value)).tolist() == [2 * value * value + 2 * value] * 2


@pytest.mark.parametrize("draw", ["rand", "numpy"])
def test_random_numbers_are_drawn_each_time(draw: str) -> None:
    def function(x: Any) -> Any:
        return x + (torch.rand(3) if draw == "rand" else float(np.random.rand()))

    compiled = torch.compile(function)
    results = []
    for each in (function, compiled):
        torch.manual_seed(0)
        np.random.seed(0)
        results.append([each(torch.zeros(3)).tolist() for _ in range(6)])
    assert results[0] == results[1]


def test_an_error_is_the_eager_one_and_changes_nothing() -> None:
    w = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)

    @torch.compile
    def step(x: Any, target: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(x * w + x, target)
        loss.backward()
        optimizer.step()
        return loss

    x = torch.randn(4, 3)
    for _ in range(3):
        step(x, torch.tensor([0, 1, 2, 0]))
    before = w.detach().clone()
    with pytest.raises(IndexError, match="Target 9 is out of bounds"):
        step(x, torch.tensor([0, 1, 9, 0]))
    assert same(w, before)
    with pytest.raises(RuntimeError, match="must match"):
        step(torch.randn(4, 5), torch.tensor([0, 1, 2, 0]))


# ---------------------------------------------------------------------- other ways to run


def test_background_gives_eager_results_meanwhile() -> None:
    compiled = torch.compile(lambda x: torch.sin(x) * x + torch.cos(x), mode="background")
    x = torch.randn(5)
    expected = torch.sin(x) * x + torch.cos(x)
    deadline = time.monotonic() + 60
    while not newest().replays:
        assert same(compiled(x), expected)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert same(compiled(x), expected)


def test_what_cannot_be_a_program_runs_eagerly_in_the_background_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> Any:
        raise Refused("for the test")

    monkeypatch.setattr(compiler.compiled, "Replay", refuse)
    compiled = torch.compile(lambda x: x * 2 + 1, mode="background")
    x = torch.randn(5)
    deadline = time.monotonic() + 60
    while newest().reason != "for the test":
        assert same(compiled(x), x * 2 + 1)
        assert time.monotonic() < deadline
    assert same(compiled(x), x * 2 + 1)
    assert not newest().replays


def test_a_long_compilation_is_announced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiler.compiled, "PATIENCE", 0.0)
    monkeypatch.setattr(diskcache, "directory", lambda: None)
    x = torch.ones(2)
    with caplog.at_level(logging.WARNING, "numtorch"):
        torch.compile(lambda x: torch.cosh(torch.sinh(torch.atan(x))))(x)  # as nowhere else
    assert "still compiling" in caplog.text
    caplog.clear()
    compiler.reset()
    with caplog.at_level(logging.WARNING, "numtorch"):
        torch.compile(lambda x: torch.cosh(torch.sinh(torch.atan(x))))(x)
    assert not caplog.text


def test_threads_share_a_compiled_function() -> None:
    compiled = torch.compile(lambda x: (x * 2 + 1).sum(1))
    failures: list[Any] = []

    def work(number: int) -> None:
        for _ in range(50):
            x = torch.full((30, 40), float(number))
            if not same(compiled(x), torch.full((30,), 40.0 * (2 * number + 1))):
                failures.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_compiled_functions_call_each_other() -> None:
    inner = torch.compile(lambda x: x * 2)
    outer = torch.compile(lambda x: inner(x) + 1)
    for _ in range(3):
        assert outer(torch.ones(2)).tolist() == [3.0, 3.0]


def test_reset_and_disable() -> None:
    function, calls = runs(lambda x: x + 1)
    compiled = torch.compile(function)
    compiled(torch.ones(1))
    compiler.reset()
    compiled(torch.ones(1))
    assert len(calls) == 2
    assert torch.compile(function, disable=True) is function


def test_what_is_not_callable_is_refused() -> None:
    with pytest.raises(TypeError, match="expects a function or a module, but got int"):
        torch.compile(3)
    with pytest.raises(RuntimeError, match="Unrecognized mode=fast"):
        torch.compile(lambda x: x, mode="fast")


def test_explain_shows_kernels_and_source() -> None:
    @torch.compile
    def function(a: Any, b: Any) -> Any:
        return torch.tanh(a * b + a).sum()

    report = function.explain(torch.randn(300, 1000), torch.randn(300, 1000))
    (graph,) = report.graphs
    fused, total, *_ = graph.parts[0].kernels
    assert fused.operations == ("mul", "add", "tanh")
    assert total.name == "rows"
    assert fused.group == total.group
    assert fused.bytes_read == 2 * 4 * 300_000
    assert fused.bytes_written == 0  # its result stays in cache
    assert "tanh_f32" in report.source
    assert "mul, add, tanh" in str(report)


WITHOUT_COMPILER = """
import importlib.util, os, sys

packages = [importlib.util.find_spec(name).origin for name in ("numtorch", "numtorch_kernels")]
installed = tuple(os.path.dirname(path) + os.sep for path in packages)

def refuse(event, arguments):
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "subprocess.Popen"):
        changes = event != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event == "subprocess.Popen" or (changes and str(arguments[0]).startswith(installed)):
            raise PermissionError(event, arguments)

sys.dont_write_bytecode = True
sys.addaudithook(refuse)
import numtorch as torch
function = torch.compile(lambda a, b: torch.tanh(a * b + a).sum())
a = torch.ones(3, requires_grad=True)
for _ in range(2):
    function(a, torch.ones(3)).backward()
print(a.grad.tolist())
"""


@pytest.mark.slow
def test_it_needs_no_compiler(tmp_path: Any) -> None:
    """Nothing on PATH, no processes, an installation that cannot be written, an empty cache."""
    variables = environment(tmp_path / "cache", PATH="", HOME=str(tmp_path), CC=None, CXX=None)
    command = [sys.executable, "-c", WITHOUT_COMPILER]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    expected = 2 * 2 * (1 - math.tanh(2.0) ** 2)
    assert eval(result.stdout) == pytest.approx([expected] * 3, rel=1e-5)
