"""Right solutions of exercise 12, each written in another way."""
import numpy as np
from scratchvae import gaussian, hvae
from scratchvae.gaussian import (entropy_backward, halves_backward, kl_backward, kl_standard_backward, log_prob_backward,
                                 sample_backward)

# %% dz accumulated in one dictionary
class HVAE(hvae.HVAE):
    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False):
        n, T, w = cache["n"], self.T, self.check_beta(beta)
        dz = {t: 0.0 for t in range(T + 1)}
        dmu, dlogvar = {t: 0.0 for t in range(T + 1)}, {t: 0.0 for t in range(T + 1)}
        for t in range(1, T):
            g = np.full(n, w[t - 1] / n)
            if self.consistency == "exact":
                dlogvar[t] = -entropy_backward(g, cache["H", t])
                at_z, dmu_p, dlogvar_p = log_prob_backward(-g, cache["C", t])
                dz[t] = dz[t] + at_z
            else:
                dmu[t], dlogvar[t], dmu_p, dlogvar_p = kl_backward(g, cache["C", t])
            dz[t + 1] = dz[t + 1] + self.p[t + 1].backward(halves_backward(dmu_p, dlogvar_p), cache["p", t + 1])
        dmu[T], dlogvar[T] = kl_standard_backward(np.full(n, w[-1] / n), cache["P"])
        dx, dh = self.likelihood.log_prob_backward(np.full(n, -alpha / n), cache["R"])
        dz[1] = dz[1] + self.p[1].backward(dh, cache["p", 1])
        for t in range(T, 0, -1):
            a, b = sample_backward(dz[t], cache["z", t])
            dz[t - 1] = dz[t - 1] + self.q[t].backward(halves_backward(a + dmu[t], b + dlogvar[t]), cache["q", t])
        return dz[0] + dx

# %% one loop from the top down
class HVAE(hvae.HVAE):
    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False):
        n = cache["n"]
        w = self.check_beta(beta) / n
        up, t = 0.0, self.T
        while t >= 1:
            dz, dmu, dlogvar = up, 0.0, 0.0
            if t == self.T:
                dmu, dlogvar = kl_standard_backward(np.full(n, w[t - 1]), cache["P"])
            elif self.consistency == "exact":
                dlogvar = entropy_backward(np.full(n, -w[t - 1]), cache["H", t])
                dz = dz + log_prob_backward(np.full(n, -w[t - 1]), cache["C", t])[0]
            else:
                dmu, dlogvar, _, _ = kl_backward(np.full(n, w[t - 1]), cache["C", t])
            if t == 1:
                dx, dh = self.likelihood.log_prob_backward(np.full(n, -alpha / n), cache["R"])
            elif self.consistency == "exact":
                dh = halves_backward(*log_prob_backward(np.full(n, -w[t - 2]), cache["C", t - 1])[1:])
            else:
                dh = halves_backward(*kl_backward(np.full(n, w[t - 2]), cache["C", t - 1])[2:])
            dz = dz + self.p[t].backward(dh, cache["p", t])
            a, b = sample_backward(dz, cache["z", t])
            up = self.q[t].backward(halves_backward(dmu + a, dlogvar + b), cache["q", t])
            t -= 1
        return up + dx

# %% lists by level, and dx only if it is wanted
class HVAE(hvae.HVAE):
    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False):
        n, T = cache["n"], self.T
        dkl = np.outer(self.check_beta(beta), np.ones(n)) / n
        own, down, point = [None] * (T + 1), [None] * (T + 1), [0] * (T + 1)
        for t in range(T - 1, 0, -1):
            if self.consistency == "printed":
                a, b, c, d = gaussian.kl_backward(dkl[t - 1], cache["C", t])
                own[t], p_side = (a, b), (c, d)
            else:
                own[t] = (0, gaussian.entropy_backward(-dkl[t - 1], cache["H", t]))
                point[t], *p_side = gaussian.log_prob_backward(-dkl[t - 1], cache["C", t])
            down[t + 1] = self.p[t + 1].backward(np.hstack(p_side), cache["p", t + 1])
        own[T] = gaussian.kl_standard_backward(dkl[-1], cache["P"])
        dx, dh = self.likelihood.log_prob_backward(-alpha * np.ones(n) / n, cache["R"])
        down[1] = self.p[1].backward(dh, cache["p", 1])
        from_above = 0
        for t in range(T, 0, -1):
            z_part = gaussian.sample_backward(from_above + down[t] + point[t], cache["z", t])
            dh = np.hstack([a + b for a, b in zip(own[t], z_part)])
            from_above = self.q[t].backward(dh, cache["q", t])
        return from_above + dx if input_gradient else None

