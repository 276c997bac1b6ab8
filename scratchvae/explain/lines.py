"""Which equation of MATH.md each statement of the math is: a table.

Under the name of a function stands, for each of its statements, what the statement
assigns to (or "return", or the statement itself, if it assigns nothing), and behind two
blanks its equation: a number of MATH.md and how the formula begins there.  Several are
parted by semicolons.  "-" says that the statement is plumbing: it hands things on, or
makes room for them.  Statements in which nothing is computed, names alone, need no entry,
nor do the heads of ``if`` and ``for``.  Where two statements of a function assign to the
same names, the one that is meant has its ``= called.function`` behind them.

``tests/explain`` fails if a statement is missing here, or an entry is of none.
"""

from __future__ import annotations

import ast

TABLE = """
layers.softplus
    return                                      1.5 log(1 + eˣ) = max
layers.sigmoid
    return                                      1.6 1/(1 + e⁻ˣ) = e^min
layers.Dense.forward
    return                                      1.2 y
layers.Dense.backward
    self.dW                                     1.2 dW
    self.db                                     1.2 db
    return                                      1.2 dx
    return np.empty                             -
layers.Tanh.forward
    y                                           1.3 y
layers.Tanh.backward
    return                                      1.3 dx
layers.ReLU.forward
    y                                           1.4 y
layers.ReLU.backward
    return                                      1.4 dx
layers.LeakyReLU.forward
    return                                      1.4 y
layers.LeakyReLU.backward
    return                                      1.4 dx
layers.Softplus.forward
    return                                      1.5 y
layers.Softplus.backward
    return                                      1.5 dx
layers.Sigmoid.forward
    y                                           1.6 y
layers.Sigmoid.backward
    return                                      1.6 dx

mlp.MLP.forward
    x, cache                                    2.1 x_k
    caches.append(cache)                        -
mlp.MLP.backward
    first, *rest                                -
    dy                                          2.1 dx_{k-1}
    return                                      2.1 dx_{k-1}

gaussian.halves
    d                                           -
    return                                      3.1 h
gaussian.halves_backward
    return                                      3.1 dh
gaussian.sample
    std                                         3.2 σ
    offset                                      3.2 z
    return                                      3.2 z
gaussian.sample_backward
    dmu                                         3.2 dmu
    dlogvar                                     3.2 dlogvar
gaussian.log_prob
    diff                                        3.3 u
    u                                           3.3 u
    return                                      3.3 log N
gaussian.log_prob_backward
    dmu                                         3.3 dmu
    dz                                          3.3 dz
    dlogvar                                     3.3 dlogvar
gaussian.entropy
    return                                      3.4 H
gaussian.entropy_backward
    return                                      3.4 dlogvar
gaussian.kl
    r                                           3.5 KL( q || p )
    excess                                      3.5 KL( q || p )
    diff                                        3.5 u
    u                                           3.5 u
    return                                      3.5 KL( q || p )
gaussian.kl_backward
    dmu_q                                       3.5 dmu_q
    dlogvar_q                                   3.5 dlogvar_q
    dmu_p                                       3.5 dmu_p
    dlogvar_p                                   3.5 dlogvar_p
gaussian.kl_standard
    excess                                      3.5 KL( q || N
    return                                      3.5 KL( q || N
gaussian.kl_standard_backward
    dmu                                         3.5 dmu =
    dlogvar                                     3.5 dlogvar =
gaussian.log_ratio
    log_q, q_cache                              3.3 log N
    log_p, p_cache                              3.3 log N
    return                                      14.2 log w
gaussian.log_ratio_backward
    dz_q, dmu_q, dlogvar_q                      14.2 dmu_q; 14.2 dlogvar_q
    dz_p, dmu_p, dlogvar_p                      14.2 dmu_p; 14.2 dlogvar_p
    return                                      14.2 dz
gaussian.merge
    s                                           12.3 s
    w                                           12.3 w
    diff                                        12.3 mu
    return                                      12.3 mu; 12.3 logvar
gaussian.merge_backward
    dmu_m                                       12.4 dm =
    dmu_p                                       12.4 dmu_p
    ds                                          12.4 ds
    dlogvar_m                                   12.4 dlogvar_m
    dlogvar_p                                   12.4 dlogvar_p

likelihood.Bernoulli.log_prob
    e                                           4.1 log p
    log_p                                       4.1 log p
    return                                      4.1 log p
likelihood.Bernoulli.log_prob_backward
    s                                           4.1 dlogits
    dx                                          4.1 dx
    dlogits                                     4.1 dlogits
likelihood.Bernoulli.mean
    return                                      4.3 E[x
likelihood.Gaussian._mu_logvar
    return                                      4.2 h =
likelihood.Gaussian.log_prob
    mu, logvar                                  4.2 h =
    return                                      4.2 log p
likelihood.Gaussian.log_prob_backward
    dx, dmu, dlogvar                            4.2 dx
    return                                      4.2 dh
likelihood.Gaussian.mean
    return                                      4.3 E[x
mixed.Logarithm.forward
    return                                      4.8 log x
mixed.Logarithm.backward
    return                                      4.8 log x
mixed.LogNormal.log_prob
    y                                           4.8 log p
    log_p, cache                                3.3 log N
    return                                      4.8 log p
mixed.LogNormal.log_prob_backward
    dy, dmu, dlogvar                            4.2 dx
    return                                      4.8 dx

discrete.log_factorial
    u                                           4.4 u =
    v                                           4.4 log x!
    series                                      4.4 log x!
    below                                       4.4 log x!
    return                                      4.4 log x!
discrete.log_factorial_backward
    u                                           4.4 u =
    v                                           4.4 dx
    slope                                       4.4 dx
    slope_below                                 4.4 dx
    return                                      4.4 dx
discrete.LogOnePlus.forward
    return                                      4.5 log(1 + x)
discrete.LogOnePlus.backward
    return                                      4.5 log(1 + x)
discrete.Poisson.log_prob
    rate                                        4.5 E[x | h]
    constant, f_cache                           4.4 log x!
    return                                      4.5 log p
discrete.Poisson.log_prob_backward
    dh                                          4.5 dh
    dx                                          4.5 dx
discrete.Categorical._log_softmax
    top                                         4.6 log p
    return                                      4.6 log p
discrete.Categorical.log_prob
    log_p                                       4.6 p =
    return                                      4.6 log p
discrete.Categorical.log_prob_backward
    dx                                          4.6 dx_k
    dlogits                                     4.6 dlogits_k

mixed.Mixed.log_prob
    x                                           -
    cells = np.where                            4.7 log p(x_there | h)
    cells                                       -
    there                                       4.7 log p(x_there | h)
    cell_log_p, cache                           4.7 log p_v
    log_p                                       4.7 log p(x_there | h)
    caches.append((there, cache))               -
mixed.Mixed.log_prob_backward
    n                                           -
    dx, dh                                      -
    dcell_log_p                                 4.7 dh_v, dx_v
    dcells, dh_cells                            4.7 dh_v, dx_v
    dx[:, at_x]                                 4.7 dh_v, dx_v
    dh[:, at_h]                                 4.7 dh_v, dx_v
mixed.Seen.forward
    gone                                        -
    y                                           -
    y[:, columns], cache                        4.5 log(1 + x)
    caches.append(cache)                        -
    return                                      -
mixed.Seen.backward
    dx                                          4.7 dh_v, dx_v
    dx[:, columns]                              4.5 log(1 + x)
    return                                      -

model.ELBO.kl
    return                                      -
model.ELBO.loss
    return                                      5.4 loss
model.Model.check_beta
    return                                      -

autoencoder.Autoencoder.bound
    n                                           -
    z, f_cache                                  6.1 z
    h, g_cache                                  6.1 h
    reconstruction, r_cache                     6.1 R
    elbo                                        -
autoencoder.Autoencoder.backward
    alpha, _                                    -
    dreconstruction                             5.4 dR
    dx_r, dh                                    6.1 dh
    dz                                          6.1 dz
    dx_f                                        6.1 dx
    return                                      6.1 dx

vae.VAE.bound
    n                                           -
    h_q, q_cache                                6.2 [ mu
    mu, logvar                                  6.2 [ mu
    z, z_cache                                  6.2 z
    h_p, p_cache                                6.2 h
    reconstruction, r_cache                     6.2 R
    zero                                        -
    prior_matching, k_cache                     6.2 P
    prior_matching, k_cache = gaussian.log_ratio    14.2 log w
    elbo                                        5.3 ELBO
vae.VAE.backward
    alpha                                       -
    dreconstruction                             5.4 dR
    dprior_matching                             5.4 dKL_t
    dz_k, dmu_k, dlogvar_k, *_                  14.2 dz; 14.2 dmu_q; 14.2 dlogvar_q
    dmu_k, dlogvar_k                            6.2 dmu =; 6.2 dlogvar =
    dx_r, dh_p                                  6.2 dh
    dz                                          6.2 dz
    dz = dz + dz_k                              1.1 dv
    dz = to_q[:, None] * dz                     14.5 ∇_φ L_K
    dmu_z, dlogvar_z                            6.2 dmu +=; 6.2 dlogvar +=
    dh_q = gaussian.halves_backward(dmu_z + dmu_k, dlogvar_z + dlogvar_k)    1.1 dv; 3.1 dh
    dh_q = gaussian.halves_backward(dmu_z, dlogvar_z)    14.4 dh_q = [ dmu_z |
    dx_q                                        2.1 dx_{k-1}
    return                                      6.2 dx

hvae.HVAE.levels
    return                                      -
hvae.HVAE.bound
    n, T                                        -
    h, cache['q', t]                            7.1 q(z_1
    mu_q[t], logvar_q[t]                        3.1 h
    z[t], cache['z', t]                         3.2 z
    h, cache['p', 1]                            7.1 p(x
    reconstruction, cache['R']                  7.2 R
    zero                                        -
    prior_matching, cache['P']                  7.2 P
    prior_matching, cache['P'] = gaussian.log_ratio    14.2 log w
    consistency                                 -
    h, cache['p', t + 1]                        7.1 p(x
    mu_p, logvar_p                              3.1 h
    consistency[:, t - 1], cache['C', t] = gaussian.log_ratio    14.2 log w
    entropy, cache['H', t]                      3.4 H
    log_p, cache['C', t]                        3.3 log N
    consistency[:, t - 1]                       7.3 C_t
    consistency[:, t - 1], cache['C', t] = gaussian.kl    8.1 C'_t
    return                                      7.2 ELBO
hvae.HVAE.backward
    n, T, drawn, alpha                          -
    dreconstruction                             5.4 dR
    dkl                                         5.4 dKL_t
    zero                                        -
    dz_3[t], dmu_q[t], dlogvar_q[t], dmu_p, dlogvar_p    14.2 dz; 14.2 dmu_q; 14.2 dlogvar_q; 14.2 dmu_p; 14.2 dlogvar_p
    dmu_q[t], dlogvar_q[t]                      3.4 dlogvar
    dz_3[t], dmu_p, dlogvar_p                   7.4 + (beta_t
    dmu_q[t], dlogvar_q[t], dmu_p, dlogvar_p    3.5 dmu_q; 3.5 dlogvar_q; 3.5 dmu_p; 3.5 dlogvar_p
    dh                                          3.1 dh
    dz_2[t + 1]                                 7.4 + dh_p
    dz_3[T], dmu_q[T], dlogvar_q[T], *_         14.2 dz; 14.2 dmu_q; 14.2 dlogvar_q
    dmu_q[T], dlogvar_q[T]                      3.5 dmu =; 3.5 dlogvar =
    dx, dh                                      6.2 dh
    dz_2[1]                                     7.4 + dh_p
    dz_2[t], dz_3[t], dmu_q[t], dlogvar_q[t]    14.5 ∇_φ L_K
    dz                                          7.4 dz_t
    dmu_z, dlogvar_z                            3.2 dmu; 3.2 dlogvar
    dh = gaussian.halves_backward(dmu_z + dmu_q[t], dlogvar_z + dlogvar_q[t])    7.4 dmu_q; 7.4 dlogvar_q; 3.1 dh
    dz_1[t - 1]                                 7.4 dz_t
    dh = gaussian.halves_backward(dmu_z, dlogvar_z)    14.4 dh_q = [ dmu_z |
    self.q[t].backward(dh, cache['q', t], False)    14.4 dh_q = [ dmu_z |
    return                                      1.1 dv

topdown.TopDown.bound
    n, T                                        -
    h, cache['q', t]                            12.1 [ m_t
    m[t], logvar_m[t]                           3.1 h
    consistency                                 -
    z, cache['z', T]                            3.2 z
    zero                                        -
    prior_matching, cache['P']                  3.5 KL( q || N
    prior_matching, cache['P'] = gaussian.log_ratio    14.2 log w
    h, cache['p', t + 1]                        7.1 p(x
    mu_p, logvar_p                              3.1 h
    mu_q, logvar_q, cache['M', t]               12.2 z | m
    z, cache['z', t]                            3.2 z
    consistency[:, t - 1], cache['C', t] = gaussian.log_ratio    14.2 log w
    consistency[:, t - 1], cache['C', t] = gaussian.kl    12.1 C_t
    h, cache['p', 1]                            7.1 p(x
    reconstruction, cache['R']                  7.2 R
    return                                      12.1 ELBO
topdown.TopDown.backward
    n, T, drawn, alpha                          -
    dreconstruction                             5.4 dR
    dkl                                         5.4 dKL_t
    dx, dh                                      6.2 dh
    to_z                                        14.5 ∇_φ L_K
    dz                                          12.5 dz_t
    dz = dz +                                   1.1 dv
    dz_k, dmu_k, dlogvar_k, dmu_p, dlogvar_p    14.2 dz; 14.2 dmu_q; 14.2 dlogvar_q; 14.2 dmu_p; 14.2 dlogvar_p
    dmu_k, dlogvar_k, dmu_p, dlogvar_p          3.5 dmu_q; 3.5 dlogvar_q; 3.5 dmu_p; 3.5 dlogvar_p
    dmu_z, dlogvar_z                            3.2 dmu; 3.2 dlogvar
    self.p[t].backward(dh, cache['p', t], False)    14.4 ∇_φ ELBO
    dmu_k, dlogvar_k = (to_q[:, None] * dmu_k, to_q[:, None] * dlogvar_k)    14.5 ∇_φ L_K
    dm[t], dlogvar_m[t], dmu_b, dlogvar_b       12.4 dm =; 12.4 dlogvar_m; 12.4 dmu_p; 12.4 dlogvar_p
    dh, to_z                                    12.5 dh
    dh                                          12.5 dh
    dmu_k, dlogvar_k                            3.5 dmu =; 3.5 dlogvar =
    dz_k, dmu_k, dlogvar_k, *_                  14.2 dz; 14.2 dmu_q; 14.2 dlogvar_q
    dm[T], dlogvar_m[T]                         12.5 dmu_q; 12.5 dlogvar_q
    self.p[T].backward(dh, cache['p', T], False)    14.4 ∇_φ ELBO
    dh = gaussian.halves_backward(dm[t], dlogvar_m[t])    3.1 dh
    wanted                                      -
    dbelow                                      12.5 dm_{t-1}
    dm[t - 1]                                   12.5 dm_{t-1}

schedule.signal
    return                                      13.1 ᾱ
schedule.spread
    return                                      13.1 1 - ᾱ
schedule.Schedule.pick
    first, last                                 -
    gamma                                       13.7 Σ_{t<T} KL_t
    t                                           13.6 t = 1 + floor
    return                                      13.6 Σ_{t<T} KL_t
diffusion.Diffusion.to_signal
    return                                      13.1 a = x
diffusion.Diffusion.column
    return                                      -
diffusion.Diffusion.read
    own                                         13.5 h = 2; 13.5 h = √ᾱ z
    gain                                        13.5 h = 2; 13.5 h = √ᾱ z
    time                                        13.5 f sees
    told                                        13.5 f sees
    own, gain                                   -
    f, f_cache                                  13.5 f sees
    return                                      13.5 h = 2; 13.5 h = √ᾱ z
diffusion.Diffusion.read_backward
    dz                                          13.5 df
    return                                      13.5 dz
diffusion.Diffusion.guess
    return                                      13.5 â = 2; 13.5 â = h
diffusion.Diffusion.guess_backward
    return                                      13.5 dh
diffusion.Diffusion.q
    return                                      13.1 q(z_t | x)
diffusion.Diffusion.bound
    n, time, eps_1, eps                         -
    a                                           13.1 a = x
    gamma_1                                     -
    gamma, weight, constant                     13.6 t = 1 + floor
    z_1, _                                      13.1 q(z_t | x); 3.2 z
    z, _                                        13.1 q(z_t | x); 3.2 z
    h, f_cache                                  13.5 h = 2; 13.5 h = √ᾱ z
    reconstruction, r_cache                     7.2 R
    prior_matching, k_cache                     13.1 q(z_t | x); 3.5 KL( q || N
    a_hat                                       13.5 â = 2; 13.5 â = h
    diff                                        13.3 KL
    w_diff                                      13.3 KL
    kl                                          13.3 KL; 13.6 Σ_{t<T} KL_t
    elbo                                        13.4 ELBO
diffusion.Diffusion.backward
    f_cache, r_cache, k_cache, a_hat, w_diff, gamma, n, alpha    -
    dkl                                         5.4 dKL_t
    da                                          13.9 da
    da = dkl[0] * w_diff                        13.9 dâ; 13.9 da
    dreconstruction                             5.4 dR
    dx, dh_1                                    13.9 dh_1
    dh                                          13.5 dh
    dz                                          13.5 dz
    dmu_T, _                                    3.5 dmu =
    return                                      13.9 dx
    return dz[:n]                               -

importance.log_mean_exp
    largest                                     14.1 m
    w                                           14.1 L
    total                                       14.1 L
    return                                      14.1 L; 14.1 ∂/∂log w_k
importance.log_mean_exp_backward
    return                                      14.1 ∂/∂log w_k
importance.Importance.check_beta
    checked                                     -
importance.Importance.bound
    rows                                        14.6 h_k
    elbo, cache                                 14.2 log w
importance.Importance.value
    log_w                                       14.1 log w_k
    L, cache                                    14.1 L
    return                                      14.1 ∂/∂log w_k
    return (log_w.mean(axis=1), np.full_like(log_w, 1 / self.K))    5.3 ELBO
importance.Importance.backward
    beta                                        -
    _, w_tilde                                  14.1 ∂/∂log w_k
    to_q = np.ones_like(w_tilde).ravel()        14.4 ∇_φ ELBO
    to_q                                        14.5 ∇_φ L_K
    to_q = None                                 -
    self.asked_once.backward(model_cache, beta, alpha, weight=self.K * w_tilde.ravel(), to_q=to_q)    14.3 ∇ L_K
importance.Once.forward
    y, cache                                    14.6 h_k
    return                                      14.6 h_k
importance.Once.backward
    dx                                          14.6 dh
    return                                      14.6 dh
"""


