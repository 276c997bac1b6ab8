"""The diagnosis is held to three things: the place, the kind, and silence about right code."""

import re
import textwrap
import time

import numpy as np
import pytest
from beside import DEMOS, HERE, load

from scratchvae import HVAE, MLP, VAE, Autoencoder, Gaussian, cli, diagnose, gaussian
from scratchvae.diagnose import diagnose_function, diagnose_layer, diagnose_model
from scratchvae.layers import Dense, Layer, LeakyReLU, ReLU, Sigmoid, Tanh
from scratchvae.verify.gradcheck import check_function


planted, silence = load(HERE / "mistakes", "planted"), load(HERE / "mistakes", "silence")
gallery = load(DEMOS, "gallery.bugs")


@pytest.fixture
def x(rng):
    return rng.standard_normal((5, 4))


class LayerNorm(Layer):
    """Right, with a forward that is not analytic: np.var of complex numbers is real."""

    parameter_names = ("g",)

    def __init__(self):
        self.g, self.dg = np.linspace(0.5, 2, 4), np.zeros(4)

    def forward(self, x):
        inv = 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        h = (x - x.mean(1, keepdims=True)) * inv
        return h * self.g, (h, inv)

    def backward(self, dy, cache):
        h, inv = cache
        self.dg[:] = (dy * h).sum(axis=0)
        dh = dy * self.g
        return inv * (dh - dh.mean(1, keepdims=True) - h * (dh * h).mean(1, keepdims=True))


# what a new user met --------------------------------------------------------------------------------


def test_a_layer_norm_with_var_is_right(x):
    diagnosis = diagnose_layer(LayerNorm(), x)
    assert diagnosis.ok and diagnosis.kind == "" and "no mistake found" in str(diagnosis)


def test_abs_is_right(x):
    diagnosis = diagnose_function(lambda x: (np.abs(x), x), lambda dy, x: dy * np.sign(x), x)
    assert diagnosis.ok and diagnosis.kind == ""
    wrong = diagnose_function(lambda x: (np.abs(x), x), lambda dy, x: -dy * np.sign(x), x)
    assert not wrong.ok and wrong.kind == "sign"


class Dropout(Layer):
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def draw(self, shape):
        return self.rng.random(shape) < 0.5

    def forward(self, x):
        mask = self.draw(x.shape)
        return 2 * x * mask, mask

    def backward(self, dy, mask):
        return 2 * dy * mask


@pytest.mark.parametrize("draw", [None, lambda self, shape: np.random.random(shape) < 0.5,
                                  lambda self, shape: np.random.default_rng().random(shape) < 0.5],
                         ids=["a generator of its own", "global state", "from the system"])
def test_dropout_that_draws_its_noise_is_checked_with_the_noise_held_still_and_told(draw, x):
    layer = type("Dropout", (Dropout,), {} if draw is None else {"draw": draw})()
    state = np.random.get_state()[1].copy()
    diagnosis = diagnose_layer(layer, x)
    assert diagnosis.ok and diagnosis.kind == "random" and "noise" in str(diagnosis)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_noise_drawn_anew_in_backward(x):
    class Anew(Dropout):
        def backward(self, dy, mask):
            return 2 * dy * self.draw(dy.shape)

    diagnosis = diagnose_layer(Anew(), x)
    assert (diagnosis.where, diagnosis.tensor, diagnosis.kind) == ("Anew.backward", "x", "noise")


def test_a_forward_that_cannot_be_repeated_is_told(x):
    calls = []

    def forward(x):
        calls.append(1)
        return x * len(calls), len(calls)

    diagnosis = diagnose_function(forward, lambda dy, k: dy * k, x)
    assert not diagnosis.ok and diagnosis.kind == "not deterministic"


class Wrong(Dense):
    """A Dense layer whose backward is given by a function."""

    def backward(self, dy, x):
        dx = super().backward(dy, x)
        return self.spoil(dy, x, dx)


def spoiled(spoil, rng, n_in=4, n_out=3):
    return type("Affine", (Wrong,), {"spoil": spoil})(n_in, n_out, rng)


def rebound(self, dy, x, dx):
    self.db = dy.sum(axis=0)
    return dx


def not_summed(self, dy, x, dx):
    self.db[:] = dy
    return dx


