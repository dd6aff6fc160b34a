"""What a viewer is told, against what the driver did: of runs on stand-ins, at work and after."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.faulty import JOBS, shortened, worker_for, write_job
from tests.standins import opener
from tilefarm import driver, live
from tilefarm.events import Event, LevelFinished, StepTaken, TileFinished, WorkerChanged
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Box, Size
from tilefarm.live import fractions
from tilefarm.plan.grid import BORDER
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.summary import read_summary
from tilefarm.spec.load import load_job
from tilefarm.viewer.pausing import pausing
from tilefarm.viewer.pictures import ContentPicture, LivePicture
from tilefarm.viewer.state import StateReader
from tilefarm.viewer.turn import Turn
from tilefarm.viewer.watched import Watched
from tilefarm.viewer.zoom_levels import highest_level


class Looker:
    """Reads the state after every tile and step, as a viewer with a fast eye."""

    def __init__(self, path: Path) -> None:
        self.job = load_job(path)
        self.run = driver.run_folder(self.job, path.parent / "runs")
        self.reader = StateReader(self.run)
        self.states: list[dict[str, Any]] = []
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, TileFinished | StepTaken):
            self.states.append(self.reader.read())

    def render(self, kind: str) -> None:
        with shortened():
            driver.render(self.job, self.run, ExecutorChoice("local"), self, opener(worker_for(kind)))


@pytest.fixture
def immediate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live data that is written with every event, so that its contents can be told."""

    class Immediate(live.LiveData):
        def __call__(self, event: Event) -> None:
            super().__call__(event)
            self._file.write(self._record(time.monotonic()))

    monkeypatch.setattr("tilefarm.telling.LiveData", Immediate)


def tile_boxes(run: RunDir, level: int) -> list[Box]:
    """From the numbers of plan.json, by a formula of this test's own."""
    plan = json.loads(run.plan.read_text())["levels"][level]
    boxes = []
    for row in range(plan["rows"]):
        for column in range(plan["columns"]):
            left = column * plan["tile_width"] // 2 - plan["padding"]["left"]
            top = row * plan["tile_height"] // 2 - plan["padding"]["top"]
            boxes.append(Box(left, top, left + plan["tile_width"], top + plan["tile_height"]))
    return boxes


def covered(boxes: list[list[float]], size: Size) -> NDArray[np.bool_]:
    seen = np.zeros((size.height, size.width), dtype=bool)
    for left, top, right, bottom in boxes:
        x0, x1 = round(left * size.width), round(right * size.width)
        seen[round(top * size.height) : round(bottom * size.height), x0:x1] = True
    return seen


def test_a_run_in_tiles_from_its_beginning_to_its_end(tmp_path: Path, immediate: None) -> None:
    looker = Looker(write_job(tmp_path, "feathered"))
    waiting = looker.reader.read()
    assert (waiting["status"], waiting["levels"], waiting["size"]) == ("waiting", [], None)
    assert not any(waiting["can"].values())
    looker.render("feathered")
    size = Size(100, 75)
    boxes = tile_boxes(looker.run, 1)
    tiles = [event for event in looker.events if isinstance(event, TileFinished)]
    for event, state in zip(tiles, looker.states, strict=True):
        assert (state["status"], state["level"]) == ("running", event.level + 1)
        assert state["round"] == event.round + 1
        assert state["can"] == {"pause": True, "continue": False, "cancel": True}
        assert state["tiles"]["total"] == event.total
        assert state["workers"][0]["state"] in ("working", "idle")
        assert state["driver"]["rss_bytes"] > 10**7
        if event.level == 1:
            # the journal's line is there, and the round's is not
            expected = [fractions(boxes[tile], size) for tile in range(event.done)]
            found = covered(state["tiles"]["done"], size)
            assert (found == covered(expected, size)).all()
    shares = [state["share"] for state in looker.states]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1
    last = looker.states[-1]
    assert last["workers"][0]["done"] >= len(tiles)
    assert last["workers"][0]["megapixels_per_second"] > 0
    (first, second) = {(point["level"], point["step"]) for point in last["losses"] if point["level"] == 2}
    assert {first, second} == {(2, 2), (2, 4)}
    done, record = looker.reader.read(), read_summary(looker.run)
    assert record is not None
    assert (done["status"], done["share"], done["workers"]) == ("done", 1.0, [])
    assert done["output"] == record["output"]
    for mine, theirs in zip(done["levels"], record["levels"], strict=True):
        for key in ("width", "height", "rounds", "iterations", "loss_first", "loss_last", "seconds"):
            assert mine[key] == theirs[key], key
        assert mine["state"] == "done"
    assert done["said"][0]["text"] == "started"


