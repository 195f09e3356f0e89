"""The table of operations: one row an operation, in families that mirror the kernels'."""

from . import arithmetic, elementary, views
from .table import TABLE

__all__ = ["TABLE", "arithmetic", "elementary", "views"]
