"""The gallery: mistakes that code for VAEs really contains, made on purpose.

Each bug is a change of a line or two in the library's own source: where, a
fragment, and what to write instead.  `broken` makes it, while a ``with`` block
lasts:

    with broken(BUGS[0]):
        ...                              # the library, wrong in this one thing

Most of these mistakes are made under automatic differentiation, whose backward
follows a wrong forward faithfully.  Here backward is written by hand, so such a
bug changes both sides: it is still one mistake.

A fragment that the library no longer has, or has twice, is an error: the
gallery cannot rot in silence.  The checks against all this are in checks.py.
"""

import importlib
import inspect
import linecache
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any, NamedTuple


class Bug(NamedTuple):
    """A mistake: its name, what happens, and its changes, each ("module:function", old fragment, new fragment)."""

    name: str
    story: str
    changes: list[tuple[str, str, str]]

    @property
    def module(self) -> str:
        """The file of the library in which the mistake is made."""
        return self.changes[0][0].partition(":")[0]


def find(where: str) -> FunctionType:
    """Return the library's function with this name, such as ``"vae:VAE.backward"``."""
    module, _, path = where.partition(":")
    found: Any = importlib.import_module(f"scratchvae.{module.replace('/', '.')}")
    for name in path.split("."):
        found = getattr(found, name)
    return found


def edited(bug: Bug) -> dict[FunctionType, CodeType]:
    """Return the functions that a bug touches, each with its code as the bug would have it."""
    sources: dict[FunctionType, str] = {}
    for where, old, new in bug.changes:
        function = find(where)
        source = sources.get(function) or textwrap.dedent(inspect.getsource(function))
        if source.count(old) != 1:
            raise ValueError(f"bug {bug.name!r}: {where} must contain {old!r} exactly once; it does so "
                             f"{source.count(old)} times. The library has changed: change the bug with it")
        sources[function] = source.replace(old, new)
    codes = {}
    for function, source in sources.items():
        file = f"<{bug.name}, {function.__qualname__}>"
        linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file      # tracebacks quote it
        codes[function] = next(constant for constant in compile(source, file, "exec").co_consts
                               if isinstance(constant, CodeType) and constant.co_name == function.__name__)
    return codes


@contextmanager
def broken(bug: Bug) -> Iterator[None]:
    """Make the mistake for the duration of a ``with`` block.

    A function's code is replaced, not the function: whoever imported it by its
    name has the mistake too.
    """
    wrong = edited(bug)
    right = {function: function.__code__ for function in wrong}
    try:
        for function, code in wrong.items():
            function.__code__ = code
        yield
    finally:
        for function, code in right.items():
            function.__code__ = code


