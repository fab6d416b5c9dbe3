"""Writes `dashboard.json`, which Grafana imports: `python deploy/grafana/make.py`. Panels are edited here."""

import json
import re
from pathlib import Path
from typing import Any

PANELS: list[tuple[str, str, str, list[tuple[str, str]]]] = [
    ("Ready", "stat", "short", [("min by (check) (relay_ready)", "{{check}}")]),
    ("Watched jobs", "stat", "short", [("sum(relay_active_watches)", "jobs")]),
    ("Pending deliveries", "stat", "short", [("sum(relay_pending_deliveries)", "deliveries")]),
    (
        "Remaining polls today",
        "stat",
        "short",
        [('min by (workspace) (relay_poll_budget_remaining{window="day"})', "{{workspace}}")],
    ),
    (
        "Delay from the job's end to its detection",
        "timeseries",
        "s",
        [
            (
                f"histogram_quantile({q}, sum by (le) (rate(relay_detection_delay_seconds_bucket[$__rate_interval])))",
                name,
            )
            for q, name in ((0.5, "median"), (0.95, "95%"))
        ],
    ),
    (
        "Delay from detection to delivery",
        "timeseries",
        "s",
        [
            (
                f"histogram_quantile({q}, sum by (le) (rate(relay_delivery_delay_seconds_bucket[$__rate_interval])))",
                name,
            )
            for q, name in ((0.5, "median"), (0.95, "95%"))
        ],
    ),
    (
        "Polls a minute",
        "timeseries",
        "short",
        [("60 * sum by (outcome) (rate(relay_polls_total[$__rate_interval]))", "{{outcome}}")],
    ),
    (
        "Remaining polls",
        "timeseries",
        "short",
        [("min by (workspace, window) (relay_poll_budget_remaining)", "{{workspace}}, {{window}}")],
    ),
    (
        "Attempts a minute",
        "timeseries",
        "short",
        [("60 * sum by (outcome) (rate(relay_delivery_attempts_total[$__rate_interval]))", "{{outcome}}")],
    ),
    (
        "Duration of attempts",
        "timeseries",
        "s",
        [
            (
                "histogram_quantile(0.95, sum by (le) (rate(relay_delivery_attempt_seconds_bucket[$__rate_interval])))",
                "95%",
            )
        ],
    ),
    (
        "Failed attempts a minute, by format",
        "timeseries",
        "short",
        [
            (
                '60 * sum by (format) (rate(relay_delivery_attempts_total{outcome!="delivered"}[$__rate_interval]))',
                "{{format}}",
            )
        ],
    ),
    (
        "Events a minute",
        "timeseries",
        "short",
        [("60 * sum by (type) (rate(relay_events_total[$__rate_interval]))", "{{type}}")],
    ),
    ("Age of the last tick", "timeseries", "s", [("max by (instance) (relay_tick_age_seconds)", "{{instance}}")]),
]
"""Title, kind, unit, and queries with their legends."""

SOURCE = {"type": "prometheus", "uid": "${source}"}


def of_the_job(query: str) -> str:
    """Limits a query to the relays in the variable `job`: `relay_ready` → `relay_ready{job=~"$job"}`."""
    return re.sub(r"(relay_\w+)(?:{([^}]*)})?", lambda m: f'{m[1]}{{{m[2] + "," if m[2] else ""}job=~"$job"}}', query)


def panel(number: int, title: str, kind: str, unit: str, queries: list[tuple[str, str]]) -> dict[str, Any]:
    """Lays out four small panels in the first row, then two per row."""
    place = (
        {"x": 6 * number, "y": 0, "w": 6, "h": 4}
        if number < 4
        else {"x": 12 * (number % 2), "y": 4 + 8 * ((number - 4) // 2), "w": 12, "h": 8}
    )
    targets = [
        {"datasource": SOURCE, "expr": of_the_job(query), "legendFormat": legend, "refId": chr(ord("A") + place)}
        for place, (query, legend) in enumerate(queries)
    ]
    field = {"defaults": {"unit": unit, "min": 0}, "overrides": []}
    return {
        "id": number + 1,
        "title": title,
        "type": kind,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": field,
    }


def dashboard() -> dict[str, Any]:
    """Builds the dashboard in Grafana's JSON model."""
    variables = [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "job",
            "type": "query",
            "datasource": SOURCE,
            "query": "label_values(relay_tick_age_seconds, job)",
            "refresh": 1,
            "includeAll": True,
            "multi": True,
        },
    ]
    return {
        "title": "Exec relay",
        "uid": "exec-relay",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "panels": [panel(number, *described) for number, described in enumerate(PANELS)],
    }


if __name__ == "__main__":
    Path(__file__).with_name("dashboard.json").write_text(json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n")
