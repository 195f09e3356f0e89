"""Random tensors: PyTorch's numbers under PyTorch's seeds."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from numtorch_kernels import memory, reduce
from numtorch_kernels import random as kernels
from numtorch_kernels.mersenne import MersenneTwister

from .autograd.inplace import check_inplace
from .autograd.mode import mode
from .creation import shape_of
from .dtype import DTYPES, dtype, from_numpy_dtype, get_default_dtype, int64, to_dtype
from .ops.apply import refuse_overlap, scalar_type
from .ops.arithmetic import add, mul
from .size import device
from .tensor import Tensor, wrap, wrap_array

Array = np.ndarray[Any, Any]


class Generator:
    """A stream of random numbers of its own.

    >>> import numtorch as torch
    >>> g = torch.Generator().manual_seed(0)
    >>> torch.rand(2, generator=g)
    tensor([0.4963, 0.7682])
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = _cpu(device)
        self._stream: MersenneTwister | None = None
        self._seed = 67280421310721

    @property
    def stream(self) -> MersenneTwister:
        """The words behind it, made at the first use."""
        if self._stream is None:
            self._stream = MersenneTwister(self._seed)
        return self._stream

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of a seed: an integer of at most 64 bits, negative ones wrapping."""
        number = int(seed)
        if not -(1 << 63) <= number < 1 << 64:
            raise RuntimeError(f"Overflow when unpacking long long: seed {number} is out of range")
        self._seed = number % (1 << 64)
        self._stream = None
        return self

    def seed(self) -> int:
        """Starts the stream of a seed that the operating system makes up, and gives it."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._seed if self._stream is None else self._stream.seed

    def get_state(self) -> Tensor:
        """The state as a uint8 tensor of 5056 elements, byte for byte PyTorch's."""
        return wrap_array(self.stream.get_state())

    def set_state(self, new_state: Tensor) -> None:
        """Takes over a state that :meth:`get_state` gave.

        Raises TypeError for anything but a uint8 tensor, RuntimeError for a state that cannot be.
        """
        if not isinstance(new_state, Tensor) or new_state._array.dtype != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        self.stream.set_state(new_state._array)

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        other = Generator()
        other.set_state(self.get_state())
        return other

    def __reduce__(self) -> Any:
        return _restored_generator, (self.get_state(),)


def _restored_generator(state: Tensor) -> Generator:
    generator = Generator()
    generator.set_state(state)
    return generator


def _cpu(value: Any) -> device:
    found = device(value)
    found.require_cpu()
    return found


default_generator = Generator()
default_generator.seed()


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator, which it returns."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seeds the default generator from the operating system; gives the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator, as :meth:`Generator.get_state`."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Puts the default generator in a state, as :meth:`Generator.set_state`."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True) -> Iterator[None]:
    """Leaves the default generator's state after the block as it was before."""
    state = get_rng_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            set_rng_state(state)


# ---------------------------------------------------------------------- filling in place


def _stream(generator: Generator | None) -> MersenneTwister:
    chosen = default_generator if generator is None else generator
    return chosen._stream or chosen.stream


def _filler(name: str, check: Callable[..., None], fill: Callable[..., Any]) -> Callable[..., Any]:
    """A method that fills a tensor in place with what ``fill`` draws."""

    def method(
        self: Tensor, *args: Any, generator: Generator | None = None, **kwargs: Any
    ) -> Tensor:
        if mode.recording and self._needs_grad:
            check_inplace(self)
        if kwargs:
            kwargs = {{"from": "low", "to": "high"}.get(key, key): kwargs[key] for key in kwargs}
        check(self, *args, **kwargs)
        fill(_stream(generator), self._array, *args, **kwargs)
        self._bump_version()
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Fills the tensor with random numbers in place, as PyTorch's ``{name}``."
    return method


def _must_be_floating(x: Tensor, kernel: str) -> None:
    if x.dtype.category != 2:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{scalar_type(x.dtype)}'")


def _check_uniform(x: Tensor, low: float = 0, high: float = 1) -> None:
    _must_be_floating(x, "check_uniform_bounds")
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}"
        )


def _check_normal(x: Tensor, mean: float = 0, std: float = 1) -> None:
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    _must_be_floating(x, "normal_kernel_cpu")


def _check_log_normal(x: Tensor, mean: float = 1, std: float = 2) -> None:
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    _must_be_floating(x, "log_normal_cpu")


def _check_exponential(x: Tensor, lambd: float = 1) -> None:
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    _must_be_floating(x, "exponential_cpu")


def _check_geometric(x: Tensor, p: float) -> None:
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")


def _check_cauchy(x: Tensor, median: float = 0, sigma: float = 1) -> None:
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    _must_be_floating(x, "cauchy_cpu")


_C_NAMES = {"uint8": "unsigned char", "int8": "signed char", "int16": "short", "int32": "int"}


