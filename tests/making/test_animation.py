"""Animations, reopened with other readers: Pillow for GIF, PyAV's decoder for MP4."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from tests.standins import Mixer, opener
from tilefarm.driver import render, run_folder
from tilefarm.errors import JobError, ResourceError, TilefarmError
from tilefarm.events import AnimationWritten, Event
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Size
from tilefarm.making.frames import frames, snapshots_shown
from tilefarm.making.timeline import positions
from tilefarm.output.gif import write_gif
from tilefarm.output.mp4 import missing_encoder
from tilefarm.prepare import prepare
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

LOCAL = ExecutorChoice("local")
JOB = (
    "content: content.png\nstyle: content.png\noutput: {path: out.png}\nmethod: feathered\n"
    "pyramid: {smallest: 64, iterations: [20]}\ntiles: {size: 64, rounds: 2, iterations: 3}\n"
)
needs_video = pytest.mark.skipif(
    missing_encoder() is not None, reason="the optional extra 'video' (PyAV) is not installed"
)


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    y, x = np.mgrid[0:75, 0:100]
    picture = np.stack([x * 2, y * 3, np.full(x.shape, 77)], axis=-1).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "content.png")
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


def go_on(path: Path, *overrides: str) -> tuple[RunDir, list[Event], Mixer]:
    job = load_job(path, overrides)
    run = run_folder(job, path.parent / "runs")
    events: list[Event] = []
    worker = Mixer()
    render(job, run, LOCAL, events.append, opener(worker))
    return run, events, worker


def gif(path: Path) -> tuple[list[NDArray[np.float32]], list[int]]:
    """All frames, as they are seen, and their milliseconds. Frames without a change are one longer frame."""
    with Image.open(path) as image:
        assert image.format == "GIF"
        assert image.info.get("loop") == 0
        shown, times = [], []
        for frame in ImageSequence.Iterator(image):
            times.append(int(frame.info["duration"]))
            shown.append(np.asarray(frame.convert("RGB"), dtype=np.float32))
    return shown, times


def picture(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), dtype=np.float32)


def distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).mean())


def is_nearer(frame: NDArray[np.float32], one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return distance(frame, one) < 0.6 * distance(frame, other)


# ---- when what is shown -----------------------------------------------------------------------------


@given(
    snapshots=st.integers(2, 2000),
    seconds=st.floats(1, 120),
    rate=st.sampled_from([12.5, 25]),
)
def test_the_film_starts_slowly_and_ends_at_the_end(snapshots: int, seconds: float, rate: float) -> None:
    places = positions(snapshots, seconds, rate)
    assert len(places) == round(seconds * rate)
    assert places[0] == 0
    assert places[-1] == snapshots - 1
    steps = np.diff(places)
    assert (steps > 0).all()
    assert (np.diff(steps) > -1e-9 * snapshots).all()  # never slower again
    assert places[len(places) // 2] < 0.4 * (snapshots - 1)


def write_snapshots(folder: Path, greys: list[int]) -> list[Path]:
    paths = []
    for number, grey in enumerate(greys):
        paths.append(folder / f"{number}.jpg")
        side = 20 if number == 0 else 40
        Image.new("RGB", (side, side // 2), (grey, grey, grey)).save(paths[-1], quality=100)
    return paths


def test_frames_between_snapshots_are_their_mixture_in_one_size(tmp_path: Path) -> None:
    paths = write_snapshots(tmp_path, [0, 100, 200])
    made = list(frames(paths, [0, 0.25, 1, 1.5, 2], Size(30, 15)))
    assert {frame.shape for frame in made} == {(15, 30, 3)}
    assert [set(frame.flat) for frame in made] == [{0}, {25}, {100}, {150}, {200}]


def test_a_snapshot_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    paths = write_snapshots(tmp_path, [0, 100])
    paths[1].write_bytes(b"no picture")
    with pytest.raises(TilefarmError, match=r"snapshot .*1\.jpg is damaged"):
        list(frames(paths, [0, 1], Size(30, 15)))


def test_the_start_of_a_level_is_shown_once(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.snapshots.mkdir()
    for level, step in ((1, 0), (0, 10), (0, 0), (0, 5), (1, 7)):
        run.snapshot(level, step).touch()
    (run.snapshots / ".level-00-step-0000003.jpg.1.part.jpg").touch()
    shown = [path.stem[6:] for path in snapshots_shown(run, None)]
    assert shown == ["00-step-0000000", "00-step-0000005", "00-step-0000010", "01-step-0000007"]
    assert [path.stem[6:] for path in snapshots_shown(run, 1)] == ["01-step-0000000", "01-step-0000007"]
    assert snapshots_shown(run, 2) == []


# ---- GIF --------------------------------------------------------------------------------------------


def test_a_gif_of_a_run(job_file: Path) -> None:
    run, events, _ = go_on(job_file, "animation={path: film/it.gif, seconds: 2, long_side: 90}")
    path = job_file.parent / "film" / "it.gif"
    shown, times = gif(path)
    assert 10 <= len(shown) <= 25
    assert sum(times) == 25 * 80 + 1500
    assert times[-1] >= 80 + 1500
    assert {frame.shape for frame in shown} == {(68, 90, 3)}
    # 20 steps and 2 rounds: every step is kept, and the start; the start of the second level is not shown
    assert len(list(run.snapshots.iterdir())) == 21 + 3
    assert distance(shown[0], picture(run.snapshot(0, 0), (90, 68))) < 6
    assert distance(shown[-1], picture(job_file.parent / "out.png", (90, 68))) < 6
    assert is_nearer(shown[0], picture(run.snapshot(0, 0), (90, 68)), shown[-1])
    (told,) = [event for event in events if isinstance(event, AnimationWritten)]
    assert (told.path, told.frames, told.size) == (str(path), 25, Size(90, 68))
    assert told.bytes == path.stat().st_size
    assert [file.name for file in path.parent.iterdir()] == ["it.gif"]
    assert not list(run.root.glob(".*"))


def test_one_level_alone(job_file: Path) -> None:
    run, _, _ = go_on(job_file, "animation={path: it.gif, seconds: 1, level: 2}")
    shown, times = gif(job_file.parent / "it.gif")
    assert sum(times) == 12 * 80 + 1500
    assert {path.name[:8] for path in run.snapshots.iterdir()} == {"level-01"}
    assert distance(shown[0], picture(run.snapshot(1, 0), (100, 75))) < 6
    assert distance(shown[-1], picture(run.snapshot(1, 6), (100, 75))) < 6


def test_it_can_be_asked_for_later_and_is_made_once(job_file: Path) -> None:
    run, _, first = go_on(job_file, "snapshots=5")
    assert first.solved > 0
    asked = ("snapshots=5", "animation={path: it.gif, seconds: 1}")
    again, events, worker = go_on(job_file, *asked)
    path = job_file.parent / "it.gif"
    assert again == run
    assert worker.solved == 0
    assert [type(event) for event in events] == [AnimationWritten]
    assert load_job(run.job).animation == load_job(job_file, asked).animation
    _, events, _ = go_on(job_file, *asked)
    assert events == []
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert len(go_on(job_file, *asked)[1]) == 1
    assert path.read_bytes() == good
    _, events, worker = go_on(job_file, "snapshots=5", "animation={path: it.gif, seconds: 2}")
    assert (len(events), worker.solved) == (1, 0)
    assert sum(gif(path)[1]) == 25 * 80 + 1500


def test_a_run_without_snapshots_says_so(job_file: Path) -> None:
    run, _, _ = go_on(job_file)
    with pytest.raises(JobError, match="no snapshots of the picture, which was painted without them"):
        go_on(job_file, "animation=it.gif")
    assert not (job_file.parent / "it.gif").exists()
    assert json.loads(run.summary.read_text())["status"] == "done"


def grains(size: Size, count: int) -> Iterator[NDArray[np.uint8]]:
    generator = np.random.default_rng(1)
    for _ in range(count):
        yield generator.integers(0, 256, (size.height, size.width, 3), dtype=np.uint8)


def test_a_gif_keeps_its_bound_by_smaller_frames(tmp_path: Path) -> None:
    path, scratch = tmp_path / "a.gif", tmp_path / "scratch"
    most = 150_000
    size = write_gif(lambda size: grains(size, 10), 10, Size(200, 150), 1, path, scratch, most)
    assert path.stat().st_size <= most
    assert 64 <= size.width < 200
    shown, _ = gif(path)
    assert len(shown) == 10
    assert {frame.shape for frame in shown} == {(size.height, size.width, 3)}
    assert not scratch.exists()
    assert path.stat().st_size > most / 4  # not much smaller than it need be


def test_a_gif_never_gets_smaller_than_64_pixels(tmp_path: Path) -> None:
    path, scratch = tmp_path / "a.gif", tmp_path / "scratch"
    assert write_gif(lambda size: grains(size, 3), 3, Size(80, 40), 1, path, scratch, 100) == Size(64, 32)
    assert write_gif(lambda size: grains(size, 3), 3, Size(20, 40), 1, path, scratch, 100) == Size(20, 40)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ResourceError, match="free some space"):
        write_gif(lambda size: grains(size, 3), 3, Size(80, 40), 1, tmp_path / "a.gif", tmp_path / "s")


# ---- what is told before any work starts ------------------------------------------------------------


def test_without_an_encoder(job_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("av", "av.codec"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(JobError) as caught:
        go_on(job_file, "animation=film.mp4")
    assert caught.value.problems == (
        "animation.path: film.mp4 needs PyAV, which is not installed: pip install 'tilefarm[video]', "
        "or name a .gif file",
    )
    assert not (job_file.parent / "runs").exists()


def test_everything_that_cannot_work_at_once(job_file: Path) -> None:
    (job_file.parent / "it.gif").mkdir()
    job = load_job(job_file)
    job = job.model_validate(
        {**dict(job), "animation": {"path": job_file.parent / "it.gif", "level": 3}, "compute": job.compute}
    )
    with pytest.raises(JobError) as caught:
        prepare(job)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "animation.level",
        "animation.path",
    ]
    assert "has 2 levels, got 3" in caught.value.problems[0]


# ---- MP4 --------------------------------------------------------------------------------------------


@needs_video
def test_an_mp4_of_a_run(job_file: Path) -> None:
    av: Any = importlib.import_module("av")

    run, events, _ = go_on(job_file, "animation={path: it.mp4, seconds: 2, long_side: 91}")
    path = job_file.parent / "it.mp4"
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 25)
        shown = [
            np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.float32)
            for frame in container.decode(stream)
        ]
    assert len(shown) == 50 + 38
    assert {frame.shape for frame in shown} == {(68, 90, 3)}
    assert distance(shown[0], picture(run.snapshot(0, 0), (90, 68))) < 4
    assert distance(shown[-1], picture(job_file.parent / "out.png", (90, 68))) < 4
    assert distance(shown[50], shown[-1]) < 1  # the last frame is held
    assert is_nearer(shown[0], picture(run.snapshot(0, 0), (90, 68)), shown[-1])
    assert any(isinstance(event, AnimationWritten) for event in events)
    assert path.stat().st_size < 2 * 1_500_000
