"""docs/controls.md and the README say all there is, and show what scripts/controls makes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from pydantic import BaseModel
from typer.main import get_command

from scripts.control_strips.__main__ import OTHERS
from scripts.control_strips.catalogue import MATRIX, catalogue, making
from scripts.control_strips.panels import Strip, job_of, name_of, run_names
from scripts.control_strips.pictures import make_pictures
from tilefarm.cli import app
from tilefarm.spec.load import load_job
from tilefarm.spec.making import Animation
from tilefarm.spec.model import Job, Style
from tilefarm.spec.sweep import load_jobs
from tilefarm.spec.yaml_writer import write_yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "controls.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_BYTES = 2_500_000


def all_strips(folder: Path) -> tuple[Strip, ...]:
    weights = folder / "squeezenet.safetensors"
    weights.touch()
    return catalogue(make_pictures(folder / "pictures"), weights)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from keys(section, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_panel_is_a_valid_job(tmp_path: Path) -> None:
    runs = run_names(all_strips(tmp_path))
    others = {"making": making(tmp_path / "making.gif"), "matrix": MATRIX}
    for name, settings in {**runs, **others}.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(write_yaml(job_of(settings, tmp_path / "out" / f"{name}.png")), encoding="utf-8")
        sweep = load_jobs(path)
        assert len(sweep.jobs) == (4 if name == "matrix" else 1)
    assert load_job(tmp_path / "default.yaml").objective == Job.model_fields["objective"].default


def test_panels_of_equal_settings_share_a_run_and_others_do_not(tmp_path: Path) -> None:
    strips = all_strips(tmp_path)
    runs = run_names(strips)
    for strip in strips:
        shown = [panel for panel in strip.panels if panel.picture is None]
        distinct = {(name_of(panel.settings, runs), panel.recolored) for panel in shown}
        assert len(distinct) == len(shown) >= 1, strip.name
    assert len({str(settings) for settings in runs.values()}) == len(runs)


def test_a_strip_alone_has_the_runs_that_it_has_among_all(tmp_path: Path) -> None:
    strips = all_strips(tmp_path)
    runs = run_names(strips)
    for strip in strips:
        for settings in run_names([strip]).values():
            assert runs[name_of(settings, runs)] == settings


def test_the_page_shows_every_picture_and_no_other(tmp_path: Path) -> None:
    shown = re.findall(r"\]\(controls/(\w+)\.(?:jpg|gif)\)", PAGE)
    made = [strip.name for strip in all_strips(tmp_path)] + [*OTHERS, "snapshots", "losses"]
    assert sorted(shown) == sorted(made)


def test_the_pictures_are_there_and_small() -> None:
    files = [ROOT / "docs" / path for path in re.findall(r"\]\((controls/[\w.]+)\)", PAGE)]
    for file in files:
        with Image.open(file) as image:
            assert image.width <= 1300, file.name
    assert sum(file.stat().st_size for file in files) < MOST_BYTES


def test_the_readme_names_every_key() -> None:
    rows = "\n".join(line for line in README.splitlines() if line.startswith("|"))
    every = [*keys(Job), *keys(Animation, "animation."), *keys(Style, "styles.")]
    missing = [key for key in every if not re.search(rf"[`.{{ ]{key.split('.')[-1]}\b", rows)]
    assert not missing


def test_the_readme_names_every_command() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    rows = "\n".join(line.split(" | ")[0] for line in README.splitlines() if line.startswith("| `tilefarm"))
    assert [name for name in commands if not re.search(rf"(tilefarm |`){name}\b", rows)] == []


def test_links_of_the_page_lead_to_its_headings() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for link in re.findall(r"\]\(#([\w-]+)\)", PAGE) + re.findall(r"controls\.md#([\w-]+)\)", README):
        assert link in anchors
