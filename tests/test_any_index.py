"""Reading and writing at any index that there may be, against PyTorch."""

from collections.abc import Callable
from math import prod
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import numtorch as torch
from helpers import assert_same


@st.composite
def shapes_and_indices(draw: st.DrawFn) -> tuple[tuple[int, ...], str]:
    """A shape, and an index for tensors of about that shape, as an expression."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    items: list[str] = []
    dim = 0
    length = draw(st.integers(1, 3))  # of the index tensors, mostly
    while dim < len(shape) or draw(st.integers(0, 3)) == 3:
        size = shape[dim] if dim < len(shape) else 2
        kind = draw(st.sampled_from(
            ["int", "slice", "slice", "slice", "none", "tensor", "tensor", "list", "mask", "bool",
             "...", "stop"]
        ))  # fmt: skip
        near = (
            st.integers(-size, size - 1)
            if size and draw(st.integers(0, 19))
            else st.integers(-6, 6)
        )
        if kind == "int":
            items.append(str(draw(near)))
        elif kind == "slice":
            limit = st.one_of(st.just(""), st.integers(-5, 5).map(str))
            items.append(
                f"slice_({draw(limit) or None}, {draw(limit) or None}, {draw(st.integers(1, 3))})"
            )
        elif kind in ("none", "bool", "..."):
            if kind == "..." and "..." in items:
                continue  # PyTorch counts the dimensions of a second one again
            items.append({"none": "None", "bool": str(draw(st.booleans())), "...": "..."}[kind])
            if kind == "..." and draw(st.booleans()):
                dim = max(dim, len(shape) - draw(st.integers(0, 2)))
            continue
        elif kind in ("tensor", "list"):
            values = [draw(near) for _ in range(draw(st.sampled_from([1, length, length])))]
            text = str(values)
            if kind == "tensor" and draw(st.booleans()):
                text = f"[{text}]"
            items.append(f"torch.tensor({text})" if kind == "tensor" else text)
        elif kind == "mask":
            ndim = draw(st.integers(1, 2))
            sizes = [*shape[dim : dim + ndim], 2, 2][:ndim]
            flat = draw(st.lists(st.booleans(), min_size=prod(sizes), max_size=prod(sizes)))
            items.append(f"torch.tensor({flat}, dtype=torch.bool).reshape({sizes})")
            dim += ndim - 1
        else:
            break
        dim += 1
    return tuple(shape), f"({''.join(item + ', ' for item in items)})"


def outcome(function: Callable[[], Any]) -> Any:
    """A result, or the type and message of the error."""
    try:
        return function()
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        return type(error).__name__, str(error)


def as_index(module: ModuleType, text: str) -> Any:
    return eval(text, {"torch": module, "slice_": slice})


@given(case=shapes_and_indices())
def test_reading_at_any_index(oracle: ModuleType, case: tuple[tuple[int, ...], str]) -> None:
    shape, text = case
    values = np.arange(prod(shape), dtype=np.float64).reshape(shape)
    results = []
    for module in (torch, oracle):
        x = module.tensor(values, requires_grad=True)
        got = outcome(lambda x=x, module=module: x[as_index(module, text)])
        if not isinstance(got, tuple):
            weights = module.arange(1.0, got.numel() + 1).reshape(got.shape)
            got = (got, *module.autograd.grad((got * weights).sum(), x))
            with module.no_grad():
                got = (*got, x[as_index(module, text)], got[0].is_contiguous())
        results.append(got)
    if isinstance(results[1][0], str):
        assert results[0] == results[1]
    else:
        assert_same(results[0][:3], results[1][:3])


@given(case=shapes_and_indices(), data=st.data())
def test_writing_at_any_index(
    oracle: ModuleType, case: tuple[tuple[int, ...], str], data: st.DataObject
) -> None:
    shape, text = case
    values = np.arange(prod(shape), dtype=np.float64).reshape(shape)
    probe = outcome(lambda: oracle.from_numpy(values)[as_index(oracle, text)])
    found = [] if isinstance(probe, tuple) else list(probe.shape)
    value_shape = found[data.draw(st.integers(0, len(found))) :] if found else []
    value_shape = [1 if data.draw(st.integers(0, 4)) == 0 else n for n in value_shape]
    number = -1.0 - np.arange(prod(value_shape)).reshape(value_shape)
    recorded = data.draw(st.booleans())
    results = []
    for module in (torch, oracle):
        x = module.tensor(values, requires_grad=recorded)
        value = module.tensor(number, requires_grad=recorded)
        y = x.clone()
        got = outcome(
            lambda y=y, value=value, module=module: y.__setitem__(as_index(module, text), value)
        )
        if got is not None or not recorded:
            results.append((got, y.detach()))
            continue
        weights = module.arange(1.0, y.numel() + 1).reshape(y.shape)
        grads = module.autograd.grad((y * weights).sum(), [x, value], allow_unused=True)
        results.append((got, y.detach(), *grads))
    ours, theirs = results
    if has_repeated_positions(text):
        ours, theirs = ours[:1], theirs[:1]  # which of several values stays is nobody's promise
    assert ours[0] == theirs[0]
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        zero = other is None or one is None
        assert zero or np.array_equal(one.numpy(), other.numpy())


def has_repeated_positions(text: str) -> bool:
    """Whether an index has lists of positions, which may repeat themselves."""
    return "[[" in text or any(f"[{sign}" in text for sign in "-0123456789")
