"""Right solutions of exercise 11, each written in another way."""
import numpy as np
from scratchvae import gaussian, vae
from scratchvae.objective import ELBO

# %% the derivative by the loss's parts multiplied in at the end
class VAE(vae.VAE):
    def bound(self, x, noise):
        h, c1 = self.q.forward(x)
        mu, logvar = gaussian.halves(h)
        z, c2 = gaussian.sample(mu, logvar, noise)
        y, c3 = self.p.forward(z)
        r, c4 = self.likelihood.log_prob(x, y)
        k, c5 = gaussian.kl_standard(mu, logvar)
        return ELBO(r, k, np.zeros((len(x), 0))), [c1, c2, c3, c4, c5, len(x)]

    def backward(self, delbo, cache, input_gradient=False):
        c1, c2, c3, c4, c5, n = cache
        dr, dk = delbo.dreconstruction[:, None], delbo.dprior_matching[:, None]
        dx, dy = self.likelihood.log_prob_backward(np.ones(n), c4)
        dmu, dlogvar = gaussian.sample_backward(self.p.backward(dr * dy, c3), c2)
        dmu_k, dlogvar_k = gaussian.kl_standard_backward(np.ones(n), c5)
        dh = np.hstack([dmu + dk * dmu_k, dlogvar + dk * dlogvar_k])
        return self.q.backward(dh, c1) + dr * dx

# %% the Gaussian parts by hand
class VAE(vae.VAE):
    def bound(self, x, noise):
        h, q_cache = self.q.forward(x)
        d = noise.shape[1]
        mu, logvar = h[:, :d], h[:, d:]
        std = np.exp(logvar / 2)
        h_p, p_cache = self.p.forward(mu + std * noise)
        log_p, r_cache = self.likelihood.log_prob(x, h_p)
        kl = 0.5 * (std ** 2 - 1 - logvar + mu ** 2).sum(axis=1)
        return ELBO(log_p, kl, np.zeros((len(x), 0))), dict(q=q_cache, p=p_cache, r=r_cache, mu=mu, std=std, eps=noise)

    def backward(self, delbo, cache, input_gradient=False):
        mu, std, eps = cache["mu"], cache["std"], cache["eps"]
        dkl = delbo.dprior_matching.reshape(-1, 1)
        dx, dh_p = self.likelihood.log_prob_backward(delbo.dreconstruction, cache["r"])
        dz = self.p.backward(dh_p, cache["p"])
        dmu = dz + dkl * mu
        dlogvar = dz * std * eps / 2 + dkl * (std ** 2 - 1) / 2
        return dx + self.q.backward(np.concatenate([dmu, dlogvar], axis=1), cache["q"])

# %% an array written half by half; dx only if it is wanted
class VAE(vae.VAE):
    def bound(self, x, noise):
        out = {}
        out["h"], out["q"] = self.q.forward(x)
        halves = gaussian.halves(out["h"])
        z, out["z"] = gaussian.sample(*halves, noise)
        logits, out["p"] = self.p.forward(z)
        rec, out["rec"] = self.likelihood.log_prob(x, logits)
        kl, out["kl"] = gaussian.kl_standard(*halves)
        return ELBO(reconstruction=rec, prior_matching=kl, consistency=np.empty((len(x), 0))), out

    def backward(self, delbo, cache, input_gradient=False):
        dh = np.zeros_like(cache["h"])
        d = dh.shape[1] // 2
        dx, dlogits = self.likelihood.log_prob_backward(delbo.dreconstruction, cache["rec"])
        for dmu, dlogvar in (gaussian.sample_backward(self.p.backward(dlogits, cache["p"]), cache["z"]),
                             gaussian.kl_standard_backward(delbo.dprior_matching, cache["kl"])):
            dh[:, :d] += dmu
            dh[:, d:] += dlogvar
        if not input_gradient:
            self.q.backward(dh, cache["q"], input_gradient=False)
            return None
        return self.q.backward(dh, cache["q"]) + dx

# %% kl between two Gaussians, one of them standard
class VAE(vae.VAE):
    def bound(self, x, noise):
        h, q = self.q.forward(x)
        mu, logvar = gaussian.halves(h)
        z, s = gaussian.sample(mu, logvar, noise)
        o, p = self.p.forward(z)
        r, l = self.likelihood.log_prob(x, o)
        k, c = gaussian.kl(mu, logvar, np.zeros_like(mu), np.zeros_like(mu))
        return ELBO(r, k, np.zeros((len(x), 0))), (q, s, p, l, c)

    def backward(self, delbo, cache, input_gradient=False):
        q, s, p, l, c = cache
        dx, do = self.likelihood.log_prob_backward(delbo.dreconstruction, l)
        first = gaussian.sample_backward(self.p.backward(do, p), s)
        second = gaussian.kl_backward(delbo.dkl[:, -1], c)[:2]
        dh = gaussian.halves_backward(*(a + b for a, b in zip(first, second)))
        dx += self.q.backward(dh, q)
        return dx

# %% the two parts backward one after the other, their gradients added
class VAE(vae.VAE):
    def bound(self, x, noise):
        q, q_cache = self.q.forward(x)
        z, s = gaussian.draw(q, noise)
        o, p = self.p.forward(z)
        r, l = self.likelihood.log_prob(x, o)
        k, c = self.compare.forward(None, q, None)
        return [ELBO(r, k, np.zeros((len(x), 0))), (q_cache, s, p, l, c)]

    def backward(self, delbo, cache, input_gradient=False):
        q, s, p, l, c = cache
        dx, do = self.likelihood.log_prob_backward(delbo.dreconstruction, l)
        dx = dx + self.q.backward(gaussian.draw_backward(self.p.backward(do, p), s), q)
        by_reconstruction = {k: v.copy() for k, v in self.gradients.items() if k.startswith("q1")}
        dx = dx + self.q.backward(self.compare.backward(delbo.dprior_matching, c)[1], q)
        for name, value in by_reconstruction.items():
            self.gradients[name] += value
        return dx
