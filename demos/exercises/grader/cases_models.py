"""The cases of the VAE, the hierarchy and Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from grader.cases_densities import kl_standard_terms
from grader.tasks import Array, Case, Problem, locals_of, num, parts, shapes

from scratchvae import HVAE, VAE, Gaussian, gaussian
from scratchvae.objective import ELBO, ELBOGradient


def moved(model: Any) -> Any:
    """Give a model parameters without zeros and symmetries, behind which a mistake could hide."""
    model.theta[:] = 0.6 * np.random.default_rng(2).standard_normal(model.theta.size)
    model.gradient[:] = np.nan
    return model


def back(model: Any, cache: Any, n: int, loss: Any) -> Any:
    """Call backward with the derivatives of a loss by its parts; as training does, without asking for dx, for None.

    The loss is beta and alpha, or "rows": then each row of each part has a number of its own.
    """
    T = len(model.latent_dims)
    if loss == "rows":
        rng = np.random.default_rng(8)
        delbo = ELBOGradient(*(rng.normal(size=shape).round(2) for shape in (n, n, (n, T - 1))))
    else:
        delbo = ELBO(np.zeros(n), np.zeros(n), np.zeros((n, T - 1))).loss_backward(*loss or (1.0, 1.0))
    return model.backward(delbo, cache) if loss is None else model.backward(delbo, cache, input_gradient=True)


def said(loss: Any) -> str:
    """Say what delbo is."""
    if loss == "rows":
        return "and a delbo whose rows all differ"
    return f"and delbo = elbo.loss_backward({'' if loss is None else f'beta={loss[0]}, alpha={loss[1]}'})"


def gradients(model: Any, dx: Any, input_gradient: bool) -> dict[str, Any]:
    """Return the gradients by name, the last layer first, as backward comes to them."""
    found = {f"the gradient of {name}": model.gradients[name].copy() for name in reversed(list(model.gradients))}
    return {**found, **({"dx": dx} if input_gradient else {})}


def bias_terms(model: Any, name: str, columns: Callable[[], dict[str, Array]]) -> Callable[[int], list[Any]]:
    """Write the gradient of a last bias as the sums, over the rows, of what came to the network's output."""
    def terms(j: int) -> list[Any]:
        return [(text, " + ".join(num(value) for value in column[:, j]), column[:, j].sum())
                for text, column in columns().items()]
    return terms


def last_bias(model: Any, network: str) -> str:
    """Return the name of the last bias of a network."""
    return f"the gradient of {[name for name in model.gradients if name.startswith(network)][-1]}"


def broadcast(value: Any, like: Array) -> Array:
    """Return a derivative in full, where the library has one zero for all entries."""
    return np.broadcast_to(value, like.shape)


