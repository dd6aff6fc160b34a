"""Colours of one raw picture for another, in files: distributions reached, bands, and odd pictures."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tilefarm.colour import transfer as module
from tilefarm.colour.histogram import Histogram, Matching
from tilefarm.colour.moments import MomentSums, mixture
from tilefarm.colour.pixels import luma, value_and_saturation
from tilefarm.colour.transfer import Raw, match_luma, moments_of, to_grey, transfer
from tilefarm.errors import TilefarmError
from tilefarm.geometry import Size
from tilefarm.spec.color import ColorMode

Picture = NDArray[np.float32]
Write = Callable[[str, NDArray[np.floating]], Raw]

SAME_PLACES: tuple[ColorMode, ...] = ("content_luma", "content_hsv")
ANY_SIZE: tuple[ColorMode, ...] = ("histogram_rgb", "histogram_hsv", "statistics")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, pixels: NDArray[np.floating]) -> Raw:
        path = tmp_path / f"{name}.f32"
        pixels.astype("<f4").tofile(path)
        return Raw(path, Size(pixels.shape[1], pixels.shape[0]))

    return make


def read(raw: Raw) -> Picture:
    return np.fromfile(raw.path, dtype="<f4").reshape(raw.size.height, raw.size.width, 3)


def stylised(height: int = 60, width: int = 80, seed: int = 1) -> Picture:
    """Correlated colours that leave 0..1 here and there."""
    generator = np.random.default_rng(seed)
    mixing = np.array([[0.25, 0.1, 0.0], [0.1, 0.15, 0.05], [0.0, 0.1, 0.2]])
    pixels: Picture = (0.5 + generator.standard_normal((height, width, 3)) @ mixing).astype(np.float32)
    return pixels


def photo(height: int = 60, width: int = 80, seed: int = 2) -> Picture:
    """Colours inside 0..1 with another distribution in each channel."""
    generator = np.random.default_rng(seed)
    channels = [generator.beta(a, b, (height, width)) for a, b in ((2, 5), (4, 3), (1, 2))]
    mixed = np.stack(channels, axis=-1) @ np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
    pixels: Picture = mixed.clip(0, 1).astype(np.float32)
    return pixels


def distance(found: NDArray[np.floating], wanted: NDArray[np.floating]) -> float:
    """Kolmogorov and Smirnov's: the largest difference of the cumulative histograms."""
    values = np.concatenate([found, wanted])
    shares = [np.searchsorted(np.sort(x), values, side="right") / len(x) for x in (found, wanted)]
    return float(np.abs(shares[0] - shares[1]).max())


# ---- what each mode is for ----------------------------------------------------------------------------


