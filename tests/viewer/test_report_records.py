"""What reports say: settings, losses, faults, and markup that hostile texts cannot leave."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.reported import painted, small_run
from tilefarm.errors import JobError
from tilefarm.events import Noted, RunStarted, WorkerChanged
from tilefarm.geometry import Size
from tilefarm.making.losses import LevelLosses, LossPoint
from tilefarm.rundir.event_log import EventLog
from tilefarm.rundir.find import run_folder
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.sweep import load_jobs
from tilefarm.viewer.loss_plot import HEIGHT, WIDTH, loss_panels, loss_rows
from tilefarm.viewer.markup import embedded, table, terms
from tilefarm.viewer.report import write_report
from tilefarm.viewer.report_facts import fault_rows, happenings
from tilefarm.viewer.report_source import is_run, open_run
from tilefarm.viewer.settings_list import settings_of

HOSTILE = "</script><img src=x onerror=\"alert('1')\">&amp;\u2028\u202e\U0001f600\x00"


class Reader(HTMLParser):
    """Collects tags and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text())
@example(HOSTILE)
def test_any_text_in_markup_is_text(value: str) -> None:
    read = Reader(table((value, "b"), [(value, value)], value) + terms([(value, value)]))
    plain = value.replace("\r", "").replace("\x00", "")
    assert read.text.replace("\r", "").replace("\x00", "").count(plain) >= 6 or not plain
    assert set(read.tags) <= {
        "div",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "bdi",
        "dl",
        "dt",
        "dd",
        "wbr",
    }


