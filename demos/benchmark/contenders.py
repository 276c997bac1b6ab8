"""The contenders of the benchmark: the same training by scratchvae, NumPy's products alone, PyTorch and JAX.

benchmark.py starts this file as a process for each of them (`python contenders.py torch float32`), and
drives it over stdin and stdout: a line in, a line out.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Workload:
    """A model, its batch, and how many steps make an epoch, which is one turn."""

    title: str
    x_dim: int
    latent_dims: tuple[int, ...]
    hidden_dims: tuple[tuple[int, ...], ...]                        # of each level
    activation: str
    batch: int
    steps: int

    def networks(self) -> Iterator[tuple[int, ...]]:
        """The columns of each network, from input to output: q1, p1, q2, p2, ..."""
        d = (self.x_dim, *self.latent_dims)
        for t, hidden in enumerate(self.hidden_dims, start=1):
            yield (d[t - 1], *hidden, 2 * d[t])
            yield (d[t], *hidden[::-1], d[t - 1] if t == 1 else 2 * d[t - 1])

    def data(self, steps: int, dtype: str) -> Any:
        """Ten pictures, a fifth of them ink, with one pixel in ten flipped."""
        rng, n = np.random.default_rng(1), steps * self.batch
        pictures = rng.random((10, self.x_dim)) < 0.2
        flipped = rng.integers(10, size=(n, self.x_dim), dtype=np.uint8) == 0
        return (pictures[rng.integers(10, size=n)] ^ flipped).astype(dtype)

    def parameters(self, dtype: str) -> list[list[Any]]:
        """W and b of each layer of each network; every logvar is 0 at first."""
        rng, drawn = np.random.default_rng(2), []
        for i, dims in enumerate(self.networks()):
            layers = [[rng.uniform(-1, 1, pair) * np.sqrt(6 / sum(pair)), np.zeros(pair[1])]
                      for pair in zip(dims, dims[1:])]
            if i != 1:                                              # all but p(x | z_1) end in mu and logvar
                layers[-1][0][:, dims[-1] // 2:] = 0
            drawn.append([[array.astype(dtype) for array in layer] for layer in layers])
        return drawn

    def noise(self, dtype: str) -> list[Any]:
        """For each level the same eps in every row, because each contender shuffles the rows in its own way."""
        rng = np.random.default_rng(3)
        return [np.tile(rng.standard_normal(d), (self.batch, 1)).astype(dtype) for d in self.latent_dims]


WORKLOADS = {
    "A": Workload("784-400-20, ReLU, batch 128", 784, (20,), ((400,),), "relu", 128, 40),
    "B": Workload("784-200-200-50, tanh, batch 100", 784, (50,), ((200, 200),), "tanh", 100, 50),
    "B20": Workload("B at batch 20", 784, (50,), ((200, 200),), "tanh", 20, 100),
    "C": Workload("3 levels on 64 pixels, batch 64", 64, (16, 8, 4), ((64,),) * 3, "tanh", 64, 400),
    "D": Workload("5 levels on 784 pixels, batch 256", 784, (64, 32, 16, 8, 4),
                  tuple((n, n) for n in (512, 256, 128, 64, 32)), "leaky_relu", 256, 10)}

# The contenders ------------------------------------------------------------------------------------------------------
# Each trains epoch after epoch until `turn`, called with the epoch's mean loss, returns True.  `given` is the noise of
# each step, for the check; without it they draw their own.


def train_scratchvae(work: Workload, dtype: str, x: Any, turn: Callable[[Any], bool], given: Any = None,
                     workers: int | str | None = None) -> None:
    """scratchvae through `fit`; it waits for its turn in the callback."""
    from scratchvae import HVAE, VAE, Adam, fit
    if len(work.latent_dims) == 1:
        model: Any = VAE(work.x_dim, work.latent_dims[0], work.hidden_dims[0], activation=work.activation, dtype=dtype)
    else:
        model = HVAE(work.x_dim, work.latent_dims, work.hidden_dims, activation=work.activation, dtype=dtype)
    arrays = [array for layers in work.parameters(dtype) for layer in layers for array in layer]
    for view, array in zip(model.parameters.values(), arrays, strict=True):
        view[:] = array
    if given:
        model.draw_noise = lambda *args: given if len(given) > 1 else given[0]
    fit(model, x, epochs=10 ** 9, batch_size=work.batch, optimizer=Adam(LEARNING_RATE), progress=False,
        workers=workers, callback=lambda model, history: turn(-history["elbo"][-1]))


def multiply(work: Workload, dtype: str, x: Any, turn: Callable[[Any], bool], given: Any = None) -> None:
    """The products alone: for each layer y = x W, dW = xᵀ dy, and dx = dy Wᵀ but for the layer that sees the data."""
    rng, layers = np.random.default_rng(0), []
    for dims in work.networks():
        h = [rng.standard_normal((work.batch, d)).astype(dtype) for d in dims]
        dh = [rng.standard_normal((work.batch, d)).astype(dtype) for d in dims]
        for i, pair in enumerate(zip(dims, dims[1:])):
            W = rng.standard_normal(pair).astype(dtype)
            layers.append((h[i], W, h[i + 1], dh[i], np.empty_like(W), dh[i + 1]))
    over = False
    while not over:
        for _ in range(work.steps):
            for h_in, W, h_out, *_ in layers:
                np.dot(h_in, W, out=h_out)
            for i, (h_in, W, _, dh_in, dW, dh_out) in reversed(list(enumerate(layers))):
                np.dot(h_in.T, dh_out, out=dW)
                if i > 0:
                    np.dot(dh_out, W.T, out=dh_in)
        over = turn(None)


def negative_elbo(networks: Sequence[Any], x: Any, noise: Sequence[Any], exp: Any, halves: Any, entropy: Any) -> Any:
    """The loss of scratchvae, once for both frameworks; entropy is their cross-entropy, summed."""
    q, p, z, q_of = networks[::2], networks[1::2], [x], []
    for network, eps in zip(q, noise):
        mu, logvar = halves(network(z[-1]))
        q_of.append((mu, logvar))
        z.append(mu + exp(logvar / 2) * eps)
    loss = entropy(p[0](z[1]), x) + 0.5 * (exp(logvar) - 1 - logvar + mu * mu).sum()
    for t in range(1, len(q)):                                      # log q(z_t | z_{t-1}) - log p(z_t | z_{t+1})
        mu_p, logvar_p = halves(p[t](z[t + 1]))
        diff = z[t] - mu_p
        loss = loss + 0.5 * (logvar_p - 1 - q_of[t - 1][1] + diff * diff * exp(-logvar_p)).sum()
    return loss / len(x)


def train_torch(work: Workload, dtype: str, x: Any, turn: Callable[[Any], bool], given: Any = None,
                fused: bool = False, compiled: bool = False) -> None:
    """PyTorch, eager, or forward and backward compiled."""
    import torch
    Activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "leaky_relu": torch.nn.LeakyReLU}[work.activation]
    networks = torch.nn.ModuleList()
    for layers in work.parameters(dtype):
        parts: list[Any] = []
        for W, b in layers:
            parts += [torch.nn.Linear(*W.shape, dtype=getattr(torch, dtype)), Activation()]
            parts[-2].weight.data[:] = torch.from_numpy(W.T)
            parts[-2].bias.data[:] = torch.from_numpy(b)
        networks.append(torch.nn.Sequential(*parts[:-1]))
    adam = torch.optim.Adam(networks.parameters(), lr=LEARNING_RATE, fused=fused or None)
    fixed = given and [torch.from_numpy(eps) for eps in given]
    entropy = partial(torch.nn.functional.binary_cross_entropy_with_logits, reduction="sum")

    def loss_of(x: Any, noise: Any) -> Any:
        return negative_elbo(list(networks), x, noise, torch.exp, lambda h: h.chunk(2, dim=1), entropy)

    if compiled:
        loss_of = torch.compile(loss_of)
    x, over = torch.from_numpy(x), False
    while not over:
        total = 0.0
        for rows in torch.randperm(len(x)).split(work.batch):
            noise = fixed or [torch.randn(work.batch, d) for d in work.latent_dims]
            loss = loss_of(x[rows], noise)
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item()
        over = turn(total * work.batch / len(x))


def train_jax(work: Workload, dtype: str, x: Any, turn: Callable[[Any], bool], given: Any = None) -> None:
    """JAX: the whole step compiled, its arrays donated."""
    import jax
    jax.config.update("jax_enable_x64", dtype == "float64")
    jnp = jax.numpy
    activate = {"relu": jax.nn.relu, "tanh": jnp.tanh, "leaky_relu": jax.nn.leaky_relu}[work.activation]

    def mlp(layers: Any, h: Any) -> Any:
        for W, b in layers[:-1]:
            h = activate(h @ W + b)
        return h @ layers[-1][0] + layers[-1][1]

    def loss_of(theta: Any, x: Any, noise: Any) -> Any:
        return negative_elbo([partial(mlp, layers) for layers in theta], x, noise, jnp.exp,
                             lambda h: jnp.split(h, 2, axis=1), lambda h, x: (jax.nn.softplus(h) - x * h).sum())

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, x: Any, rows: Any, key: Any) -> Any:
        theta, m, v, t = state
        t = t + 1
        keys = jax.random.split(jax.random.fold_in(key, t), len(work.latent_dims))
        noise = given or [jax.random.normal(k, (work.batch, d)) for k, d in zip(keys, work.latent_dims)]
        loss, g = jax.value_and_grad(loss_of)(theta, x[rows], noise)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        theta = jax.tree.map(lambda w, m, v: w - LEARNING_RATE * (m / (1 - 0.9 ** t))
                             / (jnp.sqrt(v / (1 - 0.999 ** t)) + 1e-8), theta, m, v)
        return (theta, m, v, t), loss

    theta = jax.tree.map(jnp.asarray, work.parameters(dtype))
    state = theta, jax.tree.map(jnp.zeros_like, theta), jax.tree.map(jnp.zeros_like, theta), 0
    x, key, rng, over = jnp.asarray(x), jax.random.key(0), np.random.default_rng(0), False
    while not over:
        order, losses = rng.permutation(len(x)), []
        for start in range(0, len(x), work.batch):
            state, loss = step(state, x, order[start:start + work.batch], key)
            losses.append(loss)
        over = turn(float(sum(losses)) / len(losses))


CONTENDERS: dict[str, tuple[str, str | None, Callable[..., None]]] = {         # title, what must be installed, code
    "scratchvae": ("scratchvae", None, train_scratchvae),
    "products": ("products alone", None, multiply),
    "torch": ("PyTorch", "torch", train_torch),
    "torch-fused": ("PyTorch, fused Adam", "torch", partial(train_torch, fused=True)),
    "torch-compiled": ("torch.compile", "torch", partial(train_torch, fused=True, compiled=True)),
    "jax": ("JAX jit", "jax", train_jax),
    **{f"workers-{n}": (f"{n} worker{'s' * (n != 1)}", None, partial(train_scratchvae, workers=n))
       for n in (*range(1, 17), "auto")}}


class Clock:
    """Where scratchvae's time goes: its functions are wrapped, and each part gets the time that no inner part took."""

    def __init__(self) -> None:
        from scratchvae import HVAE, VAE, Adam, Bernoulli, compare, gaussian, layers
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.inner, self.inside, self.outside = [0.0], 0.0, 0.0
        self.calibrate()
        self.wrap("dense", layers.Dense, "forward", "backward")     # the products, and the bias
        for Activation in layers.ACTIVATIONS.values():
            self.wrap("activations", Activation, "forward", "backward")
        self.wrap("likelihood", Bernoulli, "log_prob", "log_prob_backward")
        self.wrap("latents", gaussian, *(name for name, value in vars(gaussian).items()
                                         if getattr(value, "__module__", "") == gaussian.__name__))
        for Comparison in (compare.StandardKL, compare.ExactDraw):  # the parts of VAE and HVAE that call them
            self.wrap("latents", Comparison, "forward", "backward")
        self.wrap("Adam", Adam, "step")
        self.wrap("noise", VAE, "draw_noise")
        self.wrap("noise", HVAE, "draw_noise")

    def calibrate(self, calls: int = 20000) -> None:
        """Measure what the wrapper itself costs, between its two looks at the clock and around them."""
        empty = self.timed("empty", lambda: None)
        start = time.perf_counter()
        for _ in range(calls):
            empty()
        total = time.perf_counter() - start
        self.inside = self.spent["empty"] / calls
        self.outside = total / calls - self.inside

    def wrap(self, part: str, owner: Any, *names: str) -> None:
        """Time these functions of a module or class as one part."""
        for name in names:
            setattr(owner, name, self.timed(part, getattr(owner, name)))

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.inner.append(0.0)                                  # to be filled by the parts called inside
            start = time.perf_counter()
            value = function(*args, **kwargs)
            elapsed = time.perf_counter() - start
            self.spent[part] += elapsed - self.inner.pop() - self.inside
            self.inner[-1] += elapsed + self.outside
            return value
        return call

    def read(self, seconds: float) -> dict[str, float]:
        """Return the seconds of each part since the last reading, the rest too, and start again from 0."""
        parts = {**self.spent, "rest": seconds - self.inner[0]}
        self.spent.clear()
        self.inner[0] = 0.0
        return parts


