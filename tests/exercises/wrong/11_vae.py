"""Wrong solutions of exercise 11; after the colon, what the grader must say."""
import numpy as np
from scratchvae import gaussian, vae
from scratchvae.objective import ELBO


class Base(vae.VAE):
    def bound(self, x, noise):
        q, q_cache = self.q.forward(x)
        z, s = gaussian.draw(q, noise)
        o, p = self.p.forward(z)
        r, l = self.likelihood.log_prob(x, o)
        k, c = self.compare.forward(z, q, 0 * q)
        return ELBO(r, k, np.zeros((len(x), 0))), (q_cache, s, p, l, c)

# %% the KL forgotten: the KL's part of q is missing.
class VAE(vae.VAE):
    def bound(self, x, noise):
        return Base.bound(self, x, noise)

    def backward(self, delbo, cache, input_gradient=False):
        q, s, p, l, c = cache
        dx, do = self.likelihood.log_prob_backward(delbo.dreconstruction, l)
        return self.q.backward(gaussian.draw_backward(self.p.backward(do, p), s), q) + dx

# %% a mean of a mean: a mean over the examples, twice. delbo has the 1/n of the loss already
class VAE(vae.VAE):
    def bound(self, x, noise):
        return Base.bound(self, x, noise)

    def backward(self, delbo, cache, input_gradient=False):
        q, s, p, l, c = cache
        dx, do = self.likelihood.log_prob_backward(delbo.dreconstruction / len(s), l)
        first = gaussian.draw_backward(self.p.backward(do, p), s)
        _, second, _ = self.compare.backward(delbo.dprior_matching / len(s), c)
        return self.q.backward(first + second, q) + dx

# %% the loss of its own: delbo is ignored. Each row of each part has a number in delbo
class VAE(vae.VAE):
    def bound(self, x, noise):
        return Base.bound(self, x, noise)

    def backward(self, delbo, cache, input_gradient=False):
        q, s, p, l, c = cache
        dx, do = self.likelihood.log_prob_backward(np.full(len(s), -1 / len(s)), l)
        first = gaussian.draw_backward(self.p.backward(do, p), s)
        _, second, _ = self.compare.backward(np.full(len(s), 1 / len(s)), c)
        return self.q.backward(first + second, q) + dx

# %% minus the KL: the wrong sign of the KL.
class VAE(vae.VAE):
    def bound(self, x, noise):
        return Base.bound(self, x, noise)

    def backward(self, delbo, cache, input_gradient=False):
        q, s, p, l, c = cache
        dx, do = self.likelihood.log_prob_backward(delbo.dreconstruction, l)
        first = gaussian.draw_backward(self.p.backward(do, p), s)
        _, second, _ = self.compare.backward(delbo.dprior_matching, c)
        return self.q.backward(first - second, q) + dx

# %% one use of x: dx[0, 0] is a sum of 2 terms
class VAE(vae.VAE):
    def bound(self, x, noise):
        return Base.bound(self, x, noise)

    def backward(self, delbo, cache, input_gradient=False):
        q, s, p, l, c = cache
        dx, do = self.likelihood.log_prob_backward(delbo.dreconstruction, l)
        first = gaussian.draw_backward(self.p.backward(do, p), s)
        _, second, _ = self.compare.backward(delbo.dprior_matching, c)
        return self.q.backward(first + second, q)

# %% numbers for the bound: should return ELBO(reconstruction, kl, np.zeros((n, 0)))
class VAE(vae.VAE):
    def bound(self, x, noise):
        elbo, cache = Base.bound(self, x, noise)
        return elbo.total, cache

    def backward(self, delbo, cache, input_gradient=False):
        return 0

# %% the mean for a draw: z is the mean.
class VAE(vae.VAE):
    def bound(self, x, noise):
        return Base.bound(self, x, 0 * noise)

    def backward(self, delbo, cache, input_gradient=False):
        return None

# %% the halves exchanged: mu and logvar are exchanged.
class VAE(vae.VAE):
    def bound(self, x, noise):
        q, q_cache = self.q.forward(x)
        logvar, mu = gaussian.halves(q)
        z, s = gaussian.draw(np.hstack([mu, logvar]), noise)
        o, p = self.p.forward(z)
        r, l = self.likelihood.log_prob(x, o)
        k, c = self.compare.forward(z, q, 0 * q)
        return ELBO(r, k, np.zeros((len(x), 0))), (q_cache, s, p, l, c)

    def backward(self, delbo, cache, input_gradient=False):
        return None
