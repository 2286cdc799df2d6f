"""look.py: caictl compare, diff and chat: models that run through caiprobe. `look.py TOOLS`."""
import json
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import sentence, write_checkpoint, write_job, write_lines  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402

TOOLS = sys.argv[1]
OFF = {f"stages__{s}": "off" for s in ("red_team", "revise", "sft", "label", "evaluate", "ppo")}
QUICK = ["--max-new-tokens", 12, "--limit", 6]


class World:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="caid-test-")
        rng = random.Random(1)
        write_lines(self.at("pairs.jsonl"), [
            {"prompt": f"{i} {sentence(rng, 5)}", "chosen": sentence(rng, 6), "rejected": sentence(rng, 3)}
            for i in range(30)])
        self.job, _ = write_job(self.folder, True, data={"human": "./pairs.jsonl"}, **{
            **OFF, "stages__prefer": {"batch": 16, "lr": 1e-3, "held_out": 0.3}})
        write_checkpoint(self.at("other"), True, seed=8)
        self.caid = Real(TOOLS, spawn=1, root=self.folder)

    def at(self, name):
        return os.path.join(self.folder, name)


world = World()
caid = world.caid
model, other, prompts = world.at("model"), world.at("other"), world.at("prompts.jsonl")


def test_two_folders_are_compared():
    caid.start()
    run = ["compare", model, other, "--prompts", prompts, "--overseer", model, "--constitution",
           world.at("own.yaml"), *QUICK]
    out = caid.json(*run, "--samples", 2)
    rows = out["rows"]
    assert len(rows) == 12 and out["conversations"] == 6 and out["own"], out
    assert all({"messages", "a", "b", "p_ab", "p_ba", "p", "principle", "better"} <= set(r) for r in rows)
    rate = out["b_better"]
    assert 0 <= rate["low"] < rate["value"] < rate["high"] <= 1 and rate["n"] == 12, rate
    assert out["b_won"] + out["a_won"] + out["even"] == 12
    assert caid.json(*run, "--samples", 2) == out, "the same seed"
    assert caid.json(*run, "--seed", 2)["rows"][0]["a"] != rows[0]["a"]
    turned = caid.json("compare", other, model, *run[3:], "--samples", 2)
    assert abs(turned["b_better"]["value"] - (1 - rate["value"])) < 1e-9, "the other way round"
    words = caid.ctl(*run, "--show", 2, "--out", world.at("bouts.jsonl"))
    assert "B is better in" in words and " │ " in words and "may favour its own" in words, words
    assert caid.json("data", "check", world.at("bouts.jsonl"))["rows"][0]["rows"] == 6


def test_a_model_is_as_good_as_itself():
    out = caid.json("compare", model, model, "--prompts", prompts, "--overseer", other, *QUICK)
    assert out["b_better"]["value"] == 0.5 and out["even"] == 6, out
    assert out["b_better"]["low"] < 0.2 and out["b_better"]["high"] > 0.8


def test_jobs_are_compared_by_their_models():
    for more in ([], ["--set", "stages.prefer.lr=2e-3", "--seed", "6"]):
        caid.ctl("submit", world.job, "--wait", *more, timeout=200)
    out = caid.json("compare", "1:0", other, "--prompts", prompts, *QUICK)
    assert out["a"].startswith("start of job 1") and "own, revision" in out["constitution"], out
    assert "--prompts" in caid.ctl("compare", "1:0", "2:0", expect=6)
    assert "no such model" in caid.ctl("compare", "1:3", other, "--prompts", prompts, expect=6)
    caid.ctl("compare", "9", other, "--prompts", prompts, expect=6)
    caid.ctl("compare", model, world.folder, "--prompts", prompts, expect=6)
    caid.ctl("compare", model, other, expect=2)
    caid.ctl("compare", model, other, "--prompts", prompts, expect=2)


