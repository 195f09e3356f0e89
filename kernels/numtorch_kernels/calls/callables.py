"""Functions whose calls compiled code answers, once that is worth its compilation.

A row of operations has several: a function, a method, operators. What they share is written into
words that compiled code reads; each of them has words of its own for how it differs.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from functools import cache
from itertools import chain
from threading import Thread
from typing import Any, ClassVar

import numpy as np
from numba import types

from .. import objects
from ..build import MachineCode, compile_each, with_globals
from ..intrinsics import helper, int64_at, offset, words
from . import holders, pythontypes
from .holders import BUSY, HEAD, MISS, UNKNOWN, call_python, tuple_items

# Words of a callable object, after those of Python: its row, and how it differs from it; then where
# its parameters are: how many may be given by place, how many there are in all, and of each the
# name, and the default or 0.
ROW, FORM, INPLACE, PARAMETERS = range(1, 5)
# Forms of calls: (x, y), (y, x), x[y]; those whose function does more than the row; and those that
# give a range of dimensions.
PLAIN, SWAPPED, ITEM, WIDER, FLAT = range(5)
OWN = HEAD + pythontypes.PLACE // 8  # where they begin
FUNCTION = HEAD  # the word with the Python function of a callable object

# Words of a row: the table, how many operands, what notes a call for gradients, plans; the others
# are its kind's.
TABLE, ARITY, RECORD, PLANS = range(4)
_ROW_WORDS = 40

# Words with which a plan for one kind of operand begins: the next plan, and the kind.
_NEXT, _OF = range(2)

GIVEN = (1 << 63) - 1  # the bits of an argument count that are the count
_MOST_PARAMETERS = 16
_LOOK_AT = 64  # calls, before which not even loading is worth it
_PATIENCE = 100_000  # calls, through Python half a second, before it is worth ten of compilation


@helper
def plan_of(row, kind):
    """Where the plan for a kind of operand is; 0 if there is none."""
    place = row[PLANS]
    while place != 0 and int64_at(place)[_OF] != kind:
        place = int64_at(place)[_NEXT]
    return place


@helper
def answer(own, row, t, arguments, given):
    """What a build binds: the result of a call, a new reference; 0 after an error; or MISS.

    Nothing is done where it is MISS, or UNKNOWN.
    """
    return MISS


@helper
def put_in_place(parameters, arguments, given, names, values):
    """Writes arguments, the last of them given by names, in the order of a function's parameters.

    Gives how many there are; -1 where Python has to say.
    """
    most, table = parameters[1], offset(parameters, 2)
    if given > parameters[0] or most > _MOST_PARAMETERS:
        return -1
    for k in range(most):
        values[k] = arguments[k] if k < given else 0
    count = given
    for i in range(int64_at(names)[HEAD]):
        name, k = tuple_items(names)[i], given
        while k < most and table[2 * k] != name:
            k += 1
        if k == most:
            return -1
        values[k] = arguments[given + i]
        count = max(count, k + 1)
    for k in range(given, count):
        if values[k] == 0:
            values[k] = table[2 * k + 1]
        if values[k] == 0:
            return -1
    return count


def answer_call(entry: int, arguments: int, count: int, names: int) -> int:
    """What CPython calls: the vectorcall function of a callable object."""
    own = offset(int64_at(entry), OWN)
    row = int64_at(own[ROW])
    t = int64_at(row[TABLE])
    values, given = int64_at(arguments), count & GIVEN
    if names != 0:
        values = words()
        given = put_in_place(int64_at(own[PARAMETERS]), int64_at(arguments), given, names, values)
    if given >= 0 and t[BUSY] == 0:
        result = answer(own, row, t, values, given)
        if result > UNKNOWN or result == 0:
            return result
    return call_python(int64_at(entry)[FUNCTION], arguments, count, names)


@cache
def _machine_code(function: Any) -> MachineCode:
    bound = with_globals(answer_call, {"answer": function})
    return MachineCode(bound, (types.intp,) * 4, result=types.intp)


class Calls:
    """The callables of a row, and what is known of their calls.

    ``record`` is called where one of the operands needs gradients: with the place for a recipe (see
    :mod:`.recording`), the operands, and the result.
    """

    compute: ClassVar[Any]  # what compiled code answers: a helper like :func:`answer`
    changes: ClassVar[bool] = False  # whether it answers calls that change their first operand

    def __init__(self, arity: int, record: Callable[..., None] | None) -> None:
        self.words = np.zeros(_ROW_WORDS, np.int64)
        self.words[TABLE], self.words[ARITY] = holders.table.ctypes.data, arity
        self.words[RECORD] = 0 if record is None else id(record)
        self._kept: list[Any] = [record]
        self._callables: list[Any] = []
        _all.append(self)

    def keep(self, *values: Any) -> None:
        """Keeps what the words refer to."""
        self._kept.extend(values)

    def entry(
        self,
        function: Callable[..., Any],
        *,
        is_method: bool = True,
        form: int = PLAIN,
        inplace: bool = False,
    ) -> Any:
        """A callable like a Python function, to whose calls compiled code may answer.

        ``inplace`` says that the result is written to the first operand.
        """
        kind = pythontypes.method_type() if is_method else pythontypes.function_type()
        made, parameters = kind(function), _parameters_of(function)
        place = parameters.ctypes.data
        pythontypes.words_of(made)[:] = [0, self.words.ctypes.data, form, inplace, place]
        self._callables.append(made)
        self.keep(parameters)
        _named.setdefault(_name(made), made)
        return made

    def answer(self) -> None:
        """Lets compiled code answer from now on."""
        address = _machine_code(type(self).compute).address
        for each in self._callables:
            pythontypes.words_of(each)[0] = address


def _parameters_of(function: Callable[..., Any]) -> np.ndarray[Any, Any]:
    """The words for the parameters of a Python function, which keeps what they refer to.

    What says where results go is left out: that is Python's to do.
    """
    code: Any = function.__code__
    places = code.co_argcount
    names = code.co_varnames[: places + code.co_kwonlyargcount]
    given: tuple[Any, ...] = getattr(function, "__defaults__", None) or ()
    known = dict(zip(names[places - len(given) : places], given, strict=True))
    known |= getattr(function, "__kwdefaults__", None) or {}
    pairs = [(id(n), id(known[n]) if n in known else 0) for n in names if n != "out"]
    return np.array([places, len(pairs), *chain.from_iterable(pairs)], np.int64)


_all: list[Calls] = []
_named: dict[tuple[str, str], Any] = {}


def _name(made: Any) -> tuple[str, str]:
    return type(made).__name__, made.__qualname__


def _found(name: tuple[str, str]) -> Any:
    """The callable of a name, of those that were made first; for pickles and copies."""
    return _named[name]


def _reduced(made: Any) -> tuple[Any, ...]:
    return _found, (_name(made),)


for _type in (pythontypes.function_type(), pythontypes.method_type()):
    copyreg.pickle(_type, _reduced)


def _codes() -> list[MachineCode]:
    return [_machine_code(each) for each in dict.fromkeys(type(calls).compute for calls in _all)]


def begin() -> None:
    """Has compiled code answer the calls of all rows, from now on."""
    for calls in _all if objects.are_as_expected() else ():
        calls.answer()


def _begin_meanwhile() -> None:
    """As :func:`begin`, in a thread of its own."""
    if compile_each(_codes()):
        begin()


class Patience:
    """Waits with :func:`begin` until that is worth it: at once if no compilation is needed."""

    calls = 0

    def is_over(self) -> bool:
        """Whether there is nothing more to wait for; to be asked at each call through Python."""
        self.calls += 1
        if self.calls == _LOOK_AT and all(code.is_at_hand() for code in _codes()):
            begin()
            return True
        if self.calls == _PATIENCE and objects.are_as_expected():
            Thread(target=_begin_meanwhile, name="compiles calls").start()
        return self.calls >= _PATIENCE