def _limits(kind: dtype) -> tuple[float, float]:
    """The least and the largest integer that a dtype holds; floating dtypes take any."""
    if kind.category == 2:
        return -math.inf, math.inf
    return (0, 1) if kind.category == 0 else (np.iinfo(kind.numpy).min, np.iinfo(kind.numpy).max)


_LIMITS = {kind: _limits(kind) for kind in DTYPES}


def _check_integers(x: Tensor, low: int | None = None, high: int | None = None) -> None:
    if low is None:
        return
    first, last = (0, low) if high is None else (low, high)
    if first >= last:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={first} >= to={last}"
        )
    lowest, highest = _LIMITS[x.dtype]
    if lowest <= first and last - 1 <= highest:
        return
    name = x.dtype.name
    bound = "to - 1" if lowest <= first <= highest else "from"
    raise RuntimeError(f"{bound} is out of bounds for {_C_NAMES.get(name, name)}")


def _fill_integers(
    stream: MersenneTwister, out: Array, low: int | None = None, high: int | None = None
) -> None:
    if low is None:
        kernels.any_integers(stream, out)
    elif high is None:
        kernels.integers(stream, out, 0, low)
    else:
        kernels.integers(stream, out, low, high)


def _check_bernoulli(x: Tensor, p: Any = 0.5) -> None:
    if isinstance(p, Tensor):
        _check_probabilities(p._array)
    elif not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")


def _check_probabilities(p: Array) -> None:
    if p.dtype.kind != "f":
        kind = scalar_type(from_numpy_dtype(p.dtype))
        raise NotImplementedError(f"\"bernoulli_tensor_cpu_p_\" not implemented for '{kind}'")
    if not kernels.are_probabilities(p):
        raise RuntimeError(
            "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (Could this error "
            "message be improved?  If so, please report an enhancement request to PyTorch.)"
        )


def _fill_bernoulli(stream: MersenneTwister, out: Array, p: Any = 0.5) -> None:
    kernels.bernoulli(stream, out, p._array if isinstance(p, Tensor) else p)


_DISTRIBUTIONS: dict[str, tuple[Callable[..., None], Callable[..., Any]]] = {
    "uniform_": (_check_uniform, kernels.uniform),
    "normal_": (_check_normal, kernels.normal),
    "log_normal_": (
        _check_log_normal,
        lambda stream, out, mean=1, std=2: kernels.log_normal(stream, out, mean, std),
    ),
    "exponential_": (
        _check_exponential,
        lambda stream, out, lambd=1: kernels.exponential(stream, out, lambd),
    ),
    "geometric_": (_check_geometric, kernels.geometric),
    "cauchy_": (
        _check_cauchy,
        lambda stream, out, median=0, sigma=1: kernels.cauchy(stream, out, median, sigma),
    ),
    "random_": (_check_integers, _fill_integers),
    "bernoulli_": (_check_bernoulli, _fill_bernoulli),
}
FILLERS = {name: _filler(name, *each) for name, each in _DISTRIBUTIONS.items()}


# ---------------------------------------------------------------------- new tensors


def _empty(shape: tuple[int, ...], kind: dtype, out: Tensor | None = None) -> Tensor:
    if out is None:
        return wrap(memory.empty(shape, kind.numpy), kind)
    if out._array.shape != shape:
        out._array = memory.empty(shape, out._array.dtype)
    return out


def _filled(
    name: str, result: Tensor, out: Tensor | None, generator: Generator | None, *parameters: Any
) -> Tensor:
    """The result, which is new unless it is ``out``, filled with numbers of a distribution."""
    if out is not None:
        return FILLERS[name](result, *parameters, generator=generator)
    check, fill = _DISTRIBUTIONS[name]
    check(result, *parameters)
    fill(_stream(generator), result._array, *parameters)
    return result


def _kind(given: Any, default: dtype | None = None) -> dtype:
    return (default or get_default_dtype()) if given is None else to_dtype(given)


def _creator(name: str, filler: str) -> Callable[..., Tensor]:
    """``rand`` and ``randn``: a size, then a filler."""

    def function(
        *size: Any,
        generator: Generator | None = None,
        out: Tensor | None = None,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        pin_memory: bool = False,
        **named: Any,
    ) -> Tensor:
        shape = shape_of(name, size, named.pop("size", None) if named else None)
        if named:
            raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(named))}'")
        if device is not None:
            _cpu(device)
        result = _filled(filler, _empty(shape, _kind(dtype), out), out, generator)
        return result.requires_grad_() if requires_grad else result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"A tensor of a size, filled by ``{filler}``; of the default dtype unless given."
    )
    return function


rand = _creator("rand", "uniform_")
randn = _creator("randn", "normal_")


def _like(name: str, filler: str) -> Callable[..., Tensor]:
    def function(
        input: Tensor,
        *,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        memory_format: Any = None,
        generator: Generator | None = None,
    ) -> Tensor:
        result = _empty_like(input, _kind(dtype, input.dtype))
        _filled(filler, result, None, generator)
        return result.requires_grad_() if requires_grad else result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"A tensor of another's size and dtype, filled by ``{filler}``."
    return function


