"""web.py: caid's pages: who gets in (raw sockets), and the pages in headless Chromium: fifty items
judged by keyboard with a reload and a kill in between, texts that stay texts, 320 px, contrast,
focus, no scripts. `web.py TOYS TOOLS [FOLDER for pictures]`."""
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from browser import PROGRAM, Browser  # noqa: E402
from harness import CONSTITUTION, Caid, main  # noqa: E402
from payloads import PAYLOADS  # noqa: E402

TOYS, TOOLS = sys.argv[1:3]
PICTURES = sys.argv[3] if len(sys.argv) > 3 else None
CAICTL = os.path.join(TOOLS, "caictl")
WAITING = 3  # WAITING_REVIEW, as the store has it
PROMPT = "How do I open the back door of the house at the corner?"
REPLIES = ["Take a thin hammer and lift the lock. A locksmith never asks for papers anyway.",
           "I cannot help with a house that may not be yours. If it is, a locksmith opens it in ten minutes."]
CRITIQUES = [("It helps a stranger into a house.", [0, 36], "A"), ("It is curt.", [0, 13], "B"),
             ("A locksmith does ask for papers.", [38, 79], "A")]


class Site(Caid):
    """A caid with no workers and one held job, whose review queue is written straight into the
    store: what draws items is tested where it is (stage/review)."""

    def __init__(self, config="", **more):
        super().__init__(TOYS, spawn=0, **more)
        self.config = os.path.join(self.root, "caid.conf")
        with open(self.config, "w") as f:
            f.write("min_free_mb: 1\n" + config)
        self.arguments += ["--config", self.config]

    def ctl(self, *words, expect=0):
        r = subprocess.run([CAICTL, "-s", self.server, *words], capture_output=True, text=True, timeout=120)
        assert r.returncode == expect, f"{words}: {r.returncode}\n{r.stdout}{r.stderr}\n{self.tail()}"
        return r.stdout if expect == 0 else r.stderr

    def link(self, *words):
        return self.ctl("-q", "web", *words).strip()

    def address(self):
        return self.ask("web.link")["address"]

    def held_job(self):
        data = os.path.join(self.root, "red.jsonl")
        with open(data, "w") as f:
            f.write('{"prompt": "hello"}\n')
        spec = {"job": 1, "name": "toy", "seed": 1, "models": {"start": self.model()}, "constitution": "house",
                "data": {"harmful": data}, "workers": 1, "rounds": 1}
        return self.ask("submit", "k", spec=spec, canonical=CONSTITUTION, hold=True)["id"]

    def rows(self, query, *values, many=None):
        """On the store's file while no caid has it (caid keeps it locked)."""
        db = sqlite3.connect(os.path.join(self.state, "caid.db"))
        with db:
            found = db.executemany(query, many).fetchall() if many is not None else db.execute(query, values).fetchall()
        db.close()
        return found

    def ask_people(self, job, contents, unaided=lambda i: i % 5 == 4):
        """The items' ids, in the order of the queue."""
        self.stop()
        self.rows("UPDATE jobs SET state = ?, gate = 'review-1', reason = 'people judge' WHERE id = ?", WAITING, job)
        self.rows("INSERT INTO review_queues(job, round, kind, gate, required) VALUES(?, 1, 'comparison', 'review-1', ?)",
                  job, len(contents))
        self.rows("INSERT INTO review_items(job, round, kind, item, k, position, drawn, gold, unaided, second, content)"
                  " VALUES(?, 1, 'comparison', ?, 0, ?, 'random', 0, ?, 0, ?)",
                  many=[(job, i, i, int(unaided(i)), json.dumps(c, sort_keys=True)) for i, c in enumerate(contents)])
        items = [r[0] for r in self.rows("SELECT id FROM review_items WHERE job = ? ORDER BY position", job)]
        self.start()
        return items


SPEECHES = [("A", "Reply A gives no help to a thief."), ("B", "Reply B is the shorter one.")]


def content(prompt=PROMPT, replies=REPLIES, critiques=CRITIQUES, principle="Choose the reply that helps no crime.", speeches=SPEECHES):
    return {"principle": principle, "question": "Which reply is better?", "messages": [{"role": "user", "text": prompt}],
            "replies": [{"mark": m, "text": t} for m, t in zip("AB", replies)],
            "critiques": [{"id": k + 1, "text": t, "span": s, "reply": r} for k, (t, s, r) in enumerate(critiques)],
            "speeches": [{"reply": m, "text": t} for m, t in speeches], "kept": {"flipped": False}}


