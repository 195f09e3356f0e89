"""Random numbers are PyTorch's, to the bit, and so is the state of the generator afterwards."""

import numpy as np
import pytest

from numtorch_kernels import random

SEEDS = [0, 42, 2**40 + 7]
SIZES = [*range(41), 255, 256, 257, 1000, 10007]
DTYPES = ["float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]


def check(oracle, seed, dtype, shape, ours, theirs):
    """Both draw three times in a row; values and states must agree bit by bit."""
    generator = random.MersenneTwister(seed)
    oracle.manual_seed(seed)
    for _ in range(3):
        out = np.empty(shape, dtype)
        tensor = oracle.empty(shape, dtype=getattr(oracle, dtype))
        assert ours(generator, out) is out
        theirs(tensor)
        assert out.tobytes() == tensor.numpy().tobytes()
    assert generator.get_state().tobytes() == oracle.get_rng_state().numpy().tobytes()


FLOATING = {
    "uniform": (random.uniform, lambda t: t.uniform_()),
    "uniform between": (
        lambda g, x: random.uniform(g, x, -1.3, 2.7),
        lambda t: t.uniform_(-1.3, 2.7),
    ),
    "normal": (random.normal, lambda t: t.normal_()),
    "normal about": (lambda g, x: random.normal(g, x, 1.3, 0.7), lambda t: t.normal_(1.3, 0.7)),
    "exponential": (lambda g, x: random.exponential(g, x, 0.3), lambda t: t.exponential_(0.3)),
    "cauchy": (lambda g, x: random.cauchy(g, x, 0.3, 1.7), lambda t: t.cauchy_(0.3, 1.7)),
    "log_normal": (
        lambda g, x: random.log_normal(g, x, 0.3, 0.7),
        lambda t: t.log_normal_(0.3, 0.7),
    ),
}


@pytest.mark.parametrize("name", FLOATING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floating(oracle, name, dtype):
    for seed in SEEDS:
        for size in SIZES:
            check(oracle, seed, dtype, (size,), *FLOATING[name])


@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_a_million(oracle, name):
    check(oracle, 1, "float32", (10**6,), *FLOATING[name])


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_any_dtype(oracle, dtype):
    for size in (0, 1, 7, 1000):
        check(oracle, 3, dtype, size, random.any_integers, lambda t: t.random_())
        check(
            oracle, 4, dtype, size,
            lambda g, x: random.bernoulli(g, x, 0.3), lambda t: t.bernoulli_(0.3),
        )  # fmt: skip
        if dtype != "bool":
            check(
                oracle, 5, dtype, size,
                lambda g, x: random.geometric(g, x, 0.3), lambda t: t.geometric_(0.3),
            )  # fmt: skip


RANGES = [
    (0, 1),
    (0, 2),
    (3, 100),
    (-3, 1000),
    (-3, 2**28 - 4),
    (-3, 2**28 - 3),
    (0, 2**31),
    (-(2**62), 2**63 - 1),
    (1, None),
    (-(2**63), None),
    (-(2**40) - 1, 2**24 + 1),
]


def holds(dtype, low, high):
    """Whether the dtype's range includes [low, high)."""
    if dtype in ("float32", "float64"):
        return True
    first, last = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return first <= low and (high is None or high - 1 <= last)


@pytest.mark.filterwarnings("ignore:.*out of bounds:UserWarning")
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(dtype, *ends) for dtype in DTYPES for ends in RANGES if holds(dtype, *ends)],
)
def test_integers(oracle, dtype, low, high):
    for seed in SEEDS:
        check(
            oracle, seed, dtype, 500,
            lambda g, x: random.integers(g, x, low, high), lambda t: t.random_(low, high),
        )  # fmt: skip


