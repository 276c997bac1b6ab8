"""A pass, step by step: every call of a forward that has a backward, and what reached and left that backward.

The parts of a model are found, not declared: objects with ``forward`` and
``backward`` (a layer), and functions or methods ``f`` with an ``f_backward`` beside
them (``gaussian.kl``).  While a pass is recorded, each is wrapped.

    p = Pass(pair, [model, twin])
    gradients = p.run(dys)                             # p.steps: of each call its inputs, outputs, dys, returned
    p.slope(("out", step.index, "y"), y, v, dys)       # the derivative by that output, along v

What flows between two steps can be replaced, forward (``moved``) and backward (``mend``).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..layers import Array
from .derivative import Arrays, Pair, along, copies
from .noise import snapshot, still


@dataclass
class Part:
    """A forward with its backward, and where the two are kept: ``holder[key]`` or an attribute of it."""

    name: str                                          # "q1.dense1", "gaussian.kl"
    called: str                                        # its backward: "Dense.backward", "gaussian.kl_backward"
    holder: Any
    keys: tuple[str, str]
    layer: Any = None

    def __post_init__(self) -> None:
        self.forward, self.backward = (self.holder[key] if isinstance(self.holder, dict) else getattr(self.holder, key)
                                       for key in self.keys)
        names, back = ([p.name for p in inspect.signature(function).parameters.values()
                        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
                       for function in (self.forward, self.backward))
        self.takes, self.gives, self.cached = names, ["y"], len(back) > 1      # names; whether forward has a cache
        if self.layer is None:
            self.cached = not back[-1].startswith("d")
            self.gives = [n[1:] if n.startswith("d") else n for n in (back[:-1] if self.cached else back)]

    def call(self, *inputs: Any) -> tuple[tuple[Any, ...], Any]:
        """Return the outputs and the cache."""
        result = self.forward(*inputs)
        y, cache = result if self.cached else (result, None)
        return y if isinstance(y, tuple) else (y,), cache


@dataclass(eq=False)
class Step:
    """One call of a part: what forward got and gave; what its backward got and gave, if it was called."""

    index: int
    part: Part
    parent: Step | None                                # the call within which it was made
    inputs: dict[str, Any]
    outputs: dict[str, Any] = field(default_factory=dict)
    cache: Any = None
    dys: Arrays | None = None                          # None: its backward was never called
    caller: Step | None = None                         # whose backward called it
    returned: dict[str, Any] = field(default_factory=dict)
    after: Arrays = field(default_factory=dict)        # the layer's gradients, when its backward had ended
    spoilt: list[str] = field(default_factory=list)    # inputs that forward changed in place


def inside(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds, by name."""
    yield from getattr(thing, "networks", {}).items()  # a model's own names for its networks come first
    for name, value in getattr(thing, "__dict__", {}).items():
        held = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else (
            [("", value)])
        yield from ((str(key) if isinstance(key, str) and key else f"{name}{key}", item) for key, item in held)


def parts_of(root: Any) -> list[Part]:
    """Return all the parts that an object is made of: its layers, and the functions that its methods can call."""
    found, seen, classes = list[Part](), {id(root)}, list(type(root).__mro__)

    def visit(thing: Any, path: str) -> None:
        for name, value in inside(thing):
            if id(value) in seen or not hasattr(value, "__dict__") or isinstance(
                    value, (np.ndarray, np.random.Generator, ModuleType, type, FunctionType, MethodType)):
                continue
            seen.add(id(value))
            full = f"{path}.{name}" if path else name
            before = len(found)
            visit(value, full)
            classes.extend(type(value).__mro__)
            if callable(getattr(value, "forward", None)) and callable(getattr(value, "backward", None)):
                if len(found) == before:               # nothing inside: it is a part itself
                    found.append(Part(full, f"{type(value).__name__}.backward", value, ("forward", "backward"), value))
            else:
                for m in [n for n in dir(type(value)) if not n.startswith("_")
                          and callable(getattr(value, f"{n}_backward", None))]:
                    found.append(Part(f"{full}.{m}", f"{type(value).__name__}.{m}_backward", value,
                                      (m, f"{m}_backward")))

    visit(root, "")
    modules = [sys.modules[cls.__module__] for cls in classes
               if cls.__module__ in sys.modules and cls.__module__ != "builtins"]
    modules += [other for module in modules for other in vars(module).values() if isinstance(other, ModuleType)
                and other.__name__.partition(".")[0] == module.__name__.partition(".")[0]]
    for space in map(vars, dict.fromkeys(modules)):
        for name, value in space.items():
            if isinstance(value, FunctionType) and isinstance(space.get(f"{name}_backward"), FunctionType):
                full = f"{value.__module__.rpartition('.')[2]}.{name}"
                found.append(Part(full, f"{full}_backward", space, (name, f"{name}_backward")))
    return found


