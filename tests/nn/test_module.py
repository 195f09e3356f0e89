"""Modules: registration, names, state, hooks, containers and text, as PyTorch has them."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import numtorch
from helpers import assert_same


def tree(nn):
    """A model with a shared layer, a buffer and all containers."""
    shared = nn.Linear(2, 2)
    return nn.Sequential(
        OrderedDict(
            first=shared,
            again=shared,
            inner=nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3), nn.ReLU()]),
            named=nn.ModuleDict({"a": nn.Tanh(), "b": nn.Linear(1, 1, bias=False)}),
        )
    )


@pytest.fixture
def models(oracle):
    models = []
    for torch in (numtorch, oracle):
        torch.manual_seed(0)
        model = tree(torch.nn)
        model.register_buffer("count", torch.zeros(2))
        model.register_buffer("scratch", torch.ones(1), persistent=False)
        models.append(model)
    return models


def error_of(action):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        action()
    return type(caught.value), str(caught.value)


def test_names_and_text(models):
    ours, theirs = models
    assert repr(ours) == repr(theirs)
    for listing in ("named_parameters", "named_buffers", "named_children", "named_modules"):
        assert [name for name, _ in getattr(ours, listing)()] == [
            name for name, _ in getattr(theirs, listing)()
        ]
    without = [name for name, _ in ours.named_parameters(remove_duplicate=False)]
    assert without == [name for name, _ in theirs.named_parameters(remove_duplicate=False)]


def test_state_dict_round_trip(models, oracle):
    ours, theirs = models
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    assert state._metadata == theirs.state_dict()._metadata
    for mine, other in zip(state.values(), theirs.state_dict().values(), strict=True):
        assert_same(mine, other)
    exchanged = {
        name: numtorch.from_numpy(2 * tensor.numpy())
        for name, tensor in theirs.state_dict().items()
    }
    assert repr(ours.load_state_dict(exchanged)) == "<All keys matched successfully>"
    for name, parameter in theirs.named_parameters():
        np.testing.assert_array_equal(
            ours.get_parameter(name).detach().numpy(), 2 * parameter.detach().numpy()
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda torch, state: {},
        lambda torch, state: {**state, "extra": torch.ones(1), "first.deep.x": torch.ones(1)},
        lambda torch, state: {**state, "first.weight": torch.ones(3, 2)},
        lambda torch, state: {**state, "first.weight": 3},
        lambda torch, state: 3,
    ],
)
def test_load_state_dict_errors(models, oracle, change):
    ours, theirs = models
    before = ours.state_dict()["first.bias"].clone()
    assert error_of(lambda: ours.load_state_dict(change(numtorch, ours.state_dict()))) == error_of(
        lambda: theirs.load_state_dict(change(oracle, theirs.state_dict()))
    )
    assert before.tolist() == ours.state_dict()["first.bias"].tolist()


def test_load_state_dict_not_strict(models):
    ours, theirs = models
    keys = [repr(model.load_state_dict({}, strict=False)) for model in (ours, theirs)]
    assert keys[0] == keys[1]


class Assigning:
    """One assignment that a module refuses, in words of either package."""

    def before_init(nn, torch):
        class Early(nn.Module):
            def __init__(self):
                self.layer = nn.ReLU()

        Early()

    def parameter_before_init(nn, torch):
        class Early(nn.Module):
            def __init__(self):
                self.weight = nn.Parameter(torch.ones(1))

        Early()

    def no_parameter(nn, torch):
        nn.Linear(1, 1).weight = torch.ones(1)

    def no_module(nn, torch):
        model = nn.Sequential(nn.ReLU())
        setattr(model, "0", 3)

    def no_buffer(nn, torch):
        model = nn.ReLU()
        model.register_buffer("b", torch.ones(1))
        model.b = 3

    def dotted(nn, torch):
        nn.ReLU().register_parameter("a.b", None)

    def nameless(nn, torch):
        nn.ReLU().register_buffer("", None)

    def taken(nn, torch):
        nn.ReLU().add_module("forward", None)

    def not_a_name(nn, torch):
        nn.ReLU().register_parameter(3, None)

    def computed(nn, torch):
        nn.ReLU().register_parameter("x", torch.ones(1, requires_grad=True).exp())

    def number(nn, torch):
        nn.Sequential(3)

    def missing(nn, torch):
        nn.ReLU().weight  # noqa: B018

    def missing_path(nn, torch):
        nn.ReLU().get_submodule("a.b")

    def no_forward(nn, torch):
        nn.Module()(1)

    def far(nn, torch):
        nn.Sequential(nn.ReLU())[1]

    def mode(nn, torch):
        nn.ReLU().train("yes")

    def integer(nn, torch):
        nn.ReLU().to(torch.int32)

    def sum_of(nn, torch):
        nn.Sequential() + 3


@pytest.mark.parametrize("name", [name for name in vars(Assigning) if name[0] != "_"])
def test_errors(oracle, name):
    action = vars(Assigning)[name]
    ours = error_of(lambda: action(numtorch.nn, numtorch))
    assert ours == error_of(lambda: action(oracle.nn, oracle))


def test_attributes_change_kind():
    nn = numtorch.nn
    module = nn.Module()
    module.x = 3
    module.x = nn.Parameter(numtorch.ones(1))
    assert "x" not in vars(module)
    assert [name for name, _ in module.named_parameters()] == ["x"]
    module.x = None
    assert module.x is None
    del module.x
    module.x = nn.Buffer(numtorch.ones(1), persistent=False)
    assert [name for name, _ in module.named_buffers()] == ["x"]
    assert not module.state_dict()


def test_train_eval_grad_and_dtype(models):
    for model in models:
        model.eval()
        assert not any(module.training for module in model.modules())
        model.train()
        model.requires_grad_(False)
        assert not any(parameter.requires_grad for parameter in model.parameters())
        model.requires_grad_()
        (model[0](model.count + 1).sum()).backward()
        grads = [p.grad is not None for p in model.parameters()]
        assert sum(grads) == 2
        assert model.double() is model
        assert {str(p.dtype) for p in model.parameters()} == {"torch.float64"}
        assert str(model[0].weight.grad.dtype) == "torch.float64"
        model.zero_grad(set_to_none=False)
        assert model[0].weight.grad.abs().sum().item() == 0
        model.zero_grad()
        assert model[0].weight.grad is None


def test_copies(models):
    ours, _ = models
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert repr(copied) == repr(ours)
        assert copied[0] is copied[1]
        with numtorch.no_grad():
            copied[0].weight.zero_()
        assert ours[0].weight.abs().sum().item() > 0


def record_hooks(torch):
    """What every hook of a small model was called with, in order."""
    seen = []
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 1)
    layer.register_forward_pre_hook(lambda module, args: seen.append(("pre", args[0].tolist())))
    layer.register_forward_pre_hook(
        lambda module, args, kwargs: ((args[0] * 2,), kwargs), with_kwargs=True, prepend=True
    )
    layer.register_forward_hook(lambda module, args, output: output + 1)
    handle = layer.register_forward_hook(lambda module, args, output: seen.append("after"))
    layer.register_full_backward_pre_hook(
        lambda module, grads: seen.append(("before", grads[0].tolist()))
    )
    layer.register_full_backward_hook(
        lambda module, into, out: (seen.append(out[0].tolist()), (into[0] * 3,))[1]
    )
    x = torch.ones(2, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    handle.remove()
    layer(x)
    return seen, y.tolist(), x.grad.tolist()


def test_hooks(oracle):
    assert record_hooks(numtorch) == record_hooks(oracle)


def test_backward_hook_without_inputs_that_need_gradients(oracle):
    def seen(torch):
        found = []
        torch.manual_seed(0)
        layer = torch.nn.Linear(2, 1)
        layer.register_full_backward_hook(
            lambda module, into, out: found.append((into, out[0].tolist()))
        )
        loss = layer(torch.ones(2)).sum()
        with pytest.warns(UserWarning, match="no inputs require gradients"):
            loss.backward()
        return found, layer.weight.grad.tolist()

    assert seen(numtorch) == seen(oracle)


def test_always_called_hook(oracle):
    def seen(torch):
        found = []
        layer = torch.nn.Linear(2, 1)
        layer.register_forward_hook(lambda *_: found.append("always"), always_call=True)
        layer.register_forward_hook(lambda *_: found.append("never"))
        with pytest.raises(RuntimeError):
            layer(torch.ones(3))
        return found

    assert seen(numtorch) == seen(oracle) == ["always"]


def edit_containers(torch):
    nn = torch.nn
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    model.append(nn.GELU()).insert(1, nn.Sigmoid())
    del model[0]
    model[0] = nn.Softmax(dim=1)
    rest = model[1:] + nn.Sequential(nn.Flatten())
    modules = nn.ModuleList([nn.ReLU()]) + nn.ModuleList([nn.Tanh()])
    modules.extend([nn.Tanh()]).insert(0, nn.Identity())
    popped = modules.pop(1)
    names = nn.ModuleDict([("x", nn.ReLU())])
    names.update({"y": nn.Tanh()})
    names.pop("x")
    parameters = nn.ParameterList([torch.ones(2), nn.Parameter(torch.ones(2, 3))])
    parameters.append(torch.zeros(1))
    sizes = [tuple(p.shape) for p in parameters.parameters()]
    return [repr(each) for each in (model, rest, modules, popped, names, parameters)], sizes


def test_containers(oracle):
    assert edit_containers(numtorch) == edit_containers(oracle)


def test_extra_state():
    class Counting(numtorch.nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 0

        def get_extra_state(self):
            return self.count

        def set_extra_state(self, state):
            self.count = state

    first, second = Counting(), Counting()
    first.count = 5
    second.load_state_dict(first.state_dict())
    assert second.count == 5
