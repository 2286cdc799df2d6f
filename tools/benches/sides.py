"""Two programs timed in turn. Each side is a process that prints "ready", then answers
every line "go" with the seconds that one run took and the units it did; so start-up and
warm-up are outside, and a drift of the machine's speed touches both sides alike."""
import os
import subprocess
import time
from statistics import median


def memory(process, what):
    """Bytes of a process: "VmHWM" the most so far, "VmRSS" now."""
    for line in open(f"/proc/{process.pid}/status"):
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"process {process.pid} has no {what}")


def processor_time(process):
    """Seconds that a process has taken of the processors, all threads."""
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Side:
    def __init__(self, name, command, env=None, stderr=None):
        self.name = name
        self.peak = None
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=env, stderr=stderr)
        self.rates, self.per_second = [], []
        line = self.process.stdout.readline().strip()
        if line != "ready":
            raise SystemExit(f"{name} did not start: {line!r}")
        self.at_start = memory(self.process, "VmRSS")

    def run(self, counted=True):
        before = processor_time(self.process)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().split()
        if len(line) != 2:
            raise SystemExit(f"{self.name} stopped")
        seconds, units = float(line[0]), float(line[1])
        if counted:
            self.rates.append(units / seconds)
            self.per_second.append(units / max(processor_time(self.process) - before, 0.01))

    def close(self):
        self.peak = memory(self.process, "VmHWM")
        self.process.stdin.close()
        self.process.wait(timeout=30)


def fastest(candidates, make):
    """The candidate whose side runs fastest: each started alone, warmed up, and timed once."""
    rates = {}
    for c in candidates:
        try:
            side = make(c)
            side.run(counted=False)
            side.run()
            side.close()
            rates[c] = side.rates[0]
        except SystemExit as e:  # a setting that the peer refuses is none of its best
            print(f"  {e}", flush=True)
    print("  " + ", ".join(f"{' '.join(filter(None, c))} {r:,.1f}/s" for c, r in rates.items()), flush=True)
    return max(rates, key=rates.get)


def compare_memory(first, other):
    a, b = first.peak, other.peak
    above = [(s.peak - s.at_start) / 1e6 for s in (first, other)]
    print(f"peak memory: {a / 1e6:,.0f} against {b / 1e6:,.0f} MB: {a / b:.2f}×; above what each takes before "
          f"its first step: {above[0]:,.0f} against {above[1]:,.0f} MB: {above[0] / above[1]:.2f}×")


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
              f"({ratios[0]:.2f} – {ratios[-1]:.2f}, {runs} runs); by processor time "
              f"{median(first.per_second) / median(other.per_second):.2f}×")


def bandwidth(threads):
    """Bytes per second of reading far more than the caches hold; the best of some tries."""
    import torch
    torch.set_num_threads(threads)
    x = torch.ones(1 << 27)
    best = 0
    for _ in range(5):
        start = time.perf_counter()
        x.sum()
        best = max(best, x.nbytes / (time.perf_counter() - start))
    return best


def products(threads, bfloat16=False):
    """Operations per second of a large matrix product; the best of some tries."""
    import torch
    torch.set_num_threads(threads)
    n, best = 2048, 0
    x = torch.randn(n, n).to(torch.bfloat16 if bfloat16 else torch.float32)
    for _ in range(8):
        start = time.perf_counter()
        x @ x
        best = max(best, 2 * n ** 3 / (time.perf_counter() - start))
    return best


def machine():
    """One line about where the figures were taken."""
    import platform
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    has = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags.split()]
    return f"{model}, {os.cpu_count()} cores ({' '.join(has)})"
