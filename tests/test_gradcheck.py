"""The checker is checked: a gradient that is slightly wrong, in one entry, must fail."""

import numpy as np
import pytest

from scratchvae import HVAE, VAE
from scratchvae.layers import Dense, Layer, Tanh
from scratchvae.verify.gradcheck import check_function, check_layer, check_model, compare


class Wrong:
    """Mixed into a model: one entry of one gradient is off by a factor."""

    factor, where, entry = 1.001, "q1.dense1.W", 3

    def backward(self, *args, **options):
        dx = super().backward(*args, **options)
        self.gradients[self.where].flat[self.entry] *= self.factor
        return dx


def wrong(model_class, *args, **attributes):
    return type("WrongModel", (Wrong, model_class), attributes)(*args)


@pytest.fixture
def x(rng):
    return rng.integers(0, 2, (8, 6)).astype(float)


def names():
    return list(HVAE(6, (3, 2), (4,)).parameters)


@pytest.mark.parametrize("directions", [None, 1])
@pytest.mark.parametrize("where", names())
def test_a_gradient_wrong_by_a_thousandth_in_one_entry_of_one_tensor_fails(where, directions, x):
    """And the ledger says where: every wrong line names the tensor."""
    model = wrong(HVAE, 6, (3, 2), (4,), where=where, entry=-1)
    ledger = check_model(model, x, directions=directions)
    assert not ledger.ok and ledger.worst.by == where
    assert {entry.by for entry in ledger.entries if not entry.ok} == {where}
    assert "WRONG" in str(ledger) and "WRONG" in ledger.summary()


@pytest.mark.parametrize("method, factor", [("complex", 1 + 1e-9), ("central", 1 + 1e-4)])
def test_how_small_an_error_is_seen(method, factor, x):
    assert not check_model(wrong(VAE, 6, 3, (4,), factor=factor), x, method=method).ok


def test_one_wrong_entry_among_300_000_fails_along_one_direction(rng):
    model = wrong(VAE, 784, 20, (400,))
    assert not check_model(model, rng.random((4, 784)), directions=1).ok


@pytest.mark.parametrize("method", ["complex", "central"])
def test_a_tiny_gradient_is_held_to_the_same_digits(method):
    """f = 1e-9 sin θ: an absolute tolerance would let any gradient through."""
    arrays = {"theta": np.array([0.3, 0.7])}

    def check(factor):
        gradient = {"f": {"theta": factor * 1e-9 * np.cos(arrays["theta"])}}
        return compare(lambda a: {"f": 1e-9 * np.sin(a["theta"]).sum()}, gradient, arrays, method=method)

    assert check(1.0).ok and not check(1.001).ok and not check(0.0).ok


@pytest.mark.parametrize("method, digits", [("complex", 1e-15), ("central", 1e-9)])
def test_digits_of_each_method(method, digits):
    """d exp(θ) sin(θ) has a closed form: so the checker itself is exact to the digits that it claims."""
    theta = np.array([0.8, -1.3, 2.0])
    gradient = {"f": {"theta": np.exp(theta) * (np.sin(theta) + np.cos(theta))}}
    ledger = compare(lambda a: {"f": (np.exp(a["theta"]) * np.sin(a["theta"])).sum()}, gradient, {"theta": theta},
                     method=method)
    assert ledger.worst.error < digits


def test_not_a_number_is_wrong():
    ledger = compare(lambda a: {"f": a["theta"].sum()}, {"f": {"theta": np.array([np.nan, 1])}},
                     {"theta": np.zeros(2)})
    assert not ledger.ok and not ledger.worst.ok


def test_not_a_number_is_wrong_beside_a_gradient_of_zero():
    def forward(x):
        return np.exp(1000 * x * x) / np.exp(1000 * x * x), None              # inf / inf

    with np.errstate(all="ignore"):
        ledger = check_function(forward, lambda dy, cache: 0 * dy, np.full((2, 2), 3.0))
    assert not ledger.ok and np.isnan(ledger.worst.error)


@pytest.mark.parametrize("seed", range(3))
def test_a_forgotten_transpose_fails_though_the_data_come_from_the_same_seed(seed):
    """Were v the same draw as dy, only dyᵀ J dy = dyᵀ Jᵀ dy would be seen; 30x40 entries are checked along one v."""
    class Forgotten(Dense):
        def backward(self, dy, cache, input_gradient=True):
            super().backward(dy, cache)
            return dy @ self.W

    rng = np.random.default_rng(seed)
    assert not check_layer(Forgotten(40, 40, rng), np.random.default_rng(seed).standard_normal((30, 40))).ok
    assert not check_function(lambda x: (np.cumsum(x, axis=1), None), lambda dy, cache: np.cumsum(dy, axis=1),
                              np.random.default_rng(seed).standard_normal((30, 40))).ok