def vae_cases() -> Iterator[Case]:
    """Two likelihoods, several shapes and losses; each part of the bound, then the gradients."""
    rng = np.random.default_rng(5)
    for n, D, d, hidden, options, loss in (
            (3, 2, 1, (), {}, None), (3, 5, 2, (4,), {}, (1.0, 1.0)), (3, 3, 3, (3,), {}, (0.0, 1.0)),
            (2, 4, 3, (3, 5), {"likelihood": Gaussian(4)}, (1.0, 1.0)),
            (4, 3, 2, (4,), {"likelihood": Gaussian(3, logvar=-0.5), "activation": "softplus"}, "rows"),
            (4, 4, 2, (), {}, (2.0, 0.0)), (3, 4, 1, (2,), {}, "rows")):
        x, noise = rng.choice([0.0, 1.0], size=(n, D)), rng.normal(size=(n, d)).round(2)

        def make(code: Any) -> Any:
            return moved(code.VAE(D, d, hidden, dtype=float, **options))

        def bound(code: Any, x: Array, noise: Array) -> dict[str, Any]:
            elbo, _ = parts("VAE.bound", make(code).bound(x, noise), "the bound", "the cache")
            if not all(hasattr(elbo, name) for name in ("reconstruction", "prior_matching", "consistency")):
                raise Problem("VAE.bound should return ELBO(reconstruction, kl, np.zeros((n, 0))) as its first thing; "
                              f"yours is of type {type(elbo).__name__}.")
            return {"reconstruction": elbo.reconstruction, "the KL": elbo.prior_matching,
                    "consistency": elbo.consistency}

        def backward(code: Any, x: Array, noise: Array) -> dict[str, Any]:
            model = make(code)
            _, cache = parts("VAE.bound", model.bound(x, noise), "the bound", "the cache")
            return gradients(model, back(model, cache, n, loss), loss is not None)

        def diagnose(code: Any, tool: Any, x: Array, noise: Array) -> Any:
            return tool.diagnose_model(make(code), x, noise)

        def seen() -> dict[str, Any]:
            model = moved(VAE(D, d, hidden, dtype=float, **options))
            cache = model.bound(x, noise)[1]
            return locals_of(VAE.backward, lambda: back(model, cache, n, loss))

        def q_columns() -> dict[str, Array]:
            v = seen()
            return {"the draw, Σₙ of draw_backward": gaussian.draw_backward(v["dz"], v["z_cache"]),
                    "the KL, Σₙ of dq of compare.backward": v["dq_k"]}

        def p_columns() -> dict[str, Array]:
            return {"Σₙ of dh of log_prob_backward": seen()["dh"]}

        def dx_terms(i: int, j: int) -> list[Any]:
            v = seen()
            return [(text, num(v[name][i, j]), v[name][i, j])
                    for text, name in (("through q", "dx_q"), ("through log p(x | z)", "dx_r"))]

        def level(name: str) -> Callable[[int], list[Any]]:
            def terms(i: int) -> list[Any]:
                model = moved(VAE(D, d, hidden, dtype=float, **options))
                v = locals_of(VAE.bound, lambda: model.bound(x, noise))
                if name == "the KL":
                    return kl_standard_terms(*gaussian.halves(v["q"]), x)["kl"](i)
                return [("log_prob of the likelihood, at x and the output of p", f"row {i}", v["reconstruction"][i])]
            return terms

        model = make(SimpleNamespace(VAE=VAE))
        about = f"VAE({D}, {d}, {hidden}), {shapes(x=x, noise=noise)}"
        yield Case(0, about, {"x": x, "noise": noise}, bound,
                   {"reconstruction": level("reconstruction"), "the KL": level("the KL")},
                   {"n, the number of rows": n, "d, the columns of z": d, "D, the columns of x": D})
        yield Case(1, f"{about}, {said(loss)}", {"x": x, "noise": noise}, backward,
                   {last_bias(model, "q1"): bias_terms(model, "q1", q_columns),
                    last_bias(model, "p1"): bias_terms(model, "p1", p_columns), "dx": dx_terms},
                   {"n, the number of rows": n, "d, the columns of z": d, "D, the columns of x": D}, diagnose)


def hvae_cases() -> Iterator[Case]:
    """From one level to four, the exact form first, then the printed one."""
    rng = np.random.default_rng(6)
    for n, D, dims, form, loss in (
            (1, 2, (1,), "exact", None), (3, 4, (2, 3), "exact", None), (2, 3, (3, 3, 3), "exact", (1.0, 1.0)),
            (4, 3, (2, 1, 3, 2), "exact", ((0.5, 2.0, 1.5, 3.0), 0.7)), (3, 3, (3, 2, 2), "exact", "rows"),
            (2, 3, (2, 3), "exact", ((1.0, 0.0), 0.0)), (3, 4, (2, 3), "printed", (1.0, 1.0)),
            (2, 3, (2, 2, 2, 2), "printed", "rows")):
        x, noise = rng.choice([0.0, 1.0], size=(n, D)), [rng.normal(size=(n, d)).round(2) for d in dims]

        def make(code: Any) -> Any:
            return moved(code.HVAE(D, dims, (3,), consistency=form, dtype=float))

        def backward(code: Any, x: Array, **noise: Array) -> dict[str, Any]:
            model = make(code)
            _, cache = model.bound(x, list(noise.values()))
            return gradients(model, back(model, cache, n, loss), loss is not None)

        def diagnose(code: Any, tool: Any, x: Array, **noise: Array) -> Any:
            return tool.diagnose_model(make(code), x, list(noise.values()))

        def columns(t: int) -> Callable[[], dict[str, Array]]:
            def find_them() -> dict[str, Array]:
                model = moved(HVAE(D, dims, (3,), consistency=form, dtype=float))
                cache = model.bound(x, noise)[1]
                v = locals_of(HVAE.backward, lambda: back(model, cache, n, loss))
                found = {}
                for k, text in (("p", f"use 2 of z_{t}, by p({'x' if t == 1 else f'z_{t - 1}'} | z_{t})"),
                                ("q", f"use 1 of z_{t}, by q(z_{t + 1} | z_{t})"),
                                ("k", f"use 3 of z_{t}, in p(z_{t} | z_{t + 1})")):
                    if k == "p" or t < len(dims):
                        dz = broadcast(v[f"dz_{k}"][t], noise[t - 1])
                        found[text] = gaussian.draw_backward(dz, cache["z", t])
                text = "the prior matching" if t == len(dims) else "the entropy" if form == "exact" else "the KL"
                _, found[text], _ = model.compare[t].backward(v["dkl"][:, t - 1], cache["k", t])
                return found
            return find_them

        model = make(SimpleNamespace(HVAE=HVAE))
        inputs = {"x": x, **{f"noise_{t}": eps for t, eps in enumerate(noise, start=1)}}
        about = f"HVAE({D}, {dims}, (3,), consistency='{form}'), {shapes(x=x)}"
        yield Case(0, f"{about}, {said(loss)}", inputs,
                   backward, {last_bias(model, f"q{t}"): bias_terms(model, f"q{t}", columns(t))
                              for t in range(1, len(dims) + 1)},
                   {"n, the number of rows": n}, diagnose)


