"""What a run needs: memory of a worker, disk, arithmetic. Pure numbers from the network's tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tilefarm.geometry import Size
from tilefarm.plan.build import LevelPlan, RenderPlan
from tilefarm.plan.halo import receptive_field
from tilefarm.plan.layers import content_layers, deepest_of, layers_of, style_layers
from tilefarm.spec.file_form import FileForm
from tilefarm.spec.model import Job
from tilefarm.spec.networks import Fire, Pooling, Stage, convolutions_of, stages_to
from tilefarm.spec.regions import is_masked, regions_of

_FLOAT = 4
_CHANNELS = 3
_WORKING_VECTORS = 8
"""Of a tile's optimizer: point, gradient, content, and what is in the works."""
_POOL_INDEX = 1
"""Bytes of the position that max pooling remembers for each of its outputs."""
_FILE_OVERHEAD = 2**16
"""Headers, colour profile, and tiles that are padded."""
WORKER_BASE_BYTES = 900 * 2**20
"""A worker before its first tile: interpreter, torch, Ray's client and the weights."""
DRIVER_BYTES = 400 * 2**20
"""The driver with Ray's client, one strip of the canvas and the tiles in flight."""


@dataclass(frozen=True)
class Needs:
    """What a run will use at most."""

    worker_bytes: int
    """Memory of one worker process."""
    driver_bytes: int
    disk_bytes: int
    """In the run folder, the output file included."""
    flop: float
    """Floating-point operations of all forward and backward passes."""


def needs(job: Job, plan: RenderPlan, batch: int, low_precision: bool) -> Needs:
    """The needs of a run with `batch` tiles at a time; `low_precision` for 2-byte activations."""
    network, deepest = job.network.name, deepest_of(job)
    return Needs(
        worker_bytes=WORKER_BASE_BYTES + batch_bytes(job, plan, batch, low_precision),
        driver_bytes=DRIVER_BYTES,
        disk_bytes=disk_bytes(job, plan),
        flop=plan.evaluated_pixels * evaluation_flop(network, deepest),
    )


def batch_bytes(job: Job, plan: RenderPlan, batch: int, low_precision: bool) -> int:
    """Memory of `batch` of the run's largest tiles: activations, gradients, the optimizer's vectors.

    A piece of the exact method has no optimizer of its own; the whole picture's is on disk.
    """
    item = 2 if low_precision else 4
    activations = activation_bytes(job, item)
    pieces = piece_bytes(job, item)
    vectors = (_tile_vectors(job) + _WORKING_VECTORS) * _CHANNELS * _FLOAT
    most = 0.0
    for level in plan.levels:
        if level.pieces:
            largest = max(piece.crop.size.pixels for piece in level.pieces)
            most = max(most, largest * pieces)
        else:
            tiles = min(batch, level.grid.tiles)
            most = max(most, level.grid.tile.pixels * tiles * (activations + vectors))
    return round(most)


def graph_bytes(job: Job, level: LevelPlan, low_precision: bool) -> int:
    """Memory that the graph of a level's largest piece takes between the exact method's passes."""
    item = 2 if low_precision else 4
    kept = kept_bytes(job, item) + _CHANNELS * _FLOAT
    return round(max(piece.crop.size.pixels for piece in level.pieces) * kept)


def crop_bytes(level: LevelPlan) -> int:
    """Memory of a level's largest crop, in float32."""
    return max(_raw(piece.crop.size) for piece in level.pieces)


def content_bytes(job: Job, level: LevelPlan, low_precision: bool) -> int:
    """Memory of what is fixed in a level's largest piece: the content's features, the regions' shares."""
    item = 2 if low_precision else 4
    wanted = {name for name, _ in content_layers(job)}
    values = sum(
        stage.channels_out * share
        for stage, share in _stages(job.network.name, deepest_of(job))
        if not isinstance(stage, Pooling) and stage.output in wanted
    )
    per_pixel = values * item + region_bytes(job)
    return round(per_pixel * max(piece.core.size.pixels for piece in level.pieces))


def region_bytes(job: Job) -> float:
    """Bytes per pixel of the regions' shares at the style layers; 0 where a style acts everywhere."""
    if not is_masked(job):
        return 0.0
    strides = (receptive_field(job.network.name, name).stride for name, _ in style_layers(job))
    return len(regions_of(job)) * _FLOAT * (1 + sum(1 / stride**2 for stride in strides))


def evaluation_flop(network: str, deepest: str) -> float:
    """Operations per pixel of one forward and backward pass: two per multiply-add, twice the forward's."""
    forward = sum(
        2 * part.kernel**2 * part.channels_in * part.channels_out * share
        for stage, share in _stages(network, deepest)
        for part in convolutions_of(stage)
    )
    return 2 * forward


def activation_bytes(job: Job, item: int) -> float:
    """Bytes per pixel of a tile's forward and backward pass with values of `item` bytes.

    What is kept in between, and on top of it the gradient of the largest layer and a float32 copy of its
    features for the statistics, and one that is weighted with a region's shares.
    """
    weighted = _FLOAT if is_masked(job) else 0
    return kept_bytes(job, item) + _largest(job) * (2 * item + 3 * _FLOAT + weighted) + region_bytes(job)


