"""A pass, step by step: every call of a forward that has a backward, and what reached and left that backward.

The parts of a model are found, not declared: objects with ``forward`` and
``backward`` (a layer), and functions or methods ``f`` with an ``f_backward`` beside
them (``gaussian.kl``).  While a pass is recorded, each is wrapped.  The output of a
step can be replaced by another array: so the loss can be differentiated by what
flows between two steps.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..layers import Array
from .reference import Arrays


@dataclass
class Part:
    """A forward with its backward, and where the two are kept: ``holder[key]`` or an attribute of it."""

    name: str                                          # "q1.dense1", "gaussian.kl"
    called: str                                        # its backward: "Dense.backward", "gaussian.kl_backward"
    holder: Any
    keys: tuple[str, str]
    layer: Any = None

    def get(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Return forward and backward as they stand."""
        forward, backward = (self.holder[key] if isinstance(self.holder, dict) else getattr(self.holder, key)
                             for key in self.keys)
        return forward, backward


@dataclass
class Step:
    """One call of a part."""

    index: int
    part: Part
    parent: Step | None
    inputs: dict[str, Any]
    outputs: dict[str, Any] = field(default_factory=dict)
    cache: Any = None
    dys: Arrays | None = None                          # None: its backward was never called
    returned: dict[str, Any] = field(default_factory=dict)
    after: Arrays = field(default_factory=dict)        # the layer's gradients, when its backward had ended


def is_part(thing: Any) -> bool:
    """Whether this is an object with a forward and a backward."""
    return (not isinstance(thing, (type, ModuleType)) and callable(getattr(thing, "forward", None))
            and callable(getattr(thing, "backward", None)))


