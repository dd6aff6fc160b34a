"""Every optimizer has keys of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilefarm.errors import JobError
from tilefarm.settings import adam_settings
from tilefarm.solve.contract import AdamSettings
from tilefarm.spec.load import load_job
from tilefarm.spec.model import Job


def load(folder: Path, optimizer: str) -> Job:
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"x")
    path = folder / "job.yaml"
    path.write_text(f"content: a.jpg\nstyle: b.jpg\noutput: {{path: c.tif}}\noptimizer: {optimizer}\n")
    return load_job(path)


def test_defaults_are_those_of_the_optimizer_that_is_named(tmp_path: Path) -> None:
    lbfgs, adam, cg = (load(tmp_path, f"{{name: {name}}}").optimizer for name in ("lbfgs", "adam", "cg"))
    assert (lbfgs.history, lbfgs.step_size, lbfgs.betas, lbfgs.averaging) == (20, None, None, None)
    assert (adam.history, adam.step_size, adam.betas, adam.averaging) == (None, 0.02, (0.9, 0.99), 0.99)
    assert (cg.history, cg.step_size, cg.betas, cg.averaging) == (None, None, None, None)
    assert adam_settings(adam) == AdamSettings(0.02, (0.9, 0.99), 0.99)
    assert adam_settings(lbfgs) is adam_settings(cg) is None


OF_ADAM = "is a key of the optimizer adam, and optimizer.name is"


@pytest.mark.parametrize(
    ("optimizer", "sentences"),
    [
        (
            "{name: adam, history: 20}",
            [
                "optimizer.history is a key of the optimizer lbfgs, and optimizer.name is adam; remove it, "
                "or set optimizer.name to lbfgs"
            ],
        ),
        (
            "{step_size: 0.1, averaging: 0}",
            [
                f"optimizer.step_size {OF_ADAM} lbfgs; remove it, or set optimizer.name to adam",
                f"optimizer.averaging {OF_ADAM} lbfgs; remove it, or set optimizer.name to adam",
            ],
        ),
        (
            "{name: cg, betas: [0.9, 0.99]}",
            [f"optimizer.betas {OF_ADAM} cg; remove it, or set optimizer.name to adam"],
        ),
        ("{history: }", ["optimizer.history is empty; remove it, or give it a value such as 20"]),
        ("{name: adam, betas: [0.9]}", ["optimizer.betas must have at least 2 entries, got 1"]),
        ("{name: adam, betas: [0.9, 1]}", ["optimizer.betas.1 must be less than 1, got 1"]),
        ("{name: adam, step_size: 0}", ["optimizer.step_size must be more than 0, got 0"]),
        (
            "{name: adm, history: 3}",
            ["optimizer.name must be lbfgs, adam or cg, got 'adm'; did you mean 'adam'?"],
        ),
    ],
)
def test_mistakes_are_told(tmp_path: Path, optimizer: str, sentences: list[str]) -> None:
    with pytest.raises(JobError) as caught:
        load(tmp_path, optimizer)
    assert [problem.split(", line 4: ")[-1] for problem in caught.value.problems] == sentences
