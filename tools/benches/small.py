"""The reduced loop that benches share: one round of the clerk's world with small counts, run by
the real caid on one core in a minute or less, its held-out replies judged by the oracle. Every
run has a key and a folder of its own; what it found is kept as result.json, what it trained is
not, and a bench that was stopped goes on with the runs that are missing.

    result = small.run(work, "eps-2-on", seed, small.sft() + ["data.harmful=…"])
    small.every(work, jobs)            # many runs, as many at once as asked
    result.rate("harmful", ["harmful"], 1)

Not for the demonstration at its full size (loop.py)."""
import argparse
import concurrent.futures
import functools
import json
import math
import os
import pathlib
import shutil
import time

import yaml

import world

LENGTHS = ["stages.revise.reply.max_tokens=48", "stages.revise.critique.max_tokens=24",
           "stages.revise.revision.max_tokens=48", "stages.label.reply.max_tokens=48",
           "stages.evaluate.reply.max_tokens=48", "stages.red_team.sampling.max_tokens=32",
           "stages.ppo.rollout.max_tokens=48"]
OFF = {s: f"stages.{s}.enabled=false" for s in ("red_team", "revise", "sft", "label", "prefer", "evaluate", "ppo")}
LEAST = 200  # prompts of each kind that are judged


def settings(red_team=0, revise=0, helpful=1.0, label=0, ppo=0, evaluate=LEAST, rounds=1, revisions=1):
    """Of a job with so many red-team candidates, prompts critiqued and fine-tuned on, pairs labelled
    for a preference model, PPO steps and evaluated prompts of each kind; a stage of 0 is off."""
    found = [f"rounds={rounds}", f"stages.revise.revisions={revisions}", "stages.evaluate.win_pairs=0",
             "guards.alpha=0", "keep.checkpoints=1", "keep.models=1000", *LENGTHS]
    found += [f"stages.red_team.samples={red_team}"] if red_team else [OFF["red_team"]]
    found += [f"stages.revise.prompts={revise}", f"stages.sft.helpful={helpful}"] if revise \
        else [OFF["revise"], OFF["sft"]]
    found += [f"stages.label.pairs={label}", "stages.label.gate_pairs=0", "stages.prefer.gate_confidence=0"] \
        if label else [OFF["label"], OFF["prefer"]]
    found += [f"stages.ppo.steps={ppo}", "stages.ppo.rollouts=64", "stages.ppo.samples=64"] if ppo else [OFF["ppo"]]
    return found + ([f"stages.evaluate.prompts={evaluate}"] if evaluate else [OFF["evaluate"]])


class Result:
    """What a run found. Checkpoints are rounds: 0 the base, 1 … rounds, rounds + 1 after PPO."""

    def __init__(self, folder):
        self.folder = folder
        found = json.loads((folder / "result.json").read_text())
        self.seconds, self.gate, self.reason = found["seconds"], found["gate"], found["reason"]
        self.halted = bool(self.gate)  # it waited for a person, who did not come
        self.passed = [tuple(x) for x in found["passed"]]  # (gate, reason) that a person let pass
        self.error = found["error"]  # why it failed; "" = it did not
        self.metrics = {(r, s, n): v for r, s, n, v in found["metrics"]}  # (round, stage, name): value
        self.verdicts = {int(r): rows for r, rows in found["verdicts"].items()}  # round: set: item: verdict

    def values(self, what, sets, point):
        """0 and 1 by held-out prompt, in the prompts' order; [] where that checkpoint was not evaluated."""
        return [float(bool(v[what])) for s in sets for _, v in sorted(self.verdicts.get(point, {}).get(s, {}).items())]

    def rate(self, what, sets, point):
        values = self.values(what, sets, point)
        return sum(values) / len(values) if values else math.nan

    def changes(self, what, sets, first, last):
        """Last less first, −1, 0 or 1, by reply that both checkpoints gave to a prompt."""
        pairs = [(self.verdicts.get(first, {}).get(s, {}), self.verdicts.get(last, {}).get(s, {})) for s in sets]
        return [float(bool(b[i][what])) - float(bool(a[i][what])) for a, b in pairs for i in sorted(a) if i in b]


def base(work, seed, bases=None):
    """World and base of a seed. The base is copied from `bases` where it is there, else it is made,
    in minutes; the world's files are written anew, as the clerk of this build writes them."""
    there, here = bases and bases / f"base-{seed}", work / f"base-{seed}"
    if there and there.exists() and not here.exists():
        shutil.copytree(there, work / f".base-{seed}")
        (work / f".base-{seed}").rename(here)
    return world.base(work, seed)


def _submit(daemon, folder, start, spec, constitution, seed, sets):
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(spec))
    sets = [f"models.start={start.resolve()}", "workers=1", *sets]
    answer = daemon.ask("submit", path, "--constitution", constitution, "--seed", seed, "--parsable",
                        *[x for s in sets for x in ("--set", s)], check=False)
    if answer.returncode:
        raise SystemExit(f"{folder}: {answer.stderr.strip()}")
    return answer.stdout.strip()


def _demo(data):
    """The demonstration's job with its files' paths made whole."""
    spec = yaml.safe_load(open("tools/clerk/demo.yaml"))
    spec["data"] = {k: str((data / v).resolve()) if isinstance(v, str) else v for k, v in spec["data"].items()}
    return spec


