"""Asking every actor of a farm once, while some of them may just be started again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError

from tilefarm.execute.health import is_loss


def answers_of_all(actors: Sequence[Any], ask: Callable[[Any], Any], seconds: float) -> tuple[Any, ...]:
    """What each actor answers to `ask(actor)`, a reference; in their order.

    An actor whose process ends is asked again, since Ray starts it again. After `seconds` the last such loss
    is raised, or GetTimeoutError where there was none; at once ActorDiedError, of an actor that is started no
    more, and what an actor raised.
    """
    end = time.monotonic() + seconds
    error: Exception = GetTimeoutError("not all actors have answered")
    asked = {ask(actor): number for number, actor in enumerate(actors)}
    answers: dict[int, Any] = {}
    while asked:
        ready = ray.wait([*asked], timeout=max(0.0, end - time.monotonic()))[0]
        if not ready:
            raise error
        number = asked.pop(ready[0])
        try:
            answers[number] = ray.get(ready[0])
        except RayError as loss:
            if not is_loss(loss) or isinstance(loss, ActorDiedError) or time.monotonic() > end:
                raise
            error = loss
            asked[ask(actors[number])] = number
    return tuple(answers[number] for number in range(len(actors)))
