"""The equations beside the lines: each as one expression that can be typeset and evaluated.

The comment of a line ends with the number of its equation, ``# (n, d)   (3.2)``.  The number and the names that the
line assigns select an entry of this table; where one number has several for a name, a word in the comment says which,
``(3.5, N(0, I))``.  An entry has the names, if they are not those on the left of the equation, and
the equation: an expression on whole arrays, with the sums written out, as it stands on the board.  A test holds that
MATH.md has each of them, letter for letter, under its number; evaluate.py computes it from the arrays of a pass.

    [n, j]    indices of an array; Σn a sum over one of them, Σ over the dimensions of one example
    q[t]      what belongs to level t; [mu | logvar] two arrays side by side
    q.forward(x), draw_backward(dz)
              what this call returned, if the line made it with these arguments
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .notation import text

TABLE = """
1.2 | y[n, j] = Σi(x[n, i] * W[i, j]) + b[j]; dW[i, j] = Σn(x[n, i] * dy[n, j]); db[j] = Σn(dy[n, j]);
    dx[n, i] = Σj(dy[n, j] * W[i, j])
1.3 | y = tanh(x); dx = dy * (1 - y**2)
1.4 | y = max(x, slope * x); dx = where(x > 0, dy, slope * dy)
1.4, ReLU | y = max(x, 0); dx = where(x > 0, dy, 0)
1.5 | softplus: softplus(x) = log(1 + e**x); y = log(1 + e**x); dx = dy * sigmoid(x)
1.6 | sigmoid: sigmoid(x) = 1 / (1 + e**-x); y = 1 / (1 + e**-x); dx = dy * y * (1 - y)
2.1 | x = layer.forward(x); dy = layer.backward(dy); dx = first.backward(dy)
3.1 | mu, logvar: h = [mu | logvar]; dh = [dmu | dlogvar]; q = [mu | logvar];
    dz, dq, dp: dq = [dmu_q | dlogvar_q]; dz, dq, dp: dp = [dmu_p | dlogvar_p]
3.1, N(0, I) | dz, dq, dp: dq = [dmu | dlogvar]
3.1 | dm, dp: dm = [dmu_m | dlogvar_m]; dm, dp: dp = [dmu_p | dlogvar_p]
3.2 | std: σ = exp(logvar / 2); offset: z - mu = σ * eps; z = mu + σ * eps; dmu = dz;
    dlogvar = dz * (z - mu) / 2; dq = [dz | dz * (z - mu) / 2]
3.3 | diff = z - mu; u = (z - mu) / σ**2;
    log_prob: log(N(z, mu, σ)) = -(1 / 2) * Σ(log(2 * π) + logvar + (z - mu)**2 / σ**2); dz = -dlog_prob * u;
    dmu = dlog_prob * u; dlogvar = (1 / 2) * dlog_prob * ((z - mu) * u - 1)
3.4 | entropy: H = (1 / 2) * Σ(log(2 * π) + 1 + logvar); dlogvar = (1 / 2) * dentropy
3.5 | r = log(σ_q**2 / σ_p**2); excess = σ_q**2 / σ_p**2 - 1; diff = mu_q - mu_p; u = (mu_q - mu_p) / σ_p**2;
    kl: KL(q, p) = (1 / 2) * Σ(σ_q**2 / σ_p**2 - 1 - log(σ_q**2 / σ_p**2) + (mu_q - mu_p)**2 / σ_p**2);
    dmu_q = dkl * u; dlogvar_q = (1 / 2) * dkl * (σ_q**2 / σ_p**2 - 1); dmu_p = -dkl * u;
    dlogvar_p = -(1 / 2) * dkl * (σ_q**2 / σ_p**2 - 1 + (mu_q - mu_p) * u)
3.5, N(0, I) | excess = σ**2 - 1; kl: KL(q, N01) = (1 / 2) * Σ(σ**2 - 1 - logvar + mu**2); dmu = dkl * mu;
    dlogvar = (1 / 2) * dkl * (σ**2 - 1)
