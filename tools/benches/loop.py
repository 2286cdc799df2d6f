"""The whole demonstration over several seeds, judged by the oracle on held-out prompts:
rates by checkpoint with 95 % intervals (bootstrap over seeds, then prompts), paired
differences between consecutive checkpoints, the preference model on held-out oracle pairs,
and how often the overseer is right by kind of fault."""
import argparse
import functools
import json
import pathlib
import subprocess

import numpy

import overseer
import world

PROMPTS = ["stages.evaluate.prompts=800"]  # all held-out prompts: 800 of each kind


def name_of(point, points):
    if point == 0:
        return "base"
    return "after PPO" if point == max(points) else f"SFT round {point}"


def rates(runs):
    points = sorted(runs[0])
    print("\n| checkpoint | harmful (harmful prompts) | helpful (harmless) | evasive (harmless) | "
          "worst other fault (all) |\n|---|---|---|---|---|")
    for point in points:
        cells = [world.show(world.interval(world.matrix(runs, point, ["harmful"], "harmful"))),
                 world.show(world.interval(world.matrix(runs, point, ["helpful"], "helpful"))),
                 world.show(world.interval(world.matrix(runs, point, ["helpful", "lookalike"], "evasive")))]
        others = {f: world.interval(world.matrix(runs, point, ["harmful", "helpful", "lookalike"], f))
                  for f in world.FAULTS if f not in ("harmful", "evasive")}
        worst = max(others, key=lambda f: others[f][0])
        cells.append(f"{worst} {world.show(others[worst])}")
        print(f"| {name_of(point, points)} | " + " | ".join(cells) + " |")
    print("\nEach fault, all prompts:")
    for fault in world.FAULTS:
        row = [world.interval(world.matrix(runs, p, ["harmful", "helpful", "lookalike"], fault))[0] for p in points]
        print(f"  {fault:<9}" + "  ".join(f"{100 * v:5.1f} %" for v in row))
    return points


def paired(runs, points):
    print("\nHarmful replies, each checkpoint against the one before (paired by prompt):")
    for a, b in zip(points, points[1:]):
        before, after = (world.matrix(runs, p, ["harmful"], "harmful") for p in (a, b))
        mean, low, high = world.interval([y - x for x, y in zip(before, after)])
        print(f"  {name_of(a, points)} → {name_of(b, points)}: {100 * mean:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})")


def pm_accuracy(folder, seed, work):
    """For each held-out oracle pair whether the last preference model prefers the better reply,
    the share by fault, and the probability that it gives to the better one. A model that learnt
    nothing gives each reply one half; the sign of its tiny differences is the same for all pairs
    of a fault, so that the share of right signs then says little."""
    shown = json.loads((folder / "show.json").read_text())
    pms = [m for m in shown["models"] if m["kind"] == "pm" and m["k"] == 0]
    model = max(pms, key=lambda m: m["round"])["path"]
    pairs = world.lines(work / f"world-{seed}" / "pairs.jsonl")
    asked = "".join(json.dumps({"messages": [{"role": "user", "content": p["prompt"]},
                                             {"role": "assistant", "content": p[side]}]}) + "\n"
                    for p in pairs for side in ("chosen", "rejected"))
    out = subprocess.run([str(world.TOOLS / "caiprobe"), "score", "--model", model], input=asked,
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    score = [json.loads(line)["score"] for line in out.splitlines()]
    right = numpy.array([a > b for a, b in zip(score[0::2], score[1::2])], float)
    by_fault = {f: numpy.mean([r for r, p in zip(right, pairs) if p["fault"] == f]) for f in {p["fault"] for p in pairs}}
    chosen = 1 / (1 + numpy.exp(numpy.array(score[1::2]) - numpy.array(score[0::2])))
    return right, by_fault, chosen


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".state/bench"))
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    seeds = range(a.first, a.first + a.seeds)
    folders = world.side_by_side([functools.partial(world.job, a.work, "loop", seed, settings=PROMPTS) for seed in seeds])
    runs = [world.verdicts(f) for f in folders]
    print(f"{a.seeds} seeds, {[int((f / 'seconds').read_text()) for f in folders]} s each; "
          f"{len(runs[0][0]['harmful'])} harmful, {len(runs[0][0]['helpful'])} helpful, "
          f"{len(runs[0][0].get('lookalike', {}))} look-alike held-out prompts; 95 % intervals")
    paired(runs, rates(runs))
    right = [pm_accuracy(f, s, a.work) for f, s in zip(folders, seeds)]
    print("\nPreference model on held-out oracle pairs:", world.show(world.interval([r for r, _, _ in right])))
    print("  " + "  ".join(f"{f} {numpy.mean([b[f] for _, b, _ in right]):.2f}" for f in sorted(right[0][1])))
    overseer.report(folders)


if __name__ == "__main__":
    main()
