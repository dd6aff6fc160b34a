from __future__ import annotations

import numpy as np
import pytest
import torch

from tilefarm.solve.history import PairHistory, dot, norm1


@pytest.mark.parametrize("length", [1, 5, 4096, 10_000])
def test_products_and_sums_are_those_of_plain_lists_after_wrapping_and_skipping(length: int) -> None:
    generator = np.random.default_rng(length)
    batch, capacity = 3, 4
    history = PairHistory(batch, length, capacity, torch.zeros(1, dtype=torch.float64))
    lists: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(batch)]
    for _ in range(11):
        s, y = generator.standard_normal((2, batch, length))
        tiles = [int(tile) for tile in np.flatnonzero(generator.random(batch) < 0.7)]
        history.push(tiles, torch.from_numpy(s), torch.from_numpy(y))
        for tile in tiles:
            lists[tile] = [*lists[tile], (s[tile], y[tile])][-capacity:]
        gradient = generator.standard_normal((batch, length))
        bases = [
            np.array([*(p[0] for p in pairs), *(p[1] for p in pairs), gradient[tile]])
            for tile, pairs in enumerate(lists)
        ]
        for found, basis in zip(history.dots(torch.from_numpy(gradient)), bases, strict=True):
            np.testing.assert_allclose(found, basis @ basis.T, rtol=1e-10, atol=1e-10 * length)
        coefficients = [generator.standard_normal(len(basis)) for basis in bases]
        combined = history.combine(coefficients, torch.from_numpy(gradient)).numpy()
        wanted = [values @ basis for values, basis in zip(coefficients, bases, strict=True)]
        np.testing.assert_allclose(combined, wanted, rtol=0, atol=1e-11)
    assert all(len(pairs) == capacity for pairs in lists), "the rings must have wrapped"


def test_dot_products_of_long_float32_vectors_are_accurate() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 1, 500_001)).astype(np.float32)
    exact = a[0].astype(np.float64) @ b[0].astype(np.float64)
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    assert abs(dot(torch.from_numpy(a), torch.from_numpy(b))[0] - exact) < 1e-8 * scale
    assert norm1(torch.from_numpy(a))[0] == pytest.approx(np.abs(a.astype(np.float64)).sum(), rel=1e-7)


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(6, 2, 300_000, generator=generator)
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        history = PairHistory(2, 300_000, 5, vectors)
        history.push([0, 1], vectors[0], vectors[1])
        history.push([1], vectors[2], vectors[3])
        dots = history.dots(vectors[4])
        combined = history.combine([np.ones(len(matrix)) for matrix in dots], vectors[4])
        results.append((dots, combined, norm1(vectors[5])))
    torch.set_num_threads(before)
    one, two = results
    assert all(np.array_equal(a, b) for a, b in zip(one[0], two[0], strict=True))
    assert torch.equal(one[1], two[1])
    assert np.array_equal(one[2], two[2])
