"""What Kubernetes would refuse in the settings of a cluster file, found before anything is compiled."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # of a resource
KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?")  # of a label
VALUE = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?")  # of a label
VARIABLE = re.compile(r"[A-Za-z_]\w*")
DATA_KEY = re.compile(r"[-\w.]{1,253}")  # of a secret or a config map
CPUS = re.compile(r"(?=.*[1-9])\d+(\.\d+)?m?")
BYTES = re.compile(r"(?=.*[1-9])\d+(\.\d+)?([kMGTPE]|[KMGTPE]i)?")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
JOBS = ("trainjob", "job")
TOLERATION = ("key", "operator", "value", "effect", "tolerationSeconds")

Check = Callable[[object], str]  # returns what is wrong with a value; "" if nothing


def fault(setting: str, value: object) -> str:
    """What is wrong with the value of a setting of `Placement`, and how to fix it; "" if nothing is.

    >>> fault("memory", "32 GB")
    "'32 GB' is no quantity: write it like 32G or 500Mi"
    """
    return CHECKS[setting](value)


def _matching(pattern: re.Pattern[str], problem: str, empty: bool = False) -> Check:
    """A check of a text; `empty` allows the empty one."""

    def check(value: object) -> str:
        right = isinstance(value, str) and (pattern.fullmatch(value) or (empty and not value))
        return "" if right else f"{value!r} is {problem}"

    return check


def _at_least(least: int) -> Check:
    return lambda value: "" if isinstance(value, int) and value >= least else f"{value!r}: give at least {least}"


def _pairs(key: Check, value: Check) -> Check:
    """A check of every key and value of a mapping."""

    def check(given: object) -> str:
        if not isinstance(given, Mapping):
            return f"{given!r}: give a mapping of names to values"
        problems = (key(k) or ((found := value(v)) and f"{k}: {found}") for k, v in given.items())
        return next((problem for problem in problems if problem), "")

    return check


def _all(item: Check) -> Check:
    """A check of every item of a list."""

    def check(given: object) -> str:
        if not isinstance(given, Sequence) or isinstance(given, str):
            return f"{given!r}: give a list"
        return next((problem for value in given if (problem := item(value))), "")

    return check


def _text(value: object) -> str:
    return "" if isinstance(value, str) else f"{value!r} is no text: put it in quotes"


def _user(value: object) -> str:
    return "0 is root: give another number" if value == 0 else _at_least(-1)(value)


def _pull_policy(value: object) -> str:
    known = ("Always", "IfNotPresent", "Never")
    return "" if value in ("", *known) else f"{value!r} is no policy: give {', '.join(known)}"


def _toleration(value: object) -> str:
    if not isinstance(value, Mapping):
        return f"{value!r}: give a mapping with key, operator, value, effect"
    return next(_toleration_problems(value), "")


def _toleration_problems(given: Mapping[str, object]) -> Iterator[str]:
    if unknown := set(given) - set(TOLERATION):
        yield f"no setting {', '.join(sorted(map(str, unknown)))} of a toleration: known are {', '.join(TOLERATION)}"
    operator = given.get("operator", "Equal")
    if operator not in ("Exists", "Equal"):
        yield f"operator: {operator!r}: give Exists or Equal"
    if operator == "Exists" and given.get("value"):
        yield "value: the operator Exists takes none: remove it"
    if operator == "Equal" and not given.get("key"):
        yield "key: the operator Equal needs one"
    if given.get("key") and (problem := LABEL_KEY(given["key"])):
        yield f"key: {problem}"
    if given.get("value") and (problem := LABEL_VALUE(given["value"])):
        yield f"value: {problem}"
    if given.get("effect", "") not in ("", *EFFECTS):
        yield f"effect: {given['effect']!r} is no effect: give {', '.join(EFFECTS)}"
    if "tolerationSeconds" in given and given.get("effect") != "NoExecute":
        yield "tolerationSeconds: only the effect NoExecute takes it"


LABEL_KEY = _matching(KEY, "no key of a label: give PREFIX/NAME or NAME, of letters, digits, -, _ and .")
LABEL_VALUE = _matching(VALUE, "no value of a label: give at most 63 letters, digits, -, _ and ., in quotes")
_BYTES = _matching(BYTES, "no quantity: write it like 32G or 500Mi")
_BYTES_OR_NONE = _matching(BYTES, "no quantity: write it like 32G or 500Mi", empty=True)
_NAME = _matching(NAME, "no name of a resource: give lower-case letters, digits, - and .")
_NAME_OR_NONE = _matching(NAME, "no name of a resource: give lower-case letters, digits, - and .", empty=True)
_VARIABLES = _pairs(_matching(DATA_KEY, "no key of a secret"), _matching(VARIABLE, "no name of a variable"))
CHECKS: Mapping[str, Check] = {  # a check per setting of `Placement`
    "cpu": _matching(CPUS, 'no number of CPUs: write it like "4" or "500m"'),
    "memory": _BYTES,
    "gpus": _at_least(0),
    "gpu_resource": LABEL_KEY,
    "shared_memory": _BYTES_OR_NONE,
    "scratch": _BYTES_OR_NONE,
    "cache_claim": _NAME_OR_NONE,
    "timeout": _at_least(0),
    "retries": _at_least(0),
    "backoff": _at_least(0),
    "run_as_user": _user,
    "priority_class": _NAME_OR_NONE,
    "labels": _pairs(LABEL_KEY, LABEL_VALUE),
    "annotations": _pairs(LABEL_KEY, _text),
    "node_selector": _pairs(LABEL_KEY, LABEL_VALUE),
    "tolerations": _all(_toleration),
    "secrets": _pairs(_NAME, _VARIABLES),
    "config": _pairs(_NAME, _VARIABLES),
    "metrics_port": lambda value: "" if value in range(65536) else f"{value!r}: give 1 to 65535, or 0 for none",
    "pull_policy": _pull_policy,
    "pull_secrets": _all(_NAME),
    "nodes": _at_least(1),
    "nodes_as": lambda value: "" if value in ("", *JOBS) else f"{value!r} is no kind: give {' or '.join(JOBS)}",
    "nodes_account": _NAME_OR_NONE,
}
