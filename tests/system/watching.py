"""watching.py: what others watch a job with: TensorBoard's event files, read here by rules of
their own, and Prometheus' text format. `watching.py TOOLS`."""
import fcntl
import math
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from checkpoint import short_job  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402
from wire import fields  # noqa: E402

TOOLS = sys.argv[1]
FILE = "events.out.tfevents.0000000000.caid"


class World:
    def __init__(self):
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="caid-test-"))
        short_job(self.folder, workers=1, stages__label__gate_pairs=0)
        self.caid = Real(TOOLS, spawn=1, root=self.folder)

    def at(self, *names):
        return os.path.join(self.folder, *names)


world = World()
caid = world.caid


# ---- event files ------------------------------------------------------------------------------
TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def masked(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    with open(path, "rb") as f:
        raw = f.read()
    at = 0
    while at < len(raw):
        length, = struct.unpack_from("<Q", raw, at)
        assert struct.unpack_from("<I", raw, at + 8)[0] == masked(raw[at:at + 8]), at
        data = raw[at + 12:at + 12 + length]
        assert struct.unpack_from("<I", raw, at + 12 + length)[0] == masked(data), at
        yield data
        at += length + 16


def points(path):
    """{(tag, step): value}; the first record names the version."""
    first, *rest = records(path)
    assert dict(fields(first)) == {3: b"brain.Event:2"}, first
    found = {}
    for record in rest:
        event = dict(fields(record))
        value = dict(fields(dict(fields(event[5]))[1]))
        key = (value[1].decode(), event.get(2, 0))
        assert key not in found and struct.unpack("<d", event[1])[0] > 1.7e9, (path, key)
        found[key] = struct.unpack("<f", value.get(2, bytes(4)))[0]
    return found


# ---- Prometheus --------------------------------------------------------------------------------
SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\.)*)"')


def samples(text):
    """{(family, labels): value}, of what keeps the text format's rules."""
    kinds, seen, helped = {}, {}, set()
    assert text.endswith("\n")
    for line in text.rstrip("\n").split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped and len(line.split(" ", 3)[3]) > 5
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name in helped and name not in kinds and kind in ("gauge", "counter"), line
            kinds[name] = kind
        else:
            m = SAMPLE.match(line)
            assert m, line
            assert m[1] == name, f"{line}: not below its family's head"
            assert m[1].endswith("_total") == (kinds[m[1]] == "counter"), line
            key = m[1], tuple(LABEL.findall(m[2] or ""))
            assert key not in seen, line
            seen[key] = float(m[3])
    return seen


def check_board(folder, rows):
    """Every figure is in its place once, and nothing else is."""
    wanted = {}
    for r in rows:
        if r["name"].startswith("pm_bin_"):
            continue
        run = "rounds" if r["step"] == 0 else "ppo" if r["round"] > 1 else "round-1"
        step = r["round"] if r["step"] == 0 else r["step"]
        wanted.setdefault(run, {})[f"{r['stage']}/{r['name']}", step] = r["value"]
    assert sorted(os.listdir(os.path.join(folder, "job-1"))) == sorted(wanted)
    for run, want in wanted.items():
        got = points(os.path.join(folder, "job-1", run, FILE))
        assert got.keys() == want.keys(), (run, got.keys() ^ want.keys())
        for key, value in want.items():
            assert math.isclose(got[key], value, rel_tol=1e-6, abs_tol=1e-37), (key, got[key], value)
    return {run: len(p) for run, p in wanted.items()}


def test_a_job_is_followed():
    caid.start()
    job = caid.submit_file(world.at("job.yaml"))
    follow = subprocess.Popen([os.path.join(TOOLS, "caictl"), "metrics", job, "--tensorboard",
                               world.at("live"), "--follow", "-s", caid.server])
    caid.ctl("wait", job, timeout=300)
    assert follow.wait(timeout=30) == 0
    counts = check_board(world.at("live"), caid.lines("export", job, "metrics"))
    assert counts["ppo"] > 50 and counts["round-1"] > 20, counts
    print("     " + ", ".join(f"{run} {n} points" for run, n in counts.items()))


