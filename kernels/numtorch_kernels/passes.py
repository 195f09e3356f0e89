"""From a function's bytecode to its part of a kernel: Numba's stages, without what no kernel needs.

Numba looks anew at the lives of all variables after each of a score of stages, most of which
rewrite what kernels do not have; says where each variable dies, for the sake of counted references;
and keeps ready what it would say of each statement if that failed. Functions here have numbers,
pointers, tuples and ranges; their few stages take two thirds of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from numba.core import ir, ssa, typed_passes, typing
from numba.core.analysis import dead_branch_prune, rewrite_semantic_constants
from numba.core.compiler import CompilerBase, compile_result
from numba.core.compiler_machinery import PassManager
from numba.core.funcdesc import PythonFunctionDescriptor
from numba.core.interpreter import (
    Interpreter,
    peep_hole_call_function_ex_to_call_function_kw,
    peep_hole_list_to_tuple,
)
from numba.core.ir_utils import build_definitions
from numba.core.lowering import Lower
from numba.core.rewrites.static_binop import DetectStaticBinops
from numba.core.rewrites.static_getitem import RewriteConstGetitems
from numba.core.transforms import canonicalize_cfg


class _Reader(Interpreter):  # type: ignore[misc]
    """Reads bytecode."""

    def post_process(self, peepholes: Sequence[Callable[[Any], Any]], read: Any) -> Any:
        """Puts together again what Python takes apart in calls with starred arguments."""
        return peep_hole_call_function_ex_to_call_function_kw(peep_hole_list_to_tuple(read))


def _read(state: Any) -> None:
    state.func_ir = _Reader(state.func_id).interpret(state.bc)
    state.nargs = state.func_ir.arg_count
    state.func_ir.blocks = canonicalize_cfg(state.func_ir.blocks)


def _find_constants(state: Any) -> None:
    """Leaves out what is not reached, and notes constant exponents and places in tuples."""
    rewrite_semantic_constants(state.func_ir, state.args)
    dead_branch_prune(state.func_ir, state.args)
    blocks = state.func_ir.blocks
    for rewrite in (RewriteConstGetitems(state), DetectStaticBinops(state)):
        for label, block in blocks.items():
            if rewrite.match(state.func_ir, block, None, None):
                blocks[label] = rewrite.apply()


def _split_variables(state: Any) -> None:
    """Gives a variable a name for each of its assignments, as each may have its own type."""
    state.func_ir = ssa.reconstruct_ssa(state.func_ir)
    state.func_ir._definitions = build_definitions(state.func_ir.blocks)


def _infer_types(state: Any) -> None:
    typed_passes.NopythonTypeInference().run_pass(state)


def _join_variables(state: Any) -> None:
    """Assigns what depends on the way that was taken at the ends of the ways."""
    state.func_ir = typed_passes.PreLowerStripPhis()._strip_phi_nodes(state.func_ir)


class _Writer(Lower):  # type: ignore[misc]
    """Writes LLVM code."""

    _disable_sroa_like_opt = False

    def _find_singly_assigned_variable(self) -> None:
        """Finds variables that need no memory: assigned once, and used afterwards in one block."""
        assigned: Counter[str] = Counter()
        elsewhere: set[str] = set()
        for block in self.blocks.values():
            known: set[str] = set()
            for statement in block.body:
                assigns = isinstance(statement, ir.Assign)
                used = statement.value if assigns else statement
                if isinstance(used, ir.Var):
                    names = {used.name}
                elif isinstance(used, ir.Inst):
                    names = {variable.name for variable in used.list_vars()}
                else:
                    names = set()
                elsewhere |= names - known
                if assigns:
                    assigned[statement.target.name] += 1
                    known.add(statement.target.name)
        self._singly_assigned_vars = {name for name, n in assigned.items() if n == 1} - elsewhere
        self._blk_local_varmap: dict[str, Any] = {}

    def lower_block(self, block: Any) -> None:
        """Writes a block."""
        for statement in block.body:
            self.loc = statement.loc
            if isinstance(statement, ir.Assign):
                name = statement.target.name
                self.storevar(self.lower_assign(self.typeof(name), statement), name)
            else:
                self.lower_inst(statement)

    def storevar(self, value: Any, name: str, argidx: int | None = None) -> None:
        """Notes the value of a variable that needs no memory; stores it otherwise."""
        if name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self.builder.store(value, self.getvar(name))


def _write(state: Any) -> None:
    """Writes the function, and makes it known to those that call it."""
    context, flags, name = state.targetctx, state.flags, state.func_id.func_qualname
    library = state["library"] or context.codegen().create_library(name)
    description = PythonFunctionDescriptor.from_specialized_function(
        state.func_ir,
        state.typemap,
        state.return_type,
        state.calltypes,
        context.mangler,
        inline=flags.forceinline,
        noalias=flags.noalias,
        abi_tags=[flags.get_mangle_string()],
    )
    with context.push_code_library(library):
        writer = _Writer(context, library, description, state.func_ir, state.metadata)
        writer.lower()
    entry = None
    if not flags.no_compile:
        entry = context.get_executable(library, description, writer.env)
        context.insert_user_function(entry, description, [library])
    state.cr = compile_result(
        typing_context=state.typingctx,
        target_context=context,
        entry_point=entry,
        objectmode=False,
        library=library,
        call_helper=writer.call_helper,
        signature=typing.signature(state.return_type, *state.args),
        fndesc=description,
        environment=writer.env,
        metadata=state.metadata,
    )


STAGES = (_read, _find_constants, _split_variables, _infer_types, _join_variables, _write)


class _Stages(PassManager):  # type: ignore[misc]
    def run(self, state: Any) -> None:
        """Called by Numba."""
        for stage in STAGES:
            stage(state)


@cache
def _stages() -> _Stages:
    return _Stages("numtorch")


class Passes(CompilerBase):  # type: ignore[misc]
    """What Numba calls to compile a function."""

    def define_pipelines(self) -> list[PassManager]:
        """The one pipeline, for Numba to run."""
        return [_stages()]
