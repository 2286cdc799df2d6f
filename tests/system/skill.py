"""skill.py: a job whose labels come after debates and whose overseer learns to critique from what
people verified, flaws inserted and all, and is used in the second round. Killed three times, it
ends with the same bytes. `skill.py TOOLS`."""
import os
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import prompts, sampling, sentence, write_job, write_lines  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402

TOOLS = sys.argv[1]
LABEL = {"mode": "debate", "turns": 1, "pairs": 12, "reply": sampling(16), "helpful": 0, "speech": sampling(16),
         "reasons": sampling(16), "max_dropped": 1, "min_option_mass": 0, "max_flipped": 1, "gate_pairs": 8}
SKILL = {"enabled": True, "use": True, "inserted": 6, "held_out": 0.3, "prompts": 4, "samples": 3, "batch": 8, "lr": 1e-3,
         "reply": sampling(16), "critique": sampling(16), "refinement": sampling(16), "checkpoint_every": 2}


def verified():
    rng = random.Random(6)
    for i, row in enumerate(prompts(random.Random(7), 24)):
        flaw = i % 2 == 0
        yield {**row, "reply": sentence(rng, 8), "flaw": flaw, **(
            {"critique": "The last word is wrong.", "helpful": i % 4 == 0, "refinement": sentence(rng, 6)} if flaw else {}),
            **({"principle": "rule-1"} if i % 3 == 0 else {})}


def make_job(folder):
    write_lines(os.path.join(folder, "verified.jsonl"), verified())
    path, _ = write_job(folder, True, data={"harmful": "./prompts.jsonl", "helpful": "./helpful.jsonl",
                                            "critiques": "./verified.jsonl"}, rounds=2,
                        stages__red_team="off", stages__evaluate="off", stages__ppo="off", stages__label=LABEL,
                        stages__skill=SKILL, stages__prefer={"batch": 4, "lr": 1e-3, "held_out": 0.3, "gate_confidence": 0})
    return path


def outcome(caid, job):
    show = caid.json("show", job)
    return {"ledger": show["ledger"], "models": [(m["round"], m["stage"], m["kind"], m["hash"]) for m in show["models"]],
            "labels": caid.lines("export", job, "labels"),
            "metrics": [r for r in caid.json("metrics", job)["rows"]
                        if not any(w in r["name"] for w in ("second", "per_s", "time"))]}


def accepted(caid, job):
    """The job as it stands. The overseer has no sense: a person lets it pass, in each round."""
    show = caid.json("show", job)
    assert show["state"] not in ("FAILED", "CANCELLED"), show
    if show.get("gate") and show["state"].startswith("WAITING"):
        caid.ctl("resume", job, "--accept", show["gate"])
    return show


def run(kills):
    folder = tempfile.mkdtemp(prefix="caid-test-")
    caid = Real(TOOLS, spawn=1, root=folder)
    try:
        path = make_job(folder)
        caid.start()
        job = caid.submit_file(path)
        for kind in kills:
            caid.until(lambda: accepted(caid, job) and caid.lines("samples", job, "--kind", kind, "--limit", 1, "-o", "json"),
                       300, f"a {kind} is stored")
            caid.kill()
            time.sleep(0.3)
            caid.start()
        caid.until(lambda: accepted(caid, job)["state"] == "COMPLETED", 400, "the job ends")
        return outcome(caid, job), caid.ctl("report", job), caid.lines("export", job, "examples")
    finally:
        caid.close()
        shutil.rmtree(folder, ignore_errors=True)


whole, report, examples = run(kills=())
value = {(r["round"], r["stage"], r["name"]): r["value"] for r in whole["metrics"] if r["step"] == 0}


def test_labels_follow_debates():
    speeches = [e for e in examples if e["kind"] == "speech"]
    ai = [r for r in whole["labels"] if r["source"] == "ai"]
    assert ai and len(speeches) >= 4 * len(ai) and {e["detail"]["side"] for e in speeches} == {"A", "B"}
    assert all(e["detail"]["generated"] > 0 < e["detail"]["read"] for e in speeches)
    for way in ("debate", "direct"):
        assert 0 <= value[1, "label", f"method_{way}_accuracy"] <= 1
    assert value[1, "label", "method_direct_generated"] == 0 < value[1, "label", "method_debate_generated"]
    assert "Ways to label" in report and "times the tokens: debate" in report, report


def test_the_overseer_has_a_lineage():
    trained = [h for r, s, k, h in whole["models"] if s == "skill" and k == "overseer"]
    assert trained and whole["models"][0][3] not in trained
    second = {r["model"] for r in whole["labels"] if r["round"] == 2 and r["source"] == "ai"}
    assert second == {trained[0]}, (second, trained)
    assert {r["model"] for r in whole["labels"] if r["round"] == 1 and r["source"] == "ai"} == {whole["models"][0][3]}


def test_gaps_are_reported():
    assert value[1, "skill", "gap_prompts"] > 0
    for r in (1, 2):
        g, d, c = (value[r, "skill", f"quality_{x}"] for x in "gdc")
        assert abs(value[r, "skill", "gap_cd"] - (d - c)) < 1e-9 and abs(value[r, "skill", "gap_gd"] - (d - g)) < 1e-9
    for words in ("Critique as a skill", "D − G", "Is there a flaw?"):
        assert words in report, report


def test_bad_rows_are_named():
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        with Real(TOOLS, spawn=0, root=folder) as caid:
            path = os.path.join(folder, "bad.jsonl")
            write_lines(path, [{"prompt": "a", "reply": "b"}, {"prompt": "a", "reply": "b", "flaw": "yes"},
                               {"prompt": "a", "flaw": True}, {"prompt": "a", "reply": "b", "flaw": True, "helpful": True},
                               {"prompt": "a", "reply": "b", "flaw": False}])
            said = caid.ctl("data", "check", path, "--role", "critiques", expect=3)
            for place in ("bad.jsonl:1:", "bad.jsonl:2:", "bad.jsonl:3:", "bad.jsonl:4:"):
                assert place in said, said
            assert "bad.jsonl:5:" not in said, said
            make_job(folder)
            said = caid.ctl("job", "check", os.path.join(folder, "job.yaml"), "--set", "stages.prefer=off", expect=3)
            assert "judged by a preference model" in said, said


def test_killed_three_times_it_ends_the_same():
    got, _, _ = run(kills=("speech", "tampered", "helpful"))
    for key, want in whole.items():
        assert got[key] == want, key


main([f for name, f in list(globals().items()) if name.startswith("test_")])
