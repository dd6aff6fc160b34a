"""The Slurm script with `ray symmetric-run` on two machines; Slurm's programs alone are stood in for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.network.clusters import ROOT, environment
from tests.network.lab import DATA, Lab, why_not
from tests.network.work import OUTPUT, write_job

SCRIPT = ROOT / "cluster" / "slurm" / "tilefarm.sbatch"
CORES = 1
METHOD = "feathered"
SRUN = """#!/bin/bash
# Runs a command on all machines at once; ends as the worst of them does.
while [[ $1 == --* ]]; do shift; done
code=0
programs=() hasty=()
for first in $FIRST_PROCESSES; do
    nsenter --target "$first" --all --wd=/ env "${hasty[@]}" "$@" &
    programs+=($!)
    hasty=(RAY_gcs_rpc_server_reconnect_timeout_s=5)  # else it waits a minute for a head that has ended
done
for program in "${programs[@]}"; do wait "$program" || code=$?; done
exit "$code"
"""
SCONTROL = '#!/bin/bash\n[ "$1" = show ] && printf "%s\\n" $ADDRESSES\n'
SECONDS = 600


def test_a_job_on_two_machines_ends_with_the_picture_of_one(
    tmp_path: Path, alone: Callable[[str], bytes]
) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    job = write_job(tmp_path / "shared", METHOD)
    programs, home = tmp_path / "programs", tmp_path / "home"
    for folder in (programs, home):
        folder.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    with Lab() as lab:
        machines = [lab.add("first"), lab.add("second")]
        slurm = {
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NUM_NODES": str(len(machines)),
            "SLURM_JOB_NODELIST": "machine[1-2]",
            "SLURM_CPUS_ON_NODE": str(CORES),
            "FIRST_PROCESSES": " ".join(str(machine.first) for machine in machines),
            "ADDRESSES": " ".join(machine.address for machine in machines),
            "TILEFARM_SCRATCH": str(DATA),
            "HOME": str(home),
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            ["bash", SCRIPT, job],
            env=environment() | slurm,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        left = [[process.name() for process in machine.processes()] for machine in machines]
        folders = [list(machine.disk.glob("tf-*")) for machine in machines]
    assert done.returncode == 0, done.stdout
    assert "2 workers" in done.stdout
    assert (job.parent / OUTPUT).read_bytes() == alone(METHOD)
    assert left == [[], []], "Ray's processes end with the job"
    assert folders == [[], []], "and its files go"
    assert not list(home.glob(".tilefarm-token-*"))
