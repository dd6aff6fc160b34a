"""The files for Kubernetes: KubeRay's fields, Kubernetes' own schemas, and what makes them safe."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "cluster" / "kuberay"
FIELDS = json.loads((Path(__file__).parent / "kuberay_1_6.json").read_text())
KUBERNETES = "1.34"


def schema(form: Any) -> dict[str, Any]:
    """A JSON schema of our compact form: a name with ! is required, and no other fields are known."""
    if isinstance(form, dict):
        return {
            "type": "object",
            "properties": {name.rstrip("!"): schema(inner) for name, inner in form.items()},
            "required": [name.rstrip("!") for name in form if name.endswith("!")],
            "additionalProperties": False,
        }
    if isinstance(form, list):
        if isinstance(form[0], dict):
            return {"type": "array", "items": schema(form[0]), "minItems": 1}
        return {"enum": form}
    if form == "strings":
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if form == "POD":
        return {
            "type": "object",
            "required": ["spec"],
            "properties": {"metadata": {"type": "object"}, "spec": {"type": "object"}},
            "additionalProperties": False,
        }
    return schema(FIELDS[form]) if form in FIELDS else {"type": form}


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return document


def cluster_of(document: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = document["spec"]
    inner: dict[str, Any] = spec.get("rayClusterSpec", spec)
    return inner


def pods(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods of the head and of each group of workers."""
    cluster = cluster_of(document)
    yield "head", cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group["template"]["spec"]


def all_pods(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those of the cluster, and that which hands in a job."""
    yield from pods(document)
    if document["kind"] == "RayJob":
        yield "submitter", document["spec"]["submitterPodTemplate"]["spec"]


def check(document: dict[str, Any]) -> None:
    """Raise where a field is unknown, missing, or of the wrong form."""
    whole = {
        "apiVersion!": ["ray.io/v1"],
        "kind!": ["RayCluster", "RayJob"],
        "metadata!": "object",
        "spec!": document["kind"],
    }
    jsonschema.validate(document, schema(whole))
    for name, pod in all_pods(document):
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod},
            KUBERNETES,
            strict=True,
        )


@pytest.fixture(params=["raycluster.yaml", "rayjob.yaml"])
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


def test_every_field_is_known(document: dict[str, Any]) -> None:
    check(document)


def misspelt_option(document: dict[str, Any]) -> None:
    cluster_of(document)["authOption"] = cluster_of(document).pop("authOptions")


def number_for_a_start_parameter(document: dict[str, Any]) -> None:
    cluster_of(document)["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def group_without_name(document: dict[str, Any]) -> None:
    del cluster_of(document)["workerGroupSpecs"][0]["groupName"]


def unknown_mode(document: dict[str, Any]) -> None:
    cluster_of(document)["authOptions"]["mode"] = "on"


def misspelt_field_of_a_pod(document: dict[str, Any]) -> None:
    cluster_of(document)["workerGroupSpecs"][0]["template"]["spec"]["securityContexts"] = {}


def misspelt_field_of_a_container(document: dict[str, Any]) -> None:
    cluster_of(document)["headGroupSpec"]["template"]["spec"]["containers"][0]["resource"] = {}


@pytest.mark.parametrize(
    "spoil",
    [
        misspelt_option,
        number_for_a_start_parameter,
        group_without_name,
        unknown_mode,
        misspelt_field_of_a_pod,
        misspelt_field_of_a_container,
    ],
)
def test_a_mistake_is_found(document: dict[str, Any], spoil: Callable[[dict[str, Any]], None]) -> None:
    document = copy.deepcopy(document)
    spoil(document)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(document)


def test_the_claim_is_one_that_kubernetes_knows_and_the_head_mounts(document: dict[str, Any]) -> None:
    claim = load("storage.yaml")
    kubernetes_validate.validate(claim, KUBERNETES, strict=True)
    users = [
        name
        for name, pod in pods(document)
        for volume in pod["volumes"]
        if volume.get("persistentVolumeClaim", {}).get("claimName") == claim["metadata"]["name"]
    ]
    assert users == ["head"]


def test_tokens_are_on_for_a_ray_that_knows_them(document: dict[str, Any]) -> None:
    cluster = cluster_of(document)
    assert cluster["authOptions"] == {"mode": "token"}
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0)


def test_the_versions_of_ray_are_those_of_the_image(document: dict[str, Any]) -> None:
    image = (FOLDER.parent / "docker" / "Dockerfile").read_text()
    assert f"ray[default]=={cluster_of(document)['rayVersion']}" in image


def test_no_pod_runs_as_root_or_without_limits(document: dict[str, Any]) -> None:
    for name, pod in all_pods(document):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        assert container["resources"]["limits"] == container["resources"]["requests"]


def test_the_pod_that_hands_in_the_job_is_not_started_again_in_place() -> None:
    """`backoffLimit` of the job has it done by a new one."""
    (pod,) = [pod for name, pod in all_pods(load("rayjob.yaml")) if name == "submitter"]
    assert pod["restartPolicy"] == "Never"
    assert "command" not in pod["containers"][0], "KubeRay fills it in"


def gibibytes(text: str) -> int:
    assert text.endswith("Gi")
    return int(text.removesuffix("Gi"))


def test_shared_memory_is_mounted_and_leaves_room(document: dict[str, Any]) -> None:
    for name, pod in pods(document):
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        (shm,) = [volume for volume in pod["volumes"] if volume["name"] == mounts["/dev/shm"]]
        assert shm["emptyDir"]["medium"] == "Memory", name
        size, limit = (
            gibibytes(shm["emptyDir"]["sizeLimit"]),
            gibibytes(container["resources"]["limits"]["memory"]),
        )
        assert 1 <= size <= limit / 4


def test_there_are_workers_with_and_without_gpus(document: dict[str, Any]) -> None:
    groups = dict(pods(document))
    gpus = {
        name: pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
        for name, pod in groups.items()
    }
    assert gpus == {"head": None, "gpu": 1, "cpu": None}
    assert cluster_of(document)["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_the_job_takes_its_cluster_away_and_is_tried_again() -> None:
    spec = load("rayjob.yaml")["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["backoffLimit"] > 0
    assert spec["entrypoint"].startswith("tilefarm submit /job/")


def test_both_files_describe_the_same_cluster() -> None:
    assert cluster_of(load("rayjob.yaml")) == cluster_of(load("raycluster.yaml"))
