"""Jobs on a real cluster, from a machine that reaches nothing of it but its job server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests import standin_program
from tests.delivered import write_job
from tests.program import Command, program
from tests.ray_head import Head, free_ports, running_head
from tilefarm.errors import ClusterError
from tilefarm.remote import errand, fetch
from tilefarm.remote.submit import attempts
from tilefarm.rundir.find import run_folder
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job

SECONDS = 120.0
PART = 16_000
_seeds = count(1)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head() as running:
        yield running


@dataclass(frozen=True)
class Laptop:
    """A folder with a job that no other test has, and the program."""

    folder: Path
    job: Path
    head: Head
    tilefarm: Command

    @property
    def cluster(self) -> tuple[str, str]:
        return "--cluster", self.head.address

    def submit(self) -> str:
        """The id of the job."""
        answer = self.tilefarm("submit", self.job, *self.cluster)
        assert answer.code == 0, answer.err
        return answer.out.strip()

    def run(self, name: str) -> RunDir:
        """The run folder, which only a test sees."""
        return self.head.home.run(name)


@pytest.fixture
def laptop(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Laptop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(errand, "PROGRAM", f"{sys.executable} -m tests.remote_agent {tmp_path}")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token_file))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    job = write_job(tmp_path, more=f"seed: {next(_seeds)}\n")
    return Laptop(tmp_path, job, head, program(monkeypatch, capfd))


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.02)


def rendered_here(laptop: Laptop, *options: str) -> tuple[bytes, str]:
    """The same job's picture, rendered in a process of this machine in another folder, and what was said."""
    folder = laptop.folder / "elsewhere"
    folder.mkdir()
    for name in ("photo.png", "night.png", "gate.yaml"):
        (folder / name).write_bytes((laptop.folder / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "tests.standin_program",
        str(folder),
        "submit",
        str(folder / "gate.yaml"),
        *options,
    ]
    root = Path(standin_program.__file__).parents[1]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return (folder / "out.tif").read_bytes(), done.stderr


def test_a_job_is_sent_cancelled_resumed_and_fetched(laptop: Laptop) -> None:
    (laptop.folder / "hold").touch()
    name = laptop.submit()
    held = laptop.folder / "held"
    wait_for(held.exists, "the tile")

    again = laptop.tilefarm("submit", laptop.job, *laptop.cluster, "--json")
    [record] = again.records
    assert (record["id"], record["outcome"], record["bytes_sent"]) == (name, "running", 0)
    assert [job.status for job in attempts(laptop.head.server())[name]] == ["RUNNING"]

    shown = laptop.tilefarm("status", name, *laptop.cluster)
    assert f"{name}: running, 120x90" in shown.out
    early = laptop.tilefarm("fetch", name, *laptop.cluster)
    assert (early.code, early.out) == (3, "")
    assert "is not done" in early.err

    cancelled = laptop.tilefarm("cancel", name, *laptop.cluster)
    assert cancelled.out.startswith(f"cancelled {name}; go on with it: tilefarm submit")
    assert json.loads(laptop.run(name).summary.read_text())["exit_code"] == 143  # in order, by SIGTERM
    watched = laptop.tilefarm("watch", name, *laptop.cluster)
    assert (watched.code, f"{name} cancelled" in watched.err) == (143, True)
    shown = laptop.tilefarm("status", laptop.job, *laptop.cluster)  # the job file stands for its id
    assert f"{name}: cancelled" in shown.out
    assert "resume with: tilefarm submit, the same job to the same cluster" in shown.out
    done_before = [line for line in laptop.run(name).journal.read_bytes().splitlines() if b'"tile"' in line]
    assert done_before

    resumed = laptop.tilefarm("submit", laptop.job, *laptop.cluster, "--json")
    assert (resumed.records[0]["outcome"], resumed.records[0]["bytes_sent"]) == ("resumed", 0)
    watched = laptop.tilefarm("watch", name, *laptop.cluster)
    assert watched.code == 0, watched.err
    assert f"resuming {name}" in watched.err
    assert f"wrote {laptop.head.home.job(name)}/work/out.tif" in watched.err
    journal = laptop.run(name).journal.read_bytes().splitlines()
    assert set(done_before) <= set(journal)  # nothing that was finished was done again

    assert [job.status for job in attempts(laptop.head.server())[name]] == ["STOPPED", "SUCCEEDED"]
    last = laptop.tilefarm("submit", laptop.job, *laptop.cluster, "--json")
    assert last.records[0]["outcome"] == "done"
    [record] = laptop.tilefarm("status", *laptop.cluster, "--json", name).records
    assert (record["status"], record["ray_status"], record["id"]) == ("done", "SUCCEEDED", name)

    fetched = laptop.tilefarm("fetch", name, *laptop.cluster)
    assert fetched.out.startswith("fetched out.tif")
    assert (laptop.folder / "out.tif").read_bytes() == rendered_here(laptop)[0]
    here = laptop.tilefarm("status", laptop.folder / "runs" / name)
    assert f"{name}: done" in here.out
    assert not list(laptop.head.home.offers.iterdir())


def test_a_run_that_is_kept_at_a_store_does_not_need_its_head_any_more(laptop: Laptop) -> None:
    """Asked for while the job runs it is refused; asked for later, what is done is copied there."""
    store = f"file://{laptop.folder}/kept"
    (laptop.folder / "hold").touch()
    name = laptop.submit()
    wait_for((laptop.folder / "held").exists, "the tile")
    refused = laptop.tilefarm("submit", laptop.job, *laptop.cluster, "--store", store)
    assert (refused.code, refused.out) == (2, "")
    assert f"{laptop.head.address} and not kept at {store}; wait for it, or cancel it first" in refused.err
    (laptop.folder / "release").touch()
    assert laptop.tilefarm("watch", name, *laptop.cluster).code == 0

    options = ("--store", f"{store}/", "--store-every", "5", "--json")
    assert laptop.tilefarm("submit", laptop.job, *laptop.cluster, *options).records[0]["outcome"] == "resumed"
    assert laptop.tilefarm("watch", name, *laptop.cluster).code == 0
    assert laptop.tilefarm("submit", laptop.job, *laptop.cluster, *options).records[0]["outcome"] == "done"
    words = attempts(laptop.head.server())[name][-1].metadata
    assert words["tilefarm_store"] == store

    before = (laptop.head.home.job(name) / "work" / "out.tif").read_bytes()
    picture, said = rendered_here(laptop, "--store", store)
    assert picture == before
    assert f"elsewhere/runs/{name} was restored from {store}/{name}" in said
    here = laptop.folder / "elsewhere" / "runs" / name / "journal.jsonl"
    tiles = [line for line in laptop.run(name).journal.read_bytes().splitlines() if b'"tile"' in line]
    assert [line for line in here.read_bytes().splitlines() if b'"tile"' in line] == tiles  # none anew


def test_without_the_token_nobody_is_let_in(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(laptop.folder))  # nor in ~/.ray
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    before = attempts(laptop.head.server())
    answer = laptop.tilefarm("submit", laptop.job, *laptop.cluster)
    assert answer.code == 6
    assert "asks for a token; give it with RAY_AUTH_TOKEN_PATH=FILE" in answer.err
    monkeypatch.setenv("RAY_AUTH_TOKEN", "not-this-one")
    for command in (["status"], ["cancel", "gate-00000000"], ["fetch", "gate-00000000"]):
        answer = laptop.tilefarm(*command, *laptop.cluster)
        assert answer.code == 6
        assert "does not accept this token" in answer.err
        assert "not-this-one" not in answer.err
    assert attempts(laptop.head.server()) == before


def test_a_job_that_fails_there_has_its_own_exit_code_and_reason(laptop: Laptop) -> None:
    name = run_folder(load_job(laptop.job), Path()).name
    laptop.run(name).root.parent.mkdir(parents=True, exist_ok=True)
    laptop.run(name).root.write_text("in the way")
    assert laptop.submit() == name
    watched = laptop.tilefarm("watch", name, *laptop.cluster)
    assert watched.code == 2
    assert f"{name} failed: " in watched.err
    assert "is a file, and the run needs a folder of that name" in watched.err
    assert f"{name}: failed" in laptop.tilefarm("status", name, *laptop.cluster).out
    assert laptop.tilefarm("cancel", name, *laptop.cluster).out == f"{name} is not running (failed)\n"


def test_a_broken_fetch_goes_on_with_its_part(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    name = laptop.submit()
    assert laptop.tilefarm("watch", name, *laptop.cluster).code == 0
    monkeypatch.setattr(fetch, "PART_BYTES", PART)
    monkeypatch.setattr(fetch, "WINDOW", 4)
    server = laptop.head.server()
    asked: list[str] = []

    class Counting(type(server)):  # type: ignore[misc]
        def stream(self, path: str, node: str | None = None) -> Iterator[bytes]:
            asked.append(path)
            return super().stream(path, node)  # type: ignore[no-any-return]

    def cut(place: str, here: int, total: int) -> None:
        if here >= 2 * PART:
            raise ClusterError("the cable")

    counting = Counting(laptop.head.address, laptop.head.token)
    with pytest.raises(ClusterError, match="the cable"):
        fetch.fetch(counting, name, laptop.folder, tell=cut)
    assert not (laptop.folder / "out.tif").exists()
    assert len(asked) == 2
    asked.clear()
    got = fetch.fetch(counting, name, laptop.folder)
    size = (laptop.folder / "out.tif").stat().st_size
    assert size > 3 * PART
    parts_of_output = len([path for path in asked if path.endswith(".part")])
    others = sum(-(-file.size // PART) for file in got[1:] if file.size > PART)
    assert parts_of_output == -(-size // PART) - 2 + others
    original = laptop.head.home.job(name) / "work" / "out.tif"
    assert (laptop.folder / "out.tif").read_bytes() == original.read_bytes()
    assert [path.name for path in laptop.folder.glob(".*")] == []

    (laptop.folder / "out.tif").write_bytes(b"somebody's")
    refused = laptop.tilefarm("fetch", name, *laptop.cluster)
    assert refused.code == 2
    assert "is there already and is another file" in refused.err
    assert (laptop.folder / "out.tif").read_bytes() == b"somebody's"

    monkeypatch.setattr(fetch, "PART_BYTES", 2**20)
    whole = laptop.tilefarm("fetch", name, *laptop.cluster, "--run", "--into", "whole", "--json")
    run, copy = laptop.run(name), laptop.folder / "whole" / "runs" / name
    files = {path.relative_to(run.root) for path in run.root.rglob("*") if path.is_file()} - {Path("lock")}
    assert {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()} == files
    assert all((run.root / each).read_bytes() == (copy / each).read_bytes() for each in files)
    assert len(whole.records[0]["files"]) == len(files) + 1


def test_jobs_wait_for_their_turn(laptop: Laptop) -> None:
    (laptop.folder / "hold").touch()
    first = laptop.submit()
    wait_for((laptop.folder / "held").exists, "the tile")
    laptop.job.write_text(laptop.job.read_text().replace("seed: ", "seed: 9"))
    second = laptop.submit()
    server = laptop.head.server()
    wait_for((laptop.head.home.job(second) / "job.yaml").exists, "the second job")
    wait_for(lambda: server.job(second).status == "RUNNING", "its process")  # type: ignore[union-attr]
    assert not laptop.run(second).root.exists()
    assert f"{second}: waiting" in laptop.tilefarm("status", second, *laptop.cluster).out
    (laptop.folder / "release").touch()
    for name in (second, first):
        assert laptop.tilefarm("watch", name, *laptop.cluster).code == 0


def test_other_versions_and_strange_places_are_told(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    server = laptop.head.server()
    monkeypatch.setattr("tilefarm.__version__", "0.0.1")
    with pytest.raises(errand.RemoteError, match=r"the cluster has tilefarm .* and this machine 0\.0\.1"):
        errand.errand(server, "hello")
    monkeypatch.undo()
    monkeypatch.setattr(errand, "PROGRAM", f"{sys.executable} -c 'import tilefarm.nothing'")
    with pytest.raises(ClusterError, match="has no tilefarm"):
        errand.errand(server, "hello")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(laptop.head.token_file))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)  # of an embedded Ray before
    lost = laptop.tilefarm("watch", "gate-00000000", *laptop.cluster)
    assert lost.code == 6
    assert "knows no job gate-00000000" in lost.err
    [port] = free_ports(1)
    gone = laptop.tilefarm("status", "--cluster", f"http://127.0.0.1:{port}")
    assert gone.code == 6
    assert gone.err.startswith(
        f"error: no Ray job server answers at http://127.0.0.1:{port} (Connection refused)"
    )


def test_mistakes_are_told_before_anything_is_sent(laptop: Laptop) -> None:
    laptop.job.write_text(laptop.job.read_text() + "seeds: 3\n")
    (laptop.folder / "night.png").write_bytes(b"no picture")
    before = attempts(laptop.head.server())
    answer = laptop.tilefarm("submit", laptop.job, *laptop.cluster, "--address", "auto", "--watch")
    assert answer.code == 2
    assert "--address and --watch cannot go with --cluster" in answer.err
    answer = laptop.tilefarm("submit", laptop.job, *laptop.cluster, "--store", "s3://key:hush@bucket/runs")
    assert answer.code == 2
    assert "did you mean" in answer.err
    assert "--store must not hold a password" in answer.err
    assert "hush" not in answer.err
    assert attempts(laptop.head.server()) == before


def test_the_token_is_in_no_file_and_no_command_line(laptop: Laptop) -> None:
    """Last: whatever the other tests have made is looked through."""
    token = laptop.head.token.encode()
    assert laptop.submit()
    places = [laptop.head.home.root, laptop.head.folder / "ray"]
    assert list(laptop.head.home.files.iterdir())
    holding = [
        path
        for place in places
        for path in place.rglob("*")
        if path.is_file() and not path.is_symlink() and token in path.read_bytes()
    ]
    assert holding == []
