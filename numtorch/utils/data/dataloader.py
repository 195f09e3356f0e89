"""Batches of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from ...random import Generator
from .collate import default_collate, default_convert
from .dataset import IterableDataset, batch_of
from .sampler import BatchSampler, RandomSampler, SequentialSampler, draw_seed


class _Forever:
    """The sampler of an iterable dataset, which knows its own order."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader:
    """Goes over a dataset in batches, in PyTorch's order under the same seed.

    Samples are loaded in this process, whatever ``num_workers`` says; the options of worker
    processes and of pinned memory are accepted and have no effect.

    Raises ValueError for options that exclude each other.

    >>> import numtorch as torch
    >>> from numtorch.utils.data import DataLoader, TensorDataset
    >>> loader = DataLoader(TensorDataset(torch.arange(5)), batch_size=2)
    >>> [batch.tolist() for (batch,) in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        if isinstance(dataset, IterableDataset):
            _check_iterable(shuffle, sampler, batch_sampler)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, "
                    "sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with "
                "drop_last"
            )
        order: Any = sampler
        if order is None:
            if isinstance(dataset, IterableDataset):
                order = _Forever()
            elif shuffle:
                order = RandomSampler(dataset, generator=generator)
            else:
                order = SequentialSampler(dataset)
        if batch_size is not None:
            batch_sampler = BatchSampler(order, batch_size, drop_last)
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = order
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.generator = generator
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate
        self.collate_fn = collate_fn

    def __iter__(self) -> Iterator[Any]:
        draw_seed(self.generator)  # what PyTorch seeds its workers with: the stream goes on by it
        return self._batches_of_stream() if self._streams else self._batches()

    @property
    def _streams(self) -> bool:
        return isinstance(self.dataset, IterableDataset)

    def _batches(self) -> Iterator[Any]:
        """The batches of a dataset with indices."""
        if self.batch_sampler is None:
            for index in self.sampler:
                yield self.collate_fn(self.dataset[index])
            return
        fetch_all = getattr(self.dataset, "__getitems__", None)
        for indices in self.batch_sampler:
            batch = batch_of(self.dataset, indices) if self.collate_fn is default_collate else None
            if batch is None:
                samples = (
                    fetch_all(indices)
                    if fetch_all is not None
                    else [self.dataset[index] for index in indices]
                )
                batch = self.collate_fn(samples)
            yield batch

    def _batches_of_stream(self) -> Iterator[Any]:
        """The batches of an iterable dataset."""
        samples = iter(self.dataset)
        if self.batch_size is None:
            yield from map(self.collate_fn, samples)
            return
        while batch := list(islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate_fn(batch)

    def __len__(self) -> int:
        if self._streams:
            length = len(self.dataset)
            if self.batch_size is None:
                return length
            whole, rest = divmod(length, self.batch_size)
            return whole + bool(rest and not self.drop_last)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 "
            "to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_iterable(shuffle: Any, sampler: Any, batch_sampler: Any) -> None:
    for name, value in (
        ("shuffle", shuffle),
        ("sampler", sampler),
        ("batch_sampler", batch_sampler),
    ):
        if value not in (None, False):
            raise ValueError(
                "DataLoader with IterableDataset: expected unspecified "
                f"{name} option, but got {name}={value}"
            )


def get_worker_info() -> None:
    """None: samples are loaded in this process."""