def test_nothing_is_written_twice():
    path = world.at("live", "job-1", "ppo", FILE)
    before = open(path, "rb").read()
    said = caid.run("metrics", 1, "--tensorboard", world.at("live")).stderr
    assert open(path, "rb").read() == before and "tensorboard --logdir" in said, said


def test_a_torn_record_is_mended():
    """As a crash leaves it, cut anywhere in the last two records."""
    rows = caid.lines("export", 1, "metrics")
    path = world.at("live", "job-1", "ppo", FILE)
    whole = open(path, "rb").read()
    for cut in (1, 7, 30, 60):
        shutil.copytree(world.at("live"), world.at("torn"))
        with open(world.at("torn", "job-1", "ppo", FILE), "wb") as f:
            f.write(whole[:-cut])
        caid.ctl("metrics", 1, "--tensorboard", world.at("torn"))
        check_board(world.at("torn"), rows)
        shutil.rmtree(world.at("torn"))


def test_a_strange_file_is_left_alone():
    os.makedirs(world.at("strange", "job-1", "rounds"))
    path = world.at("strange", "job-1", "rounds", FILE)
    with open(path, "w") as f:
        f.write("a diary of somebody's")
    assert "not an event file" in caid.ctl("metrics", 1, "--tensorboard", world.at("strange"), expect=3)
    assert open(path).read() == "a diary of somebody's"
    caid.ctl("metrics", 1, "--follow", expect=2)


def explained(table, stage, name):
    """By the families that `caictl metrics --explain` speaks of, told a second time."""
    name = re.sub(r"^(member\d+|average)\.", "", name)
    names = [re.escape(r["name"]).replace("\\#", r"\d+") for r in table
             if stage in r["stage"].split() and not r["name"].startswith("…")]
    parts = [r["name"][1:] for r in table if r["name"].startswith("…")]
    tail = f"(_low|_high|_n|{'|'.join(parts)}){{0,2}}" if stage == "evaluate" else "(_low|_high|_n)?"
    name = re.sub(r"^gap/[^/]+", "gap/ID", name)
    return any(re.fullmatch(f"{n}(/[^/]+?)?{tail}", name) for n in names)


def test_every_figure_is_explained():
    table = caid.json("metrics", "--explain")["rows"]
    assert len(table) > 90 and all(len(r["says"]) > 3 for r in table)
    unknown = {(r["stage"], r["name"]) for r in caid.lines("export", 1, "metrics")
               if not explained(table, r["stage"], r["name"])}
    assert not unknown, sorted(unknown)
    assert not explained(table, "ppo", "rewards") and not explained(table, "sft", "kl")


def test_curves_say_what_they_mean():
    report = caid.json("report", 1)
    series = {s["name"]: s for s in report["series"] if s["stage"] == "ppo"}
    placed = sorted((s for s in series.values() if "place" in s), key=lambda s: s["place"])
    assert [s["name"] for s in placed][:6] == ["reward", "kl", "entropy", "length", "reward_by_kl",
                                               "explained_variance"], placed
    assert all(s["unit"] and s["says"].endswith(".") and s["title"] for s in placed)
    budget = caid.json("show", 1)["spec"]["guards"]["kl_budget"]
    assert [m["value"] for m in series["kl"]["marks"]] == ([budget] if budget > 0 else [])
    for (x, y), (_, kl), (_, reward) in zip(*(series[n]["points"] for n in ("reward_by_kl", "kl", "reward"))):
        assert math.isclose(x * x, max(kl, 0), abs_tol=1e-9) and y == reward
    for name in ("kl2", "ratio_mean", "value_clip_fraction", "sampler_gap", "end_rate"):
        assert series[name]["points"], name
    words = caid.ctl("report", 1)
    for s in placed[:6]:
        assert f"\n{s['title']} ({s['unit']})\n" in words and s["says"] in words, s["name"]


