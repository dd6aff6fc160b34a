"""The commands on a cluster's jobs, through its job server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tilefarm.commands.common import Cluster, Json, Set, fail, note, print_json, tell, told
from tilefarm.errors import TilefarmError

if TYPE_CHECKING:
    from tilefarm.remote.server import JobServer
    from tilefarm.store.keeping import Wish
    from tilefarm.submission import Load

_HINT = "{command} --cluster {address} {name}"


def fetch(
    jobs: Annotated[
        list[Path], typer.Argument(help="Ids of jobs, or the job files themselves.", show_default=False)
    ],
    cluster: Cluster = "auto",
    into: Annotated[
        Path | None,
        typer.Option(
            help="A folder; default: this one, for a job file the one of its output.", show_default=False
        ),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--run", help="Bring the whole run folder, with its canvases.")
    ] = False,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Bring pictures and records of jobs from a cluster to this machine; goes on where it was broken off."""
    from rich.console import Console

    from tilefarm.remote.fetch import fetch as fetch_job

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    shown = -1

    def progress(name: str, here: int, total: int) -> None:
        nonlocal shown
        if total > _QUIET_BYTES and here * 10 // total != shown:
            shown = here * 10 // total
            console.print(f"  {name}: {here / 1e6:.0f} of {total / 1e6:.0f} MB", soft_wrap=True)

    records: list[dict[str, Any]] = []
    with _each_told() as attempt, told():
        server = _connected(cluster or "auto")
        for name, place in _named(jobs, overrides or ()):

            def one(name: str = name, place: Path | None = place) -> None:
                got = fetch_job(server, name, into or place or Path(), whole, progress)
                files = [{"path": str(f.path), "sha256": f.sha256, "bytes": f.size} for f in got]
                records.append({"id": name, "files": files})
                if not as_json:
                    for file in got[:1] if not whole else got:
                        word = "here already" if file.already else "fetched"
                        typer.echo(f"{word} {file.path} ({file.size / 1e6:.1f} MB)")

            attempt(one)
        if as_json:
            print_json(records)


def submit_to(
    cluster: str,
    paths: Sequence[Path],
    load: Load,
    refused: Sequence[str],
    fresh: bool,
    store: Wish | None,
    as_json: bool,
) -> None:
    """Send jobs to a cluster; each run of a sweep is a job of its own there, one after the other.

    All of them are checked before anything is sent.
    """
    from tilefarm.batch import Refusal
    from tilefarm.errors import JobError
    from tilefarm.remote.submit import prepared_bundle, submit

    if refused:
        fail(f"{' and '.join(refused)} cannot go with --cluster, where the work is done elsewhere", 2)
    records = []
    with told():
        problems: list[str] = []
        store = store and _checked(store, problems)
        packed = []
        for path in paths:
            try:
                for entry in load(path).entries:
                    if isinstance(entry, Refusal):
                        raise entry.error
                    packed.append((path, prepared_bundle(entry.job, note)))
            except JobError as error:
                problems += error.problems
        if problems:
            raise JobError(list(dict.fromkeys(problems)))
        server = _connected(cluster)
        for path, bundle in packed:
            done = submit(server, bundle, fresh, _sending, store)
            records.append(
                {"job": str(path), "id": done.name, "cluster": server.address, "outcome": done.outcome}
                | {"bytes_sent": done.bytes_sent}
            )
            if not as_json:
                typer.echo(done.name)
                command = "tilefarm fetch" if done.outcome == "done" else "tilefarm watch"
                hint = _HINT.format(command=command, address=server.address, name=done.name)
                typer.echo(f"{_SAID[done.outcome]}; go on with: {hint}", err=True)
    if as_json:
        print_json(records)


def show_status(cluster: str, jobs: Sequence[Path], as_json: bool) -> None:
    """How jobs stand; all of the cluster's where none is named."""
    from tilefarm.remote.view import all_jobs, described, known, lines

    with told():
        server = _connected(cluster)
        found = [known(server, name) for name, _ in _named(jobs)] if jobs else all_jobs(server)
        if as_json:
            print_json([described(server, job) for job in found])
        else:
            for job in found:
                typer.echo("\n".join(lines(server, job)))
            if not found:
                typer.echo(f"no jobs of tilefarm at {server.address}")


def watch_job(cluster: str, job: Path) -> None:
    """Follow a job in the terminal to its end; the exit code is its driver's. Ctrl-C ends this alone."""
    from rich.console import Console

    from tilefarm.errors import JobError
    from tilefarm.remote.watching import watch
    from tilefarm.report.console import ConsoleReport
    from tilefarm.signals import stopping_on_signals

    with told():
        names = [name for name, _ in _named([job])]
        if len(names) != 1:
            raise JobError(f"{job} stands for {len(names)} jobs; watch one of them: {', '.join(names)}")
        server = _connected(cluster)
        with stopping_on_signals(), ConsoleReport(Console(stderr=True)) as report:
            watch(server, names[0], report)
        hint = _HINT.format(command="tilefarm fetch", address=server.address, name=names[0])
        typer.echo(f"done: {names[0]}; go on with: {hint}", err=True)


def cancel_jobs(cluster: str, jobs: Sequence[Path]) -> None:
    """Stop jobs, whatever becomes of the others."""
    from tilefarm.remote.watching import cancel

    with _each_told() as attempt, told():
        server = _connected(cluster)
        for name, _ in _named(jobs):
            attempt(lambda name=name: typer.echo(cancel(server, name)))  # type: ignore[misc]


_QUIET_BYTES = 64 * 10**6
_SAID = {
    "submitted": "sent, and goes on without this machine",
    "resumed": "goes on where it was, without this machine",
    "running": "is at work there already, and was not started again",
    "done": "is done already, and was not started again",
}


def _connected(cluster: str) -> JobServer:
    from tilefarm.remote.access import find_address, find_token
    from tilefarm.remote.server import JobServer

    return JobServer(find_address(cluster), find_token())


def _checked(store: Wish, problems: list[str]) -> Wish:
    """With the address in its one form. Only the head can tell whether it can be written to from there."""
    from tilefarm.spec.address import parse_address

    try:
        return replace(store, address=str(parse_address(store.address)))
    except ValueError as error:
        problems.append(f"--store {error}")
        return store


def _sending(sent: int, total: int) -> None:
    if total > _QUIET_BYTES:
        typer.echo(f"sent {sent / 1e6:.0f} of {total / 1e6:.0f} MB", err=True)


def _named(arguments: Sequence[Path], overrides: Sequence[str] = ()) -> Iterator[tuple[str, Path | None]]:
    """(id, folder of the output) of what is named by its id, without a folder, or by its job file."""
    from tilefarm.batch import JOB_ENDINGS, load_group

    for argument in arguments:
        if argument.suffix.lower() in JOB_ENDINGS and argument.is_file():
            for job, run in load_group(argument, overrides).runs:
                yield run.name, job.output.path.parent
        else:
            yield argument.name, None


@contextmanager
def _each_told() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Try one after the other; each failure is told, and the first one's exit code is that of all."""
    codes: list[int] = []

    def attempt(act: Callable[[], None]) -> None:
        try:
            act()
        except TilefarmError as error:
            tell(error)
            codes.append(error.exit_code)

    yield attempt
    if codes:
        raise typer.Exit(codes[0])
