"""How functions that kernels consist of call one another: with values, as C functions do.

Numba's own convention passes a place for the result and one for an exception, and gives a status
that every caller looks at. No kernel raises: nobody would look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.callconv import BaseCallConv


class Convention(BaseCallConv):  # type: ignore[misc]
    """What Numba asks of a calling convention."""

    def get_function_type(
        self, result: types.Type, parameters: Sequence[types.Type]
    ) -> ir.FunctionType:
        """LLVM's type of a function."""
        return ir.FunctionType(
            self.context.data_model_manager[result].get_return_type(),
            self._get_arg_packer(parameters).argument_types,
        )

    def decorate_function(self, function: ir.Function, *_: Any, **__: Any) -> None:
        """Nothing: parameters need no names."""

    def get_arguments(self, function: ir.Function) -> Sequence[ir.Argument]:
        """The parameters of a function."""
        return function.args

    def call_function(
        self,
        builder: ir.IRBuilder,
        callee: ir.Function,
        result: types.Type,
        parameters: Sequence[types.Type],
        arguments: Sequence[ir.Value],
    ) -> tuple[None, ir.Value]:
        """A call: no status, and its value."""
        packed = self._get_arg_packer(parameters).as_arguments(builder, arguments)
        value = builder.call(callee, packed)
        return None, self.context.get_returned_value(builder, result, value)

    def return_value(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        """Ends a function."""
        builder.ret(value)

    def return_user_exc(self, builder: ir.IRBuilder, *_: Any, **__: Any) -> None:
        """Ends a function with 0 where Numba's code for an operation would raise."""
        builder.ret(ir.Constant(builder.function.function_type.return_type, None))

    def _make_call_helper(self, builder: ir.IRBuilder) -> None:
        """Nothing: Numba's conventions keep exceptions there."""


def caller_of(description: Any, libraries: Sequence[Any]) -> Callable[..., ir.Value]:
    """What Numba calls to write a call of a compiled function."""

    def write(
        context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Sequence[ir.Value]
    ) -> ir.Value:
        callee = context.declare_function(builder.module, description)
        kinds = description.restype, description.argtypes
        return context.call_conv.call_function(builder, callee, *kinds, arguments)[1]

    write.signature = description.argtypes  # type: ignore[attr-defined]
    write.libs = tuple(libraries)  # type: ignore[attr-defined]
    return write
