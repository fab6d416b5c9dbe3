"""The metrics, from the collectors that a relay registers."""

from prometheus_client.metrics import MetricWrapperBase

from docs.generating.tables import table
from relay.telemetry import Telemetry


def page() -> str:
    """Every metric with its kind, its labels and what it says."""
    rows = [_row(one) for one in collectors()]
    return _HEAD + table(["metric", "kind", "labels", "says"], sorted(rows))


def collectors() -> list[MetricWrapperBase]:
    """What a relay registers, each once."""
    return list({id(one): one for value in vars(Telemetry()).values() for one in _collectors(value)}.values())


def _collectors(value: object) -> list[MetricWrapperBase]:
    if isinstance(value, MetricWrapperBase):
        return [value]
    if isinstance(value, dict | list | tuple):
        return [one for item in (value.values() if isinstance(value, dict) else value) for one in _collectors(item)]
    return []


def _row(collector: MetricWrapperBase) -> list[str]:
    [metric] = collector.describe()
    name = metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")
    labels = ", ".join(f"`{label}`" for label in collector._labelnames)
    return [f"`{name}`", metric.type, labels, metric.documentation]


_HEAD = """\
# Metrics

`GET /metrics` gives them in Prometheus' text format. Where the relay has API keys it needs one with the scope `read`:

```yaml
scrape_configs:
  - job_name: relay
    authorization: {credentials: relay_...}
    static_configs: [{targets: ["relay.example.com"]}]
```

Durations are in seconds. The values of every label come from a bounded set.

"""