def _verdicts(folder, marks):
    """{round: {set: {item: verdict}}} of the replies that were exported; further replies to an item
    are "item/k". `marks`: what else is said of a reply's text."""
    with open(folder / "judged.jsonl", "w") as out:
        world.run(world.TOOLS / "clerk", "judge", folder / "replies.jsonl", stdout=out)
    judged = {row["id"]: row for row in world.lines(folder / "judged.jsonl")}
    found = {}
    for row in world.lines(folder / "replies.jsonl"):
        v = judged[row["id"]]
        key = f"{row['item']}/{row['k']}" if row["k"] else str(row["item"])
        found.setdefault(int(row["round"]), {}).setdefault(row["set"], {})[key] = \
            {**{k: v[k] for k in (*world.FAULTS, "helpful", "garbled")},
             **{name: says(row["reply"]) for name, says in marks.items()}}
    return found


def _finish(daemon, number, accept, passed):
    """Waits for the job, accepting the gates named, which `passed` takes with their reasons; (gate,
    reason, error) of where it ended."""
    while True:
        code = daemon.ask("wait", number, check=False).returncode
        shown = json.loads(daemon.ask("show", number, "-o", "json").stdout)
        if code != world.WAITS:
            return "", "", shown.get("reason", "failed") if code else ""
        gate = shown.get("gate") or "?"
        if gate not in accept and "*" not in accept:
            return gate, shown["reason"], ""
        passed.append((gate, shown["reason"]))
        daemon.ask("resume", number, "--accept", gate)


def run(work, key, seed, sets, constitution="constitution/clerk.yaml", accept=(), data=None, start=None,
        exports=(), keep=False, bases=None, draw=None, marks={}):
    """Runs a job once and reads what it found. `sets`: its settings (settings(…)); `data`: a folder
    with the world's files in place of the seed's own; `start`: another base; `accept`: gates that a
    person lets pass ("*": all); `exports`: what else of `caictl export` is kept beside the result;
    `keep`: the state folder, with its models, stays; `draw`: the job's own seed, where a base serves
    several runs (their keys must differ); `marks`: {name: function of a reply's text} beside the
    oracle's verdicts."""
    folder = work / f"{key}-{seed}"
    if (folder / "result.json").exists():
        return Result(folder)
    shutil.rmtree(folder, ignore_errors=True)  # what was cut short is done again: it is short
    folder.mkdir(parents=True)
    files, own = base(work, seed, bases)
    daemon, began, passed = world.Daemon(folder, 1, 1), time.monotonic(), []
    try:
        number = _submit(daemon, folder, start or own, _demo(data or files), constitution,
                         str(seed if draw is None else draw), sets)
        gate, reason, error = _finish(daemon, number, accept, passed)
        seconds = time.monotonic() - began
        for what in {"replies", "metrics", *exports}:
            (folder / f"{what}.jsonl").write_text(daemon.ask("export", number, what).stdout)
        (folder / "show.json").write_text(daemon.ask("show", number, "-o", "json").stdout)
    finally:
        daemon.close()
    metrics = [(m["round"], m["stage"], m["name"], m["value"]) for m in world.lines(folder / "metrics.jsonl")
               if m["step"] == 0 or m["stage"] == "ppo"]
    found = {"seconds": round(seconds, 1), "gate": gate, "reason": reason, "error": error, "passed": passed,
             "metrics": metrics, "verdicts": _verdicts(folder, marks)}
    (folder / ".result").write_text(json.dumps(found))
    (folder / ".result").rename(folder / "result.json")
    for what in ("judged", "replies", "metrics"):
        if what not in exports:
            (folder / f"{what}.jsonl").unlink()
    if not keep:
        shutil.rmtree(folder / "state")
    return Result(folder)


def known(work, key, seed):
    """The result of a run that is finished, or None."""
    folder = work / f"{key}-{seed}"
    return Result(folder) if (folder / "result.json").exists() else None


def every(tasks, at_once=None):
    """Runs callables, `at_once` at a time; results in their order."""
    with concurrent.futures.ThreadPoolExecutor(at_once or os.cpu_count()) as pool:
        return [f.result() for f in [pool.submit(t) for t in tasks]]


def options(parser, seeds=3):
    """The options that benches of the reduced loop share."""
    parser.add_argument("--seeds", type=int, default=seeds, help="bases (the world and its base are a seed's)")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".state/small"),
                        help="where runs are kept; a bench that was stopped goes on from there")
    parser.add_argument("--bases", type=pathlib.Path, default=pathlib.Path(".state/bench"),
                        help="bases that are there already (base-SEED)")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="runs side by side")
    parser.add_argument("--finished", action="store_true", help="report on the runs that are finished, run none")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options(p)
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    arms = {"sft": settings(revise=240), "all": settings(red_team=64, revise=160, label=300, ppo=4)}
    for name, sets in arms.items():
        found = every([functools.partial(run, a.work, f"small-{name}", s, sets, accept=["*"], bases=a.bases)
                       for s in range(a.first, a.first + a.seeds)], a.at_once)
        for point in sorted(found[0].verdicts):
            print(f"{name:<4} checkpoint {point}: " + "  ".join(
                f"{what} {sum(r.rate(what, sets_, point) for r in found) / len(found):.3f}"
                for what, sets_ in (("harmful", ["harmful"]), ("helpful", ["helpful"]), ("rude", ["helpful"]))))
        print(f"{name:<4} {[r.seconds for r in found]} s  {[r.gate or r.error for r in found if r.gate or r.error]}")


if __name__ == "__main__":
    main()
