"""The Kubernetes API: address and credentials from KUBECONFIG or the pod, and starting a run of a name only once."""

import os
from collections.abc import Callable
from pathlib import Path

from kubernetes import client, config

from pipelines.targets import FAILED, TargetError
from pipelines.targets.retrying import ApiError

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
REMEDIES = {
    401: "the credentials are missing or have expired: fix KUBECONFIG, or the pod's service account",
    403: "the credentials do not allow this: bind the role pebr-submitter of k8s/base",
    404: "not found: check that the cluster has this kind of resource and the namespace (kubectl apply -k k8s/...)",
}


def connect() -> tuple[str, str]:
    """Configure the client; returns the server's address and the default namespace.

    Raises:
        TargetError: there is neither a kubeconfig nor a service account.
    """
    named = os.environ.get("KUBECONFIG", "")
    file = named or str(Path.home() / ".kube" / "config")
    try:
        if not named and NAMESPACE.is_file():
            config.load_incluster_config()
            namespace = NAMESPACE.read_text().strip()
        else:
            config.load_kube_config(file)
            namespace = config.list_kube_config_contexts(file)[1]["context"].get("namespace", "default")
    except config.ConfigException as error:
        raise TargetError(f"no cluster: {error}: set KUBECONFIG, or run in a pod with a service account") from None
    default = client.Configuration.get_default_copy()
    default.retries = False  # `pipelines.targets.retrying` retries what is safe to repeat
    client.Configuration.set_default(default)
    return default.host, namespace


def start_once(name: str, listed: Callable[[], list[tuple[str, str]]], create: Callable[[str], None]) -> str:
    """Start the run of this name, or find it if it is running or has succeeded. Returns the start's own name.

    Args:
        name: name of the run; each start has it as a label.
        listed: returns the own names and states of the run's starts, oldest first.
        create: starts the run under an own name.

    Raises:
        TargetError: other resources have all the names that were tried.
    """
    number = 0
    for _ in range(5):
        earlier = listed()
        if earlier and earlier[-1][1] != FAILED:
            return earlier[-1][0]
        number = max([number, *(_number(own, name) for own, _ in earlier)]) + 1
        own_name = numbered(name, number)
        try:
            create(own_name)
        except ApiError as error:
            if error.status != 409:  # 409: a response was lost, or another process was faster; list again
                raise
        else:
            return own_name
    raise TargetError(f"{name}: other resources have this name and the next ones: give another --name")


def numbered(name: str, number: int) -> str:
    """A run's name, with a number from the second start on; at most 63 characters, the limit of a label.

    >>> numbered("pebr-r1-toy", 1), numbered("pebr-r1-toy", 2)
    ('pebr-r1-toy', 'pebr-r1-toy-2')
    """
    ending = f"-{number}" if number > 1 else ""
    return name[: 63 - len(ending)] + ending


def _number(own: str, name: str) -> int:
    """The number of a start, read from its own name: older starts may be deleted, so counting them is not enough."""
    ending = own.rpartition("-")[2]
    return int(ending) if ending.isdigit() and own == numbered(name, int(ending)) else 1
