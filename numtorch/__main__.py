"""``python -m numtorch``: runs PyTorch programs on numtorch, and says what it runs on."""

from __future__ import annotations

import importlib
import platform
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np

import numtorch
from numtorch_kernels import diskcache, threads
from numtorch_kernels.microkernel import vector_bytes

USAGE = """\
usage: python -m numtorch script.py [arguments ...]
       python -m numtorch -m module [arguments ...]
       python -m numtorch -c program [arguments ...]
       python -m numtorch --info

Runs a program that says `import torch`: numtorch answers to that name, in this process only.
--info shows versions, processor, threads and the cache of compiled code."""


class Alias(MetaPathFinder, Loader):
    """Finds ``torch`` and its submodules: they are numtorch's own modules, not copies."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for names under ``torch``; ModuleNotFoundError where numtorch has no such one."""
        if fullname.partition(".")[0] != "torch":
            return None
        real = "numtorch" + fullname.removeprefix("torch")
        try:
            module = importlib.import_module(real)
        except ModuleNotFoundError as error:
            if error.name != real:
                raise
            raise ModuleNotFoundError(
                f"No module named {fullname!r} (numtorch does not have it)", name=fullname
            ) from None
        return ModuleSpec(fullname, self, loader_state=(module, module.__spec__))

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The numtorch module itself."""
        module, _ = spec.loader_state
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Gives the module back the spec under its own name, which importing it replaced."""
        assert module.__spec__ is not None
        _, module.__spec__ = module.__spec__.loader_state


def processor() -> str:
    """The processor's name, as well as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def info() -> str:
    """Versions, processor, threads and cache, a line each."""
    directory = diskcache.directory()
    files = [] if directory is None else [each for each in directory.iterdir() if each.is_file()]
    size = sum(each.stat().st_size for each in files) / 2**20
    facts: dict[str, Any] = {
        "numtorch": numtorch.__version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "Numba": f"{numba.__version__} (llvmlite {llvmlite.__version__})",
        "system": platform.platform(),
        "processor": f"{processor()} ({llvm.get_host_cpu_name()})",
        "vector width": f"{8 * vector_bytes()} bits",
        "threads": threads.get_num_threads(),
        "threading layer": threads.threading_layer(),
        "cache": "off" if directory is None else f"{directory} ({len(files)} files, {size:.1f} MB)",
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}}  {value}" for name, value in facts.items())


def run_script(script: str, arguments: Sequence[str]) -> int:
    """Runs a file as ``python script`` would; 2 if it cannot be opened."""
    path = Path(script)
    if not path.exists():
        print(f"numtorch: can't open file {script!r}: no such file", file=sys.stderr)
        return 2
    sys.argv = [script, *arguments]
    sys.path[0] = str(path.resolve().parent if path.is_file() else path)
    runpy.run_path(script, run_name="__main__")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Does what the command line says; gives the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    first, *rest = arguments
    if first == "--info":
        print(info())
        return 0
    sys.meta_path.insert(0, Alias())
    if first in ("-m", "-c") and rest:
        sys.argv = [first, *rest[1:]]
        if first == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            program = ModuleType("__main__")
            sys.modules["__main__"] = program
            exec(compile(rest[0], "<string>", "exec"), vars(program))
        return 0
    if first.startswith("-"):
        print(f"numtorch: unknown option {first}\n{USAGE}", file=sys.stderr)
        return 2
    return run_script(first, rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
