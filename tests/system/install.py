"""install.py BUILD TOOLS: what `meson install` lays out: units that systemd takes and whose
sandboxes are tight, manual pages that say what --help says, alerts on metrics that exist."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from harness import Caid, main

BUILD, TOOLS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
ROOT = tempfile.mkdtemp(prefix="caid-install-")
LIMITS = {"caid.service": 1.5, "cai-worker@.service": 2.0, "caid-backup.service": 1.5}


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, **more)


def installed(pattern):
    found = glob.glob(f"{ROOT}/usr/local/{pattern}") + glob.glob(f"{ROOT}/{pattern}")
    assert found, f"nothing is installed as {pattern}"
    return sorted(found)


def programs_and_folders():
    out = run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", ROOT)
    assert out.returncode == 0, out.stderr
    for path in ("bin/caictl", "sbin/caid", "lib/systemd/system/caid.service",
                 "lib/sysusers.d/caid.conf", "lib/tmpfiles.d/caid.conf", "etc/caid/caid.conf",
                 "share/caid/prometheus/caid.rules.yml", "share/caid/grafana/caid.grafana.json"):
        installed(path)
    config = installed("etc/caid/caid.conf")[0]
    out = run(installed("sbin/caid")[0], "--check-config", "--config", config)
    assert out.returncode == 0, out.stderr
    # Every line of it is also right when it is not commented out.
    text = re.sub(r"^#(?=\w+: )", "", open(config).read(), flags=re.M)
    with open(f"{ROOT}/full.conf", "w") as f:
        f.write(text)
    out = run(installed("sbin/caid")[0], "--check-config", "--config", f.name)
    assert out.returncode == 0 and text.count("\nlog: ") == 1, out.stderr


def wrong_configuration_is_refused():
    with open(f"{ROOT}/wrong.conf", "w") as f:
        f.write("log: info\ndran_s: 3\n")
    out = run(installed("sbin/caid")[0], "--check-config", "--config", f.name)
    assert out.returncode == 78, out.returncode
    assert "wrong.conf:2:1" in out.stderr and "drain_s" in out.stderr, out.stderr


def units():
    folder = f"{ROOT}/units"
    os.makedirs(folder, exist_ok=True)
    for unit in installed("lib/systemd/system/*"):
        text = open(unit).read().replace("/usr/local/", f"{ROOT}/usr/local/")
        with open(os.path.join(folder, os.path.basename(unit)), "w") as f:
            f.write(text.replace("man:", "https://example.invalid/"))  # not in this man path
    return folder


def units_verify():
    if not shutil.which("systemd-analyze"):
        print("skipped: systemd-analyze is not installed")
        return
    folder = units()
    names = [n.replace("@.", "@0.") for n in sorted(os.listdir(folder))]
    out = run("systemd-analyze", "verify", "--man=no", *[f"{folder}/{n}" for n in names],
              env=dict(os.environ, SYSTEMD_UNIT_PATH=f"{folder}:"))
    said = [s for s in (out.stdout + out.stderr).split("\n") if "caid" in s or "cai-worker" in s]
    assert not said, "\n".join(said)


def sandboxes_are_tight():
    if not shutil.which("systemd-analyze"):
        print("skipped: systemd-analyze is not installed")
        return
    folder = units()
    for name in sorted(n for n in os.listdir(folder) if n in LIMITS):
        out = run("systemd-analyze", "security", "--offline=true", f"{folder}/{name}",
                  env=dict(os.environ, SYSTEMD_UNIT_PATH=f"{folder}:"))
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", out.stdout)
        assert found, out.stdout + out.stderr
        print(f"     {name}: exposure {found[1]}, limit {LIMITS[name]}")
        assert float(found[1]) <= LIMITS[name], out.stdout


def options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))


def page(name):
    path = installed(f"share/man/man{name[-1]}/{name}")[0]
    return run("mandoc", "-T", "utf8", "-O", "width=80", path) if shutil.which("mandoc") else \
        run("man", "-l", path, env=dict(os.environ, MANWIDTH="80", MANPAGER="cat"))


def plain(text):
    return re.sub(".\b", "", text)


def manual_says_what_help_says():
    if not glob.glob(f"{ROOT}/usr/local/share/man/man8/caid.8") or \
            not (shutil.which("mandoc") or shutil.which("man")):
        print("skipped: no manual pages were built (scdoc), or no program shows them (man)")
        return
    for program, name in (("caid", "caid.8"), ("cai-worker", "cai-worker.8"), ("caictl", "caictl.1")):
        binary = os.path.join(TOOLS, program)
        if not os.path.exists(binary):
            continue
        shown, helped = plain(page(name).stdout), options(run(binary, "--help").stdout)
        if program == "caictl":
            listed = run(binary, "--help").stdout.split("--help)\n")[1].split("\n\n")[0]
            for command in (re.match(r"  (\S+(?: \S+)?)  ", s)[1] for s in listed.split("\n")):
                helped |= options(run(binary, *command.split(), "--help").stdout)
                assert f"caictl {command}" in shown, f"{name} lacks {command}"
        missing = sorted(o for o in helped if o not in shown)
        assert not missing, f"{name} lacks {missing}"
    shown = plain(page("job.5").stdout)
    keys = set(re.findall(r"^ *(\w+):", run(f"{TOOLS}/caictl", "init").stdout, re.M))
    missing = sorted(k for k in keys if k not in shown)
    assert len(keys) > 60 and not missing, missing


def manual_knows_the_constitution():
    if not glob.glob(f"{ROOT}/usr/local/share/man/man5/constitution.5"):
        print("skipped: no manual pages were built (scdoc)")
        return
    source = os.path.join(os.path.dirname(__file__), "../../constitution")
    text = "".join(open(f"{source}/{n}.c").read() for n in ("constitution", "examples", "frames"))
    keys = set(re.findall(r'\{"(\w+)", SCHEMA_|FIELD\("(\w+)", SCHEMA_|FRAME\((\w+)\)', text))
    shown = plain(page("constitution.5").stdout)
    missing = [k for k in ("".join(t) for t in keys) if not re.search(rf"\b{k}\b", shown)]
    assert len(keys) > 30 and not missing, missing


def alerts_are_on_metrics_that_exist():
    rules = open(installed("share/caid/prometheus/caid.rules.yml")[0]).read()
    board = json.load(open(installed("share/caid/grafana/caid.grafana.json")[0]))
    queries = " ".join(t["expr"] for p in board["panels"] for t in p["targets"])
    wanted = set(re.findall(r"\bcai_\w+", rules + queries))
    states = set(re.findall(r'state="(\w+)"', rules + queries))
    with WithCaictl() as text:
        known = set(re.findall(r"^# TYPE (\w+) ", text, re.M))
        # Families of figures are there once a job has reported one; watching.py sees them all.
        gauges = open(os.path.join(os.path.dirname(__file__), "../../daemon/run/gauges.c")).read()
        known |= set(re.findall(r'"(cai_\w+)"', gauges))
        assert wanted <= known, f"not emitted: {sorted(wanted - known)}"
        assert states <= set(re.findall(r'state="(\w+)"', text)), states


class WithCaictl:
    """A caid without workers, for as long as it takes to ask for its metrics."""

    def __enter__(self):
        self.caid = Caid(TOOLS, spawn=0)
        server = f"ipc://{self.caid.runtime}/control"

        def answers():
            out = run(f"{TOOLS}/caictl", "-s", server, "metrics")
            return out.stdout if out.returncode == 0 else None
        self.caid.start(wait=False)
        return self.caid.until(answers, 30, "caid answers")

    def __exit__(self, *_):
        self.caid.close()


try:
    main([programs_and_folders, wrong_configuration_is_refused, units_verify, sandboxes_are_tight,
          manual_says_what_help_says, manual_knows_the_constitution,
          alerts_are_on_metrics_that_exist])
finally:
    shutil.rmtree(ROOT, ignore_errors=True)