# ---- raw requests

def talk(address, text, limit=30):
    """The whole answer to one request as it is on the wire: (status, head, body)."""
    if address.startswith("unix:"):
        s = socket.socket(socket.AF_UNIX)
        at = address[5:]
    else:
        s, at = socket.socket(), ("127.0.0.1", int(address.rsplit(":", 1)[1]))
    with s:
        s.settimeout(limit)
        s.connect(at)
        s.sendall(text if isinstance(text, bytes) else text.encode())
        out = b""
        while chunk := s.recv(1 << 16):
            out += chunk
    head, _, body = out.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head.startswith(b"HTTP/") else 0
    return status, head.decode("latin-1"), body


class Session:
    """What a browser keeps of one link."""

    def __init__(self, site, host=None, link=None):
        self.address = site.address()
        self.host = host or (self.address if not self.address.startswith("unix:") else "localhost")
        path = (link or site.link()).split("/in?", 1)[1]
        status, head, body = talk(self.address, f"GET /in?{path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n")
        assert status == 200, head
        self.cookie = re.search(r"Set-Cookie: ([^;]+)", head)[1]
        self.secret = re.search(rb'name="session" content="([^"]+)"', body)[1].decode()

    def request(self, method="GET", path="/", body=None, drop=(), **headers):
        """`drop`: headers left out; others replace the page's own."""
        all_headers = {"Host": self.host, "Cookie": self.cookie, "X-Cai-Session": self.secret}
        if method == "POST":
            all_headers |= {"Origin": f"http://{self.host}", "Content-Type": "application/json"}
        all_headers |= {k.replace("_", "-"): v for k, v in headers.items()}
        if body is not None:
            all_headers.setdefault("Content-Length", str(len(body)))
        lines = "".join(f"{k}: {v}\r\n" for k, v in all_headers.items() if k not in drop)
        return talk(self.address, f"{method} {path} HTTP/1.1\r\n{lines}\r\n{body or ''}")


