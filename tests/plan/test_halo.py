"""Pieces with halo: alignment, coverage, and the receptive field's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.geometry import Size
from tilefarm.plan.halo import partition, receptive_field


@pytest.mark.parametrize(
    ("network", "layer", "stride", "radius", "halo"),
    [
        ("vgg19", "relu1_1", 1, 1, 1),
        ("vgg19", "relu2_1", 2, 4, 4),
        ("vgg19", "relu4_2", 8, 2 + 4 + 16 + 16, 40),
        ("vgg19", "relu5_1", 16, (156 - 16) // 2, 80),
        ("vgg16", "relu5_1", 16, 2 + 4 + 12 + 24 + 16, 64),
    ],
)
def test_receptive_fields_counted_by_hand(
    network: str, layer: str, stride: int, radius: int, halo: int
) -> None:
    field = receptive_field(network, layer)
    assert (field.stride, field.radius, field.halo) == (stride, radius, halo)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 20))
@settings(deadline=None)
def test_cores_cover_the_picture_once_and_stay_aligned(width: int, height: int, cells: int) -> None:
    field = receptive_field("vgg19", "relu5_1")
    counted = np.zeros((height, width), dtype=int)
    for piece in partition(Size(width, height), 16 * cells, field):
        counted[piece.core.top : piece.core.bottom, piece.core.left : piece.core.right] += 1
        assert piece.core.left % 16 == piece.core.top % 16 == 0
        assert piece.crop.left % 16 == piece.crop.top % 16 == 0
        assert piece.core.left - piece.crop.left in (80, piece.core.left)
        assert piece.crop.right - piece.core.right in (80, width - piece.core.right)
        assert piece.core_in_crop.size == piece.core.size
        if width >= 16:
            assert piece.core.width >= 16
    assert (counted == 1).all()


def test_a_core_off_the_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of the stride 16"):
        list(partition(Size(100, 100), 100, receptive_field("vgg19", "relu5_1")))