def serve(name: str, dtype: str) -> None:
    """Be the process of a contender: obey the lines on stdin, answer each with a line on stdout."""
    clock = Clock() if name == "profile" else None
    train = CONTENDERS["scratchvae" if clock else name][2]
    answer = partial(print, flush=True)
    for line in iter(sys.stdin.readline, ""):
        start = time.perf_counter()
        task, spec = json.loads(line)
        work, losses = Workload(**spec), []

        def collect(loss: float) -> bool:
            losses.append(loss)
            return len(losses) == 3

        def turn(loss: float) -> bool:
            nonlocal start
            seconds = time.perf_counter() - start
            answer(json.dumps({"seconds": seconds, "loss": loss, "parts": clock.read(seconds) if clock else {}}))
            more = sys.stdin.readline() == '["go"]\n'               # here it waits for its turn
            start = time.perf_counter()
            return not more

        if task == "check":
            train(work, dtype, work.data(1, dtype), collect, work.noise(dtype))
        else:
            train(work, dtype, work.data(work.steps, dtype), turn)
        answer(json.dumps(losses))
    if name == "scratchvae" and {"torch", "jax", "scipy.linalg"} & set(sys.modules):
        sys.exit("a second BLAS library was loaded beside NumPy's: these times mean nothing")


if __name__ == "__main__":
    serve(*sys.argv[1:])