# %% the derivative of the entropy by hand: 1/2 in each column
class HVAE(hvae.HVAE):
    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False):
        n, T = cache["n"], self.T
        betas = self.check_beta(beta)
        dz = [np.zeros((n, d)) for d in self.d]
        dmu_q = [np.zeros((n, d)) for d in self.d]
        dlogvar_q = [np.zeros((n, d)) for d in self.d]
        for t in range(1, T):
            if self.consistency == "exact":
                dlogvar_q[t] -= betas[t - 1] / n / 2
                diff, u = cache["C", t]
                g = betas[t - 1] / n
                dz[t] += g * u
                dh = np.concatenate([-g * u, g * (1 - diff * u) / 2], axis=1)
            else:
                dmu_q[t], dlogvar_q[t], dmu_p, dlogvar_p = gaussian.kl_backward(np.full(n, betas[t - 1] / n), cache["C", t])
                dh = np.concatenate([dmu_p, dlogvar_p], axis=1)
            dz[t + 1] += self.p[t + 1].backward(dh, cache["p", t + 1])
        dmu_q[T], dlogvar_q[T] = gaussian.kl_standard_backward(np.full(n, betas[T - 1] / n), cache["P"])
        dx, dh = self.likelihood.log_prob_backward(np.full(n, -alpha / n), cache["R"])
        dz[0] += dx
        dz[1] += self.p[1].backward(dh, cache["p", 1])
        for t in reversed(range(1, T + 1)):
            offset = cache["z", t]
            dh = np.concatenate([dz[t] + dmu_q[t], dz[t] * offset / 2 + dlogvar_q[t]], axis=1)
            dz[t - 1] += self.q[t].backward(dh, cache["q", t])
        return dz[0]

# %% with functions inside, the weights multiplied in late
class HVAE(hvae.HVAE):
    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False):
        n, T, one = cache["n"], self.T, np.ones(cache["n"])
        weight = self.check_beta(beta) / n

        def third(t):
            """Return what (C) says to mu and logvar of q_t, to z_t, and to the output of p_{t+1}."""
            if self.consistency == "exact":
                dz, dmu, dlogvar = log_prob_backward(-one, cache["C", t])
                parts = 0 * dz, -entropy_backward(one, cache["H", t]), dz, halves_backward(dmu, dlogvar)
            else:
                a, b, c, d = kl_backward(one, cache["C", t])
                parts = a, b, 0 * a, halves_backward(c, d)
            return [weight[t - 1] * part for part in parts]

        thirds = {t: third(t) for t in range(1, T)}
        dx, dh = self.likelihood.log_prob_backward(one, cache["R"])
        outputs = {1: -alpha / n * dh, **{t + 1: parts[3] for t, parts in thirds.items()}}
        dz = {t: self.p[t].backward(outputs[t], cache["p", t]) for t in outputs}
        for t in range(T, 0, -1):
            if t < T:
                dmu, dlogvar, at, _ = thirds[t]
                dz[t] = dz[t] + at
            else:
                dmu, dlogvar = (weight[-1] * part for part in kl_standard_backward(one, cache["P"]))
            a, b = sample_backward(dz[t], cache["z", t])
            dz[t - 1] = dz.get(t - 1, 0) + self.q[t].backward(halves_backward(a + dmu, b + dlogvar), cache["q", t])
        return dz[0] - alpha / n * dx
