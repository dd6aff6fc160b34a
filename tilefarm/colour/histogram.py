"""Histograms of channels, added up band by band, and the curves that turn one into another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tilefarm.colour.pixels import Pixels, Shares

LOW, HIGH = -1.0, 2.0
"""The range of the bins. Canvases leave 0..1 a little; what lies even further out counts in the last bins."""
BINS_PER_UNIT = 4096

_BINS = int((HIGH - LOW) * BINS_PER_UNIT)


class Histogram:
    """Counts per channel and bin, and the sum of the values in each bin."""

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, _BINS))
        self._sums = np.zeros((channels, _BINS))

    def add(self, values: Pixels, shares: Shares | None = None) -> None:
        """Count values of shape (n, channels), each row by its share of 0..1; None: all by 1."""
        counted = values if shares is None else values * shares[:, np.newaxis]
        bins = ((values - LOW) * BINS_PER_UNIT).clip(0, _BINS - 1).astype(np.int64)
        for channel, (counts, sums) in enumerate(zip(self._counts, self._sums, strict=True)):
            counts += np.bincount(bins[:, channel], weights=shares, minlength=_BINS)
            sums += np.bincount(bins[:, channel], weights=counted[:, channel], minlength=_BINS)

    def quantiles(self, channel: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of every bin that holds something the mean value and its rank, both rising; shape (used,).

        The rank is the share of smaller values and half of the bin's own, which puts a channel of one
        value at 0.5: it is matched to the median.
        """
        used = np.flatnonzero(self._counts[channel])
        counts = self._counts[channel, used]
        ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
        return self._sums[channel, used] / counts, ranks


class Matching:
    """Curves, one per channel, that give values the cumulative histogram of others.

    A value is taken to that of the same rank (Gonzalez and Woods, "Digital Image Processing", section
    3.3, histogram specification). Between the bins' mean values the curve is linear, so that it makes no
    steps; values that are equal stay equal.
    """

    def __init__(self, source: Histogram, target: Histogram, channels: int) -> None:
        self._curves = []
        for channel in range(channels):
            values, ranks = source.quantiles(channel)
            wanted, wanted_ranks = target.quantiles(channel)
            self._curves.append((values, np.interp(ranks, wanted_ranks, wanted)))

    def __call__(self, values: Pixels) -> Pixels:
        """Values of shape (n, channels), each on its channel's curve."""
        columns = [np.interp(values[:, channel], *curve) for channel, curve in enumerate(self._curves)]
        return np.stack(columns, axis=1)
