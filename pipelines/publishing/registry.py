"""Registers a version in Kubeflow's Model Registry, through its REST API.

The registry is found at `ADDRESS/api/model_registry/v1`, an older one at `.../v1alpha3`; what is used here is the same
in both. A registered model has versions, a version has an artifact with the location of the files. Each is looked for
by its name first, and created if it is not there: a second try finds what the first one made.
"""

import os
import ssl
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx

from pebr.errors import InputError
from pipelines.publishing.persistence import persist
from pipelines.targets import TargetError

TOKEN = "PEBR_REGISTRY_TOKEN"  # noqa: S105 - the environment variable's name
VERSIONS = ("v1", "v1alpha3")
Resource = dict[str, Any]


class Registry:
    """A Model Registry at an address such as `http://model-registry-service.kubeflow:8080`."""

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise InputError(f"--registry {address}: give the address of a Model Registry, http://... or https://...")
        self.address = address.rstrip("/")
        token = os.environ.get(TOKEN)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = httpx.Client(headers=headers, timeout=60, verify=ssl.create_default_context())
        self.root = ""

    def register(self, model: str, version: str, uri: str, properties: Mapping[str, object], text: str) -> str:
        """Register the version of a model, whose files are at `uri`; returns the version's id.

        Args:
            model: name of the registered model.
            version: name of the version.
            uri: location of a Hugging Face directory.
            properties: facts of the version, shown in the registry.
            text: one sentence about the version.

        Raises:
            TargetError: the registry cannot be reached or refuses the request.
        """
        self.root = self.root or self._found()
        owner = self._have("registered_model", "registered_models", {"name": model})
        made = {"name": version, "description": text, "customProperties": _custom(properties)}
        body = made | {"registeredModelId": owner["id"]}
        kept = self._have("model_version", f"registered_models/{owner['id']}/versions", body, owner["id"])
        files = {"name": version, "uri": uri, "artifactType": "model-artifact", "modelFormatName": "huggingface"}
        self._have("model_artifact", f"model_versions/{kept['id']}/artifacts", files, kept["id"])
        return str(kept["id"])

    def _have(self, one: str, many: str, body: Resource, parent: str = "") -> Resource:
        """The resource of this name below a parent; created if it is not there."""
        query = {"name": body["name"], **({"parentResourceId": parent} if parent else {})}
        if found := self._ask("GET", one, query):
            return found
        made = self._ask("POST", many, body=body)
        found = made or self._ask("GET", one, query)  # None: another process was faster
        if not found:
            raise TargetError(f"{self.root}: {one} {body['name']} was neither created nor found")
        return found

    def _found(self) -> str:
        """The root of the API; the newest version that the server has."""
        for version in VERSIONS:
            self.root = f"{self.address}/api/model_registry/{version}"
            if self._ask("GET", "registered_models", {"pageSize": "1"}) is not None:
                return self.root
        raise TargetError(f"{self.address}: there is no Model Registry there: fix --registry")

    def _ask(self, method: str, path: str, query: Mapping[str, str] = {}, body: object = None) -> Resource | None:
        """The server's answer; None if it has no such resource (404) or has it already (409)."""
        send = partial(self._send, method, f"{self.root}/{path}", query, body)
        return persist(send, f"{self.root}/{path}", f" (a token is read from {TOKEN})")

    def _send(self, method: str, url: str, query: Mapping[str, str], body: object) -> Resource | None:
        reply = self.client.request(method, url, params=query, json=body)
        if reply.status_code in (404, 409):
            return None
        return dict(reply.raise_for_status().json())


def _custom(properties: Mapping[str, object]) -> Resource:
    """Properties in the registry's typed form."""
    return {
        name: {"metadataType": "MetadataStringValue", "string_value": value}
        if isinstance(value, str)
        else {"metadataType": "MetadataDoubleValue", "double_value": value}
        for name, value in properties.items()
    }
