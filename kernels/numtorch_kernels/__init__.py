"""Numba kernels over ndarrays: arithmetic, reductions, matmul, indexing, random numbers.

Every function takes and returns NumPy arrays and knows nothing of tensors or gradients.
"""

from .memory import cached_bytes, empty_cache, set_cache_limit
from .pointwise import Pointwise
from .threads import get_num_threads, set_num_threads

__all__ = [
    "Pointwise",
    "cached_bytes",
    "empty_cache",
    "get_num_threads",
    "set_cache_limit",
    "set_num_threads",
]