def test_a_run_of_the_exact_method(tmp_path: Path, immediate: None) -> None:
    looker = Looker(write_job(tmp_path, "exact"))
    looker.render("exact")
    looked = [event for event in looker.events if isinstance(event, TileFinished | StepTaken)]
    steps = [event for event in looked if isinstance(event, StepTaken)]
    assert len(steps) > 3
    for event, state in zip(looked, looker.states, strict=True):
        if not isinstance(event, StepTaken):
            continue
        assert (state["level"], state["iteration"]) == (event.level + 1, event.iteration)
        # the log is written before whoever listens is told
        mine = [point for point in state["losses"] if point["level"] == event.level + 1]
        if event.accepted:
            assert mine[-1]["total"] == event.weighted.total
            assert mine[-1]["content"] == event.weighted.content
        assert state["doing"] == "evaluating"
    taken_back = sum(not event.accepted for event in steps)
    assert looker.reader.read()["faults"]["rollbacks"] == taken_back


def test_what_became_of_workers_is_told_and_counted(tmp_path: Path, immediate: None) -> None:
    told: list[dict[str, Any]] = []

    class Losing(Looker):
        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if isinstance(event, LevelFinished) and event.level == 0:
                assert losing.listener is not None
                losing.listener(WorkerChanged(0, "lost", "because", 0))
                told.append(self.reader.read())
                losing.listener(WorkerChanged(0, "back", "", 1, 1))
                told.append(self.reader.read())

    from tilefarm.execute.local import LocalExecutor

    class Known(LocalExecutor):
        listener: Any = None

        def listen(self, listener: Any, on_work: Any = None) -> None:
            self.listener = listener
            super().listen(listener, on_work)

    looker, losing = Losing(write_job(tmp_path, "feathered")), Known(worker_for("feathered"))
    with shortened():
        driver.render(looker.job, looker.run, ExecutorChoice("local"), looker, lambda *_: losing)
    lost, back = told
    assert (lost["workers"][0]["state"], lost["workers"][0]["rss_bytes"]) == ("lost", None)
    assert lost["said"][-1]["text"] == "worker 1 is gone and is started again: because"
    assert (back["workers"][0]["state"], back["workers"][0]["rss_bytes"] > 0) == ("idle", True)
    assert looker.reader.read()["faults"]["worker_losses"] == 1


def test_a_pause_is_asked_for_and_then_there(tmp_path: Path, immediate: None) -> None:
    watched: list[dict[str, Any]] = []

    class Resting(Looker):
        def __call__(self, event: Event) -> None:
            self.events.append(event)
            if isinstance(event, TileFinished) and event.level == 1 and not watched:
                server = Watched(self.run)
                assert server.steer("continue") == (True, f"{self.run.root} is not paused")
                assert server.steer("pause")[0]
                watched.append(json.loads(server.state()[1]))
            if type(event).__name__ == "Paused":
                watched.append(self.reader.read())
                self.run.pause.unlink()

    looker = Resting(write_job(tmp_path, "feathered"))
    looker.render("feathered")
    asked, there = watched
    for state in watched:
        assert state["can"] == {"pause": False, "continue": True, "cancel": True}
    assert (asked["status"], asked["message"]) == ("pausing", "pausing: the tiles in work are finished first")
    assert (there["status"], there["message"]) == ("paused", None)
    done, said = Watched(looker.run).steer("pause")
    assert not done
    assert "is not running (done)" in said


