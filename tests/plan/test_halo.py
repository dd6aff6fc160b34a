"""Pieces with halo: alignment, coverage, and the receptive field's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.geometry import Size
from tilefarm.plan.halo import partition, receptive_field
from tilefarm.spec.networks import NETWORK_NAMES, layer_names


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


@pytest.mark.parametrize(
    ("layer", "stride", "before", "after"),
    [
        ("relu1", 2, 0, 1),  # 3 pixels from the position's own two on
        ("fire2", 4, 4, 1 + 2 + 4),  # the pooling sees a position more, the 3x3 branch one on either side
        ("fire3", 4, 8, 11),
        ("fire4", 8, 8 + 8, 11 + 4 + 8),
        ("fire9", 16, 8 + 16 + 4 * 16, 11 + 4 + 16 + 8 + 4 * 16),
    ],
)
def test_squeezenets_receptive_fields_counted_by_hand(
    layer: str, stride: int, before: int, after: int
) -> None:
    field = receptive_field("squeezenet", layer)
    assert (field.stride, field.before, field.after, field.unpadded) == (stride, before, after, 1)
    assert field.smallest == stride + 1
    assert (field.halo_before % stride, field.halo_after % stride) == (0, 0)


@pytest.mark.parametrize("network", NETWORK_NAMES)
def test_no_network_has_more_positions_than_strides(network: str) -> None:
    """What a core owns ends with its last whole stride: a network of another kind would lose positions."""
    assert all(receptive_field(network, layer).unpadded >= 0 for layer in layer_names(network))


SIDES = st.integers(17, 300) | st.sampled_from([1001, 4499, 6001]) | st.integers(300, 7000)


@given(st.sampled_from(["squeezenet", "vgg16"]), SIDES, st.sampled_from([16, 48, 256, 1024]), st.data())
@settings(deadline=None)
def test_cores_own_every_position_of_every_layer_once(
    network: str, side: int, core: int, data: st.DataObject
) -> None:
    """Against the sizes that torch's own layers have, in whole pictures and in crops."""
    other = data.draw(st.sampled_from([17, 64, 301]))
    deepest = layer_names(network)[-1]
    whole = torchs_sizes(network, side)
    owned: dict[str, list[int]] = {layer: [] for layer in whole}
    for piece in partition(Size(side, other), core, receptive_field(network, deepest)):
        if piece.core.top > 0:
            continue
        there = torchs_sizes(network, piece.crop.width)
        for layer, counted in owned.items():
            stride = receptive_field(network, layer).stride
            left, right = piece.core_in_crop.left // stride, piece.core_in_crop.right // stride
            mine = range(left, min(right, there[layer]))
            assert len(mine) > 0
            counted.extend(piece.crop.left // stride + position for position in mine)
    for layer, counted in owned.items():
        assert counted == list(range(whole[layer]))
        assert receptive_field(network, layer).positions(side) == whole[layer]


def torchs_sizes(network: str, side: int) -> dict[str, int]:
    """How many positions every layer has along a side, as torch computes shapes. No numbers are touched."""
    x = torch.empty(1, 1, side, device="meta")
    one, three = torch.empty(1, 1, 1, device="meta"), torch.empty(1, 1, 3, device="meta")
    found: dict[str, int] = {}
    for layer in layer_names(network):
        if network == "squeezenet":
            if layer in ("fire2", "fire4", "fire6"):
                x = F.max_pool1d(x, 3, 2, ceil_mode=True)
            x = (
                F.conv1d(x, three, stride=2)
                if layer == "relu1"
                else F.conv1d(F.conv1d(x, one), three, padding=1)
            )
        else:
            if layer.endswith("_1") and layer != "relu1_1":
                x = F.max_pool1d(x, 2)
            x = F.conv1d(x, three, padding=1)
        found[layer] = x.shape[2]
    return found


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