def read_table() -> dict[str, dict[str, str]]:
    """Return the table: by the function, by the statement; "" for plumbing."""
    found: dict[str, dict[str, str]] = {}
    entries: dict[str, str] = {}
    for line in TABLE.splitlines():
        if line.startswith(" "):
            statement, _, reference = line.strip().partition("  ")
            entries[statement] = reference.strip().removeprefix("-")
        elif line:
            entries = found.setdefault(line, {})
    return found


LINES = read_table()


def reference_of(function: str, statement: str, node: ast.stmt) -> str | None:
    """Return what the table has for a statement: references, "" for plumbing, None if it has nothing.

    Parameters
    ----------
    function, statement : str
        Their names.
    node : ast.stmt
        The statement.
    """
    entries = LINES.get(function, {})
    for key in keys_of(statement, node):
        if key in entries:
            return entries[key]
    return None if computes(node) else ""


def keys_of(statement: str, node: ast.stmt) -> list[str]:
    """Return the keys of a statement in the table, the most special first: its text, up to a bracket, its name."""
    if isinstance(node, (ast.If, ast.For)):
        return [statement]
    if isinstance(node, ast.Assign):                   # not as a whole: Python 3.10 sets brackets around targets
        left = [", ".join(map(ast.unparse, target.elts)) if isinstance(target, ast.Tuple) else ast.unparse(target)
                for target in node.targets]
        text = " = ".join([*left, ast.unparse(node.value)])
    else:
        text = ast.unparse(node)
    return [text, text.partition("(")[0].strip(), statement]


def computes(node: ast.stmt) -> bool:
    """Whether a statement computes or calls anything; one of names alone, or a head of ``if`` or ``for``, does not."""
    if isinstance(node, (ast.If, ast.For, ast.Raise)):
        return False
    value = getattr(node, "value", node)
    return any(isinstance(part, (ast.Call, ast.BinOp, ast.UnaryOp)) for part in ast.walk(value))