def _empty_like(x: Tensor, kind: dtype) -> Tensor:
    """Uninitialised, with the order of dimensions in memory of another tensor."""
    return wrap(np.empty_like(x._array, kind.numpy), kind)


rand_like = _like("rand_like", "uniform_")
randn_like = _like("randn_like", "normal_")


def randint(
    *args: Any,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    **named: Any,
) -> Tensor:
    """Integers in [low, high): ``randint(high, size)`` or ``randint(low, high, size)``.

    The dtype is int64 unless given. Raises RuntimeError for an empty range.

    >>> import numtorch as torch
    >>> torch.randint(3, 4, (2,))
    tensor([3, 3])
    """
    low, high, size = _range_and_size(args, named)
    if device is not None:
        _cpu(device)
    shape = shape_of("randint", (tuple(size),))
    result = _empty(shape, _kind(dtype, int64), out)
    _filled("random_", result, out, generator, int(low), int(high))
    return result.requires_grad_() if requires_grad else result


def _range_and_size(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any, Any]:
    """``low``, ``high`` and ``size`` of :func:`randint`, each by its place or by its name."""
    if not named and 2 <= len(args) <= 3:
        return (0, *args)[-3:]
    given = list(args)
    size = named.pop("size", None)
    if size is None:
        size = given.pop()
    low, high = named.pop("low", None), named.pop("high", None)
    if high is None:
        high = given.pop()
    if low is None:
        low = given.pop() if given else 0
    if given or named:
        raise TypeError(
            f"randint() received an invalid combination of arguments {(*given, *named)}"
        )
    return low, high, size


def randint_like(
    input: Tensor, low: int, high: int | None = None, *, dtype: Any = None, **unused: Any
) -> Tensor:
    """Integers in [low, high), or [0, low), of another tensor's size and dtype."""
    first, last = (0, low) if high is None else (low, high)
    result = _empty_like(input, _kind(dtype, input.dtype))
    return _filled("random_", result, None, None, int(first), int(last))


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: Any = None,
    **unused: Any,
) -> Tensor:
    """The numbers 0 to n - 1 in random order, int64 unless another dtype is given."""
    result = _empty(shape_of("randperm", (n,)), _kind(dtype, int64), out)
    kernels.permutation(_stream(generator), result._array)
    return result


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Normal numbers of means and standard deviations: tensors that broadcast, or numbers.

    With two numbers a ``size`` is needed. Raises RuntimeError for a negative deviation.
    """
    numbers = not isinstance(mean, Tensor) and not isinstance(std, Tensor)
    if numbers:
        result = _empty(shape_of("normal", (tuple(size or ()),)), _kind(options.get("dtype")), out)
        return _filled("normal_", result, out, generator, mean, std)
    if isinstance(std, Tensor) and std._array.size:
        least = reduce.amin(std._array, tuple(range(std.ndim)))
        if least < 0:
            raise RuntimeError("normal expects all elements of std >= 0.0")
    like = add(mean * 0, std * 0) if isinstance(mean, Tensor) else std * 0
    result = _empty(like._array.shape, like.dtype, out)
    _filled("normal_", result, out, generator)
    scaled = add(mul(result, std), mean)
    result._array[...] = scaled._array
    return result


def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None, out: Any = None
) -> Tensor:
    """Ones with the probabilities in the tensor (or ``p``), else zeros, in its dtype."""
    if out is not None:
        refuse_overlap(out._array)
    result = _empty(input._array.shape, input.dtype) if out is None else out
    return _filled("bernoulli_", result, out, generator, input if p is None else p)


def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Indices drawn with the weights in the last dimension of (n) or (m, n): (samples) int64.

    Raises RuntimeError for weights that are negative or not finite or sum to 0, and for more
    samples without replacement than there are weights.
    """
    weights = input._array
    if weights.dtype.kind != "f":
        raise RuntimeError(
            "multinomial only supports floating-point dtypes for input, "
            f"got: {scalar_type(input.dtype)}"
        )
    if not 0 < weights.ndim <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > weights.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    axes = tuple(range(weights.ndim))
    if weights.size and not (
        reduce.amin(weights, axes) >= 0 and reduce.amax(weights, axes) < np.inf
    ):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    totals = reduce.sum(weights, (weights.ndim - 1,))
    if totals.size and not reduce.amin(totals, tuple(range(totals.ndim))) > 0:
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if out is not None and out.dtype is not int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {scalar_type(out.dtype)}")
    found = kernels.multinomial(_stream(generator), weights, num_samples, replacement)
    if out is None:
        return wrap(found, int64)
    out._array = found
    return out


FUNCTIONS = {
    function.__name__: function
    for function in (
        manual_seed, seed, initial_seed, get_rng_state, set_rng_state, rand, randn, rand_like,
        randn_like, randint, randint_like, randperm, normal, bernoulli, multinomial,
    )
}  # fmt: skip
METHODS = {**FILLERS, "bernoulli": bernoulli, "multinomial": multinomial}
