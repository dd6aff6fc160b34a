"""The evaluation of `evaluate` for a point whose cores lie with the workers: crops are put together there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tilefarm.canvas.total_variation import mean_variation
from tilefarm.exact.cores import CoreVectors, halo_bytes, received, unlost
from tilefarm.exact.evaluate import Held, WholeEvaluator
from tilefarm.solve.core_tasks import CoreDone, CropSums, CropTask, Variation
from tilefarm.solve.tasks import Derivatives
from tilefarm.solve.traffic import Traffic, array_bytes
from tilefarm.solve.whole import WholeSums


class CoreEvaluator(WholeEvaluator):
    """Loss and gradient of a vector of `CoreVectors`: the same numbers as of a file.

    With `vectors` None it is what it is derived from.
    """

    vectors: CoreVectors | None = None
    _horizontal = _vertical = 0.0

    def forget(self) -> None:
        """Pieces may be elsewhere now, with workers that have nothing: everything is sent again."""
        self._held = Held()

    def _sum(self, point: Path, again: bool) -> None:
        """Pass 1."""
        if self.vectors is None:
            super()._sum(point, again)
            return
        self.sums, held = WholeSums(), Held()
        self._evaluation += 1
        count, found = len(self._picture.pieces), list[CropSums]()
        tasks = self._crop_tasks(self.vectors, point, self._held.contents, "sums_out", first=True)
        answers: Iterator[CropSums] = unlost(self._executor.with_cores(self._settings, tasks, self._keep))
        for answer in answers:
            self.on_gone_wrong(answer.sums.gone_wrong)
            self._check(answer.is_finite, again)
            self._note_kept(answer.sums, held)
            found.append(answer)
            self._on_piece(len(found), 2 * count)
        self._held = held
        self._add_up(self.vectors, sorted(found, key=lambda each: each.index))

    def _add_up(self, vectors: CoreVectors, parts: Sequence[CropSums]) -> None:
        """Numbers here, in the order of the pieces; the styles where they are."""
        self._horizontal = self._vertical = 0.0
        for part in parts:
            self.sums.count(part.sums)
            self._horizontal += part.horizontal  # not by sum(), which rounds otherwise from Python 3.12 on
            self._vertical += part.vertical
        self.sums.branches, handed = vectors.joined(self._evaluation)
        one = array_bytes(self.sums.branches[0].styles)
        self.traffic += Traffic(
            sums_back=len(self.sums.branches) * one, between=halo_bytes(vectors.halos) + handed * one
        )

    def _total_variation(self, point: Path) -> float:
        if self.vectors is None:
            return super()._total_variation(point)
        return mean_variation(self._horizontal, self._vertical, self._picture.size)

    def _add_gradients(self, point: Path, gradient: Path, slopes: Derivatives, again: bool) -> None:
        """Pass 2: every piece's gradient, added up where its pixels are at home."""
        if self.vectors is None:
            super()._add_gradients(point, gradient, slopes, again)
            return
        count, vectors = len(self._picture.pieces), self.vectors
        self._count_slopes(slopes)
        contents = self._held.graphs | self._held.contents
        tasks = self._crop_tasks(vectors, point, contents, "gradients_out", first=False)
        given: list[CoreDone] = []
        answers: Iterator[CoreDone] = unlost(
            self._executor.with_cores(self._settings, tasks, self._keep, slopes)
        )
        for done in answers:
            self._check(done.is_finite, again)
            given.append(done)
            self._on_piece(count + len(given), 2 * count)
        parts = received(given, vectors.shares)
        weight = self._variation_weight
        size, exponent = self._picture.size, self._settings.tv_exponent
        variation = Variation(size, weight, exponent) if weight else None
        for _ in vectors.collect(gradient, parts, variation):
            pass
        self.traffic += Traffic(between=halo_bytes(vectors.shares))

    def _add_variation(self, point: Path, gradient: Path) -> None:
        if self.vectors is None:
            super()._add_variation(point, gradient)

    def _crop_tasks(
        self, vectors: CoreVectors, point: Path, contents: set[int], way: str, *, first: bool
    ) -> Iterator[CropTask]:
        everything = set(range(len(self._picture.pieces)))
        for task in self._counted(self._tasks(point, everything, contents, vectors.turns()), way):
            place = vectors.place(task.index)
            yield CropTask(
                place=place,
                # What is kept belongs to the session: pieces may move in the next. Gradients go nowhere.
                piece=replace(task, level=f"{task.level}, {place.session}", coding="float32"),
                point=point.stem,
                crop=self._picture.pieces[task.index].crop,
                reach=vectors.reaches[task.index],
                parts=vectors.parts(point)[task.index] if first else (),
                boxes=() if first else tuple(box for _, box in vectors.shares[task.index]),
                has_graph=not first and task.index in self._held.graphs,
            )
