"""A real S3 server on loopback, for tests: it can be stopped and started again, and keeps what it has."""

from __future__ import annotations

import logging
import os
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "prints"
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "hush-hush",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass
class S3:
    """The server and what processes need in their environment to reach it."""

    port: int
    server: ThreadedMotoServer

    @property
    def environment(self) -> dict[str, str]:
        return {**SETTINGS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}

    def check_credentials(self, really: bool) -> None:
        """By default everybody is let in."""
        address = f"http://127.0.0.1:{self.port}/moto-api/reset-auth"
        data = b"0" if really else b"1000000000"
        kind = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(address, data, kind, method="POST")).close()

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        self.server = _started(self.port)


def _started(port: int) -> ThreadedMotoServer:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    return server


@contextmanager
def serving() -> Iterator[S3]:
    """The server with one empty bucket, and this process's environment set for it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = S3(port, _started(port))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in found.environment.items():
            patch.setenv(name, value)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield found
    found.stop()
