"""Running one program under two modules and comparing what it shows."""

import re
import textwrap
import warnings
from types import ModuleType
from typing import Any

import numpy as np


def transcript(torch: ModuleType, program: str) -> list[str]:
    """What a program shows, with ``torch`` meaning a module.

    A program may call ``show(*values)``, ``refused(function)``, which shows the error that calling
    the function raises, and ``leaf(*shape)``, a tensor of the numbers from 1 that requires grad.
    """
    shown: list[str] = []

    def show(*values: Any) -> None:
        shown.append(" ".join(_described(value) for value in values))

    def refused(function: Any, length: int = 200) -> None:
        try:
            value = function()
        except Exception as error:
            shown.append(f"{type(error).__name__}: {_plain(str(error))[:length]}")
        else:
            shown.append(f"not refused: {_described(value)}")

    def leaf(*shape: int, dtype: Any = None) -> Any:
        count = 1
        for size in shape:
            count *= size
        numbers = torch.tensor([float(i + 1) for i in range(count)], dtype=dtype)
        return numbers.reshape(shape).clone().requires_grad_()

    scope = {"torch": torch, "show": show, "refused": refused, "leaf": leaf}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(textwrap.dedent(program), "<program>", "exec"), scope)
    return shown


def _described(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(map(_described, value))})"
    if hasattr(value, "next_functions"):
        return type(value).__name__
    return _plain(repr(value))


def _plain(text: str) -> str:
    """A text without what differs between two processes or modules and says nothing."""
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return re.sub(r" \(Triggered internally at .*\)", "", text).replace("numtorch.", "torch.")


def answer(torch: ModuleType, expression: str, setup: str = "") -> str:
    """What an expression gives after some setup, with strides, warnings and errors, as text."""
    scope: dict[str, Any] = {"torch": torch, "np": np}
    exec(textwrap.dedent(setup), scope)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            shown = _with_strides(eval(expression, scope))
        except Exception as error:
            shown = f"{type(error).__name__}: {_plain(str(error))}"
    return "\n".join([shown, *sorted({_plain(str(each.message)) for each in caught})])


def _with_strides(value: Any) -> str:
    if isinstance(value, tuple | list) and any(hasattr(each, "stride") for each in value):
        return "; ".join(map(_with_strides, value))
    text = _described(value)
    if hasattr(value, "stride") and value.numel():
        steps = [step if n > 1 else 0 for n, step in zip(value.shape, value.stride(), strict=True)]
        text += f" {tuple(value.shape)} {value.dtype} {steps}".replace("numtorch.", "torch.")
    return text
