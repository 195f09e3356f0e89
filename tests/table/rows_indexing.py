"""Rows: gathering and scattering."""

from __future__ import annotations

from .row import Call, Make, Row

FEW = ("float64", "int64")


def _gathered(make: Make) -> list[Call]:
    return [
        Call(make(3, 4), 0, make.index(2, 4, below=3)),
        Call(make(3, 4), -1, make.index(3, 2, below=4)),
        Call(make(5), 0, make.index(7, below=5)),
    ]


def _scattered(make: Make) -> list[Call]:
    return [
        Call(make(3, 4), 0, make.index(2, 4, below=3), make(2, 4)),
        Call(make(3, 4), 1, make.index(3, 3, below=4), make(3, 3)),
    ]


def _reduced(make: Make) -> list[Call]:
    return [
        Call(
            make(3, 4, low=1),
            0,
            make.index(4, 4, below=3),
            make(4, 4, low=1),
            kind,
            include_self=own,
        )
        for kind in ("sum", "prod", "mean", "amax", "amin")
        for own in (True, False)
    ]


def _selected(make: Make) -> list[Call]:
    return [
        Call(make(3, 4), 0, make.index(5, below=3)),
        Call(make(3, 4), -1, make.index(2, below=4)),
        Call(make(3, 4), 0, make.index(0, below=1)),
    ]


def _along(make: Make) -> list[Call]:
    return [
        Call(make(3, 4), 0, make.index(5, below=3), make(5, 4)),
        Call(make(3, 4), 1, make.index(2, below=4), make(3, 2)),
    ]


def _copied(make: Make) -> list[Call]:
    return [Call(make(3, 4), 1, make.index(4, below=4).argsort()[:2], make(3, 2))]


def _put(make: Make) -> list[Call]:
    rows, columns = make.index(5, below=3), make.index(5, below=4)
    return [
        Call(make(3, 4), (rows, columns), make(5), True),
        Call(make(3, 4), (make.mask(3, 4),), make(1)),
        Call(make(3, 4), (rows,), make(4), True),
    ]


ROWS = [
    Row(
        name="gather",
        calls=_gathered,
        dtypes=FEW,
        refused=lambda make: [
            Call(make(3), 0, make(3)),
            Call(make(3), 0, make.index(2, below=1) + 3),
            Call(make(3), 1, make.index(2, below=3)),
            Call(make(3, 2), 0, make.index(2, below=3)),
        ],
    ),
    Row(
        name="scatter_add",
        calls=_scattered,
        dtypes=FEW,
        refused=lambda make: [
            Call(make(3), 0, make.index(2, below=1) + 3, make(2)),
            Call(make(3), 0, make.index(4, below=3), make(2)),
        ],
    ),
    Row(
        name="scatter",
        calls=lambda make: [Call(make(3, 4), 1, make.index(3, 1, below=4), make(3, 1))],
        dtypes=FEW,
    ),
    Row(name="scatter_reduce", calls=_reduced, dtypes=FEW, second=False),
    Row(
        name="index_select",
        calls=_selected,
        dtypes=FEW,
        refused=lambda make: [
            Call(make(3), 0, make.index(2, below=1) + 3),
            Call(make(3), 0, make(2)),
        ],
    ),
    Row(name="index_add", calls=_along, dtypes=FEW),
    Row(name="index_copy", calls=_copied, dtypes=FEW),
    Row(
        name="index_fill",
        calls=lambda make: [Call(make(3, 4), 1, make.index(2, below=4), 7)],
        dtypes=FEW,
    ),
    Row(name="index_put", calls=_put, dtypes=FEW),
    Row(
        name="masked_fill",
        calls=lambda make: [
            Call(make(3, 4), make.mask(3, 4), 2),
            Call(make(3, 4), make.mask(4), make()),
            Call(make(3, 4), make.mask(3, 1), 7),
        ],
        dtypes=FEW,
        refused=lambda make: [Call(make(3), make(3), 1), Call(make(3), make.mask(4), 1)],
    ),
    Row(
        name="masked_scatter",
        calls=lambda make: [Call(make(3, 4), make.mask(3, 4), make(12))],
        dtypes=FEW,
        second=False,
    ),
    Row(
        name="masked_select",
        calls=lambda make: [Call(make(3, 4), make.mask(3, 4)), Call(make(3, 4), make.mask(4))],
        dtypes=FEW,
        refused=lambda make: [Call(make(3), make(3))],
    ),
    Row(name="take", calls=lambda make: [Call(make(3, 4), make.index(2, 3, below=12))], dtypes=FEW),
    Row(
        name="put",
        path="Tensor.put",
        calls=lambda make: [Call(make(3, 4), make.index(5, below=12), make(5), True)],
        dtypes=FEW,
    ),
    Row(
        name="select_scatter",
        calls=lambda make: [Call(make(3, 4), make(4), 0, 1), Call(make(3, 4), make(3), 1, -1)],
        dtypes=FEW,
    ),
    Row(
        name="slice_scatter",
        calls=lambda make: [Call(make(5, 4), make(2, 4), 0, 1, 5, 2)],
        dtypes=FEW,
    ),
    Row(
        name="diagonal_scatter",
        calls=lambda make: [Call(make(3, 4), make(3)), Call(make(3, 4), make(3), 1)],
        dtypes=FEW,
    ),
]
