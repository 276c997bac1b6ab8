"""Other families of functions, and what one can get wrong in them: the half that the diagnosis was not tuned on.

In the form of planted.py.  They were written before they were run once.
"""

RIGHT = {
    "pool": ("x:n,8", """
def forward(x):
    y = np.zeros((len(x), 6))
    for t in range(6):
        y[:, t] = x[:, t:t + 3].mean(axis=1)
    return y, x.shape
def backward(dy, shape):
    dx = np.zeros(shape)
    for t in range(6):
        dx[:, t:t + 3] += dy[:, t, None] / 3
    return dx
"""),
    "lstm": ("x:n,d h:n,m c:n,m W:d,z U:m,z", """
def sigmoid(a):
    return 1 / (1 + np.exp(-a))
def forward(x, h, c, W, U):
    a = x @ W + h @ U
    m = c.shape[1]
    i, f, o, g = sigmoid(a[:, :m]), sigmoid(a[:, m:2 * m]), sigmoid(a[:, 2 * m:3 * m]), np.tanh(a[:, 3 * m:])
    c_new = f * c + i * g
    t = np.tanh(c_new)
    return o * t, (x, h, c, W, U, i, f, o, g, t)
def backward(dy, cache):
    x, h, c, W, U, i, f, o, g, t = cache
    do = dy * t
    dc_new = dy * o * (1 - t * t)
    df = dc_new * c
    dc = dc_new * f
    di = dc_new * g
    dg = dc_new * i
    da = np.concatenate([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g * g)], axis=1)
    dx = da @ W.T
    dh = da @ U.T
    dW = x.T @ da
    dU = h.T @ da
    return dx, dh, dc, dW, dU
"""),
    "embedding": ("E:5,d W:d,m", """
index = np.array([1, 3, 1, 0, 3, 3])
def forward(E, W):
    e = E[index]
    return e @ W, (E.shape, e, W)
def backward(dy, cache):
    shape, e, W = cache
    de = dy @ W.T
    dE = np.zeros(shape)
    np.add.at(dE, index, de)
    dW = e.T @ dy
    return dE, dW
"""),
    "log softmax": ("x:n,d", """
def forward(x):
    z = x - x.max(axis=1, keepdims=True)
    y = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return y, y
def backward(dy, y):
    dx = dy - np.exp(y) * dy.sum(axis=1, keepdims=True)
    return dx
"""),
    "self attention": ("x:m,m Q:m,m K:m,m V:m,m", """
def forward(x, Q, K, V):
    q, k, v = x @ Q, x @ K, x @ V
    e = np.exp(q @ k.T / np.sqrt(len(Q)))
    P = e / e.sum(axis=1, keepdims=True)
    return P @ v, (x, Q, K, V, q, k, v, P)
def backward(dy, cache):
    x, Q, K, V, q, k, v, P = cache
    dv = P.T @ dy
    dP = dy @ v.T
    dS = P * (dP - (dP * P).sum(axis=1, keepdims=True)) / np.sqrt(len(Q))
    dq = dS @ k
    dk = dS.T @ q
    dx = dq @ Q.T + dk @ K.T + dv @ V.T
    dQ = x.T @ dq
    dK = x.T @ dk
    dV = x.T @ dv
    return dx, dQ, dK, dV
"""),
    "coupling": ("x:n,d u:n,d S:d,d M:d,d", """
def forward(x, u, S, M):
    s = np.tanh(x @ S)
    return (u * np.exp(s) + x @ M, s.sum(axis=1)), (x, u, S, M, s)
def backward(dy, cache):
    x, u, S, M, s = cache
    dout, dlog = dy
    ds = dout * u * np.exp(s) + dlog[:, None]
    da = ds * (1 - s * s)
    dx = da @ S.T + dout @ M.T
    du = dout * np.exp(s)
    dS = x.T @ da
    dM = x.T @ dout
    return dx, du, dS, dM
"""),
    "huber": ("p:n,d q:n,d", """
def forward(p, q):
    r = p - q
    a = np.abs(r)
    return np.where(a < 1, 0.5 * r * r, a - 0.5).mean(axis=1), r
def backward(dy, r):
    dp = dy[:, None] * np.clip(r, -1, 1) / r.shape[1]
    dq = -dy[:, None] * np.clip(r, -1, 1) / r.shape[1]
    return dp, dq
"""),
    "weight norm": ("x:n,d v:d,m g:m", """
def forward(x, v, g):
    s = np.sqrt((v * v).sum(axis=0))
    W = v / s * g
    return x @ W, (x, v, g, s, W)
def backward(dy, cache):
    x, v, g, s, W = cache
    dx = dy @ W.T
    dW = x.T @ dy
    dg = (dW * v / s).sum(axis=0)
    dv = g / s * (dW - v * (dW * v).sum(axis=0) / s ** 2)
    return dx, dv, dg
"""),
    "bottleneck": ("x:n,d A:d,m a:m B:m,d", """
def forward(x, A, a, B):
    h = np.maximum(x @ A + a, 0)
    return x + h @ B, (x, A, B, h)
def backward(dy, cache):
    x, A, B, h = cache
    dh = dy @ B.T * (h > 0)
    dx = dy + dh @ A.T
    dA = x.T @ dh
    da = dh.sum(axis=0)
    dB = h.T @ dy
    return dx, dA, da, dB
"""),
    "swish": ("x:n,d beta:d", """
def forward(x, beta):
    s = 1 / (1 + np.exp(-beta * x))
    return x * s, (x, beta, s)
def backward(dy, cache):
    x, beta, s = cache
    dx = dy * (s + x * beta * s * (1 - s))
    dbeta = (dy * x * x * s * (1 - s)).sum(axis=0)
    return dx, dbeta
"""),
    "ridge": ("x:n,d W:d,m", """
def forward(x, W):
    y = x @ W
    return (y * y).mean() + 0.1 * (W * W).sum(), (x, W, y)
def backward(dy, cache):
    x, W, y = cache
    e = 2 * dy * y / y.size
    dx = e @ W.T
    dW = x.T @ e + 0.2 * dy * W
    return dx, dW
"""),
}

