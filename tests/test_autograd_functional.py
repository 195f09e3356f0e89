"""autograd.functional behaves as PyTorch's."""

from types import ModuleType

import pytest

import numtorch as torch
from programs import transcript

HEAD = """
    F = torch.autograd.functional
    x = torch.tensor([1.0, 2.0, 3.0])
    y = torch.tensor([[0.5, 1.0, 2.0], [3.0, 2.0, 1.0]])

    def rows(a, b):
        return (a * b).sum(1)

    def cubes(a):
        return (a * a * a).sum()

    def squares(a, b):
        return (a * a * b).sum()

    def call(f, *args, **others):
        try:
            result = f(*args, **modes, **others)
        except Exception as error:
            show(type(error).__name__, str(error))
        else:
            show(detached(result), [needs(each) for each in flat(result)])

    def flat(result):
        if isinstance(result, tuple):
            return [each for part in result for each in flat(part)]
        return [result]

    def detached(result):
        if isinstance(result, tuple):
            return tuple(detached(part) for part in result)
        return result.detach()

    def needs(tensor):
        return tensor.requires_grad
"""

CALLS = {
    "vjp": """
        call(F.vjp, rows, (x, y), torch.ones(2))
        call(F.vjp, cubes, x)
        call(F.vjp, rows, (x, y))
        call(F.vjp, rows, (x, y), torch.ones(3))
        call(F.vjp, lambda a, b: (a * 2, a + 1), (x, y), (x, x))
        call(F.vjp, lambda a, b: (a * 2, a + 1), (x, y), (x,))
        call(F.vjp, lambda a: a.detach(), x, x)
    """,
    "jvp": """
        call(F.jvp, rows, (x, y), (torch.ones(3), torch.ones(2, 3)))
        call(F.jvp, cubes, x, torch.ones(3))
        call(F.jvp, cubes, x)
        call(F.jvp, lambda a: a + 1, x, torch.ones(3))
    """,
    "jacobian": """
        call(F.jacobian, rows, (x, y))
        call(F.jacobian, cubes, x)
        call(F.jacobian, lambda a, b: (a * 2, a.exp()), (x, y))
        call(F.jacobian, lambda a: a * 2, torch.tensor(1.0))
        call(F.jacobian, lambda a: a * a, x.clone().requires_grad_())
    """,
    "hessian": """
        call(F.hessian, squares, (x, y))
        call(F.hessian, cubes, x)
        call(F.hessian, lambda a: a.sum(), x)
        call(F.hessian, rows, (x, y))
        call(F.hessian, lambda a: (a.sum(), a.sum()), x)
        call(F.hessian, cubes, x.clone().requires_grad_())
    """,
    "vhp and hvp": """
        call(F.vhp, squares, (x, y), (x, y))
        call(F.vhp, cubes, x, x)
        call(F.vhp, cubes, x)
        call(F.hvp, squares, (x, y), (x, y))
        call(F.hvp, cubes, x, x)
        call(F.hvp, lambda a: a.sum(), x, x)
        call(F.hvp, rows, (x, y), (x, y))
        call(F.hvp, cubes, x.clone().requires_grad_(), x)
    """,
    "misuse": """
        call(F.jacobian, cubes, 3)
        call(F.jacobian, lambda a: 3, x)
        call(F.jacobian, squares, (x, 3))
        call(F.jacobian, cubes, x, strategy="sideways")
        call(F.jacobian, cubes, x, strategy="forward-mode")
        call(F.hessian, cubes, x, outer_jacobian_strategy="sideways")
    """,
    "vectorized": """
        def needs(tensor):
            "Of a block that is all zeros, PyTorch's answer depends on vectorize."
        call(F.jacobian, rows, (x, y), vectorize=True)
        call(F.hessian, squares, (x, y), vectorize=True)
    """,
    "without grad mode": """
        with torch.no_grad():
            call(F.jacobian, rows, (x, y))
            call(F.hessian, cubes, x)
            call(F.jvp, rows, (x, y), (x, y))
    """,
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_programs(oracle: ModuleType, calls: str, create_graph: bool, strict: bool) -> None:
    modes = f"    modes = dict(create_graph={create_graph}, strict={strict})\n"
    text = modes + HEAD + calls.replace("\n    ", "\n")
    assert transcript(torch, text) == transcript(oracle, text)


def test_a_jacobian_without_outputs_is_empty() -> None:
    jacobian = torch.autograd.functional.jacobian(lambda a: a[:0] * 2, torch.ones(3))
    assert jacobian.shape == (0, 3)


def test_differentiable_jacobians() -> None:
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(lambda a: a**3, x, create_graph=True)
    jacobian.sum().backward()
    assert x.grad.tolist() == [6, 12]
