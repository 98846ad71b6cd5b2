"""The Kubernetes API: its address and credentials, from KUBECONFIG or from the pod; one start of a run of one name."""

import os
from collections.abc import Callable
from pathlib import Path

from kubernetes import client, config

from pipelines.targets import FAILED, TargetError
from pipelines.targets.retrying import ApiError

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
REMEDIES = {
    401: "the credentials are missing or have expired: mend KUBECONFIG, or the pod's service account",
    403: "the credentials do not allow this: bind the role pebr-submitter of k8s/base",
    404: "not there: has the cluster this kind of resource, and the namespace (kubectl apply -k k8s/...)?",
}


def connect() -> tuple[str, str]:
    """Configure the client; returns the server's address and the namespace to work in when none is named.

    Raises:
        TargetError: when there is neither a kubeconfig nor a service account.
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
    default.retries = False  # tried again by `pipelines.targets.retrying`, where it is known what may be
    client.Configuration.set_default(default)
    return default.host, namespace


def start_once(name: str, listed: Callable[[], list[tuple[str, str]]], create: Callable[[str], None]) -> str:
    """Start the run of this name, or find it: one that goes on or has ended well is taken as it is.

    Args:
        name: of the run, which all its starts have as a label.
        listed: asks for the run's starts: their own names and states, the oldest first.
        create: starts it under a name of its own.

    Returns:
        The own name of the start.

    Raises:
        TargetError: when every name that it tries is taken by something else.
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
            if error.status != 409:  # else an answer was lost, or somebody was faster: look again
                raise
        else:
            return own_name
    raise TargetError(f"{name}: this name and the next are taken by something else: give another --name")


def numbered(name: str, number: int) -> str:
    """A run's name, or with a number from the second start on; at most 63 letters, as a label may have.

    >>> numbered("pebr-r1-toy", 1), numbered("pebr-r1-toy", 2)
    ('pebr-r1-toy', 'pebr-r1-toy-2')
    """
    ending = f"-{number}" if number > 1 else ""
    return name[: 63 - len(ending)] + ending


def _number(own: str, name: str) -> int:
    """The number of a start; older ones may be gone, so it says more than how many there are."""
    ending = own.rpartition("-")[2]
    return int(ending) if ending.isdigit() and own == numbered(name, int(ending)) else 1
