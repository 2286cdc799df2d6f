"""Early stopping without gold, on the stored curves of `tools/bench overopt`: reinforcement learning
that goes on without a tie to the start, until what people would say turns down. People look every few
steps at some replies of that step; they are wrong in a share of cases (methods of simulated readers).
Rules see only what a job would: people's held-out verdicts, KL, the preference model's reward. Gold
is used to say how well they did, alone."""
import math
import pathlib

import numpy

import overopt

EVERY, REPLIES, WRONG = 3, 48, 0.25  # steps between looks, replies read at a look, people's error
WINDOW = 3  # looks that are averaged


def smooth(values, window=5):
    kernel = numpy.ones(window)
    return numpy.convolve(values, kernel, "same") / numpy.convolve(numpy.ones(len(values)), kernel, "same")


def people(curve, rng):
    """At each look, the share of replies that people call good."""
    looks = list(range(0, len(curve.d), EVERY))
    shares = []
    for s in looks:
        good = curve.faultless[s][rng.choice(curve.faultless.shape[1], REPLIES, replace=False)] > 0
        wrong = rng.random(REPLIES) < WRONG
        shares.append((good ^ wrong).mean())
    return numpy.array(looks), numpy.array(shares)


def by_people(curve, rng):
    """The checkpoint with the best running mean of people's verdicts; training ends when the mean has
    fallen two standard errors below the best."""
    looks, shares = people(curve, rng)
    error = math.sqrt(0.25 / (REPLIES * WINDOW))
    best, at = -1.0, 0
    for i in range(len(looks)):
        mean = shares[max(0, i - WINDOW + 1):i + 1].mean()
        if mean > best:
            best, at = mean, i
        elif mean < best - 2 * error:
            break
    return int(looks[max(0, at - WINDOW // 2)])


def by_kl(budget):
    return lambda curve, rng: int(min(numpy.argmax(curve.d ** 2 > budget) if (curve.d ** 2 > budget).any()
                                      else len(curve.d) - 1, len(curve.d) - 1))


RULES = {"people's held-out verdicts": by_people, "KL budget 10 nats": by_kl(10), "KL budget 20 nats": by_kl(20),
         "never (to the end)": lambda curve, rng: len(curve.d) - 1}


def reached(curve, step):
    """Gold gained at the step, of the peak's gain (smoothed over steps)."""
    gold = smooth(curve.gold.mean(1))
    gain, peak = gold[step] - gold[0], gold.max() - gold[0]
    return gain / peak if peak > 0 else math.nan


def run_stop(a):
    folders = sorted(f for f in pathlib.Path(a.curves).glob("overopt-*") if (f / "seconds").exists())
    if not folders:
        return print("\nEarly stopping: no curves; run `tools/bench overopt` and name its folder (--curves)")
    curves = {f.name: overopt.Curve(f) for f in folders}
    print(f"\nEarly stopping without gold on {len(curves)} stored runs: gold gained at the stop, of the peak's gain; "
          f"{REPLIES} replies read every {EVERY} steps, people wrong in {100 * WRONG:.0f} %")
    for name, rule in RULES.items():
        share = {n: numpy.median([reached(c, rule(c, numpy.random.default_rng(k))) for k in range(25 if rule is by_people else 1)])
                 for n, c in curves.items()}
        values = numpy.array([v for v in share.values() if not math.isnan(v)])
        rng = numpy.random.default_rng(0)
        low, high = numpy.quantile([numpy.median(rng.choice(values, len(values))) for _ in range(4000)], [0.025, 0.975])
        print(f"  {name:<28} median {numpy.median(values):.3f} ({low:.3f} – {high:.3f}), worst {values.min():.2f}, "
              f"at least 0.95 in {(values >= 0.95).sum()} of {len(values)}")


PARTS = {"stop": run_stop}
