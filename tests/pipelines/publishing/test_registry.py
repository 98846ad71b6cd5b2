"""Registering a model over HTTP."""

from collections.abc import Iterator

import pytest

from pebr.errors import InputError
from pipelines.publishing import registry
from pipelines.publishing.registry import Registry
from pipelines.targets import TargetError
from tests.k8s.schemas import models
from tests.pipelines.publishing.model_registry import ModelRegistry
from tests.pipelines.servers import serving


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.publishing.persistence.FIRST_WAIT", 0.001)
    monkeypatch.delenv(registry.TOKEN, raising=False)


@pytest.fixture(params=["v1", "v1alpha3"])
def server(request: pytest.FixtureRequest) -> Iterator[ModelRegistry]:
    made = ModelRegistry(request.param)
    with serving(made):
        yield made


FACTS = {"commit": "4cb250a", "accuracy": 0.62, "questions": 100.0}


def register(server: ModelRegistry, version: str = "run-1") -> str:
    return Registry(server.address).register("pebr-r1", version, "s3://pebr/runs/1/output", FACTS, "A model.")


def test_a_version_has_its_facts_and_the_location_of_its_files(server: ModelRegistry) -> None:
    version = register(server)
    (model,) = server.kept["registered_model"]
    (made,) = server.kept["model_version"]
    (files,) = server.kept["model_artifact"]
    assert (model["name"], made["name"], made["id"]) == ("pebr-r1", "run-1", version)
    assert (made["parent"], files["parent"]) == (model["id"], made["id"])
    assert files["uri"] == "s3://pebr/runs/1/output"
    typed = {name: models("mr_openapi").MetadataValue.from_dict(v) for name, v in made["customProperties"].items()}
    assert typed["accuracy"].actual_instance.double_value == 0.62
    assert typed["commit"].actual_instance.string_value == "4cb250a"


def test_what_is_there_is_used(server: ModelRegistry) -> None:
    assert register(server) == register(server)
    assert register(server) != register(server, "run-2")
    assert [len(kept) for kept in server.kept.values()] == [1, 2, 2]


@pytest.mark.parametrize("fault", ["drop", "drop-after", 503])
def test_a_fault_at_any_request_changes_nothing(fault: int | str) -> None:
    server = ModelRegistry()
    with serving(server):
        client = Registry(server.address)
        for at in range(6):
            server.faults = [""] * at + [fault]
            client.register(f"model {at}", "run-1", "s3://pebr/runs/1/output", FACTS, "A model.")
            assert not server.faults
    assert [len(kept) for kept in server.kept.values()] == [6, 6, 6]


def test_a_token_goes_along(server: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    server.token = "secret"
    with pytest.raises(TargetError, match=registry.TOKEN):
        register(server)
    monkeypatch.setenv(registry.TOKEN, "secret")
    assert register(server)


def test_a_wrong_address_is_told() -> None:
    with serving(ModelRegistry("v9")) as server, pytest.raises(TargetError, match="fix --registry"):
        register(server)
    with pytest.raises(InputError, match="--registry"):
        Registry("model-registry:8080")