@example(HOSTILE)
@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_embedded_data_comes_back_and_closes_no_element(value: object) -> None:
    text = embedded(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_settings_of_their_own_are_marked(tmp_path: Path) -> None:
    run = small_run(tmp_path, "gate", "objective.style_weight=2", "color=statistics", "output.long_side=150")
    settings = {one.key: one for one in settings_of(open_run(run).job)}
    changed = {key: (one.value, one.default) for key, one in settings.items() if one.is_changed}
    assert changed == {
        "output.long_side": ("150", "none"),
        "method": ("feathered", "exact"),
        "objective.style_weight": ("2.0", "1.0"),
        "pyramid.smallest": ("64", "224"),
        "tiles.size": ("64", "auto"),
        "tiles.rounds": ("1", "3"),
        "init": (str(tmp_path / "start.png"), "content"),
        "color.mode": ("statistics", "style"),
    }
    assert settings["content"].default is None
    assert len(settings) > 50


def test_default_layers_of_another_network_are_defaults(tmp_path: Path) -> None:
    small_run(tmp_path)
    (tmp_path / "w.pth").write_bytes(b"weights")
    other = ("network.name=squeezenet", f"network.weights={tmp_path / 'w.pth'}")
    job = load_jobs(tmp_path / "gate.yaml", other).jobs[0]
    changed = {one.key for one in settings_of(job) if one.is_changed}
    assert {"network.name", "network.weights"} <= changed
    assert not [key for key in changed if "layers" in key]


def test_the_command_leads_to_the_same_run(tmp_path: Path) -> None:
    run = small_run(tmp_path / "a folder's")
    page = write_report(run).read_text()
    command = Reader(page.partition("<pre><code>")[2].partition("</code>")[0]).text
    program, submit, job, option, runs, fresh = shlex.split(command)
    assert (program, submit, option, fresh) == ("tilefarm", "submit", "--run-dir", "--fresh")
    for file in (Path(job), run.root / "report" / "job.yaml"):
        assert run_folder(load_jobs(file).jobs[0], Path(runs)) == run


def test_faults_are_counted_from_the_records(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    began = RunStarted("gate", "/runs/gate", Size(4, 3), (1,), ("cpu",), "float32", False, ("a note",))
    with EventLog(run.events) as log:
        for event in (
            began,
            WorkerChanged(0, "hung", "silent", 1),
            WorkerChanged(0, "back", "", 2),
            WorkerChanged(1, "hung", "silent", 1),
            began,
            Noted("</b>"),
        ):
            log.write(event)
    with run.events.open("ab") as file:
        file.write(b'{"event":"RunStarted","time"')
    told = happenings(run)
    assert told.notes == ("a note", "</b>")
    assert told.workers == 1
    rows = dict(fault_rows({"tile_retries": 3, "worker_losses": 2}, told))
    assert rows == {
        "Tiles done again after a failure": "3",
        "Steps taken back, for a bad loss or gradient": "0",
        "Results thrown away, with numbers that were not finite": "0",
        "Workers lost": "2",
        "Times the run was interrupted and went on": "1",
        "Workers that were silent for too long and were ended": "2",
        "Workers that came back": "1",
    }


def losses(steps: int = 40) -> list[LevelLosses]:
    points = tuple(LossPoint(1, step, 100 * 0.9**step, 1.0, 50 * 0.9**step, 0.0) for step in range(steps + 1))
    tiles = (LossPoint(2, 0, 20, lowest=10, highest=40), LossPoint(2, 30, 10, lowest=5, highest=20))
    return [
        LevelLosses(1, 100, 75, steps, points),
        LevelLosses(2, 200, 150, 60, tiles),
        LevelLosses(3, 400, 300, 60, ()),
    ]


def test_a_loss_is_where_its_logarithm_says() -> None:
    first, second = (ElementTree.fromstring(panel) for panel in loss_panels(losses()))
    lines = {line.attrib["class"]: line.attrib["points"] for line in first.iter("polyline")}
    assert set(lines) == {"line total", "line style", "line content"}, "total variation is 0 throughout"
    total, style = (
        [tuple(map(float, point.split(","))) for point in lines[f"line {term}"].split()]
        for term in ("total", "style")
    )
    steps = [b[1] - a[1] for a, b in pairwise(total)]
    assert min(steps) > 0, "it falls"
    assert max(steps) - min(steps) < 0.3, "each step takes a tenth: a straight line on a logarithmic axis"
    halved = [b[1] - a[1] for a, b in zip(total, style, strict=True)]
    assert max(halved) - min(halved) < 0.3
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in total)
    band = next(second.iter("polygon")).attrib["points"]
    assert len(band.split()) == 4
    assert "from 20 to 10 in 30 steps" in second.attrib["aria-label"]


def test_the_table_has_both_ends_of_every_level() -> None:
    rows = list(loss_rows(losses(400)))
    of_first = [row for row in rows if row[0] == "1"]
    assert [row[1] for row in of_first][:: len(of_first) - 1] == ["0", "400"]
    assert len(of_first) == 12
    assert [row for row in rows if row[0] == "2"] == [
        ("2", "0", "20", "", "", ""),
        ("2", "30", "10", "", "", ""),
    ]


def test_a_job_file_called_job_yaml_makes_no_run(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("content: a.png\n")
    assert not is_run(tmp_path)
    with pytest.raises(JobError, match="is not the folder of a run"):
        open_run(RunDir(tmp_path))


def test_another_content_is_told(tmp_path: Path) -> None:
    from PIL import Image

    run = small_run(tmp_path)
    assert open_run(run).changed == ()
    Image.new("RGB", (160, 120), (1, 2, 3)).save(tmp_path / "content.png")
    assert ["content (" in clause for clause in open_run(run).changed] == [True]
    assert "something has changed: content" in write_report(run).read_text()
    Image.new("RGB", (160, 30)).save(tmp_path / "content.png")
    with pytest.raises(JobError, match="another picture than the run was started with"):
        open_run(run)


def test_a_run_whose_picture_has_gone_is_refused_with_its_name(tmp_path: Path) -> None:
    run = painted(_job(tmp_path))
    (tmp_path / "style.png").unlink()
    with pytest.raises(JobError, match=r"style.png"):
        write_report(run)
    assert not (run.root / "report").exists()


def _job(folder: Path) -> Path:
    small_run(folder)
    return folder / "gate.yaml"


def test_a_damaged_canvas_is_not_shown(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    with run.canvas(1).open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff")
    page = write_report(run).read_text()
    assert "The finest canvas is gone or damaged: the picture shown is that of level 1." in page
    assert "from its preview, since its canvas has gone or is damaged" in page
    record = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert record["result"]["url"] == "tiles/level-1_files/"
    assert [one["level"] for one in record["levels"]] == [1, 2]
    for number in (0, 1):
        run.canvas(number).unlink()
    run.preview(1).write_bytes(b"no picture")
    page = write_report(run).read_text()
    assert "its preview cannot be read" in page
    assert "No canvas of this run is there any more" in page
