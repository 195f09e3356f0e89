"""A compiled function: replays of its recorded runs, and what happens where none fits."""

from __future__ import annotations

import functools
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from numtorch_kernels.build import define
from numtorch_kernels.compiler import listeners
from numtorch_kernels.deferral import deferring
from numtorch_kernels.drive import drive
from numtorch_kernels.launches import Launch, Step, root_of
from numtorch_kernels.plan import Plan, Refused

from ..autograd.graph import next_number, watched_fence
from ..autograd.mode import mode
from ..tensor import Tensor
from . import segments
from .backward import Backward
from .explanation import Explanation, describe
from .recording import (
    GraphBreak,
    Outside,
    Place,
    Recorder,
    changes_of,
    recording_to,
)
from .references import alive, held_by_graph, written_roots
from .replay import FAILED, MISS, Recorded, Replay
from .sources import Impure, Sources, Unsupported
from .structure import tensors_in

RETRACES = 32  # recordings after which a function runs eagerly
BROKEN = 3  # recordings in a row that could not be repeated, after which none is tried
PATIENCE = 2.0  # seconds of compilation after which there is a message
LARGE = 1 << 15  # elements from which launches between graph breaks are worth fusing

log = logging.getLogger("numtorch")


class Compiled:
    """A function that is recorded at its first call, and replayed where that is the same again."""

    def __init__(self, function: Callable[..., Any], fullgraph: bool, background: bool) -> None:
        self.function = function
        self.name = getattr(function, "__qualname__", type(function).__name__)
        self.fullgraph = fullgraph
        self.background = background
        self.replays: list[Callable[..., Any]] = []
        self.first: Callable[..., Any] = lambda args, kwargs: MISS
        self.explanations: list[Explanation] = []
        self.breaks: list[Place] = []
        self.reason: str = ""
        self._recordings = 0
        self._failures = 0
        self._large = True
        self._compiling = False  # in the background
        self._warned = False
        self._lock = threading.Lock()

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The function's result: by a replay, or by a recording from which one is made."""
        if deferring():
            return self.function(*args, **kwargs)
        for place, replay in enumerate(self.replays):
            result = replay(args, kwargs)
            if result is FAILED:
                return self.function(*args, **kwargs)
            if result is not MISS:
                if place:
                    self._put_first(replay)
                return result
        return self._record(args, kwargs)

    def _put_first(self, replay: Callable[..., Any]) -> None:
        with self._lock:
            self.replays = [replay, *[each for each in self.replays if each is not replay]]
            self.first = replay

    def forget(self) -> None:
        """Drops all replays, so that calls are recorded again."""
        self.__init__(self.function, self.fullgraph, self.background)  # type: ignore[misc]

    # ------------------------------------------------------------------ recording

    def _record(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if mode.anomaly or self._compiling:
            return self.function(*args, **kwargs)
        if self._recordings >= RETRACES:
            self._warn()
            return self.function(*args, **kwargs)
        if self._failures >= BROKEN:
            return self._run_segments(args, kwargs)
        self._recordings += 1
        sources = Sources()
        try:
            self._follow(sources, args, kwargs)
        except Unsupported as reason:
            self._note_failure(str(reason), ())
            return self.function(*args, **kwargs)
        recorder = Recorder(self.fullgraph)
        first_node = next_number()
        with recording_to(recorder) as mine:
            if not mine:
                self._recordings -= 1
                return self.function(*args, **kwargs)
            before = _State(sources)
            try:
                with watched_fence(first_node) as crossed:
                    result = self.function(*args, **kwargs)
                    before.crossed = crossed()
                before.holding = before.holds(args, kwargs)
            except GraphBreak:
                before.restore()
                raise
            except BaseException:
                recorder.finish()
                raise
            forward = list(recorder.steps)
            try:
                recorded, backward = self._understand(recorder, before, result, first_node)
            except (Impure, Unsupported) as reason:
                recorder.finish()
                self._note_failure(str(reason), recorder.breaks)
                self._large = self._large and _largest(forward) >= LARGE
                return result
        self._failures, self.reason = 0, ""
        return self._compile(recorded, backward, before, (args, kwargs))

    def _follow(self, sources: Sources, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Finds everything that the function depends on."""
        sources.check(f"len(args) == {len(args)} and kwargs.keys() == {set(kwargs)!r}")
        if not kwargs:
            sources.lines[-1] = f"if len(args) != {len(args)} or kwargs: return None"
        for i, value in enumerate(args):
            sources.follow(value, f"args[{i}]")
        for name, value in kwargs.items():
            sources.follow(value, f"kwargs[{name!r}]")
        if isinstance(self.function, FunctionType):
            sources.follow_function(self.function, sources.bind(self.function))
        else:
            sources.follow(self.function, sources.bind(self.function))

    def _understand(
        self, recorder: Recorder, before: _State, result: Any, first_node: int
    ) -> tuple[Recorded, Backward | None]:
        """What a run did, if it can be done again without its Python; Impure if not."""
        if recorder.breaks:
            raise Impure("it looks at values")
        before.check()
        sources = before.sources
        results = list({id(x): x for x in tensors_in(result)}.values())
        recorded = Recorded(
            sources,
            recorder.steps,
            recorder.refreshed,
            changes_of(sources),
            before.steps_taken(),
            result,
            results,
        )
        fresh = [x for x in results if recorded.source_of(x) is None]
        backward = None
        if any(x.requires_grad for x in fresh):
            inputs = [array for _, array in recorded.inputs]
            backward = Backward(recorder, fresh, sources, inputs, first_node)
            recorded.steps = list(recorder.steps)
        if not self.background:
            _refuse_escapes(recorded, backward, held_by_graph(fresh, first_node))
            before.cut(fresh)
        return recorded, backward

    # ------------------------------------------------------------------ compiling

    def _compile(
        self,
        recorded: Recorded,
        backward: Backward | None,
        before: _State,
        call: tuple[tuple[Any, ...], dict[str, Any]],
    ) -> Any:
        """Makes the replay of a recording; gives the result of the recorded call itself."""
        result, steps = recorded.result, recorded.steps
        if self.background and _can_wait(recorded):
            for step in steps:
                _run_alone(step)
            self._compiling = True
            work = functools.partial(self._finish_later, recorded, backward)
            threading.Thread(target=work, name=f"compile {self.name}", daemon=True).start()
            return result
        try:
            replay = self._finish(recorded, backward)
        except Refused as reason:
            before.tie()
            segments.run(steps)
            self._note_failure(str(reason), ())
            return result
        arrays = replay.take_first_arrays()
        status = replay.program.run(arrays)
        if status:
            before.restore()
            return self.function(*call[0], **call[1])
        if backward is not None:
            backward.link_first(arrays, call)
        return result

    def _finish(self, recorded: Recorded, backward: Backward | None) -> Replay:
        try:
            with _message_after(PATIENCE, self.name):
                replay = Replay(recorded, backward)
                if backward is not None:
                    backward.finish(self.function)
        finally:
            self._compiling = False
        backwards = [] if backward is None else backward.programs()
        self.explanations.append(describe(self.name, replay.program, backwards))
        with self._lock:
            self.replays = [replay.call, *self.replays]
            self.first = replay.call
        return replay

    def _finish_later(self, recorded: Recorded, backward: Backward | None) -> None:
        try:
            self._finish(recorded, backward)
        except Refused as reason:
            self._note_failure(str(reason), ())

    # ------------------------------------------------------------------ where it does not work

    def _run_segments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the Python, and what it launches between two looks at values as one program."""
        if not self._large:
            return self.function(*args, **kwargs)
        recorder = Recorder(self.fullgraph)
        with recording_to(recorder) as mine:
            if not mine:
                return self.function(*args, **kwargs)
            try:
                return self.function(*args, **kwargs)
            finally:
                recorder.finish()

    def _note_failure(self, reason: str, breaks: Sequence[Place]) -> None:
        self.reason = reason
        self._failures += 1
        for place in breaks:
            if place not in self.breaks:
                self.breaks.append(place)

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name} was recorded {RETRACES} times for different arguments or values that "
                "it depends on; from now on it runs eagerly where none of these fits",
                stacklevel=4,
            )


