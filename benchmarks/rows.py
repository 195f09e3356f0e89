"""The benchmarks' one table: what is timed, on which inputs, in PyTorch's and in NumPy's words.

A row is a statement over named inputs. `torch` in it is whichever library is measured; NumPy runs
the same statement unless the row gives NumPy's own words, or None where NumPy has none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

Namespace = dict[str, Any]
Input = Callable[[ModuleType, np.random.Generator], Any]
Words = str | tuple[str, str | None]  # PyTorch's, and NumPy's where they differ


@dataclass(frozen=True)
class Row:
    """A statement to time. `answer` is what it leaves to compare; by default its own value.

    It runs `calls` times before that: what compiles does so in the first ones.
    """

    group: str
    statement: str
    numpy: str | None
    inputs: Mapping[str, Input]
    answer: str | None = None
    calls: int = 1

    @property
    def name(self) -> str:
        """Name by which a row is asked for, unique in the table."""
        return f"{self.group}: {self.statement}"

    def words(self, library: str) -> str | None:
        """The statement in the words of the library of that name, None where it has none."""
        return self.numpy if library == "numpy" else self.statement

    def namespace(self, library: ModuleType) -> Namespace:
        """Make the inputs that the statement mentions, the same numbers for every library."""
        mentioned = compile(self.words(library.__name__) or "", self.name, "exec").co_names
        made = {
            name: make(library, np.random.default_rng(seed))
            for seed, (name, make) in enumerate(self.inputs.items())
            if name in mentioned
        }
        return {"torch": library, "np": np, **made}

    def first_answer(self, library: ModuleType, namespace: Namespace) -> list[np.ndarray]:
        """Run the statement `calls` times and return the parts of its answer, see `parts`."""
        words = self.words(library.__name__) or ""
        for _ in range(self.calls - 1):
            exec(words, namespace)
        if self.answer is None or library is np:
            return parts(eval(words, namespace))
        exec(words, namespace)
        return parts(eval(self.answer, namespace))


def parts(answer: Any) -> list[np.ndarray]:
    """Any library's tensor, number, or tuple of them as flat float64 arrays."""
    if isinstance(answer, tuple):
        return [array for part in answer for array in parts(part)]
    detached = answer.detach() if hasattr(answer, "detach") else answer
    return [np.asarray(detached, dtype=np.float64).ravel()]


def library_of(variant: str) -> str:
    """Name of the library of which "numtorch.compile", say, is a variant."""
    return variant.partition(".")[0]


def uniform(*shape: int, dtype: str = "float32", low: float = -2, high: float = 2) -> Input:
    """Tensor of numbers between low and high, of that shape and dtype."""

    def make(library: ModuleType, random: np.random.Generator) -> Any:
        array = random.uniform(low, high, shape).astype(dtype)
        return array if library is np else library.tensor(array)

    return make


def integers(*shape: int, high: int, dtype: str = "int64") -> Input:
    """Tensor of integers in [0, high)."""
    return uniform(*shape, dtype=dtype, low=0, high=high)


def leaf(*shape: int) -> Input:
    """Float32 tensor that asks for its gradient; a plain array for NumPy."""
    plain = uniform(*shape)

    def make(library: ModuleType, random: np.random.Generator) -> Any:
        made = plain(library, random)
        return made if library is np else made.requires_grad_()

    return make


def perceptron(*widths: int, batch: int, optimizer: str) -> Input:
    """Return a function that takes one training step of a perceptron and returns its loss."""

    def make(torch: ModuleType, random: np.random.Generator) -> Callable[[], Any]:
        torch.manual_seed(0)
        layers = []
        for inputs, outputs in pairwise(widths):
            layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        network = torch.nn.Sequential(*layers[:-1])
        x = uniform(batch, widths[0])(torch, random)
        y = integers(batch, high=widths[-1])(torch, random)
        update = getattr(torch.optim, optimizer)(network.parameters(), lr=1e-3)
        return training_step(torch, network, update, x, y)

    return make


def training_step(
    torch: ModuleType, network: Any, update: Any, x: Any, y: Any
) -> Callable[[], Any]:
    """Return a step of an optimizer down the cross entropy of a network."""
    criterion = torch.nn.CrossEntropyLoss()

    def step() -> Any:
        update.zero_grad()
        loss = criterion(network(x), y)
        loss.backward()
        update.step()
        return loss

    return step


def group(
    name: str, inputs: Mapping[str, Input], statements: Sequence[Words], answer: str | None = None
) -> list[Row]:
    """Rows that share their inputs and read side by side."""
    pairs = [(words, words) if isinstance(words, str) else words for words in statements]
    return [Row(name, statement, numpy, inputs, answer) for statement, numpy in pairs]


