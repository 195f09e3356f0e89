"""A target for Numba: its compiler with those parts that kernels need, and no others.

Numba's own target first loads whatever a Python program may use (NumPy's functions, strings, lists,
and SciPy for their sake), and rewrites each function in a score of passes, most of them for things
that no kernel has. Here are numbers, pointers, tuples and ranges, and the passes for these. Numba
also optimises and translates every function that a kernel calls by itself, and then again as part
of its callers; here functions are text until a kernel is whole, and LLVM sees it once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from importlib import import_module
from itertools import count
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import (
    compiler_machinery,
    cpu,
    externals,
    target_extension,
    typed_passes,
    types,
    typing,
    untyped_passes,
)
from numba.core.cgutils import normalize_ir_text
from numba.core.codegen import CodeLibrary, JITCPUCodegen
from numba.core.compiler import CompilerBase, compile_result
from numba.core.compiler_lock import global_compiler_lock
from numba.core.descriptors import TargetDescriptor
from numba.core.dispatcher import Dispatcher
from numba.core.fastmathpass import rewrite_module
from numba.core.funcdesc import PythonFunctionDescriptor
from numba.core.intrinsics import fix_divmod
from numba.core.lowering import Lower
from numba.core.typing import mathdecl

NAME = "numtorch"  # of the target, for Numba

IMPLEMENTATIONS = (  # Numba's modules that say what code its operations become
    "cpython.mathimpl",
    "cpython.builtins",
    "cpython.iterators",
    "cpython.numbers",
    "cpython.rangeobj",
    "cpython.tupleobj",
    "core.optional",
)

OPTIONS: dict[str, Any] = {
    "nopython": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""Numba's options for a function that only compiled functions call."""

PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.RewriteSemanticConstants,
    untyped_passes.DeadBranchPrune,
    untyped_passes.GenericRewrites,
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.IRLegalization,
)


_numbers = count(1)  # of modules, which tell apart what they call alike


def _is_defined(value: ir.GlobalValue) -> bool:
    if isinstance(value, ir.Function):
        return not value.is_declaration
    return value.initializer is not None


class Library(CodeLibrary):  # type: ignore[misc]
    """LLVM's text of one function, in which nothing but what has the library's name is visible.

    Libraries are linked by writing their texts together: LLVM's own linker took longer.
    """

    _object_compiled_hook = _object_getbuffer_hook = None  # objects are kept by those who load them

    def __init__(self, codegen: Codegen, name: str) -> None:
        super().__init__(codegen, name)
        self._defined: dict[str, str] = {}
        self._declared: dict[str, str] = {}
        self._metadata: list[str] = []
        self._linked: list[CodeLibrary] = []

    def add_ir_module(self, module: ir.Module) -> None:
        """Adds the text of a module, which is of no use afterwards."""
        number = next(_numbers)
        for value in module.metadata:
            value.name = f"{number}{value.name:0>4}"
        own = {}  # what other modules may have under the same name, as they see nothing of it
        for value in filter(_is_defined, module.globals.values()):
            if value.linkage in ("internal", "private"):
                own[value.get_reference()] = f'@"{value.name}.{number}"'
            elif value.name != self.name:
                value.linkage = "internal"
        for value in module.globals.values():
            text = str(value)
            for reference, name in own.items():
                text = text.replace(reference, name)
            known = self._defined if _is_defined(value) else self._declared
            known[own.get(value.get_reference(), value.name)] = text
        self._metadata += map(str, module.metadata)

    def add_linking_library(self, library: CodeLibrary) -> None:
        """Adds what another library has."""
        self._linked.append(library)

    def finalize(self) -> None:
        """Called by Numba when all is added."""
        self._finalized = True

    def texts(self) -> list[str]:
        """The text of this and all libraries of its kind that are linked, then those of others."""
        libraries: list[Library] = [self]
        foreign: list[CodeLibrary] = []
        for library in libraries:
            for other in library._linked:
                if other not in libraries and other not in foreign:
                    (libraries if isinstance(other, Library) else foreign).append(other)
        defined: dict[str, str] = {}
        declared: dict[str, str] = {}
        metadata: list[str] = []
        for library in libraries:
            defined |= library._defined
            declared |= library._declared
            metadata += library._metadata
        missing = [text for name, text in declared.items() if name not in defined]
        module = self._codegen._create_empty_module(self.name)
        lines = [str(module), *missing, *defined.values(), *metadata]
        others = [str(library._get_module_for_linking()) for library in foreign]
        return [normalize_ir_text("\n".join(lines)), *others]

    def get_pointer_to_function(self, name: str) -> int:
        """Null: there is no machine code."""
        return 0

    def get_function(self, name: str) -> None:
        """Nothing: there is but text."""

    def get_llvm_str(self) -> str:
        """The text for people to read."""
        return "\n".join(self.texts())

    def get_asm_str(self) -> str:
        """Nothing, as for :meth:`get_function`."""
        return ""


