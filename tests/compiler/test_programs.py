"""Random programs, differentiated inside or outside, compiled: eager execution to the bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import numtorch as torch
from numtorch.nn import functional as F

UNARY: list[Callable[[Any], Any]] = [
    torch.tanh,
    torch.relu,
    F.gelu,
    lambda x: x * 2 - 1,
    lambda x: (x * x + 1).sqrt(),
    lambda x: x.clamp(-1, 1),
    lambda x: x.detach() * x,
    lambda x: (x > 0).float() * x,
    lambda x: F.layer_norm(x, (x.shape[-1],)),
    lambda x: torch.softmax(x, -1),
    lambda x: torch.log_softmax(x, 0),
    lambda x: x - x.mean(-1, keepdim=True),
    lambda x: x / (x.std(0, keepdim=True) + 1),
    lambda x: x.cumsum(0),
    lambda x: x.logsumexp(1, keepdim=True) - x,
    lambda x: x.t().contiguous().t(),
    lambda x: x.t().reshape(x.shape),
    lambda x: x[:, :1].expand(x.shape),
    lambda x: torch.cat([x[:1], x[1:]]),
    lambda x: x.flip(0),
]
BINARY: list[Callable[[Any, Any], Any]] = [
    torch.add,
    torch.mul,
    lambda a, b: a / (b * b + 1),
    torch.maximum,
    lambda a, b: torch.where(a > b, a, b),
    lambda a, b: a @ b.t() @ b * 0.1,
    lambda a, b: torch.stack([a, b]).sum(0),
    lambda a, b: a.lerp(b, 0.3),
    lambda a, b: F.mse_loss(a, b) + a,
    lambda a, b: (a * 1).add_(b),
    lambda a, b: (a * 1).mul_(b).sub_(0.5),
]


class Move(NamedTuple):
    """A function of one or two of what is known by then."""

    function: Callable[..., Any]
    operands: tuple[int, ...]

    def play(self, known: Sequence[Any]) -> Any:
        return self.function(*[known[place % len(known)] for place in self.operands])


PLACES = st.integers(0, 20)
MOVES = st.one_of(
    st.builds(Move, st.sampled_from(UNARY), st.tuples(PLACES)),
    st.builds(Move, st.sampled_from(BINARY), st.tuples(PLACES, PLACES)),
)


class Program(NamedTuple):
    """Moves, the shape of what they are made on, and how weights are trained by their gradients."""

    moves: list[Move]
    shape: tuple[int, int]
    inside: bool  # whether backward and update are part of what is compiled
    optimizer: str

    def run(self, wrap: Callable[..., Any]) -> list[Any]:
        """All results, gradients and weights of a few steps."""
        torch.manual_seed(0)
        weights = [torch.randn(*self.shape, requires_grad=True) for _ in range(2)]
        weights.append(torch.randn(self.shape[1], requires_grad=True))
        optimizer = getattr(torch.optim, self.optimizer)(weights, lr=0.01)

        def forward(x: Any) -> Any:
            known = [x, weights[0] * weights[2], weights[1] + x]
            for move in self.moves:
                known.append(move.play(known))
            loss = known[-1].mean() + known[-2].sum() * 0.01 + weights[0].mean()
            return loss, known[-1]

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss, y = forward(x)
            loss.backward()
            optimizer.step()
            return loss.detach(), y.detach()

        function = wrap(step if self.inside else forward)
        seen = []
        for _ in range(4):
            x = torch.randn(*self.shape)
            if self.inside:
                loss, y = function(x)
            else:
                optimizer.zero_grad()
                loss, y = function(x)
                loss.backward()
                optimizer.step()
            tensors = [loss, y, *[w.grad for w in weights], *weights]
            seen += [None if t is None else t.detach().numpy().copy() for t in tensors]

        return seen


PROGRAMS = st.builds(
    Program,
    st.lists(MOVES, min_size=1, max_size=8),
    st.sampled_from([(3, 4), (17, 33), (257, 300)]),
    st.booleans(),
    st.sampled_from(["SGD", "Adam"]),
)


@given(program=PROGRAMS)
@settings(max_examples=25, deadline=None)
def test_any_program(program: Program) -> None:
    expected = program.run(lambda function: function)
    found = program.run(torch.compile)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
