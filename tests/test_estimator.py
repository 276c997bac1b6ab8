"""The estimator of tables: names, units, missing cells, and what scikit-learn asks of it."""

import warnings

import numpy as np
import pytest

from scratchvae import VAE, fit
from scratchvae.train.estimator import TableVAE


class Frame:
    """As much of a DataFrame as is looked at."""

    def __init__(self, columns, rows):
        self.columns, self.rows = list(columns), np.asarray(rows, object)

    def to_numpy(self):
        return self.rows

    def reversed(self):
        return Frame(self.columns[::-1], self.rows[:, ::-1])


def frame(n=120):
    rng = np.random.default_rng(0)
    city = rng.choice(["Oslo", "Bergen"], n)
    warm = np.where(city == "Oslo", 15, 9) + rng.standard_normal(n)
    pay = np.exp(0.2 * warm + 0.3 * rng.standard_normal(n))
    rows = [[c, round(w, 2), round(p, 1), int(w > 12)] for c, w, p in zip(city, warm, pay)]
    rows[3][1] = rows[5][0] = None
    rows[7][2] = float("nan")
    return Frame(["city", "warm", "pay", "mild"], rows)


@pytest.fixture(scope="module")
def model():
    return TableVAE(latents=2, hidden=(16,)).fit(frame())


def test_columns_are_read_by_name_in_any_order(model):
    scores = model.score_samples(frame(), 50)
    assert scores.shape == (120,) and np.isfinite(scores).all()
    np.testing.assert_array_equal(model.score_samples(frame().reversed(), 50), scores)
    with pytest.raises(ValueError, match="it lacks 'warm' and has 'cold' besides"):
        model.score(Frame(["city", "cold", "pay", "mild"], frame().rows))


def test_two_columns_of_one_name_are_refused(model):
    twice = Frame(["city", "warm", "pay", "warm"], frame().rows)
    for door in (TableVAE().fit, model.score):
        with pytest.raises(ValueError, match=r"^two columns are called 'warm' \(columns 1 and 3\): rename one$"):
            door(twice)


def test_kinds_and_units_are_those_of_the_table(model):
    assert [column.kind for column in model.table_.columns] == ["categorical", "gaussian", "lognormal", "bernoulli"]
    drawn = model.sample(200)
    assert set(drawn[:, 0]) == {"Oslo", "Bergen"} and set(drawn[:, 3]) <= {0, 1}
    there = [row[2] for row in frame().rows if row[2] == row[2]]
    assert min(there) <= drawn[:, 2].min() and drawn[:, 2].max() <= max(there)
    assert all(round(pay, 1) == pay for pay in drawn[:, 2])
    assert model.transform(frame()).shape == (120, 2)
    assert model.inverse_transform(np.zeros((3, 2))).shape == (3, 4)


def test_true_and_false_come_back_as_such():
    rows = [[i % 3 == 0, "True" if i % 2 else "False", i / 7] for i in range(40)]
    rows[4][0] = None
    model = TableVAE(2, [4]).fit(rows)
    assert {type(cell) for cell in model.sample(20)[:, 0]} == {bool} and model.impute(rows)[3, 0] is True
    assert set(model.sample(50)[:, 1]) == {"True", "False"} and np.isfinite(model.score(rows))


def test_only_missing_cells_are_filled(model):
    filled, rows = model.impute(frame()), frame().rows
    assert filled[5, 0] in ("Oslo", "Bergen") and 5 < filled[3, 1] < 20 and filled[7, 2] > 0
    assert [filled[0, 0], filled[0, 1], filled[0, 3]] == [rows[0, 0], rows[0, 1], rows[0, 3]]


def test_it_has_learnt_the_table(model):
    """The score is above that of the columns by themselves: of warm and pay as normals, of the two others as shares."""
    one = TableVAE(latents=2, hidden=(16,)).fit(Frame(["warm"], [[row[1]] for row in frame().rows]))
    warm = np.array([row[1] for row in frame().rows if row[1] is not None])
    normal = -0.5 * np.log(2 * np.pi * np.e * warm.var())
    assert one.score(Frame(["warm"], warm[:, None])) > normal


def test_parameters():
    model = TableVAE(latents=3)
    assert model.set_params(hidden=(8,)).get_params() == {**TableVAE().get_params(), "latents": 3, "hidden": (8,)}
    with pytest.raises(ValueError, match="every parameter must be one of 'latents'"):
        model.set_params(width=3)
    for early in (lambda: model.score(frame()), lambda: model.sample(3), lambda: model.inverse_transform([[0, 0, 0]])):
        with pytest.raises(ValueError, match="^fit must be called first$"):
            early()
    with pytest.raises(ValueError, match="every name in kinds must be one of 'city'"):
        TableVAE(kinds={"town": "poisson"}).fit(frame())


def test_raw_columns_are_remarked_on_by_fit_and_scaled_by_the_estimator():
    """Far from unit scale a Gaussian likelihood learns little, and fit says so; other data are left alone."""
    raw = 500 + np.random.default_rng(0).standard_normal((40, 2))
    with pytest.warns(UserWarning, match="column [01], counted from 0, has a root mean square of 500; take"):
        fit(VAE(2, 1, [4], likelihood="gaussian"), raw, epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(VAE(2, 1, [4], likelihood="gaussian"), raw - 500, epochs=1)
        TableVAE(1, [4]).fit(raw)
    with pytest.raises(ValueError, match="got Frame: TableVAE takes text and missing cells"):
        fit(VAE(4, 1, [4], likelihood="gaussian"), frame(), epochs=1)


def test_scikit_learn_takes_it():
    base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed")
    selection, pipeline, scale, data = (pytest.importorskip(f"sklearn.{name}") for name in (
        "model_selection", "pipeline", "preprocessing", "datasets"))
    x = data.load_wine().data[::3]
    model = TableVAE(hidden=(8,))
    assert base.clone(model).get_params() == model.get_params()
    steps = pipeline.Pipeline([("scale", scale.StandardScaler()), ("vae", model)])
    search = selection.GridSearchCV(steps, {"vae__latents": [1, 2]}, cv=2).fit(x)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all() and search.best_params_["vae__latents"] in (1, 2)
    np.testing.assert_array_equal(search.score(x), search.best_estimator_.score(x))
