"""two_machines.py: two network namespaces stand for two machines. caid is in one; a worker of each
comes over TCP with its key, one started by Slurm's script, one by Kubernetes' manifest. A gang of
two ranks trains over the interface between them, to the bytes of two local ranks; nothing listens
on every interface. Also reads every file of tools/service/remote. `two_machines.py TOOLS`."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
TOOLS = os.path.abspath(sys.argv[1])
FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "service", "remote")
A, B = "10.99.0.1", "10.99.0.2"


def enter():
    """This program once more in namespaces of its own, where it may make another one."""
    if os.environ.get("CAI_NAMESPACES"):
        return
    alone = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child",
             "--mount-proc"]
    if subprocess.run([*alone, "ip", "link", "add", "ve0", "type", "veth", "peer", "name", "ve1"],
                      capture_output=True).returncode:
        alone.remove("--mount-proc")
        if subprocess.run([*alone, "ip", "link", "add", "ve0", "type", "veth", "peer", "name", "ve1"],
                          capture_output=True).returncode:
            print("skipped: no network namespace can be made here")
            sys.exit(77)
    os.environ["CAI_NAMESPACES"] = "1"
    os.execvp("unshare", [*alone, "timeout", "-k", "5", "420", sys.executable, *sys.argv])


enter()
import zmtp  # noqa: E402
from checkpoint import short_job  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, **more)


class Machine:
    """A network namespace, kept by a process that sleeps in it."""

    def __init__(self):
        self.keeper = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        own = os.readlink("/proc/self/ns/net")
        end = time.monotonic() + 20
        while os.readlink(f"/proc/{self.keeper.pid}/ns/net") == own:
            assert time.monotonic() < end, "no second namespace"
            time.sleep(0.02)

    def inside(self, *command):
        return ["nsenter", "--net", "--target", str(self.keeper.pid), "--preserve-credentials", "--", *command]

    def close(self):
        self.keeper.kill()
        self.keeper.wait()


def connect(b):
    for command in (["ip", "link", "add", "ve0", "type", "veth", "peer", "name", "ve1", "netns", str(b.keeper.pid)],
                    ["ip", "addr", "add", f"{A}/24", "dev", "ve0"], ["ip", "link", "set", "ve0", "up"],
                    ["ip", "link", "set", "lo", "up"], b.inside("ip", "addr", "add", f"{B}/24", "dev", "ve1"),
                    b.inside("ip", "link", "set", "ve1", "up"), b.inside("ip", "link", "set", "lo", "up")):
        out = run(*command)
        assert out.returncode == 0, (command, out.stderr)


def received(interface):
    with open("/proc/self/net/dev") as f:
        return next(int(line.split(":")[1].split()[0]) for line in f if line.strip().startswith(interface + ":"))


def listeners():
    """Local addresses that TCP listens on, in this namespace."""
    found = set()
    for name, six in (("tcp", False), ("tcp6", True)):
        with open(f"/proc/self/net/{name}") as f:
            for line in f.readlines()[1:]:
                words = line.split()
                if words[3] == "0A":
                    raw = bytes.fromhex(words[1].split(":")[0])
                    raw = b"".join(raw[i:i + 4][::-1] for i in range(0, len(raw), 4))
                    found.add(socket.inet_ntop(socket.AF_INET6 if six else socket.AF_INET, raw))
    return found


class Remote(Real):
    def __init__(self, folder):
        super().__init__(TOOLS, spawn=0, root=folder)
        self.tcp = f"tcp://{A}:7707"
        with open(os.path.join(folder, "caid.conf"), "w") as f:
            f.write(f"listen: {self.tcp}\ninterface: ve0\n")
        self.arguments += ["--config", f.name, "--keys", os.path.join(folder, "keys")]
        self.started = []

    def key(self, name):
        path = os.path.join(self.root, f"{name}.key")
        self.ctl("key", "new", name, "--role", "worker", "--out", path)
        return path

    def start_worker(self, command, env, name):
        with open(os.path.join(self.root, f"{name}.log"), "wb") as log:
            self.started.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **env},
                                                 start_new_session=True))

    def said(self, name):
        with open(os.path.join(self.root, f"{name}.log"), errors="replace") as f:
            return f.read()

    def close(self):
        for p in self.started:
            if p.poll() is None:
                os.killpg(p.pid, 15)
        for p in self.started:
            try:
                p.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, 9)
                p.wait()
        super().close()


# ---- the ways to start a worker ------------------------------------------------------------------

SRUN = """#!/bin/bash
# One task of srun: what Slurm tells a task, and the task.
while [ "${1#--}" != "$1" ]; do shift; done
export SLURM_PROCID=0 SLURM_LOCALID=0
exec "$@"
"""


def by_slurm(caid, machine, key, interface):
    bin_ = os.path.join(caid.root, "bin")
    os.makedirs(bin_, exist_ok=True)
    with open(os.path.join(bin_, "srun"), "w") as f:
        f.write(SRUN)
    os.chmod(f.name, 0o755)
    env = {"CAID_ENDPOINT": caid.tcp, "CAID_KEY": key, "CAID_INTERFACE": interface, "CAID_STATE": caid.state,
           "CAID_DEVICE": "cpu", "SLURM_JOB_ID": "17", "SLURM_CPUS_PER_TASK": "1",
           "PATH": f"{bin_}:{TOOLS}:{os.environ['PATH']}"}
    caid.start_worker(machine.inside("bash", os.path.join(FILES, "cai-worker.sbatch")), env, "slurm")


def container():
    import yaml
    with open(os.path.join(FILES, "cai-worker.kubernetes.yaml")) as f:
        parts = list(yaml.safe_load_all(f))
    return parts, parts[0]["spec"]["template"]["spec"]["containers"][0]


def by_kubernetes(caid, key, interface):
    """The manifest's own command line, with what a cluster would put in its variables and mounts."""
    _, box = container()
    variables = {"CAID_ENDPOINT": caid.tcp, "POD_NAME": "cai-worker-0"}
    assert {e["name"] for e in box["env"]} == set(variables)
    line = [re.sub(r"\$\((\w+)\)", lambda m: variables[m[1]], a) for a in box["args"]]
    for there, here in (("/run/secrets/caid/worker.key", key), ("/var/lib/caid", caid.state), ("=eth0", "=" + interface),
                        ("threads=8", "threads=1")):
        assert sum(a.endswith(there) for a in line) == 1, there
        line = [a.removesuffix(there) + here if a.endswith(there) else a for a in line]
    caid.start_worker([os.path.join(TOOLS, os.path.basename(box["command"][0])), *line, "--device=cpu"],
                      {}, "kubernetes")


