"""What LLVM is told of a loop: whether to unroll it, how many vectors to work on side by side."""

from __future__ import annotations

from llvmlite import ir

_HINTS = "loop_hints"  # where a module keeps them until its loops are whole


def hint(builder: ir.IRBuilder, name: str, *values: int) -> None:
    """Notes a hint for the loop whose body ends in the builder's block."""
    vars(builder.module).setdefault(_HINTS, []).append((builder.block, name, values))


def write_hints(module: ir.Module) -> None:
    """Writes a module's hints where loops go on."""
    for block, name, values in vars(module).get(_HINTS, ()):
        numbers = [ir.Constant(ir.IntType(32), value) for value in values]
        operand = module.add_metadata([ir.MetaDataString(module, name), *numbers])
        loop = ir.MDValue(module, [operand], name=str(len(module.metadata)))
        loop.operands = (loop, operand)  # that it names itself tells this loop from others
        block.terminator.set_metadata("llvm.loop", loop)