Place = tuple[str, int, str]                           # "in", "out" or "parameter", the number of a step, which array


class Pass:
    """A function made of parts, as a pair, that is run with its steps recorded.

    Parameters
    ----------
    pair : Pair
        The whole: x and all parameters in, outputs out.
    wholes : list of object
        What it calls: a model, and the copies of it that take complex numbers.

    Attributes
    ----------
    steps : list of Step
        Of the last run, in the order of forward.
    mend : function, optional
        It is called in the order of backward, with a step and "dys" before its backward runs, with the
        step and "returned" after it.  What it puts into ``step.dys`` or ``step.returned`` is used from there on.
    guarded : set of str
        Parts that get copies of what they are given, as they work in it.
    choose : function
        Takes the steps that may be meant by a backward without a cache, the last one first, and its dys.
    """

    def __init__(self, pair: Pair, wholes: list[Any]) -> None:
        self.pair, self.parts = pair, [part for whole in wholes for part in parts_of(whole)]
        self.steps, self.open = list[Step](), list[Step]()
        self.closing = list[Step]()                    # whose backward runs
        self.moved: Mapping[Place, Array] = {}
        self.on, self.count = False, 0                 # whether the parts are wrapped; the steps so far
        self.only: int | None = None                   # the step that alone is looked at
        self.guarded: set[str] = set()
        self.drew, self.rewind = False, snapshot(pair.generators)
        self.mend: Callable[[Step, str], None] = lambda step, which: None
        self.choose: Callable[[list[Step], list[Array]], Step] = lambda steps, given: steps[0]
        self.wrapped = [(part, key, wrap(part)) for part in self.parts
                        for key, wrap in zip(part.keys, (self._forward, self._backward))]

    def run(self, dys: Arrays | None, moved: Mapping[Place, Array] | None = None,
            mend: Callable[[Step, str], None] = lambda step, which: None) -> Arrays:
        """Run a pass and keep its steps; return the gradients that are left; without dys, go forward only."""
        self.steps, self.count, self.closing, self.mend = [], 0, [], mend
        self.rewind = snapshot(self.pair.generators)
        with still(self.pair.generators) as drawn, self.watching(moved or {}):
            before, (_, kept) = drawn(), self.pair.forward(copies(self.pair.inputs))
            self.drew = drawn() != before
            return {} if dys is None else copies(self.pair.backward(copies(dys), kept))

    def at(self, place: Place) -> Callable[[Arrays], Arrays]:
        """Return the outputs as a function of the pair's inputs, and of the array at this place, which is called ""."""
        def forward(arrays: Arrays) -> Arrays:
            with still(self.pair.generators), self.watching({place: arrays.pop("")}, place[1]):
                self.rewind()                          # to draw what the pass drew
                return self.pair.forward(arrays)[0]
        return forward

    def slope(self, place: Place, value: Array, v: Array, dys: Arrays) -> float:
        """Return the derivative of Σ y · dy by what is at a place, along v."""
        return along(self.at(place), {**self.pair.inputs, "": value}, {"": v}, dys)

    @contextmanager
    def watching(self, moved: Mapping[Place, Array], only: int | None = None) -> Iterator[None]:
        """Put the wrapped parts in their places for as long as the block lasts; ``only``: of one step, apart."""
        here: dict[str, Any] = {"on": True, "open": [], "moved": moved, "only": only}
        if only is not None:
            here.update(steps=[], count=0)
        with ExitStack() as stack:
            stack.callback(vars(self).update, {name: getattr(self, name) for name in here})
            for part, key, new in [] if self.on else self.wrapped:
                space = part.holder if isinstance(part.holder, dict) else vars(part.holder)
                stack.callback(*((space.update, {key: space[key]}) if key in space else (space.pop, key)))
                space[key] = new
            vars(self).update(here)
            yield

    def _forward(self, part: Part) -> Callable[..., Any]:
        names, outs, function = part.takes, part.gives, part.forward

        def wrapped(*args: Any, **options: Any) -> Any:
            here, self.count = self.count, self.count + 1
            if self.only not in (None, here) and part.name not in self.guarded:
                return function(*args, **options)      # another step is looked at: this one is only counted
            step = Step(here, part, self.open[-1] if self.open else None, dict(zip(names, args)))
            self.steps.append(step)
            args = tuple(self.moved.get(("in", here, n), a) for n, a in zip(names, args)) + args[len(names):]
            if part.name in self.guarded:
                args = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in args)
            before = {n: a.copy() for n, a in zip(names, args) if isinstance(a, np.ndarray)}
            mine = {n: a for (role, i, n), a in self.moved.items() if role == "parameter" and i == here}
            own = {} if part.layer is None else vars(part.layer)
            held = {n: own[n] for n in mine}
            self.open.append(step)
            own.update(mine)
            result = function(*args, **options)
            own.update(held)
            self.open.pop()
            step.spoilt = [n for n, a in zip(names, args) if n in before and not np.array_equal(a, before[n], True)]
            y, step.cache = result if part.cached else (result, None)
            values = list(y) if isinstance(y, tuple) else [y]
            labels = outs if len(outs) == len(values) else [f"y{i}" for i in range(len(values))]
            step.outputs = {n: self.moved.get(("out", here, n), a) for n, a in zip(labels, values)}
            y = tuple(step.outputs.values()) if isinstance(y, tuple) else step.outputs[labels[0]]
            return (y, step.cache) if part.cached else y
        return wrapped

    def _backward(self, part: Part) -> Callable[..., Any]:
        function = part.backward

        def wrapped(*args: Any, **options: Any) -> Any:
            n = 1 if part.layer is not None else len(args) - part.cached
            several = n == 1 and isinstance(args[0], tuple)
            arrived = args[0] if several else args[:n]
            given = [np.array(a) for a in arrived]
            step = self._answered(part, args[n] if part.cached and len(args) > n else options.get("cache"), given)
            if step is None:
                return function(*args, **options)
            step.caller = self.closing[-1] if self.closing else None
            self.closing.append(step)
            step.dys = dict(zip(step.outputs, given))
            self.mend(step, "dys")
            new = tuple(a if dy is g else dy for a, dy, g in zip(arrived, step.dys.values(), given))
            result = function(*((new,) if several else new), *args[n:], **options)
            self.closing.pop()
            values = result if isinstance(result, tuple) else (result,)
            step.returned = dict(zip(step.inputs, values))
            step.after = {n: np.array(getattr(part.layer, "d" + n)) for n in
                          getattr(part.layer, "parameter_names", ()) if hasattr(part.layer, "d" + n)}
            self.mend(step, "returned")
            values = (*step.returned.values(), *values[len(step.returned):])
            return values if isinstance(result, tuple) else values[0]
        return wrapped

    def _answered(self, part: Part, cache: Any, given: list[Array]) -> Step | None:
        """Return the step whose backward this is: that with this cache, else one of such shapes."""
        parent = self.closing[-1] if self.closing else None
        mine = [s for s in reversed(self.steps) if s.part.name == part.name and s.dys is None]
        mine = [s for s in mine if s.parent is parent] or mine
        fit = [s for s in mine if [np.shape(a) for a in given] == [np.shape(y) for y in s.outputs.values()]]
        for s in mine:
            if cache is not None and s.cache is cache:
                return s
        return self.choose(fit, given) if len(fit) > 1 else next(iter(fit or mine), None)
