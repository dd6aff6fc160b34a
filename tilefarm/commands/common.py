"""What the commands share: options, and how mistakes and records reach the user."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from tilefarm.errors import JobError, StoppedError, TilefarmError
from tilefarm.files import telling_when_forbidden, telling_when_full
from tilefarm.spec.address import Address as Destination


class ExecutorKind(str, Enum):
    """Where tiles are solved."""

    ray = "ray"
    local = "local"


Runs = Annotated[list[Path], typer.Argument(help="Run folders.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the job, for example tiles.size=256."),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="IMAGE",
        help="A picture that tilefarm made, to render it again.",
        show_default=False,
    ),
]
RunDirOption = Annotated[
    Path | None,
    typer.Option("--run-dir", help="Where run folders are kept; default: 'runs' beside the job file."),
]
Address = Annotated[
    str | None, typer.Option(help="A running Ray cluster, HOST:PORT or auto; default: this machine alone.")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Jobs on a cluster: its job server, http://HOST:8265, or auto (TILEFARM_CLUSTER).",
    ),
]
ExecutorOption = Annotated[ExecutorKind, typer.Option("--executor", help="ray, or local: without Ray.")]
StoreAddress = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="TILEFARM_STORE",
        metavar="ADDRESS",
        help="Keep a copy of the run folder there, s3://bucket/runs, and go on from it on another machine.",
    ),
]
StoreEvery = Annotated[
    float, typer.Option("--store-every", min=0.1, help="Minutes between copies of an optimizer's state.")
]
StoreRate = Annotated[
    float, typer.Option("--store-rate", min=0.1, help="Most MiB a second that copies may take.")
]
Profile = Annotated[str | None, typer.Option(help="srgb, display-p3, adobe-rgb or an ICC file.")]
Intent = Annotated[str | None, typer.Option(help="relative, perceptual, saturation or absolute.")]
Compression = Annotated[str | None, typer.Option(help="TIFF: deflate, lzw, zstd or none.")]
Quality = Annotated[int | None, typer.Option(help="JPEG, WebP: 1 to 100.")]
Log = Annotated[
    Path | None,
    typer.Option(
        "--log", help="Append the events of all runs to this file; default: TILEFARM_LOG.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on standard output.")]


@contextmanager
def told() -> Iterator[None]:
    """A user's mistake, a full disk, or what is another user's, becomes its sentences and its exit code."""
    try:
        with telling_when_full(), telling_when_forbidden():
            yield
    except TilefarmError as error:
        tell(error)
        raise typer.Exit(error.exit_code) from None


def tell(error: TilefarmError) -> None:
    """Say an error's sentences on standard error."""
    problems = error.problems if isinstance(error, JobError) else (str(error),)
    prefix = "" if isinstance(error, StoppedError) else "error: "
    for problem in problems:
        typer.echo(f"{prefix}{problem}", err=True)


def note(sentence: str) -> None:
    """Say what the user may want to know, on standard error."""
    typer.echo(f"note: {sentence}", err=True)


def fail(sentence: str, code: int) -> None:
    """Say one sentence and end with an exit code."""
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(code)


def one_of(jobs: Path | list[Path] | None, image: Path | None) -> None:
    """A job file, or the picture of --from: wrong usage where there is neither, or both."""
    if not jobs and image is None:
        raise typer.BadParameter("name a job file, or a picture with --from IMAGE")
    if jobs and image is not None:
        raise typer.BadParameter("--from names the picture that the job is in; leave the job file out")


def told_of(path: Path, address: Destination | None) -> None:
    """Say that a file was written, and send it where it has an address."""
    typer.echo(f"wrote {path}")
    if address is not None:
        from tilefarm.store.deliver import deliver

        deliver(path, address)
        typer.echo(f"sent to {address}")


def print_json(record: Any) -> None:
    """A record on standard output."""
    sys.stdout.write(json.dumps(record, indent=2) + "\n")
