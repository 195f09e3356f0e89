"""Layers, losses, functions and initial weights against PyTorch's."""

import warnings

import numpy as np
import pytest

import numtorch
from helpers import assert_same

LAYERS = {
    "Linear(3, 4)": (5, 3),
    "Linear(3, 4, bias=False)": (2, 5, 3),
    "Linear(3, 1)": (3,),
    "Flatten()": (2, 3, 4),
    "Flatten(0, 1)": (2, 3, 4),
    "Unflatten(1, (2, 3))": (2, 6),
    "Identity()": (2,),
    "ReLU()": (3, 4),
    "ReLU(inplace=True)": (3, 4),
    "ReLU6()": (3, 4),
    "Hardtanh(-0.5, 0.25)": (3, 4),
    "LeakyReLU(0.2)": (3, 4),
    "ELU(alpha=0.5)": (3, 4),
    "SELU()": (3, 4),
    "CELU(0.5)": (3, 4),
    "GELU()": (3, 4),
    "GELU('tanh')": (3, 4),
    "SiLU()": (3, 4),
    "Mish()": (3, 4),
    "Softplus(beta=2)": (3, 4),
    "Softsign()": (3, 4),
    "LogSigmoid()": (3, 4),
    "Hardswish()": (3, 4),
    "Hardsigmoid()": (3, 4),
    "Hardshrink(0.3)": (3, 4),
    "Softshrink(0.3)": (3, 4),
    "Tanhshrink()": (3, 4),
    "Tanh()": (3, 4),
    "Sigmoid()": (3, 4),
    "Threshold(0.1, 20)": (3, 4),
    "PReLU()": (3, 4),
    "PReLU(4)": (3, 4),
    "GLU()": (3, 4),
    "GLU(0)": (4, 3),
    "Softmax(dim=1)": (3, 4),
    "Softmin(dim=0)": (3, 4),
    "LogSoftmax(dim=-1)": (3, 4),
    "Dropout(0.3)": (40, 5),
    "LayerNorm(4)": (3, 4),
    "LayerNorm((3, 4), bias=False)": (2, 3, 4),
    "LayerNorm(4, elementwise_affine=False)": (3, 4),
    "RMSNorm(4)": (3, 4),
}


def outcome(torch, layer, shape):
    """A layer's text, weights, output and gradients."""
    torch.manual_seed(0)
    module = eval(f"torch.nn.{layer}", {"torch": torch})
    x = torch.randn(*shape, requires_grad=True)
    y = module(x * 1)
    (y * torch.arange(y.numel()).reshape(y.shape)).sum().backward()
    grads = [p.grad for p in module.parameters()]
    return repr(module), list(module.state_dict().values()), y, x.grad, grads


@pytest.mark.parametrize("layer", LAYERS)
def test_layer(oracle, layer):
    ours, theirs = (outcome(torch, layer, LAYERS[layer]) for torch in (numtorch, oracle))
    assert ours[0] == theirs[0]
    assert_same(ours[1], theirs[1])
    assert_same(ours[2:], theirs[2:], rtol=2e-5, atol=2e-6)
    node = ours[2].grad_fn and ours[2].grad_fn.name()
    assert node == (theirs[2].grad_fn and theirs[2].grad_fn.name())


LOSSES = {
    "MSELoss()": "reals",
    "MSELoss(reduction='sum')": "reals",
    "L1Loss()": "reals",
    "L1Loss(reduction='none')": "reals",
    "SmoothL1Loss(beta=0.5)": "reals",
    "HuberLoss(delta=0.7)": "reals",
    "BCEWithLogitsLoss()": "bits",
    "BCEWithLogitsLoss(pos_weight=torch.tensor([1., 2., 3.]), reduction='sum')": "bits",
    "BCELoss()": "probabilities",
    "BCELoss(weight=torch.tensor([1., 2., 3.]), reduction='none')": "probabilities",
    "KLDivLoss(reduction='batchmean')": "bits",
    "CrossEntropyLoss()": "classes",
    "CrossEntropyLoss(reduction='none', ignore_index=1)": "classes",
    "CrossEntropyLoss(weight=torch.tensor([1., 2., 3.]))": "classes",
    "CrossEntropyLoss(label_smoothing=0.2, ignore_index=2)": "classes",
    "CrossEntropyLoss(torch.tensor([1., 2., 3.]), label_smoothing=0.2)": "classes",
    "CrossEntropyLoss(weight=torch.tensor([1., 2., 3.]), reduction='sum')": "bits",
    "NLLLoss()": "classes",
    "NLLLoss(torch.tensor([1., 2., 3.]), reduction='sum')": "classes",
}