SMALL = group(
    "small, 4 to 64 elements",
    {
        "a": uniform(4),
        "b": uniform(4),
        "m": uniform(4, 4),
        "s": uniform(),
        "column": uniform(8, 1),
        "row": uniform(8),
        "X": uniform(50, 2),
        "w": uniform(2, 1),
        "A": uniform(16, 16),
        "B": uniform(16, 16),
    },
    [
        "a + b",
        "a * 2.0",
        ("a.exp()", "np.exp(a)"),
        "a.sum()",
        "m.mean(0)",
        "a.argmax()",
        "a > b",
        "m[1]",
        "s.item()",
        ("m.view(2, 8)", "m.reshape(2, 8)"),
        ("m.t()", "m.T"),
        "X @ w",
        "A @ B",
        "column + row",
        ("a.add_(b)", "np.add(a, b, out=a)"),
        ("torch.cat([a, b])", "np.concatenate([a, b])"),
        ("m.softmax(1)", None),
    ],
)

SMALL_GRADIENTS = [
    *group(
        "small, with gradients",
        {"x": leaf(4)},
        [("x.grad = None; (x * x).sum().backward()", "2 * x")],
        answer="x.grad",
    ),
    *group(
        "small, with gradients",
        {"x1": leaf(4), "x2": leaf(4)},
        [("x1.grad = x2.grad = None; (3 * x1 + x2 + 1).mean().backward()", None)],
        answer="x1.grad, x2.grad",
    ),
    *group(
        "small, with gradients",
        {"a": leaf(4), "b": leaf(4)},
        [("a.grad = b.grad = None; torch.tanh(a * b + a).sum().backward()", None)],
        answer="a.grad, b.grad",
    ),
    *group(
        "gradient descent, 50 x 2",
        {"X": uniform(50, 2), "y": uniform(50, 1), "w": leaf(2, 1)},
        [
            (
                "(torch.norm(y - X @ w) ** 2 / 50).backward(); "
                "w.data = w.data - 0.1 * w.grad; w.grad.zero_()",
                "np.subtract(w, 0.1 * (2 / 50) * X.T @ (X @ w - y), out=w)",
            )
        ],
        answer="w",
    ),
]

SIZES = {"64k": 1 << 16, "1M": 1 << 20, "16M": 1 << 24}

POINTWISE = [
    row
    for size, n in SIZES.items()
    for row in group(
        f"pointwise, {size}",
        {
            "a": uniform(n),
            "b": uniform(n),
            "p": uniform(n, low=0.1),
            "d": uniform(n, dtype="float64"),
            "i": integers(n, high=1000),
            "j": integers(n, high=1000),
        },
        [
            "a + b",
            "a + 1.5",
            "a * b",
            "a / p",
            ("a.exp()", "np.exp(a)"),
            ("p.log()", "np.log(p)"),
            ("a.tanh()", "np.tanh(a)"),
            ("a.sigmoid()", "1 / (1 + np.exp(-a))"),
            ("a.sin()", "np.sin(a)"),
            ("a.relu()", "np.maximum(a, 0)"),
            "a > b",
            "torch.where(a > b, a, b)",
            "a ** 3",
            "p ** 2.5",
            ("a.mul_(-1.0)", "np.multiply(a, -1.0, out=a)"),
            ("d.exp()", "np.exp(d)"),
            "i + j",
            ("a.double()", "a.astype('float64')"),
            ("i.float()", "i.astype('float32')"),
        ],
    )
]

BROADCASTING = group(
    "broadcasting",
    {
        "image": uniform(256, 256, 3),
        "channels": uniform(3),
        "column": uniform(1024, 1),
        "row": uniform(1, 1024),
        "matrix": uniform(4096, 512),
        "bias": uniform(512),
        "a": uniform(1024, 1024),
        "b": uniform(1024, 1024),
    },
    [
        "image * channels",
        "column + row",
        "matrix + bias",
        "a.T + b",
        ("a.t().contiguous()", "np.ascontiguousarray(a.T)"),
    ],
)


def reductions(dim: str) -> list[Words]:
    """Every reduction over `dim`, '' for all."""
    return [
        f"a.sum({dim})",
        f"a.mean({dim})",
        (f"a.amax({dim})", f"a.max({dim})"),
        f"a.argmax({dim})",
        (f"a.std({dim})", f"np.std(a, {dim or None}, ddof=1)"),
        (f"a.var({dim})", f"np.var(a, {dim or None}, ddof=1)"),
        (f"a.norm({', '.join(filter(None, ['2', dim]))})", f"np.sqrt(np.square(a).sum({dim}))"),
        (f"torch.logsumexp(a, {dim or 0})", f"np.log(np.exp(a).sum({dim}))"),
        *([f"a.cumsum({dim})"] if dim else []),
    ]


