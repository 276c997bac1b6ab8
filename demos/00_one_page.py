"""All of it on one page: a hierarchical VAE, and every derivative by hand.  It needs NumPy and digits.npz.

    q(z_1, ..., z_T | x) = q(z_1 | x) q(z_2 | z_1) ... q(z_T | z_{T-1})        up
    p(x, z_1, ..., z_T)  = p(z_T) p(z_{T-1} | z_T) ... p(x | z_1)              down, p(z_T) = N(0, I)

    log p(x) >= E_q[ R - P - C_1 - ... - C_{T-1} ]                             the ELBO
    R   = log p(x | z_1)                                                       reconstruction
    P   = KL( q(z_T | z_{T-1}) || p(z_T) )                                     prior matching
    C_t = log q(z_t | z_{t-1}) - log p(z_t | z_{t+1})                          consistency

Each factor comes from a network that sees the condition.  For x it gives logits, otherwise [ mu | logvar ] of a
Gaussian.  x is z[0].  Rows are examples, and dv is d(loss)/dv.  Numbers such as (7.4) are equations of
scratchvae/MATH.md.  Run it, read it from top to bottom, and change it: other LATENTS, one level or six.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # for small products a second thread is only in the way

import numpy as np

LATENTS, HIDDEN, EPOCHS, BATCH, SEED = (16, 8, 4), 128, 1000, 64, 0
LOG_2PI = float(np.log(2 * np.pi))


# A network: x -> tanh(x W1 + b1) W2 + b2

def network(n_in, n_out, n_logvar, rng):
    """Return first parameters: W uniform, after Glorot (1.7), b = 0; the last n_logvar outputs are 0 (3.1)."""
    W1, W2 = (rng.uniform(-1, 1, shape) * np.sqrt(6 / sum(shape)) for shape in ((n_in, HIDDEN), (HIDDEN, n_out)))
    W2[:, n_out - n_logvar:] = 0
    return [v.astype(np.float32) for v in (W1, np.zeros(HIDDEN), W2, np.zeros(n_out))]


def forward(net, x):
    """Return y, and what backward needs of this pass."""
    W1, b1, W2, b2 = net
    h = np.tanh(x @ W1 + b1)                                               # (n, HIDDEN)   (1.2), (1.3)
    return h @ W2 + b2, (x, h)                                             # (n, n_out)    (1.2)


def backward(net, dy, cache):
    """Return dx, and the gradients of W1, b1, W2, b2."""
    (W1, _, W2, _), (x, h) = net, cache
    da = dy @ W2.T * (1 - h * h)                                           # (n, HIDDEN)   (1.3), a = x W1 + b1
    return da @ W1.T, [x.T @ da, da.sum(axis=0), h.T @ dy, dy.sum(axis=0)]                # (1.2)


# A Gaussian: h = [ mu | logvar ], of shape (n, 2 d)

def draw(h, eps):
    """Return z ~ N(mu, exp(logvar)), eps being noise from N(0, I).  (3.2)"""
    mu, logvar = np.split(h, 2, axis=1)
    return mu + np.exp(logvar / 2) * eps


def log_prob(z, h):
    """Return log N(z; mu, exp(logvar)) of each row.  (3.3)"""
    mu, logvar = np.split(h, 2, axis=1)
    return -0.5 * (LOG_2PI + logvar + (z - mu) ** 2 * np.exp(-logvar)).sum(axis=1)


def entropy(h):
    """Return the mean of -log N(z; mu, exp(logvar)) over z ~ N(mu, exp(logvar)).  (3.4)"""
    return 0.5 * (LOG_2PI + 1 + np.split(h, 2, axis=1)[1]).sum(axis=1)


# The model

def first_theta(x_mean, rng):
    """Return the parameters of all networks: of q(z_t | z_{t-1}) as "q", t, of p(z_{t-1} | z_t) as "p", t."""
    d = (len(x_mean), *LATENTS)
    theta = {("q", t): network(d[t - 1], 2 * d[t], d[t], rng) for t in range(1, len(d))}
    theta |= {("p", t): network(d[t], 2 * d[t - 1], d[t - 1], rng) for t in range(2, len(d))}
    theta["p", 1] = network(d[1], d[0], 0, rng)
    theta["p", 1][3][:] = np.log(x_mean / (1 - x_mean))                    # logits of the mean   (4.3)
    return theta


def bound(theta, x, eps):
    """Return the parts of the bound for each row, R, P and [C_1, ..., C_{T-1}], and a cache; eps holds T arrays."""
    T, z, q, p, cache = len(eps), {0: x}, {}, {}, {}
    for t in range(1, T + 1):                                              # up
        q[t], cache["q", t] = forward(theta["q", t], z[t - 1])             # (n, 2 d_t): q(z_t | z_{t-1})
        z[t] = draw(q[t], eps[t - 1])                                      # (n, d_t)
        p[t - 1], cache["p", t] = forward(theta["p", t], z[t])             # (n, 2 d_{t-1}): p(z_{t-1} | z_t)
    p[T] = np.zeros_like(q[T])                                             # (n, 2 d_T): p(z_T) = N(0, I)
    R = (x * p[0] - np.logaddexp(0, p[0])).sum(axis=1)                     # (n,): log p(x | z_1)   (4.1)
    mu, logvar = np.split(q[T], 2, axis=1)
    P = 0.5 * (np.exp(logvar) - 1 - logvar + mu ** 2).sum(axis=1)          # (n,): KL of q and p at the top   (3.5)
    C = [-entropy(q[t]) - log_prob(z[t], p[t]) for t in range(1, T)]       # T - 1 times (n,)   (7.3)
    return R, P, C, (z, q, p, cache)


def gradient(theta, kept, beta):
    """Return the gradient of loss = mean of -R + beta (P + C_1 + ...), by network; kept is the cache of bound.  (7.4)

    z_t is used three times: by q(z_{t+1} | z_t), by p(z_{t-1} | z_t), and where p(z_t | z_{t+1}) is taken at z_t.
    dz_q, dz_p, dz_k are what these uses, in this order, give z_t; their sum is d(loss)/dz_t.
    """
    z, q, p, cache = kept
    n, T = len(z[0]), len(q)
    dtheta, dq, dp, dz_q, dz_k = {}, {}, {}, {T: 0}, {T: 0}                # z_T has only the second use
    for t in range(1, T):                                                  # C_t
        mu, logvar = np.split(p[t], 2, axis=1)
        dz_k[t] = beta / n * (z[t] - mu) * np.exp(-logvar)                 # (n, d_t)   (3.3)
        dp[t] = np.hstack([-dz_k[t], (beta / n - (z[t] - mu) * dz_k[t]) / 2])             # (n, 2 d_t)   (3.3)
        dq[t] = np.hstack([0 * mu, 0 * mu - beta / n / 2])                 # (n, 2 d_t)   (3.4)
    mu, logvar = np.split(q[T], 2, axis=1)
    dq[T] = beta / n * np.hstack([mu, (np.exp(logvar) - 1) / 2])           # (n, 2 d_T): P   (3.5)
    dp[0] = ((1 + np.tanh(p[0] / 2)) / 2 - z[0]) / n                       # (n, D): R, sigmoid(logits) - x   (4.1)
    for t in range(T, 0, -1):                                              # down
        dz_p, dtheta["p", t] = backward(theta["p", t], dp[t - 1], cache["p", t])
        dz = dz_q[t] + dz_p + dz_k[t]                                      # (n, d_t): the sum of its uses   (1.1)
        mu = np.split(q[t], 2, axis=1)[0]
        dq[t] += np.hstack([dz, dz * (z[t] - mu) / 2])                     # (n, 2 d_t): by the draw   (3.2)
        dz_q[t - 1], dtheta["q", t] = backward(theta["q", t], dq[t], cache["q", t])
    return dtheta


def noise(n, rng):
    """Return eps_1, ..., eps_T from N(0, I)."""
    return [rng.standard_normal((n, d), dtype=np.float32) for d in LATENTS]


def log_p_x(theta, x, draws, rng):
    """Return log p(x) of each row by importance sampling: the log of the mean of p(x, z)/q(z | x).  (5.5)"""
    log_w = []
    for _ in range(draws):
        R, _, _, (z, q, p, _) = bound(theta, x, noise(len(x), rng))
        log_w.append(R + sum(log_prob(z[t], p[t]) - log_prob(z[t], q[t]) for t in q))
    return np.logaddexp.reduce(log_w, axis=0) - np.log(draws)


def sample(theta, n, rng):
    """Return E[x | z_1] of n new examples: z_T from N(0, I), then down.  (7.1)"""
    *eps, z = noise(n, rng)
    for t in range(len(LATENTS), 1, -1):
        z = draw(forward(theta["p", t], z)[0], eps[t - 2])
    return (1 + np.tanh(forward(theta["p", 1], z)[0] / 2)) / 2


def train(epochs=EPOCHS, seed=SEED):
    """Train on 1438 digits, print log p(x) of 359 others and six new ones, and return the parameters."""
    rng, step = np.random.default_rng(seed), 0
    grey = np.load(__file__.rsplit("demos", 1)[0] + "scratchvae/data/digits.npz")["x"].astype(np.float32) / 16
    x_train, x_test = np.delete(grey, np.s_[4::5], axis=0), np.random.default_rng(2).random((359, 64)) < grey[4::5]
    theta = first_theta(x_train.mean(axis=0).clip(0.001, 0.999), rng)
    adam = [(v, np.zeros_like(v), np.zeros_like(v)) for net in theta.values() for v in net]
    for epoch in range(1, epochs + 1):
        beta, rate = min(1, 4 * epoch / epochs), 2e-3 * 0.1 ** (epoch / epochs)           # warm-up; learning rate
        for rows in np.array_split(rng.permutation(len(x_train)), len(x_train) // BATCH):
            x = (rng.random((len(rows), 64)) < x_train[rows]).astype(np.float32)          # grey: probability of ink
            R, P, C, kept = bound(theta, x, noise(len(x), rng))
            dtheta, step = gradient(theta, kept, beta), step + 1
            for (v, m, s), dv in zip(adam, (dv for net in theta for dv in dtheta[net])):  # Adam   (9.2)
                m += 0.1 * (dv - m)
                s += 0.001 * (dv * dv - s)
                v -= rate * (m / (1 - 0.9 ** step)) / (np.sqrt(s / (1 - 0.999 ** step)) + 1e-8)
        if epoch % max(1, epochs // 10) == 0:
            print(f"epoch {epoch:4}: ELBO of the last batch {(R - P - sum(C)).mean():7.3f} nats", flush=True)
    print(f"log p(x) of {len(x_test)} digits held out: {log_p_x(theta, x_test, 1000, rng).mean():.3f} nats\n")
    for line in sample(theta, 6, rng).reshape(6, 8, 8).swapaxes(0, 1):
        print("    ".join("".join(2 * " .:+#@"[int(5.99 * ink)] for ink in digit) for digit in line))
    return theta


if __name__ == "__main__":
    train()
