"""The Kubernetes API: its address and credentials, from KUBECONFIG or from the pod that this runs in."""

import os
from pathlib import Path

from kubernetes import client, config

from pipelines.targets import TargetError

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
    file = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    try:
        if NAMESPACE.is_file():
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
