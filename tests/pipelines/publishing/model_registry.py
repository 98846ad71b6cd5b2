"""A Model Registry over HTTP: it takes only what the registry's published API takes."""

from typing import Any

from tests.k8s.schemas import models, pydantic_errors
from tests.pipelines.servers import Refused, Server


class ModelRegistry(Server):
    """Registered models, versions and artifacts: found by name, created once per name and parent."""

    def __init__(self, version: str = "v1") -> None:
        super().__init__()
        models("mr_openapi")  # skips the test here, and not in the server's thread, if they are not installed
        self.version = version
        self.kept: dict[str, list[dict[str, Any]]] = {"registered_model": [], "model_version": [], "model_artifact": []}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        start = f"/api/model_registry/{self.version}/"
        if not path.startswith(start):
            raise Refused(404, "404 page not found")
        match method, path.removeprefix(start).split("/"):
            case "GET", ["registered_models"]:
                return {"items": self.kept["registered_model"], "size": 0, "pageSize": 1, "nextPageToken": ""}
            case "GET", [kind] if kind in self.kept:
                found = [i for i in self.kept[kind] if i["name"] == query["name"]]
                found = [i for i in found if i["parent"] == query.get("parentResourceId", "")]
                return found[0] if found else self.absent()
            case "POST", ["registered_models"]:
                return self.create("registered_model", "RegisteredModelCreate", body)
            case "POST", ["registered_models", parent, "versions"]:
                assert body["registeredModelId"] == parent
                return self.create("model_version", "ModelVersionCreate", body, parent)
            case "POST", ["model_versions", parent, "artifacts"]:
                return self.create("model_artifact", "ModelArtifactCreate", body, parent)
        raise Refused(405, "method not allowed")

    def absent(self) -> Any:
        raise Refused(404, "no such resource")

    def create(self, kind: str, schema: str, body: Any, parent: str = "") -> Any:
        if wrong := pydantic_errors(body, getattr(models("mr_openapi"), schema)):
            raise Refused(400, str(wrong))
        if any((item["name"], item["parent"]) == (body["name"], parent) for item in self.kept[kind]):
            raise Refused(409, "already exists")
        self.kept[kind].append(body | {"id": str(sum(map(len, self.kept.values())) + 1), "parent": parent})
        return self.kept[kind][-1]