BUGS = [
    # layers.py
    Bug("first weights all zero", "No gradient passes a weight of 0, or an output of 0: only the last bias learns.", [
        ("layers:glorot", "rng.uniform(-a, a, size=(n_in, n_out))", "np.zeros((n_in, n_out))")]),
    Bug("He's fan-in taken for fan-out", "The variance of the weights is off by the ratio of a layer's widths.", [
        ("layers:he", "2.0 / n_in", "2.0 / n_out")]),
    Bug("bias gradient averaged", "db is the mean of dy over the batch, where it should be the sum.", [
        ("layers:Dense.backward", "dy.sum(axis=0,", "dy.mean(axis=0,")]),
    Bug("gradient not set to zero", "Each backward adds to what the last one left.", [
        ("layers:Dense.backward", "np.dot(x.T, dy, out=self.dW)", "self.dW += x.T @ dy")]),
    Bug("reshape for transpose", "dx = dy Wᵀ with the shape of Wᵀ, but with the numbers in the order of W.", [
        ("layers:Dense.backward", "dy @ self.W.T", "dy @ self.W.reshape(self.W.T.shape)")]),
    Bug("tanh' of the wrong variable", "The output is taken for the input: 1 - tanh² y for 1 - y².", [
        ("layers:Tanh.backward", "1 - y * y", "1 - np.tanh(y) ** 2")]),
    Bug("ReLU masks by the gradient", "Where dy > 0 it passes, not where x > 0.", [
        ("layers:ReLU.backward", "(y > 0)", "(dy > 0)")]),
    Bug("a leak in the forward alone", "Where x <= 0 the gradient is that of a ReLU: none.", [
        ("layers:LeakyReLU.backward", "self.slope, dtype", "0, dtype")]),

    # gaussian.py
    Bug("std = exp(logvar)", "The log of the variance is read as the log of the standard deviation.", [
        ("gaussian:sample", "np.exp(logvar / 2)", "np.exp(logvar)"),
        ("gaussian:sample_backward", "dz * offset / 2", "dz * offset")]),
    Bug("noise drawn twice", "z is made of one draw of the noise, its gradient of another.", [
        ("gaussian:sample", "return mu + offset", "return mu + std * np.roll(eps, 1)")]),    # others' noise: a new draw
    Bug("sign of dKL/dmu", "The KL's gradient pushes the means away from the prior.", [
        ("gaussian:kl_standard_backward", "dmu = dkl[:, None] * mu", "dmu = -dkl[:, None] * mu")]),
    Bug("KL without its 1/2", "The KL is twice what it should be.", [
        ("gaussian:kl_standard", "0.5 * (excess", "(excess"),
        ("gaussian:kl_standard_backward", "dkl[:, None] * mu", "2 * dkl[:, None] * mu"),
        ("gaussian:kl_standard_backward", "excess / 2", "excess")]),
    Bug("KL averaged over dimensions", "A mean over the d latents where a sum belongs: the KL is d times too small.", [
        ("gaussian:kl_standard", ".sum(axis=-1)", ".mean(axis=-1)"),
        ("gaussian:kl_standard_backward", "dkl[:, None] * mu", "dkl[:, None] * mu / mu.shape[-1]"),
        ("gaussian:kl_standard_backward", "excess / 2", "excess / 2 / mu.shape[-1]")]),
    Bug("log 2π dropped", "\"A constant, it does not train\": but then log p(x) is not log p(x).", [
        ("gaussian:log_prob", "LOG_2PI + ", ""),
        ("gaussian:entropy", "LOG_2PI + 1 + ", "1 + ")]),

    # compare.py
    Bug("sign of the entropy", "H[q] is charged where it should be credited: q is made as narrow as can be.", [
        ("compare:ExactDraw.forward", "-entropy - log_p", "entropy - log_p"),
        ("compare:ExactDraw.backward", "entropy_backward(-dkl", "entropy_backward(dkl")]),
    Bug("printed form sold as exact", "The KL in closed form, though z_{t+1} was drawn from this very z_t.", [
        ("compare:ExactDraw.forward", "-entropy - log_p, (q_cache, p_cache)", "gaussian.kl(*halves(q), *halves(p))"),
        ("compare:ExactDraw.backward", "q_cache, p_cache = cache", "return KL().backward(dkl, cache)")]),
    Bug("KL(p || q) for KL(q || p)", "The arguments of the KL between two levels are swapped.", [
        ("compare:KL.forward", "gaussian.kl(*halves(q), *halves(p))", "gaussian.kl(*halves(p), *halves(q))"),
        ("compare:KL.backward", "dmu_q, dlogvar_q, dmu_p, dlogvar_p = ",
         "dmu_p, dlogvar_p, dmu_q, dlogvar_q = ")]),

    # likelihood.py
    Bug("pixels averaged, KL summed", "A mean over the D pixels where a sum belongs: the KL weighs D times too much.", [
        ("likelihood:Bernoulli.log_prob", ".sum(axis=-1)", ".mean(axis=-1)"),
        ("likelihood:Bernoulli.log_prob_backward", "x, logits, e = cache",
         "x, logits, e = cache; dlog_prob = dlog_prob / x.shape[1]")]),
    Bug("gradient by the probability", "An extra s (1 - s), the derivative of the sigmoid, which cancels in x - s.", [
        ("likelihood:Bernoulli.log_prob_backward", "tail = e / (1 + e)", "s = sigmoid(logits)"),
        ("likelihood:Bernoulli.log_prob_backward", "(x - ~np.signbit(logits) + np.copysign(tail, logits))",
         "(x - s) * s * (1 - s)")]),
    Bug("sigmoid twice", "The probabilities are handed over as logits, and squashed again.", [
        ("likelihood:Bernoulli.log_prob", "e = np.exp(", "logits = sigmoid(logits); e = np.exp("),
        ("likelihood:Bernoulli.log_prob_backward", "np.copysign(tail, logits))",
         "np.copysign(tail, logits)) * logits * (1 - logits)")]),
    Bug("softplus that overflows", "log(1 + eˡ) taken literally: infinite from l = 89 on in float32.", [
        ("likelihood:Bernoulli.log_prob", "np.maximum(logits, 0) - np.log1p(e)", "np.log1p(np.exp(logits))")]),
    Bug("squared error for log p(x | z)", "The variance is 1, whatever was asked for: the KL has a wrong weight.", [
        ("likelihood:Gaussian._mu_logvar", "np.full(1, self.logvar, h.real.dtype)", "np.zeros(1, h.real.dtype)")]),

    Bug("first bias flipped", "The logit of the mean has its fraction upside down: a new model draws a negative.", [
        ("likelihood:Bernoulli.bias", "np.log(p / (1 - p))", "np.log((1 - p) / p)")]),

    # model.py
    Bug("mean of logs for log of mean", "The many samples of log p(x) give no more than the ELBO.", [
        ("model:Model.log_likelihood", "np.logaddexp.reduce(log_weight.astype(float), axis=0)",
         "log_weight.mean(axis=0) + np.log(len(log_weight))")]),
    Bug("log K missing", "A sum of weights where a mean belongs: log p(x) grows with the number of samples.", [
        ("model:Model.log_likelihood", "return log_sum - np.log(n_samples)", "return log_sum")]),

    # vae.py
    Bug("reconstruction spares logvar", "The noise is detached: only the KL speaks to logvar, and takes it to 0.", [
        ("vae:VAE.backward", "gaussian.draw_backward(dz, z_cache)", "gaussian.halves_backward(dz, 0 * dz)")]),

    Bug("new codes drawn too wide", "z has twice the spread of its prior: the bound is right, new data are not.", [
        ("vae:VAE.sample", "z = self.normal(", "z = 2 * self.normal(")]),

    # hvae.py
    Bug("gradient overwritten", "z_1 is used twice or more, and its last use overwrites what the others said.", [
        ("hvae:HVAE.backward", "dz_q[t] + dz_p[t]", "(dz_p[t] if t == 1 else dz_q[t] + dz_p[t])")]),
    Bug("z_t detached as the point", "log p(z_t | z_{t+1}) moves its mean to z_t, but not z_t to that mean.", [
        ("hvae:HVAE.backward", " + dz_k[t]", "")]),
    Bug("z_{t+1} detached as the condition", "The gradient of log p(z_t | z_{t+1}) by its condition is left out.", [
        ("hvae:HVAE.backward", "dz_p[t] = ", "dz_p[t] = (t == 1) * ")]),
    Bug("prior matching at the wrong level", "The KL with N(0, I) is charged to z_1 at the bottom, not to z_T.", [
        ("hvae:HVAE.bound", "forward(z[t], q[t], p[t])", "forward(z[t], q[t if t < self.T else 1], p[t])"),
        ("hvae:HVAE.backward", "for t in reversed(self.levels):",
         "if self.T > 1:\n        dq[1], dq[self.T] = dq[1] + dq[self.T], 0\n    for t in reversed(self.levels):")]),
    Bug("one noise for all levels", "Every level needs a draw of its own; here all are cut from the same one.", [
        ("hvae:HVAE.draw_noise", "return [self.normal(rng, n, d) for d in self.latent_dims]",
         "eps = self.normal(rng, n, max(self.latent_dims)); return [eps[:, :d] for d in self.latent_dims]")]),
    Bug("log-ratio of the top level alone", "A sum over the levels is overwritten: only its last term is left.", [
        ("hvae:HVAE.log_weight", "for t in self.levels], axis=0)", "for t in self.levels][-1:], axis=0)")]),

    # train/optim.py
    Bug("momentum with the wrong sign", "Every step takes back a part of the one before it.", [
        ("train/optim:SGD.step", "self.v *= self.momentum", "self.v *= -self.momentum")]),
    Bug("a step that goes nowhere", "theta = theta - ... makes a new array; the model keeps the old one.", [
        ("train/optim:SGD.step", "theta -= ", "theta = theta - ")]),
    Bug("Adam without bias correction", "m and v start at 0, and nothing makes up for it: wrong first steps.", [
        ("train/optim:Adam.step", "(1 - self.beta2 ** self.t) / (1 - self.beta2)", "1 / (1 - self.beta2)"),
        ("train/optim:Adam.step", " / (1 - self.beta1 ** self.t)", "")]),
    Bug("epsilon inside the root", "√(v + ε) is at least 1e-4 for ε = 1e-8: small gradients make too small steps.", [
        ("train/optim:Adam.step", "np.sqrt(v, out=w)", "np.sqrt(v + self.epsilon * root ** 2, out=w)"),
        ("train/optim:Adam.step", "w += self.epsilon * root", "pass")]),
    Bug("Adam's betas swapped", "A long memory for m, a short one for v.", [
        ("train/optim:Adam.step", "m *= self.beta1", "m *= self.beta2"),
        ("train/optim:Adam.step", "v *= self.beta2", "v *= self.beta1")]),

    # data/datasets.py
    Bug("held-out digits in training", "The training set is all of the data: held-out numbers are too good.", [
        ("data/datasets:digits", "Dataset(x[~test], y[~test],", "Dataset(x, y,")]),
    Bug("pixels of 0 to 16, divided by 255", "All ink ends below 0.07: nearly white pages, which are easy to model.", [
        ("data/datasets:digits", "/ 16", "/ 255")]),
]
