"""Each layer imports only those before it, and nothing imports inside a function."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import numtorch
import numtorch_kernels

# Modules of a layer may import each other and those of the layers above them in this list; a
# package stands for what is in it.
LAYERS = (
    ("numtorch_kernels",),
    ("numtorch.dtype", "numtorch.size", "numtorch.printing"),
    ("numtorch.tensor",),
    ("numtorch.autograd",),
    (
        "numtorch.ops.signature",
        "numtorch.ops.apply",
        "numtorch.ops.table",
        "numtorch.ops.elementwise",
    ),
    ("numtorch.ops", "numtorch.autograd.functional"),
    (
        "numtorch.creation",
        "numtorch.data",
        "numtorch.legacy",
        "numtorch.random",
        "numtorch.queries",
        "numtorch.linalg",
        "numtorch.userkernel",
    ),
    ("numtorch.nn.functional", "numtorch.nn.init"),
    ("numtorch.nn", "numtorch.optim", "numtorch.utils"),
    ("numtorch.compiler", "numtorch.serialization"),
    ("numtorch.methods",),
    ("numtorch",),
)
PLACE = {name: place for place, layer in enumerate(LAYERS) for name in layer}


def _modules() -> Iterator[tuple[str, Path]]:
    for package in (numtorch_kernels, numtorch):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            parts = (package.__name__, *path.relative_to(root).with_suffix("").parts)
            yield ".".join(parts).removesuffix(".__init__"), path


MODULES = dict(_modules())


def _layer(module: str) -> int:
    """The place in the order of the module, or of the nearest package that is listed."""
    while module not in PLACE:
        module = module.rpartition(".")[0]
    return PLACE[module]


def _imported(module: str, node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules of ours that a statement imports, by their whole names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        depth = node.level - (MODULES[module].name == "__init__.py")
        package = parts[: len(parts) - depth]
        base = ".".join([*package, base] if base else package)
    submodules = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in MODULES else base for name in submodules]


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_layers(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in _imported(module, node):
                if name.split(".")[0] in ("numtorch", "numtorch_kernels") and name != module:
                    assert _layer(name) <= _layer(module), f"line {node.lineno} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_no_import_inside_a_function(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                assert not isinstance(node, ast.Import | ast.ImportFrom), f"line {node.lineno}"


def test_kernels_import_numpy_numba_and_the_standard_library_only() -> None:
    allowed = {"numpy", "numba", "llvmlite", "numtorch_kernels", *sys.stdlib_module_names}
    for module, path in MODULES.items():
        if module.startswith("numtorch_kernels"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    for name in _imported(module, node):
                        assert name.split(".")[0] in allowed, (module, name)


def test_the_checks_see_what_they_should() -> None:
    assert _layer("numtorch.ops.views") > _layer("numtorch.ops.apply") > _layer("numtorch.tensor")
    assert _layer("numtorch.autograd.functional") > _layer("numtorch.autograd.graph")
    statement = ast.parse("from ..tensor import Tensor\nfrom . import views").body
    assert [_imported("numtorch.ops.apply", node) for node in statement] == [  # type: ignore[arg-type]
        ["numtorch.tensor"],
        ["numtorch.ops.views"],
    ]
