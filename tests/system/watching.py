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


def fields(data):
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if data[at - 1] < 128:
                return value
    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        n = {1: 8, 5: 4}.get(key & 7) or varint()
        yield key >> 3, data[at:at + n]
        at += n


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


# ---- Prometheus --------------------------------------------------------------------------------
SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)$')


def test_prometheus_can_read():
    text = caid.ctl("metrics")
    kinds, seen, helped = {}, set(), set()
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
            assert m[1] in kinds and (m[1].endswith("_total") == (kinds[m[1]] == "counter")), line
            assert (m[1], m[2]) not in seen, line
            seen.add((m[1], m[2]))
            float(m[3])
    assert {"cai_build_info", "cai_jobs", "cai_state_free_bytes"} <= set(kinds)
    assert caid.stop() == 0


main([test_a_job_is_followed, test_nothing_is_written_twice, test_a_torn_record_is_mended,
      test_a_strange_file_is_left_alone, test_every_figure_is_explained,
      test_curves_say_what_they_mean, test_scores_are_told_by_principle,
      test_watch_is_one_calm_screen, test_prometheus_can_read])
