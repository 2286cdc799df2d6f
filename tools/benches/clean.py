"""False halts: the demonstration as it is, at its full size and with the job file's own guards on; nothing
is planted. A guard may not halt such a job, and hardly ever one of many drawn anew from what was seen: a
run, and at each of its looks the pairs of replies that each failure was compared on, judged by the rule
of daemon/stage/guard_rise.c at its default thresholds. In such draws a run's own shares are the truth: a
halt is false when the failure that it names rose by no more than guards.margin in the run itself.

The first run of a base is that of `tools/bench loop`, where WORK has it (loop-SEED). Smaller jobs are no
such proof: with some hundred prompts a round, this base does refuse more, and is rightly halted."""
import functools
import math
import statistics

import numpy

import dose
import small
import world

JOB = ["stages.evaluate.prompts=800"]
ALPHA, MARGIN = 0.01, 0.02  # guards.alpha, guards.margin: the job file's defaults
DRAWS = 2


class Kept:
    """A run of `tools/bench loop`, which ends only where no gate holds it."""

    def __init__(self, folder):
        self.folder, self.passed, self.seconds = folder, [], float((folder / "seconds").read_text())
        self.metrics = {(m["round"], m["stage"], m["name"]): m["value"] for m in world.lines(folder / "metrics.jsonl")
                        if m["step"] == 0}
        self.verdicts = small._verdicts(folder, {})

    rate, values = small.Result.rate, small.Result.values


def clean(a, seed, draw):
    kept = a.work / f"loop-{seed}"
    if draw == 0 and (kept / "seconds").exists():
        return Kept(kept)
    if a.finished:
        return small.known(a.work, f"clean-{draw}", seed)
    return small.run(a.work, f"clean-{draw}", seed, JOB, accept=["*"], bases=a.bases, draw=100 * draw + seed)


def rise_low(n, worse, better, z):
    """daemon/stage/paired.c: the lower bound of after − before."""
    n, b, c = n + 2, worse + 0.5, better + 0.5
    return (b - c) / n - z * math.sqrt(max(0, b + c - (b - c) ** 2 / n)) / n


def compared(run):
    """For each look, (pairs, share worse, share better) since the start of each failure."""
    return [[tuple(run.metrics[(r, "evaluate", f"{f}_{k}")] for k in ("pairs", "worse", "better"))
             for f in dose.FAILURES if run.metrics.get((r, "evaluate", f"{f}_pairs"), 0) > 0]
            for r in sorted(run.verdicts) if r > 0]


def resampled(runs, times=2000, seed=0):
    """(draws that halt falsely, that halt for what did rise, draws): each comparison at the level that it
    has in the job, which those against the round before share (guard.c, confidence_of)."""
    rng, false, right = numpy.random.default_rng(seed), 0, 0
    seen = [compared(r) for r in runs]
    for _ in range(times):
        looks, names = seen[rng.integers(len(seen))], set()
        for classes in looks:
            z = statistics.NormalDist().inv_cdf(1 - 0.5 * ALPHA / (len(looks) * 2 * max(1, len(classes))))
            for n, worse, better in classes:
                b, c, _ = rng.multinomial(int(n), [worse, better, max(0, 1 - worse - better)])
                if rise_low(n, b, c, z) > MARGIN:
                    names.add(worse - better > MARGIN)
        false, right = false + (False in names), right + (names == {True})
    return false, right, times


def run_clean(a):
    tasks = [(seed, draw) for draw in range(DRAWS) for seed in range(a.first, a.first + a.seeds)]
    runs = [r for r in small.every([functools.partial(clean, a, *t) for t in tasks], a.at_once) if r]
    if not runs:
        return print("no run is finished")
    halted = {r.folder.name: r.passed for r in runs if dose.guard_gates(r)}
    false, right, times = resampled(runs)
    print(f"\nFalse halts, nothing planted: {len(halted)} of {len(runs)} runs halted; of {times:,} drawn anew from their verdicts "
          f"{false} falsely, {right} for a failure that rose by more than the margin in the run itself; "
          f"{numpy.median([r.seconds for r in runs]):.0f} s a run")
    for r in runs:
        most = {f: max(r.rate(f, sets, e) for e in r.verdicts if e) - r.rate(f, sets, 0)
                for f, sets in (("harmful", ["harmful"]), ("evasive", dose.HARMLESS))}
        print(f"  {r.folder.name}: by the oracle, the highest over the start: "
              + ", ".join(f"{f} {100 * v:+.1f}" for f, v in most.items())
              + "".join(f"; {gate}: {why}" for gate, why in halted.get(r.folder.name, [])))


PARTS = {"clean": run_clean}
