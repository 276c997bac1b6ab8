"""The digits that come with the package, and how grey becomes black and white."""

import numpy as np
import pytest

from scratchvae.data import datasets


def test_digits_are_sixteenths_and_every_fifth_is_held_out():
    data = datasets.digits()
    assert data.x_train.shape == (1438, 64) and data.x_test.shape == (359, 64) and data.image_shape == (8, 8)
    assert data.x_train.dtype == np.float32 and (data.x_train * 16 % 1 == 0).all() and data.x_train.max() == 1
    counts = np.bincount(data.y_train) + np.bincount(data.y_test)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180] and data.y_train.dtype == np.int64


def test_digits_of_the_package_are_those_of_the_csv_file(shared_data):
    data, stored = datasets.digits(), np.loadtxt(shared_data / "digits" / "digits.csv.gz", delimiter=",")
    held_out = np.arange(1797) % 5 == 4
    assert (data.x_test * 16 == stored[held_out, :64]).all() and (data.y_train == stored[~held_out, 64]).all()


def test_binarize_by_threshold_and_by_chance(rng):
    x = rng.random((200, 50), np.float32)
    assert (datasets.binarize(x) == (x >= 0.5)).all() and datasets.binarize(x).dtype == np.float32
    drawn = np.mean([datasets.binarize(x, "sample", rng) for _ in range(400)], axis=0)
    z = (drawn - x) / np.sqrt(x * (1 - x) / 400 + 1e-6)
    assert abs(z.mean()) < 5 / np.sqrt(z.size) and abs(z).max() < 6, "each pixel is 1 with probability x"
    assert (datasets.binarize(x, "sample", 3) == datasets.binarize(x, "sample", 3)).all()
    assert set(np.unique(datasets.binarize(np.array([0.0, 1.0] * 500), "sample")[::2])) == {0}
    with pytest.raises(ValueError, match="how must be one of"):
        datasets.binarize(x, "twice")
