"""What `caictl submit --dry-run` says of the clerk's job against what the job then takes: time by
stage (the log's own times) and in all, and the most memory that the worker held in each stage
(VmHWM, set back between stages). Predicted and real, and their ratio; the target is 30 % for time
and 15 % for memory. Beside other work both are slowed, but not alike: measure in quiet."""
import argparse
import json
import pathlib
import shutil
import threading
import time

import world

SHORT = ["stages.red_team.samples=200", "stages.revise.prompts=512", "stages.label.pairs=1500",
         "stages.evaluate.prompts=150", "stages.ppo.steps=12"]


def stage_of(show):
    return (show["round"], show["stage"]) if show["stage"] else None


class Peaks(threading.Thread):
    """The worker's VmHWM by stage: a stage's is read before the next one's begins to count."""

    def __init__(self, daemon, job):
        super().__init__(daemon=True)
        self.caid, self.job, self.peaks, self.over = daemon, job, {}, False
        self.pid = json.loads(daemon.ask("workers", "-o", "json").stdout)["rows"][0]["pid"]

    def held(self):
        for line in open(f"/proc/{self.pid}/status"):
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
        return 0

    def run(self):
        at = None
        while not self.over:
            now = stage_of(json.loads(self.caid.ask("show", self.job, "-o", "json").stdout))
            if now != at:
                try:
                    open(f"/proc/{self.pid}/clear_refs", "w").write("5")
                except OSError:
                    pass
                at = now
            if now:
                self.peaks[now] = max(self.peaks.get(now, 0), self.held())
            time.sleep(0.1)


def real_times(daemon, job):
    """[((round, stage), seconds)] in order, from the events that begin each stage."""
    titles = {"red team": "red_team", "critique and rewrite": "revise", "supervised training": "sft",
              "AI labels": "label", "preference model": "prefer", "evaluation": "evaluate",
              "reinforcement learning": "ppo"}
    rows = [json.loads(line) for line in daemon.ask("logs", job, "-o", "json").stdout.splitlines() if line]
    show = json.loads(daemon.ask("show", job, "-o", "json").stdout)
    begun = []
    for row in rows:
        head, _, title = row["text"].partition(": ")
        if title in titles and (head.startswith("round ") or head == "after the rounds"):
            number = int(head.split()[1]) if head.startswith("round ") else show["rounds"] + 1
            begun.append(((number, titles[title]), row["at_ms"]))
    ends = [at for _, at in begun[1:]] + [show["finished_ms"]]
    return [(key, (end - at) / 1000) for (key, at), end in zip(begun, ends)]


def ratio(a, b):
    return f"{a / b:5.2f}" if b > 0 else "    –"


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".state/bench"),
                   help="where the clerk's world and base are, or are made")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--whole", action="store_true", help="the whole demonstration, not a tenth of it")
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    made, model = world.base(a.work, a.seed)
    folder = a.work / f"dryrun-{a.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    daemon = world.Daemon(folder, a.workers, 1)
    try:
        shutil.copy("tools/clerk/demo.yaml", made / "dryrun.yaml")
        sets = [f"models.start={model.resolve()}", f"workers={a.workers}", *([] if a.whole else SHORT)]
        arguments = ["submit", made / "dryrun.yaml", "--constitution", "constitution/clerk.yaml",
                     "--seed", a.seed, *[x for s in sets for x in ("--set", s)]]
        while len(json.loads(daemon.ask("workers", "-o", "json").stdout)["rows"]) < a.workers:
            time.sleep(0.1)
        began = time.monotonic()
        said = json.loads(daemon.ask(*arguments, "--dry-run", "-o", "json").stdout)
        took = time.monotonic() - began
        job = daemon.ask(*arguments, "--parsable").stdout.strip()
        peaks = Peaks(daemon, job)
        peaks.start()
        waited = daemon.ask("wait", job, check=False)
        while waited.returncode == world.WAITS:
            gate = json.loads(daemon.ask("show", job, "-o", "json").stdout)["gate"]
            daemon.ask("resume", job, "--accept", gate)
            waited = daemon.ask("wait", job, check=False)
        peaks.over = True
        peaks.join()
        if waited.returncode:
            raise SystemExit(waited.stderr)
        times = dict(real_times(daemon, job))
    finally:
        daemon.close()
    print(f"measured in {took:.1f} s; " + "; ".join(said["assumptions"]))
    print("\n| round, stage | predicted | real | ratio | within its bars | memory predicted | real | ratio |\n"
          "|---|---|---|---|---|---|---|---|")
    for row in said["rows"]:
        key = (row["round"], row["stage"])
        real, held = times.get(key, 0), peaks.peaks.get(key, 0)
        print(f"| {key[0]} {key[1]} | {row['seconds']:.1f} s ({row['low']:.1f} – {row['high']:.1f}) | {real:.1f} s | "
              f"{ratio(row['seconds'], real)} | {'yes' if row['low'] <= real <= row['high'] else 'no'} | "
              f"{row['memory'] / 1e6:.0f} MB | {held / 1e6:.0f} MB | {ratio(row['memory'], held)} |")
    total, real = said["total"], sum(times.values())
    held = max(peaks.peaks.values())
    print(f"| all | {total['seconds']:.1f} s ({total['low']:.1f} – {total['high']:.1f}) | {real:.1f} s | "
          f"{ratio(total['seconds'], real)} | {'yes' if total['low'] <= real <= total['high'] else 'no'} | "
          f"{total['memory'] / 1e6:.0f} MB | {held / 1e6:.0f} MB | {ratio(total['memory'], held)} |")


if __name__ == "__main__":
    main()
