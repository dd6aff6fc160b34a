"""bfloat16 ends as low as float32: what is lost is rounding, not the ability to see small changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from tests.exactness import targets_of
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import Picture, SolverSettings, Weights
from tilefarm.solve.network import in_parts
from tilefarm.solve.objective import TileObjective
from tilefarm.solve.tasks import TileTask
from tilefarm.solve.tile import solve_tiles

STEPS = 50


def loaded(folder: Path, name: str) -> Picture:
    with Image.open(folder / f"{name}.jpg") as picture:
        small = picture.convert("RGB").resize((80, 60), Image.Resampling.LANCZOS)
        pixels: Picture = np.asarray(small, dtype=np.float32) / np.float32(255)
        return pixels


PAIRS = [
    ("golden_gate", "starry_night_google"),
    ("tubingen", "the_scream"),
    ("hoovertowernight", "shipwreck"),
]


def test_bfloat16_ends_within_a_percent_of_float32(
    shared_images: Path, bundled: Weights, settings: Callable[..., SolverSettings]
) -> None:
    """All results judged in float32.

    After so many steps two solves end per cents apart even in float32 where their starts differ by 1e-6, so
    one picture is held to 4%, and the mean of the three to 1%. Lower ends are welcome.
    """
    ratios = [_ratio(shared_images, bundled, settings, *pair) for pair in PAIRS]
    assert max(ratios) < 1.04, ratios
    assert float(np.exp(np.mean(np.log(ratios)))) < 1.01, ratios


def _ratio(
    folder: Path,
    bundled: Weights,
    settings: Callable[..., SolverSettings],
    photograph: str,
    painting: str,
) -> float:
    """The final loss in bfloat16 over that in float32."""
    content, style = (loaded(folder, name) for name in (photograph, painting))
    exact = settings()
    judge = make_network(exact, bundled, "cpu")
    targets = targets_of(judge, exact, style)
    targets = replace(targets, content_mean_squares=targets_of(judge, exact, content).content_mean_squares)

    def final_loss(precision: str) -> float:
        rounded = settings(precision=precision)
        network = make_network(rounded, bundled, "cpu")
        (solution,) = solve_tiles(network, rounded, targets, [TileTask(0, content, content, STEPS)])
        start, end = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in (content, solution.image))
        return float(TileObjective(judge, exact, targets, start).losses(end).total)

    return final_loss("bfloat16") / final_loss("float32")


@given(st.lists(st.floats(-160, 160, width=32), min_size=1, max_size=30))
@hypothesis_settings(deadline=None)
def test_a_picture_enters_with_twice_the_bits(values: list[float]) -> None:
    x = torch.tensor(values).view(1, 1, 1, -1).requires_grad_()
    parts = in_parts(x, torch.bfloat16)
    assert parts.dtype == torch.bfloat16
    total = parts.double().sum(1, keepdim=True)
    assert bool(((total - x.double()).abs() <= 2.0**-17 * x.abs() + 1e-38).all())
    (gradient,) = torch.autograd.grad(parts.float().sum(), x)
    assert torch.equal(gradient, torch.ones_like(x)), "once, not once for each part"


def test_other_precisions_take_the_picture_as_it_is() -> None:
    x = torch.rand(1, 3, 4, 5)
    assert in_parts(x, torch.float32) is x
    assert torch.equal(in_parts(x, torch.float64), x.double())