def piece_bytes(job: Job, item: int) -> float:
    """Bytes per pixel of both passes over a piece of the exact method.

    What is kept in between, the gradient of the largest layer before and after its convolution, and
    pictures: statistics and their derivatives are formed some rows at a time.
    """
    return kept_bytes(job, item) + _largest(job) * 2 * item + 8 * _CHANNELS * _FLOAT


def kept_bytes(job: Job, item: int) -> float:
    """Bytes per pixel that a forward pass keeps for the backward pass.

    Every rectified convolution or fire module with what it squeezes, and every pooling; a layer before a
    max pooling only where the objective looks at it, since the pooling remembers the positions.
    """
    wanted, by_position = layers_of(job), job.network.pooling == "max"
    kept, channels = 0.0, 0
    used = tuple(_stages(job.network.name, deepest_of(job)))
    for (stage, share), (following, _) in zip(used, (*used[1:], (None, 0.0)), strict=True):
        if isinstance(stage, Pooling):
            kept += channels * share * (item + (_POOL_INDEX if by_position else 0))
            continue
        channels = stage.channels_out
        if isinstance(stage, Fire):
            kept += stage.squeeze.channels_out * share * item
        if stage.output in wanted or not (by_position and isinstance(following, Pooling)):
            kept += channels * share * item
    return kept


def _largest(job: Job) -> float:
    """Values per pixel of the largest layer."""
    return max(
        stage.channels_out * share
        for stage, share in _stages(job.network.name, deepest_of(job))
        if not isinstance(stage, Pooling)
    )


def _stages(network: str, deepest: str) -> Iterator[tuple[Stage, float]]:
    """The stages up to a layer, each with its positions per pixel of the picture."""
    share = 1.0
    for stage in stages_to(network, deepest):
        share /= stage.window.stride**2
        yield stage, share


def disk_bytes(job: Job, plan: RenderPlan) -> int:
    """The run folder at its fullest: all canvases, one level's working files, the output."""
    canvases = sum(_raw(level.size) for level in plan.levels)
    working = 0
    work_before = 0
    for level in plan.levels:
        slots = level.grid.tiles * _raw(level.grid.tile) * (3 if job.optimizer.name == "adam" else 1)
        work = optimizer_bytes(job, level) if level.pieces else slots
        styles = [_raw(style) for style in level.styles]
        masks = sum(
            _FLOAT * size.pixels
            for style, size in zip(job.styles, level.styles, strict=True)
            if style.style_mask is not None
        )
        content = _raw(level.size)
        if is_masked(job):  # the regions, and the masks that they are made of
            content += 2 * len(regions_of(job)) * _raw(level.size)
        # While a picture is written that EXIF turns, it lies there as stored, turned and enlarged, and a
        # resumed run may find the one of the killed driver, in mid-round beside the tile slots.
        measuring = work_before + content + sum(styles) + masks + 3 * max(styles)
        painting = work + 4 * content
        working = max(working, measuring, painting)
        work_before = work
    if plan.sheet.margin is not None:  # it comes around the coloured picture, and around its alpha
        sheets = (2 if job.alpha.mode == "keep" else 1) * _raw(plan.sheet.size)
        working = max(working, work_before + 2 * _raw(plan.levels[-1].size) + sheets)
    # When the picture is written its alpha takes no more room than contents did before.
    output = output_bytes(plan.output, job.form, job.alpha.mode == "keep")
    return canvases + moment_bytes(job, plan) + working + output


def output_bytes(size: Size, form: FileForm, alpha: bool) -> int:
    """The largest that an output file can become: what cannot be compressed grows by less than the margin.

    But with LZW by a half (12 bits for a byte). A pyramid adds a third, and as much again for the working
    files that libvips has beside its output.
    """
    raw = size.pixels * (_CHANNELS + alpha) * form.bit_depth // 8
    if form.pyramid:
        raw += 2 * raw // 3
    margin = raw // 2 if form.compression == "lzw" else raw // 100
    return raw + margin + _FILE_OVERHEAD


def optimizer_bytes(job: Job, level: LevelPlan) -> int:
    """The exact method's vectors of a level.

    L-BFGS: two points, two gradients, and pairs with one slot to spare. Adam: a gradient, and two of each:
    point, mean of the gradients, of their squares, of the points. Conjugate gradients: two points, two
    gradients, two predicted ones, three directions.
    """
    if job.optimizer.name == "adam":
        vectors = 1 + 2 * (4 if job.optimizer.averaging else 3)
    elif job.optimizer.name == "cg":
        vectors = 9
    else:
        vectors = 4 + 2 * (min(job.optimizer.history or 0, level.iterations) + 1)
    return vectors * _raw(level.grid.tile)


def moment_bytes(job: Job, plan: RenderPlan) -> int:
    """What Adam hands from level to level: two canvases beside every level's own."""
    if job.optimizer.name != "adam":
        return 0
    return sum(2 * _raw(level.size) for level in plan.levels)


def _tile_vectors(job: Job) -> int:
    """What the optimizer of a tile remembers beside point and gradient."""
    return {"lbfgs": 2 * (job.optimizer.history or 0), "adam": 3, "cg": 3}[job.optimizer.name]


def _raw(size: Size) -> int:
    return size.pixels * _CHANNELS * _FLOAT
