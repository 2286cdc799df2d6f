"""Runs jobs in the clerk's world from start to end with the real programs, and reads what
became of them: the oracle's verdicts by checkpoint, the preference model against oracle
pairs, the overseer against the oracle. Every run has a folder of its own and is kept, so
that an interrupted bench goes on."""
import collections
import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import numpy

TOOLS = pathlib.Path("build/tools").resolve()
WAITS = 7  # caictl wait: the job waits for a person
FAULTS = ["harmful", "rude", "false", "evasive", "leak", "blame", "careless", "boast", "ramble"]


def run(*command, stdout=None, **kw):
    return subprocess.run([str(c) for c in command], check=True, stdout=stdout, **kw)


def base(work, seed, threads=1):
    """World and base of a seed: (world folder, base folder). Made once."""
    world, model = work / f"world-{seed}", work / f"base-{seed}"
    if not (world / "world.json").exists():
        run(TOOLS / "clerk", "world", "--out", world, "--seed", seed)
    if not (model / "model.safetensors").exists():
        run(TOOLS / "clerk", "train", "--world", world, "--out", model, "--seed", seed, "--threads", threads)
    return world, model


class Daemon:
    """caid on a private folder, ended by the process id it was started with."""

    def __init__(self, folder, workers, threads):
        folder.mkdir(parents=True, exist_ok=True)
        self.env = dict(os.environ, CAID_SERVER=f"ipc://{folder.resolve()}/run/control")
        self.log = open(folder / "caid.log", "a")
        self.process = subprocess.Popen(
            [TOOLS / "caid", "--state", folder / "state", "--runtime", folder / "run",
             "--spawn", str(workers), "--threads-per-worker", str(threads)], stderr=self.log)
        for _ in range(100):
            if self.ask("version", check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit(f"caid did not start; see {folder}/caid.log")

    def ask(self, *arguments, check=True):
        return subprocess.run([str(TOOLS / "caictl"), *map(str, arguments)], env=self.env, check=check,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE if not check else None, text=True)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.log.close()


def job(work, name, seed, constitution="constitution/clerk.yaml", settings=(), accept=None,
        exports=("replies", "labels", "pairs", "metrics", "examples"), judge="replies"):
    """The finished job's folder: what it exports as NAME.jsonl, the oracle's verdicts on one of
    these in judged.jsonl, show.json. One worker of one thread, so that a seed gives the same bits
    on any number of cores. Where the job waits for a person, "waited" holds the reason; it goes on
    if the gate is the one to accept."""
    folder = work / f"{name}-{seed}"
    if (folder / "seconds").exists():
        return folder
    world, model = base(work, seed)
    daemon = Daemon(folder, 1, 1)
    try:
        if not (folder / "id").exists():
            shutil.copy("tools/clerk/demo.yaml", world / f"{name}.yaml")
            sets = [f"models.start={model.resolve()}", "workers=1", *settings]
            answer = daemon.ask("submit", world / f"{name}.yaml", "--constitution", constitution,
                                "--seed", str(seed), "--parsable",
                                *[x for s in sets for x in ("--set", s)])
            (folder / "id").write_text(answer.stdout.strip())
            (folder / "started").write_text(str(time.time()))
        number = (folder / "id").read_text()
        if accept and daemon.ask("wait", number, check=False).returncode == WAITS:
            (folder / "waited").write_text(json.loads(daemon.ask("show", number, "-o", "json").stdout)["reason"])
            daemon.ask("resume", number, "--accept", accept)
        daemon.ask("wait", number)
        seconds = time.time() - float((folder / "started").read_text())
        for what in exports:
            (folder / f"{what}.jsonl").write_text(daemon.ask("export", number, what).stdout)
        (folder / "show.json").write_text(daemon.ask("show", number, "-o", "json").stdout)
    finally:
        daemon.close()
    if judge:
        with open(folder / "judged.jsonl", "w") as out:
            run(TOOLS / "clerk", "judge", folder / f"{judge}.jsonl", stdout=out)
    (folder / "seconds").write_text(str(round(seconds)))
    return folder


def side_by_side(tasks):
    """Runs callables, as many at once as there are cores, one thread each; results in order."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [f.result() for f in [pool.submit(t) for t in tasks]]


def lines(path):
    return [json.loads(line) for line in open(path) if line.strip()]


def judged(path, rows):
    """{id: the oracle's verdict} on rows {"id", "messages" or "prompt", "reply"}."""
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    answers = path.with_suffix(".judged")
    with open(answers, "w") as out:
        run(TOOLS / "clerk", "judge", path, stdout=out)
    return {v["id"]: v for v in lines(answers)}


def fault_of(principle):
    return {"harm": "harmful"}.get(principle, principle)


def verdicts(folder):
    """{checkpoint: {set: {prompt: {fault or 'helpful': bool}}}}, checkpoints in order."""
    judged = {row["id"]: row for row in lines(folder / "judged.jsonl")}
    found = collections.defaultdict(lambda: collections.defaultdict(dict))
    for row in lines(folder / "replies.jsonl"):
        found[checkpoint(row)][row["set"]][row["item"]] = judged[row["id"]]
    return dict(sorted(found.items()))


def checkpoint(row):
    return int(row["round"])


def matrix(runs, point, kinds, what):
    """One array of 0/1 per seed, prompts in one order."""
    return [numpy.array([bool(v[what]) for k in kinds for _, v in sorted(r[point][k].items())], float)
            for r in runs]


def interval(values, resamples=4000, seed=0):
    """Mean over seeds of per-seed rates; 95 % bootstrap over seeds, then prompts."""
    rng = numpy.random.default_rng(seed)
    mean = float(numpy.mean([v.mean() for v in values]))
    draws = []
    for _ in range(resamples):
        chosen = rng.integers(0, len(values), len(values))
        draws.append(numpy.mean([rng.choice(values[i], len(values[i])).mean() for i in chosen]))
    low, high = numpy.quantile(draws, [0.025, 0.975])
    return mean, float(low), float(high)


def show(value):
    return f"{100 * value[0]:5.1f} %  ({100 * value[1]:.1f} – {100 * value[2]:.1f})"
