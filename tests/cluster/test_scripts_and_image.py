"""The Slurm script, the idle shutdown, the service and the Dockerfile: their form, and what they do."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tilefarm.remote.errand import entrypoint

CLUSTER = Path(__file__).parents[2] / "cluster"
SBATCH = CLUSTER / "slurm" / "tilefarm.sbatch"
IDLE = CLUSTER / "shutdown_when_idle.sh"
DOCKERFILE = CLUSTER / "docker" / "Dockerfile"
SCRIPTS = (SBATCH, IDLE)
DIRECTIVES = {
    "job-name": r"\w+",
    "nodes": r"\d+",
    "ntasks-per-node": "1",
    "exclusive": None,
    "gpus-per-node": r"\d+",
    "time": r"\d\d:\d\d:\d\d",
    "requeue": None,
    "open-mode": "append",
    "signal": r"B:USR1@\d+",
    "output": r"[\w-]+%j\.log",
}
"""Of sbatch, as its manual has them."""
STAND_INS = {
    # notes what it was told, and what the token file was like; then ends as it is told to
    "srun": """
echo "$@" >> "$NOTES/srun"
case "$*" in *symmetric-run*)
    stat -c %a "$RAY_AUTH_TOKEN_PATH" > "$NOTES/mode"
    wc -c < "$RAY_AUTH_TOKEN_PATH" > "$NOTES/length"
    touch "$NOTES/running"
    while [ -e "$NOTES/hold" ]; do read -r -t 0.05 <> "$NOTES/never" || true; done
    exit "$ENDS_WITH";;
esac
""",
    "scontrol": 'echo "$@" >> "$NOTES/scontrol"\n[ "$1" != show ] || printf "first\\nsecond\\n"',
    "pgrep": 'echo "$@" >> "$NOTES/pgrep"\n[ -e "$NOTES/busy" ]',
    "sudo": 'echo "$@" >> "$NOTES/sudo"',
    "date": 'cat "$NOTES/now"',
}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder with stand-ins for programs in bin/, which note here what they were told."""
    (tmp_path / "bin").mkdir()
    for name, body in STAND_INS.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)
    os.mkfifo(tmp_path / "never")
    return tmp_path


def environment(notes: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": f"{notes / 'bin'}:{os.environ['PATH']}",
        "NOTES": str(notes),
        "HOME": str(notes),
        **more,
    }


def said(notes: Path, program: str) -> list[str]:
    path = notes / program
    return path.read_text().splitlines() if path.exists() else []


SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_CPUS_ON_NODE": "8",
}


def start(notes: Path, ends_with: int) -> subprocess.Popen[str]:
    job = notes / "job.yaml"
    job.touch()
    command = ["bash", str(SBATCH), str(job)]
    settings = environment(notes, ENDS_WITH=str(ends_with), **SLURM)
    return subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("code", "again"), [(0, False), (3, True), (4, False), (143, False)])
def test_the_slurm_job_ends_as_tilefarm_does_and_is_queued_again_where_that_helps(
    notes: Path, code: int, again: bool
) -> None:
    with start(notes, code) as job:
        _, errors = job.communicate(timeout=60)
    assert job.returncode == code, errors
    assert ("requeue 4711" in said(notes, "scontrol")) == again


def test_the_slurm_job_starts_a_node_on_each_machine_with_a_token_of_its_own(notes: Path) -> None:
    with start(notes, 0) as job:
        job.communicate(timeout=60)
    (step,) = [line for line in said(notes, "srun") if "symmetric-run" in line]
    assert "--nodes=2 --ntasks=2" in step
    assert "ray symmetric-run --address first:24711 --min-nodes 2 --num-cpus 8" in step
    assert step.endswith(f"-- tilefarm submit {notes / 'job.yaml'} --address first:24711")
    assert said(notes, "mode") == ["600"]
    assert said(notes, "length") == ["64"]
    assert not list(notes.glob(".tilefarm-token-*")), "the token goes with the job"
    assert "rm -rf /tmp/tf-4711" in said(notes, "srun")[-1]


def test_the_slurm_job_is_queued_again_when_its_time_is_up(notes: Path) -> None:
    (notes / "hold").touch()
    with start(notes, 143) as job:
        end = time.monotonic() + 60
        while not (notes / "running").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        job.send_signal(signal.SIGUSR1)
        while "requeue 4711" not in said(notes, "scontrol"):
            assert time.monotonic() < end
            time.sleep(0.02)
        assert job.poll() is None, "it waits until Slurm ends it"
        (notes / "hold").unlink()
        job.communicate(timeout=60)
    assert job.returncode == 143