def loss_of(torch, loss, targets):
    """A loss's text, value and gradient."""
    torch.manual_seed(0)
    x = torch.randn(5, 3, requires_grad=True)
    target = {
        "reals": torch.randn(5, 3),
        "bits": torch.rand(5, 3),
        "probabilities": torch.rand(5, 3),
        "classes": torch.tensor([0, 2, 1, 1, 2]),
    }[targets]
    module = eval(f"torch.nn.{loss}", {"torch": torch})
    value = module(x.sigmoid() if targets == "probabilities" else x * 2, target)
    value.sum().backward()
    return repr(module), value, x.grad


@pytest.mark.parametrize("loss", LOSSES)
def test_loss(oracle, loss):
    ours, theirs = (loss_of(torch, loss, LOSSES[loss]) for torch in (numtorch, oracle))
    assert ours[0] == theirs[0]
    assert_same(ours[1:], theirs[1:], rtol=1e-5, atol=1e-6)
    names = [result[1].grad_fn.name().rstrip("01") for result in (ours, theirs)]
    assert names[0] == names[1]


def test_gradients_of_gradients():
    torch, F = numtorch, numtorch.nn.functional
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    t = torch.rand(3, 4, dtype=torch.float64)
    classes = torch.tensor([0, 3, 1])
    weight = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)
    gain = torch.rand(4, dtype=torch.float64, requires_grad=True)
    shift = torch.rand(4, dtype=torch.float64, requires_grad=True)
    cases = {
        "softmax": (lambda x: F.softmax(x, 1), (x,)),
        "log_softmax": (lambda x: F.log_softmax(x, 0), (x,)),
        "cross_entropy": (lambda x: F.cross_entropy(x, classes), (x,)),
        "smoothed": (lambda x: F.cross_entropy(x, classes, label_smoothing=0.1), (x,)),
        "mse_loss": (lambda x: F.mse_loss(x, t), (x,)),
        "huber_loss": (lambda x: F.huber_loss(x, t, delta=0.3), (x,)),
        "logits": (lambda x: F.binary_cross_entropy_with_logits(x, t), (x,)),
        "gelu": (F.gelu, (x,)),
        "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), (x,)),
        "silu": (F.silu, (x,)),
        "mish": (F.mish, (x,)),
        "elu": (F.elu, (x,)),
        "softplus": (F.softplus, (x,)),
        "glu": (F.glu, (x,)),
        "linear": (F.linear, (x, weight)),
        "layer_norm": (lambda x, w, b: F.layer_norm(x, (4,), w, b), (x, gain, shift)),
        "rms_norm": (lambda x, w: F.rms_norm(x, (4,), w), (x, gain)),
        "embedding": (lambda w: F.embedding(torch.tensor([1, 0, 1]), w), (weight,)),
        "pad": (lambda x: F.pad(x, (1, 2, -1, 0)), (x,)),
    }
    for name, (function, inputs) in cases.items():
        assert torch.autograd.gradcheck(function, inputs), name
        assert torch.autograd.gradgradcheck(function, inputs), name


