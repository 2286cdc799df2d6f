"""caid.grafana.py: writes the Grafana board for what `caictl metrics` prints, as JSON."""
import json

PANELS = [  # title, unit, query, legend
    ("Jobs by state", "none", "cai_jobs > 0", "{{state}}"),
    ("Workers heard", "none", "count(cai_worker_heartbeat_age_seconds < 3)", "workers"),
    ("Since a worker was heard", "s", "cai_worker_heartbeat_age_seconds", "{{worker}}"),
    ("Free space in the state folder", "bytes", "cai_state_free_bytes", "free"),
    ("Reward (deviations)", "none", "cai_reward_mean", "job {{job}}"),
    ("KL from the reference (nats per reply)", "none", "cai_kl_nats", "job {{job}}"),
    ("Entropy (nats per token)", "none", "cai_entropy_nats", "job {{job}}"),
    ("Length of a reply (tokens)", "none", "cai_reply_length_tokens", "job {{job}}"),
    ("Score by principle (deviations)", "none", "cai_principle_score_mean", "job {{job}} {{principle}}"),
    ("Replies that end by themselves", "percentunit", "cai_replies_ended_ratio", "job {{job}}"),
    ("Explained variance", "none", "cai_explained_variance_ratio", "job {{job}}"),
    ("Largest probability ratio", "none", "cai_probability_ratio_max", "job {{job}}"),
    ("Sampler against trainer (nats)", "none", "cai_sampler_gap_max_nats", "job {{job}}"),
    ("Loss (nats)", "none", "cai_loss_nats", "job {{job}} {{stage}}"),
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