@pytest.mark.parametrize(
    ("doing", "level", "turn", "said"),
    [
        (None, None, None, "what is under way is finished first"),
        ("starting", None, None, "the workers are started first"),
        ("painting", 1, None, "this level is one piece"),
        ("painting", 2, None, "the tiles in work are finished first"),
        ("evaluating", 2, None, "the evaluation under way is finished first"),
        ("writing", 1, None, "the level is written first"),
        ("writing", 2, None, "is not paused: the run is done in a moment"),
        ("writing", 2, Turn(1, 2), "then the next run waits"),
        ("writing", 2, Turn(2, 2), "is not paused: the run is done in a moment"),
        ("knitting", 9, None, "what is under way is finished first"),
    ],
)
def test_what_is_finished_before_a_pause(
    doing: str | None, level: int | None, turn: Turn | None, said: str
) -> None:
    assert said in pausing({"doing": doing, "level": level}, [{"tiles": 1}, {"tiles": 9}], turn)


# ---- pictures -----------------------------------------------------------------------------------------


def shown(picture: LivePicture) -> NDArray[np.float64]:
    record = picture.record()
    assert record is not None
    size = Size(record["width"], record["height"])
    data = picture.tile(record["version"], highest_level(size), 0, 0)
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64) / 255


def level_of(path: Path, size: Size) -> NDArray[np.float64]:
    return np.fromfile(path, dtype="<f4").reshape(size.height, size.width, 3).clip(0, 1).astype(np.float64)


@pytest.mark.parametrize("kind", sorted(JOBS))
def test_the_picture_grows_and_ends_as_the_last_canvas(tmp_path: Path, kind: str) -> None:
    path = write_job(tmp_path, kind)
    write_smooth(tmp_path / "content.png")
    picture = LivePicture("1")
    sizes: list[tuple[int, int]] = []
    differences: list[float] = []

    class Seeing(Looker):
        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if not isinstance(event, TileFinished | StepTaken):
                return
            picture.look(self.run, self.reader.plan, self.reader.history.state, at_work=False)
            record = picture.record()
            assert record is not None
            sizes.append((record["width"], record["height"]))
            if isinstance(event, StepTaken):
                folder = self.run.optimizer(event.level)
                current = json.loads((folder / "state.json").read_text())["current"]
                window = Size(record["width"] + 2 * BORDER, record["height"] + 2 * BORDER)
                point = level_of(folder / f"x{current}.f32", window)
                inside = point[BORDER:-BORDER, BORDER:-BORDER]
                differences.append(np.abs(shown(picture) - inside).mean())

    looker = Seeing(path)
    looker.render(kind)
    assert sizes == sorted(sizes)
    levels = [(level.size.width, level.size.height) for level in prepared_levels(looker.run)]
    assert set(sizes) == set(levels)
    assert all(difference < 0.03 for difference in differences)
    state = looker.reader.read()
    picture.look(looker.run, looker.reader.plan, looker.reader.history.state, at_work=False)
    last = len(levels) - 1
    canvas = level_of(looker.run.canvas(last), Size(*levels[last]))
    assert np.abs(shown(picture) - canvas).mean() < 0.03
    assert state["status"] == "done"


def write_smooth(path: Path) -> None:
    """A picture that JPEG hardly changes."""
    y, x = np.mgrid[0:75, 0:100]
    Image.fromarray(np.stack([x * 2, y * 3, x + y], axis=-1).astype(np.uint8)).save(path)


def prepared_levels(run: RunDir) -> list[Any]:
    from types import SimpleNamespace

    plan = json.loads(run.plan.read_text())
    return [SimpleNamespace(size=Size(level["width"], level["height"])) for level in plan["levels"]]