def test_a_backward_that_takes_x_for_dy_fails():
    """x drawn from seed 0, as a reader would: the checker's dy is another draw."""
    x = np.random.default_rng(0).standard_normal((5, 3))
    assert check_function(lambda x: (x ** 3 / 3, x), lambda dy, x: dy * x * x, x).ok
    assert not check_function(lambda x: (x ** 3 / 3, x), lambda dy, x: x ** 3, x).ok
    assert not check_function(lambda x: (x ** 3 / 3, x), lambda dy, x: dy ** 3, x).ok


def in_place(work):
    """Return a backward of tanh that works in dy itself."""
    def backward(dy, y):
        work(dy)
        dy *= 1 - y * y
        return dy
    return backward


def test_a_backward_may_work_in_dy_and_is_held_to_the_dy_that_was_given():
    x = np.linspace(-2, 2, 12).reshape(3, 4)
    assert check_function(lambda x: (np.tanh(x),) * 2, in_place(lambda dy: None), x).ok
    for work in (lambda dy: np.clip(dy, -0.1, 0.1, out=dy), lambda dy: np.multiply(dy, 2, out=dy)):
        assert not check_function(lambda x: (np.tanh(x),) * 2, in_place(work), x).ok


def test_a_forward_that_drops_the_imaginary_part_is_told():
    """Its derivative would be 0, and a gradient of 0 right."""
    def forward(x):
        return np.array([[np.sin(float(v)) for v in row] for row in x]), x

    x = np.ones((2, 2))
    with pytest.raises(ValueError, match="^forward must keep complex numbers complex"):
        check_function(forward, lambda dy, x: 0 * dy, x)
    assert check_function(lambda x: (np.sin(float(x[0])), x), lambda dy, x: dy * np.cos(x), x[0, :1],
                          method="central").ok


def filled(x):
    y = np.empty(x.shape)
    for i, row in enumerate(x):
        y[i] = np.abs(row) + max(0, row[0])
    return y, x


def slope_of_filled(dy, x):
    dx = dy * np.sign(x)
    dx[:, 0] += (x[:, 0] > 0) * dy.sum(axis=1)
    return dx


SEES = {                                               # forwards that are not analytic, with their gradients
    "abs": (lambda x: (np.abs(x).sum(axis=1), x), lambda d, x: d[:, None] * np.sign(x)),
    "relu by abs": (lambda x: ((x + np.abs(x)) / 2, x), lambda dy, x: dy * (x > 0)),
    "norm": (lambda x: (np.linalg.norm(x, axis=1), x),
             lambda d, x: d[:, None] * x / np.linalg.norm(x, axis=1, keepdims=True)),
    "var": (lambda x: (x.var(axis=0), x), lambda d, x: d * 2 * (x - x.mean(axis=0)) / len(x)),
    "real": (lambda x: (np.tanh(x) * np.exp(x.real), x),
             lambda dy, x: dy * np.exp(x) * (1 - np.tanh(x) ** 2 + np.tanh(x))),
    "logaddexp": (lambda x: (np.logaddexp(x, 0), x), lambda dy, x: dy / (1 + np.exp(-x))),
    "a loop": (filled, slope_of_filled)}


@pytest.mark.parametrize("name", SEES)
def test_forwards_that_are_not_analytic_are_followed_and_a_gradient_that_is_cut_there_is_wrong(name, rng):
    forward, backward = SEES[name]
    x = rng.standard_normal((5, 4))
    ledger = check_function(forward, backward, x)
    assert ledger.ok and ledger.worst.error < 1e-9, str(ledger)
    assert not check_function(forward, lambda dy, x: 0.999 * backward(dy, x), x).ok
    assert not check_function(forward, lambda dy, x: 0 * x, x).ok


def hidden(x):
    """|x|, where the complex step sees a constant: a module that has its own name for NumPy's function."""
    return x + np.asarray(MODULUS(np.array(x, copy=True).view(np.ndarray))), x


MODULUS = np.absolute.__call__


def test_what_the_complex_step_does_not_see_the_difference_does(rng):
    """A path that is cut in forward and in backward alike: the first witness is fooled, the second is not."""
    x = rng.standard_normal((5, 4))
    ledger = check_function(hidden, lambda dy, x: dy, x)
    assert not ledger.ok and ledger.worst.seen_by == "difference" and "(by a difference)" in str(ledger)
    assert check_function(hidden, lambda dy, x: dy * (1 + np.sign(x)), x).ok


def test_a_kink_is_no_mistake_and_a_wrong_gradient_beside_one_is_found(rng):
    x = rng.standard_normal((6, 5))
    x[0] = 0
    ledger = check_function(lambda x: (np.maximum(x, 0), x), lambda dy, x: dy * (x > 0), x)
    assert ledger.ok and ledger.entries[0].kinks == 5 and "kink" in str(ledger)
    assert check_function(lambda x: (np.abs(x), x), lambda dy, x: dy * np.sign(x), x).ok
    for at in (0.0, 1e-6, 1e-9):
        x[0] = at
        assert not check_function(lambda x: (np.abs(x), x), lambda dy, x: 3 * dy * np.sign(x - 1e-30), x).ok


