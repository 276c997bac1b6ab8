"""Wrong solutions of exercise 12; after the colon, what the grader must say."""
import numpy as np
from scratchvae import gaussian, hvae
from scratchvae.gaussian import draw_backward


def back(self, delbo, cache, uses=(1, 2, 3), entropy=1):
    T, dz, dq = self.T, {t: 0.0 for t in range(self.T + 1)}, {}
    for t in range(1, T + 1):
        at_z, dq[t], dp = self.compare[t].backward(delbo.dkl[:, t - 1], cache["k", t])
        dz[t] = dz[t] + at_z * (3 in uses)
        if t < T:
            dq[t] = dq[t] * entropy
            dz[t + 1] = dz[t + 1] + self.p[t + 1].backward(dp, cache["p", t + 1]) * (2 in uses)
    dx, dh = self.likelihood.log_prob_backward(delbo.dreconstruction, cache["r"])
    dz[1] = dz[1] + self.p[1].backward(dh, cache["p", 1])
    for t in range(T, 0, -1):
        into = self.q[t].backward(draw_backward(dz[t], cache["z", t]) + dq[t], cache["q", t])
        dz[t - 1] = dz[t - 1] + into * (1 in uses or t == 1)
    return dz[0] + dx

# %% use 3 forgotten: z_t detached as the point.
class HVAE(hvae.HVAE):
    def backward(self, delbo, cache, input_gradient=False):
        return back(self, delbo, cache, uses=(1, 2))

# %% use 2 of the upper levels forgotten: z_{t+1} detached as the condition.
class HVAE(hvae.HVAE):
    def backward(self, delbo, cache, input_gradient=False):
        return back(self, delbo, cache, uses=(1, 3))

# %% use 1 forgotten: use 1 of z_t is forgotten.
class HVAE(hvae.HVAE):
    def backward(self, delbo, cache, input_gradient=False):
        return back(self, delbo, cache, uses=(2, 3))

# %% the entropy forgotten: one term is missing: the entropy
class HVAE(hvae.HVAE):
    def backward(self, delbo, cache, input_gradient=False):
        return back(self, delbo, cache, entropy=0)
