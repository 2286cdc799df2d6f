"""web_live.py: the dashboard while a real job runs: seen from an open page, without a reload.
`web_live.py TOOLS [FOLDER for pictures]`."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from browser import PROGRAM, Browser  # noqa: E402
from checkpoint import short_job  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402

TOOLS = sys.argv[1]
PICTURES = sys.argv[2] if len(sys.argv) > 2 else None


def look(b, name):
    if PICTURES:
        os.makedirs(PICTURES, exist_ok=True)
        b.picture(os.path.join(PICTURES, name + ".png"))


def test_a_job_is_followed():
    folder = os.path.realpath(tempfile.mkdtemp(prefix="caid-test-"))
    short_job(folder, workers=1, stages__label__gate_pairs=0, stages__ppo__steps=40)
    with Real(TOOLS, spawn=1, root=folder) as caid, Browser(limit=240) as b:
        caid.own_root = True
        b.go(caid.ctl("-q", "web").strip())
        b.until("location.pathname === '/' && byId('jobs').textContent.includes('No job yet')")
        caid.submit_file(os.path.join(folder, "job.yaml"))
        b.until("byId('jobs').textContent.includes('running')", what="the job runs")
        b.until("byId('workers').textContent.includes('job 1')", what="its worker is seen")
        b.until("view && [...view.curves.keys()].some(k => k === 'ppo/reward')", what="curves of PPO")
        n = b.js("view.curves.get('ppo/reward').points.length")
        assert n < 40, "they are drawn while it runs"
        look(b, "live-ppo")
        b.until(f"view.curves.get('ppo/reward') && view.curves.get('ppo/reward').points.length > {n}", what="they grow")
        b.until("byId('jobs').textContent.includes('done')", what="the job ends")
        b.until("view && view.job.state === 'COMPLETED' && document.querySelectorAll('.plot canvas').length >= 6")
        points = b.js("view.curves.get('ppo/reward').points")
        assert [p[0] for p in points] == list(range(points[0][0], points[0][0] + 40)), points
        for name in ("kl", "entropy", "length", "reward_by_kl"):
            assert b.js(f"view.curves.get('ppo/{name}').points.length") == 40, name
        text = b.js("byId('detail').innerText")
        for what in ("Held-out replies by stage", "Guards", "Principles", "Samples", "COMPLETED"):
            assert what in text, text
        look(b, "live-done")
        assert not b.of("Runtime.exceptionThrown"), b.of("Runtime.exceptionThrown")
        one = max(len(e["response"].get("headers", {}).get("Content-Length", "")) for e in b.of("Network.responseReceived")
                  if "/api/curves" in e["response"]["url"])
        assert one <= 5, "a question for curves has a small answer"


if not PROGRAM:
    print("no chromium here: the dashboard is not looked at")
    sys.exit(0)
main([test_a_job_is_followed])
