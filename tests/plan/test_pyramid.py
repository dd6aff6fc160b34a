"""Pyramid levels and style sizes."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from tilefarm.geometry import Size
from tilefarm.plan.pyramid import MINIMUM_SIDE, pyramid, style_size


def test_print_size_starts_near_224_and_doubles() -> None:
    levels = pyramid(Size(6000, 4500), 224)
    assert levels == (
        Size(188, 141),
        Size(375, 281),
        Size(750, 562),
        Size(1500, 1125),
        Size(3000, 2250),
        Size(6000, 4500),
    )


def test_the_reference_picture_has_three_levels() -> None:
    assert pyramid(Size(896, 672), 224) == (Size(224, 168), Size(448, 336), Size(896, 672))


def test_a_small_picture_is_one_level() -> None:
    assert pyramid(Size(1, 1), 224) == (Size(1, 1),)
    assert pyramid(Size(200, 10), 224) == (Size(200, 10),)


def test_a_long_strip_never_gets_too_thin() -> None:
    levels = pyramid(Size(4000, 80), 224)
    assert levels[0] == Size(2000, 40)


@given(st.integers(1, 50000), st.integers(1, 50000), st.integers(64, 2048))
def test_levels_double_up_to_the_final_size(width: int, height: int, smallest: int) -> None:
    final = Size(width, height)
    levels = pyramid(final, smallest)
    assert levels[-1] == final
    for coarse, fine in itertools.pairwise(levels):
        assert abs(coarse.width - fine.width / 2) <= 1
        assert abs(coarse.height - fine.height / 2) <= 1
    if len(levels) > 1:
        assert levels[0].short_side >= MINIMUM_SIDE
        assert levels[0].long_side / smallest >= 1 / math.sqrt(2) * 0.99
    if levels[0].short_side > 2 * MINIMUM_SIDE:  # another halving was possible
        assert levels[0].long_side / smallest <= math.sqrt(2) * 1.01


def test_styles_keep_their_aspect_and_follow_the_level() -> None:
    assert style_size(Size(1280, 1014), Size(896, 672), 1.0) == Size(896, 710)
    assert style_size(Size(1014, 1280), Size(896, 672), 0.5) == Size(355, 448)
    assert style_size(Size(4000, 1), Size(224, 168), 1.0) == Size(224, 1)