def failing(self, dy, x, dx):
    return dx + self.missing


@pytest.mark.parametrize("spoil, tensor, kind, says", [
    (rebound, "b", "rebound", r"self\.db\[:\] = \.\.\."),
    (not_summed, "b", "not summed", r"\.sum\(axis=0\)"),
    (lambda self, dy, x, dx: None, "x", "nothing returned", "returned None for dx"),
    (lambda self, dy, x, dx: dx.T, "x", "transposed", r"the shape \(4, 5\); x has \(5, 4\)"),
    (lambda self, dy, x, dx: dx.round().astype(int), "x", "integer", "whole numbers"),
    (failing, "", "error", "AttributeError: .*missing"),
], ids=["rebound", "not summed", "None", "transposed", "integer", "error"])
def test_structure(spoil, tensor, kind, says, x, rng):
    diagnosis = diagnose_layer(spoiled(spoil, rng), x)
    assert (diagnosis.where, diagnosis.tensor, diagnosis.kind) == ("Affine.backward", tensor, kind)
    assert re.search(says, str(diagnosis)), str(diagnosis)


@pytest.mark.parametrize("forward, kind, says", [
    (lambda x: np.sin(x), "no cache", "forward must return two things, y and a cache; it returned an array"),
    (lambda x: (np.sin(x), x, x), "no cache", "it returned 3 things"),
    (lambda x: None, "no cache", "it returned None"),
])
def test_a_forward_without_a_cache(forward, kind, says, x):
    diagnosis = diagnose_function(forward, lambda dy, x: dy, x)
    assert not diagnosis.ok and diagnosis.kind == kind and says in str(diagnosis).replace("Forward", "forward")


def test_parameters_that_are_whole_numbers_or_not_named(x, rng):
    layer = LayerNorm()
    layer.g = np.array([1, 2, 1, 2])
    assert diagnose_layer(layer, x).kind == "integer"
    layer = type("Named", (LayerNorm,), {"parameter_names": ("g", "c")})()
    diagnosis = diagnose_layer(layer, x)
    assert (diagnosis.kind, diagnosis.tensor) == ("not named", "c") and "has no attribute c" in str(diagnosis)


def flipped(dy, x):
    dx = dy * np.cos(x)
    dx[:, 1] *= -1
    return dx


def test_one_column_with_its_sign_flipped(x):
    diagnosis = diagnose_function(lambda x: (np.sin(x), x), flipped, x)
    assert (diagnosis.where, diagnosis.tensor, diagnosis.kind) == ("flipped", "x", "sign")
    assert "column 1" in str(diagnosis) and "dx[" in str(diagnosis)


def test_a_cache_that_is_changed_in_place(x):
    def forward(x):
        y = np.sin(x)
        x *= 2
        return y, x

    diagnosis = diagnose_function(forward, lambda dy, x: dy * np.cos(x), x)
    assert (diagnosis.tensor, diagnosis.kind) == ("x", "in place")


def test_a_cache_that_shares_its_memory_with_what_is_changed(x):
    def forward(x):
        y = np.tanh(x)
        cache = y
        y += 1
        return y, cache

    diagnosis = diagnose_function(forward, lambda dy, y: dy * (1 - y * y), x)
    assert (diagnosis.tensor, diagnosis.kind) == ("x", "derivative")           # its y is not that of tanh


def test_what_the_docstring_prints():
    code, _, printed = diagnose.__doc__.partition("\n\nprints\n\n")
    code = textwrap.dedent(code.partition("\n\n")[2])
    said = []
    exec(code, {"np": np, "diagnose_function": diagnose_function, "print": lambda text: said.append(str(text))})
    assert said == [textwrap.dedent(printed.partition("\n\nThe fix")[0])]


def test_a_kink_is_no_mistake(x):
    x[0], x[1, 1] = 0, 0
    for layer in (ReLU(), LeakyReLU()):
        diagnosis = diagnose_layer(layer, x)
        assert diagnosis.ok and diagnosis.kind in ("", "kink")


def test_float32_is_no_mistake(x):
    def forward(x):
        y = np.tanh(x.astype(np.float32))
        return y, y

    diagnosis = diagnose_function(forward, lambda dy, y: dy.astype(np.float32) * (1 - y * y), x)
    assert diagnosis.ok, str(diagnosis)


