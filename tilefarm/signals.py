"""Ctrl-C, SIGTERM and a closed terminal: the first ends the run in order, the second at once.

Python runs a signal's handler in the main thread, between two of its own instructions. A call into compiled
code (an export by libvips, a convolution, Ray's start) keeps it waiting, and a callback from such code drops
what the handler raises. So a second thread learns of the signal too, from the system itself, and ends the
process when the orderly way takes too long. That is safe: a run can be killed at any moment.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tilefarm.errors import StoppedError

GRACE_SECONDS = 2.0
"""How long the orderly way may take."""
_LAST_SECONDS = 0.5
"""How long the last words may take."""
_SHOW_CURSOR = "\x1b[?25h\n"

LastWords = Callable[[StoppedError], str]
"""Says how to go on, for an end that leaves no time for anything else."""


@contextmanager
def stopping_on_signals(last_words: LastWords = lambda stop: "") -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP raise StoppedError in the main thread.

    Where the block has not ended `GRACE_SECONDS` later, or a second signal comes, the process ends with the
    exit code 128 + the first signal's number, after `last_words`, called in another thread then. SIGHUP stays
    ignored where it is (nohup). Blocks can be nested: the outermost counts, with the innermost's words.
    """
    global _watch
    outer = _watch
    if outer is not None:
        before, outer.last_words = outer.last_words, last_words
        try:
            yield
        finally:
            outer.last_words = before
        return
    _watch = _Watch(last_words)
    try:
        with _watch:
            yield
    finally:
        _watch = None


def stop_behind(error: BaseException) -> StoppedError | None:
    """The signal that an error goes back to, if any.

    A signal's StoppedError can surface inside compiled code and come out as something else: Ray's wait
    makes a SystemError of it when its own answer is there at the same moment.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, StoppedError):
        cause = cause.__cause__ or cause.__context__
    return cause


class _Watch:
    def __init__(self, last_words: LastWords) -> None:
        self.last_words = last_words
        self._stopping = False
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)

    def __enter__(self) -> None:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._stop) for number in numbers}
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._writer.close()  # the thread reads to the end
        self._thread.join()
        self._reader.close()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._stopping:  # the second is the thread's
            self._stopping = True
            raise _stopped(number)

    def _run(self) -> None:
        """Wait for a signal, and then for the block's end; no byte more means that it has come."""
        number = self._next(None)
        if number is not None and self._next(GRACE_SECONDS) is not None:
            self._end(number)

    def _next(self, seconds: float | None) -> int | None:
        """The next signal's number, None at the block's end, 0 after so many seconds without either."""
        self._reader.settimeout(seconds)
        try:
            while received := self._reader.recv(1):
                if received[0] in self._previous:  # else one that somebody else handles
                    return received[0]
        except TimeoutError:
            return 0
        return None

    def _end(self, number: int) -> None:
        timer = threading.Timer(_LAST_SECONDS, os._exit, [128 + number])
        timer.daemon = True
        timer.start()
        stop = _stopped(number)
        lines = [str(stop)]
        with suppress(Exception):  # nothing may keep the process from its end
            lines.append(self.last_words(stop))
        shown = "".join(f"{line}\n" for line in lines if line)
        with suppress(OSError):
            os.write(2, ((_SHOW_CURSOR if os.isatty(2) else "") + shown).encode(errors="replace"))
        os._exit(128 + number)


_watch: _Watch | None = None


def _stopped(number: int) -> StoppedError:
    return StoppedError(f"stopped by {signal.Signals(number).name}", number)
