"""The table of metrics, and the page that lists it."""

from pathlib import Path

from pebr.telemetry.catalog import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"


def test_keys_and_names_are_of_one_metric_each() -> None:
    names, keys = [m.name for m in METRICS], [m.key for m in METRICS if m.key]
    assert len(set(names)) == len(names)
    assert len(set(keys)) == len(keys)
    assert all(metric.label for metric in METRICS if metric.key.endswith("*"))
    assert all(bool(metric.buckets) == (metric.kind == "histogram") for metric in METRICS)


def test_the_page_lists_every_metric_as_the_table_has_it() -> None:
    listed = [line for line in PAGE.read_text().splitlines() if line.startswith("| `pebr_")]
    assert listed == [
        f"| `{m.name}` | {m.kind} | {', '.join(m.steps.split())} | {f'`{m.label}`' if m.label else ''}"
        f" | {m.only} | {m.help} |"
        for m in METRICS
    ]
