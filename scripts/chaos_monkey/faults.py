"""What can happen to a run, drawn from a round's own random numbers."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

StrikeKind = Literal["kill", "term", "full", "worker", "hang"]
DamageKind = Literal["flip", "cut", "remove"]
When = Literal["event", "file", "time"]

STRIKES: tuple[StrikeKind, ...] = ("kill", "term", "full")
REAL_STRIKES: tuple[StrikeKind, ...] = (*STRIKES, "worker", "hang")
"""With workers that are processes of their own."""
DAMAGES: tuple[DamageKind, ...] = ("flip", "cut", "remove")
ALL_FAULTS = (*REAL_STRIKES, *DAMAGES)
_MOST_DISTURBED = 5
_SHARE_OF_DAMAGE = 0.35
_VITAL = ("journal.jsonl", "state.json")
_LEAST_ROOM, _MOST_ROOM = 1 << 6, 1 << 20


@dataclass(frozen=True)
class Usual:
    """What an undisturbed run takes: the range that moments are drawn from."""

    events: int
    files: int
    """Operations on files of the run folder."""
    seconds: float
    work: int
    """Tiles solved, or passes over pieces."""
    in_flight: int
    """Of these, the most that one killed driver may cost."""


@dataclass(frozen=True)
class Strike:
    """What happens while a driver works."""

    kind: StrikeKind
    when: When
    at: float
    """The number of the event or file operation, counted from 1 in each session; or seconds."""
    room: int = 0
    """For a full disk: the bytes that are left."""

    def __str__(self) -> str:
        moment = f"{self.at:.2f}s" if self.when == "time" else f"{self.when} {self.at:.0f}"
        left = f" ({self.room} bytes left)" if self.kind == "full" else ""
        return f"{self.kind} at {moment}{left}"


@dataclass(frozen=True)
class Damage:
    """What happens to a file between two sessions."""

    kind: DamageKind
    file: float
    """Which of the files in order of name, 0..1."""
    spot: float
    """Where in it, 0..1."""
    bit: int
    vital: bool
    """Whether it hits one of the small files that all depends on, where there are any."""


def draw_strikes(
    chance: random.Random, usual: Usual, kinds: Collection[str], moments: tuple[When, ...]
) -> list[Strike]:
    """One for each disturbed session of a round."""
    known = [kind for kind in REAL_STRIKES if kind in kinds]
    strikes = []
    for _ in range(chance.randint(1, _MOST_DISTURBED) if known else 0):
        kind: StrikeKind = chance.choice(known)
        when = chance.choice(moments)
        most = {"event": usual.events, "file": usual.files, "time": usual.seconds}[when]
        at = chance.uniform(0, most) if when == "time" else chance.randint(1, max(1, int(most)))
        room = int(_LEAST_ROOM * (_MOST_ROOM / _LEAST_ROOM) ** chance.random())
        strikes.append(Strike(kind, when, at, room))
    return strikes


def draw_damage(chance: random.Random, kinds: Collection[str]) -> Damage | None:
    """What is done to the folder after a session; mostly nothing."""
    known = [kind for kind in DAMAGES if kind in kinds]
    if not known or chance.random() >= _SHARE_OF_DAMAGE:
        return None
    return Damage(
        chance.choice(known), chance.random(), chance.random(), chance.randrange(8), chance.random() < 0.4
    )


def inflict(damage: Damage, files: list[Path], root: Path) -> tuple[str, Path | None]:
    """Do it; what was done in words, and the file, None where there is none to damage."""
    if not files:
        return "", None
    vital = [path for path in files if path.name in _VITAL] if damage.vital else []
    files = vital or files
    path = files[int(damage.file * len(files))]
    size = path.stat().st_size
    name, spot = path.relative_to(root), int(damage.spot * size)
    if damage.kind == "remove" or size == 0:
        path.unlink()
        return f"remove {name}", path
    with path.open("r+b") as file:
        if damage.kind == "cut":
            file.truncate(spot)
            return f"cut {name} to {spot} of {size}", path
        file.seek(spot)
        value = file.read(1)[0]
        file.seek(spot)
        file.write(bytes([value ^ (1 << damage.bit)]))
    return f"flip bit {damage.bit} of {name}:{spot}", path