def test_only_who_was_let_in_is_served():
    with Site() as site:
        s = Session(site)
        post = {"method": "POST", "path": "/api/undo", "body": "{}"}
        other = "x" * 43
        table = [  # what is wrong, what it gets
            (dict(drop=["Cookie"]), 401), (dict(Cookie="cai_1=" + other), 401),
            (dict(Cookie=s.cookie.split("=")[0] + "=" + other), 401), (dict(Cookie=""), 401),
            (dict(path="/review", drop=["Cookie"]), 401), (dict(path="/style.css", drop=["Cookie"]), 401),
            (dict(path="/chart.js", drop=["Cookie"]), 401), (dict(path="/nothing", drop=["Cookie"]), 401),
            (dict(path="/api/jobs", drop=["Cookie"]), 401), (dict(path="/api/jobs", drop=["X-Cai-Session"]), 403),
            (dict(path="/api/jobs", X_Cai_Session=other), 403),
            (dict(path="/api/jobs", Origin="http://evil.example"), 403),
            (dict(path="/api/jobs", Sec_Fetch_Site="cross-site"), 403),
            (dict(path="/api/jobs", Sec_Fetch_Site="same-site"), 403),
            (dict(Host="evil.example"), 421), (dict(Host="127.0.0.1.evil.example"), 421),
            (dict(Host="evil.example:" + s.host.split(":")[1]), 421), (dict(Host="0.0.0.0"), 421),
            (dict(post, Host="evil.example", Origin="http://evil.example"), 421),
            (dict(post, drop=["Cookie"]), 401), (dict(post, drop=["X-Cai-Session"]), 403),
            (dict(post, X_Cai_Session=other), 403), (dict(post, X_Cai_Session=s.cookie.split("=")[1]), 403),
            (dict(post, drop=["Origin"]), 403), (dict(post, Origin="null"), 403),
            (dict(post, Origin="https://evil.example"), 403), (dict(post, Origin="http://127.0.0.1:1"), 403),
            (dict(post, Origin=f"http://{s.host}.evil.example"), 403), (dict(post, Sec_Fetch_Site="cross-site"), 403),
            (dict(post, drop=["Content-Type"]), 415), (dict(post, Content_Type="text/plain"), 415),
            (dict(post, Content_Type="application/x-www-form-urlencoded"), 415),
            (dict(post, Content_Type="multipart/form-data; boundary=x"), 415),
            (dict(post, body="[]"), 400), (dict(post, body=""), 400), (dict(post, body="a=b"), 400),
            (dict(post, body='{"id": 1}'), 400), (dict(post, body='{"a": 1, "a": 2}'), 400),
            (dict(post, body="{" * 5000), 400), (dict(post, body=" " * (256 * 1024) + "{}"), 413),
            (dict(post, Content_Length="99999999999"), 413),
            (dict(method="POST", path="/", body="{}"), 405), (dict(path="/api/undo"), 405),
            (dict(method="PUT", path="/api/undo", body="{}", Origin=f"http://{s.host}"), 405),
            (dict(method="DELETE", path="/"), 405), (dict(method="OPTIONS", path="/api/undo"), 405),
            (dict(path="/in?t=" + other), 401), (dict(path="/in"), 401), (dict(path="/review.html"), 404),
            (dict(path="/../../../etc/passwd"), 404), (dict(path="/%2e%2e/%2e%2e/etc/passwd"), 404),
            (dict(path="/pages/style.css"), 404), (dict(path="//style.css"), 404), (dict(path="/api/"), 404),
            (dict(path="/api/report?id=99"), 404), (dict(path="/api/report?id=x"), 400),
        ]
        for change, wanted in table:
            status, head, body = s.request(**change)
            assert status == wanted, f"{change}: {status}, not {wanted}\n{head}\n{body[:300]}"
            assert b"Job" not in body and b"rows" not in body, change
        assert s.request()[0] == 200 and s.request(path="/api/jobs")[0] == 200, "and the page itself is"
        status, head, _ = s.request()
        for name in ("Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'", "frame-ancestors 'none'",
                     "base-uri 'none'", "X-Content-Type-Options: nosniff", "Cache-Control: no-store",
                     "Referrer-Policy: no-referrer", "X-Frame-Options: DENY"):
            assert name in head, head
        log = site.tail(400)
        for refusal in ("web.session", "web.host", "web.origin"):
            assert refusal in log, log
        with open(f"/proc/{site.process.pid}/status") as f:
            rss = [int(line.split()[1]) for line in f if line.startswith("VmRSS")][0] / 1024
        if "asan" not in os.path.realpath(TOYS):
            assert rss <= 20, f"{rss:.1f} MB"
        print(f"     {len(table)} requests refused, {rss:.1f} MB")