def test_scores_are_told_by_principle():
    """Of the replies to prompts at which a critique found the principle broken."""
    broken = {r["principle"] for r in caid.lines("export", 1, "examples")
              if r["kind"] == "critique" and not r["detail"].get("no_flaw")}
    told = {r["name"].split("/")[1] for r in caid.lines("export", 1, "metrics")
            if r["stage"] == "ppo" and r["name"].startswith("score/")}
    assert told and told <= broken, (told, broken)


# What a person watches PPO by, and where Prometheus has it. Of the five plots the last, reward
# over distance, is of the first two.
WATCHED = {
    "reward": "cai_reward_mean", "kl": "cai_kl_nats", "entropy": "cai_entropy_nats",
    "length": "cai_reply_length_tokens", "ratio_max": "cai_probability_ratio_max",
    "explained_variance": "cai_explained_variance_ratio", "end_rate": "cai_replies_ended_ratio",
    "sampler_gap": "cai_sampler_gap_nats", "sampler_gap_max": "cai_sampler_gap_max_nats",
    "clip_fraction": "cai_clipped_ratio", "score_mean": "cai_score_mean"}
BY_PRINCIPLE = "cai_principle_score_mean"


def curves(rows):
    """{name: {step: value}} of PPO."""
    found = {}
    for r in rows:
        if r["stage"] == "ppo" and r["step"] > 0:
            found.setdefault(r["name"], {})[r["step"]] = r["value"]
    return found


def gauges(job):
    """{(family, principle or None): value} of the job's PPO, as scraped while it runs."""
    found = {}
    for (family, labels), value in samples(caid.ctl("metrics")).items():
        labels = dict(labels)
        if labels.get("job") == job and labels["stage"] == "ppo":
            found[family, labels.get("principle")] = value
    return found


def scraped_in_ppo():
    """(job, gauges) of a job that has been ended in the middle of its PPO."""
    job = caid.ctl("submit", world.at("job.yaml"), "--parsable", "--set", "stages.ppo.steps=5000",
                   "--seed", 4, timeout=200).strip()

    def look():
        found = gauges(job)
        if not {f for f, _ in found} >= {*WATCHED.values(), BY_PRINCIPLE}:
            return None
        steps = curves(caid.lines("export", job, "metrics"))
        return found if any(len(steps[f"score/{p}"]) > 1 for _, p in found if p) else None
    found = caid.until(look, 300, "every figure of PPO is at Prometheus")
    caid.ctl("cancel", job)
    caid.ctl("wait", job, expect=20)
    return job, found


def check_gauges(found, jsonl):
    """Prometheus has one step's figures; of a principle that it did not meet, the last before."""
    step, = (s for s, v in jsonl["reward"].items() if math.isclose(v, found["cai_reward_mean", None], rel_tol=1e-8))
    for name, family in WATCHED.items():
        assert math.isclose(found[family, None], jsonl[name][step], rel_tol=1e-8), name
    principles = {p for family, p in found if family == BY_PRINCIPLE}
    for p in principles:
        steps = jsonl[f"score/{p}"]
        last = steps[max(s for s in steps if s <= step)]
        assert math.isclose(found[BY_PRINCIPLE, p], last, rel_tol=1e-8), p
    return principles


