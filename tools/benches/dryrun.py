"""What `caictl submit --dry-run` says of the clerk's job against what the job then takes, stage by
stage: time (by the log's own times) and the most memory that a worker held (the ledger's; samples
from outside must agree). Predicted, real, their ratio, and whether it is within the bound: 30 % for
time, 15 % for memory. Ends with 1 if a stage or the whole is not.

Beside other work both sides are slowed, but not alike: times are then only a hint, and --memory
judges memory alone, which does not depend on what else runs. The column "share" is a stage's part
of the predicted time over its part of the real: it says which stages are out of proportion."""
import argparse
import contextlib
import json
import pathlib
import resource
import shutil
import sqlite3
import sys
import threading
import time

import world

# So short a job learns too little to pass the guards: with that margin they look as they do in the
# demonstration, and no gate keeps the job waiting, which no dry run could foresee.
SHORT = ["guards.margin=1", "stages.red_team.samples=200", "stages.revise.prompts=512", "stages.label.pairs=1500",
         "stages.evaluate.prompts=150", "stages.ppo.steps=12"]


TITLES = {"red team": "red_team", "critique and rewrite": "revise", "the overseer's audit": "audit",
          "self-consistency": "consist", "supervised training": "sft", "people read rewrites": "review_texts",
          "AI labels": "label", "people compare": "review", "preference model": "prefer",
          "critique as a skill": "skill", "evaluation": "evaluate", "reinforcement learning": "ppo"}
TIME, MEMORY = 1.30, 1.15  # how far apart predicted and real may be, either way


class Watch(threading.Thread):
    """The most that any worker holds in each stage, as an outsider sees it: samples, which miss a
    short peak. What the workers say themselves must not be less. Children that end are left out."""

    def __init__(self, daemon, job):
        super().__init__(daemon=True)
        self.caid, self.job, self.peaks, self.over = daemon, job, {}, False

    def held(self):
        most = 0
        for row in json.loads(self.caid.ask("workers", "-o", "json").stdout)["rows"]:
            try:
                pages = int(open(f"/proc/{row['pid']}/statm").read().split()[1])
            except (OSError, IndexError):
                continue  # a worker that has just ended
            most = max(most, pages * resource.getpagesize())
        return most

    def stage(self):
        show = json.loads(self.caid.ask("show", self.job, "-o", "json").stdout)
        return (show["round"], show["stage"]) if show["stage"] else None

    def run(self):
        while not self.over:
            before, held, after = self.stage(), self.held(), self.stage()
            if before and before == after:  # else the sample may be of either
                self.peaks[before] = max(self.peaks.get(before, 0), held)
            time.sleep(0.1)


