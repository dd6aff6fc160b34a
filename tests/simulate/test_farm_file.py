"""Farm files: every mistake at once, with its line; and the command around them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tilefarm import calibrate
from tilefarm.cli import app
from tilefarm.errors import JobError
from tilefarm.simulate import this_machine
from tilefarm.simulate.crew import crew_of
from tilefarm.simulate.farm_file import Driver, Node, load_farm

ROOT = Path(__file__).parents[2]
FARM = """\
driver: {link_mbit: 1000, disk_mb_s: 5e2}
nodes:
  - {name: gpu, count: 2, workers: 4, megapixel_steps_s: 10, link_mbit: 800, latency_ms: 2}
  - {name: old, device: cpu, tflops: 0.72, precision: float32, failures_per_hour: 3.6, restart_seconds: 20}
"""
SMALL = (
    "content: content.png\nstyle: style.png\noutput: {path: out.png, width: 300}\n"
    "pyramid: {smallest: 64, iterations: [3]}\ntiles: {size: 128}\n"
    "objective: {content_layers: {relu2_2: 1}, style_layers: {relu1_1: 1, relu2_1: 1}}\n"
)


def farm_file(folder: Path, text: str = FARM) -> Path:
    path = folder / "farm.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def job(tmp_path: Path) -> Path:
    generator = np.random.default_rng(4)
    for name, shape in (("content.png", (150, 200, 3)), ("style.png", (90, 120, 3))):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "job.yaml").write_text(SMALL)
    return tmp_path / "job.yaml"


def test_machines_and_workers(tmp_path: Path) -> None:
    crew = crew_of(load_farm(farm_file(tmp_path)), 1.44e6)
    assert [worker.machine for worker in crew.workers] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert [machine.link for machine in crew.machines] == [1e8, 1e8, None]
    assert crew.machines[0].latency == 0.002
    assert crew.workers[0].pixel_steps_s == 1e7
    assert crew.workers[8].pixel_steps_s == pytest.approx(0.72e12 / 1.44e6)
    assert crew.workers[8].failures_per_second == pytest.approx(0.001)
    assert len({info.node for info in crew.infos}) == 3
    assert [info.gpu_bytes is None for info in crew.infos] == [False] * 8 + [True]


def test_the_documentation_names_every_key_and_its_default(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "simulate.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(driver:.*?)```", page, re.DOTALL)
    farm = load_farm(farm_file(tmp_path, text))
    assert farm.driver == Driver()
    assert farm.driver.model_fields_set == {*Driver.model_fields}
    assert farm.nodes[0].model_fields_set == {*Node.model_fields} - {"megapixel_steps_s"}
    assert "megapixel_steps_s" in text


def test_the_farm_of_the_documentation(tmp_path: Path) -> None:
    farm = load_farm(ROOT / "docs" / "farm-64-gpus.yaml")
    assert len(crew_of(farm, 1.44e6).workers) == 64


def test_every_mistake_at_once(tmp_path: Path) -> None:
    path = farm_file(
        tmp_path,
        "driver: {link: 1000, disk_mb_s: 0}\n"
        "nodes:\n"
        "  - {name: a, count: none}\n"
        "  - {name: b, tflops: 1, megapixel_steps_s: 2}\n"
        "  - {name: c, tflops: fast, device: tpu}\n"
        "  - {name: d, tflops: 1, joins_after_seconds: -1}\n"
        "cloud: aws\n",
    )
    with pytest.raises(JobError) as caught:
        load_farm(path)
    found = [problem.removeprefix(f"{path}, ") for problem in caught.value.problems]
    assert [problem.split(":")[0] for problem in found] == [
        *["line 1"] * 2,
        *["line 3"] * 2,
        "line 4",
        *["line 5"] * 2,
        "line 6",
        "line 7",
    ]
    text = "\n".join(found)
    assert "'driver.link' is not a key of driver; did you mean 'link_mbit'?" in text
    assert "driver.disk_mb_s must be more than 0, got 0" in text
    assert "nodes.0.count must be a whole number, got 'none'" in text
    assert "nodes.0.megapixel_steps_s is missing; give it, or tflops" in text
    assert "nodes.1.tflops cannot be given together with megapixel_steps_s" in text
    assert "nodes.2.device must be cpu or cuda, got 'tpu'" in text
    assert "'cloud' is not a key of the farm file" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes: []\n", "nodes must have at least 1 entry, got 0"),
        ("driver: {}\n", "nodes is missing; list the farm's machines, each with its speed"),
        ("- 1\n", "does not hold a mapping of keys to values; a farm file has at least nodes"),
        ("", "does not hold a mapping"),
        ("nodes: [3]\n", "nodes.0 must be a mapping with the keys name, count"),
        ("nodes: [{tflops: 1, joins_after_seconds: 5}]\n", "nodes all join after the run begins"),
        ("nodes: [{tflops: 1, tflops: 2}]\n", "tflops"),
    ],
)
def test_other_mistakes(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(JobError) as caught:
        load_farm(farm_file(tmp_path, text))
    (problem,) = caught.value.problems
    assert said in problem


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="does not exist; 'tilefarm simulate --calibrate FILE' writes one"):
        load_farm(tmp_path / "none.yaml")


def test_the_command(tmp_path: Path, job: Path) -> None:
    farm = farm_file(tmp_path)
    shown = CliRunner().invoke(app, ["simulate", str(job), "--farm", str(farm)])
    assert shown.exit_code == 0, shown.output
    for word in ("expected", "on 9 workers", "level 3", "traffic", "busy", "limit"):
        assert word in shown.stdout
    told = CliRunner().invoke(app, ["simulate", str(job), "--farm", str(farm), "--json"])
    record = json.loads(told.stdout)
    assert record["workers"] == 9
    assert record["precision"] == "bfloat16"  # the GPUs decide, not the old machine
    assert record["seconds"] == pytest.approx(
        record["start_seconds"] + sum(level["seconds"] for level in record["levels"]), abs=0.01
    )
    spread = record["with_failures"]
    assert record["seconds"] <= spread["tenth"] <= spread["median"] <= spread["ninetieth"]
    assert record["sent_bytes"] == pytest.approx(
        sum(level["sent_bytes"] for level in record["levels"]), abs=5
    )
    assert 0 < record["busy"]["workers"] <= 1
    assert [level["width"] for level in record["levels"]] == [75, 150, 300]
    assert {change["what"] for change in record["changes"]} >= {"workers", "network", "disk"}


def test_the_same_again_says_the_same(tmp_path: Path, job: Path) -> None:
    arguments = ["simulate", str(job), "--farm", str(farm_file(tmp_path)), "--json"]
    assert CliRunner().invoke(app, arguments).stdout == CliRunner().invoke(app, arguments).stdout


@pytest.mark.parametrize("both", [False, True])
def test_a_farm_or_this_machine(tmp_path: Path, job: Path, both: bool) -> None:
    options = ["--farm", str(farm_file(tmp_path)), "--calibrate", str(tmp_path / "new.yaml")] if both else []
    done = CliRunner().invoke(app, ["simulate", str(job), *options])
    assert done.exit_code == 2
    assert "one of the two" in done.stderr


def test_mistakes_of_the_farm_come_before_any_work(tmp_path: Path, job: Path) -> None:
    (tmp_path / "content.png").unlink()
    done = CliRunner().invoke(app, ["simulate", str(job), "--farm", str(farm_file(tmp_path, "nodes: []\n"))])
    assert done.exit_code == 2
    assert "at least 1 entry" in done.stderr
    assert "content" not in done.stderr


@pytest.mark.parametrize("method", ["feathered", "exact"])
def test_this_machine_is_timed_and_written(
    tmp_path: Path, job: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(this_machine, "VALUES", 2**20)
    monkeypatch.setattr(calibrate, "SECONDS", 0.0)
    path = tmp_path / "mine.yaml"
    settings = ["--set", "compute.workers=2", "--set", f"method={method}", "--set", "tiles.size=64"]
    arguments = ["simulate", str(job), "--calibrate", str(path), *settings, "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    farm = load_farm(path)
    (node,) = farm.nodes
    assert (node.workers, node.device, node.link_mbit) == (2, "cpu", None)
    assert node.megapixel_steps_s is not None
    assert node.megapixel_steps_s > 0
    assert json.loads(done.stdout)["sent_bytes"] == 0  # all stays on the machine
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("tmp")] == []
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
