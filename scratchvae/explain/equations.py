"""Which equation of MATH.md each statement of the math is.

``LINES["gaussian.sample"]["offset"]`` is "3.2 z": equation (3.2), the formula that
begins with z.  Names stand as the statement has them on its left, or "return", "if",
"for".  "" says that the statement is plumbing: it hands things on, and computes nothing.
`formula` reads the formula itself from MATH.md, so that it is written in one place.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

BACKWARD_OF_MODEL = {"dreconstruction": "5.4 dR", "dkl": "5.4 dKL_t", "alpha": "", "return": "1.1 dv"}
LEVELS = {"for t": "", "n, T": "", "n, T, alpha": "", "zero": "", "if self.consistency == 'sampled'": "",
          "cache": "", "wanted": ""}

LINES: dict[str, dict[str, str]] = {
    "layers.Dense.forward": {"return": "1.2 y"},
    "layers.Dense.backward": {"x": "", "self.dW": "1.2 dW", "self.db": "1.2 db", "if not input_gradient": "",
                              "return": "1.2 dx"},
    "layers.Tanh.forward": {"y": "1.3 y", "return": ""},
    "layers.Tanh.backward": {"y": "", "return": "1.3 dx"},
    "layers.ReLU.forward": {"y": "1.4 y", "return": ""},
    "layers.ReLU.backward": {"y": "", "return": "1.4 dx"},
    "layers.LeakyReLU.forward": {"return": "1.4 y"},
    "layers.LeakyReLU.backward": {"x": "", "return": "1.4 dx"},
    "layers.Softplus.forward": {"return": "1.5 y"},
    "layers.Softplus.backward": {"x": "", "return": "1.5 dx"},
    "layers.Sigmoid.forward": {"y": "1.6 y", "return": ""},
    "layers.Sigmoid.backward": {"y": "", "return": "1.6 dx"},
    "layers.softplus": {"return": "1.5 log(1 + eˣ) = max"},
    "layers.sigmoid": {"return": "1.6 1/(1 + e⁻ˣ) = e^min"},
    "mlp.MLP.forward": {"caches": "", "for layer": "", "x, cache": "2.1 x_k", "caches.append(cache)": "", "return": ""},
    "mlp.MLP.backward": {"first, *rest": "", "for layer, cache": "", "dy": "2.1 dx_{k-1}", "return": "2.1 dx_{k-1}"},
    "gaussian.halves": {"d": "", "return": "3.1 h"},
    "gaussian.halves_backward": {"return": "3.1 dh"},
    "gaussian.sample": {"std": "3.2 σ", "offset": "3.2 z", "return": "3.2 z"},
    "gaussian.sample_backward": {"offset": "", "dmu": "3.2 dmu", "dlogvar": "3.2 dlogvar", "return": ""},
    "gaussian.log_prob": {"diff": "3.3 u", "u": "3.3 u", "return": "3.3 log N"},
    "gaussian.log_prob_backward": {"diff, u": "", "dmu": "3.3 dmu", "dz": "3.3 dz", "dlogvar": "3.3 dlogvar",
                                   "return": ""},
    "gaussian.entropy": {"return": "3.4 H"},
    "gaussian.entropy_backward": {"logvar": "", "return": "3.4 dlogvar"},
    "gaussian.kl": {"r": "3.5 KL( q || p )", "excess": "3.5 KL( q || p )", "diff": "3.5 u", "u": "3.5 u", "return": "3.5 KL( q || p )"},
    "gaussian.kl_backward": {"excess, diff, u": "", "dmu_q": "3.5 dmu_q", "dlogvar_q": "3.5 dlogvar_q",
                             "dmu_p": "3.5 dmu_p", "dlogvar_p": "3.5 dlogvar_p", "return": ""},
    "gaussian.kl_standard": {"excess": "3.5 KL( q || N", "return": "3.5 KL( q || N"},
    "gaussian.kl_standard_backward": {"excess, mu": "", "dmu": "3.5 dmu =", "dlogvar": "3.5 dlogvar =", "return": ""},
    "gaussian.merge": {"s": "12.3 s", "w": "12.3 w", "diff": "12.3 mu", "return": "12.3 mu; 12.3 logvar"},
    "gaussian.merge_backward": {"w, diff": "", "dmu_m": "12.4 dm =", "dmu_p": "12.4 dmu_p", "ds": "12.4 ds",
                                "dlogvar_m": "12.4 dlogvar_m", "dlogvar_p": "12.4 dlogvar_p", "return": ""},
    "likelihood.Bernoulli.log_prob": {"e": "1.5 log(1 + eˣ) = max", "log_p": "4.1 log p", "return": "4.1 log p"},
    "likelihood.Bernoulli.log_prob_backward": {"x, logits, e": "", "s": "1.6 1/(1 + e⁻ˣ) = e^min", "dx": "4.1 dx",
                                               "dlogits": "4.1 dlogits", "return": ""},
    "likelihood.Gaussian._mu_logvar": {"if self.logvar is None": "", "return": "4.2 h"},
    "likelihood.Gaussian.log_prob": {"mu, logvar": "4.2 h", "return": "4.2 log p"},
    "likelihood.Gaussian.log_prob_backward": {"dx, dmu, dlogvar": "4.2 dx", "return": "4.2 dh"},
    "autoencoder.Autoencoder.bound": {"n": "", "z, f_cache": "6.1 z", "h, g_cache": "6.1 h",
                                      "reconstruction, r_cache": "6.1 R", "elbo": "", "return": ""},
    "autoencoder.Autoencoder.backward": {"alpha, _": "", "f_cache, g_cache, r_cache, n": "",
                                         "dreconstruction": "5.4 dR", "dx_r, dh": "6.1 dh", "dz": "6.1 dz",
                                         "dx_f": "6.1 dx", "return": "6.1 dx"},
    "vae.VAE.bound": {"n": "", "h_q, q_cache": "6.2 [ mu", "mu, logvar": "6.2 [ mu", "z, z_cache": "6.2 z",
                      "h_p, p_cache": "6.2 h", "reconstruction, r_cache": "6.2 R", "prior_matching, k_cache": "6.2 P",
                      "elbo": "5.3 ELBO", "return": ""},
    "vae.VAE.backward": {"q_cache, z_cache, p_cache, r_cache, k_cache, n": "", "dprior_matching": "5.4 dKL_t",
                         "dmu_k, dlogvar_k": "6.2 dmu =; 6.2 dlogvar =", "dx_r, dh_p": "6.2 dh", "dz": "6.2 dz",
                         "dmu_z, dlogvar_z": "6.2 dmu +=; 6.2 dlogvar +=", "dh_q": "1.1 dv", "dx_q": "6.2 dx",
                         **BACKWARD_OF_MODEL, "return": "6.2 dx"},
    "hvae.HVAE.levels": {"return": ""},
    "model.ELBO.loss": {"return": "5.4 loss"},
    "model.ELBO.kl": {"return": ""},
    "model.Model.check_beta": {"return": ""},
    "hvae.HVAE.bound": {**LEVELS, "z, mu_q, logvar_q": "", "h, cache['q', t]": "7.1 q(z_1",
                        "mu_q[t], logvar_q[t]": "3.1 h", "z[t], cache['z', t]": "3.2 z",
                        "h, cache['p', 1]": "7.1 p(x", "reconstruction, cache['R']": "7.2 R",
                        "prior_matching, cache['P']": "7.2 P", "consistency": "", "h, cache['p', t + 1]": "7.1 p(x",
                        "mu_p, logvar_p": "3.1 h", "entropy, cache['H', t]": "3.4 H", "log_p, cache['C', t]": "3.3 log N",
                        "consistency[:, t - 1]": "7.3 C_t", "consistency[:, t - 1], cache['C', t]": "8.1 C'_t",
                        "return": "7.2 ELBO"},
    "hvae.HVAE.backward": {**BACKWARD_OF_MODEL, **LEVELS, "dmu_q, dlogvar_q, dz_1, dz_2, dz_3": "",
                           "dmu_q[t], dlogvar_q[t]": "3.4 dlogvar", "dz_3[t], dmu_p, dlogvar_p": "7.4 + (beta_t",
                           "dmu_q[t], dlogvar_q[t], dmu_p, dlogvar_p": "3.5 dmu_q; 3.5 dlogvar_q; 3.5 dmu_p; 3.5 dlogvar_p",
                           "dz_3[t]": "", "dh": "3.1 dh", "dz_2[t + 1]": "7.4 + dh_p", "dmu_q[T], dlogvar_q[T]":
                           "3.5 dmu =; 3.5 dlogvar =", "dx, dh": "6.2 dh", "dz_2[1]": "7.4 + dh_p",
                           "dz": "7.4 dz_t", "dmu_z, dlogvar_z": "3.2 dmu; 3.2 dlogvar", "dz_1[t - 1]": "7.4 dz_t"},
    "topdown.TopDown.bound": {**LEVELS, "m, logvar_m": "", "h, cache['q', t]": "2.1 x_k",
                              "m[t], logvar_m[t]": "3.1 h", "consistency": "", "mu_q, logvar_q": "",
                              "prior_matching, cache['P']": "3.5 KL( q || N", "z, cache['z', t + 1]": "3.2 z",
                              "h, cache['p', t + 1]": "2.1 x_k", "mu_p, logvar_p": "3.1 h",
                              "mu_q, logvar_q, cache['M', t]": "12.2 z | m",
                              "consistency[:, t - 1], cache['C', t]": "12.1 C_t", "z, cache['z', 1]": "3.2 z",
                              "h, cache['p', 1]": "2.1 x_k", "reconstruction, cache['R']": "7.2 R",
                              "return": "12.1 ELBO"},
    "topdown.TopDown.backward": {**BACKWARD_OF_MODEL, **LEVELS, "dm, dlogvar_m": "", "dx, dh": "6.2 dh",
                                 "dz": "12.5 dz_t", "dmu_z, dlogvar_z": "3.2 dmu; 3.2 dlogvar",
                                 "dmu_k, dlogvar_k, dmu_p, dlogvar_p":
                                 "3.5 dmu_q; 3.5 dlogvar_q; 3.5 dmu_p; 3.5 dlogvar_p",
                                 "dm[t], dlogvar_m[t], dmu_b, dlogvar_b": "12.4 dm =; 12.4 dlogvar_m; 12.4 dmu_p; 12.4 dlogvar_p",
                                 "dh": "12.5 dh", "dmu_k, dlogvar_k": "3.5 dmu =; 3.5 dlogvar =",
                                 "dm[T], dlogvar_m[T]": "12.5 dmu_q; 12.5 dlogvar_q", "dm[0]": "",
                                 "dbelow": "12.5 dm_{t-1}", "dm[t - 1]": "12.5 dm_{t-1}", "return": ""},
}


@lru_cache(maxsize=None)
def blocks() -> dict[str, tuple[str, list[str]]]:
    """Return the equations of MATH.md by number: the title, and the formulas in the order of the text."""
    text = (Path(__file__).parent.parent / "MATH.md").read_text(encoding="utf-8")
    found = {}
    parts = re.split(r"^### \((\d+\.\d+)\) (.*)\n", text, flags=re.MULTILINE)
    for number, title, body in zip(parts[1::3], parts[2::3], parts[3::3]):
        lines = [line[4:] for line in body.splitlines() if line.startswith("    ")]
        found[number] = (title, list(formulas(lines)))
    return found


def formulas(lines: list[str]) -> list[str]:
    """Split lines into formulas: three blanks, or two after a comma, part them; a line that begins with = or + goes on."""
    found: list[str] = []
    begun = 0
    for line in lines:
        line = re.sub(r"\s+(=|≈|\+=|-|>=|~)\s+", r" \1 ", line) if not line.strip().startswith(("=", "+")) else line
        line = re.sub(r"\s+by ", " by ", line)
        pieces = [piece.strip().rstrip(",") for piece in re.split(r",\s{2,}|\s{2,}|:\s{2,}", line.strip()) if piece.strip()]
        if pieces and pieces[0].startswith(("= ", "+ ")) and found:
            found.append(pieces[0])
            found[begun] += " " + pieces[0]
            pieces = pieces[1:]
        else:
            begun = len(found)
        found += pieces
    return found


def formula(reference: str) -> tuple[str, str]:
    """Return the number and the formula of a reference such as "3.2 z"."""
    number, _, start = reference.partition(" ")
    exact = [f for f in blocks()[number][1] if f == start or f.startswith((start + " ", start + "(", start + ":"))]
    loose = [f for f in blocks()[number][1] if f.startswith(start)]
    if not (exact or loose):
        raise ValueError(f"MATH ({number}) has no formula that begins with {start!r}")
    return number, (exact or loose)[0]


def reference_of(function: str, statement: str) -> str | None:
    """Return what the table has for a statement: references, "" for plumbing, None if it has nothing."""
    lines = LINES.get(function, {})
    return lines.get(statement)
