"""Kept arrays: the one trick behind the speed of training.

A step of training needs the same arrays as the step before.  To get them from
the system each time, and to give them back, takes longer than to fill them.  So
within ``with workspace:`` the results of large operations go into arrays that
are kept: `kept` hands them out, in the order in which they are asked for, and
each step asks in the same order.  Elsewhere `kept` returns None, with which
NumPy's ``out=`` means what it always means: a new array.

What a step has returned is valid until the next step overwrites it.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Workspace:
    """The arrays of one step, in the order of their use.

    Parameters
    ----------
    dtype : NumPy dtype
        That of all the arrays.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.arrays: dict[tuple[int, tuple[int, ...]], NDArray[Any]] = {}
        self.used = 0
        self.token: Token[Workspace | None] | None = None

    def __enter__(self) -> None:
        self.used = 0
        self.token = _open.set(self)

    def __exit__(self, *exception: object) -> None:
        if self.token is not None:
            _open.reset(self.token)

    def take(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the next array: the one of the step before, if it had this shape."""
        key = (self.used, shape)
        self.used += 1
        if key not in self.arrays:
            self.arrays[key] = np.empty(shape, self.dtype)
        return self.arrays[key]


_open: ContextVar[Workspace | None] = ContextVar("open workspace", default=None)


def kept(shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Return an array to write into, for ``out=``; None where no workspace is open."""
    workspace = _open.get()
    return None if workspace is None else workspace.take(shape)
