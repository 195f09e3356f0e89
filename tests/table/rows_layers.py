"""Rows: activations, losses and layers."""

from __future__ import annotations

from .row import FLOATS, Call, Make, Row, unary

ACTIVATIONS = (
    "celu",
    "elu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "relu",
    "relu6",
    "selu",
    "silu",
    "softplus",
    "softsign",
    "tanhshrink",
)


def _called(make: Make) -> list[Call]:
    return [Call(make(3, 4), 0), Call(make(3, 4), -1), Call(make(2, 3, 4), 1), Call(make(5), 0)]


def _pairs(make: Make) -> list[Call]:
    return [
        Call(make(3, 4), make(3, 4), reduction=reduction) for reduction in ("mean", "sum", "none")
    ]


def _probabilities(make: Make) -> list[Call]:
    return [
        Call(make(3, 4, low=0.1, high=0.9), make(3, 4, low=0.1, high=0.9), reduction=reduction)
        for reduction in ("mean", "sum", "none")
    ]


def _classes(make: Make) -> list[Call]:
    target = make.index(5, below=4)
    return [
        Call(make(5, 4), target),
        Call(make(5, 4), target, reduction="sum"),
        Call(make(5, 4), target, reduction="none"),
        Call(make(5, 4), target, ignore_index=1),
        Call(make(4), make.index(below=4)),
        Call(make(2, 4, 3), make.index(2, 3, below=4)),
        Call(make(5, 4), target, weight=make(4, low=1)),
    ]


def _smoothed(make: Make) -> list[Call]:
    return [
        *_classes(make),
        Call(make(5, 4), make.index(5, below=4), label_smoothing=0.1),
        Call(make(5, 4), make(5, 4, low=0.1, high=0.3)),
    ]


def _layer(name: str, calls: object, **others: object) -> Row:
    """A row of nn.functional."""
    defaults = {"path": f"nn.functional.{name}", "dtypes": FLOATS, "inplace": False}
    return Row(name=name, calls=calls, **(defaults | others))  # type: ignore[arg-type]


ROWS = [
    *[
        unary(name, path=f"nn.functional.{name}", dtypes=FLOATS, inplace=False)
        for name in ACTIVATIONS
    ],
    unary(  # PyTorch's float32 kernel gives nan for infinity
        "gelu", path="nn.functional.gelu", dtypes=("float64",), inplace=False
    ),
    unary("softshrink", path="nn.functional.softshrink", dtypes=FLOATS, signed_zeros=False),
    _layer("gelu", lambda make: [Call(make(3, 4)), Call(make(3, 4), approximate="tanh")]),
    _layer("threshold", lambda make: [Call(make(3, 4), 0.5, 7.0)]),
    _layer("prelu", lambda make: [Call(make(2, 3), make(1)), Call(make(2, 3, 4), make(3))]),
    _layer("glu", lambda make: [Call(make(3, 4)), Call(make(4, 3), 0)]),
    _layer("softmax", _called),
    _layer("log_softmax", _called),
    _layer("mse_loss", _pairs),
    _layer("l1_loss", _pairs),
    _layer("smooth_l1_loss", _pairs),
    _layer("huber_loss", _pairs),
    _layer("kl_div", lambda make: _probabilities(make)[1:], second=False),
    _layer("binary_cross_entropy", _probabilities),
    _layer("binary_cross_entropy_with_logits", _probabilities),
    _layer("nll_loss", _classes),
    _layer("cross_entropy", _smoothed),
    _layer(
        "linear",
        lambda make: [
            Call(make(3, 4), make(2, 4)),
            Call(make(3, 4), make(2, 4), make(2)),
            Call(make(4), make(2, 4), make(2)),
            Call(make(2, 3, 4), make(2, 4), make(2)),
        ],
        refused=lambda make: [Call(make(3, 4), make(2, 3))],
    ),
    _layer(
        "layer_norm",
        lambda make: [
            Call(make(3, 4), (4,)),
            Call(make(2, 3, 4), (3, 4), make(3, 4), make(3, 4)),
            Call(make(3, 4), (4,), make(4), eps=1e-3),
            Call(make(3, 4), (4,), None, make(4)),
        ],
        refused=lambda make: [
            Call(make(3, 4), ()),
            Call(make(3, 4), (3,)),
            Call(make(4), (3, 4)),
            Call(make(3, 4), (4,), make(3)),
            Call(make(3, 4), (4,), None, make(3)),
            Call([1.0], (1,)),
        ],
    ),
    Row(
        name="constant_pad_nd",
        calls=lambda make: [Call(make(2, 3), (1, 2)), Call(make(2, 3), (1, -1, 0, 2), 7)],
        inplace=False,
    ),
    _layer(
        "embedding",
        lambda make: [
            Call(make.index(2, 3, below=5), make(5, 4)),
            Call(make.index(3, below=5), make(5, 2), 1),
        ],
    ),
]
