"""The nodes of a cluster, looked at now and then while the farm works: some join, others leave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from tilefarm.execute.layout import Layout, Node, Slot, lay_out, more

LOOK_SECONDS = 2.0


class Roll:
    """What there is, and what of it the job wants."""

    def __init__(self, nodes: Callable[[], list[Node]], device: str, workers: int | None) -> None:
        """`nodes` asks the cluster; for `device` and `workers` see `lay_out`."""
        self._nodes = nodes
        self._device = device
        self._workers = workers
        self._asked_at = time.monotonic()
        self._asking: threading.Thread | None = None
        self._told: list[Node] | None = None

    def first(self) -> Layout:
        """Places on the nodes that are there now. Raises ResourceError where these are too few."""
        return lay_out(self._nodes(), self._device, self._workers)

    def news(self) -> list[Node] | None:
        """The nodes, as they were a moment ago; None where nobody has asked since the last answer.

        They are asked in a thread: the head may be slow to answer, or cut off, and nobody waits for it.
        """
        now = time.monotonic()
        if self._asking is not None:
            if self._asking.is_alive():
                return None
            self._asking, told, self._told = None, self._told, None
            return told
        if now - self._asked_at >= LOOK_SECONDS:
            self._asked_at = now
            self._asking = threading.Thread(target=self._ask, name="nodes", daemon=True)
            self._asking.start()
        return None

    def more(self, nodes: Sequence[Node], there: Iterable[tuple[Slot, bool]]) -> Layout:
        """Places for workers beside those `there`; see `layout.more`."""
        return more(nodes, self._device, self._workers, there)

    def _ask(self) -> None:
        with suppress(Exception):  # the head does not answer: it is asked again
            self._told = self._nodes() or None
