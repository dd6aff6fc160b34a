"""The sum over pieces is the untiled gradient: random sizes, both networks, several sets of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tests.exactness import relative_error, smooth_picture, targets_of, tiled, untiled
from tilefarm.geometry import Size
from tilefarm.plan.halo import ReceptiveField, partition, receptive_field
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import SolverSettings, Weights
from tilefarm.spec.networks import PaddingName, PoolingName, deepest_layer

TOLERANCE = 5e-6
"""Of the gradient, relative, in float32. Errors of 1e-6 and less are what the order of additions makes."""

Pick = Callable[[str], Weights]


@dataclass(frozen=True)
class Objective:
    """A network and the layers that are compared."""

    network: str
    pooling: PoolingName
    style: tuple[str, ...]
    content: str
    padding: PaddingName = "zeros"

    @property
    def deepest(self) -> str:
        return deepest_layer(self.network, {*self.style, self.content})

    @property
    def field(self) -> ReceptiveField:
        return receptive_field(self.network, self.deepest)

    @property
    def settings(self) -> SolverSettings:
        return SolverSettings(
            network=self.network,
            pooling=self.pooling,
            precision="float32",
            content_layers=((self.content, 1.0),),
            style_layers=tuple((layer, 1.0) for layer in self.style),
            content_weight=1.0,
            style_weight=1.0,
            tv_weight=0.0,
            history=5,
            padding=self.padding,
        )


TO_RELU5 = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
TO_RELU4 = TO_RELU5[:4]

VGG19_MAX_5 = Objective("vgg19", "max", TO_RELU5, "relu4_2")
VGG19_MAX_4 = Objective("vgg19", "max", TO_RELU4, "relu4_1")
VGG19_MAX_3 = Objective("vgg19", "max", ("relu3_1",), "relu2_2")
VGG19_AVERAGE_4 = Objective("vgg19", "average", TO_RELU4, "relu2_2")
VGG16_MAX_5 = Objective("vgg16", "max", TO_RELU5, "relu4_2")
VGG16_MAX_3 = Objective("vgg16", "max", ("relu3_1",), "relu2_2")
VGG16_AVERAGE_5 = Objective("vgg16", "average", TO_RELU5, "relu4_1")
VGG16_L2_3 = Objective("vgg16", "l2", ("relu1_1", "relu3_1"), "relu2_2", "replicate")
VGG19_REFLECT_2 = Objective("vgg19", "max", ("relu1_1", "relu2_1"), "relu1_2", "reflect")
FIRES = ("relu1", "fire3", "fire5", "fire7", "fire9")
SQUEEZENET_MAX_9 = Objective("squeezenet", "max", FIRES, "fire5")
SQUEEZENET_MAX_5 = Objective("squeezenet", "max", ("fire2", "fire5"), "fire4")
SQUEEZENET_AVERAGE_9 = Objective("squeezenet", "average", FIRES, "fire5")
SQUEEZENET_L2_9 = Objective("squeezenet", "l2", FIRES, "fire6")

SMALL = range(100, 401)
RANGES = [
    (VGG19_MAX_5, SMALL, SMALL),
    (VGG19_MAX_4, SMALL, SMALL),
    (VGG19_MAX_3, SMALL, SMALL),
    (VGG19_AVERAGE_4, SMALL, SMALL),
    (VGG16_MAX_5, SMALL, SMALL),
    (VGG16_MAX_3, SMALL, SMALL),
    (VGG16_AVERAGE_5, SMALL, SMALL),
    (VGG19_MAX_5, range(700, 1201), range(100, 301)),
    (VGG16_AVERAGE_5, range(100, 301), range(700, 1201)),
    (VGG16_MAX_3, range(400, 601), range(400, 601)),
    (VGG16_L2_3, range(100, 201), range(100, 201)),
    (VGG19_REFLECT_2, range(100, 201), range(100, 201)),
    (SQUEEZENET_MAX_9, SMALL, SMALL),
    (SQUEEZENET_MAX_5, SMALL, SMALL),
    (SQUEEZENET_AVERAGE_9, SMALL, SMALL),
    (SQUEEZENET_L2_9, SMALL, SMALL),
]
"""Objectives with the widths and heights that their pictures are drawn from."""


@dataclass(frozen=True)
class Case:
    """An objective on a picture of `width` x `height` pixels, cut into cores of about `core` pixels."""

    objective: Objective
    width: int
    height: int
    core: int

    def __str__(self) -> str:
        objective = self.objective
        layers = f"{objective.network}-{objective.pooling}-{objective.deepest}"
        return f"{layers}-{self.width}x{self.height}-{self.core}"


def drawn(seed: int) -> list[Case]:
    """A picture for every entry of `RANGES`; cores are a quarter to half of its longer side."""
    generator = np.random.default_rng(seed)
    cases = []
    for objective, widths, heights in RANGES:
        width, height = (int(generator.integers(sides.start, sides.stop)) for sides in (widths, heights))
        least = max(4, max(width, height) // 64)
        cores = generator.integers(least, max(least, max(width, height) // 32), endpoint=True)
        cases.append(Case(objective, width, height, 16 * int(cores)))
    return cases


RANDOM = drawn(seed=3)
THIN = [
    Case(VGG19_MAX_5, 1001, 17, 256),
    Case(VGG19_MAX_5, 17, 1001, 256),
    Case(VGG16_AVERAGE_5, 1003, 17, 128),
    Case(VGG16_AVERAGE_5, 17, 1003, 128),
    Case(SQUEEZENET_MAX_9, 1001, 17, 256),
    Case(SQUEEZENET_MAX_9, 17, 1001, 256),
]
"""Two rows or columns at relu4_1 and one at relu5_1: the last of the 17 is dropped on the way.
One at fire6: none is. (With the pictures of 1001x17, one of the VGG-16's features is 0 but for rounding, and
its rectifier lets it through or not: an error of 5e-5, with a wider halo or other pictures 6e-7.)"""


@pytest.fixture(scope="module")
def weights_of(bundled: Weights, random_weights: Pick) -> Pick:
    return lambda network: bundled if network == "vgg19" else random_weights(network)


def errors(case: Case, weights: Weights, *fields: ReceptiveField) -> list[tuple[float, float]]:
    """The relative errors of loss and gradient of the sum over pieces, for each of `fields`."""
    settings = case.objective.settings
    network = make_network(settings, weights, "cpu")
    image, content = (smooth_picture(case.width, case.height, seed) for seed in (1, 2))
    targets = targets_of(network, settings, smooth_picture(160, 128, 3))
    wanted_loss, wanted = untiled(settings, weights, targets, image, content)
    found = []
    for field in fields:
        pieces = list(partition(Size(case.width, case.height), case.core, field))
        assert len(pieces) > 1
        loss, gradient = tiled(network, settings, targets, image, content, pieces)
        found.append((abs(loss / wanted_loss - 1), relative_error(gradient, wanted)))
    return found


def test_the_drawn_sizes_are_of_all_kinds() -> None:
    """Odd and even, long sides in both directions, and rests that are dropped at every pooling."""
    sides = [side for case in RANDOM for side in (case.width, case.height)]
    assert {side % 2 for side in sides} == {0, 1}
    assert len({side % 16 for side in sides}) > 8
    assert sum(max(case.width, case.height) > 700 for case in RANDOM) == 2
    assert {case.width > case.height for case in RANDOM} == {True, False}


@pytest.mark.parametrize("case", [*RANDOM, *THIN], ids=str)
def test_the_sum_over_pieces_is_the_untiled_gradient(case: Case, weights_of: Pick) -> None:
    ((loss, gradient),) = errors(case, weights_of(case.objective.network), case.objective.field)
    assert loss < 1e-6
    assert gradient < TOLERANCE


@pytest.mark.parametrize(
    "case",
    [
        Case(VGG19_MAX_5, 213, 157, 96),
        Case(VGG19_MAX_3, 323, 101, 96),
        Case(VGG16_MAX_5, 213, 157, 96),
        Case(VGG16_AVERAGE_5, 17, 1001, 256),
    ],
    ids=str,
)
def test_with_a_halo_one_stride_smaller_it_is_not(case: Case, weights_of: Pick) -> None:
    field = case.objective.field
    short = field.halo - field.stride
    smaller = ReceptiveField(field.stride, short, short)
    whole, cut_short = errors(case, weights_of(case.objective.network), field, smaller)
    assert whole[1] < TOLERANCE
    assert cut_short[1] > 10 * TOLERANCE
