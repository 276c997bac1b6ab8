"""Eleven small checks of a VAE: what the gallery of bugs is put before.

Each check returns True if all is well, and uses models so small that it takes no
time.  `catch` runs them all on the library with a bug in it: the lesson on the
gallery draws the table of that, and the quiz hands the answers out one by one.
"""

from itertools import product

import numpy as np
from gallery.bugs import broken
from scipy import special, stats

from scratchvae import HVAE, SGD, VAE, Adam, Bernoulli, Gaussian, fit, gaussian, layers
from scratchvae.data import binarize, digits
from scratchvae.verify import exact
from scratchvae.verify.gradcheck import check_model


def generic(model):
    """Give a model parameters without zeros and symmetries, behind which a mistake could hide."""
    model.theta[:] = 0.6 * np.random.default_rng(2).standard_normal(model.theta.size)
    return model


def is_zero(samples):
    """Tell whether every column's expectation may be 0: its mean lies within five standard errors of it."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    return bool(np.all(np.abs(samples.mean(axis=0)) <= 5 * error + 1e-10))


def gradient():
    """Every hand-written gradient against the complex step."""
    x = np.random.default_rng(0).random((3, 4))
    models = [VAE(4, 3, (3,)), VAE(4, 2, (3, 5), activation="relu", likelihood="gaussian"), HVAE(4, (3, 3, 2), (3,)),
              HVAE(4, (3, 2), (3,), activation="leaky_relu", consistency="printed",
                   likelihood=Gaussian(4, logvar=0.5))]
    return all(check_model(generic(model), x, directions=1).ok for model in models)


def kl_by_sampling():
    """The KL of every level against the mean of log q - log p, by the model's own sampler and densities."""
    rng = np.random.default_rng(0)
    for kind, dims, options in ((VAE, 3, {}), (HVAE, (3, 2), {}), (HVAE, (3, 2), {"consistency": "printed"})):
        model = generic(kind(4, dims, (3,), dtype=float, **options))
        x, T, networks = np.tile([0.0, 1, 1, 0], (6000, 1)), len(model.latent_dims), model.networks
        noise = model.draw_noise(len(x), rng)
        kl = model.forward(x, noise)[0].kl
        z, q = [x], []
        for t, eps in enumerate(noise if kind is HVAE else [noise], start=1):
            q.append(gaussian.halves(networks[f"q{t}"].forward(z[-1])[0]))
            z.append(gaussian.sample(*q[-1], eps)[0])
        p = [gaussian.halves(networks[f"p{t}"].forward(z[t])[0]) for t in range(2, T + 1)]
        p.append((np.zeros_like(z[T]), np.zeros_like(z[T])))
        if options:                                    # the printed form does not mean the z_t that z_{t+1} came from
            z[1:] = [gaussian.sample(mu, logvar, rng.normal(size=mu.shape))[0] for mu, logvar in q]
        sampled = [gaussian.log_prob(z_t, *q_t)[0] - gaussian.log_prob(z_t, *p_t)[0]
                   for z_t, q_t, p_t in zip(z[1:], q, p)]
        if not is_zero(kl - np.stack(sampled, axis=1)):
            return False
    return True


def exact_posterior():
    """Where q is p(z | x), as it can be for linear Gaussians, the bound and its estimates are log p(x)."""
    vae = generic(VAE(5, 3, (), likelihood=Gaussian(5, logvar=-0.7), dtype=float))
    for model in (vae, exact.linear_hvae(5, (3, 3, 2), rng=1)):
        exact.turn(model)                              # into the axes in which the posterior is diagonal
        exact.set_q(model, exact.posterior(model))
        x = np.random.default_rng(0).normal(size=(2, 5))
        log_p = exact.log_likelihood(model, x)
        rows = np.tile(x[:1], (4000, 1))
        bound = model.forward(rows, model.draw_noise(len(rows), np.random.default_rng(0)))[0]
        if not (np.allclose(model.log_likelihood(x, 7), log_p, rtol=0, atol=1e-9) and is_zero(bound.total - log_p[0])):
            return False
    return True


def densities():
    """Densities and entropy against SciPy's, for ordinary numbers and for extreme ones."""
    rng = np.random.default_rng(0)
    z, mu, logvar = rng.normal(size=(3, 4, 2))
    sigma = np.exp(logvar / 2)
    x, l = rng.integers(0, 2, (6, 3)).astype(float), np.outer([-1000, -30, -1, 2, 30, 1000], [1, 0.5, -1])
    return all(np.allclose(ours, by_scipy, rtol=1e-12) for ours, by_scipy in [
        (gaussian.log_prob(z, mu, logvar)[0], stats.norm.logpdf(z, mu, sigma).sum(axis=1)),
        (gaussian.entropy(logvar)[0], stats.norm.entropy(mu, sigma).sum(axis=1)),
        (Gaussian(2, logvar=0.7).log_prob(z, mu)[0], stats.norm.logpdf(z, mu, np.exp(0.35)).sum(axis=1)),
        (Bernoulli(3).log_prob(x, l)[0], (x * special.log_expit(l) + (1 - x) * special.log_expit(-l)).sum(axis=1))])