def test_solved_tiles_are_seen_before_they_are_blended(tmp_path: Path) -> None:
    """A driver that stops in the middle of a round: the middles of its tiles are what they came back as."""
    path = write_job(tmp_path, "feathered")

    class StopError(Exception):
        pass

    class Stopping(Looker):
        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if isinstance(event, TileFinished) and (event.level, event.done) == (1, 7):
                raise StopError

    looker = Stopping(path)
    with pytest.raises(StopError):
        looker.render("feathered")
    looker.reader.read()
    picture = LivePicture("1")
    picture.look(looker.run, looker.reader.plan, looker.reader.history.state, at_work=False)
    version = picture._version
    assert version is not None
    found = version.source.read(Box(0, 0, 100, 75))
    expected = np.fromfile(looker.run.canvas(1), dtype="<f4").reshape(75, 100, 3)
    slots = np.fromfile(looker.run.tiles, dtype="<f4").reshape(-1, 64, 64, 3)
    for tile, box in enumerate(tile_boxes(looker.run, 1)[:7]):
        left, top = max(0, box.left + 16), max(0, box.top + 16)
        right, bottom = min(100, box.left + 48), min(75, box.top + 48)
        if left < right and top < bottom:
            rows, columns = slice(top - box.top, bottom - box.top), slice(left - box.left, right - box.left)
            expected[top:bottom, left:right] = slots[tile][rows, columns]
    assert (found == expected).all()
    canvas = np.fromfile(looker.run.canvas(1), dtype="<f4").reshape(75, 100, 3)
    assert (found != canvas).any()


def test_versions_change_as_rarely_as_they_are_dear(tmp_path: Path) -> None:
    """A version whose tiles took 0.02 s is looked at for 2 s; without a driver there is nobody to disturb."""
    looker = Looker(write_job(tmp_path, "feathered"))
    looker.render("feathered")
    looker.reader.read()
    now, spent = 1000.0, 5.0
    picture = LivePicture("7", lambda: now, lambda: spent)
    state = looker.reader.history.state

    def look(at_work: bool = True) -> str:
        picture.look(looker.run, looker.reader.plan, state, at_work)
        record = picture.record()
        assert record is not None
        return str(record["version"])

    assert look() == "7-1"
    state.rounds.pop((1, 1))
    spent += 0.02
    now += 1.9
    assert look() == "7-1"
    now += 0.2
    assert look() == "7-2"
    now += 100
    assert look() == "7-2", "nothing new to see"
    state.rounds.pop((1, 0))
    spent += 10
    assert look() == "7-2"
    assert look(at_work=False) == "7-3"
    assert picture.tile("7-2", 0, 0, 0) is None
    assert picture.tile("7-3", 0, 0, 0) is not None
    looker.run.canvas(1).unlink()
    looker.run.canvas(0).unlink()
    picture.look(looker.run, looker.reader.plan, state, at_work=True)
    assert picture.record() is None


def test_the_content_is_shown_as_it_is_cropped(tmp_path: Path) -> None:
    path = write_job(tmp_path, "feathered")
    write_smooth(tmp_path / "content.png")
    looker = Looker(path)
    looker.render("feathered")
    looker.reader.read()
    content = ContentPicture(looker.run)
    assert content.size(looker.reader.plan) == {"width": 100, "height": 75}
    data = content.tile(looker.reader.plan, 7, 0, 0)
    assert data is not None
    found = np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64)
    expected = np.asarray(Image.open(tmp_path / "content.png"), dtype=np.float64)
    assert np.abs(found - expected).mean() < 3
    assert content.tile(looker.reader.plan, 8, 0, 0) is None
    (tmp_path / "content.png").unlink()
    assert content.tile(looker.reader.plan, 7, 0, 0) == data, "decoded once"
    gone = ContentPicture(looker.run)
    assert gone.tile(looker.reader.plan, 7, 0, 0) is None
    assert gone.size(looker.reader.plan) is None