def test_the_directives_are_sbatchs() -> None:
    lines = SBATCH.read_text().splitlines()
    found = [match for line in lines if (match := re.match(r"#SBATCH --([\w-]+)(?:=(.*))?$", line))]
    assert len(found) == sum(line.startswith("#SBATCH") for line in lines)
    assert {match[1] for match in found} == DIRECTIVES.keys()
    for match in found:
        form = DIRECTIVES[match[1]]
        assert match[2] is None if form is None else re.fullmatch(form, match[2]), match[0]
    first_command = next(number for number, line in enumerate(lines) if line and line[0] != "#")
    assert all(not line.startswith("#SBATCH") for line in lines[first_command:]), "sbatch stops at a command"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_reads_the_script(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_no_complaint(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def idle(notes: Path, role: str, now: int, minutes: int = 10) -> Mapping[str, list[str]]:
    (notes / "now").write_text(str(now))
    settings = environment(notes, TILEFARM_IDLE_STAMP=str(notes / "stamp"))
    subprocess.run([str(IDLE), role, str(minutes)], env=settings, check=True)
    return {program: said(notes, program) for program in ("pgrep", "sudo")}


def test_an_idle_machine_is_shut_down_after_its_minutes(notes: Path) -> None:
    assert idle(notes, "worker", 1000)["sudo"] == []
    assert idle(notes, "worker", 1599)["sudo"] == []
    assert idle(notes, "worker", 1600)["sudo"] == ["shutdown -h now"]


def test_a_busy_machine_is_left_alone_and_its_minutes_begin_anew(notes: Path) -> None:
    idle(notes, "head", 1000)
    (notes / "busy").touch()
    assert idle(notes, "head", 5000)["sudo"] == []
    (notes / "busy").unlink()
    assert idle(notes, "head", 5001)["sudo"] == []
    assert idle(notes, "head", 5601)["sudo"] == ["shutdown -h now"]


@pytest.mark.parametrize(
    ("role", "command", "busy"),
    [
        ("head", "/home/ubuntu/venv/bin/python /home/ubuntu/venv/bin/tilefarm submit job.yaml", True),
        ("head", "tilefarm submit job.yaml", True),
        ("head", f"python{entrypoint('run', '0' * 64).partition('python')[2]}", True),
        ("head", "/bin/sh -c ~/tilefarm/cluster/shutdown_when_idle.sh head 60", False),
        (
            "head",
            "/home/ubuntu/venv/bin/ray start --head --autoscaling-config=ray_bootstrap_config.yaml",
            False,
        ),
        ("worker", "/home/u/venv/lib/python3.12/site-packages/ray/core/src/ray/raylet/raylet --x", True),
        ("worker", "/bin/sh -c ~/tilefarm/cluster/shutdown_when_idle.sh worker 10", False),
    ],
)
def test_what_counts_as_work(notes: Path, role: str, command: str, busy: bool) -> None:
    (pattern,) = {line.removeprefix("-f ") for line in idle(notes, role, 0)["pgrep"]}
    assert bool(re.search(pattern, command)) == busy


def test_the_service_goes_on_only_with_what_can_be_resumed() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string((CLUSTER / "workstation" / "tilefarm@.service").read_text())
    service = unit["Service"]
    assert service["ExecStart"].endswith("/tilefarm submit %f")
    assert service["Restart"] == "no"
    assert service["RestartForceExitStatus"] == "3"
    assert unit["Install"]["WantedBy"] == "default.target"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    return [
        (line.split()[0], line.partition(" ")[2])
        for line in text.splitlines()
        if line and not line.startswith(("#", " "))
    ]


def test_hadolint_has_no_complaint() -> None:
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(["hadolint", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_is_pinned_and_runs_as_nobody_special() -> None:
    found = instructions()
    arguments = dict(text.split("=", 1) for name, text in found if name == "ARG")
    assert re.fullmatch(r"\d+\.\d+\.\d+-slim-\w+", arguments["PYTHON"])
    assert all(text.startswith("python:${PYTHON}") for name, text in found if name == "FROM")
    last_stage = found[max(number for number, (name, _) in enumerate(found) if name == "FROM") :]
    users = [text for name, text in last_stage if name == "USER"]
    assert users == ["1000"]
    assert all("pip" not in text for name, text in last_stage if name == "RUN"), "built in the first stage"
    assert not [name for name, _ in found if name == "ADD"]
    assert "RAY_AUTH_MODE=token" in " ".join(text for name, text in last_stage if name == "ENV")


def test_what_is_copied_is_all_that_the_build_is_sent() -> None:
    copied = {
        source
        for name, text in instructions()
        if name == "COPY" and not text.startswith("--from")
        for source in text.split()[:-1]
    }
    lines = (CLUSTER / "docker" / "Dockerfile.dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied
    assert all((CLUSTER.parent / name).exists() for name in copied)


def test_scripts_can_be_run() -> None:
    assert IDLE.stat().st_mode & stat.S_IXUSR