# planted mistakes -----------------------------------------------------------------------------------


def test_planted_mistakes_are_located_and_a_kind_is_claimed_only_if_it_is_true():
    """A part of `python tests/mistakes`, which runs them all: each twentieth."""
    table = load(HERE / "mistakes", "table")
    mistakes = list(table.all_mistakes())
    assert len(mistakes) > 1000
    answers = [(m, table.answer(*m[1:])) for m in mistakes[::61]]
    for m, (place, kind, diagnosis) in answers:
        assert place and kind != "wrong", f"{m[0]} in {m[1]}: {diagnosis}"
    assert np.mean([kind == "right" for _, (_, kind, _) in answers]) >= 0.9


@pytest.mark.slow
def test_all_planted_mistakes():
    assert load(HERE / "mistakes", "table").main([]) == 0


@pytest.mark.slow
def test_mistakes_of_other_families_are_found_as_often_as_the_readme_says(capsys):
    """The places found, the kinds found and the wrong kinds, in percent, of `python tests/mistakes --held-out`."""
    assert load(HERE / "mistakes", "table").main(["--held-out"]) == 0
    row = re.search(r"^all +(\d+)" + 4 * r" +(\S+)%", capsys.readouterr().out, re.MULTILINE)
    n, place, kind, _, wrong = row.groups()
    readme = " ".join((HERE.parent / "README.md").read_text(encoding="utf-8").split())
    assert f"On {n} mistakes of families that" in readme and f"prints {place}, {kind} and {wrong} %" in readme


def test_right_code_is_left_alone():
    """A part of `python tests/mistakes/silence.py`."""
    for seed in range(0, 1000, 100):
        for maker in (silence.some_planted, silence.some_layer, silence.some_density):
            name, diagnosis = maker(np.random.default_rng(seed))
            assert diagnosis.ok, f"seed {seed}, {name}: {diagnosis}"


@pytest.mark.slow
def test_a_thousand_right_pieces_of_code_are_left_alone():
    assert silence.main(1000) == 0


# the library, with the bugs of the gallery -----------------------------------------------------------


GALLERY = {                                            # the bug: the function that is at fault, the tensor, the kind
    "bias gradient averaged": ("Dense.backward", "b", "mean or sum"),
    "a leak in the forward alone": ("LeakyReLU.backward", "x", "zero"),
    "reshape for transpose": ("Dense.backward", "x", "transposed"),
    "tanh' of the wrong variable": ("Tanh.backward", "x", "derivative"),
    "ReLU masks by the gradient": ("ReLU.backward", "x", "derivative"),
    "noise drawn twice": ("gaussian.sample_backward", "logvar", "unknown"),
    "gradient by the probability": ("Bernoulli.log_prob_backward", "logits", "probability"),
    "gradient not set to zero": ("Dense.backward", "W", "added"),
    "gradient overwritten": ("HVAE.backward", "z of q1", "missing"),
    "z_t detached as the point": ("HVAE.backward", "z of q1", "missing"),
    "z_{t+1} detached as the condition": ("HVAE.backward", "z of q2", "zero"),
    "sign of dKL/dmu": ("gaussian.kl_standard_backward", "mu", "sign"),
    "reconstruction spares logvar": ("VAE.backward", "logvar of q1", "zero"),
}
MODELS = {
    "ReLU masks by the gradient": lambda: VAE(4, 2, (3,), activation="relu"),
    "a leak in the forward alone": lambda: VAE(4, 2, (3,), activation="leaky_relu"),
    "gradient overwritten": lambda: HVAE(4, (3, 2), (3,)),
    "z_t detached as the point": lambda: HVAE(4, (3, 2), (3,)),
    "z_{t+1} detached as the condition": lambda: HVAE(4, (3, 2), (3,), consistency="printed",
                                                      likelihood=Gaussian(4, logvar=0.5)),
}


def generic(model):
    model.theta[:] = 0.6 * np.random.default_rng(2).standard_normal(model.theta.size)
    return model


@pytest.mark.parametrize("name", GALLERY)
def test_each_bug_of_the_gallery_is_located_to_its_function_and_named(name, rng):
    bug = next(bug for bug in gallery.BUGS if bug.name == name)
    model = generic(MODELS.get(name, lambda: VAE(4, 3, (3,)))())
    with gallery.broken(bug):
        diagnosis = diagnose_model(model, rng.random((3, 4)))
    assert [(f.where, f.tensor, f.kind) for f in diagnosis.findings] == [GALLERY[name]]


