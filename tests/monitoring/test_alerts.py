"""Each alert rule fires for its fault and not for a healthy run, by Prometheus' own test program."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pebr.telemetry import conditions
from tests.prometheus import ROOT, faster, program, rules

GRPO = '{run="r",step="grpo",stage="perception"%s}'
FILTER = '{run="r",step="filter",stage=""%s}'

# Values per minute, in promtool's form: a+bxn is a, a + b, ..., n steps. Of a run that goes well.
HEALTHY = {
    "pebr_training_step_timestamp_seconds" + GRPO % "": "0+60x300",
    "pebr_step_seconds_sum" + GRPO % "": "60+60x300",
    "pebr_step_seconds_count" + GRPO % "": "1+1x300",
    "pebr_checkpoint_timestamp_seconds" + GRPO % "": " ".join(str(60 * 20 * (minute // 20)) for minute in range(301)),
    "pebr_drift_nats" + GRPO % ',measure="kl"': "0.001+0.000001x300",
    "pebr_kl_nats" + GRPO % "": "0+0.001x300",
    "pebr_entropy_nats" + GRPO % "": "0.6-0.001x300",
    "pebr_zero_advantage_ratio" + GRPO % "": "0.4x300",
    "pebr_reward" + GRPO % "": "0.5+0.001x300",
    "pebr_cut_off_ratio" + GRPO % "": "0.02x300",
    "pebr_updates_refused_total" + GRPO % "": "0x300",
    "pebr_waiting_ratio" + GRPO % "": "0.1x300",
    "pebr_disk_free_bytes" + GRPO % "": "500x300",
    "pebr_disk_size_bytes" + GRPO % "": "1000x300",
    "pebr_tracking_dropped_total" + GRPO % ',tracker="mlflow"': "0x300",
    "pebr_tracking_waiting_rows" + GRPO % ',tracker="mlflow"': "0 1 0 0 2 0 1 0x294",
    "pebr_rows_rejected_total" + FILTER % ',reason="image too small"': "4x300",
    "pebr_rows_rejected_total" + FILTER % ',reason="no answer"': "3x300",
    "pebr_rows_kept_total" + FILTER % "": "100x300",
    "pebr_start_timestamp_seconds" + FILTER % "": "0x300",
}
# alert -> what differs in the faulty run
FAULTS = {
    "PebrNoTrainingStep": {"pebr_training_step_timestamp_seconds" + GRPO % "": "0+60x100 6000x200"},
    "PebrDriftRising": {"pebr_drift_nats" + GRPO % ',measure="kl"': "0.001+0.00005x300"},
    "PebrKlRunaway": {"pebr_kl_nats" + GRPO % "": "0+0.01x300"},
    "PebrEntropyRunaway": {"pebr_entropy_nats" + GRPO % "": "0.6x100 0.01x200"},
    "PebrRewardFlat": {
        "pebr_zero_advantage_ratio" + GRPO % "": "0.4x100 1x200",
        "pebr_reward" + GRPO % "": "0.5x300",
    },
    "PebrAnswersCutOff": {"pebr_cut_off_ratio" + GRPO % "": "0.02x100 0.8x200"},
    "PebrUpdatesRefused": {"pebr_updates_refused_total" + GRPO % "": "0x270 1x30"},
    "PebrCheckpointOld": {"pebr_checkpoint_timestamp_seconds" + GRPO % "": "0x300"},
    "PebrRowsRejected": {"pebr_rows_rejected_total" + FILTER % ',reason="no answer"': "60x300"},
    "PebrProcessorWaiting": {"pebr_waiting_ratio" + GRPO % "": "0.1x100 0.7x200"},
    "PebrDiskNearlyFull": {"pebr_disk_free_bytes" + GRPO % "": "500-2x300"},
    "PebrTrackingLost": {"pebr_tracking_dropped_total" + GRPO % ',tracker="mlflow"': "0x270 3x30"},
}
MORE = [
    ("PebrTrackingLost", {"pebr_tracking_waiting_rows" + GRPO % ',tracker="mlflow"': "0+1x300"}),
    ("PebrEntropyRunaway", {"pebr_entropy_nats" + GRPO % "": "0.5+0.01x300"}),  # explodes
    ("PebrDriftRising", {"pebr_drift_nats" + GRPO % ',measure="kl"': "0.05x300"}),
    ("PebrNoTrainingStep", {  # hangs before the first step: there is no mean yet
        "pebr_training_step_timestamp_seconds" + GRPO % "": "0x300",
        "pebr_step_seconds_sum" + GRPO % "": "_x300", "pebr_step_seconds_count" + GRPO % "": "_x300",
    }),
]  # fmt: skip
QUIET = [  # faults that are none
    {"pebr_waiting_ratio" + GRPO % "": "_x270 0.9x9 0.1x21"},  # a first training step that warms up
    {"pebr_training_step_timestamp_seconds" + GRPO % "": " ".join(str(60 * 40 * (m // 40)) for m in range(301)),
     "pebr_step_seconds_sum" + GRPO % "": "2400x300", "pebr_step_seconds_count" + GRPO % "": "1x300"},
    {"pebr_drift_nats" + GRPO % ',measure="kl"': "0.01-0.00002x300"},
    {"pebr_entropy_nats" + GRPO % "": "1.8-0.001x300"},
    {"pebr_reward" + GRPO % "": "0x100 1x200"},
]  # fmt: skip


def fired(folder: Path, series: dict[str, str]) -> set[str]:
    """The alerts that fire at minute 290, found by asking promtool for each of them."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules()))
    names = [rule["alert"] for rule in rules()["groups"][0]["rules"]]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})', "eval_time": "290m", "exp_samples": []}
            for name in names
        ],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    command = [program("promtool"), "test", "rules", folder / "test.yaml"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    text = told.stdout + told.stderr
    return set(re.findall(r'expr: "count\(ALERTS\{alertname=\\"(\w+)\\"', text))


def test_the_rules_are_ones_that_prometheus_takes(tmp_path: Path) -> None:
    for factor in (1.0, 120.0):
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules(factor)))
        subprocess.run([program("promtool"), "check", "rules", tmp_path / "rules.yaml"], check=True)
    assert faster("a[30m] > 30 * 60 for: 6h", 60) == "a[30000ms] > 30 for: 360000ms"