def test_a_gradient_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"gradient of f by theta has shape \(3,\); it must be that of theta, \(2,\)"):
        compare(lambda a: {"f": a["theta"].sum()}, {"f": {"theta": np.ones(3)}}, {"theta": np.zeros(2)})


def test_a_readers_own_layer(rng, agrees):
    """A layer that follows the contract, with a parameter of its own, is checked in x and in the parameter."""
    class Scale(Layer):
        parameter_names = ("a",)

        def __init__(self):
            self.a, self.da = np.array([2.0, 3.0]), np.zeros(2)

        def forward(self, x):
            return x * self.a, x

        def backward(self, dy, cache):
            self.da[:] = (dy * cache).sum(axis=0)
            return dy * self.a

    layer = Scale()
    ledger = check_layer(layer, rng.standard_normal((5, 2)))
    agrees(ledger)
    assert [entry.by for entry in ledger.entries] == ["x", "Scale.a"]
    assert not layer.da.any() and layer.a[0] == 2      # left as it was
    Scale.backward = lambda self, dy, cache: dy * self.a
    assert [e.by for e in check_layer(Scale(), np.ones((5, 2))).entries if not e.ok] == ["Scale.a"]


def test_a_layer_must_write_its_gradient_where_it_belongs(rng):
    """What is added keeps the gradient of the last step; another array is none that an optimiser would see."""
    class Wrong(Dense):
        def backward(self, dy, cache, input_gradient=True):
            before = self.db.copy()
            dx = super().backward(dy, cache, input_gradient)
            db, self.db[:] = self.db.copy(), before
            self.write(db)
            return dx

    Wrong.write = lambda layer, db: layer.db.__iadd__(db)
    assert {e.by for e in check_layer(Wrong(2, 3, rng), np.ones((4, 2))).entries if not e.ok} == {"Wrong.b"}
    Wrong.write = lambda layer, db: setattr(layer, "db", db)
    with pytest.raises(ValueError, match=r"^Wrong.backward makes a new array of db, .*the optimiser looks at the old"):
        check_layer(Wrong(2, 3, rng), np.ones((4, 2)))


def test_a_readers_own_function(rng, agrees):
    forward = (lambda a, b: (a * np.exp(b), (a, b)))
    inputs = rng.standard_normal((2, 4))
    agrees(check_function(forward, lambda dy, c: (dy * np.exp(c[1]), dy * c[0] * np.exp(c[1])), *inputs))
    ledger = check_function(forward, lambda dy, c: (dy * np.exp(c[1]), dy * c[0]), *inputs)
    assert [entry.by for entry in ledger.entries if not entry.ok] == ["input 1"]


def test_the_ledger_has_a_line_for_each_part_by_each_array(x):
    model = HVAE(6, (3, 2), (4,))
    parts = ["loss", "reconstruction", "consistency 1", "prior matching"]
    ledger = check_model(model, x)
    assert [(e.of, e.by) for e in ledger.entries] == [(of, by) for by in ["x", *model.parameters] for of in parts]
    assert [e.of for e in check_model(model, x, by_part=False).entries] == ["loss"] * (1 + len(model.parameters))
    assert len(str(ledger).splitlines()) == len(ledger.entries) + 2


def test_the_model_is_left_as_it_was(x):
    model = VAE(6, 3, (4,))
    theta = model.theta.copy()
    check_model(model, x)
    check_model(model, x, method="central")
    np.testing.assert_array_equal(model.theta, theta)
    assert model.dtype == np.float32 and not model.gradient.any()


def test_parts_that_do_not_depend_on_an_array_have_gradient_zero(x):
    """Reconstruction knows nothing of p2: zero on both sides, and that is right."""
    entry, = [e for e in check_model(HVAE(6, (3, 2), (4,)), x).entries
              if (e.of, e.by) == ("reconstruction", "p2.dense1.W")]
    assert entry.ok and entry.gradient == entry.reference == entry.error == 0


@pytest.mark.parametrize("options, says", [({"method": "symbolic"}, "^method must be one of 'complex', 'central'"),
                                           ({"directions": 0}, "^directions must be a whole number")])
def test_unknown_options_are_refused(options, says, rng):
    with pytest.raises(ValueError, match=says):
        check_layer(Dense(2, 2, rng), np.ones((1, 2)), **options)


def test_each_tensor_is_checked_at_every_entry_if_it_is_small(rng):
    """A wrong entry cannot hide behind a direction that it is orthogonal to."""
    class Almost(Tanh):
        def backward(self, dy, cache):
            dx = super().backward(dy, cache)
            dx[0, 0] *= 1 + 1e-8
            return dx

    assert not check_layer(Almost(), rng.standard_normal((20, 50))).ok