def test_gradcheck_names_the_culprit_first(capsys, tmp_path):
    bug = next(bug for bug in gallery.BUGS if bug.name == "tanh' of the wrong variable")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((6, 4)))
    words = ["gradcheck", "--data", str(tmp_path / "x.npy"), "--latents", "2", "--hidden", "3", "--directions", "1"]
    with gallery.broken(bug):
        assert cli.main(words) == 1
        printed = capsys.readouterr().out
        assert printed.startswith("Tanh.backward: the gradient by x is wrong (derivative)")
        assert printed.count(" is wrong (") == 1 and "wrong only because" in printed and "WRONG" in printed
    assert cli.main(words) == 0


@pytest.mark.parametrize("make", [lambda: Autoencoder(4, 2, (3,)), lambda: HVAE(4, (3, 2), (3,), activation="relu"),
                                  lambda: VAE(4, 2, (), likelihood="gaussian")])
def test_a_right_model_is_left_alone_and_as_it_was(make, rng):
    model = generic(make())
    theta, sample = model.theta.copy(), gaussian.sample
    assert diagnose_model(model, rng.random((3, 4))).ok
    np.testing.assert_array_equal(model.theta, theta)
    assert gaussian.sample is sample and not model.gradient.any()


def test_a_stack_of_layers_is_walked_back(rng):
    stack = MLP((4, 3, 3, 2), "tanh", rng)
    assert diagnose_layer(stack, rng.standard_normal((5, 4))).ok

    class Bent(Tanh):
        def backward(self, dy, y):
            return dy * (1 - y)

    stack.layers["tanh2"] = Bent()
    diagnosis = diagnose_layer(stack, rng.standard_normal((5, 4)))
    (finding,) = diagnosis.findings
    assert (finding.where, finding.kind, finding.places) == ("Bent.backward", "derivative", ["tanh2"])
    assert set(diagnosis.consequences) == {"x", "dense1.W", "dense1.b", "dense2.W", "dense2.b"}


def test_a_layer_that_breaks_the_pass_off_is_named(rng):
    class Nothing(Tanh):
        def backward(self, dy, y):
            dy * (1 - y * y)

    stack = MLP((4, 3, 2), "tanh", rng)
    stack.layers["tanh1"] = Nothing()
    diagnosis = diagnose_layer(stack, rng.standard_normal((5, 4)))
    assert (diagnosis.where, diagnosis.tensor, diagnosis.kind) == ("Nothing.backward", "x", "nothing returned")


WIRING = [                                             # a change in a model's own backward; the tensor, the kind
    ("vae:VAE.backward", "delbo.dreconstruction, r_cache", "-delbo.dreconstruction, r_cache", "log_prob of p1", "sign"),
    ("vae:VAE.backward", "delbo.dreconstruction, r_cache", "2 * delbo.dreconstruction, r_cache", "log_prob of p1",
     "factor"),
    ("vae:VAE.backward", "z_cache) + dq_k", "z_cache) - dq_k", "output of q1.dense2", "sign"),
    ("vae:VAE.backward", "z_cache) + dq_k", "z_cache)", "output of q1.dense2", "missing"),
    ("vae:VAE.backward", "dx_q + dx_r if", "dx_q if", "x", "missing"),
    ("vae:VAE.backward", "dz = self", "dz = 0 * self", "z of q1", "zero"),
]


@pytest.mark.parametrize("where, old, new, tensor, kind", WIRING, ids=[new for _, _, new, _, _ in WIRING])
def test_what_stands_between_the_functions_of_a_model(where, old, new, tensor, kind, rng):
    with gallery.broken(gallery.Bug("wiring", "", [(where, old, new)])):
        diagnosis = diagnose_model(generic(VAE(4, 2, (3,))), rng.random((3, 4)))
    assert [(f.where, f.tensor, f.kind) for f in diagnosis.findings] == [("VAE.backward", tensor, kind)]


