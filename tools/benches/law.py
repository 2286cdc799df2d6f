"""Gao's law of over-optimisation, R = d (α − β log d), fitted by least squares, and whether a
curve turns over. Intervals: 95 % by bootstrap over seeds, then steps (fit) or replies (turnover)."""
import collections

import numpy

WINDOW = 5  # steps that are averaged, where one step's replies say too little
DRAWS = 2000

Fit = collections.namedtuple("Fit", "alpha beta r2")
Turn = collections.namedtuple("Turn", "peak end change windows")


def solve(d, r):
    """(α, β) of r = d α − d log(d) β. d = 0 says nothing."""
    d, r = d[d > 0], r[d > 0]
    x = numpy.stack([d, -d * numpy.log(d)], 1)
    return numpy.linalg.lstsq(x, r, rcond=None)[0]


def value(d, alpha, beta):
    d = numpy.maximum(d, 1e-9)
    return d * (alpha - beta * numpy.log(d))


def fit(runs):
    """runs: (d, R) of each seed. α and β: means over the seeds' own fits, with intervals; R² over
    all seeds, of each one's own fit."""
    rng = numpy.random.default_rng(0)
    own = [solve(d, r) for d, r in runs]
    draws = []
    for _ in range(DRAWS):
        chosen = rng.integers(0, len(runs), len(runs))
        part = []
        for i in chosen:
            d, r = runs[i]
            rows = rng.integers(0, len(d), len(d))
            part.append(solve(d[rows], r[rows]))
        draws.append(numpy.mean(part, 0))
    mean = numpy.mean(own, 0)
    low, high = numpy.quantile(draws, [0.025, 0.975], axis=0)
    left = sum(((r - value(d, *o)) ** 2).sum() for (d, r), o in zip(runs, own))
    total = sum(((r - r.mean()) ** 2).sum() for _, r in runs)
    return Fit(*[(mean[k], low[k], high[k]) for k in (0, 1)], 1 - left / total)


def turnover(runs):
    """runs: gold of each seed, [steps, replies]. The peak is the best WINDOW steps by the even
    replies and is measured on the odd ones, so that noise is no peak. Gains over the first step."""
    rng = numpy.random.default_rng(0)
    windows, peaks, ends, starts = [], [], [], []
    for g in runs:
        means = numpy.convolve(g[:, 0::2].mean(1), numpy.ones(WINDOW) / WINDOW, "valid")
        at = int(means.argmax())
        windows.append(slice(at, at + WINDOW))
        starts.append(g[0].mean())
        peaks.append(g[at:at + WINDOW, 1::2].ravel())
        ends.append(g[-WINDOW:, 1::2].ravel())
    draws = []
    for _ in range(DRAWS):
        chosen = rng.integers(0, len(runs), len(runs))
        draws.append(numpy.mean([rng.choice(ends[i], len(ends[i])).mean() - rng.choice(peaks[i], len(peaks[i])).mean()
                                 for i in chosen]))
    peak = numpy.mean([p.mean() - s for p, s in zip(peaks, starts)])
    end = numpy.mean([e.mean() - s for e, s in zip(ends, starts)])
    low, high = numpy.quantile(draws, [0.025, 0.975])
    return Turn(peak, end, (end - peak, low, high), windows)
