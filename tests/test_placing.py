"""Where the optimizer's vectors lie: what `auto` means, and what has no room."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.standins import Mixer
from tilefarm.errors import JobError, ResourceError
from tilefarm.execute.protocol import WorkerInfo
from tilefarm.placing import LEAST_PIECES, at_workers, bytes_at_each
from tilefarm.plan.estimate import optimizer_bytes
from tilefarm.prepare import Prepared, prepare
from tilefarm.spec.load import load_job

GIB = 2**30


def prepared(folder: Path, more: str = "") -> Prepared:
    for name in ("content.png", "style.png"):
        Image.fromarray(np.full((60, 80, 3), 99, dtype=np.uint8)).save(folder / name)
    path = folder / "job.yaml"
    path.write_text(
        f"content: content.png\nstyle: style.png\noutput: {{path: out.png, width: 1600}}\n"
        f"tiles: {{size: 512}}\n{more}"
    )
    return prepare(load_job(path))


def crew(*nodes: str, memory: int = 16 * GIB) -> list[WorkerInfo]:
    return [replace(Mixer().info(), node=node, memory_bytes=memory, node_bytes=memory) for node in nodes]


def test_auto_is_for_workers_on_other_machines(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    last, coarse = found.plan.levels[-1], found.plan.levels[-2]
    assert len(last.pieces) >= LEAST_PIECES > len(coarse.pieces) > 0
    here = platform.node()
    assert not at_workers(found, last, crew(here, here), "float32")
    assert at_workers(found, last, crew(here, "there"), "float32")
    assert not at_workers(found, coarse, crew(here, "there"), "float32"), "too few pieces"
    assert not at_workers(found, last, crew("there", "there", memory=GIB // 2), "float32"), "too little room"


@pytest.mark.parametrize(
    "more", ["optimizer: {name: adam}", "optimizer: {name: cg}", "compute: {transport: half}"]
)
def test_auto_leaves_out_what_cannot_be_done_there(tmp_path: Path, more: str) -> None:
    found = prepared(tmp_path, more)
    assert not at_workers(found, found.plan.levels[-1], crew("there", "and there"), "float32")


def test_driver_and_workers_are_obeyed(tmp_path: Path) -> None:
    found = prepared(tmp_path, "compute: {vectors: driver}")
    assert not at_workers(found, found.plan.levels[-1], crew("there", "and there"), "float32")
    found = prepared(tmp_path, "compute: {vectors: workers}")
    for level in found.plan.levels[-2:]:
        assert at_workers(found, level, crew(platform.node()), "float32")
    with pytest.raises(ResourceError, match=r"workers needs \d+ MiB with each of the 2 workers"):
        at_workers(found, found.plan.levels[-1], crew("there", "there", memory=GIB // 2), "float32")


def test_what_is_kept_beside_needs_room(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    level, workers = found.plan.levels[-1], crew("there", "and there")
    twice = 2 * optimizer_bytes(found.job, level)
    assert at_workers(found, level, workers, "float32", twice)
    assert not at_workers(found, level, workers, "float32", twice - 1)
    found = prepared(tmp_path, "compute: {vectors: workers}")
    with pytest.raises(ResourceError, match=r"workers needs .* of disk at 1600x1200 pixels"):
        at_workers(found, level, workers, "float32", twice - 1)


def test_one_worker_has_everything_and_many_more_than_their_share(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    level = found.plan.levels[-1]
    vectors = optimizer_bytes(found.job, level)
    crops = sum(piece.crop.size.pixels for piece in level.pieces) * 12
    assert bytes_at_each(found, level, 1) >= vectors + crops
    for workers in (2, 5, 30):
        assert bytes_at_each(found, level, workers) * workers >= vectors + crops


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("optimizer: {name: adam}\n", "must be driver or auto with optimizer adam"),
        ("optimizer: {name: cg}\n", "must be driver or auto with optimizer cg"),
        ("", "must be driver or auto with transport half"),
        ("method: feathered\n", "changes nothing with method feathered"),
    ],
)
def test_what_workers_cannot_do_is_told(tmp_path: Path, more: str, sentence: str) -> None:
    half = "" if more else ", transport: half"
    with pytest.raises(JobError, match=f"compute.vectors {sentence}"):
        prepared(tmp_path, f"{more}compute: {{vectors: workers{half}}}\n")
