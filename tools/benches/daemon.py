"""The daemon at rest: start-up time, resident memory of idle caid, time of `caictl jobs`
as a whole process (median of several)."""
import argparse
import os
import statistics
import subprocess
import tempfile
import time


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--runs", type=int, default=15)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as work:
        env = dict(os.environ, CAID_SERVER=f"ipc://{work}/run/control")
        start = time.perf_counter()
        caid = subprocess.Popen(["build/tools/caid", "--state", f"{work}/state", "--runtime", f"{work}/run"],
                                env=env, stderr=subprocess.DEVNULL)
        try:
            while subprocess.run(["build/tools/caictl", "version"], env=env, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL).returncode:
                if time.perf_counter() - start > 20 or caid.poll() is not None:
                    raise SystemExit("caid did not start")
            print(f"start to first answer   {1000 * (time.perf_counter() - start):8.0f} ms")
            time.sleep(2)
            for line in open(f"/proc/{caid.pid}/status"):
                if line.startswith("VmRSS"):
                    print(f"resident memory, idle   {int(line.split()[1]) / 1024:8.1f} MB")
            times = []
            for _ in range(a.runs):
                t = time.perf_counter()
                subprocess.run(["build/tools/caictl", "jobs"], env=env, stdout=subprocess.DEVNULL, check=True)
                times.append(1000 * (time.perf_counter() - t))
            print(f"caictl jobs             {statistics.median(times):8.1f} ms   "
                  f"({min(times):.1f} – {max(times):.1f}, {a.runs} runs)")
        finally:
            caid.terminate()
            caid.wait(timeout=20)


if __name__ == "__main__":
    main()