def adam_cases() -> Iterator[Case]:
    """Several steps, from several settings: an epsilon that counts, gradients of every size, a gradient of zero."""
    rng = np.random.default_rng(7)
    for size, (rate, beta1, beta2, epsilon), n_steps, scale in (
            (2, (0.1, 0.9, 0.999, 1e-8), 1, 1), (3, (0.1, 0.8, 0.95, 0.01), 3, 1), (4, (0.5, 0.0, 0.5, 0.3), 4, 1),
            (2, (0.01, 0.9, 0.99, 1e-3), 12, 1e-3), (5, (1.0, 0.7, 0.0, 0.5), 3, 1),
            (3, (0.2, 0.3, 0.9, 1e-8), 102, 0.5),
            (140_000, (0.1, 0.9, 0.99, 0.01), 2, 1)):
        theta, g = rng.normal(size=size).round(2), (rng.normal(size=(n_steps, size)) * scale).round(4)
        g[1:, 0] = 0                                   # an entry that has a gradient once, and never again

        def run(code: Any, theta: Array, g: Array) -> dict[str, Any]:
            adam, there, found = code.Adam(rate, beta1, beta2, epsilon), theta.copy(), {}
            for t, row in enumerate(g, start=1):
                returned = adam.step(there, row)
                if np.array_equal(there, theta) and row.any() and t == 1:
                    raise Problem("theta did not move. Adam.step must change the array that it is given: "
                                  "theta -= ... does, while theta = theta - ... makes a new one, and the model keeps "
                                  f"the old.{'' if returned is None else ' (What step returns is not looked at.)'}")
                found[f"theta after step {t}"] = there.copy()
            return found

        def worked(t: int) -> Callable[[int], list[Any]]:
            def terms(i: int) -> list[Any]:
                m = v = 0.0
                path = [theta[i]]
                for k in range(1, t + 1):
                    m, v = beta1 * m + (1 - beta1) * g[k - 1, i], beta2 * v + (1 - beta2) * g[k - 1, i] ** 2
                    m_hat, v_hat = m / (1 - beta1 ** k), v / (1 - beta2 ** k)
                    path.append(path[-1] - rate * m_hat / (np.sqrt(v_hat) + epsilon))
                return [(f"theta before step {t}", num(path[-2]), path[-2]),
                        ("-learning_rate · m̂ / (√v̂ + epsilon)",
                         f"-{num(rate)} · {num(m_hat)} / (√{num(v_hat)} + {num(epsilon)})", path[-1] - path[-2])]
            return terms

        about = f"Adam({rate}, {beta1}, {beta2}, {epsilon}), {shapes(theta=theta)}"
        yield Case(0, about, {"theta": theta, "g": g}, run,
                   {f"theta after step {t}": worked(t) for t in range(1, n_steps + 1)})
