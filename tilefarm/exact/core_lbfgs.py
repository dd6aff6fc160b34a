"""L-BFGS whose vectors lie with the workers: the steps of `lbfgs`, kept on the driver's disk now and then.

A worker that goes takes its cores with it. All then go back to what was kept last and do the same again: the
picture is the same. Keeping costs the link of the driver, so it is done the more seldom the longer it takes;
where workers go faster than anything can be kept, the vectors come back into the driver's files for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tilefarm.canvas.vectors import FileVectors
from tilefarm.errors import VectorsLostError
from tilefarm.exact.cores import CoreVectors
from tilefarm.exact.evaluate_cores import CoreEvaluator
from tilefarm.exact.lbfgs import FileLbfgs, LbfgsState

KEEP_SHARE = 0.05
"""Of the time may go into keeping."""
MOST_LOSSES = 3
"""In a row, without anything kept in between."""


class CoreLbfgs(FileLbfgs):
    """`FileLbfgs` on `CoreVectors`."""

    def __init__(
        self,
        folder: Path,
        vectors: CoreVectors,
        history: int,
        evaluate: CoreEvaluator,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tell` gets a sentence where steps are done again, or the vectors come back for good."""
        super().__init__(folder, vectors, history, evaluate)
        self._cores: CoreVectors | None = vectors
        self._evaluator = evaluate
        self._evaluator.vectors = vectors
        self._tell = tell
        self._clock = clock
        self._losses = 0
        self._changed: set[str] = set()
        """Vectors that differ from their files."""
        self._kept_at, self._keeping = clock(), 0.0
        self._handed_at, self._handing = self._kept_at, 0.0
        vectors.on_traffic = self.count_traffic

    def start(self, write_point: Callable[[Path], None]) -> None:
        """Begin at the point that `write_point` writes into the given file, with one evaluation."""

        def write_and_hand_out(path: Path) -> None:
            write_point(path)
            if self._cores is not None:
                self._evaluator.forget()
                self._cores.hand_out([path])
                self._cores.combine(path, [(1.0, path)])  # the neighbours get their parts

        while True:
            try:
                super().start(write_and_hand_out)
                return
            except VectorsLostError as error:
                self._count_loss(error)

    def resume(self) -> bool:
        """Take up what was kept; False where there is nothing, or a file is not as it was kept."""
        while super().resume():
            self._changed.clear()
            if self._cores is None:
                return True
            try:
                self._hand_out(self._cores)
            except VectorsLostError as error:
                self._count_loss(error)
            else:
                return True
        return False

    def step(self) -> bool:
        """One evaluation: a step, or a rollback; or, where a worker is gone, a way back to what was kept."""
        try:
            self._welcome()
            return super().step()
        except VectorsLostError as error:
            self._go_back(error)
        return True

    def keep(self) -> bool:
        """Bring what has changed into the files, and commit it."""
        if self._cores is None or not self._changed:
            return True
        try:
            self._keep(self._cores)
        except VectorsLostError as error:
            self._go_back(error)
            return False
        return True

    def _keep(self, cores: CoreVectors) -> None:
        begin = self._clock()
        files = self._files(self.state)
        fresh = [path for path in files if path.name in self._changed]
        for path in fresh:
            cores.bring(path, self._beside(path))
        self._commit_beside(self._counted(self.state), fresh)
        self._changed.clear()
        self._losses = 0
        self._kept_at = self._clock()
        self._keeping = self._kept_at - begin

    def _commit(self, state: LbfgsState, changed: Sequence[Path]) -> None:
        if self._cores is None:
            super()._commit(state, changed)
            return
        self._state = self._counted(state)
        self._changed.update(path.name for path in changed)
        due = self._kept_at + self._keeping / KEEP_SHARE
        if state.iteration == 0 or self._clock() >= due:
            self._keep(self._cores)

    def _welcome(self) -> None:
        """Where workers have joined, or shares do not fit their paces, hand out the vectors anew.

        Like keeping it is done the more seldom the longer it takes.
        """
        due = self._handed_at + self._handing / KEEP_SHARE
        if self._cores is None or not self._cores.should_move() or self._clock() < due:
            return
        begin = self._clock()
        if self._changed:
            self._keep(self._cores)
        self._hand_out(self._cores)
        self._handed_at = self._clock()
        self._handing = self._handed_at - begin

    def _hand_out(self, cores: CoreVectors) -> None:
        self._evaluator.forget()
        cores.hand_out(self._files(self.state))

    def _go_back(self, error: Exception) -> None:
        """To what was kept."""
        before = _tried(self.state)
        self._count_loss(error)
        if not self.resume():
            raise error
        self._tell(f"{error}; the optimizer goes back from step {before} to {_tried(self.state)}")

    def _count_loss(self, error: Exception) -> None:
        """Where it is one too many, the vectors stay with the driver from now on.

        Raises `error` where that would not help either.
        """
        self._losses += 1
        if self._cores is None:
            raise error
        if self._losses >= MOST_LOSSES:
            self._vectors = FileVectors(self._evaluator.cut)
            self._cores = self._evaluator.vectors = None
            self._tell(f"{error}; from now on the optimizer's vectors stay with the driver")


def _tried(state: LbfgsState) -> int:
    """Steps, those that were taken back included."""
    return state.iteration + state.rollbacks
