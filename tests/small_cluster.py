"""A Ray cluster on this machine whose workers know modules of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import ray
from ray.cluster_utils import Cluster

from tilefarm.execute import cluster

SOON_NOTICED = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500}
"""Ray notices within seconds that a machine is gone; how long it waits for an answer stays as it is."""


@contextmanager
def small_cluster(cores: int, *modules: ModuleType, **settings: int) -> Iterator[Cluster]:
    """A head with so many cores, and Ray's `settings`; machines are added by who uses it."""
    found = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": cores,
            "include_dashboard": False,
            "_system_config": SOON_NOTICED | settings,
        },
    )
    for module in modules:  # the workers cannot import this folder
        ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    try:
        yield found
    finally:
        cluster.leave()
        for module in modules:
            ray.cloudpickle.unregister_pickle_by_value(module)  # type: ignore[no-untyped-call]
        found.shutdown()  # type: ignore[no-untyped-call]
