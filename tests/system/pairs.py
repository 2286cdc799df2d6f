"""pairs.py: a preference model from people's pairs in hh-rlhf's form, by `caictl submit` alone; and
what comes out of a job in the forms that others read. `pairs.py TOOLS`."""
import gzip
import json
import os
import random
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import WORDS, sentence, write_job, write_lines  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402
import torch  # noqa: E402
from transformers import AutoTokenizer, LlamaForSequenceClassification  # noqa: E402

TOOLS = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))
SHIPPED = os.path.join(HERE, "..", "..", "constitution", "examples")
SAMPLE = os.path.join(SHIPPED, "hh-pairs.jsonl")
OFF = {f"stages__{s}": "off" for s in ("red_team", "revise", "sft", "label", "evaluate", "ppo")}


def transcript(turns, reply):
    return "".join(f"\n\n{('Human', 'Assistant')[i % 2]}: {t}" for i, t in enumerate(turns)) + \
        f"\n\nAssistant: {reply}"


def hh_rows(n, seed=1):
    """Kind replies are chosen. Every third row goes on with the conversation of the one before."""
    rng, rows, turns = random.Random(seed), [], []
    for i in range(n):
        more = [sentence(rng, 6), sentence(rng, 8)] if i % 3 == 2 else []
        turns = turns + [sentence(rng, 4)] + [sentence(rng, 5)] if more else [f"{i} {sentence(rng, 7)}"]
        turns = turns[:3] if more else turns
        kind, rude = sentence(rng, 4) + " kindly please wait", "take money " + sentence(rng, 5)
        rows.append({"chosen": transcript(turns, kind), "rejected": transcript(turns, rude)})
    return rows


class World:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="caid-test-")
        write_lines(self.at("hh.jsonl.gz"), hh_rows(240))
        self.job, _ = write_job(self.folder, True, data={"human": "./hh.jsonl.gz"}, **{
            **OFF, "stages__prefer": {"batch": 16, "lr": 1e-3, "held_out": 0.3}})
        self.caid = Real(TOOLS, spawn=1, root=self.folder)

    def at(self, name):
        return os.path.join(self.folder, name)


world = World()
caid = world.caid


def test_a_preference_model_by_submit_alone():
    caid.start()
    caid.ctl("submit", world.job, "--wait", timeout=300)
    metrics = {r["name"]: r["value"] for r in caid.json("metrics", 1)["rows"] if r["step"] == 0}
    low, value, high, n = (metrics["pm_human_accuracy" + s] for s in ("_low", "", "_high", "_n"))
    print(f"     accuracy {value:.3f} ({low:.3f} to {high:.3f}) on {n:.0f} pairs", flush=True)
    assert 0.6 < low < value <= high <= 1 and n >= 40, metrics
    assert metrics["rows"] + metrics["rows_held_out"] == 240
    words = caid.ctl("report", 1)
    assert "preference model" in words.lower() and f"{100 * low:.1f}" in words, words


def test_a_conversation_is_on_one_side():
    sides = {}
    labels = caid.lines("export", 1, "labels")
    texts = {r["item"]: r["text"] for r in caid.lines("samples", 1, "--stage", "data", "--kind", "group",
                                                      "--limit", 1000, "-o", "json")}
    assert len(texts) >= 60, "rows of one conversation are one group"
    for row in labels:
        sides.setdefault(int(texts.get(row["item"], row["item"])), set()).add(row["held_out"])
    assert all(len(s) == 1 for s in sides.values())
    assert {s for side in sides.values() for s in side} == {True, False}


def test_the_shipped_sample():
    caid.ctl("data", "check", SAMPLE, "--role", "human")
    job = caid.submit_file(os.path.join(SHIPPED, "pm-from-pairs.yaml"), "--set",
                           f"models.start={world.at('model')}")
    caid.ctl("wait", job, timeout=200)
    metrics = {r["name"]: r["value"] for r in caid.json("metrics", job)["rows"]}
    assert 0 <= metrics["pm_human_accuracy_low"] < metrics["pm_human_accuracy_high"] <= 1