def test_two_jobs_differ():
    out = json.loads(caid.run("diff", 1, 2, "-o", "json").stdout)
    assert {r["name"]: (r["a"], r["b"]) for r in out["settings"]} == {
        "seed": (5, 6), "stages.prefer.lr": (0.001, 0.002)}, out["settings"]
    assert out["constitution"] == "" and any(r["name"] == "loss" for r in out["figures"]), out
    said = caid.run("diff", 1, 2)
    assert said.returncode == 1 and "stages.prefer.lr" in said.stdout and "The same revision" in said.stdout
    same = caid.run("diff", 1, 1)
    assert same.returncode == 0 and same.stdout.count("The same") == 3, same.stdout
    caid.ctl("diff", 1, model, expect=2)


def test_a_talk_without_a_terminal():
    said = subprocess.run([os.path.join(TOOLS, "caictl"), "chat", model, "--max-new-tokens", "8",
                           "--temperature", "0", "-o", "json"], input="how do i open a door\nwhy not ?\n",
                          capture_output=True, text=True, timeout=60)
    ends = [json.loads(line) for line in said.stdout.splitlines()]
    assert said.returncode == 0 and len(ends) == 2 and all(e["stop"] in ("end", "length") for e in ends), said
    again = subprocess.run([os.path.join(TOOLS, "caictl"), "chat", model, "--max-new-tokens", "8",
                            "--temperature", "0", "-q"], input="how do i open a door\n",
                           capture_output=True, text=True, timeout=60)
    assert again.stdout == ends[0]["text"] + "\n", (again.stdout, ends[0])


class Terminal:
    def __init__(self, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(os.path.join(TOOLS, "caictl"), ["caictl", *map(str, arguments)])
        self.seen = b""

    def until(self, pattern, limit=30):
        end = time.monotonic() + limit
        while not re.search(pattern, self.seen):
            if time.monotonic() > end:
                raise AssertionError(f"not seen: {pattern}: {self.seen!r}")
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    break
        assert re.search(pattern, self.seen), (pattern, self.seen)
        before, self.seen = self.seen, b""
        return before

    def type(self, text):
        os.write(self.fd, text.encode())


def test_a_talk_at_a_terminal():
    t = Terminal("chat", model, "--max-new-tokens", 1500, "--temperature", 3)
    t.until(b"you> ")
    t.type("\x03")
    t.until(b"Ctrl-D or /quit leaves\r\nyou> ")
    for _ in range(20):  # until a reply is long enough to be cut
        t.type("tell me\n")
        t.until(rb"tell me\r\n.")
        t.type("\x03")
        if b"cut by Ctrl-C" in t.until(rb"you> "):
            break
    else:
        raise AssertionError("no reply was cut")
    t.type("/save " + world.at("talk.jsonl") + "\n")
    t.until(rb"as `caictl data` reads it")
    assert caid.json("data", "check", world.at("talk.jsonl"))["rows"][0]["rows"] == 1
    t.type("/clear\n")
    t.until(rb"Begun anew")
    t.type("\x04")
    assert os.waitstatus_to_exitcode(os.waitpid(t.pid, 0)[1]) == 0


def test_text_of_models_is_inert():
    """The tokenizer's pieces of bytes 0 to 31 come up at this temperature."""
    said = subprocess.run([os.path.join(TOOLS, "caictl"), "chat", other, "--max-new-tokens", "400",
                           "--temperature", "50", "-q"], input=b"x\ny\nz\n", capture_output=True, timeout=120)
    text = said.stdout.decode("utf-8")
    assert said.returncode == 0 and len(text) > 100, said
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text), ascii(text)
    assert re.search(r"\\x|\^|␛|\\u|<", text), "made visible instead"


def test_a_killed_talk_leaves_no_process():
    t = Terminal("chat", model)
    t.until(b"you> ")
    children = subprocess.run(["ps", "--ppid", str(t.pid), "-o", "pid="], capture_output=True, text=True).stdout
    child = int(children.split()[0])
    os.kill(t.pid, signal.SIGKILL)
    os.waitpid(t.pid, 0)
    end = time.monotonic() + 10
    while os.path.exists(f"/proc/{child}") and time.monotonic() < end:
        with open(f"/proc/{child}/stat") as f:
            if f.read().split()[2] == "Z":
                break
        time.sleep(0.05)
    else:
        assert not os.path.exists(f"/proc/{child}")


try:
    main([f for name, f in list(globals().items()) if name.startswith("test_")])
finally:
    caid.own_root = True
    caid.close()
