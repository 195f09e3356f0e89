"""Datasets, samplers and the loader: PyTorch's batches in PyTorch's order."""

import collections

import numpy as np
import pytest

import numtorch
from helpers import assert_same
from numtorch.utils import data as ours

Pair = collections.namedtuple("Pair", "x y")


@pytest.fixture
def theirs(oracle):
    return oracle.utils.data


def batches(torch, options, *, epochs=2):
    """The batches of some epochs, and the next random number after them."""
    torch.manual_seed(0)
    data = torch.utils.data
    dataset = data.TensorDataset(torch.arange(10.0), torch.arange(10))
    loader = data.DataLoader(dataset, **options(torch, dataset))
    found = [list(loader) for _ in range(epochs)]
    return len(loader), found, torch.rand(1)


@pytest.mark.parametrize(
    "options",
    [
        lambda t, d: {},
        lambda t, d: {"batch_size": 3},
        lambda t, d: {"batch_size": 3, "drop_last": True},
        lambda t, d: {"batch_size": 4, "shuffle": True},
        lambda t, d: {
            "batch_size": 4, "shuffle": True, "generator": t.Generator().manual_seed(5)
        },
        lambda t, d: {"batch_size": None},
        lambda t, d: {"batch_size": None, "shuffle": True},
        lambda t, d: {"batch_sampler": [[1, 2], [3]]},
        lambda t, d: {"sampler": [5, 4, 3], "batch_size": 2},
        lambda t, d: {
            "sampler": t.utils.data.RandomSampler(d, replacement=True, num_samples=70),
            "batch_size": 20,
        },
        lambda t, d: {"sampler": t.utils.data.SubsetRandomSampler([1, 5, 7]), "batch_size": 2},
        lambda t, d: {
            "sampler": t.utils.data.WeightedRandomSampler([0.1, 0.9, 0.5], 7), "batch_size": 4
        },
        lambda t, d: {"collate_fn": len, "batch_size": 4},
    ],
)  # fmt: skip
def test_order(oracle, options):
    assert_same(batches(numtorch, options), batches(oracle, options))


def test_splits_and_subsets(oracle):
    found = []
    for torch in (numtorch, oracle):
        data = torch.utils.data
        torch.manual_seed(0)
        dataset = data.TensorDataset(torch.arange(10.0))
        parts = data.random_split(dataset, [3, 7]) + data.random_split(dataset, [0.35, 0.65])
        loader = data.DataLoader(data.Subset(parts[1], [0, 2, 4]), batch_size=2)
        joined = data.ConcatDataset([dataset, parts[0]])
        found.append(
            [
                [p.indices for p in parts],
                list(loader),
                joined[-1],
                joined[12],
                len(dataset + dataset),
            ]
        )
    assert_same(*found)


BATCHES = [
    [1, 2],
    [1.0, 2.0],
    [True, False],
    ["a", "b"],
    [np.float32(1), np.float32(2)],
    [np.int64(3)],
    [np.ones(2), np.zeros(2)],
    [np.array(3), np.array(4)],
    [{"a": 1, "b": [1, 2]}, {"a": 2, "b": [3, 4]}],
    [(1, 2.0), (3, 4.0)],
    [[1, 2], [3, 4]],
    [Pair(1, (2, "x")), Pair(3, (4, "y"))],
    [collections.OrderedDict(a=1)],
]


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_collate(theirs, batch):
    assert repr(ours.default_collate(batch)) == repr(theirs.default_collate(batch))


@pytest.mark.parametrize(
    "batch", [[None], [[1], [1, 2]], [np.array("a")], [object], [np.ones(2), np.ones(3)]], ids=str
)
def test_collate_errors(theirs, batch):
    found = []
    for data in (ours, theirs):
        with pytest.raises((TypeError, RuntimeError)) as caught:
            data.default_collate(batch)
        found.append((type(caught.value), str(caught.value)))
    assert found[0] == found[1]


def test_convert(theirs):
    sample = [np.ones(2), {"a": np.float64(2)}, "x", 3, (np.arange(2),)]
    assert repr(ours.default_convert(sample)) == repr(theirs.default_convert(sample))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"batch_size": None, "drop_last": True},
        {"shuffle": True, "sampler": [1]},
        {"batch_sampler": [[1]], "batch_size": 3},
        {"batch_sampler": [[1]], "shuffle": True},
        {"num_workers": -1},
        {"timeout": -1},
        {"prefetch_factor": 3},
        {"persistent_workers": True},
    ],
    ids=str,
)
def test_loader_errors(oracle, options):
    found = []
    for torch in (numtorch, oracle):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            torch.utils.data.DataLoader([1, 2, 3], **options)
        found.append((type(caught.value), str(caught.value)))
    assert found[0] == found[1]


def test_other_errors(oracle):
    cases = [
        lambda t, d: d.TensorDataset(t.ones(2), t.ones(3)),
        lambda t, d: d.random_split([1, 2], [1, 2]),
        lambda t, d: d.RandomSampler([1], replacement=1),
        lambda t, d: d.RandomSampler([1], num_samples=0),
        lambda t, d: d.DataLoader(d.TensorDataset(t.ones(0)), shuffle=True),
        lambda t, d: d.BatchSampler([1], 0, False),
        lambda t, d: d.BatchSampler([1], 1, 3),
        lambda t, d: d.ConcatDataset([]),
        lambda t, d: d.ConcatDataset([[1, 2]])[-3],
        lambda t, d: d.Dataset()[0],
    ]
    for case in cases:
        found = []
        for torch in (numtorch, oracle):
            with pytest.raises(Exception) as caught:  # noqa: PT011
                case(torch, torch.utils.data)
            found.append((type(caught.value), str(caught.value)))
        assert found[0] == found[1]


def test_iterable_dataset():
    class Squares(ours.IterableDataset):
        def __iter__(self):
            return (i * i for i in range(5))

        def __len__(self):
            return 5

    loader = ours.DataLoader(Squares(), batch_size=2)
    assert [batch.tolist() for batch in loader] == [[0, 1], [4, 9], [16]]
    assert len(loader) == 3
    assert len(list(ours.DataLoader(Squares(), batch_size=2, drop_last=True))) == 2
    with pytest.raises(ValueError, match="shuffle=True"):
        ours.DataLoader(Squares(), shuffle=True)


def test_own_dataset_and_stacks():
    class Labelled(ours.TensorDataset):
        def __getitem__(self, index):
            return {"x": super().__getitem__(index)[0], "i": index}

    (batch,) = ours.DataLoader(Labelled(numtorch.arange(3)), batch_size=3)
    assert batch["i"].tolist() == [0, 1, 2]
    stacked = ours.StackDataset(a=[1, 2], b=[3, 4])
    assert stacked[1] == {"a": 2, "b": 4}
    assert len(stacked) == 2