4.1 | e = exp(-abs(logits)); log_p = x * logits - softplus(logits);
    log_prob: log(p(x, logits)) = Σ(x * logits - softplus(logits)); s = sigmoid(-abs(logits)); dx = dlog_prob * logits;
    dlogits = dlog_prob * (x - sigmoid(logits))
4.2 | log_prob: log(p(x, h)) = log(N(x, mu, σ)); dx = -dlog_prob * (x - mu) / σ**2;
    dmu = dlog_prob * (x - mu) / σ**2; dlogvar = (1 / 2) * dlog_prob * ((x - mu)**2 / σ**2 - 1);
    dx, dh: dh = [dmu | dlogvar]; dx, dh: dh = dmu
4.4 | u = x + 11; v = 1 / u**2;
    series = 1 / (12 * u) - 1 / (360 * u**3) + 1 / (1260 * u**5) - 1 / (1680 * u**7) + 1 / (1188 * u**9);
    below = Σk(1, 10, log(x + k)); log_factorial: log_factorial(x) = log(Γ(x + 1));
    slope = -1 / (12 * u**2) + 1 / (120 * u**4) - 1 / (252 * u**6) + 1 / (240 * u**8) - 1 / (132 * u**10);
    slope_below = Σk(1, 10, 1 / (x + k)); dx = dlog_factorial * prime(log_factorial(x))
4.5 | rate = e**h; constant = log_factorial(x); log_prob: log(p(x, h)) = Σ(x * h - e**h - log_factorial(x));
    dh = dlog_prob * (x - e**h); dx = dlog_prob * (h - prime(log_factorial(x)))
4.5, first layer | y = log(1 + x); dx = dy / (1 + x)
4.6 | top = largest(logits); log_p[n, k] = logits[n, k] - log(Σj(exp(logits[n, j])));
    log_prob[n] = Σk(x[n, k] * (logits[n, k] - log(Σj(exp(logits[n, j]))))); dx[n, k] = dlog_prob[n] * log_p[n, k];
    dlogits[n, k] = dlog_prob[n] * (x[n, k] - exp(log_p[n, k]) * Σj(x[n, j]))
4.7 | cells = where(there, cells, 1); cell_log_p = part.log_prob(cells);
    log_p[n] = log_p[n] + Σv(there[n, v] * cell_log_p[n, v]);
    dcell_log_p[n, v] = where(there[n, v], dlog_prob[n], 0); dcells, dh_cells = part.log_prob_backward(dcell_log_p);
    dx: dx[:, at_x] = dcells; dh: dh[:, at_h] = dh_cells
4.7, missing | y = where(gone, 1, x); dx = where(gone, 0, dy)
4.7, layer | y: y[:, columns] = layer.forward(y[:, columns]); dx: dx[:, columns] = layer.backward(dx[:, columns])
4.7, seen | y = where(gone, 0, y)
4.8 | y = log(x); log_p = log(N(y, mu, σ)); log_prob: log(p(x, h)) = log(N(y, mu, σ)) - Σ(y);
    dy = -dlog_prob * (y - mu) / σ**2; dmu = dlog_prob * (y - mu) / σ**2;
    dlogvar = (1 / 2) * dlog_prob * ((y - mu)**2 / σ**2 - 1); dx, dh: dx = (dy - dlog_prob) / x;
    dx, dh: dh = [dmu | dlogvar]
4.8, first layer | y = log(x); dx = dy / x
5.3 | total = reconstruction - prior_matching
5.4 | kl = [consistency | prior_matching]; weighted[n] = alpha * reconstruction[n] - Σt(beta[t] * kl[n, t]);
    loss = -(1 / n) * Σn(alpha * reconstruction[n] - Σt(beta[t] * kl[n, t])); dreconstruction = -alpha / n;
    dkl[n, t] = beta[t] / n
