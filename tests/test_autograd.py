"""The graph and the engine behave as PyTorch's."""

import copy
import gc
import pickle
import threading
import warnings
import weakref
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import numtorch as torch
from programs import transcript

PROGRAMS = {
    "backward of a scalar": """
        x = leaf(2, 3)
        (x * x).sum().backward()
        show(x.grad, x.grad.requires_grad, x.is_leaf, x.grad_fn)
    """,
    "backward with a gradient": """
        x = leaf(3)
        (x * x).backward(torch.tensor([1.0, 10.0, 100.0]))
        show(x.grad)
        (x * 2).backward(torch.ones(3, dtype=torch.float64))
        show(x.grad)
    """,
    "accumulation in place": """
        x = leaf(3)
        (x * x).sum().backward()
        first = x.grad
        (x * x).sum().backward()
        show(x.grad is first, first)
    """,
    "several roots": """
        x, y = leaf(3), leaf(3)
        torch.autograd.backward([(x * y).sum(), x * 2], [None, torch.ones(3)])
        show(x.grad, y.grad)
    """,
    "refused roots": """
        x = leaf(3)
        y = x * 2
        refused(lambda: y.backward())
        refused(lambda: torch.ones(3).backward())
        refused(lambda: torch.ones(()).backward())
        refused(lambda: y.backward(torch.ones(2)))
        refused(lambda: torch.autograd.backward([y.sum(), y.sum()], [torch.ones(())]))
        refused(lambda: torch.autograd.backward([y.sum()], ["one"]))
        refused(lambda: torch.autograd.backward(y.sum(), inputs=[]))
        refused(lambda: torch.autograd.grad(y.sum(), []))
        refused(lambda: torch.autograd.grad(y, x))
        refused(lambda: torch.autograd.grad(y.sum(), torch.ones(2)))
        refused(lambda: torch.autograd.grad(y.sum(), leaf(2)))
        refused(lambda: torch.autograd.grad(
            y.sum(), x, materialize_grads=True, allow_unused=False))
        show(x.grad)
    """,
    "grad": """
        x, y, z = leaf(3), leaf(3), leaf(2)
        out = (x * y).sum()
        show(torch.autograd.grad(out, [x, y], retain_graph=True))
        show(torch.autograd.grad(out, (y, z), retain_graph=True, allow_unused=True))
        show(torch.autograd.grad(out, (y, z), retain_graph=True, materialize_grads=True))
        show(torch.autograd.grad([out, x.sum()], x, [torch.tensor(2.0), None]))
        show(x.grad, y.grad)
    """,
    "grad of inner tensors": """
        x = leaf(3)
        y = x * x
        z = y.exp()
        show(torch.autograd.grad(z.sum(), [y, x], retain_graph=True))
        show(torch.autograd.grad(z.sum(), z, retain_graph=True))
        show(torch.autograd.grad(z.sum(), [x, x]))
        show(torch.autograd.grad(x.sum(), x), torch.autograd.grad(x, x, torch.ones(3)))
    """,
    "inputs of backward": """
        x, w = leaf(3), leaf(3)
        y = x * w
        y.sum().backward(inputs=[w], retain_graph=True)
        show(x.grad, w.grad)
        y.sum().backward(inputs=y, retain_graph=True)
        show(x.grad, w.grad, y.grad, y.retains_grad)
        y.sum().backward(inputs=[x, y])
        show(x.grad, y.grad)
    """,
    "the graph is freed": """
        x = leaf(3)
        y = (x * x).sum()
        y.backward()
        refused(y.backward, 400)
        y = (x * x).sum()
        y.backward(retain_graph=True)
        y.backward()
        refused(y.backward)
        show(x.grad)
        y = (x + 1).sum()
        y.backward()
        y.backward()
        show(x.grad)
    """,
    "higher orders": """
        x = leaf(3, dtype=torch.float64)
        y = (x ** 4 + x.sin() * x.exp()).sum()
        for _ in range(5):
            (slope,) = torch.autograd.grad(y, x, create_graph=True)
            show(slope.requires_grad, slope.detach())
            y = slope.sum()
        y.backward()
        show(x.grad)
    """,
    "create_graph in backward": """
        x = leaf(3)
        (x * x * x).sum().backward(create_graph=True)
        show(x.grad.detach(), x.grad.requires_grad)
        slope = x.grad
        x.grad = None
        slope.sum().backward()
        show(x.grad)
    """,
    "tensor hooks": """
        x, w = leaf(3), leaf(3)
        y = x * w
        seen = []
        x.register_hook(lambda g: seen.append(("x", g)))
        w.register_hook(lambda g: g * 10)
        handle = y.register_hook(lambda g: seen.append(("y", g)))
        y.register_hook(lambda g: g * 2)
        y.register_hook(lambda g: seen.append(("y again", g)))
        y.sum().backward(retain_graph=True)
        show(seen, x.grad, w.grad)
        handle.remove()
        seen.clear()
        y.sum().backward()
        show(len(seen), x.grad)
        y.register_hook(lambda g: 3)
        refused(lambda: (x * w).register_hook(lambda g: 3) and None)
        refused(lambda: torch.ones(3).register_hook(print))
    """,
    "a hook that gives no tensor": """
        x = leaf(3)
        y = x * 2
        y.register_hook(lambda g: 3)
        refused(y.sum().backward)
    """,
    "the order of hooks": """
        x, w = leaf(3), leaf(3)
        y = x * 2
        z = (y * w).sum()
        for tensor, name in ((x, "x"), (y, "y"), (w, "w"), (z, "z")):
            tensor.register_hook(lambda g, name=name: show(name))
        for leaf_, name in ((x, "x"), (w, "w")):
            leaf_.register_post_accumulate_grad_hook(lambda t, name=name: show(name, t.grad))
        z.backward()
    """,
    "post-accumulate hooks": """
        x = leaf(3)
        handle = x.register_post_accumulate_grad_hook(lambda t: show(t.grad, t is x))
        (x * x).sum().backward()
        (x * x).sum().backward()
        torch.autograd.grad((x * x).sum(), x)
        handle.remove()
        (x * x).sum().backward()
        show(x.grad)
        refused(lambda: (x * 2).register_post_accumulate_grad_hook(print))
        refused(lambda: torch.ones(2).register_post_accumulate_grad_hook(print))
    """,
    "node hooks": """
        x = leaf(2, 3)
        y = x.exp()
        y.grad_fn.register_prehook(lambda grads: (grads[0] * 2,))
        handle = y.grad_fn.register_hook(lambda inputs, outputs: show(inputs, outputs))
        y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] + 1,))
        y.sum().backward(retain_graph=True)
        show(x.grad)
        handle.remove()
        y.sum().backward()
        show(x.grad)
    """,
    "retain_grad": """
        x = leaf(3)
        y = x * 2
        y.retain_grad()
        y.retain_grad()
        z = (y * y).sum()
        z.backward(retain_graph=True)
        show(y.grad, y.retains_grad, y.grad is x.grad, x.retains_grad)
        z.backward()
        show(y.grad)
        x.retain_grad()
        refused(torch.ones(3).retain_grad)
        g = torch.ones(3)
        y = x * 2
        y.retain_grad()
        y.backward(g)
        show(y.grad is g)
    """,
    "hooks and retained gradients of in-place results": """
        x = leaf(3)
        y = x * 1
        y.retain_grad()
        y.register_hook(lambda g: show("before", g))
        y.mul_(3)
        y.register_hook(lambda g: show("after", g))
        y.sum().backward()
        show(y.grad, x.grad)
    """,
    "names and edges": """
        x = leaf(3)
        y = (x * 2 + x).exp()
        show(y.grad_fn.next_functions, y.grad_fn.next_functions[0][0].next_functions)
        accumulate = y.grad_fn.next_functions[0][0].next_functions[1][0]
        show(accumulate.variable is x, accumulate.next_functions)
        show((x * torch.ones(3)).grad_fn.next_functions, y.grad_fn, y.output_nr)
        show(x.unbind()[1].output_nr)
        show(y.grad_fn.metadata)
        show((x * 3).grad_fn(torch.ones(3)))
    """,
    "requires_grad": """
        x = torch.ones(3)
        show(x.requires_grad, x.requires_grad_() is x, x.requires_grad, x.is_leaf)
        y = x * 2
        refused(lambda: y.requires_grad_(False), 120)
        refused(lambda: setattr(y, "requires_grad", True))
        refused(lambda: torch.ones(3, dtype=torch.int64).requires_grad_())
        show(y.detach().requires_grad, y.detach().is_leaf, y.data.requires_grad)
        y.detach_()
        show(y, y.requires_grad, y.is_leaf)
        refused(lambda: (x * 2)[0].detach_())
        refused(lambda: x.numpy())
        refused(lambda: (x * 2).numpy())
    """,
    "assigning grad": """
        x = leaf(3)
        x.grad = torch.ones(3)
        (x * 2).sum().backward()
        show(x.grad)
        x.grad = None
        show(x.grad)
        refused(lambda: setattr(x, "grad", torch.ones(2)))
        refused(lambda: setattr(x, "grad", torch.ones(3, dtype=torch.float64)), 43)
        refused(lambda: setattr(x, "grad", x))
        refused(lambda: setattr(x, "grad", 3))
    """,
    "modes": """
        x = leaf(3)
        with torch.no_grad():
            show(torch.is_grad_enabled(), (x * 2).requires_grad)
            with torch.enable_grad():
                show((x * 2).requires_grad)
            show((x * 2).requires_grad)
        @torch.no_grad()
        def double(t):
            return t * 2
        @torch.no_grad()
        def numbers(t):
            for i in range(2):
                yield t * i, torch.is_grad_enabled()
        show(double(x).requires_grad, list(numbers(x)))
        with torch.set_grad_enabled(False):
            show((x * 2).requires_grad)
        torch.set_grad_enabled(False)
        show((x * 2).requires_grad)
        torch.set_grad_enabled(True)
        with torch.inference_mode():
            show((x * 2).requires_grad, torch.is_inference_mode_enabled(), torch.is_grad_enabled())
        show((x * 2).requires_grad)
        try:
            with torch.no_grad():
                raise KeyError
        except KeyError:
            show(torch.is_grad_enabled())
        x.register_hook(lambda g: show(torch.is_grad_enabled()))
        (x * 2).sum().backward()
        (x * x).sum().backward(create_graph=True)
    """,
    "saved tensors that were changed": """
        x = leaf(2, 3)
        y = x * 1
        z = y.sin()
        y.add_(1)
        refused(z.sum().backward, 500)
        z = x.exp()
        z.add_(1)
        refused(z.sum().backward, 500)
        y = x * 1
        z = y.sum()
        y.add_(1)
        z.backward()
        show(x.grad)
        y = x * 1
        z = y * 3
        y.detach().zero_()
        z.sum().backward()
        y = x * 1
        z = y * y
        y.detach().zero_()
        refused(z.sum().backward)
        y = x * 1
        z = y * y
        y.data.zero_()
        z.sum().backward()
        show(x.grad)
    """,
    "shared subexpressions": """
        x = leaf(3)
        y = x * 2
        a, b = y + 1, y * y
        c = a * b + y
        (c * a + b + x).sum().backward()
        show(x.grad)
    """,
    "several outputs": """
        x = leaf(2, 3)
        a, b = x.unbind()
        a.register_hook(lambda g: show("a", g))
        (b * b).sum().backward()
        show(x.grad)
        top, where = x.max(1)
        (top * 2).sum().backward()
        show(x.grad, where)
    """,
    "dtypes": """
        x = leaf(3)
        d = leaf(3, dtype=torch.float64)
        (x * d).sum().backward()
        show(x.grad, d.grad)
        (x.to(torch.float64) * d).sum().backward()
        show(x.grad, d.grad)
        i = torch.tensor([1, 2, 3])
        (x * i / 2).sum().backward()
        show(x.grad, (x > 1).requires_grad)
    """,
    "broadcasting": """
        x, y, s = leaf(2, 1, 3), leaf(4, 1), leaf(1)
        (x * y * s + s.reshape(())).sum().backward()
        show(x.grad, y.grad, s.grad)
    """,
    "grad of a tensor that is no leaf": """
        x = leaf(3)
        y = x * 2
        y.sum().backward()
        show(y.grad)
    """,
    "copies": """
        import copy
        x = leaf(3)
        (x * x).sum().backward()
        z = copy.deepcopy(x)
        show(z, z.grad, z.grad is x.grad, z.requires_grad)
        refused(lambda: copy.deepcopy(x * 2), 100)
    """,
    "Variable": """
        t = torch.ones(2)
        v = torch.autograd.Variable(t, requires_grad=True)
        show(v, isinstance(t, torch.autograd.Variable), t.requires_grad)
        show(v.data_ptr() == t.data_ptr())
        refused(lambda: torch.autograd.Variable(3))
    """,
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_programs(oracle: ModuleType, program: str) -> None:
    assert transcript(torch, program) == transcript(oracle, program)


def _leaf(*values: float) -> Any:
    return torch.tensor([float(v) for v in values], requires_grad=True)


def _chain(x: Any, length: int, step: Any) -> Any:
    for _ in range(length):
        x = step(x)
    return x


STEPS = {
    "saving": (lambda y: y * 1.0, 100_000),
    "not saving": (lambda y: y + 1, 20_000),
    "in place": (lambda y: y.mul_(1.0), 20_000),
    "view": (lambda y: y.view(3), 20_000),
}


@pytest.mark.parametrize(("step", "length"), STEPS.values(), ids=STEPS)
def test_deep_graphs(step: Any, length: int) -> None:
    x = _leaf(1, 2, 3)
    y = _chain(x * 1, length, step)
    first = weakref.ref(y.grad_fn)
    gc.collect()
    gc.disable()
    try:
        y.sum().backward()
        assert x.grad.tolist() == [1, 1, 1]
        del y
        assert first() is None
        y = _chain(x * 1, length, step)
        first = weakref.ref(y.grad_fn)
        del y
        assert first() is None
    finally:
        gc.enable()


GRAPHS = {
    "product with itself": lambda x: x * x,
    "saved result": lambda x: x.exp(),
    "in place with itself": lambda x: (x * 1).mul_(2),
    "in place on a view": lambda x: _changed_view(x * 1),
    "of its own result": lambda x: x.exp().add_(1),
    "second order": lambda x: torch.autograd.grad((x**3).sum(), x, create_graph=True)[0],
    "several outputs": lambda x: x.unbind()[0],
}


def _changed_view(y: Any) -> Any:
    y[:1].mul_(y[2:])
    return y


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_graphs_are_freed_without_the_cycle_collector(graph: Any) -> None:
    x = _leaf(1, 2, 3)
    gc.collect()
    gc.disable()
    try:
        y = graph(x)
        node, tensor = weakref.ref(y.grad_fn), weakref.ref(y)
        del y
        assert tensor() is None
        assert node() is None
    finally:
        gc.enable()


def test_saved_tensors_are_freed_by_backward() -> None:
    x = _leaf(1, 2, 3)
    y = x * 1
    z = (y * y).sum()
    saved = weakref.ref(y)
    del y
    assert saved() is not None
    z.backward()
    assert saved() is None


def test_no_two_tensors_get_the_same_gradient_memory() -> None:
    """Whatever rules give back the gradient they got, or views of it, leaves own their memory."""
    start = torch.ones(3)
    a, b, c = _leaf(1, 2, 3), _leaf(1, 2, 3), _leaf(1, 2, 3)
    kept: list[Any] = []
    inner = a + b
    inner.register_hook(kept.append)
    inner.retain_grad()
    (inner + c.view(1, 3).view(3) + c.expand(2, 3)[0]).backward(start)
    memories = [t.grad.numpy() for t in (a, b, c)] + [inner.grad.numpy(), kept[0].numpy()]
    memories.append(start.numpy())
    for i, one in enumerate(memories[:4]):
        for other in memories[i + 1 :]:
            assert not np.shares_memory(one, other)
    a.grad.zero_()
    assert b.grad.tolist() == [1, 1, 1]
    assert c.grad.tolist() == [2, 2, 2]
    assert start.tolist() == [1, 1, 1]


def test_large_gradients_share_nothing() -> None:
    """As above, where memory comes from the pool."""
    a = torch.ones(300, 300, requires_grad=True)
    b = torch.ones(300, 300, requires_grad=True)
    (a + b.t() + a).sum().backward()
    assert not np.shares_memory(a.grad.numpy(), b.grad.numpy())
    a.grad.zero_()
    assert b.grad.sum().item() == 90_000


def test_a_caught_error_leaves_the_mode_as_it_was() -> None:
    x = _leaf(1.0)

    def fail(_: Any) -> None:
        raise KeyError("hook")

    x.register_hook(fail)
    with pytest.raises(KeyError):
        (x * 2).sum().backward()
    assert torch.is_grad_enabled()
    assert x.grad is None


def test_threads_accumulate_in_one_leaf() -> None:
    x = _leaf(1, 2, 3)
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(50):
            (x * x).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert x.grad.tolist() == [800, 1600, 2400]


def test_modes_are_of_one_thread() -> None:
    seen = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_create_graph_warns_of_the_cycle() -> None:
    with pytest.warns(UserWarning, match="reference cycle between the parameter and its gradient"):
        _leaf(1.0).sum().backward(create_graph=True)


def test_reading_grad_of_an_inner_tensor_warns() -> None:
    with pytest.warns(UserWarning, match="not a leaf Tensor is being accessed"):
        assert (_leaf(1.0) * 2).grad is None


def test_pickles_hold_no_graph() -> None:
    x = _leaf(1, 2)
    back = pickle.loads(pickle.dumps(x))
    assert back.requires_grad
    assert back.tolist() == [1, 2]
    with pytest.raises(RuntimeError, match="detach"):
        pickle.dumps(x * 2)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(x * 2)


# ---------------------------------------------------------------------- anomaly detection


def test_anomaly_names_the_forward_call() -> None:
    x = _leaf(-1.0)
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        switch = torch.autograd.detect_anomaly()
    with switch:
        y = x.sqrt()  # the culprit
        with (
            pytest.raises(RuntimeError, match="'SqrtBackward0' returned nan values in its 0th"),
            pytest.warns(UserWarning, match="Error detected in SqrtBackward0") as caught,
        ):
            y.sum().backward()
    text = str(caught[0].message)
    assert "y = x.sqrt()  # the culprit" in text
    assert text.rstrip().endswith("# the culprit")


def test_anomaly_without_a_trace() -> None:
    y = _leaf(-1.0).sqrt().sum()
    with (
        torch.autograd.set_detect_anomaly(True),
        pytest.raises(RuntimeError, match="returned nan values"),
        pytest.warns(UserWarning, match="No forward pass information available"),
    ):
        y.backward()
    with torch.autograd.set_detect_anomaly(True, check_nan=False), warnings.catch_warnings():
        _leaf(-1.0).sqrt().sum().backward()
