"""Over-optimisation in the clerk's world: what the preference model says of the policy (proxy)
and what the oracle says (gold) while PPO goes on without a tie to the start, against √KL. The
labels of a seed are made once; preference models learn from a part of them, as they are and with
a share turned round; each way of making one score of an ensemble is an arm. Every reply of every
step is judged. Gao's law R = d (α − β log d), d = √KL (Gao et al. 2022), is fitted to both and
drawn into an SVG. Proxy: normalised scores as PPO gets them. Gold of a reply: 1 if it helps, less
its faults, garbled sentences among them; in deviations of the replies of the start."""
import argparse
import collections
import json
import math
import pathlib
import random

import numpy

import curves
import law
import loop
import world

ARMS = {
    "one": ("one", ["stages.prefer.members=1"]),
    "mean3": ("mean of 3", ["stages.prefer.members=3"]),
    "mean5": ("mean of 5", ["stages.prefer.members=5"]),
    "worst5": ("worst of 5", ["stages.prefer.members=5", "stages.ppo.pm_combine=worst"]),
    "variance5": ("5, less ½ variance", ["stages.prefer.members=5", "stages.ppo.pm_variance=0.5"]),
    "shared5": ("5 heads, one trunk", ["stages.prefer.members=5", "stages.prefer.trunk=shared"]),
}
# (labels, share of them turned round)
CONDITIONS = [(2000, 0.0), (2000, 0.25)]
LABELS = 2100  # asked for in a seed; some pairs are twice the same reply

ONE_ROUND = ["rounds=1"] + [f"stages.{s}.enabled=false" for s in ("red_team", "revise", "sft", "evaluate")]
LABEL = ONE_ROUND + ["stages.prefer.enabled=false", "stages.ppo.enabled=false", f"stages.label.pairs={LABELS}"]
# Large steps and no tie to the start: the way to large KL in minutes. It ends past d = 6.
PPO = ONE_ROUND + ["stages.label.enabled=false", "stages.prefer.human=1", "stages.prefer.gate_confidence=0",
                   "stages.ppo.steps=40", "stages.ppo.rollouts=96", "stages.ppo.kl.coef=0",
                   "stages.ppo.lr=5e-4", "stages.ppo.value_lr=5e-4", "stages.ppo.schedule=constant",
                   "stages.ppo.samples=96", "stages.ppo.sample_every=1", "guards.kl_budget=36"]


def pairs(work, seed, n, noise):
    """n of the seed's labels, a share turned round, as a job's own pairs."""
    path = work / f"labels-{seed}" / f"{n}-{noise}.jsonl"
    rows = world.lines(work / f"labels-{seed}" / "pairs.jsonl")
    rng = random.Random(seed)
    rng.shuffle(rows)
    with open(path, "w") as out:
        for row in rows[:n]:
            p = 1 - row["p"] if rng.random() < noise else row["p"]
            out.write(json.dumps({"prompt": row["prompt"], "a": row["chosen"], "b": row["rejected"], "p": p}) + "\n")
    return path.resolve()


def name(condition, arm):
    return f"overopt-{condition[0]}-{condition[1]}-{arm}"


def run(work, seed, condition, arm):
    world.job(work, "labels", seed, settings=LABEL, exports=["pairs"], judge=None)
    return world.job(work, name(condition, arm), seed, exports=["rollouts", "metrics"], judge="rollouts",
                     settings=PPO + ARMS[arm][1] + [f"data.human={pairs(work, seed, *condition)}"])


def gold(verdict):
    return verdict["helpful"] - verdict["garbled"] - sum(verdict[fault] for fault in world.FAULTS)


class Curve:
    """One run, by step: d = √KL, and arrays of replies × steps of proxy, gold, faultless."""

    def __init__(self, folder):
        steps = collections.defaultdict(list)
        for row, verdict in zip(world.lines(folder / "rollouts.jsonl"), world.lines(folder / "judged.jsonl")):
            good = not verdict["garbled"] and not any(verdict[fault] for fault in world.FAULTS)
            steps[row["step"]].append((row["kl"], row["reward"], gold(verdict), good))
        table = numpy.array([steps[s] for s in sorted(steps)], float)  # [steps, replies, 4]
        kl, self.proxy, self.gold, self.faultless = numpy.moveaxis(table, 2, 0)
        self.d = numpy.sqrt(numpy.maximum(kl.mean(1), 0))

    def scaled(self, deviation):
        """(d, gain in proxy, gain in gold) by step; gold in the unit given."""
        gains = self.proxy.mean(1), self.gold.mean(1) / deviation
        return self.d, *(g - g[0] for g in gains)


def pm_right(work, condition, found):
    """The first member's share of right answers on the world's known pairs, mean over seeds; each
    asked once, in the first arm that has the seed, since arms share their members."""
    shares = []
    for seed in sorted({seed for runs in found.values() for seed in runs}):
        folder = work / f"{name(condition, next(arm for arm in found if seed in found[arm]))}-{seed}"
        path = folder / "right"
        if not path.exists():
            path.write_text(str(loop.pm_accuracy(folder, seed, work)[0].mean()))
        shares.append(float(path.read_text()))
    return numpy.mean(shares)


