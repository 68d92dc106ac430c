"""The nearest stored key, and how near it must be, against distances worked out by hand and by numpy."""

import numpy as np
import torch

from editors.nearest_key import nearest_key


def test_many_rows_find_the_key_that_numpy_finds(generator):
    rows, keys = (torch.randn(count, 7, generator=generator, dtype=torch.float64) for count in (60, 40))
    place, near = nearest_key(rows, keys, 0.6)
    x, k = rows.numpy(), keys.numpy()
    relative = np.sqrt(((x[:, None] - k[None]) ** 2).sum(axis=2)) / np.sqrt((k**2).sum(axis=1))
    assert place.tolist() == relative.argmin(axis=1).tolist()
    assert near.tolist() == (relative.min(axis=1) <= 0.6).tolist()
    assert 0 < near.sum() < len(rows)


def test_a_row_is_at_no_distance_from_itself_however_long_and_many(generator):
    keys = 1e4 + torch.randn(50, 300, generator=generator)
    place, near = nearest_key(keys, keys, 0.0)
    assert place.tolist() == list(range(50))
    assert near.all()


def test_a_key_of_zeros_is_near_to_nothing_but_itself():
    place, near = nearest_key(torch.tensor([[0.0, 0.0], [1e-3, 0.0]]), torch.zeros(1, 2), 1e6)
    assert place.tolist() == [0, 0]
    assert near.tolist() == [True, False]
