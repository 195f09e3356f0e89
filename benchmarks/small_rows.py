"""Statements on twelve elements, where a call is all that takes time: what programs say most."""

from collections.abc import Sequence

from rows import Input, Row, group, integers, leaf, uniform

INPUTS: dict[str, Input] = {
    "a": uniform(4, 3),
    "b": uniform(4, 3),
    "c": uniform(4, 3),
    "p": uniform(4, 3, low=0.5, high=2),
    "v": uniform(3),
    "s": uniform(),
    "t": uniform(2, 3, 4),
    "w": leaf(4, 3),
    "i": integers(5, high=3),
    "j": integers(4, 3, high=3),
    "k": integers(4, high=3),
}
F = "torch.nn.functional."


def calls(family: str, statements: str) -> list[Row]:
    """Rows of a family, from lines of statements."""
    words: Sequence[tuple[str, None]] = [(each, None) for each in statements.split("\n") if each]
    return group(family, INPUTS, words)


def losses(statements: str) -> list[Row]:
    """Rows that compute a number of w and its gradient, which is compared."""
    words: Sequence[tuple[str, None]] = [
        (f"w.grad = None; ({each}).backward()", None) for each in statements.split("\n") if each
    ]
    return group("backward", INPUTS, words, "w.grad")


def writes(*statements: str) -> list[Row]:
    """Rows that write to c, which is compared."""
    return group("indexing", INPUTS, [(each, None) for each in statements], "c")


def draws(*statements: str) -> list[Row]:
    """Rows that draw random numbers; those after a seed are compared."""
    return [
        Row("creation", each, None, INPUTS, f"(torch.manual_seed(0), {each})[1]")
        for each in statements
    ]


SMALL_ROWS = [
    *calls(
        "pointwise",
        """\
a - b
a / p
2 * a
-a
a.abs()
a ** 2
p ** 2.5
p.log()
a.tanh()
a.round()
a.clamp(0, 1)
a.clamp(min=0)
torch.where(a > b, a, b)
torch.maximum(a, b)
a.eq(1)
torch.lerp(a, b, 0.5)
torch.addcmul(a, a, b)
torch.add(a, b, alpha=2)
torch.add(a, b, out=c)
c.copy_(b)
c.fill_(1.0)
c.zero_()
c.clamp_(0, 1)
a.double()
a.clone()""",
    ),
    *calls("activation", "\n".join(F + each for each in (
        "gelu(a)", "silu(a)", "leaky_relu(a, 0.2)", "elu(a)", "softplus(a)", "softmax(a, dim=-1)",
        "log_softmax(a, 1)", "layer_norm(a, (3,))",
    ))),
    *calls(
        "reduction",
        """\
a.sum(dim=0)
a.sum(-1)
a.sum(0, keepdim=True)
a.sum((0, 1))
t.mean((1, 2))
a.mean()
a.mean(dim=1)
a.max()
a.max(1)
a.amax(0)
a.argmax(dim=1)
a.std()
a.std(0)
a.var(-1)
a.norm()
a.logsumexp(-1)
(a > 0).any()
a.cumsum(0)
a.cumsum(-1)
torch.equal(a, b)
a.sum().item()""",
    ),
    *calls(
        "view",
        """\
a.view(-1)
a.reshape(3, -1)
a.flatten()
a.t()
a.T
a.permute(1, 0)
a.unsqueeze(0)
a.expand(2, 4, 3)
a[0]
a[0, 0]
a[None]
a[1:3]
a[:, 1]
a.chunk(2)
a.unbind(0)
a.contiguous()
a.t().contiguous()""",
    ),
    *calls(
        "indexing",
        """\
a[i]
a[:, i]
a[a > 0]
a.gather(1, j)
a.index_select(0, i)
torch.masked_fill(a, a > 0, 0.0)
torch.tril(a)
torch.cat([a, b], dim=1)
torch.stack([a, b])
torch.nn.functional.one_hot(i, 10)
a[torch.arange(4), k]
c.masked_fill_(c > 0, 0.0)""",
    ),
    *writes("c[i] = 1.0", "c[k[:3], k[:3]] = v", "c[c > 0] = 0.0", "c[0] = v"),
    *calls(
        "creation",
        """\
torch.zeros(3, 4)
torch.ones(3)
torch.full((3,), 2.0)
torch.zeros_like(a)
torch.arange(10)
torch.linspace(0, 1, 10)
torch.eye(4)
torch.tensor([1.0, 2.0, 3.0])""",
    ),
    *draws("torch.rand(3, 4)", "torch.randn(3, 4)", "torch.randint(0, 9, (4,))"),
    *calls("loss", "\n".join(F + each for each in (
        "mse_loss(a, b)", "cross_entropy(a, k)", "nll_loss(a, k)", "l1_loss(a, b)",
        "linear(a, b, k.float())", "embedding(i, a)",
    ))),
    *losses(
        """\
(w * b).sum()
(w @ b.t()).sum()
(w + v).mean()
(w ** 2).mean()
torch.nn.functional.mse_loss(w, b)
torch.nn.functional.cross_entropy(w, k)
w.softmax(-1).square().sum()
w.std()
w.max(-1)[0].sum()
w.logsumexp(-1).sum()
w[0].sum()
w[i].sum()
w[k, k].sum()
w.view(-1).sum()
w.clamp(0, 1).sum()
torch.where(b > 0, w, b).sum()
torch.cat([w, w]).sum()""",
    ),
]  # fmt: skip