def inside(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds, by name."""
    named = dict(getattr(thing, "networks", {}))       # a model's own names for its networks come first
    named.update({n: value for n, value in getattr(thing, "__dict__", {}).items() if n != "networks"})
    for name, value in named.items():
        if isinstance(value, dict):
            yield from ((f"{name}{key}" if isinstance(key, int) else str(key), item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            yield from ((f"{name}{i}", item) for i, item in enumerate(value))
        else:
            yield name, value


def parts_of(root: Any) -> list[Part]:
    """Return all the parts that an object is made of: its layers, and the functions that its methods can call."""
    found: list[Part] = []
    seen: set[int] = {id(root)}
    classes: list[type] = list(type(root).__mro__)

    def visit(thing: Any, path: str) -> None:
        for name, value in inside(thing):
            if id(value) in seen or isinstance(value, (np.ndarray, str, int, float, np.random.Generator, ModuleType,
                                                       type, FunctionType, MethodType)):
                continue
            if not hasattr(value, "__dict__"):
                continue
            seen.add(id(value))
            full = f"{path}.{name}" if path else name
            before = len(found)
            visit(value, full)
            classes.extend(type(value).__mro__)
            if is_part(value):
                if len(found) == before:               # nothing inside: it is a part itself
                    found.append(Part(full, f"{type(value).__name__}.backward", value, ("forward", "backward"), value))
            else:
                for m in method_pairs(value):
                    found.append(Part(f"{full}.{m}", f"{type(value).__name__}.{m}_backward", value,
                                      (m, f"{m}_backward")))

    visit(root, "")
    modules = {cls.__module__: sys.modules[cls.__module__] for cls in classes
               if cls.__module__ in sys.modules and cls.__module__ != "builtins"}
    spaces = {name: vars(module) for name, module in modules.items()}
    for module in modules.values():
        top = module.__name__.partition(".")[0]
        spaces.update({other.__name__: vars(other) for other in list(vars(module).values())
                       if isinstance(other, ModuleType) and other.__name__.partition(".")[0] == top})
    for module_name, space in spaces.items():
        short = module_name.rpartition(".")[2]
        for name, value in list(space.items()):
            if isinstance(value, FunctionType) and isinstance(space.get(f"{name}_backward"), FunctionType):
                own = value.__module__.rpartition(".")[2] if value.__module__ else short
                found.append(Part(f"{own}.{name}", f"{own}.{name}_backward", space, (name, f"{name}_backward")))
    return found


def method_pairs(thing: Any) -> list[str]:
    """Return the methods m of an object that have an m_backward."""
    return [n for n in dir(type(thing)) if not n.startswith("_") and callable(getattr(thing, f"{n}_backward", None))]


class Recorder:
    """Records the steps of a pass, while ``on``; ``replace`` has arrays to put in the place of a step's output."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.open: list[Step] = []
        self.replace: dict[tuple[int, str], Array] = {}
        self.replace_input: dict[tuple[int, str], Array] = {}

    def clear(self) -> None:
        """Begin anew."""
        self.steps, self.open = [], []

    def forward(self, part: Part, function: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a forward."""
        names, outs, cached = signature(part, function, backward)

        def wrapped(*args: Any, **options: Any) -> Any:
            step = Step(len(self.steps), part, self.open[-1] if self.open else None, dict(zip(names, args)))
            self.steps.append(step)
            args = tuple(self.replace_input.get((step.index, n), a) for n, a in zip(names, args)) + args[len(names):]
            self.open.append(step)
            try:
                result = function(*args, **options)
            finally:
                self.open.pop()
            y, step.cache = result if cached else (result, None)
            several = isinstance(y, tuple)
            values = list(y) if several else [y]
            labels = outs if len(outs) == len(values) else [f"y{i}" for i in range(len(values))]
            values = [self.replace.get((step.index, n), value) for n, value in zip(labels, values)]
            step.outputs = dict(zip(labels, values))
            y = tuple(values) if several else values[0]
            return (y, step.cache) if cached else y
        return wrapped

    def backward(self, part: Part, function: Callable[..., Any], forward: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a backward."""
        names, outs, cached = signature(part, forward, function)

        def wrapped(*args: Any, **options: Any) -> Any:
            n = (1 if part.layer is not None else len(args) - 1) if cached else len(args)
            given = [np.array(a) for a in (args[0] if n == 1 and isinstance(args[0], tuple) else args[:n])]
            cache = args[n] if cached and len(args) > n else options.get("cache")
            step = self.match(part, cache if cached else None, given)
            result = function(*args, **options)
            if step is not None:
                step.dys = dict(zip(step.outputs, given))
                values = result if isinstance(result, tuple) else (result,)
                step.returned = dict(zip(step.inputs, values))
                if part.layer is not None:
                    step.after = {n: np.array(getattr(part.layer, "d" + n))
                                  for n in getattr(part.layer, "parameter_names", ()) if hasattr(part.layer, "d" + n)}
            return result
        return wrapped

    def match(self, part: Part, cache: Any, given: list[Array]) -> Step | None:
        """Return the step whose backward this is: that with this cache, else the last one of such shapes."""
        mine = [s for s in reversed(self.steps) if s.part.name == part.name and s.dys is None]
        for s in mine:
            if cache is not None and s.cache is cache:
                return s
        shapes = [np.shape(a) for a in given]
        return next((s for s in mine if [np.shape(y) for y in s.outputs.values()] == shapes), mine[0] if mine else None)


def signature(part: Part, forward: Callable[..., Any],
              backward: Callable[..., Any]) -> tuple[list[str], list[str], bool]:
    """Return the names of the inputs and the outputs of a part, and whether it has a cache."""
    def positional(function: Callable[..., Any]) -> list[str]:
        return [p.name for p in inspect.signature(function).parameters.values()
                if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]

    names, back = positional(forward), positional(backward)
    if part.layer is not None:
        return names, ["y"], True
    cached = not back[-1].startswith("d")
    outs = [n[1:] if n.startswith("d") else n for n in (back[:-1] if cached else back)]
    return names, outs, cached


Wrapped = list[tuple[Part, str, Callable[..., Any]]]


def wrap(recorder: Recorder, parts: list[Part]) -> Wrapped:
    """Return what to put in the place of each forward and backward."""
    found: Wrapped = []
    for part in parts:
        forward, backward = part.get()
        found += [(part, part.keys[0], recorder.forward(part, forward, backward)),
                  (part, part.keys[1], recorder.backward(part, backward, forward))]
    return found


@contextmanager
def watching(wrapped: Wrapped) -> Iterator[None]:
    """Put the wrapped parts in their places for as long as the block lasts."""
    with ExitStack() as stack:
        for part, key, new in wrapped:
            stack.callback(restore(part, key))
            if isinstance(part.holder, dict):
                part.holder[key] = new
            else:
                setattr(part.holder, key, new)
        yield


def restore(part: Part, key: str) -> Callable[[], None]:
    """Return what puts a forward or a backward back."""
    if isinstance(part.holder, dict):
        old = part.holder[key]
        return lambda: part.holder.__setitem__(key, old)
    if key in vars(part.holder):
        mine = vars(part.holder)[key]
        return lambda: setattr(part.holder, key, mine)
    return lambda: delattr(part.holder, key)
