"""Functions with their backwards, all right, and what one can get wrong in them.

Each function is a piece of source, `RIGHT`; a mistake is a change of a line in it, `WRONG`: what to
look for, what to write instead, the gradient that is then wrong, and the kinds that are a true answer.
"""

RIGHT = {
    "dense": ("x:n,d W:d,m b:m", """
def forward(x, W, b):
    return x @ W + b, (x, W)
def backward(dy, cache):
    x, W = cache
    dx = dy @ W.T
    dW = x.T @ dy
    db = dy.sum(axis=0)
    return dx, dW, db
"""),
    "tanh": ("x:n,d", """
def forward(x):
    y = np.tanh(x)
    return y, (x, y)
def backward(dy, cache):
    x, y = cache
    dx = dy * (1 - y * y)
    return dx
"""),
    "sigmoid": ("x:n,d", """
def forward(x):
    y = 1 / (1 + np.exp(-x))
    return y, (x, y)
def backward(dy, cache):
    x, y = cache
    dx = dy * y * (1 - y)
    return dx
"""),
    "relu": ("x:n,d", """
def forward(x):
    y = np.maximum(x, 0)
    return y, (x, y)
def backward(dy, cache):
    x, y = cache
    dx = dy * (x > 0)
    return dx
"""),
    "leaky": ("x:n,d", """
def forward(x):
    y = np.maximum(x, 0.1 * x)
    return y, (x, y)
def backward(dy, cache):
    x, y = cache
    dx = dy * np.where(x > 0, 1, 0.1)
    return dx
"""),
    "softplus": ("x:n,d", """
def forward(x):
    y = np.log1p(np.exp(x))
    return y, (x, y)
def backward(dy, cache):
    x, y = cache
    dx = dy / (1 + np.exp(-x))
    return dx
"""),
    "exp": ("x:n,d", """
def forward(x):
    y = np.exp(x)
    return y, (x, y)
def backward(dy, cache):
    x, y = cache
    dx = dy * y
    return dx
"""),
    "square": ("x:n,d", """
def forward(x):
    y = x * x
    return y, (x, y)
def backward(dy, cache):
    x, y = cache
    dx = dy * 2 * x
    return dx
"""),
    "mse": ("x:n,d target:n,d", """
def forward(x, target):
    r = x - target
    return (r * r).sum(axis=1), r
def backward(dy, cache):
    r = cache
    dx = dy[:, None] * 2 * r
    dtarget = -dy[:, None] * 2 * r
    return dx, dtarget
"""),
    "layer norm": ("x:n,d g:d b:d", """
def forward(x, g, b):
    mean = x.mean(axis=1, keepdims=True)
    c = x - mean
    var = (c * c).mean(axis=1, keepdims=True)
    inv = 1 / np.sqrt(var + 1e-5)
    xhat = c * inv
    return xhat * g + b, (xhat, inv, g)
def backward(dy, cache):
    xhat, inv, g = cache
    dg = (dy * xhat).sum(axis=0)
    db = dy.sum(axis=0)
    dh = dy * g
    dx = inv * (dh - dh.mean(axis=1, keepdims=True) - xhat * (dh * xhat).mean(axis=1, keepdims=True))
    return dx, dg, db
"""),
    "batch norm": ("x:n,d g:d b:d", """
def forward(x, g, b):
    c = x - x.mean(axis=0)
    inv = 1 / np.sqrt((c * c).mean(axis=0) + 1e-5)
    xhat = c * inv
    return xhat * g + b, (xhat, inv, g)
def backward(dy, cache):
    xhat, inv, g = cache
    dg = (dy * xhat).sum(axis=0)
    db = dy.sum(axis=0)
    dh = dy * g
    dx = inv * (dh - dh.mean(axis=0) - xhat * (dh * xhat).mean(axis=0))
    return dx, dg, db
"""),
    "softmax": ("x:n,d", """
def forward(x):
    e = np.exp(x)
    y = e / e.sum(axis=1, keepdims=True)
    return y, y
def backward(dy, cache):
    y = cache
    dx = y * (dy - (dy * y).sum(axis=1, keepdims=True))
    return dx
"""),
    "attention": ("q:n,d k:m,d v:m,d", """
def forward(q, k, v):
    s = q @ k.T / np.sqrt(q.shape[1])
    e = np.exp(s)
    a = e / e.sum(axis=1, keepdims=True)
    return a @ v, (q, k, v, a)
def backward(dy, cache):
    q, k, v, a = cache
    dv = a.T @ dy
    da = dy @ v.T
    ds = a * (da - (da * a).sum(axis=1, keepdims=True)) / np.sqrt(q.shape[1])
    dq = ds @ k
    dk = ds.T @ q
    return dq, dk, dv
"""),
    "rnn": ("x:n,3,d W:d,m U:m,m b:m", """
def forward(x, W, U, b):
    h = np.zeros((x.shape[0], W.shape[1]))
    hs = [h]
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ W + h @ U + b)
        hs.append(h)
    return h, (x, W, U, hs)
def backward(dy, cache):
    x, W, U, hs = cache
    dx, dW, dU, db = np.zeros(x.shape), np.zeros(W.shape), np.zeros(U.shape), np.zeros(W.shape[1])
    dh = dy
    for t in reversed(range(x.shape[1])):
        da = dh * (1 - hs[t + 1] ** 2)
        dx[:, t] = da @ W.T
        dW += x[:, t].T @ da
        dU += hs[t].T @ da
        db += da.sum(axis=0)
        dh = da @ U.T
    return dx, dW, dU, db
"""),
    "sample": ("mu:n,d logvar:n,d eps:n,d", """
def forward(mu, logvar, eps):
    std = np.exp(logvar / 2)
    return mu + std * eps, (std, eps)
def backward(dy, cache):
    std, eps = cache
    dmu = dy
    dlogvar = dy * std * eps / 2
    deps = dy * std
    return dmu, dlogvar, deps
"""),
    "log_prob": ("z:n,d mu:n,d logvar:n,d", """
def forward(z, mu, logvar):
    diff = z - mu
    u = diff * np.exp(-logvar)
    return -0.5 * (np.log(2 * np.pi) + logvar + diff * u).sum(axis=1), (diff, u, logvar)
def backward(dy, cache):
    diff, u, logvar = cache
    dz = -dy[:, None] * u
    dmu = dy[:, None] * u
    dlogvar = 0.5 * dy[:, None] * (diff * u - 1)
    return dz, dmu, dlogvar
"""),
    "kl": ("mu:n,d logvar:n,d", """
def forward(mu, logvar):
    return 0.5 * (np.exp(logvar) - 1 - logvar + mu * mu).sum(axis=1), (mu, logvar)
def backward(dy, cache):
    mu, logvar = cache
    dmu = dy[:, None] * mu
    dlogvar = dy[:, None] * (np.exp(logvar) - 1) / 2
    return dmu, dlogvar
"""),
    "kl of two": ("mu_q:n,d logvar_q:n,d mu_p:n,d logvar_p:n,d", """
def forward(mu_q, logvar_q, mu_p, logvar_p):
    diff = mu_q - mu_p
    e = np.exp(logvar_q - logvar_p)
    u = diff * np.exp(-logvar_p)
    return 0.5 * (e - 1 - logvar_q + logvar_p + diff * u).sum(axis=1), (diff, e, u)
def backward(dy, cache):
    diff, e, u = cache
    dy = dy[:, None]
    dmu_q = dy * u
    dlogvar_q = dy * (e - 1) / 2
    dmu_p = -dy * u
    dlogvar_p = -dy * (e - 1) / 2 - dy * diff * u / 2
    return dmu_q, dlogvar_q, dmu_p, dlogvar_p
"""),
    "bernoulli": ("logits:n,d x:n,d", """
def forward(logits, x):
    return (x * logits - np.log1p(np.exp(logits))).sum(axis=1), (logits, x)
def backward(dy, cache):
    logits, x = cache
    p = 1 / (1 + np.exp(-logits))
    dlogits = dy[:, None] * (x - p)
    dx = dy[:, None] * logits
    return dlogits, dx
"""),
    "residual": ("x:n,d W:d,d", """
def forward(x, W):
    h = np.tanh(x @ W)
    return x + h, (x, W, h)
def backward(dy, cache):
    x, W, h = cache
    da = dy * (1 - h * h)
    dx = dy + da @ W.T
    dW = x.T @ da
    return dx, dW
"""),
    "gate": ("a:n,d b:n,d", """
def forward(a, b):
    s = 1 / (1 + np.exp(-b))
    return a * s, (a, s)
def backward(dy, cache):
    a, s = cache
    da = dy * s
    db = dy * a * s * (1 - s)
    return da, db
"""),
    "dropout": ("x:n,d mask:n,d", """
def forward(x, mask):
    return x * mask / 0.5, mask
def backward(dy, cache):
    mask = cache
    dx = dy * mask / 0.5
    return dx, None
"""),
    "two heads": ("h:n,d A:d,m B:d,m", """
def forward(h, A, B):
    return (h @ A, np.exp(h @ B)), (h, A, B, np.exp(h @ B))
def backward(dy, cache):
    h, A, B, e = cache
    d0, d1 = dy[0], dy[1] * e
    dh = d0 @ A.T + d1 @ B.T
    dA = h.T @ d0
    dB = h.T @ d1
    return dh, dA, dB
"""),
    "conv1d": ("x:n,8 w:3,m b:m", """
def forward(x, w, b):
    T = x.shape[1] - len(w) + 1
    y = np.zeros((len(x), T, w.shape[1]))
    for k in range(len(w)):
        y += x[:, k:k + T, None] * w[k]
    return y + b, (x, w)
def backward(dy, cache):
    x, w = cache
    T = dy.shape[1]
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for k in range(len(w)):
        dx[:, k:k + T] += (dy * w[k]).sum(axis=2)
        dw[k] = (x[:, k:k + T, None] * dy).sum(axis=(0, 1))
    db = dy.sum(axis=(0, 1))
    return dx, dw, db
"""),
    "max pool": ("x:n,8", """
def forward(x):
    w = x.reshape(len(x), 4, 2)
    return w.max(axis=2), (w, w.argmax(axis=2))
def backward(dy, cache):
    w, k = cache
    dw = np.zeros(w.shape)
    np.put_along_axis(dw, k[:, :, None], dy[:, :, None], axis=2)
    dx = dw.reshape(len(w), 8)
    return dx
"""),
    "gru": ("x:n,m h:n,m W:m,m U:m,m V:m,m", """
def forward(x, h, W, U, V):
    z = 1 / (1 + np.exp(-(x @ W)))
    r = 1 / (1 + np.exp(-(h @ U)))
    g = np.tanh(x + (r * h) @ V)
    return (1 - z) * h + z * g, (x, h, W, U, V, z, r, g)
def backward(dy, cache):
    x, h, W, U, V, z, r, g = cache
    dg = dy * z * (1 - g * g)
    dz = dy * (g - h) * z * (1 - z)
    drh = dg @ V.T
    dr = drh * h * r * (1 - r)
    dx = dg + dz @ W.T
    dh = dy * (1 - z) + drh * r + dr @ U.T
    dW = x.T @ dz
    dU = h.T @ dr
    dV = (r * h).T @ dg
    return dx, dh, dW, dU, dV
"""),
    "cross entropy": ("logits:6,d", """
labels = np.array([0, 1, 1, 2, 0, 2])
def forward(logits):
    z = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(6), labels]).mean(), p
def backward(dy, p):
    d = p.copy()
    d[np.arange(6), labels] -= 1
    dlogits = dy * d / 6
    return dlogits
"""),
    "distillation": ("s:n,d", """
T = 2.5
def forward(s):
    e = np.exp(s / T)
    p = e / e.sum(axis=1, keepdims=True)
    return (p * p).sum(axis=1), p
def backward(dy, p):
    dp = 2 * dy[:, None] * p
    ds = p * (dp - (dp * p).sum(axis=1, keepdims=True)) / T
    return ds
"""),
    "planar flow": ("z:n,d u:d w:d b:1", """
def forward(z, u, w, b):
    h = np.tanh(z @ w + b)
    det = 1 + (1 - h * h) * (u @ w)
    return (z + h[:, None] * u, np.log(np.abs(det))), (z, u, w, h, det)
def backward(dy, cache):
    z, u, w, h, det = cache
    dout, dlog = dy
    ddet = dlog / det
    dh = dout @ u - 2 * ddet * h * (u @ w)
    da = dh * (1 - h * h)
    s = (ddet * (1 - h * h)).sum()
    dz = dout + da[:, None] * w
    du = (dout * h[:, None]).sum(axis=0) + s * w
    dw = z.T @ da + s * u
    db = da.sum(keepdims=True)
    return dz, du, dw, db
"""),
    "laplace": ("mu:n,d logb:n,d", """
x = np.random.default_rng(9).standard_normal((9, 9))
def forward(mu, logb):
    r = x[:len(mu), :mu.shape[1]] - mu
    return -(np.log(2) + logb + np.abs(r) * np.exp(-logb)).sum(axis=1), (r, logb)
def backward(dy, cache):
    r, logb = cache
    dmu = dy[:, None] * np.sign(r) * np.exp(-logb)
    dlogb = dy[:, None] * (np.abs(r) * np.exp(-logb) - 1)
    return dmu, dlogb
"""),
    "cosine": ("a:n,d b:n,d", """
def forward(a, b):
    na, nb = np.linalg.norm(a, axis=1, keepdims=True), np.linalg.norm(b, axis=1, keepdims=True)
    c = (a * b).sum(axis=1, keepdims=True) / (na * nb)
    return c[:, 0], (a, b, na, nb, c)
def backward(dy, cache):
    a, b, na, nb, c = cache
    da = dy[:, None] * (b / (na * nb) - c * a / na ** 2)
    db = dy[:, None] * (a / (na * nb) - c * b / nb ** 2)
    return da, db
"""),
    "rms norm": ("x:n,d g:d", """
def forward(x, g):
    r = 1 / np.sqrt(np.mean(x ** 2, axis=-1, keepdims=True) + 1e-6)
    return x * r * g, (x, r, g)
def backward(dy, cache):
    x, r, g = cache
    dh = dy * g
    dg = (dy * x * r).sum(axis=0)
    dx = r * dh - x * r ** 3 * (dh * x).mean(axis=-1, keepdims=True)
    return dx, dg
"""),
    "gelu": ("x:n,d", """
k = 0.7978845608
def forward(x):
    t = np.tanh(k * (x + 0.044715 * x ** 3))
    return 0.5 * x * (1 + t), (x, t)
def backward(dy, cache):
    x, t = cache
    dx = dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x))
    return dx
"""),
    "mixture": ("mu:4,d logit:4", """
x = np.random.default_rng(9).standard_normal((7, 9))
def forward(mu, logit):
    r = x[:, None, :mu.shape[1]] - mu
    l = logit - 0.5 * (r * r).sum(axis=2)
    m = l.max(axis=1, keepdims=True)
    total = m + np.log(np.exp(l - m).sum(axis=1, keepdims=True))
    return total[:, 0], (r, np.exp(l - total))
def backward(dy, cache):
    r, w = cache
    g = dy[:, None] * w
    dlogit = g.sum(axis=0)
    dmu = (g[:, :, None] * r).sum(axis=0)
    return dmu, dlogit
"""),
}

