"""The estimate against independent counts, against torch, and against a run folder that really filled up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import tilefarm.driver
from tests.echo import EchoExecutor
from tilefarm.driver import render
from tilefarm.events import Event, TileFinished
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Size
from tilefarm.plan.build import build_plan
from tilefarm.plan.estimate import (
    WORKER_BASE_BYTES,
    activation_bytes,
    batch_bytes,
    disk_bytes,
    evaluation_flop,
    kept_bytes,
    needs,
    optimizer_bytes,
    piece_bytes,
)
from tilefarm.plan.layers import deepest_of
from tilefarm.rundir.layout import RunDir
from tilefarm.solve.contract import Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.weights import make_weights
from tilefarm.spec.model import Job, Style
from tilefarm.spec.networks import convolutions

MakeJob = Callable[..., Job]

# Simonyan and Zisserman 2014, table 1, column E, up to conv5_1: channels in, out, pixels per position
VGG19 = [
    (3, 64, 1),
    (64, 64, 1),
    (64, 128, 4),
    (128, 128, 4),
    (128, 256, 16),
    (256, 256, 16),
    (256, 256, 16),
    (256, 256, 16),
    (256, 512, 64),
    (512, 512, 64),
    (512, 512, 64),
    (512, 512, 64),
    (512, 512, 256),
]


def test_one_evaluation_to_relu5_1_is_1_44_megaflop_a_pixel() -> None:
    forward = sum(2 * 9 * into * out / cells for into, out, cells in VGG19)
    assert evaluation_flop("vgg19", "relu5_1") == pytest.approx(2 * forward)
    assert evaluation_flop("vgg19", "relu5_1") == pytest.approx(1.44e6, rel=0.005)


def test_shallower_layers_cost_less() -> None:
    assert evaluation_flop("vgg19", "relu1_1") == 2 * 2 * 9 * 3 * 64
    assert evaluation_flop("vgg19", "relu2_1") == 2 * (18 * 3 * 64 + 18 * 64 * 64 + 18 * 64 * 128 / 4)
    without_the_last = 2 * sum(2 * 9 * into * out / cells for into, out, cells in VGG19[:-1])
    assert evaluation_flop("vgg19", "relu4_4") == pytest.approx(without_the_last)


def test_squeezenet_counted_by_hand() -> None:
    relu1 = 3 * 3 * 3 * 64 / 4
    fire2 = (64 * 16 + 16 * 64 + 9 * 16 * 64) / 16
    fire3 = (128 * 16 + 16 * 64 + 9 * 16 * 64) / 16
    fire4 = (128 * 32 + 32 * 128 + 9 * 32 * 128) / 64
    assert evaluation_flop("squeezenet", "relu1") == 4 * relu1
    assert evaluation_flop("squeezenet", "fire4") == 4 * (relu1 + fire2 + fire3 + fire4)


def test_the_deepest_layer_is_the_deepest_that_counts(make_job: MakeJob) -> None:
    assert deepest_of(make_job()) == "relu5_1"
    assert deepest_of(make_job(objective={"style_layers": {"relu1_1": 1.0, "relu5_1": 0.0}})) == "relu4_2"
    assert deepest_of(make_job(objective={"style_weight": 0.0})) == "relu4_2"
    shallow = {"content_weight": 0.0, "style_layers": {"relu3_1": 1.0, "relu2_1": 1.0}}
    assert deepest_of(make_job(objective=shallow)) == "relu3_1"


def style_job(make_job: MakeJob, *layers: str, pooling: str = "max", network: str = "vgg19") -> Job:
    """A job that looks at these layers alone."""
    objective = {"content_weight": 0.0, "style_layers": dict.fromkeys(layers, 1.0)}
    weights = "bundled" if network == "vgg19" else "torchvision"
    chosen = {"name": network, "weights": weights, "pooling": pooling}
    return make_job(objective=objective, network=chosen)


@pytest.mark.parametrize("pooling", ["max", "average", "l2"])
@pytest.mark.parametrize(
    "layers",
    [
        ["relu1_1"],
        ["relu1_2"],
        ["relu2_1"],
        ["relu4_2"],
        ["relu1_1", "relu5_1"],
        ["relu2_2", "relu3_4", "relu5_1"],
    ],
)
def test_what_autograd_keeps_is_what_is_estimated(make_job: MakeJob, layers: list[str], pooling: str) -> None:
    """Of the network that the workers run, in float32; the preprocessed picture (12 bytes) is left out."""
    kept, found = what_autograd_keeps("vgg19", layers, pooling, 64)
    assert kept == kept_bytes(style_job(make_job, *layers, pooling=pooling), 4)
    assert found == set(layers)


@pytest.mark.parametrize("pooling", ["max", "average", "l2"])
@pytest.mark.parametrize("layers", [["relu1"], ["fire3"], ["relu1", "fire3", "fire5", "fire7", "fire9"]])
def test_of_squeezenet_no_more_is_kept_than_is_estimated(
    make_job: MakeJob, layers: list[str], pooling: str
) -> None:
    """Its layers have a few positions less than there are strides in the picture."""
    kept, found = what_autograd_keeps("squeezenet", layers, pooling, 256)
    estimated = kept_bytes(style_job(make_job, *layers, pooling=pooling, network="squeezenet"), 4)
    assert 0.9 * estimated < kept <= estimated
    assert found == set(layers)


def what_autograd_keeps(name: str, layers: list[str], pooling: str, side: int) -> tuple[float, set[str]]:
    """Bytes per pixel of a square picture, and the layers that were handed out."""
    generator = np.random.default_rng(0)
    arrays = {
        f"{part.name}.{kind}": generator.standard_normal(shape, np.float32)
        for part in convolutions(name)
        for kind, shape in (("weight", part.shape), ("bias", part.channels_out))
    }
    weights = make_weights(name, arrays, "torchvision", "the test's weights")
    network = FeatureNetwork(name, weights, layers, pooling=pooling)  # type: ignore[arg-type]
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        weights = (1, 1), (3, 3)
        if tensor.dim() == 4 and tensor.shape[2:] not in weights and tensor.shape[1] > 3:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    picture = torch.rand(1, 3, side, side, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = network.features(picture, layers)
    return sum(kept.values()) / side**2, set(found)


def test_activations_counted_by_hand(make_job: MakeJob) -> None:
    convolutions = 64 + 128 / 4 + 3 * 256 / 16 + 3 * 512 / 64 + 512 / 256
    poolings = 64 / 4 + 128 / 16 + 256 / 64 + 512 / 256
    kept = 4 * convolutions + (4 + 1) * poolings
    assert kept_bytes(make_job(), 4) == kept
    assert activation_bytes(make_job(), 4) == kept + 64 * (
        2 * 4 + 3 * 4
    )  # its gradient twice, float32 copies
    assert piece_bytes(make_job(), 2) == 2 * convolutions + 3 * poolings + 64 * 2 * 2 + 8 * 3 * 4
    pooled_layers = {"relu1_2": 1.0, "relu5_1": 1.0}
    assert kept_bytes(make_job(objective={"style_layers": pooled_layers}), 4) == kept + 4 * 64


def test_memory_grows_with_the_largest_tile_the_batch_and_the_history(make_job: MakeJob) -> None:
    job = make_job({"width": 6000})
    plan = build_plan(job, Size(1200, 900), [Size(900, 900)])
    one = batch_bytes(job, plan, 1, low_precision=False)
    per_pixel = activation_bytes(job, 4) + (2 * 20 + 8) * 3 * 4
    assert one == pytest.approx(512 * 512 * per_pixel)
    assert batch_bytes(job, plan, 3, low_precision=False) == pytest.approx(3 * one)
    assert batch_bytes(job, plan, 1, low_precision=True) < one
    long_memory = make_job({"width": 6000}, optimizer={"history": 21})
    assert batch_bytes(long_memory, plan, 1, low_precision=False) == pytest.approx(one + 512 * 512 * 2 * 12)
    assert needs(job, plan, 1, low_precision=False).worker_bytes == WORKER_BASE_BYTES + one
    small = build_plan(make_job({"width": 300}), Size(300, 200), [Size(900, 900)])
    assert batch_bytes(job, small, 1, low_precision=False) == pytest.approx(
        one * (300 + 32) * (200 + 32) / 512**2
    )


def test_each_optimizer_needs_its_own_room(make_job: MakeJob) -> None:
    """Vectors of the level with its border, what Adam hands on, and slots of three planes."""
    raw = 6032 * 4532 * 12
    found = {}
    for name, keys, vectors in (
        ("lbfgs", {}, 4 + 2 * 16),  # the last level has 15 steps, fewer than the history holds
        ("adam", {}, 9),
        ("plain adam", {"averaging": 0}, 7),
        ("cg", {}, 9),
    ):
        job = make_job({"width": 6000}, method="exact", optimizer={"name": name.split()[-1], **keys})
        plan = build_plan(job, Size(1200, 900), [Size(900, 900)])
        assert optimizer_bytes(job, plan.levels[-1]) == vectors * raw
        found[name] = needs(job, plan, 1, low_precision=False)
    canvases = sum(level.size.pixels for level in plan.levels) * 12
    saved = found["lbfgs"].disk_bytes - found["adam"].disk_bytes
    assert saved == pytest.approx((4 + 2 * 16 - 9) * raw - 2 * canvases, rel=0.02)
    assert found["cg"].disk_bytes < found["adam"].disk_bytes < 0.45 * found["lbfgs"].disk_bytes
    tiled = [
        make_job({"width": 6000}, method="feathered", optimizer={"name": name}) for name in ("lbfgs", "adam")
    ]
    plan = build_plan(tiled[0], Size(1200, 900), [Size(900, 900)])
    slots = plan.levels[-1].grid.tiles * 512 * 512 * 12
    lbfgs, adam = (needs(job, plan, 1, low_precision=False) for job in tiled)
    assert adam.disk_bytes - lbfgs.disk_bytes == pytest.approx(2 * slots + 2 * canvases)
    assert lbfgs.worker_bytes - adam.worker_bytes == pytest.approx((2 * 20 - 3) * 512 * 512 * 12)


def test_print_scale_in_numbers(make_job: MakeJob) -> None:
    job = make_job({"width": 6000})
    plan = build_plan(job, Size(1200, 900), [Size(1200, 900)])
    required = needs(job, plan, 1, low_precision=False)
    assert required.flop == pytest.approx(plan.evaluated_pixels * 1.44e6, rel=0.005)
    canvas = 6000 * 4500 * 12
    slots = 25 * 19 * 512 * 512 * 12
    assert canvas + slots < required.disk_bytes < 2 * (4 / 3 * canvas + slots)
    assert required.disk_bytes < 6 * 2**30, "a 27 megapixel print must fit on a modest disk"


def echo(*_: object) -> Any:
    return EchoExecutor()


class KilledError(BaseException):
    """The end of the first driver."""


class PeakOfFolder:
    """The most bytes that raw pictures had in a folder, looked at just before anything shrinks."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        self._folder = folder
        for owner, name in ((Path, "replace"), (Path, "unlink"), (shutil, "rmtree"), (os, "truncate")):
            self._before(patch, owner, name)

    def look(self, *_: Any) -> None:
        total = 0
        for path in self._folder.rglob("*"):
            if path.is_file() and (".f32" in path.name or path.suffix == ".raw"):
                total += path.stat().st_size
        self.bytes = max(self.bytes, total)

    def _before(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def looking(*args: Any, **keys: Any) -> Any:
            self.look()
            return real(*args, **keys)

        patch.setattr(owner, name, looking)


def _picture(path: Path, size: tuple[int, int], orientation: int = 1) -> Path:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("content", "style", "scale", "long_side", "tile"),
    [
        ((400, 300), (300, 300), 1.0, 400, 128),
        ((100, 70), (90, 120), 1.0, 400, 128),
        ((100, 70), (90, 120), 2.0, 300, 512),
        ((500, 500), (90, 120), 3.0, 300, 96),
        ((500, 500), (1000, 800), 3.0, 300, 512),
        ((500, 500), (1000, 800), 1.0, 300, 512),
        ((900, 40), (90, 120), 0.3, 900, 128),
        ((3, 200), (50, 2), 1.0, 200, 128),
    ],
)
def test_no_run_needs_more_disk_than_was_estimated(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_job: MakeJob,
    orientation: int,
    content: tuple[int, int],
    style: tuple[int, int],
    scale: float,
    long_side: int,
    tile: int,
) -> None:
    job = make_job(
        {"path": tmp_path / "out.png", "long_side": long_side},
        content=_picture(tmp_path / "content.jpg", content, orientation),
        styles=(Style(image=_picture(tmp_path / "style.jpg", style, orientation), scale=scale),),
        tiles={"size": tile, "rounds": 2},
        pyramid={"smallest": 64},
    )
    upright = [size[::-1] if orientation == 6 else size for size in (content, style)]
    plan = build_plan(job, Size(*upright[0]), [Size(*upright[1])])
    last = len(plan.levels) - 1
    run = RunDir(tmp_path / "runs" / "gate-12345678")
    weights = Weights({}, "caffe", "none")
    monkeypatch.setattr(tilefarm.driver, "load_weights", lambda *_: weights)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(os, "fdatasync", lambda descriptor: None)
        peak = PeakOfFolder(run.root, patch)

        def stop_in_the_last_round(event: Event) -> None:
            if isinstance(event, TileFinished) and event.level == last and event.done == event.total:
                raise KilledError

        with pytest.raises(KilledError):
            render(job, run, ExecutorChoice("local"), stop_in_the_last_round, echo)
        render(job, run, ExecutorChoice("local"), peak.look, echo)

    raw_bytes = disk_bytes(job, plan) - plan.output.pixels * 3
    assert peak.bytes > 0.25 * raw_bytes, "the estimate frightens, or the folder was not looked at when full"
    assert peak.bytes <= raw_bytes


def test_what_a_driver_left_that_was_killed_in_mid_write_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_job: MakeJob
) -> None:
    job = make_job(
        {"path": tmp_path / "out.png"},
        content=_picture(tmp_path / "content.jpg", (40, 40)),
        styles=(Style(image=_picture(tmp_path / "style.jpg", (40, 40))),),
    )
    run = RunDir(tmp_path / "runs" / "gate-12345678")
    (run.root / ".content-0.f32.abcd1234").mkdir(parents=True)
    (run.root / ".content-0.f32.abcd1234" / "stored.raw").write_bytes(b"half")
    (run.root / ".canvas-0.f32.1234.part.f32").write_bytes(b"half")
    monkeypatch.setattr(tilefarm.driver, "load_weights", lambda *_: Weights({}, "caffe", "none"))
    render(job, run, ExecutorChoice("local"), lambda event: None, echo)
    kept = {"canvas-0.f32", "targets-0.npz", "levels", "lock"}
    kept |= {
        "job.yaml",
        "inputs.json",
        "plan.json",
        "journal.jsonl",
        "events.jsonl",
        "run.json",
        "losses.png",
        "losses.csv",
    }
    assert {path.name for path in run.root.iterdir()} == kept