def _can_wait(recorded: Recorded) -> bool:
    """Whether a program may be made later: it copies memory that is read, and then written."""
    inputs = [array for _, array in recorded.inputs]
    try:
        return not Plan(recorded.steps, inputs, recorded.new_arrays()).initial
    except Refused:
        return False


def _run_alone(step: Step) -> None:
    """Runs one launch as it is, for want of a program; checks a requirement."""
    if not isinstance(step, Launch):
        if not step.condition:
            step.otherwise()
    elif step.loop.expressions is None:
        step.loop.ufunc(*step.operands)
    else:
        drive(step.loop, *step.operands)


class _State:
    """What things were like before a recording."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.crossed = False
        self.holding = True
        self._cut: list[tuple[Tensor, Any, Any]] = []
        self._outside = Outside()
        self._taken = [(each, each._steps_taken) for each in sources.optimizers]
        lines = [*sources.lines, *sources.settled, "return True"]
        text = "def same(args, kwargs):\n" + "".join(f"    {line}\n" for line in lines)
        self._same = define(text, "same", sources.names)

    def steps_taken(self) -> list[tuple[Any, int]]:
        """How many steps each optimizer has taken since."""
        pairs = [(each, each._steps_taken - taken) for each, taken in self._taken]
        return [(each, taken) for each, taken in pairs if taken]

    def check(self) -> None:
        """Raises Impure for what the function did besides launches and changes of tensors."""
        if self.crossed:
            raise Impure("its backward goes on in the graph of a tensor that it was given")
        if self.sources.talks:
            raise Impure("it prints, reads or looks at a clock")
        if not self._outside.is_same():
            raise Impure("it draws random numbers")
        if not self.holding:
            raise Impure("it changes values that it depends on")

    def holds(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether all values that the function depends on are what they were."""
        try:
            return self._same(args, kwargs) is True
        except (AttributeError, IndexError, KeyError, TypeError):
            return False

    def cut(self, results: Sequence[Tensor]) -> None:
        """Takes results out of their graph, so that nobody needs what that has saved."""
        self._cut = [(x, x._node, x._view) for x in results]
        for x in results:
            x._node = x._view = None

    def tie(self) -> None:
        """Gives results their places in the graph back."""
        for x, node, view in self._cut:
            x._node, x._view = node, view
        self._cut = []

    def restore(self) -> None:
        """Gives tensors back the arrays and gradients that they had."""
        for source in self.sources.tensors:
            source.tensor._array = source.array
            source.tensor._grad = source.grad