def job_of(caid, job):
    caid.until(lambda: caid.json("show", job)["finished_ms"], 240, "the job ends")
    p = caid.json("show", job)
    assert p["state"] == "COMPLETED", p["reason"]
    return p["ledger"], [(m["stage"], m["kind"], m["hash"]) for m in p["models"]]


def submit(caid, folder):
    job, canonical = short_job(folder, stages__ppo__steps=2, stages__label__gate_pairs=0)
    with zmtp.Peer(caid.server) as peer:  # the local socket takes the same frames
        peer.send(zmtp.request("submit", json.dumps({"spec": job, "canonical": canonical}), "k"))
        kind, reply = peer.receive(20)
        assert reply.get(1, 0) == 0, reply
        return json.loads(reply[3])["id"]


def test_a_gang_over_two_machines():
    b = Machine()
    try:
        connect(b)
        with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
            with Remote(folder) as caid:
                by_kubernetes(caid, caid.key("pods"), "ve0")
                by_slurm(caid, b, caid.key("cluster"), "ve1")
                names = caid.until(lambda: len(caid.json("workers")["rows"]) == 2 and
                                   [w["name"] for w in caid.json("workers")["rows"]], 60, "both workers")
                assert names == ["cluster.17-0", "pods.cai-worker-0"], names
                before, seen, open_at = received("ve0"), set(), set()
                job = submit(caid, folder)

                def look():
                    open_at.update(listeners())
                    seen.update((w["name"], w["stage"], w["rank"]) for w in caid.json("workers")["rows"]
                                if w["state"] == "busy" and "rank" in w)
                    return caid.json("show", job)["finished_ms"]
                caid.until(look, 240, "the job ends")
                far = job_of(caid, job)
                moved = received("ve0") - before
                assert {n for n, stage, _ in seen if stage == "sft"} <= set(names) and seen, seen
                assert {n for n, _, _ in seen} == set(names), seen
                assert open_at <= {A, "127.0.0.1"}, f"something listens on {open_at}"
                caid.stop()
        with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
            with Real(TOOLS, spawn=2, root=folder) as caid:
                near = job_of(caid, submit(caid, folder))
                caid.stop()
        assert far == near, "the same job on two local workers"
        print(f"     {moved / 1e6:.1f} MB came over the interface; ledger {far[0]}", flush=True)
    finally:
        b.close()
        run("ip", "link", "del", "ve0")


