"""What draws random numbers agrees with PyTorch: values, dtypes, versions, errors, the stream."""

import pytest

import numtorch

DRAWS = [
    "torch.rand(3, 4)",
    "torch.rand((2, 3), dtype=torch.float64)",
    "torch.rand(size=[5])",
    "torch.rand(0, 3)",
    "torch.rand(())",
    "torch.rand(2, requires_grad=True)",
    "torch.rand(3, generator=torch.Generator().manual_seed(3))",
    "torch.rand(5, out=torch.empty(2))",
    "torch.rand_like(torch.ones(2, 3).t())",
    "torch.randn(3)",
    "torch.randn(3, 4)",
    "torch.randn(4, 4)",
    "torch.randn(300)",
    "torch.randn_like(torch.ones(3, 5, dtype=torch.float64).t())",
    "torch.normal(1.0, 2.0, (3,))",
    "torch.normal(torch.arange(3.0), torch.ones(3))",
    "torch.randint(9, (4,))",
    "torch.randint(-3, 9, (4, 2))",
    "torch.randint(low=2, high=9, size=(4,))",
    "torch.randint(1, 2**40, (3,))",
    "torch.randint(2, (4,), dtype=torch.bool)",
    "torch.randint(100, (4,), dtype=torch.uint8)",
    "torch.randint(9, (3,), dtype=torch.float32)",
    "torch.randint_like(torch.ones(3), 7)",
    "torch.randperm(10)",
    "torch.randperm(1)",
    "torch.randperm(0)",
    "torch.randperm(300, dtype=torch.int32)",
    "torch.bernoulli(torch.full((3, 4), 0.4))",
    "torch.bernoulli(torch.full((5, 3), 0.4, dtype=torch.float64).t())",
    "torch.bernoulli(torch.full((3,), 0.4), 0.7)",
    "torch.ones(3, 4).bernoulli_(torch.full((4,), 0.4))",
    "torch.ones(3, 4).bernoulli_(torch.tensor(0.4))",
    "torch.ones(3, dtype=torch.int64).bernoulli_(0.3)",
    "torch.ones(3, dtype=torch.int64).random_()",
    "torch.ones(3).random_(5)",
    "torch.ones(3).random_(to=5, **{'from': 2})",
    "torch.nn.functional.dropout(torch.ones(3, 4), 0.5)",
]


@pytest.mark.parametrize("draw", DRAWS)
def test_draws(oracle, draw):
    results = []
    for torch in (numtorch, oracle):
        torch.manual_seed(7)
        first, second = (eval(draw, {"torch": torch}) for _ in range(2))
        state = torch.get_rng_state().numpy().tobytes()
        results.append(
            [
                (
                    x.detach().numpy().tobytes(),
                    tuple(x.shape),
                    x.stride(),
                    str(x.dtype),
                    x.requires_grad,
                    x._version,
                )
                for x in (first, second)
            ]
            + [state]
        )
    assert results[0] == results[1]


REFUSED = [
    "torch.rand(-1)",
    "torch.rand(3, 2.5)",
    "torch.rand(True)",
    "torch.rand()",
    "torch.rand(3, dtype=torch.int64)",
    "torch.randn(3, dtype=torch.int64)",
    "torch.randperm(-1)",
    "torch.randint(3, 3, (2,))",
    "torch.randint(300, (2,), dtype=torch.uint8)",
    "torch.randint(-1, 3, (2,), dtype=torch.uint8)",
    "torch.randint(9, (-1,))",
    "torch.randint(9, 4)",
    "torch.bernoulli(torch.full((3,), 1.5))",
    "torch.bernoulli(torch.full((3,), float('nan')))",
    "torch.bernoulli(torch.ones(3, dtype=torch.int64))",
    "torch.ones(3).bernoulli_(1.5)",
    "torch.ones(3).uniform_(2, 1)",
    "torch.ones(3, requires_grad=True).uniform_()",
]


@pytest.mark.parametrize("draw", REFUSED)
def test_refused_draws_leave_the_stream(oracle, draw):
    raised = []
    for torch in (numtorch, oracle):
        torch.manual_seed(7)
        state = torch.get_rng_state()
        with pytest.raises((NotImplementedError, RuntimeError, TypeError)) as info:
            eval(draw, {"torch": torch})
        raised.append(info.type)
        assert torch.get_rng_state().equal(state)
    assert raised[0] is raised[1]
