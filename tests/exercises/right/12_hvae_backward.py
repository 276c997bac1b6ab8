"""Right solutions of exercise 12, each written in another way."""
import numpy as np
from scratchvae import gaussian, hvae
from scratchvae.gaussian import (draw_backward, entropy_backward, halves_backward, kl_backward, kl_standard_backward,
                                 log_prob_backward, sample_backward)

# %% dz accumulated in one dictionary
class HVAE(hvae.HVAE):
    def backward(self, delbo, cache, input_gradient=False):
        T = self.T
        dz = {t: 0.0 for t in range(T + 1)}
        dq = {}
        for t in range(1, T + 1):
            at_z, dq[t], dp = self.compare[t].backward(delbo.dkl[:, t - 1], cache["k", t])
            dz[t] = dz[t] + at_z
            if t < T:
                dz[t + 1] = dz[t + 1] + self.p[t + 1].backward(dp, cache["p", t + 1])
        dx, dh = self.likelihood.log_prob_backward(delbo.dreconstruction, cache["r"])
        dz[1] = dz[1] + self.p[1].backward(dh, cache["p", 1])
        for t in range(T, 0, -1):
            dz[t - 1] = dz[t - 1] + self.q[t].backward(draw_backward(dz[t], cache["z", t]) + dq[t], cache["q", t])
        return dz[0] + dx

# %% one loop from the top down
class HVAE(hvae.HVAE):
    def backward(self, delbo, cache, input_gradient=False):
        thirds = {t: self.compare[t].backward(delbo.dkl[:, t - 1], cache["k", t]) for t in self.levels}
        dx, dp = self.likelihood.log_prob_backward(delbo.dreconstruction, cache["r"])
        up, t = 0.0, self.T
        while t >= 1:
            at_z, dq, _ = thirds[t]
            output = dp if t == 1 else thirds[t - 1][2]
            dz = up + at_z + self.p[t].backward(output, cache["p", t])
            up = self.q[t].backward(gaussian.draw_backward(dz, cache["z", t]) + dq, cache["q", t])
            t -= 1
        return up + dx

# %% lists by level, and dx only if it is wanted
class HVAE(hvae.HVAE):
    def backward(self, delbo, cache, input_gradient=False):
        T = self.T
        dkl = np.column_stack([delbo.dconsistency, delbo.dprior_matching]).T
        own, down, point = [None] * (T + 1), [None] * (T + 1), [0] * (T + 1)
        for t in range(T, 0, -1):
            point[t], own[t], p_side = self.compare[t].backward(dkl[t - 1], cache["k", t])
            if t < T:
                down[t + 1] = self.p[t + 1].backward(p_side, cache["p", t + 1])
        dx, dh = self.likelihood.log_prob_backward(delbo.dreconstruction, cache["r"])
        down[1] = self.p[1].backward(dh, cache["p", 1])
        from_above = 0
        for t in range(T, 0, -1):
            dmu, dlogvar = gaussian.sample_backward(from_above + down[t] + point[t], cache["z", t])
            from_above = self.q[t].backward(own[t] + np.hstack([dmu, dlogvar]), cache["q", t])
        return from_above + dx if input_gradient else None

# %% the comparisons by hand: the derivative of the entropy is 1/2 in each column
class HVAE(hvae.HVAE):
    def backward(self, delbo, cache, input_gradient=False):
        n, T = len(delbo.dreconstruction), self.T
        dz = [np.zeros((n, d)) for d in self.d]
        dmu_q = [np.zeros((n, d)) for d in self.d]
        dlogvar_q = [np.zeros((n, d)) for d in self.d]
        for t in range(1, T):
            g = delbo.dconsistency[:, [t - 1]]
            if self.consistency == "exact":
                _, (diff, u) = cache["k", t]
                dlogvar_q[t] -= g / 2
                dz[t] += g * u
                dh = np.concatenate([-g * u, g * (1 - diff * u) / 2], axis=1)
            else:
                dmu_q[t], dlogvar_q[t], dmu_p, dlogvar_p = gaussian.kl_backward(g[:, 0], cache["k", t])
                dh = np.concatenate([dmu_p, dlogvar_p], axis=1)
            dz[t + 1] += self.p[t + 1].backward(dh, cache["p", t + 1])
        dmu_q[T], dlogvar_q[T] = gaussian.kl_standard_backward(delbo.dprior_matching, cache["k", T])
        dx, dh = self.likelihood.log_prob_backward(delbo.dreconstruction, cache["r"])
        dz[0] += dx
        dz[1] += self.p[1].backward(dh, cache["p", 1])
        for t in reversed(range(1, T + 1)):
            offset = cache["z", t]
            dh = np.concatenate([dz[t] + dmu_q[t], dz[t] * offset / 2 + dlogvar_q[t]], axis=1)
            dz[t - 1] += self.q[t].backward(dh, cache["q", t])
        return dz[0]

# %% with functions inside, the weights multiplied in late
class HVAE(hvae.HVAE):
    def backward(self, delbo, cache, input_gradient=False):
        T, one = self.T, np.ones_like(delbo.dreconstruction)

        def third(t):
            """Return what the comparison says to mu and logvar of q_t, to z_t, and to the output of p_{t+1}."""
            if t == T:
                a, b = kl_standard_backward(one, cache["k", t])
                parts = a, b, 0 * a, np.hstack([a, b])
            elif self.consistency == "exact":
                of_q, of_p = cache["k", t]
                dz, dmu, dlogvar = log_prob_backward(-one, of_p)
                parts = 0 * dz, -entropy_backward(one, of_q), dz, halves_backward(dmu, dlogvar)
            else:
                a, b, c, d = kl_backward(one, cache["k", t])
                parts = a, b, 0 * a, halves_backward(c, d)
            return [delbo.dkl[:, [t - 1]] * part for part in parts]

        thirds = {t: third(t) for t in range(1, T + 1)}
        dx, dh = self.likelihood.log_prob_backward(one, cache["r"])
        weight = delbo.dreconstruction[:, None]
        outputs = {1: weight * dh, **{t + 1: parts[3] for t, parts in thirds.items()}}
        dz = {t: self.p[t].backward(outputs[t], cache["p", t]) for t in thirds}
        for t in range(T, 0, -1):
            dmu, dlogvar, at, _ = thirds[t]
            a, b = sample_backward(dz[t] + at, cache["z", t])
            dz[t - 1] = dz.get(t - 1, 0) + self.q[t].backward(halves_backward(a + dmu, b + dlogvar), cache["q", t])
        return dz[0] + weight * dx