def test_bad_rows_are_left_out_only_when_asked():
    rows = hh_rows(60, 2)
    rows[7]["rejected"] = rows[7]["chosen"]
    rows[11] = {"chosen": transcript(["a"], "b"), "rejected": transcript(["c"], "d")}
    write_lines(world.at("some-bad.jsonl.gz"), rows)
    to = ["--set", f"data.human={world.at('some-bad.jsonl.gz')}"]
    said = caid.ctl("submit", world.job, *to, expect=3)
    assert ":8:" in said and ":12:" in said and "--set data.skip=" in said, said
    said = caid.ctl("submit", world.job, *to, "--set", "data.skip=0.01", expect=3)
    assert "2 of 60 rows are bad, more than data.skip" in said, said
    job = caid.submit_file(world.job, *to, "--set", "data.skip=0.05")
    caid.ctl("wait", job, timeout=200)
    assert "2 bad rows were left out, 58 are used" in caid.ctl("logs", job)
    assert len(caid.lines("export", job, "labels")) == 58


def test_a_held_out_prompt_that_is_trained_on_is_refused():
    write_lines(world.at("red.jsonl"), [{"prompt": f"{i} {sentence(random.Random(i), 12)}"}
                                        for i in range(20)])
    with open(world.at("red.jsonl")) as f:
        same = json.loads(f.readlines()[4])["prompt"]
    write_lines(world.at("held.jsonl"), [{"prompt": "what is it", "kind": "harmful"},
                                         {"prompt": same.upper() + "!", "kind": "harmful"}])
    said = caid.ctl("submit", world.job, "--set", f"data.harmful={world.at('red.jsonl')}", "--set",
                    f"data.evaluate={world.at('held.jsonl')}", expect=3)
    assert "held.jsonl:2:1: error[D011]" in said and "red.jsonl:5" in said, said
    write_lines(world.at("people.jsonl"), [{"prompt": same, "chosen": "yes", "rejected": "no"}])
    said = caid.ctl("submit", world.job, "--set", f"data.human={world.at('people.jsonl')}", "--set",
                    f"data.evaluate={world.at('held.jsonl')}", expect=3)
    assert "held.jsonl:2:1: error[D011]" in said and "people.jsonl:1" in said, said


def test_the_preference_model_as_a_folder():
    out = world.at("judge")
    caid.ctl("export", 1, "pm", "--out", out)
    model = LlamaForSequenceClassification.from_pretrained(out).eval()
    tok = AutoTokenizer.from_pretrained(out)
    with open(os.path.join(out, "README.md"), encoding="utf-8") as f:
        card = f.read()
    shown = caid.json("show", 1)
    for words in (shown["revision"], "seed of every draw | 5", "rule-0", shown["ledger"], "  config.json"):
        assert words in card, (words, card)
    assert world.folder not in card, "no paths of this machine"
    right = 0
    rows = hh_rows(40, 9)
    for row in rows:
        scores = []
        for key in ("chosen", "rejected"):
            parts = row[key].split("\n\n")[1:]
            turns = [{"role": ("user", "assistant")[i % 2], "content": p.split(": ", 1)[1]}
                     for i, p in enumerate(parts)]
            ids = tok.apply_chat_template(turns, return_tensors="pt")
            with torch.no_grad():
                scores.append(model(ids).logits[0, 0].item())
        right += scores[0] > scores[1]
    assert right >= 30, f"{right} of 40: transformers scores with it as the job did"
    caid.ctl("export", 1, "pm", "--out", out, expect=7)
    with open(os.path.join(out, "trainer_state.json")) as f:
        assert json.load(f)["log_history"]


def test_texts_are_as_the_start_has_them():
    for name in ("tokenizer.json", "chat_template.jinja", "special_tokens_map.json"):
        start = os.path.join(world.folder, "model", name)
        if os.path.exists(start):
            with open(start, "rb") as x, open(os.path.join(world.at("judge"), name), "rb") as y:
                assert x.read() == y.read(), name


