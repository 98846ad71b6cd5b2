"""Checks of custom resources and API requests against the models of their projects' clients, closed.

KServe's models name their fields and types; those of Kubeflow Trainer, JobSet and Model Registry are pydantic's. A
field that a model does not know is an error.
"""

import importlib
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, get_args

import kubernetes
import pytest
from pydantic import BaseModel

from tests.k8s.fetch_schemas import SCHEMAS

CLASSES = {  # kind -> package, class
    "InferenceService": ("kserve", "V1beta1InferenceService"),
    "TrainJob": ("kubeflow_trainer_api", "TrainerV1alpha1TrainJob"),
    "TrainingRuntime": ("kubeflow_trainer_api", "TrainerV1alpha1TrainingRuntime"),
    "JobSet": ("kubeflow_trainer_api", "JobsetV1alpha2JobSet"),
}
PLAIN = {"str": str, "int": int, "bool": bool, "float": float, "object": object, "datetime": str}


@cache
def models(package: str) -> ModuleType:
    """The module `models` of a package; the package's own `__init__`, which imports its dependencies, is left out."""
    if not SCHEMAS.is_dir():
        message = "needs the published schemas: python tests/k8s/fetch_schemas.py"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    shell = sys.modules[package] = ModuleType(package)
    shell.__path__ = [str(SCHEMAS / package)]
    return importlib.import_module(f"{package}.models")


def errors(document: dict[str, Any]) -> list[str]:
    """What is wrong with a custom resource."""
    package, name = CLASSES[document["kind"]]
    if package == "kserve":
        return list(_openapi(document, name, document["kind"]))
    return pydantic_errors(document, getattr(models(package), name))


def pydantic_errors(document: dict[str, Any], kind: type[BaseModel]) -> list[str]:
    """What is wrong with a document of a pydantic model, as JSON names it."""
    try:
        kind.from_dict(document)  # as the client reads an answer of the server
    except ValueError as error:  # pydantic's are ValueErrors too
        return str(error).splitlines()
    return list(_unknown(document, kind, kind.__name__))


def _unknown(value: Any, kind: Any, where: str) -> Iterator[str]:
    """Fields that a model does not know: pydantic ignores them."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _unknown(item, kind, f"{where}[{place}]")
        return
    known = [k for k in _classes(kind) if issubclass(k, BaseModel)]
    if not isinstance(value, dict) or not known or "actual_instance" in known[0].model_fields:  # a choice of models
        return
    fields = {field.alias or name: field.annotation for name, field in known[0].model_fields.items()}
    mapping = any(get_args(part)[:1] == (str,) for part in [kind, *get_args(kind)])  # dict[str, a model]
    for name, item in value.items():
        if mapping:
            yield from _unknown(item, known[0], f"{where}.{name}")
        elif name not in fields:
            yield f"{where}: unknown field {name}"
        else:
            yield from _unknown(item, fields[name], f"{where}.{name}")


def _classes(kind: Any) -> list[type]:
    """The classes inside an annotation."""
    return [kind] if isinstance(kind, type) and not get_args(kind) else [c for a in get_args(kind) for c in _classes(a)]


def _openapi(value: Any, kind: str, where: str) -> Iterator[str]:
    """What is wrong with a value of a type, as the OpenAPI generator's older Python models write it."""
    if found := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            yield f"{where}: no list"
            return
        for place, item in enumerate(value):
            yield from _openapi(item, found[1], f"{where}[{place}]")
    elif found := re.fullmatch(r"dict\(str, (.+)\)", kind):
        for name, item in value.items():
            yield from _openapi(item, found[1], f"{where}.{name}")
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (kind == "int" and isinstance(value, bool)):
            yield f"{where}: {value!r} is no {kind}"
    elif kind not in ("ResourceQuantity", "IntOrString", "K8sIoApimachineryPkgApiResourceQuantity"):
        short = re.sub(r"K8sIoApi[A-Z][a-z]+(?=V\d)", "", kind)  # with the API's group, where two groups have the kind
        model = getattr(models("kserve"), kind, None) or getattr(kubernetes.client, short)
        types = {json: model.openapi_types[name] for name, json in model.attribute_map.items()}
        for name, item in value.items():
            if name not in types:
                yield f"{where}: unknown field {name}"
            else:
                yield from _openapi(item, types[name], f"{where}.{name}")