5.4, weighted | dkl[n, t] = -beta[t] * dweighted[n]; delbo: dreconstruction = alpha * dweighted
5.4, parts | dkl = [dconsistency | dprior_matching]
6.1 | z = f.forward(x); h = g.forward(z); reconstruction = likelihood.log_prob(x, h);
    dx_r, dh = likelihood.log_prob_backward(dreconstruction); dz = g.backward(dh); dx_f = f.backward(dz);
    dx = dx_f + dx_r
6.2 | q = q.forward(x); h = p.forward(z); reconstruction = likelihood.log_prob(x, h);
    prior_matching = compare.forward(z, q, 0); dz_k, dq_k = compare.backward(dprior_matching);
    dx_r, dh = likelihood.log_prob_backward(dreconstruction); dz = p.backward(dh) + dz_k;
    dq = draw_backward(dz) + dq_k; dx_q = q.backward(dq); dx = dx_q + dx_r
7.1 | q[t] = q[t].forward(z[t - 1]); p[t - 1] = p[t].forward(z[t])
7.2 | kl[t] = compare[t].forward(z[t], q[t], p[t]); reconstruction = likelihood.log_prob(x, p[0]);
    total[n] = reconstruction[n] - Σt(kl[n, t])
7.3 | entropy = (1 / 2) * Σ(log(2 * π) + 1 + logvar_q); log_p = log(N(z, mu_p, σ_p));
    kl = -H(q) - log(N(z, mu_p, σ_p)); dz = dkl * (z - mu_p) / σ_p**2; dmu_p = -dkl * (z - mu_p) / σ_p**2;
    dlogvar_p = (1 / 2) * dkl * (1 - (z - mu_p)**2 / σ_p**2); dlogvar_q = -(1 / 2) * dkl
7.4 | dx, dp[0] = likelihood.log_prob_backward(dreconstruction);
    dz_3[t], dq[t], dp[t] = compare[t].backward(dkl[t]); dz_2[t] = p[t].backward(dp[t - 1]);
    dz = dz_1[t] + dz_2[t] + dz_3[t]; dq[t] = draw_backward(dz) + dq[t]; dz_1[t - 1] = q[t].backward(dq[t]);
    dx = dz_1[0] + dx
12.1 | m[t] = q[t].forward(mean); mean = left(m[t]); kl[t] = compare[t].forward(z, q, p); p = p[t].forward(z);
    q = merge(m[t - 1], p); reconstruction = likelihood.log_prob(x, p);
    total[n] = reconstruction[n] - Σt(kl[n, t])
12.3 | s = log(a / b); w = a / (a + b); diff = mu_m - mu_p; mu = (a * mu_m + b * mu_p) / (a + b);
    logvar = -log(a + b)
12.4 | dmu_m = w * dmu; dmu_p = (1 - w) * dmu; ds = dmu * (mu_m - mu_p) * w * (1 - w) - dlogvar * w;
    dlogvar_m = -ds; dlogvar_p = ds + dlogvar
12.5 | dx, dp = likelihood.log_prob_backward(dreconstruction); dz_p = p[t].backward(dp);
    dz_k, dq_k, dp = compare[t].backward(dkl[t]); dm[t] = draw_backward(dz_p + dz_k) + dq_k;
    dm[t], dp_m = merge_backward(dm[t]); dp = dp + dp_m; dmean = up_backward(dm); dx = dmean + dx
12.5, up | dmean = q[t].backward(dm[t]); dm: left(dm[t - 1]) = left(dm[t - 1]) + dmean
13.1 | a = signal.forward(x)
13.1, binary | a = 2 * x - 1
13.1 | signal: signal(gamma) = sqrt(ᾱ); spread: spread(gamma) = sqrt(1 - ᾱ); mu = sqrt(ᾱ) * a;
    logvar = log(1 - ᾱ); z_1 = sqrt(ᾱ_1) * a + sqrt(1 - ᾱ_1) * eps_1; z = sqrt(ᾱ) * a + sqrt(1 - ᾱ) * eps