WRONG = [
    ("pool", "dx[:, t:t + 3] += ", "dx[:, t:t + 3] = ", "x", {"overwritten", "missing"}),
    ("pool", "dy[:, t, None] / 3", "dy[:, t, None]", "x", {"factor", "mean or sum"}),
    ("pool", "dx[:, t:t + 3] += ", "dx[:, t:t + 1] += ", "x", {"missing", "unknown"}),
    ("lstm", "dc_new = dy * o * (1 - t * t)", "dc_new = dy * o", "x h c W U", {"derivative", "factor"}),
    ("lstm", "df = dc_new * c", "df = dc_new", "x h W U", {"factor", "derivative"}),
    ("lstm", "dc = dc_new * f", "dc = dc_new", "c", {"factor"}),
    ("lstm", "do * o * (1 - o)", "do * o", "x h W U", {"derivative", "probability", "factor"}),
    ("lstm", "dU = h.T @ da", "dU = dy.T @ da", "U", {"point", "unknown", "swapped"}),
    ("lstm", "dg * (1 - g * g)", "dg * (1 - g)", "x h W U", {"derivative"}),
    ("lstm", "do * o * (1 - o), dg * (1 - g * g)", "dg * (1 - g * g), do * o * (1 - o)", "x h W U",
     {"swapped", "unknown"}),
    ("embedding", "np.add.at(dE, index, de)", "dE[index] += de", "E", {"overwritten", "missing"}),
    ("embedding", "np.add.at(dE, index, de)", "dE[index] = de", "E", {"overwritten", "missing"}),
    ("embedding", "dW = e.T @ dy", "dW = e.T @ dy / len(dy)", "W", {"mean or sum", "factor"}),
    ("log softmax", "np.exp(y) * dy.sum", "y * dy.sum", "x", {"derivative", "point", "unknown"}),
    ("log softmax", "dy - np.exp(y) * dy.sum(axis=1, keepdims=True)", "dy - np.exp(y) * dy", "x",
     {"missing", "unknown"}),
    ("log softmax", "dy - np.exp", "dy + np.exp", "x", {"sign"}),
    ("self attention", "dv = P.T @ dy", "dv = P @ dy", "x V", {"transposed"}),
    ("self attention", "dk = dS.T @ q", "dk = dS @ q", "x K", {"transposed"}),
    ("self attention", "(dP * P).sum(axis=1, keepdims=True)", "(dP * P).sum(axis=0, keepdims=True)", "x Q K",
     {"transposed", "unknown", "mean or sum"}),
    ("self attention", "dx = dq @ Q.T + ", "dx = ", "x", {"missing"}),
    ("self attention", " + dv @ V.T", "", "x", {"missing"}),
    ("self attention", "dQ = x.T @ dq", "dQ = x @ dq", "Q", {"transposed"}),
    ("coupling", " + dlog[:, None]", "", "x S", {"missing"}),
    ("coupling", "dx = da @ S.T + dout @ M.T", "dx = da @ S.T", "x", {"missing"}),
    ("coupling", "ds = dout * u * np.exp(s)", "ds = dout * u", "x S", {"derivative", "factor", "scale"}),
    ("coupling", "du = dout * np.exp(s)", "du = dout * s", "u", {"point", "derivative", "unknown", "scale"}),
    ("huber", "dp = dy[:, None] * np.clip(r, -1, 1) / r.shape[1]", "dp = dy[:, None] * np.clip(r, -1, 1)", "p",
     {"mean or sum"}),
    ("huber", "dp = dy[:, None] * np.clip(r, -1, 1)", "dp = dy[:, None] * r", "p", {"derivative", "unknown"}),
    ("huber", "dq = -dy", "dq = dy", "q", {"sign"}),
    ("weight norm", "dW - v * (dW * v).sum(axis=0) / s ** 2", "dW", "v", {"missing"}),
    ("weight norm", "dg = (dW * v / s)", "dg = (dW * v)", "g", {"factor", "point"}),
    ("weight norm", "dv = g / s * ", "dv = 1 / s * ", "v", {"factor"}),
    ("bottleneck", "dx = dy + dh @ A.T", "dx = dh @ A.T", "x", {"missing"}),
    ("bottleneck", " * (h > 0)", "", "x A a", {"derivative"}),
    ("bottleneck", "da = dh.sum(axis=0)", "da = dh.mean(axis=0)", "a", {"mean or sum"}),
    ("bottleneck", "dB = h.T @ dy", "dB = (h > 0).T @ dy", "B", {"derivative", "point", "unknown"}),
    ("swish", "s + x * beta", "s + x", "x", {"factor"}),
    ("swish", "dx = dy * (s + x", "dx = dy * (x", "x", {"missing"}),
    ("swish", "dbeta = (dy * x * x", "dbeta = (dy * x", "beta", {"factor", "derivative"}),
    ("swish", "* x * s * (1 - s)).sum(axis=0)", "* x * s).sum(axis=0)", "beta", {"derivative", "factor"}),
    ("ridge", " + 0.2 * dy * W", "", "W", {"missing"}),
    ("ridge", "0.2 * dy", "0.1 * dy", "W", {"factor"}),
    ("ridge", "0.2 * dy * W", "0.2 * W", "W", {"dy forgotten", "unknown"}),
    ("ridge", "e = 2 * dy * y / y.size", "e = 2 * dy * y / len(y)", "x W", {"mean or sum", "factor"}),
    ("ridge", "e = 2 * dy * y / y.size", "e = dy * y / y.size", "x W", {"factor"}),
]
