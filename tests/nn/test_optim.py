"""Optimizers and learning-rate schedulers against PyTorch's."""

import copy
import pickle
import warnings

import pytest

import numtorch
from helpers import assert_same

OPTIMIZERS = [
    "SGD(p, lr=0.1)",
    "SGD(p, lr=0.1, momentum=0.9)",
    "SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1, maximize=True)",
    "SGD(p, lr=0.1, momentum=0.9, nesterov=True)",
    "Adam(p, lr=0.1)",
    "Adam(p, lr=0.1, betas=(0.3, 0.9), eps=1e-3, weight_decay=0.1, amsgrad=True)",
    "Adam([{'params': p[:1]}, {'params': p[1:], 'lr': 0.5, 'betas': (0.5, 0.5)}])",
    "AdamW(p, lr=0.1)",
    "AdamW(p, lr=0.1, weight_decay=0.5, maximize=True, amsgrad=True)",
]


def made(torch, text, dtype="float32"):
    torch.manual_seed(0)
    p = [torch.randn(3, 2, requires_grad=True, dtype=getattr(torch, dtype)) for _ in range(3)]
    return p, eval(f"torch.optim.{text}", {"torch": torch, "p": p})


def loss_of(parameters, step):
    """Some function of all but one parameter, which gets no gradient in even steps."""
    used = parameters if step % 2 else parameters[:-1]
    return sum(((p - i) ** 2).sum() / (i + 1) for i, p in enumerate(used))


def run(torch, text, dtype):
    parameters, optimizer = made(torch, text, dtype)
    for step in range(6):
        optimizer.zero_grad()
        loss_of(parameters, step).backward()
        optimizer.step()
    return parameters, optimizer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", OPTIMIZERS)
def test_same_steps(oracle, text, dtype):
    (ours, optimizer), (theirs, reference) = (run(t, text, dtype) for t in (numtorch, oracle))
    assert_same(ours, theirs, rtol=1e-5 if dtype == "float32" else 1e-13)
    assert repr(optimizer) == repr(reference)
    mine, other = optimizer.state_dict(), reference.state_dict()
    assert mine["param_groups"] == other["param_groups"]
    assert list(mine["state"]) == list(other["state"])
    for number, state in mine["state"].items():
        assert list(state) == list(other["state"][number])
        for name, value in state.items():
            assert_same(value, other["state"][number][name], rtol=1e-5)


@pytest.mark.parametrize("text", OPTIMIZERS[1:2] + OPTIMIZERS[5:6])
def test_state_goes_on_where_it_was(text):
    parameters, optimizer = run(numtorch, text, "float32")
    state = copy.deepcopy(optimizer.state_dict())
    fresh, other = made(numtorch, text)
    for mine, parameter in zip(fresh, parameters, strict=True):
        mine.data = parameter.detach().clone()
    other.load_state_dict(state)
    for each, step in ((parameters, optimizer), (fresh, other)):
        step.zero_grad()
        loss_of(each, 1).backward()
        step.step()
    assert_same([p.tolist() for p in fresh], [p.tolist() for p in parameters])
    assert repr(pickle.loads(pickle.dumps(optimizer))) == repr(optimizer)


def test_bad_options(oracle):
    cases = [
        "SGD([], lr=1)",
        "SGD(p[0], lr=1)",
        "SGD(p, lr=-1)",
        "SGD(p, momentum=-1)",
        "SGD(p, weight_decay=-1)",
        "SGD(p, nesterov=True)",
        "SGD([3])",
        "SGD([p[0].exp()])",
        "SGD([{'params': p}, {'params': p}])",
        "SGD([{'params': {p[0]}}])",
        "SGD([{'lr': 1}])",
        "Adam(p, lr=-1)",
        "Adam(p, eps=-1)",
        "Adam(p, betas=(1.0, 0))",
        "Adam(p, betas=(0.5, 1.0))",
        "AdamW(p, weight_decay=-1)",
        "Adam(p, lr=torch.ones(2))",
        "Adam(p, foo=1)",
    ]
    for case in cases:
        found = []
        for torch in (numtorch, oracle):
            with pytest.raises(Exception) as caught:  # noqa: PT011
                made(torch, case)
            found.append((type(caught.value), str(caught.value)))
        assert found[0] == found[1], case