def test_pairs_in_every_form_are_read_back():
    for form in ("trl", "trl-implicit", "hh"):
        path = world.at(f"{form}.jsonl.gz")
        caid.ctl("export", 1, "pairs", "--form", form, "--out", path)
        with gzip.open(path, "rt", encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        assert len(rows) == 240, len(rows)
        said = caid.json("data", "check", path)["rows"][0]
        assert (said["rows"], said["bad"]) == (240, 0), said
        back = world.at("back.jsonl")
        caid.ctl("data", "export", path, "--to", "caid", "--out", back)
        with open(back, encoding="utf-8") as f:
            chosen = [json.loads(line)["chosen"] for line in f]
        assert chosen == [r["chosen"] for r in caid.lines("export", 1, "pairs")]
    assert "'pairs', 'sft'" not in caid.ctl("export", 1, "labels", "--form", "trl", expect=2)
    caid.ctl("export", 1, "pairs", "--form", "tlr", expect=2)


def test_conversion_of_files():
    out = world.at("own.jsonl")
    caid.ctl("data", "import", world.at("hh.jsonl.gz"), "--out", out, "--held-out", "0.2")
    held = world.at("own.held-out.jsonl")
    sizes = [sum(1 for _ in open(p, encoding="utf-8")) for p in (out, held)]
    assert sum(sizes) == 240 and 20 < sizes[1] < 80, sizes
    caid.ctl("data", "check", held, "--against", out)
    assert "error[D011]" in caid.ctl("data", "check", held, "--against", world.at("hh.jsonl.gz"), expect=3)
    caid.ctl("data", "export", out, "--to", "messages", expect=3)
    figures = {r["figure"]: r["value"] for r in caid.json("data", "stats", world.at("hh.jsonl.gz"))["figures"]}
    assert figures["rows"] == 240 and figures["pairs"] == 240 and figures["most turns"] == 3, figures
    assert figures["conversations"] == 160, figures
    assert "CHARACTERS IN" in caid.ctl("data", "stats", world.at("hh.jsonl.gz"))
    with open(world.at("bad.jsonl"), "w") as f:
        f.write('{"prompt": "x", "reply": "y"}\n' + "nope\n" * 30)
    said = caid.ctl("data", "check", world.at("bad.jsonl"), expect=3)
    assert said.count("error[D001]") == 20 and "30 errors" in said and "first 20" in said, said
    caid.ctl("data", "import", world.at("bad.jsonl"), expect=3)
    assert caid.ctl("data", "import", world.at("bad.jsonl"), "--skip-bad") == '{"prompt":"x","reply":"y"}\n'
    with open(world.at("attempts.jsonl"), "w") as f:
        f.write(json.dumps({"transcript": transcript(["How?", "So.", "And?"], "No."), "rating": 3.0}) + "\n")
    assert caid.lines("data", "import", world.at("attempts.jsonl"), "--first-turn") == [
        {"prompt": "How?", "rating": 3.0}]
    assert len(caid.lines("data", "import", world.at("attempts.jsonl"))[0]["messages"]) == 3


def test_trl_reads_what_is_exported():
    try:
        from trl.data_utils import extract_prompt, is_conversational
    except ImportError:
        print("     skipped: no trl", flush=True)
        return
    rows = caid.lines("export", 1, "pairs", "--form", "trl")
    implicit = caid.lines("export", 1, "pairs", "--form", "trl-implicit")
    for a, b in zip(rows, implicit):
        assert is_conversational(a) and is_conversational(b)
        again = extract_prompt({k: b[k] for k in ("chosen", "rejected")})
        assert again == {k: a[k] for k in ("prompt", "chosen", "rejected")}


assert WORDS
try:
    main([f for name, f in list(globals().items()) if name.startswith("test_")])
finally:
    caid.own_root = True
    caid.close()