def steps_by_hand():
    """The optimisers against their papers' algorithms, written out for one number."""
    a, b, epsilon, v_sgd, m, v = 0.8, 0.95, 0.01, 0.0, 0.0, 0.0
    sgd, adam, theta, by_hand = SGD(0.1, a), Adam(0.1, a, b, epsilon), np.ones((2, 1)), np.ones((2, 1))
    for t in range(1, 30):
        g = np.sin(t)
        sgd.step(theta[0], np.array([g]))
        adam.step(theta[1], np.array([g]))
        v_sgd = a * v_sgd + g
        m, v = a * m + (1 - a) * g, b * v + (1 - b) * g * g
        by_hand[0] -= 0.1 * v_sgd
        by_hand[1] -= 0.1 * (m / (1 - a ** t)) / (np.sqrt(v / (1 - b ** t)) + epsilon)
    return np.allclose(theta, by_hand, rtol=1e-10)


def one_level():
    """The hierarchy with one level against the VAE: bound, gradient and importance weights."""
    x = np.random.default_rng(0).integers(0, 2, (3, 4)).astype(float)
    vae, hvae = generic(VAE(4, 2, (3,), dtype=float)), generic(HVAE(4, (2,), (3,), dtype=float))
    noise, found = vae.draw_noise(len(x), np.random.default_rng(0)), []
    for model, eps in ((vae, noise), (hvae, [noise])):
        bound, cache = model.forward(x, eps)
        model.backward(bound.loss_backward(), cache)
        log_weight = model.log_weight(x, 5, np.random.default_rng(0))
        found.append(np.concatenate([bound.total, model.gradient, log_weight.ravel()]))
    return np.allclose(*found, rtol=1e-12, atol=1e-12)


def quadrature():
    """The importance-weighted log p(x) against an integral over z, for every image of three pixels."""
    vae = generic(VAE(3, 1, (4,), dtype=float))
    vae.q.output.W[:], vae.q.output.b[:] = 0, (0, 0.5)  # q sees nothing, and is wide: the ELBO is far from log p(x),
    vae.p.output.W *= 3                                # while no weight is large, and 2000 samples are enough
    z, weight = np.polynomial.hermite_e.hermegauss(100)
    x = np.array(list(product([0.0, 1.0], repeat=3)))
    p_x_z = stats.bernoulli.pmf(x[:, None], vae.decode(z[:, None])).prod(axis=2)
    log_p = np.log(p_x_z @ weight / weight.sum())
    return np.allclose(vae.log_likelihood(x, 2000), log_p, rtol=0, atol=0.03)


def new_data():
    """What a linear VAE draws has the mean and the covariance of p(x); what a new one draws, the mean it was given."""
    x_mean = np.array([0.1, 0.3, 0.9])
    new = VAE(3, 2, (), x_mean=x_mean, dtype=float)
    linear = generic(VAE(3, 2, (), likelihood=Gaussian(3, logvar=-0.7), dtype=float))
    mean, cov = exact.marginals(linear)[0]
    x = linear.sample(6000, rng=0, draw=True) - mean
    new.p.output.W[:] = 0                              # the bias alone
    return is_zero(x) and is_zero(np.einsum("ni,nj->nij", x, x).reshape(len(x), -1) - cov.ravel()) and np.allclose(
        new.sample(2, rng=0), x_mean)


def first_weights():
    """The variance of the first weights against Glorot's and He's."""
    rng = np.random.default_rng(0)
    return all(np.isclose(draw(300, 100, rng).var(), variance, rtol=0.05)
               for draw, variance in ((layers.glorot, 2 / 400), (layers.he, 2 / 300)))


def data():
    """Every digit once, to train on or held out; ink from 0 to 1; black-and-white digits true to the grey ones."""
    x_train, _, x_test, *_ = digits()
    x = np.concatenate([x_train, x_test])
    return (len(np.unique(x, axis=0)) == len(x) == 1797 and x.min() == 0 and x.max() == 1
            and is_zero((binarize(x, "sample") - x).mean(axis=1, keepdims=True)))


def it_trains():
    """What is usually looked at: after some epochs on digits, the bound is higher than it was."""
    x = digits().x_train[:200]
    runs = [(VAE(64, 2, (16,)), Adam(0.005)), (HVAE(64, (4, 2), (16,)), Adam(0.005)),
            (VAE(64, 2, (16,)), SGD(0.01, 0.5))]
    curves = [fit(model, x, epochs=5, batch_size=50, optimizer=optimizer, x_valid=x)["valid_elbo"]
              for model, optimizer in runs]            # x_valid: with the same noise after every epoch
    return all(curve[-1] > curve[0] for curve in curves)


CHECKS = {"gradient": gradient, "KL by\nsampling": kl_by_sampling, "exact\nposterior": exact_posterior,
          "densities": densities, "steps\nby hand": steps_by_hand, "T = 1\nis VAE": one_level, "quadrature": quadrature,
          "new\ndata": new_data, "first\nweights": first_weights, "data": data, "it\ntrains": it_trains}


def catch(bug):
    """Run every check against a bug; return for each whether it caught it."""
    with broken(bug), np.errstate(all="ignore"):
        return [not check() for check in CHECKS.values()]
