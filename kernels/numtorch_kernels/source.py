"""The text of a Python function, as a syntax tree whose lines can be named in errors."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NoReturn

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Source:
    """Where a function stands in its file, and its syntax tree.

    Raises OSError if the text is not to be had, as of code typed at a plain prompt.
    """

    def __init__(self, function: FunctionType) -> None:
        self.name = function.__name__
        self.filename = function.__code__.co_filename
        self.lines, self.tree = _read(function)

    @property
    def body(self) -> list[ast.stmt]:
        """The statements of the function; of a lambda, the one that returns its value."""
        if isinstance(self.tree, ast.Lambda):
            return [ast.copy_location(ast.Return(self.tree.body), self.tree.body)]
        return self.tree.body

    def place(self, node: ast.AST) -> str:
        """The file, the line and the text of a node, as a traceback has them."""
        number: int = getattr(node, "lineno", self.tree.lineno)
        text = self.lines[number - 1].strip()
        return f'  File "{self.filename}", line {number}, in {self.name}\n    {text}'

    def refuse(self, node: ast.AST, what: str) -> NoReturn:
        """Raises the error for something that a kernel cannot contain."""
        raise NotImplementedError(f"{what}\n{self.place(node)}")


def _read(function: FunctionType) -> tuple[list[str], Definition]:
    """The lines of a function's file, and the function's syntax tree."""
    code = function.__code__
    try:
        lines, _ = inspect.findsource(function)
        text = "".join(lines)
        found = list(_candidates(_parsed(text), code))
        if len(found) > 1:
            found = [node for node in found if _holds(node, code)]
        if len(found) != 1:
            raise OSError(f"it is not in line {code.co_firstlineno} of {code.co_filename}")
        if _fingerprint(code) not in _fingerprints(text, code.co_filename):
            raise OSError(f"{code.co_filename} was changed after it had been read")
    except (OSError, SyntaxError, IndexError) as error:
        name = function.__qualname__
        raise OSError(
            f"the source of {name} is not available, and a kernel is made from it: define {name} "
            f"in a file or a notebook ({error})"
        ) from None
    return lines, found[0]


@lru_cache(maxsize=16)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@lru_cache(maxsize=16)
def _fingerprints(text: str, filename: str) -> frozenset[tuple[Any, ...]]:
    """What the functions in a file do, and where they stand."""
    pending = [compile(_parsed(text), filename, "exec", dont_inherit=True)]
    found = set()
    while pending:
        code = pending.pop()
        found.add(_fingerprint(code))
        pending += [each for each in code.co_consts if isinstance(each, CodeType)]
    return frozenset(found)


def _fingerprint(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(repr(each) for each in code.co_consts if not isinstance(each, CodeType))
    return (code.co_firstlineno, code.co_code, constants, code.co_names, code.co_varnames)


def _candidates(tree: ast.Module, code: CodeType) -> Iterator[Definition]:
    """The definitions that begin where the code does, under its name and with its parameters."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            name, first = "<lambda>", node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = node.name
            first = min(each.lineno for each in (node, *node.decorator_list))
        else:
            continue
        names = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
        count = code.co_argcount
        if (name, first, names) == (code.co_name, code.co_firstlineno, [*code.co_varnames[:count]]):
            yield node


def _holds(node: Definition, code: CodeType) -> bool:
    """Whether some instruction of the code is the whole body of a lambda."""
    if not isinstance(node, ast.Lambda):
        return False
    body = node.body
    span = (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset)
    return span in code.co_positions()
