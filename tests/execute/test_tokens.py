"""Token authentication: which token is used, and what a user hears who has none, or a wrong one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.token_cluster import TOKEN, TokenCluster, clean_environment, until
from tilefarm.errors import ClusterError
from tilefarm.execute import tokens
from tilefarm.execute.cluster import LOOPBACK

JOIN = """
import os, sys
from tilefarm.errors import ClusterError
from tilefarm.execute import cluster
try:
    cluster.join(sys.argv[1])
except ClusterError as error:
    print(error)
    sys.exit(error.exit_code)
import ray
double = ray.remote(num_cpus=0)(lambda number: 2 * number)
print(ray.get(double.remote(21), timeout=60), os.environ["RAY_AUTH_MODE"])
cluster.leave()
"""

OPEN = """
import os
from pathlib import Path
from tilefarm.errors import ClusterError
from tilefarm.execute import cluster, tokens
cluster.start_local(1, "cpu")
import ray
address = ray.get_runtime_context().gcs_address
print(tokens.settle(address))
os.environ["RAY_AUTH_MODE"] = "token"
try:
    tokens.settle(address)
except ClusterError as error:
    print(error)
cluster.leave()
"""


@pytest.fixture(autouse=True)
def no_token_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (tokens.MODE, tokens.TOKEN, tokens.TOKEN_PATH):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_question_runs_nothing_from_the_folder_where_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at the door of a cluster must be safe in a folder that came from anywhere."""
    installed, here = tmp_path / "installed", tmp_path / "here"
    for path, text in {
        "ray/_raylet.py": "class GcsClient:\n    __init__ = check_alive = lambda *_, **__: None\n",
        "ray/_private/services.py": "canonicalize_bootstrap_address_or_die = str\n",
        "ray/exceptions.py": "AuthenticationError = OSError\n",
    }.items():
        (installed / path).parent.mkdir(parents=True, exist_ok=True)
        (installed / path).write_text(text)
    here.mkdir()
    (here / "ray.py").write_text("print('locked')\nraise SystemExit")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [str(installed)])
    assert tokens.look_at_door("head:6379") == "open"


def write_token(path: Path, mode: int = 0o600, text: str = TOKEN) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_where_the_token_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert tokens.find_token() is None
    usual = write_token(tmp_path / ".ray" / "auth_token")
    assert tokens.find_token() == tokens.TokenSource(str(usual), usual)
    named = write_token(tmp_path / "named")
    monkeypatch.setenv(tokens.TOKEN_PATH, str(named))
    assert tokens.find_token() == tokens.TokenSource(str(named), named)
    monkeypatch.setenv(tokens.TOKEN, TOKEN)
    found = tokens.find_token()
    assert found == tokens.TokenSource(tokens.TOKEN, None)
    assert TOKEN not in repr(found)
    assert found.looseness() is None


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_token_file_that_is_private(tmp_path: Path, mode: int) -> None:
    path = write_token(tmp_path / "token", mode)
    assert tokens.TokenSource(str(path), path).looseness() is None


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_token_file_that_others_read_is_told_about(tmp_path: Path, mode: int) -> None:
    path = write_token(tmp_path / "token", mode)
    said = tokens.TokenSource(str(path), path).looseness()
    assert said is not None
    assert f"mode {mode:03o}" in said
    assert f"chmod 600 {path}" in said


def test_a_named_file_that_is_not_there_or_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(tokens.TOKEN_PATH, str(tmp_path / "missing"))
    with pytest.raises(ClusterError, match=r"there is no .*missing"):
        tokens.find_token()
    monkeypatch.setenv(tokens.TOKEN_PATH, str(write_token(tmp_path / "empty", text=" \n")))
    with pytest.raises(ClusterError, match="empty is empty"):
        tokens.find_token()


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001"])
def test_an_address_whose_door_is_not_looked_at(address: str) -> None:
    assert tokens.look_at_door(address) == "unknown"


def test_a_locked_door_and_a_mode_that_forbids_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "look_at_door", lambda address: "locked")
    monkeypatch.setenv(tokens.MODE, "disabled")
    with pytest.raises(ClusterError, match="RAY_AUTH_MODE=disabled keeps it from being sent"):
        tokens.settle("there:6379")


def test_a_readable_token_file_is_used_and_told_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens, "look_at_door", lambda address: "locked")
    monkeypatch.setenv(tokens.MODE, "")  # restored after the test
    monkeypatch.delitem(sys.modules, "ray", raising=False)  # or this process's Ray would send tokens for good
    write_token(tmp_path / ".ray" / "auth_token", 0o644)
    with caplog.at_level(logging.WARNING):
        assert tokens.settle("there:6379") == "locked"
    assert "chmod 600" in caplog.text
    assert TOKEN not in caplog.text
    assert os.environ[tokens.MODE] == "token"


@pytest.fixture(scope="module")
def locked() -> Iterator[TokenCluster]:
    with tempfile.TemporaryDirectory(prefix="tf") as folder:
        cluster = TokenCluster(Path(folder))
        try:
            cluster.start_head("--object-store-memory=80000000")
            until(lambda: cluster.is_up(0), "the head is up")
            assert cluster.door() == "locked"
            yield cluster
        finally:
            cluster.close()


def joined(address: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", JOIN, address]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_a_token_that_is_there_is_used_without_being_asked_for(locked: TokenCluster) -> None:
    done = joined(locked.address, locked.environment)
    assert done.stdout.split() == ["42", "token"], done.stderr
    assert TOKEN not in done.stderr


def test_without_the_token_a_sentence_says_where_to_put_it(locked: TokenCluster, tmp_path: Path) -> None:
    done = joined(locked.address, clean_environment(**LOOPBACK, HOME=str(tmp_path)))
    assert done.returncode == 6
    assert done.stdout.startswith(f"the cluster at {locked.address} asks for a token and there is none here")


def test_another_token_is_named_as_wrong(locked: TokenCluster) -> None:
    done = joined(locked.address, clean_environment(**LOOPBACK, RAY_AUTH_TOKEN=TOKEN[::-1]))
    assert done.returncode == 6
    assert done.stdout.startswith(
        f"the cluster at {locked.address} does not take the token in RAY_AUTH_TOKEN"
    )
    assert TOKEN[::-1] not in done.stdout + done.stderr


def test_no_file_of_the_cluster_and_no_command_line_holds_the_token(locked: TokenCluster) -> None:
    session = locked.folder / "r"
    files = [path for path in session.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    processes = [locked.raylet(0), *locked.raylet(0).parents()[:1]]
    assert not [process for process in processes if TOKEN in " ".join(process.cmdline())]


def test_an_open_cluster_is_joined_with_a_warning_unless_a_token_is_asked_for(tmp_path: Path) -> None:
    environment = clean_environment(HOME=str(tmp_path), RAY_AUTH_MODE="disabled")
    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    said = done.stdout.splitlines()
    assert said[0] == "open", done.stderr
    assert "has no token authentication: whoever reaches it can run programs on it" in done.stderr
    assert said[1].startswith("RAY_AUTH_MODE=token asks for a cluster with token authentication")
