"""The text of a Python function, as a syntax tree whose lines can be named in errors."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import NoReturn

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
    name = function.__qualname__
    try:
        lines, _ = inspect.findsource(function)
        found = list(_candidates(_parsed("".join(lines)), function.__code__))
    except (OSError, SyntaxError, IndexError) as error:
        raise OSError(
            f"the source of {name} is not available, and a kernel is compiled from it: define "
            f"{name} in a file or a notebook ({error})"
        ) from None
    if len(found) > 1:
        exact = [node for node in found if _holds(node, function.__code__)]
        found = exact or found
    if len(found) != 1:
        many = "several functions" if found else "no function"
        raise OSError(
            f"the source of {name} is not available: {many} like it in line "
            f"{function.__code__.co_firstlineno} of {function.__code__.co_filename}"
        )
    return lines, found[0]


@lru_cache(maxsize=16)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


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
        arguments = node.args
        names = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
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
