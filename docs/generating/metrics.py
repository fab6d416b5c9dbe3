"""Writes the page of the metrics, from the collectors that a relay registers."""

from prometheus_client.metrics import MetricWrapperBase

from docs.generating.tables import table
from relay.telemetry.metrics import Metrics


def page() -> str:
    """The page: every metric with its kind, its labels and its meaning."""
    rows = [_row(collector) for collector in collectors()]
    return _HEAD + table(["metric", "kind", "labels", "meaning"], sorted(rows))


def collectors() -> list[MetricWrapperBase]:
    """Every collector that a relay registers."""
    return [value for value in vars(Metrics()).values() if isinstance(value, MetricWrapperBase)]


def _row(collector: MetricWrapperBase) -> list[str]:
    [metric] = collector.describe()
    name = metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")
    labels = ", ".join(f"`{label}`" for label in collector._labelnames)
    return [f"`{name}`", metric.type, labels, metric.documentation]


_HEAD = """\
# Metrics

`GET /metrics` returns them in Prometheus' text format. If the relay has API keys, send one with the scope `read`:

```yaml
scrape_configs:
  - job_name: relay
    authorization: {credentials: relay_...}
    static_configs: [{targets: ["relay.example.com"]}]
```

Durations are in seconds. The values of every label come from a bounded set.

"""