def test_a_worker_that_sees_another_folder_is_refused():
    with tempfile.TemporaryDirectory(prefix="caid-test-") as folder:
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "ve0", "type", "veth", "peer", "name", "ve1")
        run("ip", "addr", "add", f"{A}/24", "dev", "ve0"), run("ip", "link", "set", "ve0", "up")
        with Remote(folder) as caid:
            key = caid.key("lost")
            other = os.path.join(folder, "other")
            os.makedirs(other)
            caid.start_worker([os.path.join(TOOLS, "cai-worker"), "--connect", caid.tcp, "--key", key, "--state",
                               other, "--device", "cpu"], {}, "lost")
            caid.until(lambda: "mount the same folder at the same path" in caid.said("lost"), 60, "it is told")
            assert "worker lost." in caid.tail() and "is refused: it does not see" in caid.tail()
            assert not caid.json("workers")["rows"]
            caid.until(lambda: not [n for n in os.listdir(os.path.join(caid.state, "proof")) if ".back" in n], 10,
                       "no answer stays in the folder")
            out = run(os.path.join(TOOLS, "cai-worker"), "--connect", caid.tcp, "--state", other)
            assert out.returncode == 2 and "--key" in out.stderr, out
            out = run(os.path.join(TOOLS, "cai-worker"), "--connect", caid.tcp, "--state", other, "--key", key,
                      "--interface", "nowhere0")
            assert out.returncode == 2 and "no such interface" in out.stderr, out
        run("ip", "link", "del", "ve0")


def test_files_are_right():
    script = os.path.join(FILES, "cai-worker.sbatch")
    out = run("bash", "-n", script)
    assert out.returncode == 0, out.stderr
    if shutil.which("shellcheck"):
        out = run("shellcheck", script)
        assert out.returncode == 0, out.stdout
    else:
        print("     shellcheck is not installed: the script was parsed alone")
    with open(script) as f:
        lines = f.read().split("\n")
    options = [line for line in lines if line.startswith("#SBATCH ")]
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert options and all(lines.index(o) < first for o in options), "Slurm reads no option after a command"
    parts, box = container()
    assert [p["kind"] for p in parts] == ["StatefulSet", "Service", "NetworkPolicy"]
    pod = parts[0]["spec"]["template"]["spec"]
    mounts = {m["name"] for m in box["volumeMounts"]}
    assert mounts == {v["name"] for v in pod["volumes"]}
    assert pod["volumes"][0]["secret"]["defaultMode"] == 0o400
    assert parts[0]["spec"]["selector"]["matchLabels"].items() <= parts[0]["spec"]["template"]["metadata"]["labels"].items()
    known = run(os.path.join(TOOLS, "cai-worker"), "--help").stdout
    for argument in box["args"]:
        assert argument.split("=")[0] + " " in known, argument
    for name, program in (("caid-remote.conf", "caid"), ("cai-worker-remote.conf", "cai-worker")):
        known = run(os.path.join(TOOLS, program), "--help").stdout
        with open(os.path.join(FILES, name)) as f:
            text = f.read()
        assert "[Service]" in text and "IPAddressAllow=" in text
        for option in re.findall(r"(?<=\s)--[a-z-]+(?=[ =])", "".join(
                line for line in text.split("\n") if line.startswith("ExecStart=/"))):
            assert option + " " in known, option


main([test_files_are_right, test_a_worker_that_sees_another_folder_is_refused, test_a_gang_over_two_machines])
