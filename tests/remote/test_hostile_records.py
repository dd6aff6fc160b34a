"""Records of a run that come from a head which means harm: a sentence each, and nothing steers a terminal."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.program import Command, program
from tests.strangers import Stranger, strangers
from tilefarm.event_lines import decoded
from tilefarm.remote.server import JobServer
from tilefarm.remote.view import described, exit_code, known, lines, run_record
from tilefarm.report.console import ConsoleReport
from tilefarm.rundir.summary_form import can_be_shown

ESCAPE = "\x1b[2J\x9b31m"
NAME = "gate-01234567"
LEVEL = {"width": 8, "height": 6, "tiles": 1, "rounds": 2, "rounds_done": 1, "iterations": 9}
RECORD: dict[str, Any] = {
    "status": "running",
    "message": None,
    "output": "out.tif",
    "width": 8,
    "height": 6,
    "seconds": 1.5,
    "levels": [LEVEL | {"loss_first": 2.0, "loss_last": 1.0}],
}
STRANGE: list[Any] = [
    *(None, True, -1, 10**300, 10**4000, 1e308, float("nan"), float("inf"), [], {}, [[1]], "1"),
    *(ESCAPE, {"a": ESCAPE}, {ESCAPE: 1}, "\ud800", "[/b]", "{0.__class__}", "x" * 10**5),
]
STARTED = {
    "event": "RunStarted",
    **{"name": "gate", "root": "runs/gate", "output": {"width": 8, "height": 6}, "work": [48]},
    **{"workers": ["cpu"], "precision": "float32", "resumed": False, "notes": ["take care"]},
}
BEGAN = {
    "event": "LevelBegan",
    **{"level": 0, "size": {"width": 8, "height": 6}, "tiles": 1, "rounds": 1, "iterations": 9, "pieces": 2},
}
LOSSES = {"total": 1.0, "content": 0.5, "style": 0.5, "tv": 0.0}
EVENTS: list[dict[str, Any]] = [
    STARTED,
    BEGAN,
    {"event": "PiecesProgress", "level": 0, "doing": "measuring", "done": 1, "total": 2},
    {
        "event": "StepsProgress",
        "level": 0,
        "round": 0,
        "tile": 0,
        "iteration": 1,
        "iterations": 9,
        "loss": 1.0,
    },
    {
        "event": "StepTaken",
        **{"level": 0, "iteration": 1, "iterations": 9, "accepted": True},
        **{"losses": LOSSES, "weighted": LOSSES, "seconds": 1.0},
    },
    {
        "event": "TileFinished",
        **{"level": 0, "round": 0, "tile": 0, "done": 1, "total": 1, "first": LOSSES, "last": LOSSES},
        **{"weighted": LOSSES, "iterations": 9, "rollbacks": 0, "seconds": 1.0, "attempts": 1},
    },
    {"event": "RoundFinished", "level": 0, "round": 0, "loss_first": 2.0, "loss_last": 1.0, "seconds": 1.0},
    {"event": "WorkerChanged", "worker": 0, "change": "lost", "reason": "gone", "left": 1},
    {"event": "Continued", "seconds": 1.0},
    {
        "event": "AnimationWritten",
        "path": "a.gif",
        "size": {"width": 8, "height": 6},
        "frames": 2,
        "bytes": 5,
    },
    {"event": "Noted", "note": "a note"},
    {"event": "RunFinished", "output": "out.tif", "size": {"width": 8, "height": 6}, "seconds": 1.0},
]

NOTED = {"event": "Noted", "note": "at the end"}


def changed(record: Any) -> Iterator[Any]:
    """The record with each of its values, however deep, replaced by every strange one, and left out."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield from ({**record, key: other} for other in (*STRANGE, *changed(value)))
            yield {name: each for name, each in record.items() if name != key}
    elif isinstance(record, list) and record:
        yield from ([other, *record[1:]] for other in (*STRANGE, *changed(record[0])))


@pytest.fixture
def head() -> Iterator[Stranger]:
    """A head that has one job, which has ended before its end."""
    with strangers() as make:
        stranger = make()
        metadata = {"tilefarm_name": NAME, "tilefarm_manifest": "0"}
        job = {"submission_id": NAME, "status": "FAILED", "metadata": metadata, "message": "error: why"}
        stranger.replies["/api/jobs/"] = (200, {}, json.dumps([job | {"driver_node_id": "a"}]).encode())
        yield stranger


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return program(monkeypatch, capfd)


Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(head: Stranger, run: Command) -> Ask:
    """What a command about the job says where run.json and all other files of the head are this."""

    def said(content: bytes, *words: str) -> tuple[int, str]:
        head.replies["/api/v0/logs/file"] = (200, {}, content)
        answer = run(*words, NAME, "--cluster", head.address)
        text = answer.out + answer.err
        assert text.replace("\n", "").isprintable()
        assert "Traceback" not in text
        assert text.strip()
        return answer.code, text

    return said


NOT_RECORDS = [
    *(b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 10**5, b'{"a":' * 10**5, b"9" * 10**4),
    b" " * 2**21,
]