def test_a_gradient_that_is_changed_after_it_was_computed(rng):
    class After(VAE):
        def backward(self, *args, **options):
            dx = super().backward(*args, **options)
            self.gradients["p1.dense1.W"][:] *= 2
            return dx

    diagnosis = diagnose_model(generic(After(4, 2, (3,))), rng.random((3, 4)))
    assert [(f.where, f.tensor, f.kind) for f in diagnosis.findings] == [("After.backward", "p1.dense1.W", "factor")]


# code that imports nothing of this library ------------------------------------------------------------


def test_a_class_with_other_names_through_two_lambdas(x, rng):
    class Linear:
        def __init__(self):
            self.weight = rng.standard_normal((4, 3))

        def __call__(self, x):
            self.x = x
            return x @ self.weight

        def grad(self, g):
            self.weight_grad = self.x.T @ g / len(g)
            return g @ self.weight.T

    linear = Linear()

    def forward(x, weight):
        linear.weight = weight
        return linear(x), None

    diagnosis = diagnose_function(forward, lambda dy, cache: (linear.grad(dy), linear.weight_grad), x, linear.weight)
    assert (diagnosis.tensor, diagnosis.kind) == ("weight", "mean or sum")


def test_a_backward_in_the_style_of_pytorch(x, rng):
    class Context:
        def save_for_backward(self, *arrays):
            self.saved_tensors = arrays

    class Scale:
        @staticmethod
        def forward(ctx, input, weight):
            ctx.save_for_backward(input, weight)
            return input * weight

        @staticmethod
        def backward(ctx, grad_output):
            input, weight = ctx.saved_tensors
            return grad_output * weight, grad_output * input

    def forward(input, weight):
        ctx = Context()
        return Scale.forward(ctx, input, weight), ctx

    diagnosis = diagnose_function(forward, lambda dy, ctx: Scale.backward(ctx, dy), x, rng.standard_normal(4),
                                  name="Scale.backward")
    assert (diagnosis.where, diagnosis.tensor, diagnosis.kind) == ("Scale.backward", "weight", "not summed")


def test_labels_that_are_whole_numbers_have_no_gradient(x, rng):
    labels = np.array([0, 3, 1, 1, 2])

    def forward(logits, labels):
        e = np.exp(logits)
        p = e / e.sum(axis=1, keepdims=True)
        return -np.log(p[np.arange(len(labels)), labels]), (p, labels)

    def backward(dy, cache):
        p, labels = cache
        d = p.copy()
        d[np.arange(len(labels)), labels] -= 1
        return dy[:, None] * d, None

    assert diagnose_function(forward, backward, x, labels).ok
    diagnosis = diagnose_function(forward, lambda dy, c: (backward(dy, c)[0] / len(dy), None), x, labels)
    assert (diagnosis.tensor, diagnosis.kind) == ("logits", "mean or sum")


def test_inputs_by_name_and_bad_names(x):
    def backward(dy, cache):
        return dy * cache[1], -dy * cache[0]

    diagnosis = diagnose_function(lambda a, b: (a * b, (a, b)), backward, b=x, a=2 * x)
    assert (diagnosis.tensor, diagnosis.kind) == ("b", "sign")
    with pytest.raises(ValueError, match="forward has the arguments a, b; got c by name"):
        diagnose_function(lambda a, b: (a * b, (a, b)), backward, a=x, c=x)


def test_it_takes_less_than_a_second_for_a_layer(rng):
    class Bent(Sigmoid):
        def backward(self, dy, y):
            return dy * y * y * y

    start = time.perf_counter()
    assert not diagnose_layer(Bent(), rng.standard_normal((8, 8))).ok
    assert time.perf_counter() - start < 2             # a second on a machine that does nothing else


def lstm(x, h, c, W, U, b):
    a, k = x @ W + h @ U + b, h.shape[1]
    i, f, o = (1 / (1 + np.exp(-a[:, j * k:(j + 1) * k])) for j in range(3))
    g = np.tanh(a[:, 3 * k:])
    c_new = f * c + i * g
    t = np.tanh(c_new)
    return (o * t, c_new), (x, h, c, W, U, i, f, o, g, t)


def lstm_backward(dy, cache, mistake=""):
    x, h, c, W, U, i, f, o, g, t = cache
    dh_new, dc_new = dy
    dc = dh_new * o * (1 - t * (t if mistake != "t" else 1)) + (dc_new if mistake != "dc_new" else 0)
    di, df, do, dg = dc * g, dc * c, dh_new * t, dc * i
    da = np.hstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g * g)])
    return da @ W.T, da @ U.T, dc * f, x.T @ da, h.T @ da, da.sum(axis=0)


