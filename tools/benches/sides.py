"""Two programs timed in turn. Each side is a process that prints "ready", then answers
every line "go" with the seconds that one run took and the units it did; so start-up and
warm-up are outside, and a drift of the machine's speed touches both sides alike."""
import subprocess
from statistics import median


class Side:
    def __init__(self, name, command, env=None):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=env)
        self.rates = []
        line = self.process.stdout.readline().strip()
        if line != "ready":
            raise SystemExit(f"{name} did not start: {line!r}")

    def run(self, counted=True):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().split()
        if len(line) != 2:
            raise SystemExit(f"{self.name} stopped")
        seconds, units = float(line[0]), float(line[1])
        if counted:
            self.rates.append(units / seconds)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def compare(sides, runs, unit, digits=0):
    """Runs the sides in turn; prints each one's median rate and the ratio of the first to
    each other, run by run."""
    for side in sides:
        side.run(counted=False)
    for _ in range(runs):
        for side in sides:
            side.run()
    for side in sides:
        side.close()
        low, middle, high = min(side.rates), median(side.rates), max(side.rates)
        print(f"{side.name:<34} {middle:12,.{digits}f} {unit}/s   ({low:,.{digits}f} – {high:,.{digits}f})")
    first = sides[0]
    for other in sides[1:]:
        ratios = sorted(a / b for a, b in zip(first.rates, other.rates))
        print(f"{first.name} / {other.name}: {median(ratios):.2f}×  "
              f"({ratios[0]:.2f} – {ratios[-1]:.2f}, {runs} runs)")


def machine():
    """One line about where the figures were taken."""
    import platform
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    has = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags.split()]
    import os
    return f"{model}, {os.cpu_count()} cores ({' '.join(has)})"
