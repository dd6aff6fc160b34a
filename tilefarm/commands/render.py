"""The commands that paint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tilefarm.commands.common import (
    Address,
    ExecutorKind,
    ExecutorOption,
    From,
    Json,
    RunDirOption,
    Runs,
    Set,
    fail,
    note,
    one_of,
    print_json,
    tell,
)
from tilefarm.execute.open import ExecutorChoice

if TYPE_CHECKING:
    from tilefarm.batch import Group
    from tilefarm.submission import Load, Manner

Jobs = Annotated[list[Path] | None, typer.Argument(help="Job files, or folders of them.", show_default=False)]


def submit(
    jobs: Jobs = None,
    image: From = None,
    overrides: Set = None,
    run_dir: RunDirOption = None,
    address: Address = None,
    executor: ExecutorOption = ExecutorKind.ray,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew; what was there is kept as NAME-HASH.old-1, -2 ...")
    ] = False,
    as_json: Json = False,
) -> None:
    """Render jobs, sweeps and folders of jobs, one after the other. The same again goes on where it was.

    A job that another process renders is followed; Ctrl-C then ends the following alone. With
    --from IMAGE the job is the one that the picture was made by, found in the picture itself.
    """
    from tilefarm.batch import load_group
    from tilefarm.submission import Manner

    def load(path: Path) -> Group:
        return load_group(path, overrides or (), run_dir)

    def load_from(path: Path) -> Group:
        from tilefarm.rerender import load_again

        return load_again(path, overrides or (), run_dir, note)

    one_of(jobs, image)
    paths, read = (jobs or [], load) if image is None else ([image], load_from)
    _render_all(paths, read, _choice(executor, address), Manner(attach=True, fresh=fresh), as_json)


def resume(
    runs: Runs,
    address: Address = None,
    executor: ExecutorOption = ExecutorKind.ray,
    as_json: Json = False,
) -> None:
    """Go on with interrupted runs."""
    from tilefarm.batch import load_resumed
    from tilefarm.submission import Manner

    _render_all(runs, load_resumed, _choice(executor, address), Manner(), as_json)


def cancel(runs: Runs) -> None:
    """Stop runs that another process renders; they can be resumed."""
    from tilefarm.cancel import cancel as cancel_run
    from tilefarm.errors import TilefarmError
    from tilefarm.rundir.layout import RunDir

    codes = []
    for folder in runs:
        try:
            typer.echo(cancel_run(RunDir(folder.absolute())))
        except TilefarmError as error:
            tell(error)
            codes.append(error.exit_code)
    if codes:
        raise typer.Exit(codes[0])


def _choice(executor: ExecutorKind, address: str | None) -> ExecutorChoice:
    if executor is ExecutorKind.local and address is not None:
        fail("--address names a Ray cluster and --executor local uses none; leave one of them out", 2)
    return ExecutorChoice(executor.value, address)


def _render_all(paths: list[Path], load: Load, choice: ExecutorChoice, manner: Manner, as_json: bool) -> None:
    from tilefarm.submission import render_all

    records, code = render_all(paths, load, choice, tell, manner)
    if as_json:
        print_json(records)
    if code:
        raise typer.Exit(code)