@pytest.mark.parametrize("mistake, kinds", [("", {}), ("dc_new", dict.fromkeys("xhcWUb", "unknown")),
                                            ("t", dict.fromkeys("xhcWUb", "derivative"))])
def test_an_lstm_cell_takes_less_than_a_second(mistake, kinds, rng):
    """One wrong line makes up to six gradients wrong; what explains one of them is tried first on the others."""
    n, d, k = 4, 5, 6
    shapes = (n, d), (n, k), (n, k), (d, 4 * k), (k, 4 * k), (4 * k,)
    start = time.process_time()
    diagnosis = diagnose_function(lstm, lambda dy, cache: lstm_backward(dy, cache, mistake), *map(
        rng.standard_normal, shapes))
    assert time.process_time() - start < 2             # a second on a machine that does nothing else
    assert {f.tensor: f.kind for f in diagnosis.findings} == kinds


@pytest.mark.slow
def test_a_full_size_vae_is_located_in_ten_seconds(rng):
    model = VAE(784, 20, (400,))
    model.theta += 0.01 * rng.standard_normal(model.theta.size, dtype=np.float32)
    for name in ("bias gradient averaged", "reconstruction spares logvar", "reshape for transpose"):
        start = time.perf_counter()
        with gallery.broken(next(bug for bug in gallery.BUGS if bug.name == name)):
            diagnosis = diagnose_model(model, rng.random((4, 784)))
        assert (diagnosis.where, diagnosis.tensor, diagnosis.kind) == GALLERY[name]
        assert time.perf_counter() - start < 10


# what the complex step alone does not see, and what is no mistake ------------------------------------


SILENT = {                                             # forward and backward cut the same path, and agree
    "L1": (lambda x: (np.abs(x).sum(1), x), lambda d, x: np.zeros_like(x), "zero"),
    "ridge and L1": (lambda x: ((x * x).sum() + np.abs(x).sum(), x), lambda d, x: 2 * d * x, "missing"),
    "norm": (lambda x: (x / np.linalg.norm(x, axis=1, keepdims=True), x),
             lambda dy, x: dy / np.linalg.norm(x, axis=1, keepdims=True), "missing"),
    "std": (lambda x: ((x - x.mean(0)) / x.std(0), x), lambda dy, x: (dy - dy.mean(0)) / x.std(0), "missing"),
    "real": (lambda x: (np.tanh(x) * np.exp(x.real), x),
             lambda dy, x: dy * (1 - np.tanh(x) ** 2) * np.exp(x), "missing")}


@pytest.mark.parametrize("name", SILENT)
def test_a_path_that_forward_and_backward_cut_alike_is_found(name, x):
    forward, backward, kind = SILENT[name]
    diagnosis = diagnose_function(forward, backward, x)
    assert (diagnosis.tensor, diagnosis.kind) == ("x", kind), str(diagnosis)


@pytest.mark.parametrize("name", silence.LOSSES)
@pytest.mark.parametrize("shape", [(4, 3), (32, 64)])
def test_kinks_are_no_mistakes_at_any_size_and_a_wrong_gradient_beside_them_is(name, shape):
    forward, backward = silence.LOSSES[name]
    p, target = np.random.default_rng(0).standard_normal((2, *shape))
    p[0], target[0] = 0, 0
    assert diagnose_function(lambda p: (forward(p, target), p), lambda d, p: backward(d, p, target), p).ok
    wrong = diagnose_function(lambda p: (forward(p, target), p), lambda d, p: 2 * backward(d, p, target), p)
    assert (wrong.tensor, wrong.kind) == ("p", "factor")


@pytest.mark.parametrize("factor, kind", [(0.999, "factor"), (1.01, "factor"), (-1, "sign")])
@pytest.mark.parametrize("name", ["float32", "cast"])
def test_a_wrong_gradient_behind_a_cast_to_float32_is_found_by_both(name, factor, kind, x):
    forward, backward = silence.OWN[name]
    for c, ok in ((1, True), (factor, False)):
        given = (lambda x: (forward(x), x)), (lambda dy, x, c=c: c * backward(dy, x)), x
        diagnosis = diagnose_function(*given)
        assert (diagnosis.ok, check_function(*given).ok) == (ok, ok)
    assert (diagnosis.tensor, diagnosis.kind) == ("x", kind)


