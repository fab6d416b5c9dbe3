"""Writes `dashboard.json`, which Grafana imports: `python deploy/grafana/make.py`. Panels are edited here."""

import json
import re
from pathlib import Path
from typing import Any

PANELS: list[tuple[str, str, str, list[tuple[str, str]]]] = [
    ("Ready", "stat", "short", [("min by (check) (relay_ready)", "{{check}}")]),
    ("Being watched", "stat", "short", [("sum(relay_active_watches)", "jobs")]),
    ("Waiting to go out", "stat", "short", [("sum(relay_pending_deliveries)", "deliveries")]),
    (
        "Polls left today",
        "stat",
        "short",
        [('min by (workspace) (relay_poll_budget_remaining{window="day"})', "{{workspace}}")],
    ),
    (
        "From the job's end until the relay knew",
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
        "From then until the receiver had it",
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
        "Polls left",
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
        "How long attempts take",
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
    """The query, of the relays that the variable `job` chooses: `relay_ready` → `relay_ready{job=~"$job"}`."""
    return re.sub(r"(relay_\w+)(?:{([^}]*)})?", lambda m: f'{m[1]}{{{m[2] + "," if m[2] else ""}job=~"$job"}}', query)


def panel(number: int, title: str, kind: str, unit: str, queries: list[tuple[str, str]]) -> dict[str, Any]:
    """Four small ones in the first row, then two a row."""
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
    """The dashboard as Grafana keeps it."""
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
