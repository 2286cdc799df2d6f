"""real_checkpoint.py: a checkpoint that transformers wrote goes through the whole loop, with
a chat template and without one. A model without sense is stopped before it labels anything,
with figures; a person lets it go on. `real_checkpoint.py TOOLS`."""
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import write_job  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402
from transformers import AutoTokenizer, LlamaForCausalLM, LlamaForSequenceClassification  # noqa: E402

TOOLS = sys.argv[1]
REASON = re.compile(r"accuracy (0\.\d+) on (\d+) pairs with a known answer, interval (\d\.\d+) to "
                    r"(\d\.\d+), option mass (\S+), flip rate (\d\.\d+)")


def check_waits(caid, job):
    words = caid.ctl("wait", job, expect=7)
    assert f"caictl resume {job} --accept overseer" in words, words
    p = caid.json("show", job)
    assert p["state"] == "WAITING_REVIEW" and p["gate"] == "overseer", p
    found = REASON.search(p["reason"])
    assert found, p["reason"]
    accuracy, pairs, low, high, mass, flips = map(float, found.groups())
    assert pairs >= 12 and low <= 0.5 and low <= accuracy <= high, p["reason"]
    assert 0 < mass < 0.1 and 0 <= flips <= 1, p["reason"]
    assert [s["stage"] for s in p["stages"] if s["state"] == "done"] == ["red_team", "revise", "sft"]
    assert caid.lines("export", job, "labels") == [], "labelled before the gate"
    caid.ctl("resume", job, expect=7)
    caid.ctl("resume", job, "--accept", "label", expect=7)
    assert caid.json("show", job)["state"] == "WAITING_REVIEW"
    return p["reason"]


def check_report(caid, job):
    assert "replies" in caid.ctl("report", job)
    report = caid.json("report", job)
    assert {"evaluate", "prefer", "reliability", "label", "models"} <= {t["name"] for t in report["tables"]}
    rows = caid.lines("export", job, "replies")
    assert rows and all(row["messages"] for row in rows)


def check_end(caid, job, chat, out):
    p = caid.json("show", job)
    assert p["state"] == "COMPLETED" and p["accepted"] == ["overseer"], p
    assert p["stages"][-2]["stage"] == "ppo" and all(s["state"] == "done" for s in p["stages"])
    caid.ctl("resume", job, "--accept", "overseer", expect=7)
    labels = caid.lines("export", job, "labels")
    assert labels and all(0 <= row["p"] <= 1 for row in labels)
    check_report(caid, job)
    caid.ctl("samples", job, "--stage", "revise")
    caid.ctl("export", job, "model", "--out", out)
    LlamaForCausalLM.from_pretrained(out)
    tok = AutoTokenizer.from_pretrained(out)
    assert bool(tok.chat_template) == chat
    pm = [m["path"] for m in p["models"] if m["kind"] == "pm"]
    assert LlamaForSequenceClassification.from_pretrained(pm[0]).config.num_labels == 1


def whole_loop(chat, workers, end):
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        # With the limits as they are by default: what is accepted once is not asked again.
        path, _ = write_job(folder, chat, workers=workers, end=end,
                            stages__label__min_option_mass=0.1, stages__label__max_flipped=0.5)
        with Real(TOOLS, spawn=workers, root=folder) as caid:
            assert "is valid" in caid.run("job", "check", path).stderr
            job = caid.submit_file(path)
            print("     " + check_waits(caid, job), flush=True)
            caid.ctl("resume", job, "--accept", "overseer")
            caid.ctl("watch", job)
            check_end(caid, job, chat, os.path.join(folder, "out"))
            assert caid.stop() == 0


def test_with_a_chat_template_and_two_workers():
    whole_loop(True, 2, "")


def test_without_a_template_from_compressed_files():
    whole_loop(False, 1, ".gz")


main([test_with_a_chat_template_and_two_workers, test_without_a_template_from_compressed_files])