@pytest.mark.parametrize("distance", [1e-3, -1e-5, 1e-6, 1e-8])
@pytest.mark.parametrize("name", ["abs", "relu"])
def test_a_wrong_gradient_right_beside_a_kink_is_found_by_both(name, distance, x):
    forward, backward = {"abs": (np.abs, np.sign), "relu": (lambda x: (x + np.abs(x)) / 2, lambda x: x > 0.0)}[name]
    x[0, 0], wrong = distance, np.ones_like(x)
    wrong[0, 0] = -2
    shift = name == "relu" and distance < 0            # there its gradient is 0
    for spoil, add, ok in ((1, 0, True), (wrong, shift * (wrong < 0), False)):
        given = (lambda x: (forward(x), x)), (lambda dy, x, s=spoil, a=add: dy * (s * backward(x) + a)), x
        assert (diagnose_function(*given).ok, check_function(*given).ok) == (ok, ok)


@pytest.mark.parametrize("name", silence.OWN)
@pytest.mark.parametrize("place", range(3), ids=["alone", "in a stack", "in a VAE"])
def test_right_layers_of_ones_own_are_left_alone(name, place, monkeypatch):
    monkeypatch.setattr(silence, "OWN", {name: silence.OWN[name]})
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rng.choice([name]), rng.integers(2, 8, 2), rng.standard_normal((1, 1))
        if seed % 3 == place:
            found, diagnosis = silence.some_own(np.random.default_rng(seed))
            assert diagnosis.ok, f"seed {seed}: {diagnosis}"


def gather(x):
    return x[np.array([0, 2, 0, 1, 0])] ** 2, x


def gather_backward(dy, x):
    d = np.zeros_like(x)
    d[np.array([0, 2, 0, 1, 0])] += 2 * dy * x[np.array([0, 2, 0, 1, 0])]
    return d


def windows(x):
    y = np.zeros((5, 2))
    for t in range(2):
        y[:, t] = (x[:, t:t + 3] ** 2).sum(axis=1)
    return y, x


def windows_backward(dy, x):
    dx = np.zeros_like(x)
    for t in range(2):
        dx[:, t:t + 3] = 2 * dy[:, t, None] * x[:, t:t + 3]
    return dx


def batch_norm_backward(dy, x):
    s = np.sqrt(((x - x.mean(0)) ** 2).mean(0) + 1e-5)
    h = (x - x.mean(0)) / s
    return (dy - dy.sum(0) - h * (dy * h).mean(0)) / s


CLASSICS = {
    "a repeated index": (gather, gather_backward, "overwritten", "np.add.at"),
    "windows that overlap": (windows, windows_backward, "overwritten", "+="),
    "a sum for a mean in batch norm": (lambda x: ((x - x.mean(0)) / np.sqrt(((x - x.mean(0)) ** 2).mean(0) + 1e-5), x),
                                       lambda dy, x: batch_norm_backward(dy, x), "mean or sum", "5 rows"),
    "a bracket lost": (lambda x: (np.tanh(x) ** 2, np.tanh(x)), lambda dy, y: dy * 2 * y * 1 - y * y * 0, "derivative",
                       "tanh"),
    "a temperature lost": (lambda x: (np.exp(x / 2.5) / np.exp(x / 2.5).sum(axis=1, keepdims=True),) * 2,
                           lambda dy, y: y * (dy - (dy * y).sum(axis=1, keepdims=True)), "factor", "5/2"),
}


@pytest.mark.parametrize("name", CLASSICS)
def test_public_classics_are_named(name, x):
    forward, backward, kind, says = CLASSICS[name]
    diagnosis = diagnose_function(forward, backward, x)
    assert (diagnosis.tensor, diagnosis.kind) == ("x", kind) and says in str(diagnosis), str(diagnosis)


def changes_x(x):
    x[x < 0] = 0
    return x, x


def exp_into_x(x):
    return np.exp(x, out=x), x


BUFFER = np.zeros((5, 4))


def into_a_buffer(x):
    np.multiply(x, 2, out=BUFFER) if x.dtype == float else None
    return (BUFFER if x.dtype == float else 2 * x), None


