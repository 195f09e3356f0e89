"""autograd.Function behaves as PyTorch's."""

import gc
import weakref
from types import ModuleType
from typing import Any

import pytest

import numtorch as torch
from programs import transcript

HEAD = """
    from types import SimpleNamespace
    Function = torch.autograd.Function

    def function(forward, backward=None, **others):
        parts = {"forward": forward, "backward": backward, **others}
        parts = {name: staticmethod(part) for name, part in parts.items() if part}
        return type("Mine", (Function,), parts)

    class Cube(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            ctx.power = 3
            return x * x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return ctx.power * x * x * g

    def gradient(f, *args):
        return torch.autograd.grad(f.apply(*args).sum(), args[0])
"""

PROGRAMS = {
    "a cube": """
        x = leaf(3)
        y = Cube.apply(x)
        show(y, y.grad_fn, y.grad_fn.power, y.grad_fn.saved_tensors, y.grad_fn.next_functions)
        y.sum().backward()
        show(x.grad)
        refused(lambda: y.grad_fn.saved_tensors, 400)
        refused(y.sum().backward, 400)
        with torch.no_grad():
            show(Cube.apply(x).requires_grad)
        show(Cube.apply(torch.ones(2)))
        (slope,) = torch.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
        show(torch.autograd.grad(slope.sum(), x))
    """,
    "what is passed": """
        def forward(ctx, a, b, c, flag, name):
            show(ctx.needs_input_grad, torch.is_grad_enabled(), a.requires_grad, flag, name)
            ctx.flag = flag
            return a * b * c
        def backward(ctx, g):
            show(g, torch.is_grad_enabled(), ctx.flag, ctx.needs_input_grad)
            return g, None, g * 3, None, None
        f = function(forward, backward)
        a, b, c = leaf(3), torch.ones(3), leaf(3)
        y = f.apply(a, b, c, True, "name")
        show(y.grad_fn.next_functions)
        y.sum().backward()
        show(a.grad, b.grad, c.grad)
    """,
    "several results": """
        def backward(ctx, *grads):
            show(grads)
            return grads[-1]
        three = function(lambda ctx, x: (x * 2, x > 1, x * 3), backward)
        x = leaf(3)
        y = three.apply(x)
        show(y, y[2].output_nr)
        y[2].sum().backward()
        show(x.grad)
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 2, x * 3
        function(forward, backward).apply(x)[1].sum().backward()
        show(x.grad)
    """,
    "results that are no tensors": """
        x = leaf(3)
        show(function(lambda ctx, x: 3).apply(x))
        show(function(lambda ctx, x: (x * 2, 3, None)).apply(x))
        show(function(lambda ctx, x: [x * 2, 3]).apply(x))
        show(function(lambda ctx, x: torch.ones(2)).apply(3))
    """,
    "wrong gradients": """
        x = leaf(2, 3)
        double = lambda ctx, a: a * 2
        first = lambda ctx, a, b: a * 2
        refused(lambda: gradient(function(double, lambda ctx, g: (g, g)), x))
        refused(lambda: gradient(function(double, lambda ctx, g: (g, None)), x) and None)
        refused(lambda: gradient(function(first, lambda ctx, g: g), x, x))
        refused(lambda: gradient(function(first, lambda ctx, g: (g, g)), x, 3))
        refused(lambda: gradient(function(double, lambda ctx, g: 3), x))
        refused(lambda: gradient(function(double, lambda ctx, g: g[0, :2]), x))
        refused(lambda: gradient(function(double, lambda ctx, g: g[0]), x))
        show(gradient(function(double, lambda ctx, g: g.expand(4, 2, 3)), x))
        show(gradient(function(double, lambda ctx, g: g.to(torch.float64)), x))
        refused(lambda: gradient(function(double, lambda ctx, g: None), x))
        refused(lambda: gradient(function(double), x))
        refused(lambda: type("Mine", (Function,), {}).apply(x))
    """,
    "inputs as results": """
        same = function(lambda ctx, a: a, lambda ctx, g: g * 10)
        x = leaf(3)
        y = same.apply(x)
        show(y, y is x)
        y.sum().backward()
        show(x.grad)
        refused(lambda: same.apply(x).add_(1), 500)
        refused(lambda: function(lambda ctx, a: a[0]).apply(x).add_(1), 500)
    """,
    "in place": """
        def forward(ctx, a):
            ctx.mark_dirty(a)
            return a.add_(1)
        add = function(forward, lambda ctx, g: g * 10)
        refused(lambda: add.apply(leaf(3)))
        x = leaf(2, 3)
        y = x * 1
        z = add.apply(y)
        show(z is y, y.grad_fn, y)
        show(torch.autograd.grad(y.sum(), x))
        y = x * 1
        v = y[0]
        z = add.apply(v)
        show(z is v, y.grad_fn, v.grad_fn, y)
        show(torch.autograd.grad((y * y).sum(), x))
        def forgets(ctx, a):
            ctx.mark_dirty(a)
            a.add_(1)
            return a * 2
        refused(lambda: function(forgets).apply(x * 1))
    """,
    "not differentiable results": """
        def forward(ctx, a):
            b = a * 2
            ctx.mark_non_differentiable(b)
            return a * 3, b
        y, z = function(forward, lambda ctx, g, h: g * 3 + h).apply(leaf(3))
        show(y, z)
    """,
    "setup_context": """
        class Scale(Function):
            @staticmethod
            def forward(x, factor=2):
                return x * factor

            @staticmethod
            def setup_context(ctx, inputs, output):
                show(inputs, output, torch.is_grad_enabled())
                ctx.factor = inputs[1]
                ctx.save_for_backward(output)

            @staticmethod
            def backward(ctx, g):
                show(ctx.saved_tensors)
                return g * ctx.factor, None

        x = leaf(3)
        show(gradient(Scale, x), gradient(Scale, x, 3), Scale.apply(x, factor=5))
    """,
    "vjp as the name of backward": """
        show(gradient(function(lambda ctx, x: x * 2, vjp=lambda ctx, g: g * 7), leaf(3)))
    """,
    "saving": """
        def forward(ctx, a, b):
            ctx.save_for_backward(a, None, a * b)
            return a * 2
        def backward(ctx, g):
            show(ctx.saved_tensors)
            return g, None
        show(gradient(function(forward, backward), leaf(3), 4))
        refused(lambda: function(lambda ctx, a: ctx.save_for_backward(a, 3)).apply(leaf(3)))
        x = leaf(3)
        y = x * 1
        z = Cube.apply(y)
        y.add_(1)
        refused(z.sum().backward, 500)
    """,
    "once_differentiable": """
        from importlib import import_module
        module = import_module(torch.__name__ + ".autograd.function")
        square = function(
            lambda ctx, a: (ctx.save_for_backward(a), a * a)[1],
            module.once_differentiable(lambda ctx, g: 2 * g * ctx.saved_tensors[0]),
        )
        x, w = leaf(3), leaf(3)
        show(gradient(square, x))
        (slope,) = torch.autograd.grad((square.apply(x) * w).sum(), x, create_graph=True)
        show(slope.requires_grad)
        refused(slope.sum().backward)
    """,
    "grad of grad inside backward": """
        def backward(ctx, g):
            with torch.enable_grad():
                x = ctx.saved_tensors[0].detach().requires_grad_()
                (slope,) = torch.autograd.grad((x ** 4).sum(), x)
            return g * slope
        f = function(lambda ctx, a: (ctx.save_for_backward(a), a ** 4)[1], backward)
        show(gradient(f, leaf(3)))
    """,
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_programs(oracle: ModuleType, program: str) -> None:
    text = HEAD + program.replace("\n    ", "\n")
    assert transcript(torch, text) == transcript(oracle, text)


def test_contexts_are_freed_without_the_cycle_collector() -> None:
    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x.exp()
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[1]

    x = torch.ones(3, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        y = Exp.apply(x)
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_gradcheck_of_a_function() -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * ctx.saved_tensors[0] * g

    x = torch.tensor([0.5, -2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Square.apply, x)
    assert torch.autograd.gradgradcheck(Square.apply, x)
