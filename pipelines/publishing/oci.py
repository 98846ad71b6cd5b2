"""Pushes a model to an OCI registry as an image (`pipelines.publishing.layers`), by the distribution API 1.1.

    --push oci://registry.example/team/model[:tag]        the tag is the run's name if none is given

Credentials are read from PEBR_OCI_USER and PEBR_OCI_PASSWORD. A registry on localhost or 127.0.0.1 is spoken to in
plain HTTP, as container engines do. What the registry has already is not sent again: a second try goes on.
"""

import os
import re
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urljoin

import httpx

from pebr.errors import InputError
from pipelines.publishing.layers import Blob, image_of, layers_of
from pipelines.publishing.persistence import persist

SCHEME = "oci://"
ADDRESS = re.compile(  # host, repository, tag, as the distribution specification writes them
    r"oci://(?P<host>[\w.-]+(?::\d+)?)/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::(?P<tag>\w[\w.-]{0,127}))?"
)
PLAIN = ("localhost", "127.0.0.1")  # hosts without TLS
USER, PASSWORD = "PEBR_OCI_USER", "PEBR_OCI_PASSWORD"  # names of environment variables
CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Repository:
    """A repository of a registry.

    Raises:
        InputError: the address is not written as above.
    """

    def __init__(self, address: str) -> None:
        found = ADDRESS.fullmatch(address)
        if not found:
            raise InputError(f"--push {address}: write it as oci://registry.example/team/model or .../model:tag")
        self.host, self.name, self.tag = found["host"], found["name"], found["tag"] or ""
        scheme = "http" if self.host.partition(":")[0] in PLAIN else "https"
        self.root = f"{scheme}://{self.host}/v2/"
        self.client = httpx.Client(timeout=600, verify=ssl.create_default_context())

    def push(self, folder: Path, tag: str, annotations: Mapping[str, str]) -> str:
        """Push a model's folder; returns its reference by digest, host/name@sha256:...

        Args:
            folder: of the model.
            tag: used if the address has none.
            annotations: of the image.

        Raises:
            TargetError: the registry cannot be reached or refuses.
        """
        layers = layers_of(folder)
        config, manifest = image_of(layers, annotations)
        for blob in (*layers, config):
            self._persist(partial(self._send, blob), f"blob {blob.digest}")
        self._persist(partial(self._name, manifest, self.tag or tag), f"tag {self.tag or tag}")
        return f"{self.host}/{self.name}@{manifest.digest}"

    def _send(self, blob: Blob) -> None:
        """Upload a blob, unless the registry has it."""
        access = self._access()
        at = f"{self.root}{self.name}/blobs/"
        if self.client.head(f"{at}{blob.digest}", headers=access).status_code == httpx.codes.OK:
            return
        begun = self.client.post(f"{at}uploads/", headers=access).raise_for_status()
        place = httpx.URL(urljoin(at, begun.headers["Location"])).copy_merge_params({"digest": blob.digest})
        headers = {**access, "Content-Length": str(blob.size), "Content-Type": "application/octet-stream"}
        self.client.put(place, content=blob.chunks(), headers=headers).raise_for_status()

    def _name(self, manifest: Blob, tag: str) -> None:
        """Upload the manifest under a tag."""
        headers = {**self._access(), "Content-Type": manifest.media_type}
        where = f"{self.root}{self.name}/manifests/{tag}"
        self.client.put(where, content=manifest.data, headers=headers).raise_for_status()

    def _access(self) -> dict[str, str]:
        """The header that allows an upload: none, or as the registry asks, a password or a token from its realm."""
        asked = self.client.get(self.root)
        if asked.status_code != httpx.codes.UNAUTHORIZED:
            asked.raise_for_status()
            return {}
        kind, _, rest = asked.headers.get("WWW-Authenticate", "").partition(" ")
        user, password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
        own = httpx.BasicAuth(user, password) if user else None
        if kind.lower() == "basic":
            if own is None:
                asked.raise_for_status()
            return {"Authorization": str(next(own.auth_flow(asked.request)).headers["Authorization"])} if own else {}
        told = dict(CHALLENGE.findall(rest))
        if kind.lower() != "bearer" or "realm" not in told:
            asked.raise_for_status()
        query = {"service": told.get("service", ""), "scope": f"repository:{self.name}:pull,push"}
        given = self.client.get(told["realm"], params=query, auth=own).raise_for_status().json()
        return {"Authorization": f"Bearer {given.get('token') or given['access_token']}"}

    def _persist(self, action: Callable[[], None], what: str) -> None:
        where = f"--push oci://{self.host}/{self.name}: {what}"
        persist(action, where, f": set {USER} and {PASSWORD}")
