"""The files for Ray's cluster launcher: its own schema, its own preparation, and what makes them safe."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"
SCHEMA = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
LAUNCHER = ("desk", "aws", "gcp")
CLOUDS = ("aws", "gcp")


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((CLUSTER / name / "cluster.yaml").read_text())
    return config


@pytest.mark.parametrize("name", LAUNCHER)
def test_it_follows_rays_schema(name: str) -> None:
    config = load(name)
    if name == "desk":  # the schema is for what Ray makes of these two
        config = {key: value for key, value in config.items() if key != "min_workers"}
    jsonschema.validate(config, SCHEMA)
    # there the schema lets unknown keys pass
    assert set(config["provider"]) <= set(SCHEMA["properties"]["provider"]["properties"])


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_prepares_and_accepts_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `ray up` does before it asks the cloud for anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    monkeypatch.setenv("HOME", str(tmp_path))
    prepared = prepare_config(load(name))
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert sum(each["max_workers"] for each in types.values()) >= prepared["max_workers"] > 0
    assert prepared["head_node_type"] in types


@pytest.mark.parametrize("name", LAUNCHER)
def test_an_unknown_key_is_refused(name: str) -> None:
    config = load(name)
    config.pop("min_workers", None)
    with pytest.raises(jsonschema.ValidationError, match="worker_node"):
        jsonschema.validate({**config, "worker_node": {}}, SCHEMA)


@pytest.mark.parametrize("name", LAUNCHER)
def test_every_ray_asks_for_the_token_that_every_machine_gets(name: str) -> None:
    config = load(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in config["setup_commands"])
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in config[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_dashboard_listens_on_loopback(name: str) -> None:
    (head,) = [command for command in load(name)["head_start_ray_commands"] if "--head" in command]
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in head


@pytest.mark.parametrize("name", CLOUDS)
def test_jobs_that_are_sent_there_find_their_python_and_what_stores_need(name: str) -> None:
    config = load(name)
    (head,) = [command for command in config["head_start_ray_commands"] if "--head" in command]
    assert "export PATH=~/venv/bin:$PATH; RAY_AUTH_MODE=token ray start" in head
    assert any('"$HOME/tilefarm[cluster]"' in command for command in config["setup_commands"])


@pytest.mark.parametrize("name", CLOUDS)
def test_the_head_is_on_demand_and_the_workers_are_spot(name: str) -> None:
    config = load(name)
    types = config["available_node_types"]
    head, worker = types["head"], types["spot-gpu"]
    assert config["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0}
    for node, spot in ((head["node_config"], False), (worker["node_config"], True)):
        if name == "aws":
            assert (node.get("InstanceMarketOptions") == {"MarketType": "spot"}) == spot
        else:
            assert (node.get("scheduling", {}).get("provisioningModel") == "SPOT") == spot
    assert worker["min_workers"] > 0, "tilefarm uses the nodes that are there, and asks for none"
    assert config["max_workers"] == worker["max_workers"]


@pytest.mark.parametrize("name", CLOUDS)
def test_idle_machines_end_themselves(name: str) -> None:
    config = load(name)
    for key, role in (("head_setup_commands", "head"), ("worker_setup_commands", "worker")):
        (cron,) = [command for command in config[key] if "crontab" in command]
        assert f"cluster/shutdown_when_idle.sh {role} " in cron
    assert config["provider"]["cache_stopped_nodes"] is False
    assert (CLUSTER / "shutdown_when_idle.sh").stat().st_mode & stat.S_IXUSR


def test_aws_opens_ssh_alone_and_encrypts_disks() -> None:
    config = load("aws")
    assert "IpPermissions" not in config["provider"]["security_group"]
    for each in config["available_node_types"].values():
        node = each["node_config"]
        assert node["MetadataOptions"] == {"HttpTokens": "required"}
        assert node["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])


def test_each_folder_has_a_short_readme() -> None:
    folders = [path for path in CLUSTER.iterdir() if path.is_dir()]
    assert {path.name for path in folders} == {
        "workstation", "desk", "aws", "gcp", "kuberay", "slurm", "docker", "grafana"
    }  # fmt: skip
    for folder in [CLUSTER, *folders]:
        lines = (folder / "README.md").read_text().splitlines()
        assert 10 < len(lines) < 60
