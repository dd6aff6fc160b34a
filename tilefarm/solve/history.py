"""The steps and gradient changes that L-BFGS remembers for each tile of a batch, and their dot products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 4096
"""Vectors are multiplied in blocks of this many numbers, in their own precision; the blocks' products are
added in float64. A multiple of the cache line and short enough that no thread divides a block."""


class PairHistory:
    """Up to `capacity` pairs (s, y) per tile, each tile with a ring of its own.

    A tile may skip a pair that others keep. All pairs live in one tensor (B, blocks, 2 * capacity,
    block): a tile's s in the first half of the third dimension, its y in the second, so that all dot
    products with a new vector are one batched matrix product, and so is a weighted sum of all vectors.
    """

    def __init__(self, batch: int, length: int, capacity: int, like: Tensor) -> None:
        """An empty history of vectors of `length` numbers with the dtype and device of `like`."""
        self._capacity = capacity
        self._length = length
        blocks = -(-length // _BLOCK)
        self._vectors = like.new_zeros(batch, blocks, 2 * capacity, _BLOCK)
        self._dots = np.zeros((batch, 2 * capacity, 2 * capacity))
        self._slots: list[list[int]] = [[] for _ in range(batch)]  # oldest first

    def push(self, tiles: Sequence[int], s: Tensor, y: Tensor) -> None:
        """Stores the rows `tiles` of s and y (B, D); a tile that is full forgets its oldest pair."""
        if not tiles:
            return
        s_blocks, y_blocks = _blocks(s), _blocks(y)
        for tile in tiles:
            slots = self._slots[tile]
            slots.append(slots.pop(0) if len(slots) == self._capacity else len(slots))
            self._vectors[tile, :, slots[-1]] = s_blocks[tile]
            self._vectors[tile, :, self._capacity + slots[-1]] = y_blocks[tile]
        s_products, y_products = self._products(s_blocks), self._products(y_blocks)
        for tile in tiles:
            slot = self._slots[tile][-1]
            for index, products in ((slot, s_products), (self._capacity + slot, y_products)):
                self._dots[tile, index, :] = products[tile]
                self._dots[tile, :, index] = products[tile]

    def dots(self, gradient: Tensor) -> list[NDArray[np.float64]]:
        """Per tile all dot products of [s_1 ... s_k, y_1 ... y_k, g], (2k + 1, 2k + 1), oldest first."""
        products = self._products(_blocks(gradient))
        squares = dot(gradient, gradient)
        result = []
        for tile, square in enumerate(squares):
            stored = self._indices(tile)
            matrix = np.empty((len(stored) + 1, len(stored) + 1))
            matrix[:-1, :-1] = self._dots[tile][np.ix_(stored, stored)]
            matrix[-1, :-1] = matrix[:-1, -1] = products[tile, stored]
            matrix[-1, -1] = square
            result.append(matrix)
        return result

    def combine(self, coefficients: Sequence[NDArray[np.float64]], gradient: Tensor) -> Tensor:
        """Per tile its vectors and g times the coefficients, in the order of `dots`, added up; (B, D)."""
        factors = np.zeros((len(coefficients), 1, 1, 2 * self._capacity))
        last = np.empty((len(coefficients), 1))
        for tile, values in enumerate(coefficients):
            factors[tile, 0, 0, self._indices(tile)] = values[:-1]
            last[tile] = values[-1]
        stored = torch.matmul(_like(factors, gradient), self._vectors)
        return stored.flatten(1)[:, : self._length] + _like(last, gradient) * gradient

    def _indices(self, tile: int) -> list[int]:
        slots = self._slots[tile]
        return slots + [self._capacity + slot for slot in slots]

    def _products(self, blocks: Tensor) -> NDArray[np.float64]:
        """The dot products of (B, blocks, block) with every stored vector, shape (B, 2 * capacity)."""
        products = torch.matmul(self._vectors, blocks.unsqueeze(-1)).squeeze(-1)
        return _sum_blocks(products)


def dot(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """The dot product of each row of a with the same row of b (B, D), shape (B,)."""
    products = torch.matmul(_blocks(a).unsqueeze(2), _blocks(b).unsqueeze(3))
    return _sum_blocks(products.flatten(2))[:, 0]


def norm1(a: Tensor) -> NDArray[np.float64]:
    """The sum of the absolute values of each row of a (B, D), shape (B,)."""
    return _sum_blocks(_blocks(a).abs().sum(-1, keepdim=True))[:, 0]


def _blocks(vectors: Tensor) -> Tensor:
    """(B, D) as (B, blocks, block), filled up with zeros."""
    padded = F.pad(vectors, (0, -vectors.shape[1] % _BLOCK))
    return padded.reshape(len(vectors), -1, _BLOCK)


def _sum_blocks(products: Tensor) -> NDArray[np.float64]:
    """(B, blocks, n) summed over the blocks in float64, one after the other; (B, n)."""
    result: NDArray[np.float64] = products.double().cpu().numpy().sum(axis=1)
    return result


def _like(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like)