BAD_CALLS = {
    "inner sizes": lambda t: t.nn.Linear(2, 3)(t.ones(4, 5)),
    "dtypes": lambda t: t.nn.Linear(2, 3)(t.ones(4, 2).double()),
    "no tensor": lambda t: t.nn.Linear(2, 3)(3),
    "p": lambda t: t.nn.Dropout(2),
    "row": lambda t: t.nn.Embedding(2, 3, padding_idx=4),
    "index": lambda t: t.nn.Embedding(2, 3)(t.tensor([2])),
    "class": lambda t: t.nn.functional.cross_entropy(t.ones(2, 3), t.tensor([0, 3])),
    "batch": lambda t: t.nn.functional.cross_entropy(t.ones(2, 3), t.tensor([0])),
    "float classes": lambda t: t.nn.functional.nll_loss(t.ones(2, 3), t.tensor([0.0, 1.0])),
    "class weights": lambda t: t.nn.functional.nll_loss(
        t.ones(2, 3), t.tensor([0, 1]), weight=t.ones(2)
    ),
    "smoothing": lambda t: t.nn.functional.cross_entropy(
        t.ones(2, 3), t.tensor([0, 1]), label_smoothing=2.0
    ),
    "reduction": lambda t: t.nn.MSELoss(reduction="median")(t.ones(1), t.ones(1)),
    "probability": lambda t: t.nn.BCELoss()(2 * t.ones(1), t.ones(1)),
    "size": lambda t: t.nn.BCEWithLogitsLoss()(t.ones(2), t.ones(3)),
    "beta": lambda t: t.nn.SmoothL1Loss(beta=-1.0)(t.ones(1), t.ones(1)),
    "delta": lambda t: t.nn.HuberLoss(delta=0.0)(t.ones(1), t.ones(1)),
    "normalised": lambda t: t.nn.LayerNorm(3)(t.ones(2)),
    "one_hot": lambda t: t.nn.functional.one_hot(t.tensor([0, 2]), 2),
    "one_hot of nothing": lambda t: t.nn.functional.one_hot(t.tensor([], dtype=t.int64)),
    "odd": lambda t: t.nn.GLU()(t.ones(3)),
    "bounds": lambda t: t.nn.functional.hardtanh(t.ones(1), 1.0, -1.0),
    "approximation": lambda t: t.nn.GELU("tan")(t.ones(1)),
    "gain": lambda t: t.nn.init.calculate_gain("gelu"),
    "fan": lambda t: t.nn.init.xavier_uniform_(t.ones(2)),
    "bool": lambda t: t.relu(t.ones(1).bool()),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_errors(oracle, case):
    found = []
    for torch in (numtorch, oracle):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            BAD_CALLS[case](torch)
        found.append((type(caught.value), str(caught.value)))
    assert found[0] == found[1]


def test_warnings(oracle):
    cases = [
        lambda t: t.nn.functional.mse_loss(t.ones(2, 3), t.ones(3)),
        lambda t: t.nn.functional.softmax(t.ones(2, 3)),
        lambda t: t.nn.MSELoss(size_average=False),
        lambda t: t.nn.functional.kl_div(t.zeros(2, 2), t.ones(2, 2)),
    ]
    for case in cases:
        texts = []
        for torch in (numtorch, oracle):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                case(torch)
            texts.append([str(each.message) for each in caught])
        assert texts[0] == texts[1] != []


@pytest.mark.parametrize(
    "call",
    [
        "uniform_(w, -1, 2)",
        "normal_(w, 1, 2)",
        "trunc_normal_(w)",
        "trunc_normal_(w, 0, 1, 2, 3)",
        "constant_(w, 3)",
        "eye_(w)",
        "xavier_uniform_(w, gain=2)",
        "xavier_normal_(w)",
        "kaiming_uniform_(w, a=0.1)",
        "kaiming_normal_(w, mode='fan_out', nonlinearity='relu')",
    ],
)
def test_init(oracle, call):
    results = []
    for torch in (numtorch, oracle):
        torch.manual_seed(3)
        w = torch.nn.Parameter(torch.zeros(5, 7))
        returned = eval(f"init.{call}", {"init": torch.nn.init, "w": w})
        assert returned is w
        results.append(w)
    assert_same(*results, rtol=1e-6)


def clip(torch):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    (model(torch.ones(4, 3)) ** 2).sum().backward()
    total = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    torch.nn.utils.clip_grad_value_(model.parameters(), 0.2)
    vector = torch.nn.utils.parameters_to_vector(model.parameters())
    torch.nn.utils.vector_to_parameters(vector * 2, model.parameters())
    return [total, vector.detach(), *(p.grad for p in model.parameters()), *model.parameters()]


def test_utils(oracle):
    assert_same(clip(numtorch), clip(oracle), rtol=1e-5)


def embed(torch):
    torch.manual_seed(0)
    table = torch.nn.Embedding(6, 3, padding_idx=-1, scale_grad_by_freq=True)
    y = table(torch.tensor([[1, 5], [1, 2]]))
    y.sum().backward()
    bounded = torch.nn.Embedding(4, 3, max_norm=1.0)
    rows = bounded(torch.tensor([0, 2, 2]))
    return repr(table), y, table.weight, table.weight.grad, repr(bounded), rows, bounded.weight


def test_embedding(oracle):
    ours, theirs = embed(numtorch), embed(oracle)
    assert (ours[0], ours[4]) == (theirs[0], theirs[4])
    assert_same(ours[1:4] + ours[5:], theirs[1:4] + theirs[5:], rtol=1e-6, atol=1e-7)


def test_functions(oracle):
    cases = [
        lambda t, F, x: F.normalize(x),
        lambda t, F, x: F.cosine_similarity(x, x.flip(0)),
        lambda t, F, x: F.pairwise_distance(x, x.flip(0)),
        lambda t, F, x: F.pad(x, (1, 2, 0, 1), value=2.0),
        lambda t, F, x: F.pad(x, (2, 3), mode="reflect"),
        lambda t, F, x: F.pad(x, (4, -1), mode="replicate"),
        lambda t, F, x: F.pad(x, (4, 1), mode="circular"),
        lambda t, F, x: F.one_hot(t.tensor([[0, 2], [1, 1]]), 4),
        lambda t, F, x: F.bilinear(x, x, t.ones(2, 4, 4)),
        lambda t, F, x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    ]
    values = np.random.randn(3, 4).astype(np.float32)
    for case in cases:
        results = [
            case(torch, torch.nn.functional, torch.tensor(values)) for torch in (numtorch, oracle)
        ]
        assert_same(*results, rtol=1e-5, atol=1e-6)