def test_nothing_fires_in_a_healthy_run(tmp_path: Path) -> None:
    assert fired(tmp_path, HEALTHY) == set()
    for changes in QUIET:
        assert fired(tmp_path, HEALTHY | changes) == set(), changes


@pytest.mark.parametrize(("alert", "changes"), [*FAULTS.items(), *MORE])
def test_a_fault_fires_its_alert_and_no_other(tmp_path: Path, alert: str, changes: dict[str, str]) -> None:
    assert fired(tmp_path, HEALTHY | changes) == {alert}


def test_every_alert_has_a_fault_a_summary_and_a_runbook() -> None:
    found: list[dict[str, Any]] = rules()["groups"][0]["rules"]
    assert {rule["alert"] for rule in found} == set(FAULTS)
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "monitoring.md").read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for rule in found:
        page, anchor = rule["annotations"]["runbook_url"].split("#")
        assert (page, anchor) == ("docs/monitoring.md", rule["alert"].lower())
        assert anchor in anchors
        assert "$labels.run" in rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


@pytest.mark.parametrize(
    ("alert", "threshold"),
    [
        ("PebrNoTrainingStep", f"> {conditions.STALLED_SECONDS / 60:g} * 60"),
        ("PebrNoTrainingStep", f"< {conditions.STALLED_FACTOR:g} *"),
        ("PebrDriftRising", f"> {conditions.DRIFT:g}"),
        ("PebrKlRunaway", f"> {conditions.KL:g}"),
        ("PebrAnswersCutOff", f"> {conditions.CUT_OFF:g}"),
        ("PebrRewardFlat", f"> {conditions.NO_ADVANTAGE:g}"),
    ],
)
def test_alerts_have_the_thresholds_of_the_live_report(alert: str, threshold: str) -> None:
    (rule,) = [rule for group in rules()["groups"] for rule in group["rules"] if rule["alert"] == alert]
    assert threshold in rule["expr"]
