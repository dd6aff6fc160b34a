"""What the passes of a farm are made of: calls of its actors, where pieces go, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, TypeVar, cast

import ray

from tilefarm.errors import VectorsLostError
from tilefarm.events import Transferred, WorkEvent
from tilefarm.execute.call import Call, Task, WorkFailedError, given, name_of, returned
from tilefarm.execute.copies import CLEARLY_AT_HOME
from tilefarm.execute.deadlines import Effort
from tilefarm.execute.dispatch import Dispatcher, Errand
from tilefarm.execute.health import Fleet
from tilefarm.execute.homes import IN_FULL, Homes
from tilefarm.execute.protocol import Crews, FullTask, Keep, Keeps, WorkerInfo
from tilefarm.solve.core_tasks import CoreGroup, CoreTask, CropTask, Get, Place, Put
from tilefarm.solve.tasks import PieceTask
from tilefarm.solve.traffic import array_bytes

_Task = TypeVar("_Task")


class Errands:
    """Makes the errands of one farm and has them run."""

    def __init__(self, fleet: Fleet, info: Sequence[WorkerInfo], weights: Any) -> None:
        """`info` by the workers' numbers, which grows with the fleet. `weights`: a reference."""
        self._fleet = fleet
        self._info = info
        self._weights = weights
        self._homes = Homes(fleet.deadlines)
        self.on_work: Callable[[WorkEvent], None] = lambda event: None
        """Told what workers have in hand, and how many bytes are sent and come."""

    def anywhere(
        self, to_call: Callable[[Any], Call], keep: Callable[[WorkerInfo], Keep] | None = None
    ) -> Errand[Any]:
        """Work that any worker can do as well.

        `to_call(task)` is the same call for every task of a pass, but for the task. `keep(worker)` is what a
        worker may keep of pieces.
        """
        shared: list[Any] = []

        def start(worker: int, task: Task) -> Any:
            call = to_call(task)
            self.on_work(Transferred("sent", array_bytes(task)))
            if not shared:
                shared.append(None if call.shared is None else ray.put(call.shared))
                self.on_work(Transferred("sent", array_bytes(call.shared)))
            kept = None if keep is None else keep(self._info[worker])
            call = replace(call, shared=None, keep=kept)
            return self._fleet.actors[worker].do.remote(self._weights, shared[0], call)

        def on_returned(worker: int, task: Task, done: bool) -> None:
            self.on_work(returned(worker, task, to_call(task).pixel_steps if done else 0))

        return Errand(
            start,
            name_of,
            effort=lambda task: to_call(task).effort,
            copy=lambda task: 1.0,
            give_up=lambda task, message, error: WorkFailedError(message, to_call(task), error),
            on_given=lambda worker, task: self.on_work(given(worker, task)),
            on_returned=on_returned,
        )

    def at_home(
        self, to_call: Callable[[PieceTask], Call], keep: Keep | Keeps, full: FullTask | None
    ) -> Errand[PieceTask]:
        """Pieces, which go to the worker that keeps their state, and elsewhere in full."""
        homes, fleet, plain = self._homes, self._fleet, self.anywhere(to_call, keep.of)
        lives: dict[tuple[int, int], int] = {}
        """By piece and worker that has it in hand: the worker's life when it was given."""

        def form(worker: int, task: PieceTask) -> PieceTask:
            life = lives[task.index, worker] = fleet.lives(worker)
            if full is None or _is_full(task) or homes.keeps(task.index, worker, life):
                return task
            return full(task.index)

        def on_returned(worker: int, task: PieceTask, done: bool) -> None:
            life = lives.pop((task.index, worker))
            if done and to_call(task).kind == "piece_sums":
                homes.kept(task.index, worker, life)
            plain.on_returned(worker, task, done)

        return replace(
            plain,
            home=lambda task, members: homes.of(task.index, task.level, to_call(task).effort, members),
            form=form,
            copy=None if full is None else lambda task: 1.0 if _is_full(task) else IN_FULL,
            clearly=CLEARLY_AT_HOME,
            on_returned=on_returned,
        )

    def where_cores_are(
        self, to_call: Callable[[Any], Call], keep: Keep | Keeps, effort: Callable[[Any], Effort]
    ) -> Errand[CoreTask | CoreGroup | CropTask]:
        """Work on what lies with a piece's worker alone: nobody else can do it, be he idle or not.

        `effort(task)` is what the pieces' homes are shared out by.
        """
        return replace(
            self.anywhere(to_call, keep.of),
            home=lambda task, members: self._homes.of(task.index, task.level, effort(task), members),
            copy=None,
            give_up=lambda task, message, error: VectorsLostError(message),
        )

    def by_home(
        self, tasks: Iterable[CoreTask | CropTask], effort: Callable[[Any], Effort]
    ) -> Iterator[CoreTask | CoreGroup | CropTask]:
        """What is nothing but arithmetic goes to each worker in one call: there may be hundreds of cores."""
        listed = iter(tasks)
        first = next(listed, None)
        if first is None:
            return
        if isinstance(first, CropTask) or isinstance(first.action, Put | Get):  # pictures are sent one by one
            yield from chain([first], listed)
            return
        members, groups = self._fleet.members(), dict[int, list[CoreTask]]()
        for task in chain([first], cast(Iterator[CoreTask], listed)):
            home = self._homes.of(task.index, task.level, effort(task), members) if members else 0
            groups.setdefault(home, []).append(task)
        yield from (CoreGroup(tuple(group)) for group in groups.values())

    def share_out(self, places: Sequence[Place], effort: Callable[[Place], Effort]) -> None:
        """Before vectors are handed out: to workers of the same machine go pieces next to each other."""
        members = self._there()
        if members:
            nodes = [self._info[each].node for each in members]
            members = sorted(members, key=lambda each: (nodes.index(self._info[each].node), each))
            self._homes.share_out(places[0].level, [effort(place) for place in places], members)

    def is_uneven(self) -> bool:
        """Whether pieces that were shared out should be shared out anew, by what is known of paces now."""
        return self._homes.is_uneven(self._there())

    def _there(self) -> list[int]:
        """Who may get vectors: a worker that is expected back cannot take any yet."""
        return self._fleet.up() or self._fleet.members()

    def crews(self, places: Sequence[Place], effort: Callable[[Place], Effort]) -> Crews:
        """Where pieces are at home."""
        members = self._fleet.members()
        crews: dict[str, dict[int, list[int]]] = {}
        for place in places if members else ():
            home = self._homes.of(place.index, place.level, effort(place), members)
            crews.setdefault(self._info[home].node, {}).setdefault(home, []).append(place.index)
        return tuple(tuple(map(tuple, machine.values())) for machine in crews.values())

    def balance(self) -> None:
        """Before an evaluation: pieces move where others have become faster, or came, or left."""
        self._homes.balance(self._fleet.members())

    def run(self, errand: Errand[_Task], tasks: Iterable[_Task]) -> Iterator[tuple[_Task, Any, int]]:
        """Every task with its result and number of attempts, as the dispatcher gives them back."""
        for task, result, attempts in Dispatcher(self._fleet, errand).run(tasks):
            self.on_work(Transferred("received", array_bytes(result)))
            yield task, result, attempts


def _is_full(task: PieceTask) -> bool:
    return task.crop is not None and task.content is not None
