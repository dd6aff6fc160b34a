"""Dying on purpose: the places where a driver commits something, by name.

A test sets the environment variable TILEFARM_FAULT to POINT or POINT:N, and the process kills itself when it
comes to that point for the Nth time, as `kill -9` would. Without the variable nothing happens.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

VARIABLE = "TILEFARM_FAULT"

POINTS = (
    "file: synced",
    "file: renamed",
    "journal: created",
    "started: line written",
    "started: line synced",
    "level: line written",
    "level: line synced",
    "tile: line written",
    "tile: line synced",
    "round: line written",
    "round: line synced",
    "exported: line written",
    "exported: line synced",
    "job: replaced",
    "inputs: replaced",
    "plan: replaced",
    "summary: replaced",
    "level: content written",
    "level: styles written",
    "level: canvas written",
    "level: targets saved",
    "level: means enlarged",
    "level: content removed",
    "level: preview written",
    "snapshot: written",
    "tiles: reserved",
    "tiles: written",
    "tiles: synced",
    "blend: strip written",
    "blend: synced",
    "blend: means blended",
    "exact: gradient reserved",
    "exact: piece added",
    "exact: vectors changed",
    "exact: vectors synced",
    "exact: cores brought",
    "exact: next state written",
    "exact: vectors replaced",
    "exact: state replaced",
    "exact: canvas copied",
    "exact: canvas replaced",
    "exact: means replaced",
    "exact: optimizer to be removed",
    "exact: optimizer removed",
    "export: canvas coloured",
    "export: picture written",
    "export: picture checked",
    "export: picture replaced",
    "export: slots removed",
    "deliver: compared",
    "deliver: renamed",
    "deliver: recorded",
    "finish: losses drawn",
    "finish: animation written",
    "finish: animation replaced",
    "finish: animation recorded",
)
"""Every point that there is. `file` is any file that is replaced: complete beside its place, then in it."""

_passed: Counter[str] = Counter()


def reached(point: str) -> None:
    """Die here if that is asked for."""
    order = os.environ.get(VARIABLE)
    if order is None:
        return
    wanted, number = parse(order)
    _passed[point] += 1
    if point == wanted and _passed[point] == number:
        os.kill(os.getpid(), signal.SIGKILL)


def parse(order: str) -> tuple[str, int]:
    """POINT or POINT:N as the point and N, from 1. Raises ValueError where there is no such point."""
    point, _, number = order.rpartition(":")
    if not number.isdigit():
        point, number = order, "1"
    if point not in POINTS:
        raise ValueError(f"{VARIABLE} names {point!r}, which is no point of tilefarm.faults")
    return point, int(number)