@pytest.mark.parametrize("content", NOT_RECORDS, ids=lambda content: f"{content[:8]!r}")
@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("watch",), ("cancel",)])
def test_what_is_no_record_is_told_in_a_sentence(ask: Ask, content: bytes, words: tuple[str, ...]) -> None:
    code, text = ask(content, *words)
    assert code == (1 if words == ("watch",) else 0)
    if words[0] == "status":
        assert "run.json" in text
        assert "is damaged, or of another version of tilefarm" in text


def test_a_nested_record_is_told_in_a_sentence(ask: Ask) -> None:
    """With all that is shown, and beside it what exhausts whoever walks through it."""
    deep = json.dumps(RECORD)[:-1].encode() + b', "more": ' + b"[" * 700 + b"]" * 700 + b"}"
    for words in (("status",), ("status", "--json"), ("watch",)):
        ask(deep, *words)


def test_any_value_of_run_json_and_of_an_optimizers_state(head: Stranger, ask: Ask) -> None:
    state = {"iteration": 3, "rollbacks": 1, "checksums": {}}
    assert "step 4 of 9" in ask(json.dumps(RECORD | state).encode(), "status")[1]
    server = JobServer(head.address, None)
    job = known(server, NAME)
    for record in changed(RECORD | state):
        head.replies["/api/v0/logs/file"] = (200, {}, json.dumps(record).encode())
        told = lines(server, job)
        assert all(line.isprintable() for line in told)
        assert len(told) <= 4
        assert json.dumps(described(server, job), ensure_ascii=False).isprintable()
        assert 0 < exit_code(job, run_record(server, job)[0]) < 256


class Terminal:
    """What is shown of a log, with a live line and without."""

    def __init__(self) -> None:
        self.files = io.StringIO(), io.StringIO()
        consoles = (Console(file=self.files[0]), Console(file=self.files[1], force_terminal=True))
        self._reports = [ConsoleReport(console) for console in consoles]

    def show(self, event: dict[str, Any]) -> None:
        found = decoded(json.dumps(event | {"time": 5.0}).encode(), 0.0)
        for report in self._reports if found is not None else ():
            report(found)  # type: ignore[arg-type]

    def text(self) -> str:
        for report in self._reports:
            if report._live is not None:
                report._live.refresh()
        return "".join(file.getvalue() for file in self.files)


def test_any_value_of_an_event() -> None:
    """Each in its place in the log, and those that are well after it."""
    for number, own in enumerate(EVENTS):
        for event in changed(own):
            terminal = Terminal()
            for each in (*EVENTS[: min(2, number)], event, *EVENTS[number + 1 : number + 3], NOTED):
                terminal.show(each)
            assert "\x1b[2J" not in terminal.text()
            assert "\x9b" not in terminal.text()
            assert "note: at the end" in terminal.text()


def test_events_without_a_beginning_and_out_of_order(ask: Ask) -> None:
    for log in (EVENTS[1:], EVENTS[::-1], [STARTED, BEGAN | {"level": 7}, *EVENTS[2:]]):
        lines = "".join(json.dumps(event | {"time": 5.0}) + "\n" for event in log)
        assert "note: a note" in ask(lines.encode(), "watch")[1]
    assert ask(b"[" * 10**5 + b"\n", "watch")[0] == 1


@pytest.mark.parametrize("key", ["status", "message", "driver_exit_code", "driver_node_id", "start_time"])
@pytest.mark.parametrize("value", STRANGE[3:16:2], ids=lambda value: f"{value!r:.12}")
def test_any_value_of_a_job(head: Stranger, ask: Ask, key: str, value: Any) -> None:
    (job,) = json.loads(head.replies["/api/jobs/"][2])
    ended = job | {key: value} | ({} if key == "status" else {"status": "FAILED"})
    head.replies["/api/jobs/"] = (200, {}, json.dumps([ended]).encode())
    code, _ = ask(json.dumps(RECORD).encode(), "status")
    assert 0 <= code < 256
    if key != "status":  # one that is no end is waited for
        code, _ = ask(json.dumps(RECORD).encode(), "watch")
        assert 0 < code < 256


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*RECORD]), _json)
def test_what_can_be_shown_has_the_types_of_ours(key: str, value: Any) -> None:
    record = copy.deepcopy(RECORD) | {key: value}
    assert can_be_shown(RECORD)
    if can_be_shown(record):
        assert isinstance(record["output"], str)
        assert all(1 <= record[side] <= 10**9 for side in ("width", "height"))
        assert 0 <= record["seconds"] <= 10**12
        assert record["message"] is None or isinstance(record["message"], str)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["event"])
def test_an_event_as_ours_is_taken(event: dict[str, Any]) -> None:
    """Losses that are no numbers are told: a run can go wrong."""
    assert decoded(json.dumps(event | {"time": 5.0}).encode(), 0.0) is not None
    lost = json.dumps(event | {"time": 5.0}).replace("2.0", "NaN")
    assert decoded(lost.encode(), 0.0) is not None