class Codegen(JITCPUCodegen):  # type: ignore[misc]
    """A code generator of our own, with its own table of symbols."""

    _library_class = Library

    @cached_property
    def _triple(self) -> str:
        return llvm.get_process_triple()

    def _create_empty_module(self, name: str) -> ir.Module:
        """As Numba does, but without asking LLVM, which may be at work, each time."""
        module = ir.Module(normalize_ir_text(name))
        module.triple = self._triple
        if self._data_layout:
            module.data_layout = self._data_layout
        return module

    def set_env(self, env_name: str, env: Any) -> None:
        """Nothing: kernels have no Python objects."""


_made: list[Codegen] = []


def codegen() -> Codegen:
    """The only one, which takes no lock but while it is made."""
    if not _made:
        with global_compiler_lock:
            if not _made:
                llvm.initialize_native_asmparser()
                _made.append(Codegen(NAME))
    return _made[0]


@compiler_machinery.register_pass(mutates_CFG=True, analysis_only=False)
class Lowering(compiler_machinery.LoweringPass):  # type: ignore[misc]
    """From typed code to LLVM's; Numba's own asks LLVM for statistics, which may be at work."""

    _name = "kernel_lowering"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Lowers the function, and makes it known to those that call it."""
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
            lower = Lower(context, library, description, state.func_ir, state.metadata)
            lower.lower()
        entry = None
        if not flags.no_compile:
            entry = context.get_executable(library, description, lower.env)
            context.insert_user_function(entry, description, [library])
        state.cr = compile_result(
            typing_context=state.typingctx,
            target_context=context,
            entry_point=entry,
            objectmode=False,
            library=library,
            call_helper=lower.call_helper,
            signature=typing.signature(state.return_type, *state.args),
            fndesc=description,
            environment=lower.env,
            metadata=state.metadata,
        )
        return True


class Passes(CompilerBase):  # type: ignore[misc]
    """The passes from a function's bytecode to its part."""

    def define_pipelines(self) -> list[compiler_machinery.PassManager]:
        """The one pipeline, for Numba to run."""
        return [_pipeline()]


@cache
def _pipeline() -> compiler_machinery.PassManager:
    passes = compiler_machinery.PassManager(NAME)
    for each in (*PASSES, Lowering):
        passes.add_pass(each, each.__name__)
    passes.finalize()
    return passes


INTERLEAVED = "interleaved"  # where a module keeps the blocks at whose ends marked loops go on
_INTERLEAVED_VECTORS = 4


def _interleaving(module: ir.Module) -> ir.MDValue:
    """What tells LLVM's vectoriser how many vectors of a loop's elements to work on at once."""
    count = ir.Constant(ir.IntType(32), _INTERLEAVED_VECTORS)
    hint = module.add_metadata([ir.MetaDataString(module, "llvm.loop.interleave.count"), count])
    loop = ir.MDValue(module, [hint], name=str(len(module.metadata)))
    loop.operands = (loop, hint)  # that it names itself tells this loop from others
    return loop