def test_each_figure_is_in_all_four():
    """JSON Lines, TensorBoard, Prometheus and the report say the same."""
    job, found = scraped_in_ppo()
    jsonl = curves(caid.lines("export", job, "metrics"))
    principles = check_gauges(found, jsonl)
    assert principles, found
    caid.ctl("metrics", job, "--tensorboard", world.at("all"))
    board = points(world.at("all", f"job-{job}", "ppo", FILE))
    report = caid.json("report", job, "--html", world.at("report.html"))
    series = {s["name"]: s for s in report["series"] if s["stage"] == "ppo"}
    with open(world.at("report.html")) as f:
        page = f.read()
    for name in [*WATCHED, *(f"score/{p}" for p in principles)]:
        steps = {step: value for (tag, step), value in board.items() if tag == f"ppo/{name}"}
        assert steps.keys() == jsonl[name].keys(), name
        assert all(math.isclose(steps[s], v, rel_tol=1e-6, abs_tol=1e-37) for s, v in jsonl[name].items())
        if len(jsonl[name]) > 1:
            drawn = dict(series[name]["points"])
            assert len(drawn) > 1 and all(jsonl[name][s] == v for s, v in drawn.items()), name
            assert f'"{name}"' in page.replace("\\/", "/"), name
    placed = {s["name"] for s in series.values() if "place" in s}
    assert placed - {"reward_by_kl"} <= WATCHED.keys(), placed - WATCHED.keys()
    assert [y for _, y in series["reward_by_kl"]["points"]] == [y for _, y in series["reward"]["points"]]
    table, = (t for t in report["tables"] if t["name"] == "scores")
    assert {r["principle"] for r in table["rows"]} == {n[6:] for n in series if n.startswith("score/")}
    words = caid.ctl("report", job)
    assert all(p in words for p in principles) and table["title"] in words


class Screen:
    """What `caictl watch` draws at a terminal of 24 lines, by the few controls that it uses."""

    def __init__(self, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["CAID_SERVER"] = caid.server
            os.execv(os.path.join(TOOLS, "caictl"), ["caictl", *map(str, arguments)])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.lines, self.row, self.shows = [""], 0, []

    def draw(self, text):
        for part in re.findall("\x1b\\[\\d*[AJK]|\r|\n|[^\x1b\r\n]+", text):
            if part.endswith("A"):
                self.row -= int(part[2:-1])
                assert self.row >= 0, text
            elif part == "\x1b[J":
                del self.lines[self.row + 1:]
                self.lines[self.row] = ""
            elif part == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif part != "\r":
                self.lines[self.row] += part

    def read(self):
        raw = b""
        while True:
            try:
                raw += (got := os.read(self.fd, 65536))
            except OSError:
                got = b""
            if not got:
                break
        for frame in raw.decode().split("\r\x1b[J"):
            self.draw("\r\x1b[J" + frame if self.shows else frame)
            self.shows.append(list(self.lines))
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_watch_is_one_calm_screen():
    """Each stage is one line that stays; figures stand below only while it trains."""
    screen = Screen("watch", caid.submit_file(world.at("job.yaml"), "--set",
                                              "stages.ppo.steps=60", "--seed", 9))
    assert screen.read() == 0
    seen = [s for s in screen.shows if any("KL from the start" in line for line in s)]
    assert seen, screen.lines
    for lines in seen:
        below = [line for line in lines if line.startswith("  ")]
        assert len(below) <= 6 and below == lines[len(lines) - len(below):], lines
        assert all(len(line) <= 100 for line in below), below
        assert [line.split("  ")[1] for line in below[:2]] == ["reward", "KL from the start"], lines
    assert not any("KL from the start" in line for line in screen.lines), screen.lines
    assert any("reinforcement learning  took" in line for line in screen.lines), screen.lines


def test_prometheus_can_read():
    families = {family for family, _ in samples(caid.ctl("metrics"))}
    assert {"cai_build_info", "cai_jobs", "cai_state_free_bytes"} <= families
    assert caid.stop() == 0


main([test_a_job_is_followed, test_nothing_is_written_twice, test_a_torn_record_is_mended,
      test_a_strange_file_is_left_alone, test_every_figure_is_explained,
      test_curves_say_what_they_mean, test_scores_are_told_by_principle,
      test_each_figure_is_in_all_four, test_watch_is_one_calm_screen, test_prometheus_can_read])