REDUCTIONS = [
    *(
        row
        for size, n in SIZES.items()
        for row in group(f"reduction, {size}", {"a": uniform(n)}, reductions(""))
    ),
    *group("reduction, 1M", {"a": uniform(SIZES["1M"])}, ["a.cumsum(0)"]),
    *group("reduction, 4096 x 512 over 0", {"a": uniform(4096, 512)}, reductions("0")),
    *group("reduction, 4096 x 512 over 1", {"a": uniform(4096, 512)}, reductions("1")),
    *group("reduction, 64 x 1000 over 1", {"a": uniform(64, 1000)}, reductions("1")),
    *group(
        "reduction, 1M x 3 over 0",
        {"a": uniform(1_000_000, 3)},
        ["a.sum(0)", "a.mean(0)", ("a.amax(0)", "a.max(0)"), ("a.std(0)", "a.std(0, ddof=1)")],
    ),
    *group(
        "reduction, images of 256 x 256",
        {"a": uniform(5, 256, 256, 3)},
        ["a.sum(0)", "a.sum(-1)", "a.mean(0)", "a.mean(-1)", "a.argmax(0)", "a.argmax(-1)"],
    ),
    *group(
        "reduction, 21 classes of 8 x 128 x 128",
        {"a": uniform(8, 21, 128, 128)},
        [("a.max(1)", "a.max(1), a.argmax(1)"), "a.argmax(1)", "a.sum(1)"],
    ),
]

MATMUL = [
    *(
        row
        for n in (32, 64, 128, 256, 512, 1000, 2048)
        for row in group(f"matmul, {n} x {n}", {"A": uniform(n, n), "B": uniform(n, n)}, ["A @ B"])
    ),
    *(
        row
        for n in (128, 1000)
        for row in group(
            f"matmul, float64 {n} x {n}",
            {"A": uniform(n, n, dtype="float64"), "B": uniform(n, n, dtype="float64")},
            ["A @ B"],
        )
    ),
    *group(
        "matmul, 512 x 512",
        {"A": uniform(512, 512), "B": uniform(512, 512)},
        ["A.T @ B", "A @ B.T"],
    ),
    *group(
        "matmul, other shapes",
        {
            "images": uniform(64, 784),
            "weights": uniform(784, 256),
            "tall": uniform(100_000, 16),
            "little": uniform(16, 16),
            "I": integers(256, 256, high=100),
            "J": integers(256, 256, high=100),
            "M": uniform(2048, 2048),
            "v": uniform(2048),
            "x": uniform(1 << 20),
            "y": uniform(1 << 20),
            "batch": uniform(64, 64, 64),
            "other": uniform(64, 64, 64),
            "batches": uniform(8, 1, 64, 64),
            "shared": uniform(8, 64, 64),
        },
        [
            "images @ weights",
            "tall @ little",
            "I @ J",
            "M @ v",
            "torch.dot(x, y)",
            "batch @ other",
            "batches @ shared",
        ],
    ),
]

FUSED = [
    *group(
        "fused, 512 x 1000",
        {"x": uniform(512, 1000), "y": integers(512, high=1000)},
        [
            ("torch.softmax(x, 1)", None),
            ("torch.log_softmax(x, 1)", None),
            ("torch.nn.functional.cross_entropy(x, y)", None),
            ("torch.nn.functional.layer_norm(x, (1000,))", None),
        ],
    ),
    *group(
        "fused, 512 x 1000, with gradients",
        {"x": leaf(512, 1000), "y": integers(512, high=1000), "g": uniform(512, 1000)},
        [
            ("x.grad = None; torch.softmax(x, 1).backward(g)", None),
            ("x.grad = None; torch.log_softmax(x, 1).backward(g)", None),
            ("x.grad = None; torch.nn.functional.cross_entropy(x, y).backward()", None),
            ("x.grad = None; torch.nn.functional.layer_norm(x, (1000,)).backward(g)", None),
        ],
        answer="x.grad",
    ),
]

LARGE_GRADIENTS = [
    row
    for size, n in SIZES.items()
    for row in group(
        f"backward, {size}",
        {"a": leaf(n), "b": leaf(n)},
        [("a.grad = b.grad = None; torch.tanh(a * b + a).sum().backward()", None)],
        answer="a.grad, b.grad",
    )
]

TRAINING = [
    row
    for widths, batch in (((64, 32, 10), 32), ((784, 256, 10), 64), ((784, 512, 512, 10), 256))
    for optimizer in ("SGD", "Adam")
    for row in group(
        f"training, {'-'.join(map(str, widths))}, batch {batch}, {optimizer}",
        {"step": perceptron(*widths, batch=batch, optimizer=optimizer)},
        [("step()", None)],
    )
]

ROWS = [
    *SMALL,
    *SMALL_GRADIENTS,
    *POINTWISE,
    *BROADCASTING,
    *REDUCTIONS,
    *MATMUL,
    *FUSED,
    *LARGE_GRADIENTS,
    *TRAINING,
]
