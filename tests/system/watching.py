"""watching.py: what others watch a job with: TensorBoard's event files, read here by rules of
their own, and Prometheus' text format. `watching.py TOOLS`."""
import math
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

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
      test_a_strange_file_is_left_alone, test_every_figure_is_explained, test_prometheus_can_read])