def _largest(steps: Sequence[Step]) -> int:
    """The number of elements of the largest operand."""
    return max((x.size for s in steps if isinstance(s, Launch) for x in s.operands), default=0)


def _refuse_escapes(recorded: Recorded, backward: Backward | None, held: dict[int, int]) -> None:
    """Raises Impure where someone keeps memory that is neither result nor change.

    ``held`` says how often the graph of the results refers to an array.
    """
    steps = list(recorded.steps)
    explained = [array for _, array in recorded.inputs] + recorded.new_arrays()
    if backward is not None:
        steps += backward.launches()
        explained += [*backward.saved, *backward.gradients()]
    kept = alive(steps, held) & written_roots(steps).keys()
    if kept - {id(root_of(array)) for array in explained}:
        raise Impure("it keeps a tensor that is not among its results")


@contextmanager
def _message_after(seconds: float, name: str) -> Iterator[None]:
    """Says that compilation takes long, once it does; what is found on disk needs no timer."""
    text = "numtorch is still compiling %s; the next process finds it on disk"
    timer = threading.Timer(seconds, log.warning, (text, name))
    timer.daemon = True

    def begin() -> None:
        if timer.ident is None:
            timer.start()

    listeners.append(begin)
    try:
        yield
    finally:
        listeners.remove(begin)
        timer.cancel()