13.4 | gamma, weight, constant = schedule.pick(time); h = read(rows(z_1, z), rows(gamma_1, gamma));
    reconstruction = likelihood.log_prob(x, h[:n]); prior_matching = (1 / 2) * Σ(ᾱ_T * a**2 - ᾱ_T - log(1 - ᾱ_T));
    a_hat = signal.guess(h[n:]); diff = a - â; w_diff = weight * (a - â);
    kl = D * constant + (1 / 2) * weight * square(a - â); total = reconstruction - prior_matching - kl
13.5, binary | own = 2 * sqrt(ᾱ) / (1 - ᾱ); gain = 1
13.5, real | own = sqrt(ᾱ); gain = sqrt(1 - ᾱ)
13.5 | time = π * (gamma - gamma_1) / (gamma_T - gamma_1); told[n, k] = cos(k * time[n]);
    f = f.forward([z | told]); h = own * z + gain * f; a_hat: â = tanh(h / 2); dh = dâ * (1 - â**2) / 2
13.5, f | dz = columns_of_z(f.backward(gain * dh))
13.5 | dz = own * dh + dz
13.6 | t = 1 + floor((T - 1) * time); gamma = gamma[t + 1];
    weight = (T - 1) * ρ * (e**-gamma[t] - e**-gamma[t + 1]); constant = (T - 1) * (ρ - 1 - log(ρ)) / 2
13.6, T = 1 | gamma = gamma_1; weight = 0; constant = 0
13.7 | gamma = gamma_1 + (gamma_T - gamma_1) * time; weight = (gamma_T - gamma_1) * e**-gamma; constant = 0
13.9 | da = dkl_1 * weight * (a - â); dx, dh_1 = likelihood.log_prob_backward(dreconstruction);
    dh = rows(dh_1, signal.guess_backward(-da)); dz = read_backward(dh); dmu_T = dprior_matching * sqrt(ᾱ_T) * a
13.9, sum | da = da + sqrt(ᾱ_z) * dz_z
13.9 | dx = dx + signal.backward(da)
13.9, binary | dx = 2 * da
14.1 | largest: m = largest(log_w); w = exp(log_w - m); total[n] = Σk(exp(log_w[n, k] - m[n]));
    L[n] = log((1 / K) * Σk(exp(log_w[n, k]))); dlog_w[n, k] = dL[n] * exp(log_w[n, k]) / Σj(exp(log_w[n, j]));
    log_w[n, k] = alpha * reconstruction[n, k] - Σt(beta[t] * kl[n, k, t]);
    w_tilde: w̃[n, k] = exp(log_w[n, k]) / Σj(exp(log_w[n, j]))
14.2 | log_q = log(N(z, mu_q, σ_q)); log_p = log(N(z, mu_p, σ_p));
    log_ratio = log(N(z, mu_q, σ_q)) - log(N(z, mu_p, σ_p)); kl = log(N(z, mu_q, σ_q)) - log(N(z, mu_p, σ_p));
    dz_q = -dlog_ratio * u_q; dmu_q = dlog_ratio * u_q; dlogvar_q = (1 / 2) * dlog_ratio * ((z - mu_q) * u_q - 1);
    dz_p = dlog_ratio * u_p; dmu_p = -dlog_ratio * u_p;
    dlogvar_p = -(1 / 2) * dlog_ratio * ((z - mu_p) * u_p - 1); dz = dlog_ratio * (u_p - u_q)
