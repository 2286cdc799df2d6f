"""caid.grafana.py: writes the Grafana board for what `caictl metrics` prints, as JSON."""
import json

PANELS = [  # title, unit, query, legend
    ("Jobs by state", "none", "cai_jobs > 0", "{{state}}"),
    ("Workers heard", "none", "count(cai_worker_heartbeat_age_seconds < 3)", "workers"),
    ("Since a worker was heard", "s", "cai_worker_heartbeat_age_seconds", "{{worker}}"),
    ("Free space in the state folder", "bytes", "cai_state_free_bytes", "free"),
    ("Reward", "none", 'cai_job_figure{name="reward"}', "job {{job}}"),
    ("KL from the reference (nats)", "none", 'cai_job_figure{name="kl"}', "job {{job}}"),
    ("Loss", "none", 'cai_job_figure{name="loss"}', "job {{job}} {{stage}}"),
    ("Version", "none", "cai_build_info", "{{version}}"),
]


def panel(i, title, unit, query, legend):
    source = {"type": "prometheus", "uid": "${source}"}
    return {"id": i + 1, "type": "timeseries", "title": title, "datasource": source,
            "gridPos": {"h": 8, "w": 12, "x": 12 * (i % 2), "y": 8 * (i // 2)},
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "targets": [{"refId": "A", "datasource": source, "expr": query,
                         "legendFormat": legend}]}


print(json.dumps({
    "uid": "caid", "title": "caid", "schemaVersion": 36, "timezone": "browser", "refresh": "30s",
    "time": {"from": "now-6h", "to": "now"},
    "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
    "panels": [panel(i, *p) for i, p in enumerate(PANELS)]}, indent=1))
