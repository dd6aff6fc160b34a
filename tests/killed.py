"""A render in a process of its own that kills itself: python -c KILLED JOB N, at its Nth event."""

from __future__ import annotations

KILLED = """
import os, signal, sys
from pathlib import Path
from tilefarm.driver import render, run_folder
from tilefarm.execute.open import ExecutorChoice
from tilefarm.spec.load import load_job

job = load_job(Path(sys.argv[1]))
left = int(sys.argv[2])

def listen(event):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

render(job, run_folder(job, Path(sys.argv[1]).parent / "runs"), ExecutorChoice("local"), listen)
"""
