"""A VAE of a table with the interface of a scikit-learn estimator; scikit-learn need not be installed.

    model = TableVAE().fit(table)          # a DataFrame, or rows of numbers and text
    model.score_samples(table)             # log p(x) of every row, in nats
    model.sample(100)                      # new rows
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import check
from ..data import columns
from ..layers import Array
from ..vae import VAE
from .budget import LOOKED_AT, Best, budget, copies
from .imputation import fill
from .fit import fit
from .optim import Adam


def rows(X: Any) -> Any:
    """Return X, or raise a ValueError if it is neither a DataFrame nor rows of the same length."""
    try:
        n, width = np.shape(X.to_numpy() if hasattr(X, "to_numpy") else X)
    except (ValueError, TypeError):                    # rows of several lengths; no rows at all
        n = width = 0
    if not n * width:
        raise ValueError(f"X must be a DataFrame, or rows of cells, all of the same length; got {check.shown(X)}")
    return X


class TableVAE:
    """A VAE of the rows of a table: each column with a likelihood of its own, cells may be missing.

    `sklearn.base.clone`, `Pipeline` and `GridSearchCV` take it.

    Parameters
    ----------
    latents : int, default 16
    hidden : sequence of int, default (128,)
        Hidden layers.
    kinds : dict from str to str, optional
        Kinds of columns by name, where the one that is chosen is wrong; see data/columns.py.
    hold_out : int, default 10
        Every N-th row is held out; training ends when their bound has stopped rising.
    learning_rate, batch_size : float and int, default 1e-3 and 64
    random_state : int, default 0

    Attributes
    ----------
    model_ : VAE
    table_ : data.columns.Table
        The columns, and the way from the table to the model.
    history_ : dict of str to list of float
    feature_names_in_ : array of str
    n_features_in_ : int
    """

    def __init__(self, latents: int = 16, hidden: Sequence[int] = (128,), kinds: Mapping[str, str] | None = None,
                 hold_out: int = 10, learning_rate: float = 1e-3, batch_size: int = 64, random_state: int = 0) -> None:
        self.latents, self.hidden, self.kinds, self.hold_out = latents, hidden, kinds, hold_out
        self.learning_rate, self.batch_size, self.random_state = learning_rate, batch_size, random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name."""
        return {name: value for name, value in vars(self).items() if not name.endswith("_")}

    def set_params(self, **params: Any) -> TableVAE:
        """Set parameters by name."""
        for name, value in params.items():
            setattr(self, check.choice("every parameter", name, self.get_params()), value)
        return self

    def fit(self, X: Any, y: Any = None) -> TableVAE:
        """Learn the table X, a DataFrame or rows; y is not used."""
        X, latents = rows(X), check.size("latents", self.latents)
        seed = check.size("random_state", self.random_state, 0)
        names = list(map(str, X.columns if hasattr(X, "columns") else range(np.shape(X)[1])))
        cells = np.asarray(columns.by_name(X, names), object)
        text = np.array([[str(cell).strip() for cell in row] for row in cells], object)
        given = {} if self.kinds is None else check.has("kinds", self.kinds, ("items",), "{'age': 'gaussian'}")
        kinds = {names.index(check.choice("every name in kinds", name, names)): kind for name, kind in given.items()}
        held = np.arange(1, len(text) + 1) % min(check.size("hold_out", self.hold_out, 2), max(2, len(text))) == 0
        self.table_ = columns.standardised(columns.choose(text, names, kinds, True), text[~held])
        self.flags_ = [j for j, column in enumerate(self.table_.columns) if list(column.levels) == ["False", "True"]
                       and not any(isinstance(cell, str) for cell in cells[:, j])]
        x, plan = self.table_.apply(text), budget(int((~held).sum()), self.batch_size)
        self.model_ = VAE(self.table_.x_dim, latents, self.hidden, likelihood=self.table_.likelihood(),
                          x_mean=columns.means(x[~held]), rng=seed)
        best = Best(plan.patience)
        self.history_ = fit(self.model_, copies(x[~held], plan.passes), epochs=plan.epochs, batch_size=self.batch_size,
                            optimizer=Adam(self.learning_rate), average=0.999, rng=seed, progress=False,
                            x_valid=copies(x[held], -(-LOOKED_AT // int(held.sum()))), callback=best)
        self.model_.theta[:] = best.theta
        self.feature_names_in_, self.n_features_in_ = np.array(names, object), len(names)
        return self

    def transform(self, X: Any) -> Array:
        """Return the mean of q(z | x), of shape (n, latents)."""
        return self.model_.encode(self._seen(X))[0]

    def inverse_transform(self, Z: Any) -> Array:
        """Return the table's rows for latents: E[x | z], and the most probable of categories."""
        return self._cells(self._fitted().decode(Z))

    def score_samples(self, X: Any, n_samples: int = 300) -> Array:
        """Return log p(x) of each row, in nats and in the units of the table, over the cells that are there."""
        x = self._seen(X)
        return self.model_.log_likelihood(x, n_samples, self.random_state) - self.table_.log_scale(x)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples`."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> Array:
        """Draw rows of the table."""
        n = check.size("n_samples", n_samples)
        return self._cells(self._fitted().sample(n, self.random_state, draw=True), drawn=True)

    def impute(self, X: Any, n_samples: int = 300) -> Array:
        """Return the rows with their missing cells filled by their mean given the others."""
        return self._cells(fill(self.model_, self._seen(X), n_samples, self.random_state), drawn=True)

    def _seen(self, X: Any) -> Array:
        self._fitted()
        return self.table_.apply(rows(X))

    def _fitted(self) -> VAE:
        if not hasattr(self, "model_"):
            raise ValueError("fit must be called first")
        return self.model_

    def _cells(self, x: Array, drawn: bool = False) -> Array:
        """Return cells, as floats but for the texts of categories, and what is true or false."""
        cells = self.table_.invert(x, drawn)
        text = np.array([column.kind == "categorical" for column in self.table_.columns])
        cells[:, ~text] = cells[:, ~text].astype(float)
        cells[:, self.flags_] = cells[:, self.flags_] == "True"
        return cells if text.any() else cells.astype(float)

    def fit_transform(self, X: Any, y: Any = None) -> Array:
        """Return ``fit(X).transform(X)``."""
        return self.fit(X).transform(X)

    def __sklearn_tags__(self) -> Any:
        utils: Any = sys.modules["sklearn.utils"]      # only scikit-learn asks, so that it is there
        return utils.Tags(estimator_type=None, target_tags=utils.TargetTags(required=False),
                          transformer_tags=utils.TransformerTags())