def works_in_the_cache(dy, cache):
    cache[0] *= 2
    return dy * np.cos(cache[1])


@pytest.mark.parametrize("forward, backward", [
    (changes_x, lambda dy, x: dy * (x > 0)), (exp_into_x, lambda dy, y: dy * y),
    (into_a_buffer, lambda dy, cache: 2 * dy),
    (lambda x: (np.sin(x), [np.ones(3), x.copy()]), lambda dy, c: dy * np.cos(c[1]) * c[0][0] ** 0 * twice(c))],
    ids=["x[x < 0] = 0", "out=x", "one buffer", "the cache"])
def test_what_is_changed_in_place_is_told(forward, backward, x):
    assert diagnose_function(forward, backward, x).kind == "in place"


def twice(cache):
    cache[0] *= 2
    return cache[0][0] / 2


def test_a_layer_that_changes_its_input_is_named_and_not_its_neighbour(rng):
    class InPlace(ReLU):
        def forward(self, x):
            x[x < 0] = 0
            return x, x

        def backward(self, dy, x):
            return dy * (x > 0)

    stack = MLP((4, 3, 2), "tanh", rng)
    layers = stack.layers
    stack.layers = {"dense1": layers["dense1"], "tanh1": layers["tanh1"], "own": InPlace(), "dense2": layers["dense2"]}
    diagnosis = diagnose_layer(stack, rng.standard_normal((5, 4)))
    assert [(f.where, f.kind, f.places) for f in diagnosis.findings] == [("InPlace.forward", "in place", ["own"])]


def test_a_weight_of_whole_numbers_is_no_label():
    x, W = np.array([[1.5, 2], [3, 4]]), np.array([[1.0, 0], [2, 1]])
    for backward in (lambda dy, c: (dy @ c[1].T, None), lambda dy, c: dy @ c[1].T):
        diagnosis = diagnose_function(lambda x, W: (x @ W, (x, W)), backward, x, W)
        assert (diagnosis.tensor, diagnosis.kind) == ("W", "nothing returned")
    logits, Y = np.array([[1.0, 0, 2], [0, 1, 2]]), np.eye(3)[[1, 2]]
    assert diagnose_function(lambda l, Y: ((l * Y).sum(), Y), lambda d, Y: d * Y, logits, Y).ok


def test_a_forward_that_is_not_finite_is_told_and_backward_is_not_blamed():
    with np.errstate(divide="ignore"):
        diagnosis = diagnose_function(lambda x: (np.log(x), x), lambda dy, x: dy / x, np.array([[1.5, 0, 2.5]]))
    assert (diagnosis.where, diagnosis.kind) == ("forward", "not finite") and "y[0, 1]" in str(diagnosis)


def test_a_broadcast_that_is_seldom_meant_is_a_remark(rng):
    diagnosis = diagnose_function(lambda p, t: (((p - t) ** 2).mean(), p - t), lambda d, r: (
        (2 * d * r / r.size).sum(axis=1, keepdims=True), -(2 * d * r / r.size).sum(axis=0)),
        rng.standard_normal((5, 1)), rng.standard_normal(5))
    assert diagnosis.ok and diagnosis.kind == "broadcast" and "(5, 5)" in str(diagnosis)


def test_every_report_says_what_was_not_checked(x):
    for backward in (lambda dy, x: dy * np.cos(x), lambda dy, x: -dy * np.cos(x)):
        report = str(diagnose_function(lambda x: (np.sin(x), x), backward, x))
        assert report.splitlines()[-1].startswith("Not checked: that forward computes what you mean")


def test_two_mistakes_are_two_and_what_comes_of_them_is_none(rng):
    """A function that is wrong, and the model's own backward: all else is right again once these are replaced."""
    changes = [("layers:Tanh.backward", "dy * (1 - y * y)", "dy * (1 - y)"),
               ("vae:VAE.backward", "z_cache) + dq_k", "z_cache)")]
    with gallery.broken(gallery.Bug("two", "", changes)):
        diagnosis = diagnose_model(generic(VAE(4, 2, (3,))), rng.random((3, 4)))
    assert [(f.where, f.tensor) for f in diagnosis.findings] == [("Tanh.backward", "x"),
                                                                 ("VAE.backward", "output of q1.dense2")]
