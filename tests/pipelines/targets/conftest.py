"""A cluster for the tests of targets: a server that speaks Kubernetes' part of its API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipelines.targets import retrying
from tests.pipelines.servers import Kubernetes, serving


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubernetes]:
    """A cluster that KUBECONFIG names, with a token and the namespace `team`."""
    server = Kubernetes()
    server.token = "secret"
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("PEBR_REVISION", "4cb250a1c0ffee")
    with serving(server):
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server.address}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield server
