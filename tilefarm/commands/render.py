"""The commands that paint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tilefarm.commands.common import (
    Address,
    Cluster,
    ExecutorKind,
    ExecutorOption,
    From,
    Json,
    Log,
    RunDirOption,
    Runs,
    Set,
    StoreAddress,
    StoreEvery,
    StoreRate,
    fail,
    note,
    one_of,
    print_json,
    tell,
)
from tilefarm.execute.open import ExecutorChoice

if TYPE_CHECKING:
    from tilefarm.batch import Group
    from tilefarm.store.keeping import Wish
    from tilefarm.submission import Load, Manner

Jobs = Annotated[list[Path] | None, typer.Argument(help="Job files, or folders of them.", show_default=False)]


Watch = Annotated[bool, typer.Option("--watch", help="Show it in the browser meanwhile.")]


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
    watch: Watch = False,
    cluster: Cluster = None,
    store: StoreAddress = None,
    store_every: StoreEvery = 10,
    store_rate: StoreRate = 50,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Render jobs, sweeps and folders of jobs, one after the other. The same again goes on where it was.

    A job that another process renders is followed; Ctrl-C then ends the following alone. With
    --from IMAGE the job is the one that the picture was made by, found in the picture itself. With
    --cluster ADDRESS jobs are sent there with their pictures, go on alone, and their ids are printed.
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
    if cluster is not None:
        from tilefarm.commands.remote import submit_to

        here = {
            "--run-dir": run_dir,
            "--address": address,
            "--watch": watch,
            "--log": log,
            "--executor": executor == "local",
        }
        refused = [option for option, given in here.items() if given]
        wish = _wish(store, store_every, store_rate)
        submit_to(cluster, paths, read, refused, fresh, wish, as_json)
        return
    manner = Manner(True, fresh, watch, _wish(store, store_every, store_rate), log)
    _render_all(paths, read, _choice(executor, address), manner, as_json)


def resume(
    runs: Runs,
    address: Address = None,
    executor: ExecutorOption = ExecutorKind.ray,
    watch: Watch = False,
    store: StoreAddress = None,
    store_every: StoreEvery = 10,
    store_rate: StoreRate = 50,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Go on with interrupted runs."""
    from tilefarm.batch import load_resumed
    from tilefarm.submission import Manner

    manner = Manner(watch=watch, store=_wish(store, store_every, store_rate), log=log)
    _render_all(runs, load_resumed, _choice(executor, address), manner, as_json)


def _choice(executor: ExecutorKind, address: str | None) -> ExecutorChoice:
    if executor is ExecutorKind.local and address is not None:
        fail("--address names a Ray cluster and --executor local uses none; leave one of them out", 2)
    return ExecutorChoice(executor.value, address)


def _wish(store: str | None, minutes: float, rate: float) -> Wish | None:
    from tilefarm.store.keeping import Wish
    from tilefarm.store.mirror import Pace

    return Wish(store, Pace(60 * minutes, rate)) if store else None


def _render_all(paths: list[Path], load: Load, choice: ExecutorChoice, manner: Manner, as_json: bool) -> None:
    from tilefarm.submission import render_all

    records, code = render_all(paths, load, choice, tell, manner)
    if as_json:
        print_json(records)
    if code:
        raise typer.Exit(code)