def test_content_luma_in_files(write: Write) -> None:
    picture, content = write("picture", stylised()), write("content", photo())
    transfer("content_luma", picture, content, picture.path)
    found = read(picture).reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(luma(found), luma(stylised().reshape(-1, 3).clip(0, 1)), atol=1e-6)
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("sizes", [((60, 80), (60, 80)), ((90, 70), (40, 30))])
def test_histogram_rgb_matches_every_channel(
    write: Write, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    picture, content = write("picture", stylised(*sizes[0])), write("content", photo(*sizes[1]))
    transfer("histogram_rgb", picture, content, picture.path)
    found, wanted = read(picture).reshape(-1, 3), photo(*sizes[1]).reshape(-1, 3)
    before = stylised(*sizes[0]).reshape(-1, 3)
    for channel in range(3):
        assert distance(before[:, channel], wanted[:, channel]) > 0.1
        assert distance(found[:, channel], wanted[:, channel]) < 4 / len(wanted) + 2e-3
        order = np.argsort(before[:, channel], kind="stable")
        assert (np.diff(found[order, channel]) >= 0).all()


def test_histogram_hsv_matches_value_and_saturation_and_keeps_the_hue(write: Write) -> None:
    own = stylised() / 2 + 0.4  # above 0, where saturations are not all 1
    picture, content = write("picture", own), write("content", photo())
    transfer("histogram_hsv", picture, content, picture.path)
    found, wanted = read(picture).reshape(-1, 3).astype(float), photo().reshape(-1, 3).astype(float)
    for column in range(2):
        matched, aim = value_and_saturation(found)[:, column], value_and_saturation(wanted)[:, column]
        assert distance(matched, aim) < 4e-3
    before = own.reshape(-1, 3)
    assert (before.argmax(axis=1) == found.argmax(axis=1)).mean() > 0.99
    middle = [np.sort(x, axis=1)[:, 1] for x in (before, found)]
    ends = [(x.min(axis=1), x.max(axis=1)) for x in (before, found)]
    place = [(m - low) / (high - low) for m, (low, high) in zip(middle, ends, strict=True)]
    np.testing.assert_allclose(place[1], place[0], atol=2e-3)


@pytest.mark.parametrize("sizes", [((60, 80), (60, 80)), ((90, 70), (40, 30))])
def test_statistics_match_mean_and_covariance(
    write: Write, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    picture, content = write("picture", stylised(*sizes[0])), write("content", photo(*sizes[1]))
    transfer("statistics", picture, content, picture.path)
    found, wanted = read(picture).reshape(-1, 3).astype(float), photo(*sizes[1]).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.cov(wanted.T, bias=True), atol=1e-6)


def test_statistics_do_not_depend_on_the_order_of_channels(write: Write) -> None:
    picture, content = write("picture", stylised()), write("content", photo())
    turned = [write(name, pixels[..., ::-1]) for name, pixels in (("p", stylised()), ("c", photo()))]
    transfer("statistics", picture, content, picture.path)
    transfer("statistics", turned[0], turned[1], turned[0].path)
    np.testing.assert_allclose(read(turned[0])[..., ::-1], read(picture), atol=1e-6)


def test_luma_of_a_style_gets_mean_and_deviation_of_the_content(write: Write) -> None:
    style, content = write("style", stylised()), write("content", photo())
    match_luma(style, content, style.path)
    found = read(style).astype(float)
    assert (found[..., 0] == found[..., 1]).all()
    assert (found[..., 0] == found[..., 2]).all()
    wanted = luma(photo().reshape(-1, 3).astype(float))
    assert found[..., 0].mean() == pytest.approx(wanted.mean(), abs=1e-6)
    assert found[..., 0].std() == pytest.approx(wanted.std(), abs=1e-6)
    order = luma(stylised().reshape(-1, 3).astype(float)).argsort()
    assert (np.diff(found[..., 0].reshape(-1)[order]) > -1e-6).all()


# ---- pictures of which a part counts ------------------------------------------------------------------


def counting(raw: Raw, shares: NDArray[np.floating]) -> Raw:
    """The same picture with shares (height, width)."""
    path = raw.path.with_suffix(".shares")
    shares.astype("<f4").tofile(path)
    return replace(raw, shares=path)


def framed(height: int = 60, width: int = 80, frame: int = 9) -> tuple[Picture, NDArray[np.float32]]:
    """A picture in a black frame, and the shares that leave the frame out."""
    pixels, shares = stylised(height, width), np.ones((height, width), np.float32)
    for side in (np.s_[:frame], np.s_[-frame:], np.s_[:, :frame], np.s_[:, -frame:]):
        pixels[side], shares[side] = 0, 0
    return pixels, shares


@pytest.mark.parametrize("mode", [*ANY_SIZE, "luma"])
def test_a_frame_that_does_not_count_changes_nothing_inside(write: Write, mode: Any) -> None:
    """Each pixel becomes what it becomes in a picture that was cut out of its frame."""
    pixels, shares = framed()
    content = write("content", photo())
    picture, inside = counting(write("picture", pixels), shares), write("inside", pixels[9:-9, 9:-9])
    everything = write("everything", pixels)
    for each in (picture, inside, everything):
        if mode == "luma":
            match_luma(each, content, each.path)
        else:
            transfer(mode, each, content, each.path)
    found, wanted = read(picture)[9:-9, 9:-9], read(inside)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert np.abs(read(everything)[9:-9, 9:-9] - wanted).max() > 0.05


def test_a_share_counts_like_so_many_pixels(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of 0, 1/4 ... 1, against the picture with each pixel 0, 1 ... 4 times."""
    pixels, times = stylised(), np.random.default_rng(7).integers(0, 5, (60, 80))
    repeated = np.repeat(pixels.reshape(-1, 3), times.reshape(-1), axis=0).astype(np.float64)
    monkeypatch.setattr(module, "_PIXELS_PER_BAND", 170)  # two rows
    found = moments_of(counting(write("picture", pixels), times / 4))
    np.testing.assert_allclose(found.mean, repeated.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(repeated.T, bias=True), atol=1e-12)
    weighted, plain = Histogram(3), Histogram(3)
    weighted.add(pixels.reshape(-1, 3).astype(np.float64), times.reshape(-1) / 4)
    plain.add(repeated)
    for channel in range(3):
        for one, other in zip(weighted.quantiles(channel), plain.quantiles(channel), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ANY_SIZE)
def test_a_white_mask_is_as_good_as_none_to_the_bit(write: Write, mode: ColorMode) -> None:
    plain, content = write("plain", stylised()), write("content", photo())
    white = counting(write("white", stylised()), np.ones((60, 80)))
    for each in (plain, white):
        transfer(mode, each, content, each.path)
    assert read(white).tobytes() == read(plain).tobytes()


# ---- no banding ---------------------------------------------------------------------------------------


def test_a_fine_ramp_keeps_its_steps(write: Write) -> None:
    """16-bit output must not show the bins: a ramp of 60,000 values stays one."""
    ramp = np.repeat(np.linspace(0.1, 0.9, 60_000)[np.newaxis, :, np.newaxis], 3, axis=2)
    picture, content = write("picture", ramp), write("content", ramp**2)
    transfer("histogram_rgb", picture, content, picture.path)
    found = read(picture)[0, :, 0].astype(float)
    np.testing.assert_allclose(found, (ramp**2)[0, :, 0], atol=3e-4)
    assert len(np.unique(np.rint(found * 65535))) > 0.99 * len(np.unique(np.rint(ramp[0, :, 0] ** 2 * 65535)))


def test_every_level_of_8_bits_goes_to_its_own_rank() -> None:
    generator = np.random.default_rng(3)
    levels, wanted = generator.integers(0, 256, 5000) / 255, generator.uniform(0, 1, 5000)
    source, target = Histogram(1), Histogram(1)
    source.add(levels[:, np.newaxis])
    target.add(wanted[:, np.newaxis])
    found = Matching(source, target, 1)(levels[:, np.newaxis])[:, 0]
    for level in np.unique(levels):
        rank = (levels < level).mean() + (levels == level).mean() / 2
        assert found[levels == level][0] == pytest.approx(np.quantile(wanted, rank), abs=2e-3)


# ---- odd pictures -------------------------------------------------------------------------------------

SHAPES = [(1, 1), (1, 50), (50, 1), (13, 7)]


def odd(kind: str, height: int, width: int, seed: int) -> Picture:
    pixels = photo(height, width, seed)
    if kind == "flat":
        pixels[...] = (0.2, 0.5, 0.7)
    elif kind == "flat channel":
        pixels[..., 1] = 0.5
    elif kind == "grey":
        pixels[...] = pixels[..., :1]
    elif kind in ("black", "white"):
        pixels[...] = float(kind == "white")
    elif kind == "beyond":
        pixels = stylised(height, width, seed) * 6 - 2
    return pixels


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from(SAME_PLACES + ANY_SIZE),
    shape=st.sampled_from(SHAPES),
    kinds=st.tuples(*[st.sampled_from(["", "flat", "flat channel", "grey", "black", "white", "beyond"])] * 2),
)
def test_every_mode_on_odd_pictures(
    write: Write, mode: ColorMode, shape: tuple[int, int], kinds: tuple[str, str]
) -> None:
    picture, content = odd(kinds[0], *shape, 1), odd(kinds[1], *shape, 2)
    raw = write("picture", picture)
    transfer(mode, raw, write("content", content), raw.path)
    found = read(raw).astype(float)
    assert np.isfinite(found).all()
    target = content.clip(0, 1).reshape(-1, 3)
    if mode == "statistics":
        np.testing.assert_allclose(found.reshape(-1, 3).mean(axis=0), target.mean(axis=0), atol=1e-4)
        spread = np.linalg.eigvalsh(np.cov(target.T, bias=True)).max() if len(target) > 1 else 0.0
        if len(target) > 1:  # never more colour than the content has
            found_spread = np.linalg.eigvalsh(np.cov(found.reshape(-1, 3).T, bias=True)).max()
            assert found_spread <= spread * 1.01 + 1e-6
        return
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-6
    if kinds[1] == "grey" and mode in SAME_PLACES:
        np.testing.assert_allclose(found, found[..., :1].repeat(3, axis=2), atol=1e-6)


def test_a_flat_picture_becomes_the_median(write: Write) -> None:
    picture, content = write("picture", odd("flat", 40, 40, 1)), write("content", photo())
    transfer("histogram_rgb", picture, content, picture.path)
    np.testing.assert_allclose(read(picture)[0, 0], np.median(photo().reshape(-1, 3), axis=0), atol=1e-3)


def test_statistics_do_not_blow_up_what_cannot_be_seen(write: Write) -> None:
    """A grey picture with rounding errors does not get the content's colours out of these."""
    grey = photo()[..., :1] + np.random.default_rng(5).normal(0, 2e-5, (60, 80, 3))
    picture, content = write("picture", grey), write("content", photo())
    transfer("statistics", picture, content, picture.path)
    found = read(picture).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(found.mean(axis=0), photo().reshape(-1, 3).mean(axis=0), atol=1e-4)
    spreads = np.linalg.eigvalsh(np.cov(found.T))
    assert spreads[1] < 1e-6
    assert spreads[2] > 1e-2


# ---- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", SAME_PLACES + ANY_SIZE)
def test_bands_do_not_show(write: Write, monkeypatch: pytest.MonkeyPatch, mode: ColorMode) -> None:
    picture, content = write("picture", stylised()), write("content", photo())
    whole = Raw(picture.path.with_name("whole.f32"), picture.size)
    transfer(mode, picture, content, whole.path)
    monkeypatch.setattr(module, "_PIXELS_PER_BAND", 170)  # two rows
    transfer(mode, picture, content, picture.path)
    np.testing.assert_allclose(read(picture), read(whole), atol=1e-6)


@pytest.mark.parametrize("mode", SAME_PLACES)
def test_other_sizes_are_refused_where_pixels_are_combined(write: Write, mode: ColorMode) -> None:
    with pytest.raises(ValueError, match="needs a content of 80x60, got 30x40"):
        transfer(mode, write("p", stylised()), write("c", photo(40, 30)), Path("nowhere"))


@pytest.mark.parametrize("mode", ["style", "luminance"])
def test_what_is_no_transfer_is_refused(write: Write, mode: ColorMode) -> None:
    with pytest.raises(ValueError, match="no other colours"):
        transfer(mode, write("p", stylised()), write("c", photo()), Path("nowhere"))


def test_a_short_file_is_told_and_the_target_stays(write: Write, tmp_path: Path) -> None:
    picture, content = write("picture", stylised()), write("content", photo())
    target = tmp_path / "target"
    target.write_bytes(b"old")
    content.path.write_bytes(content.path.read_bytes()[:-4])
    with pytest.raises(TilefarmError, match="must have"):
        transfer("content_luma", picture, content, target)
    assert target.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"picture.f32", "content.f32", "target"}


@pytest.mark.parametrize("mode", SAME_PLACES + ANY_SIZE)
@pytest.mark.parametrize("masked", [False, True])
def test_memory_does_not_grow_with_the_picture(write: Write, mode: ColorMode, masked: bool) -> None:
    pixels = np.random.default_rng(0).random((900, 1000, 3), dtype=np.float32)
    picture, content = write("picture", pixels), write("content", pixels[::-1])
    if masked:
        picture = counting(picture, pixels[..., 0])
    del pixels
    tracemalloc.start()
    transfer(mode, picture, content, picture.path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 2**20  # the picture in float64 would be 21 MiB, several times


# ---- moments ------------------------------------------------------------------------------------------


def test_moments_of_a_mixture_are_those_of_both_pictures_together(write: Write) -> None:
    pictures = [stylised(40, 30), photo(40, 90)]
    parts = [moments_of(write(str(n), picture)) for n, picture in enumerate(pictures)]
    both = MomentSums()
    for picture in pictures:
        both.add(picture.reshape(-1, 3).astype(float))
    mixed = mixture(parts, [1, 3])  # as many pixels
    np.testing.assert_allclose(mixed.mean, both.moments().mean, atol=1e-12)
    np.testing.assert_allclose(mixed.covariance, both.moments().covariance, atol=1e-12)
    stacked = np.concatenate([picture.reshape(-1, 3) for picture in pictures]).astype(float)
    np.testing.assert_allclose(mixed.covariance, np.cov(stacked.T, bias=True), atol=1e-12)


def test_grey_is_grey_to_the_bit(write: Write) -> None:
    raw = write("picture", stylised())
    to_grey(raw, raw.path)
    found = read(raw)
    assert (found == found[..., :1]).all()
    wanted = luma(stylised().reshape(-1, 3).astype(float))
    np.testing.assert_allclose(found[..., 0].reshape(-1).astype(float), wanted, atol=1e-6)