def real_memory(folder, job):
    """{(round, stage): bytes}: the most that a worker said it held in any of the stage's tasks."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/state/caid.db?mode=ro", uri=True)) as db:
        return {(r, s): held for r, s, held in db.execute(
            "SELECT round, stage, MAX(held) FROM tasks WHERE job = ? AND done = 1 GROUP BY round, stage", (job,))}


def real_times(daemon, job):
    """[((round, stage), seconds)] in order, from the events that begin each stage."""
    rows = [json.loads(line) for line in daemon.ask("logs", job, "-o", "json").stdout.splitlines() if line]
    show = json.loads(daemon.ask("show", job, "-o", "json").stdout)
    begun = []
    for row in rows:
        head, _, title = row["text"].partition(": ")
        if title in TITLES and (head.startswith("round ") or head == "after the rounds"):
            number = int(head.split()[1]) if head.startswith("round ") else show["rounds"] + 1
            begun.append(((number, TITLES[title]), row["at_ms"]))
    ends = [at for _, at in begun[1:]] + [show["finished_ms"]]
    return [(key, (end - at) / 1000) for (key, at), end in zip(begun, ends)]


def within(predicted, real, bound):
    return real > 0 and 1 / bound <= predicted / real <= bound


def ratio(a, b):
    return f"{a / b:5.2f}" if b > 0 else "    –"


def rows_of(said, times, held):
    """(name, predicted row, real seconds, real bytes) of each stage, and of all of them."""
    for row in said["rows"]:
        key = (row["round"], row["stage"])
        if key not in times:
            raise SystemExit(f"dryrun: the job's log has no {key[1]} of round {key[0]}")
        yield f"{key[0]} {key[1]}", row, times[key], held.get(key, 0)
    yield "all", said["total"], sum(times.values()), max(held.values())


def show(said, times, held, outside, memory_alone):
    """The table; whether everything is within its bound."""
    print("\n| round, stage | time predicted (bars) | real | ratio | share | within 30 % | memory predicted | "
          "real | seen from outside | ratio | within 15 % |\n|---|---|---|---|---|---|---|---|---|---|---|")
    total, real = said["total"]["seconds"], sum(times.values())
    good = True
    for name, row, seconds, most in rows_of(said, times, held):
        samples = max(outside.values()) if name == "all" else outside.get((row["round"], row["stage"]), 0)
        time_good = within(row["seconds"], seconds, TIME)
        memory_good = within(row["memory"], most, MEMORY) and samples <= 1.05 * most
        good = good and memory_good and (time_good or memory_alone)
        print(f"| {name} | {row['seconds']:.1f} s ({row['low']:.1f} – {row['high']:.1f}) | {seconds:.1f} s | "
              f"{ratio(row['seconds'], seconds)} | {ratio(row['seconds'] / total, seconds / real)} | "
              f"{'yes' if time_good else 'NO'} | {row['memory'] / 1e6:.0f} MB | {most / 1e6:.0f} MB | "
              f"{samples / 1e6:.0f} MB | {ratio(row['memory'], most)} | {'yes' if memory_good else 'NO'} |")
    return good


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".state/bench"),
                   help="where the clerk's world and base are, or are made")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--whole", action="store_true", help="the whole demonstration, not a tenth of it")
    p.add_argument("--memory", action="store_true", help="judge memory alone")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as caictl's, besides")
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    made, model = world.base(a.work, a.seed)
    folder = a.work / f"dryrun-{a.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    daemon = world.Daemon(folder, a.workers, 1)
    try:
        shutil.copy("tools/clerk/demo.yaml", made / "dryrun.yaml")
        sets = [f"models.start={model.resolve()}", f"workers={a.workers}", *([] if a.whole else SHORT), *a.set]
        arguments = ["submit", made / "dryrun.yaml", "--constitution", "constitution/clerk.yaml",
                     "--seed", a.seed, *[x for s in sets for x in ("--set", s)]]
        while len(json.loads(daemon.ask("workers", "-o", "json").stdout)["rows"]) < a.workers:
            time.sleep(0.1)
        began = time.monotonic()
        said = json.loads(daemon.ask(*arguments, "--dry-run", "-o", "json").stdout)
        took = time.monotonic() - began
        job = daemon.ask(*arguments, "--parsable").stdout.strip()
        watch = Watch(daemon, job)
        watch.start()
        waited = daemon.ask("wait", job, check=False)
        while waited.returncode == world.WAITS:
            gate = json.loads(daemon.ask("show", job, "-o", "json").stdout)["gate"]
            daemon.ask("resume", job, "--accept", gate)
            waited = daemon.ask("wait", job, check=False)
        watch.over = True
        watch.join()
        if waited.returncode:
            raise SystemExit(waited.stderr)
        times = dict(real_times(daemon, job))
    finally:
        daemon.close()
    print(f"measured in {took:.1f} s; " + "; ".join(said["assumptions"]))
    good = show(said, times, real_memory(folder, job), watch.peaks, a.memory)
    print(f"\n{'within' if good else 'NOT within'} the bounds ({'memory' if a.memory else 'time and memory'})")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
