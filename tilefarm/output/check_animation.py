"""Whether the animation can be made and written, asked before hours of work."""

from __future__ import annotations

from tilefarm.errors import JobError
from tilefarm.output.check_target import check_place
from tilefarm.output.mp4 import missing_encoder
from tilefarm.spec.making import Animation


def check_animation(animation: Animation, levels: int) -> None:
    """Raises JobError with all problems: no such level, no encoder, no place to write to."""
    problems = []
    if animation.level != "all" and animation.level > levels:
        has = f"has {levels} levels" if levels > 1 else "has one level"
        problems.append(f"animation.level: the picture {has}, got {animation.level}; 'all' shows every one")
    if animation.format == "mp4" and (missing := missing_encoder()) is not None:
        problems.append(f"animation.path: {animation.path.name} {missing}")
    try:
        check_place(animation.path, "animation.path")
    except JobError as error:
        problems += error.problems
    if problems:
        raise JobError(problems)
