"""Scaling: undone it gives the data back, saved as JSON it is the same, and it says what it does."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from scratchvae.data.scaling import Scaling

PIXELS = np.arange(256, dtype=np.uint8).reshape(32, 8)


@pytest.mark.parametrize("x, scale", [
    (PIXELS, 255), (PIXELS[:29], 255), (PIXELS.astype(float), 255), (np.array([[0, 16], [3, 8]]), 16),
    (np.array([[0, 15]]), 16), (np.array([[17, 0]]), 255), (np.array([[0, 1]]), 1), (np.array([[0.0, 0.3]]), 1),
    (np.array([[False, True]]), 1),
])
def test_auto_brings_grey_values_into_the_unit_interval(x, scale):
    scaling = Scaling.choose(x)
    assert scaling == Scaling(0.0, scale) == Scaling.choose(x, "unit")
    scaled = scaling.apply(x)
    assert scaled.dtype == np.float32 and 0 <= scaled.min() and scaled.max() <= 1
    np.testing.assert_array_equal(scaled, x.astype(np.float32) / np.float32(scale))


@pytest.mark.parametrize("x", [np.array([[0, 256], [1, 2]]), np.array([[-1, 3], [1, 2]]), np.array([[0.5, 3], [1, 2]])])
def test_auto_standardises_everything_else(x):
    assert Scaling.choose(x) == Scaling.choose(x, "standardise") != Scaling()


def test_unit_can_be_asked_for_up_to_16_bits():
    assert Scaling.choose([[0.5, 3.5]], "unit").scale == 16 and Scaling.choose([[0, 300]], "unit").scale == 65535


@pytest.mark.parametrize("pictures", [False, True])
def test_standardised_data_have_mean_0_and_variance_1(rng, pictures):
    x = rng.standard_normal((500, 3)) * [1e-3, 1, 1e3] + [1e6, 0, -5]
    axis = None if pictures else 0
    scaling = Scaling.choose(x, "standardise", pictures)
    assert np.shape(scaling.shift) == np.shape(scaling.scale) == (() if pictures else (3,))
    scaled = scaling.apply(x, np.float64)
    np.testing.assert_allclose(scaled.mean(axis), 0, atol=1e-6)        # 1e6 has lost six of sixteen digits
    np.testing.assert_allclose(scaled.std(axis), 1, rtol=1e-6)


def test_standardised_float32_does_not_lose_a_small_spread_on_a_large_mean(rng):
    x = 1.7e9 + rng.integers(0, 10, (100, 1))                           # seconds; float32 would round these to 128
    scaled = Scaling.choose(x, "standardise").apply(x)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, (x - x.mean()) / x.std(), rtol=1e-5, atol=1e-6)


def test_a_constant_column_becomes_zero():
    x = np.array([[0.1, 1], [0.1, 2], [0.1, 4]])
    scaling = Scaling.choose(x, "standardise")
    assert scaling.scale[0] == 1
    np.testing.assert_allclose(scaling.apply(x)[:, 0], 0, atol=1e-7)


@pytest.mark.parametrize("how", ["none", "unit", "standardise"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_invert_undoes_apply_in_the_same_precision(how, dtype):
    scaling = Scaling.choose(PIXELS, how)
    back = scaling.invert(scaling.apply(PIXELS, dtype))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, PIXELS, rtol=0, atol=255 * 4 * np.finfo(dtype).eps)


def test_a_column_far_from_0_keeps_its_spread_both_ways(rng):
    """Seconds since 1970 have ten digits before the point, and float32 has seven: float64 steps in."""
    x = np.column_stack([1.7e9 + 10 * rng.standard_normal(50), rng.standard_normal(50)])
    scaling = Scaling.choose(x)
    back = scaling.invert(scaling.apply(x))
    assert back.dtype == scaling.invert(scaling.apply(x[:1])).dtype == np.float64
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("unit", [1e-44, 1e-40, 1e-20, 1e20, 1e39, 1e100])
def test_units_do_not_matter(rng, unit):
    """Scaled in float64 and rounded once: what comes out is of order 1, whatever goes in."""
    x = rng.standard_normal((50, 3))
    got, expected = (Scaling.choose(in_units).apply(in_units) for in_units in (x * unit, x))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("far", [1e300, 1e-200])
def test_columns_that_cannot_be_standardised_are_named(far):
    with pytest.raises(ValueError, match="^x must have .* column 1, counted from 0, goes from .* to"), \
            np.errstate(all="ignore"):
        Scaling.choose(np.array([[1.0, far], [2.0, -far]]))


def test_invert_does_not_cut_whole_numbers():
    assert Scaling(0.5, 2.5).invert([[1, 2]]).tolist() == [[3, 5.5]]


@pytest.mark.parametrize("how", ["none", "unit", "standardise"])
@pytest.mark.parametrize("pictures", [False, True])
def test_json_gives_the_same_scaling_to_the_bit(how, pictures):
    scaling = Scaling.choose(PIXELS, how, pictures)
    assert Scaling(**json.loads(json.dumps(asdict(scaling)))) == scaling


def test_log_p_of_the_data_is_that_of_the_scaled_less_the_logs_of_scale(rng):
    """The change of variables that the docstring states, with a Gaussian and the density of its scaled self."""
    x, scaling = rng.standard_normal((4, 2)) * [3, 5] + 7, Scaling([7, 7], [3, 5])
    log_normal = lambda x, mu, sd: (-0.5 * ((x - mu) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))).sum(axis=1)  # noqa
    np.testing.assert_allclose(log_normal(x, 7, np.array([3, 5])),
                               log_normal(scaling.apply(x, float), 0, np.ones(2)) - np.log(scaling.scale).sum(),
                               rtol=1e-12)


@pytest.mark.parametrize("scaling, sentence", [
    (Scaling(), "values are taken as they are"),
    (Scaling(0, 255), "values are divided by 255, so that 0 to 255 becomes 0 to 1"),
    (Scaling(3, 2), "from every value 3 is subtracted, and the rest divided by 2"),
    (Scaling([1, 2], [3, 4]), "each column is scaled by itself: its shift is subtracted, the rest divided by its "
                              "scale"),
])
def test_it_says_what_it_does(scaling, sentence):
    assert str(scaling) == sentence


@pytest.mark.parametrize("make, says", [
    (lambda: Scaling(scale=0), "scale must be above 0; got 0"),
    (lambda: Scaling(scale=[1, -1]), "scale must be above 0; got -1"),
    (lambda: Scaling(shift=np.nan), "shift must be finite"),
    (lambda: Scaling("1"), "shift must be an array of numbers"),
    (lambda: Scaling(None), "shift must be an array of numbers"),
    (lambda: Scaling([[1]]), r"shift must have shape \(D,\)"),
    (lambda: Scaling([]), r"shift must have shape \(D,\)"),
    (lambda: Scaling([1, 2], [1, 2, 3]), r"one number for each column; got \[2, 3\]"),
    (lambda: Scaling.choose([[1, 2]], "half"), "how must be one of"),
    (lambda: Scaling.choose([1, 2]), r"x must have shape \(n, D\)"),
    (lambda: Scaling.choose([[np.nan]]), "x must be finite"),
    (lambda: Scaling.choose([[-1, 2]], "unit"), "x must lie in 0 to 65535 .* from -1 to 2"),
    (lambda: Scaling.choose([[1e9]], "unit"), r"x must lie in 0 to 65535 .* to 1e\+09: choose another"),
    (lambda: Scaling([1, 2]).apply([[1, 2, 3]]), r"x must have shape \(n, 2\); got \(1, 3\)"),
    (lambda: Scaling([1]).apply([[1, 2, 3]]), r"x must have shape \(n, 1\); got \(1, 3\)"),
    (lambda: Scaling([1, 2]).invert([[1, 2, 3]]), r"x must have shape \(n, 2\)"),
    (lambda: Scaling().apply([[1e300]]), "x, scaled, must be finite"),
    (lambda: Scaling().apply([["a"]]), "x must be an array of numbers"),
])
@pytest.mark.filterwarnings("error")
def test_wrong_arguments_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
