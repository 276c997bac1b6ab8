"""The exercises in their order: which functions of the library, the hint, and what is often written instead."""

from __future__ import annotations

from functools import partial

from grader.cases_densities import (bernoulli_terms, kl_standard_terms, kl_terms, log_prob_terms, pair_cases,
                                    sample_terms)
from grader.cases_layers import dense_cases, relu_cases, softplus_cases, tanh_cases
from grader.cases_models import adam_cases, hvae_cases, vae_cases
from gallery.bugs import Bug
from grader.tasks import Exercise

EXERCISES = [
    Exercise("01_dense_forward", "layers", ("Dense.forward",), """
        x @ self.W is the matrix product: row i of x with column j of W. Its shape is (n, n_out), and self.b has
        (n_out,): NumPy adds it to every row by itself.
        """, partial(dense_cases, "forward"), (
        Bug("the bias is missing", "y is x W without b.", [("layers:Dense.forward", " + self.b", "")]),
        Bug("the bias has the wrong sign", "It should be added.", [("layers:Dense.forward", "+ self.b", "- self.b")]))),
    Exercise("02_dense_backward", "layers", ("Dense.backward",), """
        Take one weight, W[k, j]. It meets x[i, k] in every row i and goes into y[i, j]; so dW[k, j] is the sum over the
        rows of x[i, k] dy[i, j]. Which matrix product is a sum over the rows of both? The rows must be the inner
        length: (n_in, n) with (n, n_out). Then do the same with one entry of x, which meets W[k, j] for every j, and
        with one entry of b. The shapes leave one possibility only.
        """, partial(dense_cases, "backward"), (
        Bug("dW averaged", "dW is divided by the number of rows. The loss may be a mean, but that is in dy already.", [
            ("layers:Dense.backward", "np.dot(x.T, dy, out=self.dW)", "self.dW[:] = x.T @ dy / len(x)")]),
        Bug("W for Wᵀ", "dx = dy W where dx = dy Wᵀ belongs; the shapes fit only if W is square.", [
            ("layers:Dense.backward", "self.W.T", "(self.W if len(set(self.W.shape)) == 1 else self.W.T)")]))),
    Exercise("03_tanh", "layers", ("Tanh.forward", "Tanh.backward"), """
        The derivative of tanh x is 1 - tanh² x. What is tanh x called here, once forward is done?
        """, tanh_cases, (
        Bug("the chain rule's dy is missing", "The slope alone was returned: dx = dy times the slope.", [
            ("layers:Tanh.backward", "dy * (1 - y * y)", "1 - y * y")]),)),
    Exercise("04_relu", "layers", ("ReLU.forward", "ReLU.backward"), """
        np.maximum(x, 0) compares entry by entry. A comparison such as x > 0 gives True and False, which count as 1 and
        0 when they are multiplied. Forward must leave something from which backward sees where x was positive.
        """, relu_cases, (
        Bug("the chain rule's dy is missing", "The slope alone was returned: dx = dy times the slope.", [
            ("layers:ReLU.backward", "dy * (y > 0)", "1.0 * (y > 0)")]),)),
    Exercise("05_softplus", "layers", ("softplus", "sigmoid"), """
        For x > 0 take e^x out of the logarithm: log(1 + e^x) = log(e^x (e^(-x) + 1)) = x + log(1 + e^(-x)), where
        e^(-x) is at most 1. For x < 0 the form log(1 + e^x) is fine as it is. One line serves both: max(x, 0) +
        log(1 + e^(-|x|)). The sigmoid has two forms as well, 1 / (1 + e^(-x)) and e^x / (1 + e^x); use each where its
        exponential is small.
        """, softplus_cases, (
        Bug("the wrong sign of x", "sigmoid(-x) = 1 - sigmoid(x) was returned.", [
            ("layers:sigmoid", "np.minimum(x, 0)", "np.minimum(-x, 0)")]),)),
    Exercise("06_sample", "gaussian", ("sample", "sample_backward"), """
        z is mu plus something, so its derivative by mu is 1. By logvar: the derivative of exp(logvar / 2) is
        exp(logvar / 2) / 2, by the chain rule, and eps is a constant. That is std · eps / 2, and std · eps is z - mu,
        which forward has at hand.
        """, partial(pair_cases, "sample", "sample_backward", ("mu", "logvar", "eps"), "z", ("dmu", "dlogvar"),
                     sample_terms, rows=False), (
        Bug("the half is lost", "The derivative of exp(logvar / 2) by logvar is exp(logvar / 2) times 1/2.", [
            ("gaussian:sample_backward", "offset / 2", "offset")]),
        Bug("variance for std", "exp(logvar) is the variance; the noise is to be multiplied by its square root.", [
            ("gaussian:sample", "np.exp(logvar / 2)", "np.exp(logvar)")]))),
    Exercise("07_log_prob", "gaussian", ("log_prob", "log_prob_backward"), """
        Only z - mu occurs, so the derivative by mu is that by z with the other sign. By logvar: the first part has the
        derivative 1, and 1 / exp(logvar) = exp(-logvar) has the derivative -exp(-logvar). dlog_prob has shape (n,) and
        the results have (n, d): dlog_prob[:, None] has shape (n, 1) and goes to all columns.
        """, partial(pair_cases, "log_prob", "log_prob_backward", ("z", "mu", "logvar"), "log_prob",
                     ("dz", "dmu", "dlogvar"), log_prob_terms), (
        Bug("log 2π is missing", "It is a constant, but without it this is not the log of a density.", [
            ("gaussian:log_prob", "LOG_2PI + ", "")]),
        Bug("averaged over the columns", "The columns are independent: their log-densities are summed.", [
            ("gaussian:log_prob", ".sum(axis=-1)", ".mean(axis=-1)")]),
        Bug("exp(logvar / 2) for the variance", "logvar is log σ²: its exponential is the variance, not σ.", [
            ("gaussian:log_prob", "np.exp(-logvar)", "np.exp(-logvar / 2)")]),
        Bug("dz and dmu are swapped", "A larger z lies further above mu: dz has the sign of mu - z.", [
            ("gaussian:log_prob_backward", "return dz, dmu,", "return dmu, dz,")]))),
    Exercise("08_kl_standard", "gaussian", ("kl_standard", "kl_standard_backward"), """
        Differentiate one column: exp(logvar) gives itself, -logvar gives -1, mu² gives 2 mu, and all of it has the
        factor 1/2. dkl has shape (n,) and the results have (n, d): dkl[:, None] goes to all columns.
        """, partial(pair_cases, "kl_standard", "kl_standard_backward", ("mu", "logvar"), "kl", ("dmu", "dlogvar"),
                     kl_standard_terms), (
        Bug("the factor 1/2 is missing", "The KL is twice what it should be.", [
            ("gaussian:kl_standard", "0.5 * (excess", "(excess")]),
        Bug("averaged over the columns", "The KL of independent columns is the sum of theirs.", [
            ("gaussian:kl_standard", ".sum(axis=-1)", ".mean(axis=-1)")]),
        Bug("exp(logvar / 2) for the variance", "logvar is log σ²: its exponential is the variance, not σ.", [
            ("gaussian:kl_standard", "np.expm1(logvar)", "np.expm1(logvar / 2)")]),
        Bug("the -1 is missing in dlogvar", "exp(logvar) has the derivative exp(logvar), but -logvar has -1 as well.", [
            ("gaussian:kl_standard_backward", "excess / 2", "(excess + 1) / 2")]))),
    Exercise("09_kl", "gaussian", ("kl", "kl_backward"), """
        mu_q and mu_p enter only through their difference, so dmu_p = -dmu_q. logvar_q enters through r alone, with the
        derivative (1/2) (e^r - 1). logvar_p enters through r, with the opposite sign, and once more through
        1 / exp(logvar_p) = exp(-logvar_p), whose derivative is -exp(-logvar_p).
        """, partial(pair_cases, "kl", "kl_backward", ("mu_q", "logvar_q", "mu_p", "logvar_p"), "kl",
                     ("dmu_q", "dlogvar_q", "dmu_p", "dlogvar_p"), kl_terms), (
        Bug("q and p are swapped", "This is KL(p || q), which is another number.", [
            ("gaussian:kl", "\n    r = logvar_q - logvar_p", "\n    r = logvar_p - logvar_q"),
            ("gaussian:kl", "np.exp(-logvar_p)", "np.exp(-logvar_q)")]),
        Bug("one use of logvar_p is forgotten", "It stands in r, and in the variance that divides (mu_q - mu_p)².", [
            ("gaussian:kl_backward", " - dmu_q * diff / 2", "")]))),
    Exercise("10_bernoulli", "likelihood", ("Bernoulli.log_prob", "Bernoulli.log_prob_backward"), """
        For softplus without overflow see exercise 5: scratchvae.layers has softplus and sigmoid, and you may use them.
        The derivative of x l by x is l, and by l it is x. The derivative of softplus(l) is the sigmoid s(l). So
        x - s(l) is left: what the pixel is, minus what was predicted.
        """, partial(pair_cases, "log_prob", "log_prob_backward", ("x", "logits"), "log_prob", ("dx", "dlogits"),
                     bernoulli_terms, make=True), (
        Bug("the sign of dlogits", "It is x - s(l) for log p; s(l) - x is the derivative of the loss, -log p.", [
            ("likelihood:Bernoulli.log_prob_backward", "(x - ~np.signbit(logits) + np.copysign(tail, logits))",
             "(sigmoid(logits) - x)")]),
        Bug("averaged over the pixels", "log p(x) is the sum over the pixels.", [
            ("likelihood:Bernoulli.log_prob", ".sum(axis=-1)", ".mean(axis=-1)")]))),
    Exercise("11_vae", "vae", ("VAE.bound", "VAE.backward"), """
        bound: five calls, in the order of the picture. backward: go back, call by call, with delbo.dprior_matching for
        the KL and delbo.dreconstruction for log p(x | z); a mean over the rows, and all signs, are in them already. q
        was used twice, by the draw and by the KL: add the two derivatives before self.q.backward. The likelihood's
        backward returns dx and dh; with what self.q.backward returns, dx has two parts as well.
        """, vae_cases, (
        Bug("z is the mean", "z is a draw from q(z | x), mu + σ noise; without the noise nothing is learned of σ.", [
            ("vae:VAE.bound", "gaussian.draw(q, noise[", "gaussian.draw(q, 0 * noise[")]),
        Bug("mu and logvar are exchanged", "The left half of the network's output is mu, the right half is logvar.", [
            ("vae:VAE.bound", "gaussian.draw(q, ",
             "gaussian.draw(np.roll(q, q.shape[1] // 2, axis=1), ")]),
        Bug("the KL's part of q is missing", "mu and logvar are used by the draw and by the KL: add both.", [
            ("vae:VAE.backward", " + dq_k", "")]),
        Bug("the draw's part of q is missing", "mu and logvar are used by the draw and by the KL: add both.", [
            ("vae:VAE.backward", "gaussian.draw_backward(dz, z_cache) + dq_k", "dq_k")]),
        Bug("a mean over the examples, twice", "delbo has the 1/n of the loss already, if there is one.", [
            ("vae:VAE.backward", "(delbo.dprior_matching,", "(delbo.dprior_matching / len(delbo.dkl),"),
            ("vae:VAE.backward", "(delbo.dreconstruction,", "(delbo.dreconstruction / len(delbo.dkl),")]),
        Bug("the wrong sign of the KL", "delbo has the signs already: more KL makes the loss larger, not smaller.", [
            ("vae:VAE.backward", "(delbo.dprior_matching,", "(-delbo.dprior_matching,")]),
        Bug("delbo is ignored", "Each row of each part has a number in delbo; -1/n and 1/n are those of one loss.", [
            ("vae:VAE.backward", "(delbo.dprior_matching,", "(np.full(len(delbo.dkl), 1 / len(delbo.dkl)),"),
            ("vae:VAE.backward", "(delbo.dreconstruction,", "(np.full(len(delbo.dkl), -1 / len(delbo.dkl)),")]))),
    Exercise("12_hvae_backward", "hvae", ("HVAE.backward",), """
        Begin where bound ended. The reconstruction gives dx, and dp[0], the derivative by the output of p's network at
        level 1. For each t, self.compare[t].backward gives the derivatives of z_t as the point (use 3), of q, and of p,
        which is the output of p's network at level t + 1. For each t, self.p[t].backward takes dp[t - 1] to z_t (use
        2). Last, from t = T down to 1: add the uses of z_t, go through the draw, add what q has from the comparison,
        and let self.q[t].backward take it to z_{t-1} (use 1). Dictionaries by t help: dz_q[t], dz_p[t], dz_k[t].
        """, hvae_cases, (
        Bug("a mean over the examples, twice", "delbo has the 1/n of the loss already, if there is one.", [
            ("hvae:HVAE.backward", "{}, delbo.dkl", "{}, delbo.dkl / len(delbo.dkl)"),
            ("hvae:HVAE.backward", "(delbo.dreconstruction,", "(delbo.dreconstruction / len(delbo.dkl),")]),
        Bug("use 1 of z_t is forgotten", "What q(z_{t+1} | z_t) wants of its condition is missing.", [
            ("hvae:HVAE.backward", "dz_q[t] + dz_p[t]", "dz_p[t]")]),
        Bug("the comparison's part of q is forgotten", "mu and logvar are used by the draw, and compared with p's.", [
            ("hvae:HVAE.backward", " + dq[t]", "")]))),
    Exercise("13_adam", "train.optim", ("Adam.step",), """
        In the first step make self.m and self.v zeros of theta's shape; they are None until then. Count the step:
        self.t += 1 comes before the corrections, so that the first step has t = 1. Keep the corrected numbers in
        variables of their own: m / (1 - beta1^t) must not go into the next step's m. The square root is of the
        corrected v alone, and epsilon is added after it. theta -= ... works in place.
        """, adam_cases, (
        Bug("1 - beta for 1 - betaᵗ", "The correction belongs to step t: after many steps beta^t is 0, and it is 1.", [
            ("train/optim:Adam.step", "(1 - self.beta2 ** self.t) / (1 - self.beta2)", "1.0"),
            ("train/optim:Adam.step", " / (1 - self.beta1 ** self.t)", " / (1 - self.beta1)")]),
        Bug("multiplied by the correction", "m and v are too small in the first steps: divide them by 1 - beta^t.", [
            ("train/optim:Adam.step", "(1 - self.beta2 ** self.t) / (1 - self.beta2)",
             "1 / ((1 - self.beta2 ** self.t) * (1 - self.beta2))"),
            ("train/optim:Adam.step", " / (1 - self.beta1 ** self.t)", " * (1 - self.beta1 ** self.t)")]))),
]
