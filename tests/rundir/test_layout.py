"""The file names of a run: they are part of the contract, and no two things share one."""

from __future__ import annotations

from pathlib import Path

from tilefarm.rundir.layout import RunDir


def test_the_documented_names() -> None:
    run = RunDir(Path("/runs/gate-1a2b3c4d"))
    assert run.name == "gate-1a2b3c4d"
    assert {path.name for path in (run.job, run.plan, run.journal, run.events, run.summary)} == {
        "job.yaml",
        "plan.json",
        "journal.jsonl",
        "events.jsonl",
        "run.json",
    }
    assert run.preview(3).parent == run.previews == run.root / "levels"


def test_every_file_has_its_own_name_inside_the_folder() -> None:
    run = RunDir(Path("/runs/gate-1a2b3c4d"))
    paths = [run.job, run.plan, run.journal, run.events, run.summary, run.tiles, run.root / "lock"]
    for level in range(12):
        paths += [run.canvas(level), run.content(level), run.targets(level), run.preview(level)]
        paths += [run.style(level, number) for number in range(12)]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(run.root) for path in paths)


def test_a_folder_is_a_run_once_it_holds_the_job(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert not run.exists()
    run.job.write_text("")
    assert run.exists()