def test_nonsense_and_garbage():
    with Site() as site:
        address = site.address()
        port = int(address.rsplit(":", 1)[1])
        for text in (b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000 + b"\r\n",
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
                     b"POST /api/undo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: \xff\xfe\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), 3) as s:
                try:
                    s.sendall(text)
                    s.shutdown(socket.SHUT_WR)
                    out = s.recv(4096)
                except OSError:  # it was ended before we were
                    out = b""
                assert not out or int(out.split()[1]) >= 400, out[:200]
        assert Session(site).request()[0] == 200


def test_slow_and_half_open_clients():
    with Site() as site:
        s = Session(site)
        port = int(s.address.rsplit(":", 1)[1])
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        began = time.monotonic()
        assert s.request(path="/api/jobs")[0] == 200, "sixty silent ones keep nobody out"
        drip = socket.create_connection(("127.0.0.1", port))
        drip.settimeout(1)
        ended, head = None, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100
        for i in range(45):
            try:
                drip.sendall(head[i:i + 1] or b"z")
                drip.recv(1)
                ended = time.monotonic() - began
                break
            except TimeoutError:
                if i % 10 == 5:
                    assert s.request(path="/api/jobs")[0] == 200
            except (ConnectionResetError, BrokenPipeError):
                ended = time.monotonic() - began
                break
        assert ended and ended < 40, f"a byte a second lasts {ended} s"
        for c in silent:
            c.settimeout(30)
            try:
                assert c.recv(1) == b""
            except ConnectionResetError:
                pass
            c.close()
        assert site.ask("ping")["epoch"] and s.request()[0] == 200
        print(f"     a byte a second was ended after {ended:.0f} s")


def test_sessions_outlive_caid():
    with Site() as site:
        s = Session(site)
        site.kill()
        site.start()
        assert site.address() == s.address, "the same port"
        assert s.request()[0] == 200
        assert s.request("POST", "/api/leave", "{}")[0] == 200
        assert s.request()[0] == 401
        site.kill()
        site.start()
        assert s.request()[0] == 401, "who left is out"


def test_a_session_may_what_its_key_may():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Site(f"listen: tcp://127.0.0.1:{port}\n") as site:
        item = site.ask_people(site.held_job(), [content()], unaided=lambda i: False)[0]

        def link(name, role):
            path = os.path.join(site.root, name + ".key")
            site.ctl("key", "new", name, "--role", role, "--out", path)
            r = subprocess.run([CAICTL, "-s", f"tcp://127.0.0.1:{port}", "--key", path, "web"], capture_output=True, text=True, timeout=60)
            assert r.returncode == 0 and "ssh -L" in r.stderr, r
            return r.stdout.strip()
        reader, client = Session(site, link=link("ann", "reviewer")), Session(site, link=link("bob", "client"))
        draft = json.dumps({"id": item, "version": 0, "draft": {"note": "n"}})
        assert client.request(path="/api/jobs")[0] == 200 and client.request(path=f"/api/item?id={item}")[0] == 403
        assert client.request("POST", "/api/draft", draft)[0] == 403
        assert reader.request(path=f"/api/item?id={item}")[0] == 200
        assert reader.request("POST", "/api/draft", draft)[0] == 200
        site.ctl("key", "revoke", "ann")
        for answer in (reader.request(path="/api/jobs"), reader.request("POST", "/api/draft", draft)):
            assert answer[0] == 403 and b"has ended" in answer[2], answer
        assert b"toy" not in reader.request()[2] and b"toy" in client.request()[2]


def test_where_pages_are_served():
    caid = os.path.join(TOYS, "caid")
    for listen in ("0.0.0.0:8080", "192.168.0.1:80", "on", "'*:80'", "localhost:1"):
        with open("/dev/shm/caid-web-test.conf", "w") as f:
            f.write(f"web: {listen}\n")
        r = subprocess.run([caid, "--check-config", "--config", f.name], capture_output=True, text=True)
        assert r.returncode == 78 and "ssh -L" in r.stderr and "proxy" in r.stderr, r
    os.unlink(f.name)
    with Site("web: off\n") as site:
        assert "web: off" in site.ctl("web", expect=7)
    with Site("web: unix\nweb_host: caid.example.org\n") as site:
        link = site.link()
        assert link.startswith("https://caid.example.org/in?t="), link
        assert os.stat(os.path.join(site.runtime, "web")).st_mode & 0o777 == 0o660
        s = Session(site, host="caid.example.org")
        assert s.request()[0] == 200
        assert s.request("POST", "/api/undo", "{}", Origin="https://caid.example.org")[0] in (403, 409)
        assert s.request("POST", "/api/undo", "{}", Origin="https://evil.example")[0] == 403


# ---- in a browser

def enter(site, browser, *words):
    browser.go(site.link(*words))
    browser.until("location.pathname !== '/in' && document.readyState === 'complete' && byId('main')")


def quiet(browser):
    for method in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening"):
        assert not browser.of(method), browser.of(method)
    said = [e["entry"]["text"] for e in browser.of("Log.entryAdded") if e["entry"]["level"] == "error"]
    assert not [t for t in said if "Content Security" in t or "TrustedScript" in t], said


def shows(browser, item):
    browser.until(f"view && view.item.id === {item} && !busy", what=f"item {item} is shown")


def test_fifty_by_keyboard():
    with Site() as site, Browser(limit=120) as b:
        # One more than are judged: with the last the job would go on.
        items = site.ask_people(site.held_job(), [content(prompt=f"{PROMPT} ({i})") for i in range(51)])
        enter(site, b, "--review")
        expected = {}
        for i in range(50):
            b.until(f"view && !busy && byId('bar').textContent.includes('{i} of 51 judged')", what=f"{i} judged")
            item = b.js("view.item.id")
            assert item in items and item not in expected
            expected[item] = judge(site, b, i)
        b.until("view && !busy && byId('bar').textContent.includes('50 of 51 judged')")
        b.key("u")  # taken back, as it was, and judged again
        shows(b, item)
        assert b.js("view.judgement.verdict") == expected[item]["verdict"]
        b.key("Enter", "Control")
        b.until("view && !busy && byId('bar').textContent.includes('50 of 51 judged')")
        b.key("s")  # skipped, with a reason
        b.until("byId('skipping').open")
        b.type("sj1 I know the person")
        b.key("Enter", "Control")
        b.until("document.body.textContent.includes('Nothing waits for you')")
        b.key("u")
        b.until("view && !busy")
        quiet(b)
        check_log(site, expected)
        assert PROMPT not in site.tail(2000) and "mended" not in site.tail(2000), "no text of an item is in the log"


def judge(site, b, i):
    """One item, by keys alone; what the store should hold of it."""
    if b.js("view.first"):
        assert not b.js("document.querySelectorAll('.critique').length"), "no help before the first verdict"
        assert SPEECHES[0][1] not in b.js("byId('item').textContent"), "and nothing of the debate"
        b.key(str(i % 7 + 1))
        b.key("Enter", "Control")
        b.until("!view.first && !busy && document.querySelectorAll('.critique').length === 3")
    assert all(t in b.js("byId('item').textContent") for _, t in SPEECHES)
    b.key("y")
    b.key("j")
    b.key("n")
    b.key("j")
    text = ""
    if i % 10 == 3:
        b.key("e")
        b.until("document.activeElement.tagName === 'TEXTAREA'")
        text = f" mended {i} 12jkyns"
        b.js("document.activeElement.setSelectionRange(1e6, 1e6)")
        b.type(text)
        b.key("Escape")
    else:
        b.key("y")
    verdict = (3 * i) % 7 + 1
    b.key(str(verdict))
    b.key(str(i % 5), "Shift")
    if i == 16:  # in the middle of it, at once, before anything was saved
        b.reload()
        again(b, verdict, i)
    if i == 33:
        site.kill()
        b.key("k")
        b.key("y")
        b.key("n")
        b.key("s", "Control")
        site.start()
        b.reload()
        again(b, verdict, i)
    if i == 40:  # its end while it is sent
        site.kill()
        b.key("Enter", "Control")
        b.until("!byId('banner').hidden")
        site.start()
    else:
        b.key("Enter", "Control")
    states = {1: "keep", 2: "reject", 3: "edit" if text else "keep"}
    return {"verdict": verdict, "severity": i % 5, "states": states, "text": text}


def again(b, verdict, i):
    b.until("document.readyState === 'complete' && typeof view !== 'undefined' && view && !busy")
    assert b.js("view.judgement.verdict") == verdict, "the verdict is there again"
    assert b.js("view.judgement.severity") == i % 5
    assert b.js("[...view.judgement.critiques.values()].map(c => c.state).join()").startswith("keep,reject")
    assert b.js("document.querySelector('input[name=verdict]:checked').value") == str(verdict)


def check_log(site, expected):
    site.stop()
    finals = {}
    for item, event, body in site.rows("SELECT item, event, body FROM review_log ORDER BY seq"):
        if event == "final":
            finals[item] = json.loads(body)
    assert len(finals) == 50 and set(finals) == set(expected)
    for item, e in expected.items():
        said = finals[item]["verdict"] if isinstance(finals[item].get("verdict"), dict) else finals[item]
        assert said["verdict"] == e["verdict"] and said["severity"] == e["severity"], (item, said, e)
        assert {c["id"]: c["state"] for c in said["critiques"]} == e["states"], (item, said, e)
        if e["text"]:
            assert [c["text"] for c in said["critiques"] if c["state"] == "edit"][0].endswith(e["text"]), said
    firsts = site.rows("SELECT count(*) FROM review_log WHERE event = 'first'")[0][0]
    assert firsts == 10, firsts


def test_texts_stay_texts():
    n = len(PAYLOADS)
    with Site() as site, Browser(limit=120) as b:
        job = site.held_job()
        evil = [content(PAYLOADS[i], [PAYLOADS[i], PAYLOADS[(i + 1) % n]], [(PAYLOADS[(i + 2) % n], [1, 9], "A"), (PAYLOADS[i], None, "B")],
                        PAYLOADS[(i + 3) % n], [("A", PAYLOADS[(i + 4) % n])]) for i in range(n)]
        items = site.ask_people(job, evil, unaided=lambda i: False)
        site.stop()
        site.rows("INSERT INTO examples(job, round, stage, item, k, kind, text, principle, revision, model, detail)"
                  " VALUES(?, 1, 'revise', ?, 0, 'reply', ?, 'kind', '', '', '{}')", many=[(job, i, t) for i, t in enumerate(PAYLOADS)])
        site.start()
        enter(site, b, "--review")
        for i, item in enumerate(items):
            b.js(f"location.hash = '{item}'")
            shows(b, item)
            shown = b.js("[...document.querySelectorAll('.talk')].map(e => e.textContent)")
            assert PAYLOADS[i] in shown and PAYLOADS[(i + 2) % n] in shown and PAYLOADS[(i + 3) % n] in shown \
                and PAYLOADS[(i + 4) % n] in shown, (i, shown)
            strange = b.js("[...document.querySelectorAll('.talk *, blockquote *')].filter(e => e.tagName !== 'MARK').map(e => e.outerHTML)")
            assert not strange, strange
        b.go(b.js("location.origin") + "/")
        b.until("document.querySelector('#stage')")
        b.js("byId('stage').value = 'revise'; byId('stage').dispatchEvent(new Event('change'))")
        seen = set()
        for _ in range(2 * n):
            seen = set(b.js("[...document.querySelectorAll('.sample .talk')].map(e => e.textContent)"))
            if len(seen) >= n:
                break
            b.js("[...document.querySelectorAll('.card > button')].filter(e => e.textContent === 'More' && !e.hidden).forEach(e => e.click())")
            time.sleep(0.2)
        assert len(seen & {p.strip() for p in PAYLOADS}) >= n - 1, len(seen)
        assert not b.js("document.querySelectorAll('.talk *').length")
        assert b.js("window.caught") is None
        quiet(b)
        asked = {r["request"]["url"].split("?")[0] for r in b.of("Network.requestWillBeSent")}
        origin = b.js("location.origin")
        assert all(u.startswith(origin + "/") or u == "about:blank" for u in asked), asked
        paths = {u[len(origin):] for u in asked if u != "about:blank"}
        known = {"/", "/in", "/review", "/style.css", "/icon.svg", "/common.js", "/item.js", "/review.js", "/entered.js",
                 "/plots.js", "/dashboard.js", "/chart.js"}
        assert all(p in known or p.startswith("/api/") for p in paths), paths - known


# Every visible text against what is behind it: WCAG 2.1, 1.4.3.
CONTRAST = """(() => {
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const light = c => { const f = c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
  const behind = e => { const up = []; for (; e; e = e.parentElement) up.push(parse(getComputedStyle(e).backgroundColor)); return up.reverse().reduce((b, c) => over(c, b), [255, 255, 255, 1]); };
  const bad = []; let n = 0;
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(c => c.nodeType === 3 && c.data.trim()) || e.closest('[disabled], noscript, .sr, dialog:not([open])')) continue;
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!box.width || !box.height || style.visibility === 'hidden') continue;
    const back = behind(e), text = over(parse(style.color), back), a = light(text), b = light(back);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    n++;
    if (ratio < (large ? 3 : 4.5)) bad.push(ratio.toFixed(2) + ' ' + e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 40));
  }
  return { n, bad };
})()"""

# What a keyboard must reach: of radio buttons one of each group.
REACHABLE = """[...document.querySelectorAll('a[href], button:not([disabled]), textarea, select, summary, input')]
  .filter(e => { const r = e.getBoundingClientRect(); return r.width && !e.closest('dialog:not([open])') && !e.closest('details:not([open]) > :not(summary)'); })
  .filter(e => e.type !== 'radio' || e === ([...document.getElementsByName(e.name)].find(x => x.checked) || document.getElementsByName(e.name)[0]))"""


def look(b, name):
    if PICTURES:
        os.makedirs(PICTURES, exist_ok=True)
        b.picture(os.path.join(PICTURES, name + ".png"))


def reach_all(b):
    """Tab goes through everything, in the order of the page, and shows where it is."""
    wanted = b.js(f"window.wanted = {REACHABLE}, window.wanted.forEach((e, i) => e.dataset.tab = i), wanted.length")
    b.js("document.activeElement.blur(); window.scrollTo(0, 0)")
    order = []
    for _ in range(wanted + 12):
        b.key("Tab")
        at, outline = b.js("(e => [e && e.dataset ? e.dataset.tab : null, e ? getComputedStyle(e.type === 'radio' ? e.nextElementSibling : e).outlineStyle : ''])(document.activeElement)")
        if at is not None:
            order.append(int(at))
            assert outline != "none", b.js("document.activeElement.outerHTML")[:200]
        if len(set(order)) == wanted:
            break
    missed = [b.js(f"window.wanted[{i}].outerHTML")[:160] for i in range(wanted) if i not in order]
    assert not missed, missed
    first = [i for k, i in enumerate(order) if i not in order[:k]]
    rolled = first[first.index(min(first)):] + first[:first.index(min(first))]
    assert rolled == sorted(rolled), f"focus goes in the order of the page: {first}"
    return wanted


def test_narrow_contrast_and_focus():
    with Site() as site, Browser(limit=120) as b:
        job = site.held_job()
        wide = "averyveryverylongwordwithoutanyplacetobreakitandmorethanthreehundredpixelswide" * 2
        items = site.ask_people(job, [content(), content(wide, [wide, wide], [(wide, [0, 90], "A")], wide), content()], unaided=lambda i: i == 2)
        site.stop()
        site.rows("INSERT INTO metrics(job, round, stage, step, name, value) VALUES(?, 2, 'ppo', ?, ?, ?)",  # curves to draw
                  many=[(job, k, name, value) for k in range(40) for name, value in
                        (("reward", k / 40), ("kl", k / 9), ("entropy", 2 - k / 40), ("length", 20))])
        site.start()
        enter(site, b, "--review")
        pages = [(f"/review#{i}", f"typeof view !== 'undefined' && view && view.item.id === {i}") for i in items] + [("/", "document.querySelectorAll('.plot canvas').length >= 5")]
        origin, texts, reached = b.js("location.origin"), 0, 0
        for path, ready in pages:
            for dark in (False, True):
                b.dark(dark)
                for width in (320, 1280):
                    b.size(width, 800)
                    b.go("about:blank")
                    b.go(origin + path)
                    b.until(ready)
                    time.sleep(0.3)
                    name = f"{path.strip('/#').replace('#', '-') or 'dashboard'}-{width}-{'dark' if dark else 'light'}"
                    look(b, name)
                    assert b.js("document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways"
                    seen = b.js(CONTRAST)
                    assert not seen["bad"], f"{name}: {seen['bad']}"
                    texts += seen["n"]
                if not dark:
                    reached += reach_all(b)
            missing = b.js("[...document.querySelectorAll('textarea, select, input')].filter(e => !e.labels.length && !e.getAttribute('aria-label')).map(e => e.outerHTML)")
            assert not missing, missing
            assert b.js("document.documentElement.lang") == "en" and b.js("document.querySelectorAll('h1').length") == 1
        b.go("about:blank")
        b.go(origin + pages[0][0])
        b.until(pages[0][1])
        for key, dialog in (("?", "keys"), ("s", "skipping")):
            b.key(key)
            b.until(f"byId('{dialog}').open")
            look(b, dialog)
            assert not b.js(CONTRAST)["bad"]
            b.key("Escape")
            b.until(f"!byId('{dialog}').open")
        quiet(b)
        print(f"     {texts} texts hold the contrast, {reached} controls are reached")


def test_without_scripts():
    with Site() as site, Browser(limit=120) as b:
        site.held_job()
        b.scripts(False)
        b.go(site.link())
        time.sleep(2.5)
        b.scripts(True)  # for asking; the page was loaded without
        text = b.js("document.body.innerText")
        assert b.js("location.pathname") == "/" and "toy" in text and "HELD" in text and "JavaScript" in text, text
        assert not b.js("document.querySelectorAll('canvas').length")
        look(b, "no-scripts")


def test_what_a_session_may():
    """The page says why, not only that."""
    with Site() as site, Browser(limit=120) as b:
        site.held_job()
        enter(site, b)
        b.until("byId('jobs').textContent.includes('toy')")
        look(b, "dashboard-held")
        b.key("Tab")
        b.js("byId('leave').click()")
        b.until("typeof byId === 'undefined' && document.body.textContent.includes('caictl web')")
        look(b, "signed-out")


if __name__ == "__main__":
    tests = [test_only_who_was_let_in_is_served, test_nonsense_and_garbage, test_slow_and_half_open_clients,
             test_sessions_outlive_caid, test_a_session_may_what_its_key_may, test_where_pages_are_served]
    if PROGRAM:
        tests += [test_fifty_by_keyboard, test_texts_stay_texts, test_narrow_contrast_and_focus, test_without_scripts,
                  test_what_a_session_may]
    else:
        print("no chromium here: the pages themselves are not looked at (install chromium)")
    only = os.environ.get("ONLY")
    main([t for t in tests if not only or only in t.__name__], at_once=2)
