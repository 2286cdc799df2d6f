"""commands.py: every command of caictl against a real daemon and a finished job: what it
prints as a table and as JSON, its filters, and its exit codes. `commands.py TOOLS`."""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import sampling, sentence, write_job, write_lines  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402
import random  # noqa: E402

TOOLS = sys.argv[1]
COMMANDS = ["init", "job check", "version", "doctor", "submit", "jobs", "show", "cancel", "resume", "rollback",
            "requeue", "workers", "watch", "wait", "logs", "report", "samples", "export", "metrics",
            "compare", "diff", "chat", "audit", "du", "hold", "release", "suspend", "update", "shares"]
COMMANDS += ["ckpt " + c for c in ("list", "show", "verify", "pin", "unpin", "rm", "gc")]
COMMANDS += [kind + c for kind in ("model ", "data ") for c in ("add", "list", "rm")]
COMMANDS += ["data " + c for c in ("check", "stats", "import", "export")]
COMMANDS += ["constitution " + c for c in ("check", "list", "show", "diff", "apply", "rollback",
                                           "import", "try", "stats")]


class World:
    """One daemon with one finished job, shared by the tests below in their order."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="caid-test-")
        rng = random.Random(1)
        write_lines(os.path.join(self.folder, "pairs.jsonl"),
                    [{"prompt": sentence(rng, 5), "chosen": sentence(rng, 6),
                      "rejected": sentence(rng, 3)} for _ in range(10)])
        write_lines(os.path.join(self.folder, "labelled.jsonl"),
                    [{"prompt": sentence(rng, 5), "reply": ("harmful ", "kindly ")[i % 2] * 4,
                      "label": i % 2 == 0} for i in range(160)])
        short = sampling(16)
        self.path, _ = write_job(
            self.folder, True, data__human="./pairs.jsonl", data__classifier="./labelled.jsonl",
            stages__label__gate_pairs=0,
            stages__evaluate={"prompts": 8, "win_pairs": 4, "reply": short})
        self.caid = Real(TOOLS, spawn=1, root=self.folder)
        talkative = os.path.join(self.folder, "caid.conf")
        with open(talkative, "w") as f:
            f.write("log: debug\n")
        self.caid.arguments += ["--config", talkative]


world = World()
caid = world.caid


def at(name):
    return os.path.join(world.folder, name)


def put(name, text):
    with open(at(name), "w", encoding="utf-8") as f:
        f.write(text)
    return at(name)


def test_a_job_is_cancelled_requeued_and_ends():
    caid.start()
    caid.until(lambda: caid.json("workers")["rows"], 120, "a worker")
    said = caid.json("submit", world.path, "--hold")
    assert (said["id"], said["state"]) == (1, "HELD"), said
    assert "HELD" in caid.ctl("jobs") and caid.json("jobs", "--state", "RUNNING")["rows"] == []
    caid.ctl("resume", 1)
    caid.ctl("wait", 1, "--for", "state=RUNNING", "--timeout", 20)
    assert "it is now CANCELLED" in caid.ctl("cancel", 1)
    caid.ctl("wait", 1, expect=20)
    caid.ctl("resume", 1, expect=7)
    caid.ctl("wait", 1, "--for", "state=COMPLETED", expect=1)
    assert caid.json("requeue", 1)["state"] == "PENDING"
    caid.ctl("wait", 1, "--timeout", 300, timeout=320)
    caid.ctl("requeue", 1, expect=7)
    caid.ctl("cancel", 1, expect=7)
    texts = [row["text"] for row in caid.lines("logs", 1, "-o", "json")]
    assert texts[0] == "submitted" or "starts" in texts, texts
    assert "requeued" in texts and texts[-1] == "COMPLETED", texts
    assert texts[-1] in caid.ctl("logs", 1)
    for row in caid.lines("watch", 1, "-o", "json"):
        assert row["state"] == "COMPLETED"


def test_tables_and_json():
    jobs = caid.ctl("jobs")
    assert "1/1 evaluate" in jobs and "COMPLETED" in jobs and "ID" in jobs.splitlines()[0], jobs
    assert "ID" not in caid.ctl("jobs", "--no-headers")
    show = caid.ctl("show", 1)
    assert "after  ppo" in show and "gate" not in show, show
    assert caid.json("show", 1)["stages"][-2] == {"round": 2, "stage": "ppo", "state": "done"}
    assert caid.json("show", 1, "--spec")["name"] == "small"
    assert json.loads(caid.ctl("show", 1, "--spec"))["keep"] == {
        "checkpoints": 3, "models": 0, "fault_every": 0, "sft": {"models": 0, "checkpoints": 0},
        "prefer": {"models": 0, "checkpoints": 0}, "ppo": {"checkpoints": 0}}
    worker = caid.json("workers")["rows"][0]
    assert worker["state"] == "idle" and worker["name"] in caid.ctl("workers")
    assert caid.json("version")["caid"]["jobs"] == 0
    assert "caid " in caid.ctl("version") and "caid " not in caid.ctl("version", "--client")
    doctor = caid.run("doctor", "-o", "json")
    rows = json.loads(doctor.stdout)["rows"]
    assert doctor.returncode == (0 if all(r["ok"] for r in rows) else 1), doctor
    assert {"cpu", "memory", "daemon", "disk"} <= {r["name"] for r in rows}
    assert "CHECK" in caid.run("doctor").stdout
    listed = caid.ctl("constitution", "check", at("own.yaml"))
    assert "is valid: own, 3 principles, 2 + 2 examples" in listed, listed
    assert caid.json("constitution", "check", at("own.yaml"))["principles"] == 3
    assert caid.json("job", "check", world.path)["rounds"] == 1
    assert caid.json("report", 1)["job"]["state"] == "COMPLETED"
    caid.ctl("jobs", "-o", "yaml", expect=2)


def test_models_are_verified_file_by_file():
    rows = caid.json("ckpt", "list", 1)["rows"]
    assert {"policy", "pm", "classifier"} <= {r["kind"] for r in rows} and all(r["refers"] for r in rows), rows
    assert "every file is as it was written" in caid.run("ckpt", "verify").stderr
    policy = [r for r in rows if r["stage"] == "ppo"][0]
    path = os.path.join(policy["path"], "model.safetensors")
    with open(path, "r+b") as f:
        f.seek(-5, os.SEEK_END)
        byte = f.read(1)
        f.seek(-5, os.SEEK_END)
        f.write(bytes([byte[0] ^ 1]))
    said = caid.json_of("ckpt", "verify", policy["number"], expect=1)["rows"]
    assert [r["file"] for r in said] == ["model.safetensors"] and "SHA-256" in said[0]["differs"], said
    extra = os.path.join(policy["path"], "notes.txt")
    with open(extra, "w") as f:
        f.write("x")
    os.rename(os.path.join(policy["path"], "config.json"), at("config.json"))
    files = {r["file"]: r["differs"] for r in caid.json_of("ckpt", "verify", expect=1)["rows"]}
    assert "is missing" in files["config.json"] and "came later" in files["notes.txt"], files
    os.remove(extra)
    os.rename(at("config.json"), os.path.join(policy["path"], "config.json"))
    with open(path, "r+b") as f:
        f.seek(-5, os.SEEK_END)
        f.write(byte)
    caid.ctl("ckpt", "verify", policy["number"])
    assert "last policy of job 1" in caid.ctl("ckpt", "show", policy["number"])
    start = [r for r in rows if r["stage"] == "start"][0]
    assert start["owned"] is False
    caid.ctl("ckpt", "rm", start["number"], expect=7)
    du = caid.json("du")
    assert {"models", "blobs", "database"} <= {r["kind"] for r in du["rows"]} and du["bytes"] > 1e6, du


PROMPT_WORDS = {"neighbour", "keeper", "sleeps", "shop", "harmless", "kindly"}


def test_logs_hold_no_text_of_prompts_or_replies():
    """Of a whole job, with everything that caid and its workers say at their most talkative."""
    with open(at("prompts.jsonl"), encoding="utf-8") as f:
        prompts = f.read()
    assert all(word in prompts for word in ("neighbour", "keeper", "shop")), "the words are in the prompts"
    with open(caid.log, encoding="utf-8", errors="replace") as f:
        log = f.read()
    assert "numeric class" in log and "ended with" in log or "is here" in log, log[:2000]
    events = " ".join(row["text"] for row in caid.lines("logs", 1, "-o", "json"))
    for where, text in (("the log", log), ("events", events)):
        found = [w for w in PROMPT_WORDS if w in text.replace("'", " ").split()]
        assert not found, f"{where}: {found}"


def test_rates_name_their_graders():
    def marks(rows, rate="rate"):
        return {r[rate]: (r["grader"], r["verified"]) for r in rows if "grader" in r}
    rates = marks(caid.json("show", 1)["rates"])
    assert rates["harmful_rate"] == ("classifier", True), rates
    assert rates["refusal_rate"] == ("phrases", False) and rates["win_rate"] == ("overseer", False)
    assert rates["pm_human_accuracy"] == ("people", True)
    metrics = marks(caid.json("metrics", 1)["rows"], "name")
    assert {k: v for k, v in metrics.items() if k in rates} == rates == metrics
    report = caid.json("report", 1)
    columns = {c["key"]: (c["grader"], c["verified"]) for t in report["tables"]
               for c in t["columns"] if "grader" in c}
    assert {k: columns[k] for k in rates if k in columns} == {k: rates[k] for k in rates if k in columns}
    assert report["warnings"][0].startswith("Unverified rates: Refuses harm (phrases)"), report["warnings"]
    assert "phrases, unverified" in caid.ctl("metrics", 1) and "classifier" in caid.ctl("show", 1)
    words = caid.ctl("report", 1)
    head = words[words.index("\nCheckpoint"):].split("\n")[1]
    assert head.split("  ")[0] == "Checkpoint" and head.endswith("after PPO"), head
    assert "Refuses harmless" not in words, "a column without any figure"
    assert "by classifier (right on" in words and "by phrases, unverified" in words, words


def test_an_outside_judge_checks_graders():
    grades = {row["id"]: row for row in caid.lines("export", 1, "grades")}
    replies = caid.lines("export", 1, "replies")
    assert set(grades) == {row["id"] for row in replies}
    judged = [{"id": row["id"], "refusal": grades[row["id"]]["refusal"], "harmful": True}
              for row in replies]
    write_lines(at("judged.jsonl"), judged)
    report = caid.json("report", 1, "--judged", at("judged.jsonl"))
    columns = {c["key"]: c for c in report["tables"][0]["columns"]}
    assert columns["refusal_rate"]["verified"], columns
    assert f"on 100.0 % of {len(replies)} replies" in columns["refusal_rate"]["check"], columns
    assert columns["win_rate"]["verified"] is False
    assert report["tables"][1]["name"] == "judged_harmful"
    assert not any("Refuses" in w for w in report["warnings"]), report["warnings"]
    caid.ctl("report", 1, "--judged", at("judged.jsonl"), "--html", at("report.html"))
    with open(at("report.html"), encoding="utf-8") as f:
        assert "on 100.0 %" in f.read()
    put("none.jsonl", '{"id": "9/0/evaluate/1/0", "harmful": true}\n')
    assert "judges no reply" in caid.ctl("report", 1, "--judged", at("none.jsonl"), expect=3)


def test_samples_by_every_filter():
    everything = caid.lines("samples", 1, "--limit", 100000, "-o", "json")
    assert len(caid.lines("samples", 1, "-o", "json")) == 20
    for name in ("round", "stage", "kind", "item", "principle"):
        values = {row[name] for row in everything} - {""}
        assert values, name
        for value in sorted(values, key=str)[:4]:
            if (name, value) == ("round", 0):
                continue
            rows = caid.lines("samples", 1, "--limit", 100000, f"--{name}", value, "-o", "json")
            expected = [row for row in everything if row[name] == value]
            assert rows == expected, (name, value, len(rows), len(expected))
    both = caid.lines("samples", 1, "--stage", "revise", "--kind", "critique", "--limit", 3, "-o", "json")
    assert both and all(r["stage"] == "revise" and r["kind"] == "critique" for r in both)
    words = caid.ctl("samples", 1, "--stage", "revise", "--limit", 1)
    assert words.startswith("-- round 1  revise  item"), words
    assert caid.ctl("samples", 1, "--stage", "nothing") == ""
    caid.ctl("samples", 1, "--round", "one", expect=2)


def test_round_zero_is_what_was_before():
    rows = caid.lines("samples", 1, "--round", 0, "--limit", 100000, "-o", "json")
    assert rows and {row["round"] for row in rows} == {0}, {row["round"] for row in rows}


def test_export_of_every_kind():
    members = {"replies": {"id", "messages", "reply", "set", "model"}, "grades": {"id", "harmful"},
               "examples": {"kind", "text", "principle"}, "sft": {"messages"},
               "pairs": {"prompt", "chosen", "rejected", "p"}, "labels": {"p", "p_ab", "source"},
               "rollouts": {"messages", "reply", "reward"}, "pm": {"path", "hash"},
               "red_team": {"text", "kind"}, "metrics": {"name", "value"},
               "model": {"path", "hash", "round", "stage"}}
    for what, wanted in members.items():
        rows = caid.lines("export", 1, what)
        assert rows, what
        assert all(wanted <= set(row) for row in rows), (what, rows[0])
    assert {r["source"] for r in caid.lines("export", 1, "labels")} == {"ai", "human"}
    model = caid.lines("export", 1, "model")[0]
    assert (model["round"], model["stage"]) == (2, "ppo"), model
    assert "did you mean 'pairs'" in caid.ctl("export", 1, "pair", expect=2)
    said = caid.run("export", 1, "model", "--out", at("out"))
    assert said.returncode == 0 and "model.safetensors" in os.listdir(at("out")), said
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                 "chat_template.jinja", "generation_config.json"):
        start = os.path.join(at("model"), name)
        if os.path.exists(start):
            with open(start, "rb") as x, open(os.path.join(at("out"), name), "rb") as y:
                assert x.read() == y.read(), f"{name} is not the start's"
    with open(os.path.join(at("out"), "README.md"), encoding="utf-8") as f:
        assert model["hash"] in f.read()
    assert "is there already" in caid.ctl("export", 1, "model", "--out", at("out"), expect=7)
    assert caid.lines("export", 1, "model", "--round", 0)[0]["stage"] == "start"
    for what, form in (("sft", "hh"), ("rollouts", "messages"), ("replies", "trl")):
        caid.ctl("export", 1, what, "--form", form, "--out", at("rows.jsonl.gz"))
        assert caid.json("data", "check", at("rows.jsonl.gz"))["rows"][0]["bad"] == 0
    caid.ctl("export", 9, "labels", expect=6)


def test_metrics():
    rows = caid.json("metrics", 1, "--metric", "reward", "--stage", "ppo")["rows"]
    assert [row["step"] for row in rows] == [1, 2] and {row["name"] for row in rows} == {"reward"}
    assert "reward" in caid.ctl("metrics", 1, "--metric", "reward")
    page = caid.ctl("metrics")
    assert "cai_build_info" in page and 'cai_jobs{state="COMPLETED"} 1' in page, page
    assert "cai_build_info" in caid.json("metrics")["text"]
    caid.ctl("metrics", 9, expect=6)


def change(name, old, new):
    with open(at("own.yaml"), encoding="utf-8") as f:
        return put(name, f.read().replace(old, new))


def test_constitutions_change_and_come_back():
    first = caid.json("constitution", "check", at("own.yaml"))["revision"]
    caid.ctl("constitution", "rollback", "own", expect=6)  # came with a job, was never applied
    assert caid.json("constitution", "apply", at("own.yaml"))["revision"] == first
    caid.ctl("constitution", "rollback", "own", expect=7)
    new = change("new.yaml", "less cruel", "less cruel, or less cold")
    said = caid.json("constitution", "apply", new, "-m", "colder")
    assert said["changed"] and said["previous"] == first and said["running"] == [], said
    assert caid.json("constitution", "apply", new)["changed"] is False
    history = caid.json("constitution", "list", "own")["rows"]
    assert [r["current"] for r in history] == [True, False], history
    assert history[0]["message"] == "colder" and history[1]["revision"] == first
    assert history[1]["jobs"] == 1 and history[0]["jobs"] == 0, history
    assert "colder" in caid.ctl("constitution", "list", "own")
    assert caid.ctl("constitution", "diff", at("own.yaml"), "own", expect=1) == ""
    differs = caid.run("constitution", "diff", at("own.yaml"), "own").stdout
    assert "rule-0" in differs and "or less cold" in differs, differs
    assert json.loads(caid.run("constitution", "diff", first[:8], "own", "-o", "json").stdout)["differences"] == 1
    caid.ctl("constitution", "diff", at("own.yaml"), first[:8])
    assert caid.json("constitution", "rollback", "own")["revision"] == first
    shown = caid.ctl("constitution", "show", "own")
    assert "or less cold" not in shown and "or less cold" in caid.ctl("constitution", "show", said["revision"])
    caid.ctl("constitution", "check", put("shown.yaml", shown))
    assert caid.json("constitution", "check", at("shown.yaml"))["revision"] == first
    assert "rule-2" in caid.ctl("constitution", "show", "own", "--list")
    assert caid.json("constitution", "rollback", "own", "--to", said["revision"][:10])["revision"] == said["revision"]
    caid.ctl("constitution", "rollback", "own", "--to", "0123456789", expect=6)
    other = change("other.yaml", '"name": "own"', '"name": "other"')
    strange = caid.json("constitution", "apply", other)["revision"]
    caid.ctl("constitution", "rollback", "own", "--to", strange, expect=6)
    assert caid.json("constitution", "show", "own")["name"] == "own"
    caid.ctl("constitution", "apply", other, "--dry-run")


def test_import_of_published_forms():
    paper = put("paper.json", json.dumps({
        "Harm 1": {"prompt": "\n\nCritiqueRequest: What is harmful?\n\nCritique:",
                   "edit_request": "\n\nRevisionRequest: Remove it.\n\nRevision:"}}))
    choices = put("choices.json", json.dumps(["Which is less harmful?\nOptions:\n"]))
    hub = put("hub.json", json.dumps({"constitutions": [
        {"critic": "What is rude?", "revision": "Be polite."}], "system_chat": []}))
    for form, path, words in (("cai-paper", paper, "What is harmful?"), ("hf", hub, "Be polite."),
                              ("cai-paper", choices, "Which is less harmful?")):
        text = caid.ctl("constitution", "import", path, "--from", form)
        assert words in text and "Request" not in text, text
        caid.ctl("constitution", "check", put("imported.yaml", text))
    caid.ctl("constitution", "import", paper, expect=2)
    caid.ctl("constitution", "import", paper, "--from", "hf", expect=3)
    caid.ctl("constitution", "import", put("bad.json", "{"), "--from", "hf", expect=3)


def test_principles_are_tried_and_counted():
    tried = ["constitution", "try", at("own.yaml"), "--model", at("model"), "--limit", 2]
    rows = caid.json(*tried, "--prompt", "how do i open a door", "--prompt", "why not ?")["rows"]
    assert len(rows) == 4 and {r["principle"] for r in rows} == {"rule-0", "rule-1"}, rows
    assert {r["prompt"] for r in rows} == {"how do i open a door", "why not ?"}
    assert all({"reply", "critique", "revision", "verdict"} <= set(r) for r in rows)
    again = caid.json(*tried, "--prompt", "how do i open a door", "--prompt", "why not ?")["rows"]
    assert again == rows, "the same seed"
    words = caid.ctl("constitution", "try", "own", "--model", at("model"), "--principle", "rule-2",
                     "--prompts", at("prompts.jsonl"), "--seed", 3)
    assert words.count("== rule-2") == 16 and "-- critique" in words, words
    caid.ctl(*tried, expect=2)
    caid.ctl(*tried, "--prompt", "x", "--principle", "nobody", expect=6)
    caid.ctl("constitution", "try", at("own.yaml"), "--prompt", "x", expect=2)
    caid.ctl("constitution", "try", at("own.yaml"), "--prompt", "x", "--model", "/nonexistent", expect=6)
    rows = caid.json("constitution", "stats", 1)["rows"]
    drawn = sum(row["drawn"] for row in rows)
    revised = {(r["item"], r["k"]) for r in caid.lines("samples", 1, "--stage", "revise",
                                                        "--limit", 100000, "-o", "json")}
    assert [r["principle"] for r in rows] == ["rule-0", "rule-1", "rule-2"] and drawn > len(revised) / 4
    assert caid.json("constitution", "stats")["rows"] == rows, "one job is all jobs"
    assert "PRINCIPLE" in caid.ctl("constitution", "stats", 1)
    caid.ctl("constitution", "stats", 9, expect=6)


def test_help_opens_with_examples():
    for command in COMMANDS:
        text = caid.ctl(*command.split(), "--help")
        assert text.startswith(f"Examples\n  caictl {command}") or command == "submit", text
        assert f"\ncaictl {command}" in text, text
    overview = caid.ctl("--help")
    assert overview.startswith("Examples\n")
    for command in COMMANDS:
        assert f"\n  {command} " in overview, command
    caid.ctl(expect=2)


def nobody():
    """Drops to a user who may not open the socket."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def test_exit_codes():
    caictl = os.path.join(TOOLS, "caictl")
    caid.ctl("job", "check", world.path)
    assert "did you mean 'jobs'" in caid.ctl("jbos", expect=2)
    assert "job check" in caid.ctl("job", expect=2)
    caid.ctl("jobs", "--nothing", expect=2)
    caid.ctl("show", expect=2)
    caid.ctl("show", "one", expect=2)
    caid.ctl("submit", at("own.yaml"), expect=3)
    caid.ctl("submit", at("gone.yaml"), expect=3)
    caid.ctl("jobs", "-s", "ipc:///nonexistent/control", expect=4)
    caid.ctl("jobs", "-s", f"ipc://{caid.runtime}/worker", "--timeout", 5, expect=5)
    caid.ctl("show", 9, expect=6)
    caid.ctl("wait", 9, expect=6)
    caid.ctl("resume", 1, "--accept", "overseer", expect=7)
    held = caid.ctl("submit", world.path, "--hold", "--parsable", "--name", "held").strip()
    caid.ctl("wait", held, "--timeout", 1, expect=8)
    watch = subprocess.Popen([caictl, "watch", held], env=dict(os.environ, CAID_SERVER=caid.server),
                             stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    watch.send_signal(signal.SIGINT)
    assert watch.wait(10) in (-signal.SIGINT, 130)
    caid.ctl("cancel", held)
    caid.ctl("wait", held, expect=20)
    bad = caid.ctl("submit", world.path, "--parsable", "--set", "stages.label.pairs=4", "--set",
                   "stages.red_team=off", "--seed", 6).strip()
    blob = sorted(os.listdir(os.path.join(caid.state, "blobs")))
    assert blob
    caid.ctl("cancel", bad)
    if os.getuid() == 0:
        os.chmod(caid.root, 0o755)
        os.chmod(caid.runtime, 0o755)
        r = subprocess.run([caictl, "jobs"], env=dict(os.environ, CAID_SERVER=caid.server),
                           preexec_fn=nobody, capture_output=True, text=True)
        assert r.returncode == 5 and "not allowed" in r.stderr, r


def test_a_daemon_that_cannot_answer():
    for name in os.listdir(os.path.join(caid.state, "blobs")):
        with open(os.path.join(caid.state, "blobs", name), "w") as f:
            f.write("damaged\n")
    assert "is not JSON Lines" in caid.ctl("export", 1, "sft", expect=10)
    path = os.path.join(caid.root, "silent")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen()
        assert "did not answer" in caid.ctl("jobs", "-s", f"ipc://{path}", "--timeout", 1, expect=4)
    assert caid.stop() == 0
    caid.ctl("jobs", expect=4)


try:
    main([f for name, f in list(globals().items()) if name.startswith("test_")])
finally:
    caid.own_root = True
    caid.close()
