"""The job: what a person asks for, complete and valid. Everything in it is immutable.

Defaults are those that give a good picture. A `Job` that `load_job` returns has absolute paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tilefarm.spec.alpha import Alpha, AlphaChoice, alpha_without_place
from tilefarm.spec.color import Color, ColorChoice
from tilefarm.spec.file_form import FileForm
from tilefarm.spec.layer_defaults import with_default_layers
from tilefarm.spec.making import AnimationKey, Snapshots, SnapshotsKey, animation_conflicts
from tilefarm.spec.networks import NETWORK_NAMES, NetworkName, PaddingName, PoolingName, convolutions
from tilefarm.spec.objective import Objective
from tilefarm.spec.optimizer import Optimizer
from tilefarm.spec.output import Output
from tilefarm.spec.output_presets import preset_without_alpha
from tilefarm.spec.paper import Length, Print
from tilefarm.spec.paths import NAMED_WEIGHTS, InputPath, WeightsSource
from tilefarm.spec.preset import other_networks, with_preset
from tilefarm.spec.presets import PresetName
from tilefarm.spec.rules import overwritten_inputs, unfollowable_gradients, unknown_layers
from tilefarm.spec.section import Conflict, Section
from tilefarm.spec.sheet import Target
from tilefarm.spec.start import Init, useless_noise
from tilefarm.spec.transport import Transport
from tilefarm.spec.useless import useless_keys
from tilefarm.spec.values import (
    USUAL_TILE,
    Batch,
    Device,
    JobName,
    Memory,
    Number,
    TileSize,
    Workers,
)
from tilefarm.spec.vectors import VectorsPlace, vectors_conflicts

__all__ = [
    "Alpha",
    "Color",
    "Compute",
    "Init",
    "Job",
    "Length",
    "Network",
    "Objective",
    "Optimizer",
    "Output",
    "Print",
    "Pyramid",
    "Style",
    "Target",
    "Tiles",
]


class Style(Section):
    """One painting."""

    image: InputPath
    weight: Annotated[Number, Field(gt=0)] = 1.0
    """Its share among the styles."""
    scale: Annotated[Number, Field(ge=0.05, le=8)] = 1.0
    """The size of its brush strokes relative to the picture."""
    mask: InputPath | None = None
    """A grey picture over the content, white where this style acts; None: wherever no mask is white."""
    style_mask: InputPath | None = None
    """A grey picture over the painting, white where it is looked at; None: everywhere."""


class Network(Section):
    """The network that sees, and where its weights come from."""

    name: NetworkName = "vgg19"
    weights: WeightsSource = "bundled"
    preprocessing: Literal["caffe", "torchvision"] | None = None
    """What the weights in a file were trained on; None: the file says, or the loader's default."""
    pooling: PoolingName = "max"
    padding: PaddingName = "zeros"
    """How the first convolution sees beyond the picture's edge."""

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """Bundled weights are VGG-19's, named weights know their preprocessing, padding needs an edge."""
        weights, name = given.get("weights", "bundled"), given.get("name", "vgg19")
        if weights == "bundled" and name in NETWORK_NAMES and name != "vgg19":
            yield Conflict(
                ("weights",),
                f"must be torchvision or the path of a weights file for {name}; "
                "the bundled weights, which are the default, exist only for vgg19",
            )
        if weights in NAMED_WEIGHTS and given.get("preprocessing") is not None:
            own = "caffe" if weights == "bundled" else "torchvision"
            yield Conflict(
                ("preprocessing",),
                "can be given only where network.weights is the path of a file; "
                f"the {weights} weights always use {own}",
            )
        padding = given.get("padding", "zeros")
        if (
            name in NETWORK_NAMES
            and not convolutions(name)[0].padding
            and padding in ("replicate", "reflect")
        ):
            yield Conflict(
                ("padding",),
                f"must be zeros for {name}, got {padding!r}: its first convolution does not look beyond "
                "the edge; leave the key out",
            )


class Pyramid(Section):
    """The levels from coarse to fine."""

    smallest: Annotated[int, Field(ge=64, le=2048)] = 224
    """Pixels of the coarsest level's side, roughly."""
    iterations: Annotated[
        tuple[Annotated[int, Field(ge=1, le=100_000, strict=True)], ...],
        Field(min_length=1, max_length=20, strict=False),
    ] = (300, 200, 100, 50, 25, 15)

    def iterations_at(self, level: int) -> int:
        """The steps of a level, counted from 0 at the coarsest; the last entry repeats for all finer ones."""
        return self.iterations[min(level, len(self.iterations) - 1)]


class Tiles(Section):
    """How levels that are larger than a tile are cut and solved."""

    size: TileSize = "auto"
    """For method: exact, auto leaves the size of the pieces to the memory there is."""
    rounds: Annotated[int, Field(ge=1, le=100)] = 3
    iterations: Annotated[int, Field(ge=1, le=10_000)] = 30
    batch: Batch = "auto"
    drift_correction: bool = True
    """Whether tiles make only the move that the whole picture must make (method: feathered)."""

    @property
    def side(self) -> int:
        """Pixels of a tile, and the longest side of a level that is solved whole (`exact`: at most 512)."""
        return USUAL_TILE if self.size == "auto" else self.size


class Compute(Section):
    """Where and how precisely the work is done."""

    device: Device = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    workers: Workers = "auto"
    memory: Memory = "auto"
    transport: Transport = "auto"
    vectors: VectorsPlace = "auto"


class Job(Section):
    """A whole job file. The short form `style: PATH` becomes a `styles` of one entry."""

    name: JobName
    content: InputPath
    styles: Annotated[tuple[Style, ...], Field(min_length=1, max_length=16, strict=False)]
    output: Output
    method: Literal["exact", "feathered"] = "exact"
    preset: PresetName | None = None
    """A system whose published settings stand in for the defaults; says nothing once they are filled in."""
    network: Network = Network()
    objective: Objective = Objective()
    pyramid: Pyramid = Pyramid()
    tiles: Tiles = Tiles()
    optimizer: Optimizer = Optimizer()
    init: Init = "content"
    init_noise: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """The share of noise in the picture that is started from."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    color: ColorChoice = Color()
    alpha: AlphaChoice = Alpha()
    compute: Compute = Compute()
    snapshots: SnapshotsKey = Snapshots()
    animation: AnimationKey = None

    @property
    def form(self) -> FileForm:
        """What kind of file the picture becomes."""
        return self.output.form(self.seed, self.color.wide)

    @classmethod
    def prepared(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """`style: PATH` as `styles`, the preset's keys, and the layers that are the network's own default."""
        given = with_default_layers(with_preset(given))
        if "style" not in given:
            return given
        rest = {key: value for key, value in given.items() if key != "style"}
        return {"styles": ({"image": given["style"]},), **rest}

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """Rules between sections."""
        yield from other_networks(given)
        own, given = given, with_preset(given)
        if "style" in given and "styles" in given:
            yield Conflict(("style",), "cannot be given together with styles; keep only one of them")
        yield from unknown_layers(with_default_layers(given))
        yield from animation_conflicts(given)
        yield from unfollowable_gradients(given)
        yield from useless_noise(given)
        yield from alpha_without_place(given)
        yield from preset_without_alpha(given)
        yield from useless_keys(own, given)
        yield from vectors_conflicts(given.get("compute"), given.get("optimizer"), given.get("method"))
        if folder is not None:
            yield from overwritten_inputs(given, folder)
