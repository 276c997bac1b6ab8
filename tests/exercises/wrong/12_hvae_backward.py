"""Wrong solutions of exercise 12; after the colon, what the grader must say."""
import numpy as np
from scratchvae import gaussian, hvae
from scratchvae.gaussian import entropy_backward, halves_backward, kl_standard_backward, log_prob_backward, sample_backward


def back(self, cache, beta, alpha, uses=(1, 2, 3), entropy=1):
    n, T, w = cache["n"], self.T, self.check_beta(beta)
    dz = {t: 0.0 for t in range(T + 1)}
    dmu, dlogvar = {t: 0.0 for t in range(T + 1)}, {t: 0.0 for t in range(T + 1)}
    for t in range(1, T):
        g = np.full(n, w[t - 1] / n)
        dlogvar[t] = -entropy * entropy_backward(g, cache["H", t])
        at_z, dmu_p, dlogvar_p = log_prob_backward(-g, cache["C", t])
        dz[t] = dz[t] + at_z * (3 in uses)
        dz[t + 1] = dz[t + 1] + self.p[t + 1].backward(halves_backward(dmu_p, dlogvar_p), cache["p", t + 1]) * (2 in uses)
    dmu[T], dlogvar[T] = kl_standard_backward(np.full(n, w[-1] / n), cache["P"])
    dx, dh = self.likelihood.log_prob_backward(np.full(n, -alpha / n), cache["R"])
    dz[1] = dz[1] + self.p[1].backward(dh, cache["p", 1])
    for t in range(T, 0, -1):
        a, b = sample_backward(dz[t], cache["z", t])
        into = self.q[t].backward(halves_backward(a + dmu[t], b + dlogvar[t]), cache["q", t])
        dz[t - 1] = dz[t - 1] + into * (1 in uses or t == 1)
    return dz[0] + dx

# %% use 3 forgotten: z_t detached as the point.
class HVAE(hvae.HVAE):
    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False):
        return back(self, cache, beta, alpha, uses=(1, 2))

# %% use 2 of the upper levels forgotten: z_{t+1} detached as the condition.
class HVAE(hvae.HVAE):
    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False):
        return back(self, cache, beta, alpha, uses=(1, 3))

# %% use 1 forgotten: use 1 of z_t is forgotten.
class HVAE(hvae.HVAE):
    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False):
        return back(self, cache, beta, alpha, uses=(2, 3))

# %% the entropy forgotten: one term is missing: the entropy
class HVAE(hvae.HVAE):
    def backward(self, cache, beta=1.0, alpha=1.0, input_gradient=False):
        return back(self, cache, beta, alpha, entropy=0)
