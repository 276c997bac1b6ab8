"""Repeatable noise: two calls of a function that draws noise draw the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np


def generators(thing: Any, depth: int = 7, seen: set[int] | None = None) -> Iterator[Any]:
    """Yield the generators that a function or an object can reach."""
    seen = set() if seen is None else seen
    if id(thing) in seen or depth == 0 or isinstance(thing, (np.ndarray, str, int, float, type(np), type)):
        return
    seen.add(id(thing))
    if isinstance(thing, (np.random.Generator, np.random.RandomState)):
        yield thing
        return
    inside: list[Any] = []
    for cell in getattr(thing, "__closure__", None) or ():
        with suppress(ValueError):                     # a cell that is not filled yet
            inside.append(cell.cell_contents)
    inside += list(getattr(thing, "__defaults__", None) or ())
    if hasattr(thing, "__code__"):
        inside += [thing.__globals__[name] for name in thing.__code__.co_names if name in thing.__globals__]
    inside += [thing.__self__] if hasattr(thing, "__self__") else []
    inside += list(getattr(thing, "__dict__", {}).values())
    inside += list(thing)[:50] if isinstance(thing, (list, tuple)) else []
    inside += list(thing.values())[:50] if isinstance(thing, dict) else []
    for other in inside:
        yield from generators(other, depth - 1, seen)


def legacy() -> Any:
    """Return NumPy's own generator, which np.random.normal and the like draw from."""
    return np.random.get_state.__self__                # type: ignore[attr-defined]


def snapshot(found: list[Any]) -> Callable[[], None]:
    """Return what puts these generators, and NumPy's own, back where they stand now."""
    states = [(g, state(g)) for g in [*found, legacy()]]

    def back() -> None:
        for g, old in states:
            g.set_state(old) if hasattr(g, "set_state") else setattr(g.bit_generator, "state", old)
    return back


@contextmanager
def still(found: list[Any]) -> Iterator[Callable[..., str]]:
    """Put these generators, and NumPy's own, back to their state at the start, when the block ends.

    It yields a function that returns the states of all of them as text, with those in the copies
    that a function has made.
    """
    back, default_rng, fresh = snapshot(found), np.random.default_rng, list[None]()

    def seeded(seed: Any = None) -> Any:
        fresh.extend([] if seed is not None else [seed])
        return default_rng(len(fresh) if seed is None else seed)

    def stand(kept: Any = None) -> str:
        with np.printoptions(threshold=9):             # of a long state, a few numbers at both ends
            return repr([len(fresh), *(state(g) for g in [*found, legacy(), *generators(kept)])])

    np.random.default_rng = seeded
    try:
        yield stand
    finally:
        np.random.default_rng = default_rng
        back()


def state(g: Any) -> Any:
    """Return where a source of noise stands."""
    return g.bit_generator.state if isinstance(g, np.random.Generator) else g.get_state()
