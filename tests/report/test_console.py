"""What the terminal shows, and what a log file gets."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from tilefarm.events import Event, RunStarted, WorkerChange, WorkerChanged
from tilefarm.report import console as console_module
from tilefarm.report.console import PLAIN_SECONDS, ConsoleReport, duration

Script = Callable[..., list[Event]]
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (42.4, "42 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (36 * 3600 + 300, "36 h 05 min"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def plain(events: list[Event]) -> list[str]:
    """The lines of a run whose standard error is a file, narrow on purpose."""
    stream = StringIO()
    with ConsoleReport(Console(file=stream, width=40)) as report:
        for event in events:
            report(event)
    return stream.getvalue().splitlines()


def test_a_log_file_gets_whole_plain_lines(scripted: Script) -> None:
    assert plain(scripted()) == [
        "rendering gate-1 at 400x320, 3 levels, 2 workers (cpu; cpu), float32",
        "run folder /runs/gate-1",
        "level 1, 100x80: whole, 50 iterations",
        "  round 1: loss 20 -> 10 in 1 min 05 s",
        "  preview /runs/gate-1/levels/level-0.png",
        "level 2, 200x160: 6 tiles, 2 rounds, 10 iterations",
        "  round 1: loss 20 -> 10 in 1 min 05 s",
        "  round 2: loss 20 -> 10 in 1 min 05 s",
        "  preview /runs/gate-1/levels/level-1.png",
        "level 3, 400x320: 20 tiles, 2 rounds, 10 iterations",
        "  round 1: loss 20 -> 10 in 1 min 05 s",
        "  round 2: loss 20 -> 10 in 1 min 05 s",
        "  preview /runs/gate-1/levels/level-2.png",
        "wrote /out/gate.tif (400x320)",
    ]


def test_notes_are_told_when_the_work_begins(scripted: Script) -> None:
    begin, *_ = scripted()
    assert isinstance(begin, RunStarted)
    lines = plain([dataclasses.replace(begin, notes=("seed: changes nothing", "style: is enlarged"))])
    assert lines[2:] == ["note: seed: changes nothing", "note: style: is enlarged"]


def test_a_resumed_run_says_so(scripted: Script) -> None:
    assert plain(scripted(1, 1, 3))[0].startswith("resuming gate-1 at 400x320")


def test_a_log_file_gets_one_line_of_tiles_now_and_then(
    scripted: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(console_module, "time", SimpleNamespace(monotonic=lambda: now))
    stream = StringIO()
    shown: list[float] = []
    report = ConsoleReport(Console(file=stream, width=40))
    for event in scripted():
        now += 1.0
        before = stream.tell()
        report(event)
        added = stream.getvalue()[before:]
        if "tiles/s" in added:
            shown.append(now)
            assert added.startswith(("level 2 of 3, 200x160, round", "level 3 of 3, 400x320, round"))
            assert "loss 5, " in added
            assert added.endswith(" left\n")
            assert added.count("\n") == 1
    gaps = [later - sooner for sooner, later in itertools.pairwise(shown)]
    assert len(gaps) > 3
    assert min(gaps) >= PLAIN_SECONDS


def test_a_terminal_shows_the_live_line_and_keeps_the_rest(scripted: Script) -> None:
    stream = StringIO()
    with ConsoleReport(Console(file=stream, force_terminal=True, width=120, height=30)) as report:
        for event in scripted():
            report(event)
            assert report._live is not None
            report._live.refresh()
    text = stream.getvalue()
    assert "level 2 of 3, 200x160, round 2 of 2" in text
    assert "tiles 3/6" in text
    assert "measuring 2/3" in text
    assert "100%" in text
    assert "wrote /out/gate.tif (400x320)" in text
    assert "\x1b[2K" in text[text.rindex("wrote") :], "the live line is taken away at the end"
    assert text.rindex(SHOW_CURSOR) > text.rindex(HIDE_CURSOR)


def test_the_cursor_comes_back_after_an_error(scripted: Script) -> None:
    stream = StringIO()

    def interrupted() -> None:
        with ConsoleReport(Console(file=stream, force_terminal=True)) as report:
            for event in scripted()[:30]:
                report(event)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stream.getvalue().rindex(SHOW_CURSOR) > stream.getvalue().rindex(HIDE_CURSOR)


def test_names_that_look_like_markup_are_shown_as_they_are(scripted: Script) -> None:
    started = scripted()[0]
    assert isinstance(started, RunStarted)
    odd = dataclasses.replace(started, name="[bold]gate[/nonsense] :smile:")
    assert plain([odd])[0].startswith("rendering [bold]gate[/nonsense] :smile: at")
    stream = StringIO()
    with ConsoleReport(Console(file=stream, force_terminal=True, width=200)) as report:
        report(odd)
    assert "rendering [bold]gate[/nonsense] :smile: at" in stream.getvalue()


@pytest.mark.parametrize(
    ("change", "reason", "left", "line"),
    [
        (
            "lost",
            "gone",
            1,
            "worker 3 is gone and is started again, its work is done elsewhere (gone): 1 worker",
        ),
        ("hung", "nothing was heard of it for 60 s", 2, "worker 3 was ended and is started again, its work"),
        ("back", "", 3, "worker 3 is back: 3 workers at work"),
        ("set aside", "it failed 3 times", 2, "worker 3 is set aside (it failed 3 times): 2 workers at work"),
        ("fewer", "it was ended", 2, "worker 3 needed more memory than there was, fewer work at a time from"),
        ("gone", "Ray does not start it again", 2, "worker 3 will not come back (Ray does not start it"),
    ],
)
def test_what_becomes_of_workers_is_told_in_a_line(
    change: WorkerChange, reason: str, left: int, line: str
) -> None:
    (told,) = plain([WorkerChanged(2, change, reason, left)])
    assert told.strip().startswith(line)
