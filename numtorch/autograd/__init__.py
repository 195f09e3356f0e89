"""Automatic differentiation: the graph, the engine that walks it, and what starts it."""

from __future__ import annotations

from . import function, graph
from .calls import backward, grad
from .function import Function
from .gradcheck import gradcheck, gradgradcheck
from .mode import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)
from .variable import Variable

__all__ = [
    "Function",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