def title(condition):
    return f"{condition[0]:,} labels" + (f", {100 * condition[1]:.0f} % turned round" if condition[1] else "")


def spread(value):
    return f"{value[0]:+.2f} ({value[1]:+.2f} to {value[2]:+.2f})"


def peak(fit, reached):
    """Where the fitted curve turns, if that was reached."""
    a, b = fit.alpha[0], fit.beta[0]
    d = math.exp(min(a / b - 1, 20)) if b > 0 else math.inf
    return f"{d:.1f}" if d <= reached else f"none up to {reached:.1f}"


def near(scaled, d):
    """Mean gain in gold where √KL is within a half of d: mean over the seeds that came there."""
    seeds = [s[2][abs(s[0] - d) <= 0.5].mean() for s in scaled if (abs(s[0] - d) <= 0.5).any()]
    return f"{numpy.mean(seeds):+.2f}" if seeds else "–"


def measured(found, deviation):
    """Prints what was seen, without any law; returns the arms whose gold turns over."""
    places = range(1, 7)
    print("| score | seeds | proxy at the end | gold at its peak | at the end | from peak to end | "
          "faultless: start, peak, end | " + " | ".join(f"gold at d ≈ {d}" for d in places) + " |\n|" + "---|" * (7 + len(places)))
    turned = []
    for arm, runs in found.items():
        seen = list(runs.values())
        scaled = [c.scaled(deviation) for c in seen]
        turn = law.turnover([c.gold / deviation for c in seen])
        last = slice(-law.WINDOW, None)
        share = [numpy.mean([c.faultless[w].mean() for c, w in zip(seen, windows)])
                 for windows in ([slice(0, 1)] * len(seen), turn.windows, [last] * len(seen))]
        print(f"| {ARMS[arm][0]} | {len(seen)} | {numpy.mean([s[1][last].mean() for s in scaled]):+.2f} | {turn.peak:+.2f} "
              f"| {turn.end:+.2f} | {spread(turn.change)} | {', '.join(f'{100 * x:.0f} %' for x in share)} | "
              + " | ".join(near(scaled, d) for d in places) + " |")
        if turn.change[2] < 0:
            turned.append(arm)
    return turned


def fitted(condition, found, deviation):
    """Prints the law's parameters; returns the condition's panels."""
    print("\n| score | α gold | β gold | gold turns at d | R² | α proxy | β proxy | R² |\n|" + "---|" * 8)
    panels = []
    for arm, runs in found.items():
        scaled = [c.scaled(deviation) for c in runs.values()]
        proxy, gold_fit = (law.fit([(s[0], s[i]) for s in scaled]) for i in (1, 2))
        reached = max(s[0].max() for s in scaled)
        print(f"| {ARMS[arm][0]} | {spread(gold_fit.alpha)} | {spread(gold_fit.beta)} | {peak(gold_fit, reached)} "
              f"| {gold_fit.r2:.2f} | {spread(proxy.alpha)} | {spread(proxy.beta)} | {proxy.r2:.2f} |")
        panels.append(curves.Panel(ARMS[arm][0], title(condition), scaled, proxy, gold_fit))
    return panels


def report(condition, found, work):
    """Prints the condition's tables; returns its panels."""
    deviation = numpy.concatenate([c.gold[0] for runs in found.values() for c in runs.values()]).std()
    print(f"\n{title(condition)}; the first member is right on {100 * pm_right(work, condition, found):.1f} % of known "
          f"pairs; gold of the start's replies deviates by {deviation:.2f}\n")
    turned = measured(found, deviation)
    panels = fitted(condition, found, deviation)
    print("\nGold turns over (from peak to end, the interval is below 0): "
          + ("; ".join(ARMS[a][0] for a in turned) or "nowhere")
          + ". Not shown to turn: " + ("; ".join(ARMS[a][0] for a in found if a not in turned) or "none") + ".")
    return panels


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".state/bench"))
    p.add_argument("--finished", action="store_true", help="report on the runs that are finished, run none")
    p.add_argument("arms", nargs="*", default=list(ARMS), metavar="arm", help=f"of: {' '.join(ARMS)}")
    a = p.parse_args()
    for arm in a.arms:
        if arm not in ARMS:
            p.error(f"no arm '{arm}'; there are: {' '.join(ARMS)}")
    a.work.mkdir(parents=True, exist_ok=True)
    found = {c: {arm: {} for arm in a.arms} for c in CONDITIONS}
    for condition in CONDITIONS:
        for seed in range(a.first, a.first + a.seeds):
            for arm in a.arms:
                folder = a.work / f"{name(condition, arm)}-{seed}"
                if not a.finished:
                    folder = run(a.work, seed, condition, arm)
                if (folder / "seconds").exists():
                    found[condition][arm][seed] = Curve(folder)
    panels = []
    for condition, arms in found.items():
        arms = {arm: runs for arm, runs in arms.items() if runs}
        if arms:
            panels.append(report(condition, arms, a.work))
    (a.work / "overopt.svg").write_text(curves.svg(panels))
    print(f"\nCurves: {a.work / 'overopt.svg'}")


if __name__ == "__main__":
    main()