14.3 | dlog_w = -w̃ / n
14.6 | y = network.forward(x[::K])
14.6, repeat | y[n, k, j] = y[n, j]
14.6 | dx = network.backward(over_draws(dy))
14.6, repeat | dx[n, k, j] = dx[n, j] / K
"""

SYMBOLS = {                                            # what stands in an equation and not in the line's function
    "σ": "exp(logvar / 2)", "σ_q": "exp(logvar_q / 2)", "σ_p": "exp(logvar_p / 2)", "mu": "left(q); left(h)",
    "logvar": "right(q); right(h)", "mu_q": "left(q)", "logvar_q": "right(q)", "mu_p": "left(p)",
    "logvar_p": "right(p)", "mu_m": "left(m)", "logvar_m": "right(m)", "dmu": "left(dq)", "dlogvar": "right(dq)",
    "u_q": "(z - mu_q) / σ_q**2", "u_p": "(z - mu_p) / σ_p**2", "dlog_ratio": "dkl", "eps": "noise",
    "a": "exp(-logvar_m)", "b": "exp(-logvar_p)", "ᾱ": "1 / (1 + exp(gamma))", "ᾱ_1": "1 / (1 + exp(gamma_1))",
    "ᾱ_T": "1 / (1 + exp(gamma_T))", "ᾱ_z": "1 / (1 + exp(gamma_z))", "ρ": "v_q[t] / v_p[t]", "â": "a_hat",
    "dâ": "da", "D": "x_dim", "m": "largest", "w̃": "w_tilde"}


@dataclass
class Equation:
    """An entry of the table: its number, the word for its case, the names it is of, left and right as trees."""

    number: str
    case: str
    names: tuple[str, ...]
    left: ast.expr
    right: ast.expr

    @property
    def text(self) -> str:
        """Return the equation in the notation of MATH.md."""
        return f"{text(self.left)} = {text(self.right)}"


def base(target: str) -> str:
    """Return the bare name of what is assigned to: ``self.dW`` is dW, ``z[t - 1]`` is z, ``elbo.total`` is total."""
    return target.partition("[")[0].rpartition(".")[2]


@lru_cache(maxsize=None)
def table() -> list[Equation]:
    """Return the entries."""
    found = []
    for line in re.sub(r"\n +", " ", TABLE.strip()).splitlines():
        head, _, bodies = line.partition(" | ")
        number, _, case = head.partition(", ")
        for body in bodies.split("; "):
            given = re.match(r"([\w, ]+): ", body)
            sides = body[given.end() if given else 0:].split(" = ", 1)
            left, right = (ast.parse(side, mode="eval").body for side in sides)
            own = left.elts if isinstance(left, ast.Tuple) else [left]
            called = given.group(1).split(", ") if given else [base(ast.unparse(e)) for e in own]
            found.append(Equation(number, case, tuple(called), left, right))
    return found


def reference(comment: str) -> tuple[str, str] | None:
    """Return the number with which a comment ends, and its word: ``"(n,)   (3.5, N(0, I))"``."""
    found = re.search(r"(?:^|  )\((\d+\.\d+)(?:, ((?:[^()]|\([^()]*\))*))?\)$", comment.strip())
    return (found.group(1), found.group(2) or "") if found else None


def select(number: str, case: str, names: list[str]) -> Iterator[Equation]:
    """Yield the equations of a line: that of all its names together, else those of each."""
    mine = [e for e in table() if (e.number, e.case) == (number, case)]
    wanted = tuple(n for n in map(base, names) if n not in ("_", "cache") and not n.endswith("_cache"))
    together = [e for e in mine if e.names == wanted]
    yield from together or [e for e in mine if len(e.names) == 1 and e.names[0] in wanted]


@lru_cache(maxsize=None)
def sections() -> dict[str, tuple[str, str]]:
    """Return the equations of MATH.md by number: the title, and the text below it."""
    math = (Path(__file__).parent.parent / "MATH.md").read_text(encoding="utf-8")
    parts = re.split(r"^### \((\d+\.\d+)\) (.*)\n", math, flags=re.MULTILINE)
    return {number: (title, re.split(r"^##? ", body, flags=re.MULTILINE)[0].strip("\n"))
            for number, title, body in zip(parts[1::3], parts[2::3], parts[3::3])}


@lru_cache(maxsize=None)
def symbols() -> list[tuple[str, str]]:
    """Return the table of symbols of MATH.md: what stands for what, and where it stands for something else."""
    math = (Path(__file__).parent.parent / "MATH.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \| (.*?) \| ?(.*?) ?\|$", math.replace(r"\|", "¦"), re.MULTILINE)
    return [(row[0].replace("¦", "|"), "; elsewhere: ".join(filter(None, row[1:])).replace("¦", "|"))
            for row in rows if row[0] not in ("symbol", "---")]
