"""A value and its derivative in one complex array, also where NumPy would lose the derivative.

The complex step, MATH (10.1), needs analytic functions.  ``np.abs``, ``np.var``,
``np.linalg.norm``, ``.real`` and casts are not: of complex numbers they make real ones, and
the derivative is gone without a word.  A `Dual` is a complex array, value + i h · derivative,
that knows their derivatives: d|x| = sign(x) dx.  Functions that take no complex numbers at all
(``np.logaddexp``, ``scipy.special.expit``) are differentiated entry by entry, by differences of
order six.  What it cannot follow, such as ``float(x)``, is an error or a warning of NumPy's.

At a kink, one of the slopes is taken.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..layers import Array

asarray = np.asarray                                   # as it is when no `new_arrays` is on
STENCIL = {1: 45 / 60, 2: -9 / 60, 3: 1 / 60}          # of order six: Σ wₖ [f(x + k h) - f(x - k h)] / h
STEPWISE = {np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.sign, np.floor, np.ceil,
            np.rint, np.trunc, np.floor_divide, np.signbit, np.logical_and, np.logical_or, np.logical_not, np.isclose,
            np.allclose, np.array_equal, np.argmax, np.argmin, np.argsort, np.round, np.nonzero, np.unique,
            np.count_nonzero}                          # their derivative is 0: they see values alone
CASTS = (np.float32, np.float64, np.float16)


class Dual(np.ndarray[Any, Any]):
    """A complex array that carries a derivative; see `dual`."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Compute a ufunc: of complex numbers, or by its own rule."""
        out = options.pop("out", None)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        if method == "at":                             # it works in its first argument
            return function(*(plain(a) for a in inputs))
        result = self.apply(function, inputs, options)
        if out is None:
            return result
        plain(out[0])[...] = plain(result)
        return out[0]

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        """Compute any other function of NumPy."""
        return self.apply(function, args, options)

    def apply(self, function: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return what a function gives; a subclass can change the derivative."""
        return dual(derived(function, plain(inputs), plain(options)), type(self))

    def __getitem__(self, key: Any) -> Any:
        """A single entry is a Dual, too."""
        return dual(plain(self)[plain(key)], type(self))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    @property                                          # type: ignore[misc]
    def real(self) -> Any:
        """Of a real number, the number itself."""
        return self

    def var(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, *,
            keepdims: Any = False, **options: Any) -> Any:
        """The mean of the squares, by whose derivative x.var() is wanted."""
        c = self - self.mean(axis, keepdims=True)
        total, n = (c * c).sum(axis=axis, keepdims=keepdims), self.size // max(1, self.mean(axis).size)
        return total / (n - ddof)

    def std(self, *args: Any, **options: Any) -> Any:
        """The root of the variance."""
        return np.sqrt(self.var(*args, **options))

    def dot(self, other: Any, out: Any = None) -> Any:
        """The method, as the function."""
        return np.dot(self, other)

    def astype(self, dtype: Any, *args: Any, **options: Any) -> Any:
        """Rounding has no derivative: a Dual stays what it is, unless whole numbers or truth values are wanted."""
        return self.copy() if np.dtype(dtype).kind in "fc" else plain(self).real.astype(dtype)


def dual(a: Any, kind: type[Dual] = Dual) -> Any:
    """Return complex arrays, also in tuples and lists, as Duals; other things as they are."""
    if isinstance(a, (tuple, list)):
        return type(a)(dual(b, kind) for b in a) if type(a) in (tuple, list) else a
    return asarray(a).view(kind) if isinstance(a, (np.ndarray, np.complexfloating)) and a.dtype.kind == "c" else a


def plain(a: Any) -> Any:
    """Return what a Dual stands for, a complex array; also in tuples, lists and dicts."""
    if isinstance(a, Dual):
        return a.view(np.ndarray)
    kind = type(a)
    if kind is tuple or kind is list:
        return kind([plain(b) for b in a])
    return {name: plain(b) for name, b in a.items()} if kind is dict else a


def value(a: Any) -> Any:
    """Return values without their derivatives."""
    if isinstance(a, (tuple, list)):
        return type(a)(value(b) for b in a)
    return plain(a).real if isinstance(a, np.ndarray) and a.dtype.kind == "c" else a


def derived(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return what a function gives for complex arrays that are values with derivatives."""
    if function in STEPWISE:
        return function(*value(args), **options)
    if function in (np.absolute, np.fabs):
        return np.where(args[0].real < 0, -args[0], args[0])
    if function in (np.conjugate, np.real, np.real_if_close):
        return args[0]
    if function in (np.var, np.std):
        x = args[0].view(Dual)
        return plain((x.var if function is np.var else x.std)(*args[1:], **options))
    if function is np.linalg.norm:
        return norm(*args, **options)
    if function is np.linalg.slogdet:                  # d log|det A| = tr(A⁻¹ dA)
        sign, log = function(args[0].real)
        return sign, log + 1j * np.trace(np.linalg.solve(args[0].real, args[0].imag), axis1=-2, axis2=-1)
    if function in (np.linalg.cholesky, np.linalg.eigh, np.linalg.svd, np.linalg.qr, np.vdot, np.correlate):
        raise TypeError(f"no derivative of np.{function.__name__}")
    if isinstance(function, np.ufunc) and function.nout == 1 and "dtype" not in options:
        if function in (np.exp, np.tanh):              # of a large number, where the complex one is not finite
            y = function(args[0].real)
            return y + 1j * (y if function is np.exp else 1 - y * y) * args[0].imag
        try:
            return function(*args, **options)
        except TypeError:
            return by_differences(function, args)
    if options.get("dtype") is not None and np.dtype(options["dtype"]).kind == "f":
        options = {**options, "dtype": complex}
    return function(*args, **options)


def norm(x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """Return the Euclidean norm; no others have a rule here."""
    if ord not in (None, 2, "fro") or (ord == 2 and axis is None and x.ndim > 1):
        raise TypeError(f"no derivative of np.linalg.norm with ord={ord}")
    return np.sqrt((x * x).sum(axis=axis, keepdims=keepdims))


def by_differences(function: Any, args: tuple[Any, ...]) -> Array:
    """Return a ufunc that takes no complex numbers: its value, and its derivative by each argument."""
    values = [asarray(a).real for a in args]
    found = function(*values).astype(complex)
    for j, a in enumerate(args):
        if np.iscomplexobj(a):
            h, slope = 1e-3 * np.maximum(1.0, np.abs(values[j])), 0.0
            for k, weight in STENCIL.items():
                plus, minus = (function(*values[:j], values[j] + s * k * h, *values[j + 1:]) for s in (1, -1))
                slope = slope + weight * (plus - minus) / h
            found = found + 1j * slope * np.imag(a)
    return asarray(found)


def wants_empty(names: tuple[str, ...]) -> bool:
    """Whether code with these names calls np.empty itself; NumPy's generators do so, too, and fill in real numbers."""
    kinds = np.random.Generator, np.random.RandomState
    return "empty" in names and not any(hasattr(kind, name) for kind in kinds for name in names if name[0] != "_")


@functools.cache
def casting(real: Any) -> Any:
    """Return np.float32 and the like without its rounding, which has no derivative."""
    return type(real.__name__, (real,), {"__new__": lambda cls, a=0.0, *b: a if isinstance(a, Dual) else real(a)})


@contextmanager
def new_arrays(kind: type[Dual] = Dual) -> Iterator[None]:
    """Let np.zeros, np.empty, np.ones, np.full and np.where make Duals for as long as the block lasts.

    What forward writes into them would lose its derivative.
    """
    made = {name: getattr(np, name) for name in ("zeros", "empty", "ones", "full", "asarray", "array", "zeros_like",
                                                 "empty_like", "ones_like", "full_like", "ascontiguousarray", "where")}

    def making(name: str) -> Callable[..., Any]:
        def make(*args: Any, **options: Any) -> Any:
            if isinstance(args[0] if args else None, Dual) and name in ("asarray", "array", "ascontiguousarray"):
                return args[0].copy() if name == "array" else args[0]
            array = made[name](*plain(args), **plain(options))
            if isinstance(array, tuple):               # np.where, of a condition alone
                return array
            fresh = name in ("zeros", "ones", "full", "where") or name.endswith("_like") or (
                name == "empty" and wants_empty(sys._getframe(1).f_code.co_names))
            return dual(array.astype(complex) if fresh and array.dtype.kind == "f" else array, kind)
        return make

    new = {**{name: making(name) for name in made}, **{real.__name__: casting(real) for real in CASTS}}
    try:
        for name, function in new.items():
            setattr(np, name, function)
        yield
    finally:
        for name, function in {**made, **{real.__name__: real for real in CASTS}}.items():
            setattr(np, name, function)