@pytest.mark.parametrize("p", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "bool", "int64"])
def test_bernoulli_of_an_array(oracle, p, dtype):
    chance = np.linspace(0, 1, 7).astype(p)
    check(
        oracle, 0, dtype, (5, 7),
        lambda g, x: random.bernoulli(g, x, chance),
        lambda t: t.bernoulli_(oracle.from_numpy(chance)),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
def test_permutation(oracle, dtype):
    generator = random.MersenneTwister(9)
    oracle.manual_seed(9)
    for n in [*range(10), 1000, 100_000]:
        ours = random.permutation(generator, np.empty(n, dtype))
        theirs = oracle.randperm(n, dtype=getattr(oracle, dtype))
        assert ours.tobytes() == theirs.numpy().tobytes()
    assert generator.get_state().tobytes() == oracle.get_rng_state().numpy().tobytes()


def test_permutations_beyond_32_bits_are_permutations(monkeypatch):
    monkeypatch.setattr(random, "WIDE_PERMUTATION", 1)
    out = random.permutation(random.MersenneTwister(0), np.empty(1000, np.int64))
    assert sorted(out.tolist()) == list(range(1000))
    assert out.tolist() != list(range(1000))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("samples", [1, 3, 7])
@pytest.mark.parametrize("shape", [(10,), (4, 33)])
def test_multinomial(oracle, dtype, replacement, samples, shape):
    weights = np.random.rand(*shape).astype(dtype)
    generator = random.MersenneTwister(11)
    oracle.manual_seed(11)
    ours = random.multinomial(generator, weights, samples, replacement)
    theirs = oracle.multinomial(oracle.from_numpy(weights), samples, replacement)
    assert ours.tolist() == theirs.tolist()
    assert generator.get_state().tobytes() == oracle.get_rng_state().numpy().tobytes()


@pytest.mark.parametrize("name", ["uniform", "normal", "exponential"])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 0, 2), (0, 2, 1)])
def test_strided_arrays_are_filled_in_the_order_of_memory(oracle, name, step, axes):
    ours, theirs = FLOATING[name]
    memory = np.zeros((4, 5, 6 * step), np.float32)
    tensor = oracle.zeros(4, 5, 6 * step)
    oracle.manual_seed(2)
    ours(random.MersenneTwister(2), memory[..., ::step].transpose(axes))
    theirs(tensor[..., ::step].permute(axes))
    assert memory.tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize("size", [5, 12, 40, 200])
@pytest.mark.parametrize("name", ["uniform", "normal", "integers", "bernoulli"])
def test_memory_that_loops_do_not_take_is_filled_alike(name, size):
    fill = {**{name: FLOATING[name][0] for name in ("uniform", "normal")},
            "integers": lambda g, x: random.integers(g, x, 0, 9),
            "bernoulli": lambda g, x: random.bernoulli(g, x, 0.4)}[name]  # fmt: skip
    states = set()
    unaligned = np.zeros(4 * size + 1, np.uint8)[1:].view(np.float32)
    arrays = [np.zeros(size, np.float32), np.zeros(size, ">f4"), unaligned]
    for out in arrays:
        generator = random.MersenneTwister(3)
        fill(generator, out)
        states.add(generator.get_state().tobytes())
    assert len(states) == 1
    assert arrays[0].tolist() == arrays[1].tolist() == arrays[2].tolist()


def test_state(oracle):
    oracle.manual_seed(5)
    oracle.randn(3)
    generator = random.MersenneTwister(0)
    generator.set_state(oracle.get_rng_state().numpy())
    assert generator.seed == 5
    assert generator.next_normal is not None
    out = random.normal(generator, np.empty(5, np.float32))
    assert out.tolist() == oracle.randn(5).tolist()
    oracle.set_rng_state(oracle.from_numpy(generator.get_state()))
    assert random.uniform(generator, np.empty(700)).tolist() == (
        oracle.rand(700, dtype=oracle.float64).tolist()
    )


def test_bad_states():
    generator = random.MersenneTwister(1)
    before = generator.get_state()
    with pytest.raises(RuntimeError, match=r"of size 5056 but found .* to be 7"):
        generator.set_state(np.zeros(7, np.uint8))
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        generator.set_state(np.zeros(5056, np.uint8))
    assert generator.get_state().tobytes() == before.tobytes()


def test_known_words():
    """The 10,000th word of the default seed, as the C++ standard gives it."""
    words = random.MersenneTwister(5489).words(10_000)
    assert int(words[-1].astype(np.uint32)) == 4123659995


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads(thread_counts, dtype):
    results = []
    for _ in thread_counts():
        generator = random.MersenneTwister(0)
        results.append(random.normal(generator, np.empty(300_003, dtype)).tobytes())
    assert results[0] == results[1]
