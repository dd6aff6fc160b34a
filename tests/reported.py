"""Small finished runs, painted without a network, for tests of reports and galleries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.standins import Mixer, opener
from tilefarm.driver import render, run_folder
from tilefarm.events import Event
from tilefarm.execute.open import ExecutorChoice
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

GREEN, RED, BLUE = (30, 150, 40), (200, 40, 30), (30, 40, 200)
"""Of the content, of the painting on the left, and of the painting on the right."""
FEATHERED = "method: feathered\npyramid: {smallest: 64}\ntiles: {size: 64, rounds: 1}\n"


def write_inputs(folder: Path, size: tuple[int, int] = (160, 120)) -> None:
    """A green content, a style, and a start that is red on the left and blue on the right."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, GREEN).save(folder / "content.png")
    Image.new("RGB", (60, 40), (90, 90, 90)).save(folder / "style.png")
    start = Image.new("RGB", size, RED)
    start.paste(BLUE, (size[0] // 2, 0, *size))
    start.save(folder / "start.png")


def job_text(name: str, content: str = "content.png") -> str:
    """A job that starts from `start.png`; a worker that mixes nothing in leaves it as it is."""
    quoted = json.dumps(content, ensure_ascii=False)  # which YAML reads, too
    return (
        f"name: {name}\ncontent: {quoted}\nstyle: style.png\ninit: start.png\n"
        f"output: {{path: {name}.png}}\n{FEATHERED}"
    )


def painted(job_file: Path, *overrides: str, listen: Callable[[Event], None] = lambda event: None) -> RunDir:
    """Render a job beside its file with a worker that leaves the start as it is, but for its tone."""
    job = load_job(job_file, overrides)
    run = run_folder(job, job_file.parent / "runs")
    render(job, run, ExecutorChoice("local"), listen, opener(Mixer(share=0)))
    return run


def small_run(folder: Path, name: str = "gate", *overrides: str) -> RunDir:
    """A finished run in a folder of its own."""
    write_inputs(folder)
    (folder / f"{name}.yaml").write_text(job_text(name))
    return painted(folder / f"{name}.yaml", *overrides)
