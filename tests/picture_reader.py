"""Reads pictures as a job would, within bounds that end the process.

python tests/picture_reader.py FOLDER BYTES SECONDS

Prints a JSON line for each file: a first one when it is begun, so that a crash names the file.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import tempfile
from pathlib import Path

from tilefarm.errors import JobError
from tilefarm.execute.process import peak_rss
from tilefarm.geometry import Box, Size
from tilefarm.image.decode import check_decodes, inspect
from tilefarm.image.resize import write_content


def main() -> None:
    folder, most_bytes, most_seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, also where a library never returns
    with tempfile.TemporaryDirectory() as scratch:
        for path in sorted(folder.iterdir()):
            _tell(file=path.name, result="begun")
            signal.setitimer(signal.ITIMER_PROF, most_seconds)
            result, text = _read(path, Path(scratch) / "canvas.raw")
            signal.setitimer(signal.ITIMER_PROF, 0)
            _tell(file=path.name, result=result, text=text, peak=peak_rss())


def _read(path: Path, target: Path) -> tuple[str, str]:
    try:
        info = inspect(path, "content")
        check_decodes(info)
        write_content(info, Box.of(info.size), Size(16, 12), target)
    except JobError as error:
        return "sentence", str(error)
    except Exception as error:  # noqa: BLE001  # what the test is about
        return "traceback", f"{type(error).__name__}: {error}"
    return "picture", str(info.size)


def _tell(**record: object) -> None:
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