class _Typing(typing.Context):  # type: ignore[misc]
    """What types the operations on numbers, pointers, tuples and ranges have."""

    def __init__(self) -> None:
        self._signatures: dict[Any, tuple[types.Type, typing.Signature]] = {}
        super().__init__()

    def load_additional_registries(self) -> None:
        """Called by Numba before each compilation; arrays and the like only take time to refuse."""
        self.install_registry(mathdecl.registry)

    def resolve_function_type(
        self, function: types.Type, arguments: Sequence[types.Type], named: dict[str, types.Type]
    ) -> typing.Signature | None:
        """What a call gives; Numba asks again and again, and of many implementations."""
        find = super().resolve_function_type
        if not isinstance(function, types.BaseFunction):
            return find(function, arguments, named)
        # equal functions will not do: each keeps what it found
        key = (id(function), tuple(arguments), *named.items())
        if key not in self._signatures:
            signature = find(function, arguments, named)
            if signature is None:
                return None
            self._signatures[key] = function, signature  # whose id stays its own
        return self._signatures[key][1]


def _layout(kind: ir.Type, pointer: int) -> tuple[int, int]:
    """The size and alignment of a type in bytes; 0 for those that are not known here."""
    if isinstance(kind, ir.PointerType):
        return pointer, pointer
    if isinstance(kind, ir.FloatType | ir.DoubleType):
        return (4, 4) if isinstance(kind, ir.FloatType) else (8, 8)
    if isinstance(kind, ir.IntType) and kind.width <= 64:
        size = max(1, 1 << (kind.width - 1).bit_length() >> 3)
        return size, size
    if isinstance(kind, ir.LiteralStructType) and not kind.packed:
        end, widest = 0, 1
        for size, alignment in (_layout(each, pointer) for each in kind.elements):
            if not size:
                return 0, 0
            end = -(-end // alignment) * alignment + size
            widest = max(widest, alignment)
        return -(-end // widest) * widest, widest
    return 0, 0


class _Context(cpu.CPUContext):  # type: ignore[misc]
    """What LLVM code the operations on numbers, pointers, tuples and ranges become."""

    def init(self) -> None:
        """Called by Numba when it makes the context."""
        self.is32bit = self.address_size == 32
        self._internal_codegen = codegen()
        externals.c_math_functions.install(self)

    def load_additional_registries(self) -> None:
        """Called by Numba before each compilation."""
        for name in IMPLEMENTATIONS:
            implementation = import_module(f"numba.{name}")
            if hasattr(implementation, "registry"):  # others add to the one that all targets have
                self.install_registry(implementation.registry)

    def get_abi_sizeof(self, kind: ir.Type) -> int:
        """Bytes that a value takes; LLVM, which may be at work, is not asked for most types."""
        return _layout(kind, self.address_size // 8)[0] or super().get_abi_sizeof(kind)

    def post_lowering(self, module: ir.Module, library: Library) -> None:
        """Called by Numba when a function has become LLVM code; kernels need no runtime of its."""
        for block in vars(module).get(INTERLEAVED, ()):
            block.terminator.set_metadata("llvm.loop", _interleaving(module))
        if self.fastmath:
            rewrite_module(module, self.fastmath)
        if self.is32bit:
            fix_divmod(module)


class _Target(TargetDescriptor):  # type: ignore[misc]
    """The contexts in which kernels are typed and become LLVM code, made when first needed."""

    options = cpu.CPUTargetOptions

    @cached_property
    def typing_context(self) -> typing.Context:
        """The types of what kernels call."""
        return _Typing()

    @cached_property
    def target_context(self) -> _Context:
        """The code of what kernels call."""
        return _Context(self.typing_context, NAME)


class Kernels(target_extension.CPU):  # type: ignore[misc]
    """The target's place among Numba's: whatever is defined for the CPU is usable."""


class Part(Dispatcher):
    """A function that kernels call, as Numba knows it."""

    targetdescr = _Target(NAME)

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        super().__init__(function, None, {**OPTIONS, "_nrt": False, **options}, Passes)


def part(**options: Any) -> Callable[[Callable[..., Any]], Part]:
    """Decorates a function that kernels call, as Numba's ``njit`` does for its own target."""
    return lambda function: Part(function, **options)


target_extension.target_registry[NAME] = Kernels
target_extension.dispatcher_registry[Kernels] = Part
target_extension.jit_registry[Kernels] = part
