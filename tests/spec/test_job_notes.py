"""Notes about keys that a job sets in vain."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilefarm.spec.load import load_job
from tilefarm.spec.notes import job_notes, preset_changes
from tilefarm.spec.presets import PRESETS, PresetName
from tilefarm.spec.starter import starter_job

HEAD = "content: a.jpg\nstyle: a.jpg\noutput: {path: c.tif}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(b"x")
    return tmp_path


def notes(folder: Path, *overrides: str, text: str = HEAD) -> list[str]:
    (folder / "job.yaml").write_text(text)
    return list(job_notes(load_job(folder / "job.yaml", overrides)))


def test_an_ordinary_job_has_none(folder: Path) -> None:
    assert notes(folder) == []
    assert notes(folder, "method=feathered", "tiles={rounds: 2, iterations: 4, batch: 1}") == []
    for noise in ("init=noise", "init=style_statistics", "init_noise=0.1"):
        assert notes(folder, "seed=1", noise) == []
    for kept in ("snapshots.every=3", "animation=film.gif"):
        assert notes(folder, "snapshots.long_side=800", kept) == []


@pytest.mark.parametrize(
    ("override", "note"),
    [
        (
            "tiles={rounds: 2, drift_correction: false}",
            "tiles.rounds, tiles.drift_correction: changes nothing",
        ),
        ("seed=3", "seed: changes nothing without noise"),
        ("snapshots.long_side=100", "snapshots.long_side: changes nothing without"),
    ],
)
def test_keys_without_an_effect(folder: Path, override: str, note: str) -> None:
    (found,) = notes(folder, override)
    assert note in found


def test_a_seed_that_dithers_nothing_is_noted(folder: Path) -> None:
    assert notes(folder, "seed=3", "output={path: c.png}") == []
    (found,) = notes(folder, "seed=3", "output={path: c.png, dither: false}")
    assert "seed: changes nothing without noise" in found


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_in_a_starter_file_is_noted(folder: Path, name: PresetName) -> None:
    """The file names every key, so that nothing is left to the preset."""
    starter = starter_job(folder / "a.jpg", folder / "a.jpg", folder / "c.tif", folder)
    (note,) = notes(folder, f"preset={name}", text=starter)
    count = len(preset_changes(name))
    assert count > 3
    assert f"preset: {name} would change {count} keys, and the job names" in note
    assert "objective.units" in note
    plain = load_job(folder / "job.yaml")
    changed = load_job(folder / "job.yaml", [f"preset={name}"])
    assert ("so it changes nothing" in note) == (changed.model_copy(update={"preset": None}) == plain)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_that_acts_needs_no_note(folder: Path, name: PresetName) -> None:
    assert notes(folder, f"preset={name}") == []
    assert notes(folder, f"preset={name}", "objective.content_weight=3") == []
