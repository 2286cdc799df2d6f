"""Small multiples as one SVG: proxy and gold against √KL, a panel for each arm, a row for each
condition, with the fitted law. Plain text, no library."""
import collections

import numpy

import law

Panel = collections.namedtuple("Panel", "title row runs proxy gold")  # runs: (d, proxy, gold) of each seed
WIDTH, HEIGHT, LEFT, TOP, GAP = 190, 170, 58, 46, 26
COLOURS = {"proxy": "#b3402e", "gold": "#1f7a4d"}


def ticks(low, high):
    """A few round numbers between."""
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if (high - low) / s <= 6)
    return [step * k for k in range(int(numpy.ceil(low / step)), int(numpy.floor(high / step)) + 1)]


def path(points):
    return "M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in points)


class Axes:
    def __init__(self, left, top, right_value, low, high):
        self.left, self.top, self.right_value, self.low, self.high = left, top, right_value, low, high

    def at(self, x, y):
        y = min(max(y, self.low), self.high)
        return (self.left + WIDTH * x / self.right_value,
                self.top + HEIGHT * (self.high - y) / (self.high - self.low))

    def frame(self, first):
        out = [f'<rect x="{self.left}" y="{self.top}" width="{WIDTH}" height="{HEIGHT}" class="frame"/>']
        for v in ticks(self.low, self.high):
            _, y = self.at(0, v)
            out.append(f'<path d="M{self.left},{y:.1f} h{WIDTH}" class="{"zero" if v == 0 else "grid"}"/>')
            if first:
                out.append(f'<text x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{v:g}</text>')
        for v in ticks(0, self.right_value):
            x, _ = self.at(v, self.low)
            out.append(f'<text x="{x:.1f}" y="{self.top + HEIGHT + 15}" text-anchor="middle">{v:g}</text>')
        return out


def draw(panel, axes, first):
    out = axes.frame(first)
    middle = axes.left + WIDTH / 2
    out.append(f'<text x="{middle}" y="{axes.top - 8}" text-anchor="middle" class="title">{panel.title}</text>')
    for which, fit in (("proxy", panel.proxy), ("gold", panel.gold)):
        colour = COLOURS[which]
        for run in panel.runs:
            for d, r in zip(run[0], run[1 if which == "proxy" else 2]):
                x, y = axes.at(d, r)
                out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6" fill="{colour}" opacity=".5"/>')
        reached = max(run[0].max() for run in panel.runs)
        fitted = [(d, law.value(d, fit.alpha[0], fit.beta[0])) for d in numpy.linspace(0.01, reached, 80)]
        line = [axes.at(d, r) for d, r in fitted if axes.low <= r <= axes.high]
        out.append(f'<path d="{path(line)}" stroke="{colour}" stroke-width="2" fill="none"/>')
    return out


def svg(rows):
    """rows: lists of panels, one list a condition."""
    columns = max((len(r) for r in rows), default=0)
    width, height = LEFT + columns * (WIDTH + GAP) + 10, len(rows) * (HEIGHT + TOP + 40) + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
           "<style>text{font:12px sans-serif;fill:#1d2430}.title{font-weight:bold}.frame{fill:none;stroke:#8a94a3}"
           ".grid{stroke:#e3e7ec}.zero{stroke:#8a94a3}</style>", '<rect width="100%" height="100%" fill="white"/>']
    for n, panels in enumerate(rows):
        top = 30 + n * (HEIGHT + TOP + 40) + TOP - 10
        every = [v for p in panels for run in p.runs for v in (*run[1], *run[2])]
        right = max(run[0].max() for p in panels for run in p.runs) * 1.02
        margin = 0.05 * (max(every) - min(every))
        out.append(f'<text x="{LEFT}" y="{top - 26}" class="title">{panels[0].row}: gain against √KL</text>')
        for k, panel in enumerate(panels):
            axes = Axes(LEFT + k * (WIDTH + GAP), top, right, min(every) - margin, max(every) + margin)
            out += draw(panel, axes, k == 0)
    for k, which in enumerate(COLOURS):
        out.append(f'<circle cx="{LEFT + 6 + 80 * k}" cy="14" r="4" fill="{COLOURS[which]}"/>'
                   f'<text x="{LEFT + 14 + 80 * k}" y="18">{which}</text>')
    return "\n".join(out + ["</svg>", ""])
