"""lora.py: a whole job with LoRA on a checkpoint that transformers wrote: what it trains are
adapters over the one base, PEFT opens them with the same numbers, and the last policy is
exported merged. `lora.py TOOLS`."""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import short_job  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402
import torch  # noqa: E402
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSequenceClassification  # noqa: E402
from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: E402

TOOLS = sys.argv[1]
APART = 1e-4
LORA = {"rank": 4, "alpha": 16, "targets": "q_proj, v_proj, down_proj"}
ROWS = [list(range(5, 5 + n)) for n in (3, 40)]


def probe(verb, folder, *flags):
    r = subprocess.run([os.path.join(TOOLS, "caiprobe"), verb, "--model", folder, "--threads", "1", *flags],
                       input="".join(json.dumps({"ids": row}) + "\n" for row in ROWS), text=True,
                       capture_output=True, timeout=300)
    assert r.returncode == 0, r.stderr
    return [json.loads(line) for line in r.stdout.splitlines()]


def log_probs(model, row):
    with torch.no_grad():
        all_of = model(torch.tensor([row])).logits[0].log_softmax(-1)
    return [all_of[i, row[i + 1]].item() for i in range(len(row) - 1)]


def worst(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def check_policy(folder, base):
    """Returns how far the adapter moved the base's log-probabilities."""
    model = AutoPeftModelForCausalLM.from_pretrained(folder).eval()
    assert model.peft_config["default"].base_model_name_or_path == base
    plain, moved = LlamaForCausalLM.from_pretrained(base).eval(), 0.0
    for row, got in zip(ROWS, probe("logits", folder), strict=True):
        want = log_probs(model, row)
        assert worst(want, got["logprobs"]) < APART, (folder, want, got)
        moved = max(moved, worst(want, log_probs(plain, row)))
    return moved


def check_pm(folder):
    model = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    assert "score" in model.peft_config["default"].modules_to_save
    with torch.no_grad():
        want = [model(torch.tensor([row])).logits.item() for row in ROWS]
    got = [line["score"] for line in probe("score", folder)]
    assert worst(want, got) < APART and abs(want[0] - want[1]) > 1e-3, (want, got)


def check_small(folder, base):
    """The adapter, the tokenizer, and nothing of the base."""
    assert not os.path.exists(os.path.join(folder, "model.safetensors"))
    weights = os.path.getsize(os.path.join(folder, "adapter_model.safetensors"))
    assert weights < os.path.getsize(os.path.join(base, "model.safetensors")) / 4, weights
    AutoTokenizer.from_pretrained(folder)


def check_export(caid, job, folder, policy):
    out, merged = os.path.join(folder, "out"), os.path.join(folder, "merged")
    caid.ctl("export", job, "model", "--out", out)
    assert os.path.exists(os.path.join(out, "adapter_config.json"))
    caid.ctl("export", job, "model", "--merge", expect=2)
    caid.ctl("export", job, "model", "--out", merged, "--merge")
    model, info = LlamaForCausalLM.from_pretrained(merged, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    for row, got in zip(ROWS, probe("logits", policy), strict=True):
        assert worst(log_probs(model.eval(), row), got["logprobs"]) < APART
    assert worst(probe("logits", merged)[1]["logprobs"], probe("logits", out)[1]["logprobs"]) < APART


def test_a_job_with_lora():
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        folder = os.path.realpath(folder)
        spec, _ = short_job(folder, models__lora=LORA, workers=1, stages__prefer__members=2,
                            stages__prefer__lr=1e-2, stages__sft__lr=1e-2,
                            stages__label__gate_pairs=0)
        base = os.path.realpath(spec["models"]["start"])
        with Real(TOOLS, spawn=1, root=folder) as caid:
            path = os.path.join(folder, "job.yaml")
            job = caid.submit_file(path)
            caid.ctl("watch", job, timeout=300)
            p = caid.json("show", job)
            assert p["state"] == "COMPLETED", p
            trained = [m for m in p["models"] if m["stage"] != "start"]
            kinds = sorted((m["stage"], m["kind"]) for m in trained)
            assert kinds == [("ppo", "policy"), ("prefer", "pm"), ("prefer", "pm"), ("sft", "policy")]
            for m in trained:
                check_small(m["path"], base)
                if m["kind"] == "pm":
                    check_pm(m["path"])
                else:
                    moved = check_policy(m["path"], base)
                    print(f"     {m['stage']}: log-probabilities moved by up to {moved:.2g}")
                    assert moved > 1e-3, m
            check_export(caid, job, folder, next(m["path"] for m in trained if m["stage"] == "ppo"))
            assert caid.stop() == 0


main([test_a_job_with_lora])
