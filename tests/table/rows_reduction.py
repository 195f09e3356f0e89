"""Rows: reductions, scans and matrix products."""

from __future__ import annotations

import math

from .row import EVERY, FLOATS, Call, Make, Row

BAD_DIMS = (2, -3)


def _sums(make: Make) -> list[Call]:
    x = make(3, 4)
    return [
        Call(x),
        Call(x, 0),
        Call(x, -1, True),
        Call(x, (0, 1)),
        Call(x, dim=1, keepdim=True),
        Call(make(2, 3, 4), (0, 2)),
        Call(make()),
        Call(make(0)),
        Call(make(0, 3), 0),
        Call(make(40, 70), 1),
    ]


def _along_one(make: Make) -> list[Call]:
    x = make.distinct(3, 4)
    return [
        Call(x),
        Call(x, 0),
        Call(x, 1, True),
        Call(x, -1),
        Call(make()),
        Call(make.distinct(70)),
    ]


def _statistics(make: Make) -> list[Call]:
    x = make(3, 4)
    return [
        Call(x),
        Call(x, 0),
        Call(x, (0, 1), keepdim=True),
        Call(x, 1, correction=0),
        Call(x, dim=1, unbiased=False),
        Call(make(2, 3, 4), (0, 2), correction=2),
    ]


def _norms(make: Make) -> list[Call]:
    x = make(3, 4)
    return [Call(x)] + [Call(x, p, 1) for p in (0, 1, 2, 3, 2.5, math.inf, -math.inf)]


def _scans(make: Make) -> list[Call]:
    return [
        Call(make(3, 4), 0),
        Call(make(3, 4), -1),
        Call(make(2, 3, 4), 1),
        Call(make(0), 0),
        Call(make(), 0),
    ]


def _bad_dims(make: Make) -> list[Call]:
    return [Call(make(2, 3), dim) for dim in BAD_DIMS] + [Call(make(2, 3), (0, 0))]


def _one_bad_dim(make: Make) -> list[Call]:
    return [Call(make(2, 3), dim) for dim in BAD_DIMS]


def _empty_extremes(make: Make) -> list[Call]:
    return [*_one_bad_dim(make), Call(make(0)), Call(make(0, 3), 0)]


ROWS = [
    Row(name="sum", calls=_sums, dtypes=EVERY, refused=_bad_dims),
    Row(name="mean", calls=_sums, dtypes=FLOATS, refused=_bad_dims),
    Row(
        name="prod",
        calls=lambda make: [
            Call(make(3, 4)),
            Call(make(3, 4), 0),
            Call(make(3, 4), 1, True),
            Call(make(0)),
            Call(make()),
        ],
        refused=_one_bad_dim,
    ),
    *[
        Row(name=name, calls=_statistics, dtypes=FLOATS)
        for name in ("var", "std", "var_mean", "std_mean")
    ],
    Row(name="amax", calls=_along_one, refused=_empty_extremes),
    Row(name="amin", calls=_along_one, refused=_empty_extremes),
    Row(name="max", calls=_along_one, refused=_empty_extremes, dtypes=EVERY),
    Row(name="min", calls=_along_one, refused=_empty_extremes),
    Row(name="argmax", calls=_along_one, gradient=False, refused=_empty_extremes),
    Row(name="argmin", calls=_along_one, gradient=False, refused=_empty_extremes),
    Row(name="any", calls=_sums, gradient=False, dtypes=("float32", "int64", "bool", "uint8")),
    Row(name="all", calls=_sums, gradient=False, dtypes=("float32", "int64", "bool", "uint8")),
    Row(
        name="count_nonzero",
        calls=lambda make: [Call(make(3, 4)), Call(make(3, 4), 0), Call(make(0))],
        gradient=False,
    ),
    Row(
        name="logsumexp",
        calls=lambda make: [
            Call(make(3, 4), 0),
            Call(make(3, 4), (0, 1)),
            Call(make(3, 4), 1, True),
            Call(make(), 0),
        ],
        dtypes=FLOATS,
    ),
    Row(name="norm", calls=_norms, dtypes=FLOATS),
    Row(name="cumsum", calls=_scans, refused=_one_bad_dim),
    Row(name="cumprod", calls=_scans, refused=_one_bad_dim),
    Row(name="cummax", calls=_scans, refused=_one_bad_dim),
    Row(name="cummin", calls=_scans, refused=_one_bad_dim),
    Row(
        name="mm",
        calls=lambda make: [
            Call(make(3, 4), make(4, 2)),
            Call(make(0, 3), make(3, 2)),
            Call(make(2, 0), make(0, 3)),
        ],
        refused=lambda make: [Call(make(2, 3), make(2, 3)), Call(make(2), make(2, 3))],
    ),
    Row(
        name="bmm",
        calls=lambda make: [Call(make(2, 3, 4), make(2, 4, 2)), Call(make(0, 2, 3), make(0, 3, 2))],
        refused=lambda make: [Call(make(2, 2, 3), make(2, 2, 3)), Call(make(2, 3), make(3, 2))],
    ),
    Row(
        name="mv",
        calls=lambda make: [Call(make(3, 4), make(4)), Call(make(2, 0), make(0))],
        refused=lambda make: [Call(make(2, 3), make(2)), Call(make(2), make(2))],
    ),
    Row(
        name="dot",
        calls=lambda make: [Call(make(4), make(4)), Call(make(0), make(0))],
        refused=lambda make: [Call(make(2), make(3)), Call(make(2, 2), make(2, 2))],
    ),
    Row(
        name="matmul",
        calls=lambda make: [
            Call(make(3, 4), make(4, 2)),
            Call(make(4), make(4)),
            Call(make(3, 4), make(4)),
            Call(make(4), make(4, 2)),
            Call(make(2, 3, 4), make(4, 2)),
            Call(make(2, 1, 3, 4), make(3, 4, 2)),
            Call(make(4), make(2, 4, 3)),
        ],
        refused=lambda make: [
            Call(make(2, 3), make(2, 3)),
            Call(make(), make(2)),
            Call(make(2, 2, 3), make(3, 3, 2)),
        ],
    ),
    Row(
        name="addmm",
        calls=lambda make: [
            Call(make(3, 2), make(3, 4), make(4, 2)),
            Call(make(2), make(3, 4), make(4, 2), beta=2, alpha=3),
        ],
        refused=lambda make: [
            Call(make(3), make(3, 4), make(4, 2)),
            Call(make(3, 2), make(3, 4), make(3, 2)),
        ],
    ),
    Row(name="addmv", calls=lambda make: [Call(make(3), make(3, 4), make(4), beta=2, alpha=3)]),
    Row(
        name="baddbmm",
        calls=lambda make: [Call(make(2, 3, 2), make(2, 3, 4), make(2, 4, 2), beta=2)],
    ),
]
