"""Compiled functions as LLVM's text.

Numba optimises and translates every function that a kernel calls by itself, and then again as part
of its callers. Here functions are text until a kernel is whole, and LLVM sees it once.
"""

from __future__ import annotations

from copy import copy
from functools import cached_property
from itertools import count
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import config
from numba.core.cgutils import normalize_ir_text
from numba.core.codegen import CodeLibrary, JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock

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

    def apart(self) -> Codegen:
        """The same with a target machine of its own, which threads cannot share."""
        options = {"opt": config.OPT}
        self._customize_tm_options(options)
        generator = copy(self)
        generator._tm = llvm.Target.from_triple(self._triple).create_target_machine(**options)
        return generator

    def set_env(self, env_name: str, env: Any) -> None:
        """Nothing: kernels have no Python objects."""


_made: list[Codegen] = []


def codegen() -> Codegen:
    """The only one, which takes no lock but while it is made."""
    if not _made:
        with global_compiler_lock:
            if not _made:
                llvm.initialize_native_asmparser()
                _made.append(Codegen("numtorch"))
    return _made[0]