def test_bad_state(oracle):
    found = []
    for torch in (numtorch, oracle):
        _, optimizer = run(torch, "SGD(p, lr=0.1, momentum=0.9)", "float32")
        errors = []
        for text in ("SGD(p[:1])", "SGD([{'params': p[:1]}, {'params': p[1:]}])"):
            with pytest.raises(ValueError, match="loaded state dict") as caught:
                made(torch, text)[1].load_state_dict(optimizer.state_dict())
            errors.append(str(caught.value))
        with pytest.raises(TypeError) as caught:
            optimizer.add_param_group(3)
        found.append([*errors, str(caught.value)])
    assert found[0] == found[1]


def test_closure_hooks_and_zero_grad():
    parameters, optimizer = made(numtorch, "SGD(p, lr=0.1)")
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))

    def closure():
        optimizer.zero_grad()
        loss = loss_of(parameters, 1)
        loss.backward()
        return loss

    with numtorch.no_grad():
        loss = optimizer.step(closure)
    assert loss.requires_grad
    assert seen == ["before", "after"]
    optimizer.zero_grad(set_to_none=False)
    assert all(p.grad.abs().sum().item() == 0 for p in parameters)
    optimizer.zero_grad()
    assert all(p.grad is None for p in parameters)


def test_own_optimizer():
    class Signs(numtorch.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        @numtorch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(group["lr"] * p.grad.sign())

    w = numtorch.tensor([1.0, -1.0], requires_grad=True)
    optimizer = Signs([w], 0.5)
    (w * w).sum().backward()
    optimizer.step()
    assert w.tolist() == [0.5, -0.5]


def test_a_changed_parameter_is_noticed_in_backward():
    w = numtorch.ones(2, requires_grad=True)
    optimizer = numtorch.optim.SGD([w], lr=0.1)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


SCHEDULERS = [
    "StepLR(o, 2, gamma=0.5)",
    "MultiStepLR(o, [2, 3, 7])",
    "ExponentialLR(o, 0.9)",
    "LinearLR(o, start_factor=0.5, total_iters=4)",
    "CosineAnnealingLR(o, 5, eta_min=0.01)",
    "LambdaLR(o, lambda epoch: 0.95**epoch)",
]


@pytest.mark.parametrize("text", SCHEDULERS)
def test_schedule(oracle, text):
    rates = []
    for torch in (numtorch, oracle):
        _, o = made(torch, "SGD([{'params': p[:1]}, {'params': p[1:], 'lr': 0.3}], lr=1.0)")
        scheduler = eval(f"torch.optim.lr_scheduler.{text}", {"torch": torch, "o": o})
        rates.append([])
        for _ in range(13):
            o.step()
            scheduler.step()
            rates[-1] += scheduler.get_last_lr()
        assert scheduler.get_last_lr() == [group["lr"] for group in o.param_groups]
    assert rates[0] == pytest.approx(rates[1], rel=1e-12, abs=1e-15)


def test_plateau(oracle):
    rates = []
    metrics = [1.0, 0.9, 0.9, 0.9, 0.95, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    for torch in (numtorch, oracle):
        _, o = made(torch, "SGD(p, lr=1.0)")
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            o, patience=1, cooldown=1, factor=0.5
        )
        rates.append([])
        for metric in metrics:
            scheduler.step(metric)
            rates[-1] += scheduler.get_last_lr()
    assert rates[0] == rates[1]
    assert rates[0][-1] < 1


def test_scheduler_before_optimizer(oracle):
    texts = []
    for torch in (numtorch, oracle):
        _, o = made(torch, "SGD(p, lr=1.0)")
        scheduler = torch.optim.lr_scheduler.StepLR(o, 1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scheduler.step()
        texts.append([str(each.message) for each in caught])
    assert texts[0] == texts[1] != []


def test_scheduler_resumes():
    _, o = made(numtorch, "SGD(p, lr=1.0)")
    first = numtorch.optim.lr_scheduler.ExponentialLR(o, 0.5)
    for _ in range(3):
        o.step()
        first.step()
    second = numtorch.optim.lr_scheduler.ExponentialLR(o, 0.5)
    second.load_state_dict(first.state_dict())
    assert second.last_epoch == 3
    assert second.get_last_lr() == [0.125]