ANY_LINE = [                                           # what can happen to any gradient: appended to its line
    ("dv = -dv", {"sign"}), ("dv = 2 * dv", {"factor"}), ("dv = dv / 2", {"factor"}), ("dv = 0 * dv", {"zero"}),
    ("dv = 0.9 * dv", {"factor"}), ("dv = dv / len(dy)", {"mean or sum", "factor"}),
    ("dv = dv * np.where(np.arange(dv.shape[-1]) == 1, -1, 1)", {"sign"}),
    ("dv = dv.copy(); dv[0] = 0", {"zero", "missing", "overwritten"}), ("dv = None", {"nothing returned"}),
    ("dv = dv[None]", {"shape", "not summed"}), ("dv = dv.astype(int) + 1", {"integer"}),
    ("dv = dv * np.nan", {"not finite"}), ("dv = -3 * dv", {"factor"}),
]

WRONG = [
    ("dense", "dy @ W.T", "dy @ W.reshape(W.T.shape)", "x", {"transposed"}),
    ("dense", "x.T @ dy", "(dy.T @ x).reshape(W.shape)", "W", {"transposed"}),
    ("dense", "db = dy.sum(axis=0)", "db = dy.mean(axis=0)", "b", {"mean or sum"}),
    ("dense", "db = dy.sum(axis=0)", "db = dy", "b", {"not summed"}),
    ("dense", "db = dy.sum(axis=0)", "db = dy[-1]", "b", {"overwritten"}),
    ("dense", "db = dy.sum(axis=0)", "db = dy.sum() * np.ones(dy.shape[1])", "b", {"mean or sum"}),
    ("dense", "dW = x.T @ dy", "dW = x.T @ np.ones_like(dy)", "W", {"dy forgotten"}),
    ("dense", "dW = x.T @ dy", "dW = x.T @ dy / len(x)", "W", {"mean or sum"}),
    ("dense", "dW = x.T @ dy", "dW = x[:1].T @ dy[:1]", "W", {"overwritten"}),
    ("dense", "db = dy.sum(axis=0)", "db = np.ones(dy.shape[1]) * len(dy)", "b", {"dy forgotten"}),
    ("tanh", "1 - y * y", "1 - np.tanh(y) ** 2", "x", {"derivative"}),
    ("tanh", "1 - y * y", "1 - x * x", "x", {"derivative"}),
    ("tanh", "1 - y * y", "1 - y", "x", {"derivative"}),
    ("tanh", "1 - y * y", "1 + y * y", "x", {"derivative"}),
    ("tanh", "dy * (1 - y * y)", "(1 - y * y)", "x", {"dy forgotten"}),
    ("tanh", "dy * (1 - y * y)", "dy", "x", {"derivative"}),
    ("tanh", "dy * (1 - y * y)", "dy * dy * (1 - y * y)", "x", {"dy forgotten", "factor"}),
    ("tanh", "return y, (x, y)", "cache = (x, y); y = y.copy(); x *= 0.5; x += 1; return y, cache\n", "", set()),
    ("sigmoid", "y * (1 - y)", "y", "x", {"derivative"}),
    ("sigmoid", "y * (1 - y)", "x * (1 - x)", "x", {"derivative"}),
    ("sigmoid", "y * (1 - y)", "(1 - y)", "x", {"derivative"}),
    ("sigmoid", "y * (1 - y)", "(1 - y * y)", "x", {"derivative"}),
    ("relu", "(x > 0)", "(dy > 0)", "x", {"derivative"}),
    ("relu", "dx = dy * (x > 0)", "dx = dy", "x", {"derivative"}),
    ("relu", "dx = dy * (x > 0)", "dx = dy * y", "x", {"derivative", "factor"}),
    ("relu", "(x > 0)", "(x < 0)", "x", {"derivative"}),
    ("relu", "dx = dy * (x > 0)", "dx = 1.0 * (x > 0)", "x", {"dy forgotten"}),
    ("leaky", "1, 0.1", "1, 0", "x", {"zero"}),
    ("leaky", "1, 0.1", "1, 1", "x", {"factor", "derivative"}),
    ("leaky", "1, 0.1", "1, 0.01", "x", {"factor"}),
    ("leaky", "x > 0", "dy > 0", "x", {"derivative"}),
    ("softplus", "dy / (1 + np.exp(-x))", "dy / (1 + np.exp(-y))", "x", {"derivative"}),
    ("softplus", "dy / (1 + np.exp(-x))", "dy / (1 + np.exp(x))", "x", {"derivative"}),
    ("softplus", "dy / (1 + np.exp(-x))", "dy * np.exp(x)", "x", {"derivative"}),
    ("exp", "dy * y", "dy", "x", {"derivative"}),
    ("exp", "dy * y", "dy * x", "x", {"derivative"}),
    ("exp", "dy * y", "dy * np.exp(y)", "x", {"derivative"}),
    ("square", "dy * 2 * x", "dy * x", "x", {"factor"}),
    ("square", "dy * 2 * x", "2 * x", "x", {"dy forgotten"}),
    ("square", "dy * 2 * x", "dy * 2 * y", "x", {"derivative"}),
    ("square", "dy * 2 * x", "dy * 2", "x", {"derivative"}),
    ("mse", "dx = dy[:, None] * 2 * r", "dx = dy[:, None] * r", "x", {"factor"}),
    ("mse", "dx = dy[:, None] * 2 * r", "dx = dy[:, None] * 2 * r / r.shape[1]", "x", {"mean or sum"}),
    ("mse", "dtarget = -dy", "dtarget = dy", "target", {"sign"}),
    ("mse", "dx = dy[:, None] * 2 * r", "dx = 2 * r", "x", {"dy forgotten"}),
    ("layer norm", " - xhat * (dh * xhat).mean(axis=1, keepdims=True)", "", "x", {"missing"}),
    ("layer norm", " - dh.mean(axis=1, keepdims=True)", "", "x", {"missing"}),
    ("layer norm", "inv * (dh - dh.mean(axis=1, keepdims=True) - xhat * (dh * xhat).mean(axis=1, keepdims=True))",
     "inv * dh", "x", {"missing"}),
    ("layer norm", "dh = dy * g", "dh = dy", "x", {"missing", "factor"}),
    ("layer norm", "dx = inv * ", "dx = ", "x", {"factor"}),
    ("layer norm", "dg = (dy * xhat).sum(axis=0)", "dg = (dy * xhat).mean(axis=0)", "g", {"mean or sum"}),
    ("layer norm", "dg = (dy * xhat)", "dg = (xhat)", "g", {"dy forgotten"}),
    ("batch norm", " - xhat * (dh * xhat).mean(axis=0)", "", "x", {"missing"}),
    ("batch norm", " - dh.mean(axis=0)", "", "x", {"missing"}),
    ("batch norm", "dh = dy * g", "dh = dy", "x", {"missing", "factor"}),
    ("batch norm", "dg = (dy * xhat)", "dg = (dy)", "g", {"swapped"}),
    ("softmax", "y * (dy - (dy * y).sum(axis=1, keepdims=True))", "y * dy", "x", {"missing"}),
    ("softmax", "y * (dy - (dy * y).sum(axis=1, keepdims=True))", "dy * y * (1 - y)", "x", {"missing"}),
    ("softmax", "(dy * y).sum", "(dy * y).mean", "x", {"missing", "mean or sum"}),
    ("attention", " / np.sqrt(q.shape[1])\n    dq", "\n    dq", "q k", {"factor"}),
    ("attention", "da - (da * a).sum(axis=1, keepdims=True)", "da", "q k", {"unknown", "missing"}),
    ("attention", "dv = a.T @ dy", "dv = (dy.T @ a).reshape(v.shape)", "v", {"transposed"}),
    ("rnn", "dW += x", "dW = x", "W", {"missing", "overwritten"}),
    ("rnn", "dU += hs[t].T", "dU = hs[t].T", "U", {"zero", "missing", "overwritten"}),
    ("rnn", "db += da", "db = da", "b", {"missing", "overwritten"}),
    ("rnn", "db += da.sum", "db += da.mean", "b", {"mean or sum"}),
    ("rnn", "dh = da @ U.T", "dh = da @ U", "x W U b", {"unknown", "transposed"}),
    ("rnn", "dh = da @ U.T", "dh = 0 * da", "x W U b", {"missing", "zero", "unknown"}),
    ("rnn", "dU += hs[t].T", "dU += hs[t + 1].T", "U", {"unknown", "point"}),
    ("sample", "dlogvar = dy * std * eps / 2", "dlogvar = dy * std * eps", "logvar", {"factor"}),
    ("sample", "dlogvar = dy * std * eps / 2", "dlogvar = dy * std * std * eps / 2", "logvar", {"scale"}),
    ("sample", "dlogvar = dy * std * eps / 2", "dlogvar = dy * eps / 2", "logvar", {"scale"}),
    ("sample", "dlogvar = dy * std * eps / 2", "dlogvar = dy * std / 2", "logvar",
     {"missing", "noise", "factor", "derivative"}),
    ("sample", "std, eps = cache", "std, eps = cache; eps = np.roll(eps, 1, 0)", "logvar", {"noise"}),
    ("sample", "std, eps = cache", "std, eps = cache; eps = np.random.standard_normal(eps.shape)", "logvar",
     {"noise"}),
    ("sample", "dmu = dy", "dmu = dy * std", "mu", {"scale"}),
    ("log_prob", "dz = -dy", "dz = dy", "z", {"sign"}),
    ("log_prob", "dmu = dy[:, None] * u", "dmu = dy[:, None] * diff", "mu", {"scale"}),
    ("log_prob", "dmu = dy[:, None] * u", "dmu = dy[:, None] * diff * np.exp(-logvar / 2)", "mu", {"scale"}),
    ("log_prob", "dlogvar = 0.5 * dy[:, None] * (diff * u - 1)", "dlogvar = 0.5 * dy[:, None] * diff * u", "logvar",
     {"missing"}),
    ("log_prob", "dlogvar = 0.5 * dy[:, None] * (diff * u - 1)", "dlogvar = -0.5 * dy[:, None] * np.ones_like(u)",
     "logvar", {"missing"}),
    ("log_prob", "0.5 * dy[:, None] * (diff * u - 1)", "dy[:, None] * (diff * u - 1)", "logvar", {"factor"}),
    ("log_prob", "0.5 * dy[:, None] * (diff * u - 1)",
     "0.5 * dy[:, None] * (diff * diff * np.exp(-logvar / 2) - 1)", "logvar", {"scale", "unknown"}),
    ("log_prob", "dz = -dy[:, None] * u", "dz = -u", "z", {"dy forgotten"}),
    ("kl", "dmu = dy[:, None] * mu", "dmu = -dy[:, None] * mu", "mu", {"sign"}),
    ("kl", "dmu = dy[:, None] * mu", "dmu = 2 * dy[:, None] * mu", "mu", {"factor"}),
    ("kl", "(np.exp(logvar) - 1) / 2", "(np.exp(logvar) - 1)", "logvar", {"factor"}),
    ("kl", "(np.exp(logvar) - 1) / 2", "np.exp(logvar) / 2", "logvar", {"missing"}),
    ("kl", "(np.exp(logvar) - 1) / 2", "(np.exp(2 * logvar) - 1) / 2", "logvar", {"scale"}),
    ("kl", "(np.exp(logvar) - 1) / 2", "(np.exp(logvar / 2) - 1) / 2", "logvar", {"scale"}),
    ("kl", "dy[:, None] * (np.exp", "(np.exp", "logvar", {"dy forgotten"}),
    ("kl", "(np.exp(logvar) - 1) / 2", "(np.exp(logvar) - 1) / 2 / mu.shape[1]", "logvar", {"mean or sum"}),
    ("kl of two", "dmu_p = -dy", "dmu_p = dy", "mu_p", {"sign"}),
    ("kl of two", " - dy * diff * u / 2", "", "logvar_p", {"missing"}),
    ("kl of two", "-dy * (e - 1) / 2 - dy", "-dy", "logvar_p", {"missing"}),
    ("kl of two", "dlogvar_q = dy * (e - 1) / 2", "dlogvar_q = dy * e / 2", "logvar_q", {"missing"}),
    ("kl of two", "return dmu_q, dlogvar_q, dmu_p", "return dmu_p, dlogvar_q, dmu_q", "mu_q mu_p", {"sign", "swapped"}),
    ("bernoulli", "(x - p)", "(x - p) * p * (1 - p)", "logits", {"probability"}),
    ("bernoulli", "(x - p)", "(p - x)", "logits", {"sign"}),
    ("bernoulli", "(x - p)", "(x - logits)", "logits", {"unknown", "derivative"}),
    ("bernoulli", "(x - p)", "(x - p) / x.shape[1]", "logits", {"mean or sum"}),
    ("bernoulli", "(x - p)", "(x - p) / (p * (1 - p))", "logits", {"probability"}),
    ("residual", "dx = dy + da @ W.T", "dx = da @ W.T", "x", {"missing"}),
    ("residual", "dx = dy + da @ W.T", "dx = dy", "x", {"missing"}),
    ("residual", "dx = dy + da @ W.T", "dx = dy - da @ W.T", "x", {"sign"}),
    ("residual", "dx = dy + da @ W.T", "dx = dy + da @ W", "x", {"transposed", "unknown"}),
    ("residual", "dW = x.T @ da", "dW = da.T @ x", "W", {"transposed"}),
    ("gate", "db = dy * a * s * (1 - s)", "db = dy * s * (1 - s)", "b", {"factor", "derivative", "missing"}),
    ("gate", "db = dy * a * s * (1 - s)", "db = dy * a", "b", {"probability", "derivative"}),
    ("gate", "db = dy * a * s * (1 - s)", "db = dy * a * s", "b", {"derivative", "factor"}),
    ("dropout", "dx = dy * mask / 0.5", "dx = dy * mask", "x", {"factor"}),
    ("dropout", "dx = dy * mask / 0.5", "dx = dy", "x", {"derivative"}),
    ("dropout", "dx = dy * mask / 0.5", "dx = dy * (np.random.random(dy.shape) < 0.5) / 0.5", "x", {"noise"}),
    ("two heads", "d0 @ A.T + d1 @ B.T", "d0 @ A.T", "h", {"missing"}),
    ("two heads", "d0 @ A.T + d1 @ B.T", "d1 @ B.T", "h", {"missing"}),
    ("two heads", "d0 @ A.T + d1 @ B.T", "d0 @ A.T - d1 @ B.T", "h", {"sign"}),
    ("two heads", "dy[1] * e", "dy[1]", "h B", {"unknown", "derivative", "factor"}),
    ("conv1d", "dx[:, k:k + T] += ", "dx[:, k:k + T] = ", "x", {"overwritten", "missing"}),
    ("conv1d", "db = dy.sum(axis=(0, 1))", "db = dy.sum(axis=1).mean(axis=0)", "b", {"mean or sum"}),
    ("conv1d", "dw[k] = (x[:, k:k + T, None] * dy)", "dw[k] = (x[:, :T, None] * dy)", "w", {"point", "overwritten",
     "unknown"}),
    ("conv1d", "dw[k] = ", "dw[len(w) - 1 - k] = ", "w", {"transposed", "swapped"}),
    ("conv1d", "(dy * w[k]).sum(axis=2)", "(dy * w[k]).mean(axis=2)", "x", {"mean or sum"}),
    ("max pool", "dx = dw.reshape(len(w), 8)", "dx = np.repeat(dy, 2, axis=1)", "x", {"derivative", "missing"}),
    ("max pool", "w.argmax(axis=2))", "w.argmin(axis=2))", "x", {"transposed", "swapped", "derivative", "unknown"}),
    ("gru", "dz = dy * (g - h)", "dz = dy * (h - g)", "x W", {"sign"}),
    ("gru", "drh * r + ", "", "h", {"missing"}),
    ("gru", "dh = dy * (1 - z) + ", "dh = ", "h", {"missing"}),
    ("gru", "dV = (r * h).T @ dg", "dV = h.T @ dg", "V", {"factor", "point"}),
    ("gru", "drh = dg @ V.T", "drh = dg @ V", "h U", {"transposed"}),
    ("gru", "dx = dg + dz @ W.T", "dx = dg + dz @ W", "x", {"transposed"}),
    ("gru", "dr = drh * h * r", "dr = drh * r", "h U", {"factor", "derivative"}),
    ("cross entropy", "dy * d / 6", "dy * d", "logits", {"mean or sum", "factor"}),
    ("cross entropy", "d[np.arange(6), labels] -= 1", "pass", "logits", {"missing"}),
    ("cross entropy", "d[np.arange(6), labels] -= 1", "d = -(np.eye(d.shape[1])[labels]) / d", "logits",
     {"derivative", "missing", "probability"}),
    ("cross entropy", "-= 1", "+= 1", "logits", {"sign"}),
    ("distillation", " / T\n    return ds", "\n    return ds", "s", {"factor"}),
    ("distillation", "ds = p * (dp - (dp * p).sum(axis=1, keepdims=True)) / T", "ds = p * dp / T", "s", {"missing"}),
    ("distillation", "dp = 2 * dy", "dp = dy", "s", {"factor"}),
    ("planar flow", "ddet = dlog / det", "ddet = dlog", "z u w b", {"factor", "derivative"}),
    ("planar flow", " + s * w", "", "u", {"missing"}),
    ("planar flow", "- 2 * ddet", "+ 2 * ddet", "z w b", {"sign"}),
    ("planar flow", "da = dh * (1 - h * h)", "da = dh", "z w b", {"derivative"}),
    ("laplace", "np.sign(r) * np.exp", "-np.sign(r) * np.exp", "mu", {"sign"}),
    ("laplace", "np.sign(r) * np.exp(-logb)", "np.sign(r)", "mu", {"scale", "factor"}),
    ("laplace", "np.exp(-logb) - 1)", "np.exp(-logb))", "logb", {"missing"}),
    ("laplace", "np.sign(r) * np.exp(-logb)\n", "r * np.exp(-logb)\n", "mu", {"derivative"}),
    ("cosine", "da = dy[:, None] * (b / (na * nb) - c * a / na ** 2)", "da = dy[:, None] * b / (na * nb)", "a",
     {"missing"}),
    ("cosine", "c * b / nb ** 2", "c * b / nb", "b", {"derivative", "factor", "unknown"}),
    ("cosine", "c * a / na ** 2", "c * b / na ** 2", "a", {"swapped", "point", "unknown"}),
    ("rms norm", "r * dh - x * r ** 3 * (dh * x).mean(axis=-1, keepdims=True)", "r * dh", "x", {"missing"}),
    ("rms norm", "(dh * x).mean", "(dh * x).sum", "x", {"mean or sum"}),
    ("rms norm", "r * dh - x", "r * dh + x", "x", {"sign"}),
    ("rms norm", "x * r ** 3", "x * r ** 2", "x", {"derivative", "unknown", "factor"}),
    ("gelu", "0.5 * (1 + t) + ", "", "x", {"missing"}),
    ("gelu", "(1 + 3 * 0.044715 * x * x)", "1", "x", {"missing", "factor", "derivative"}),
    ("gelu", "3 * 0.044715", "0.044715", "x", {"factor", "derivative"}),
    ("gelu", "* k * (1", "* (1", "x", {"factor"}),
    ("mixture", "g = dy[:, None] * w", "g = dy[:, None] * w / w.shape[1]", "mu logit", {"mean or sum", "factor"}),
    ("mixture", "[:, :, None] * r", "[:, :, None] * -r", "mu", {"sign"}),
    ("mixture", "g = dy[:, None] * w", "g = dy[:, None] / w.shape[1] + 0 * w", "mu logit", {"derivative", "unknown",
     "missing", "mean or sum"}),
]
