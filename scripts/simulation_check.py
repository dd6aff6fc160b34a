"""Small jobs rendered for real beside the same in simulated time: python -m scripts.simulation_check.

Every case times this machine just before it is rendered, and just after; the mean of both simulations counts.
Other programs on the machine make the comparison worthless: then the two are far apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

JOBS = Path(__file__).parents[1] / "jobs"
WITHIN = 0.15
COMMON: dict[str, Any] = {
    "content": str(JOBS / "coffee.jpg"),
    "style": str(JOBS / "strokes.jpg"),
    "objective": {"content_layers": {"relu2_2": 1}, "style_layers": {"relu1_1": 1, "relu2_1": 1}},
}
FEATHERED = {
    "method": "feathered",
    "pyramid": {"iterations": [20]},
    "tiles": {"size": 256, "rounds": 2, "iterations": 5},
}
EXACT = {"method": "exact", "pyramid": {"iterations": [20]}, "tiles": {"size": 256}}


@dataclass(frozen=True)
class Case:
    """One job."""

    name: str
    workers: int
    keys: dict[str, Any]


CASES = tuple(
    Case(f"{name}, {workers} worker{'s' if workers > 1 else ''}", workers, keys)
    for name, keys in (("feathered", FEATHERED), ("exact", EXACT))
    for workers in (1, 2)
)


def main() -> None:
    """Print a table; exit code 1 where a case is further off than it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=640, help="of the pictures, in pixels")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--only", nargs="*", default=[], help="cases whose names contain one of these")
    options = parser.parse_args()
    found = []
    print(
        f"{'case':22} {'simulated':>10} {'measured':>10} {'off':>7}   bytes a pixel, simulated and measured; "
        "simulated before and after"
    )
    for case in CASES:
        if options.only and not any(text in case.name for text in options.only):
            continue
        row = check(case, options.width)
        found.append(row)
        print(
            f"{row['case']:22} {row['simulated']:>8.1f} s {row['measured']:>8.1f} s {row['off']:>+7.0%}   "
            f"{row['simulated_bytes']:.1f} {row['measured_bytes']}   "
            + ", ".join(f"{each:.1f} s" for each in row["simulated_before_and_after"]),
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(any(abs(row["off"]) > WITHIN for row in found))


def check(case: Case, width: int) -> dict[str, Any]:
    """One case: seconds of work, from the first level's beginning to the written picture."""
    with tempfile.TemporaryDirectory(prefix="simulation-check-") as folder:
        place = Path(folder)
        job = place / "job.yaml"
        keys = {"output": {"path": "out.tif", "width": width}, "compute": {"workers": case.workers}}
        job.write_text(yaml.safe_dump({**COMMON, **case.keys, **keys}))
        farms = [place / "before.yaml", place / "after.yaml"]

        def simulated(farm: Path) -> dict[str, Any]:
            found: dict[str, Any] = json.loads(program("simulate", job, "--calibrate", farm, "--json"))
            return found

        before = simulated(farms[0])
        program("submit", job, "--json")
        both = (before, simulated(farms[1]))
        (record,) = (json.loads(path.read_text()) for path in place.glob("runs/*/run.json"))
        seconds = [each["seconds"] - each["start_seconds"] for each in both]
        expected = sum(seconds) / 2
        return {
            "case": case.name,
            "simulated": expected,
            "simulated_before_and_after": seconds,
            "measured": record["seconds"],
            "off": round(expected / record["seconds"] - 1, 4),
            "simulated_levels": [
                sum(level["seconds"] for level in pair) / 2
                for pair in zip(*(each["levels"] for each in both), strict=True)
            ],
            "measured_levels": [level["seconds"] for level in record["levels"]],
            "simulated_bytes": before["levels"][-1]["bytes_per_pixel"],
            "measured_bytes": (record["levels"][-1].get("traffic") or {}).get("bytes_per_pixel"),
            "farms": [yaml.safe_load(farm.read_text()) for farm in farms],
        }


def program(*arguments: object) -> str:
    """Run tilefarm; its standard output."""
    code = "import sys; from tilefarm.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[3:])} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
