"""completion.py TOY TOOLS: what Tab offers in real shells: commands, options, and live jobs, models
and constitutions; and that it says nothing, and soon, when no daemon answers."""
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

from harness import CONSTITUTION, Caid, main

TOY, TOOLS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
MADE = os.path.join(TOOLS, "completions")
caid = Caid(TOY, spawn=2)
SHELLS = [s for s in ("bash", "zsh", "fish") if shutil.which(s)]


def env(server):
    return dict(os.environ, PATH=TOOLS + ":" + os.environ["PATH"], CAID_SERVER=server, TERM="dumb", HOME=caid.root)


def bash(words, server):
    line = " ".join(f"'{w}'" for w in words)
    script = (f"source '{MADE}/caictl'; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _caictl;"
              "printf '%s\\n' \"${COMPREPLY[@]}\"")
    out = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, env=env(server), cwd=caid.root)
    assert out.returncode == 0 and not out.stderr, out
    return out.stdout.split()


def fish(words, server):
    out = subprocess.run(["fish", "-c", f"source '{MADE}/caictl.fish'; complete -C '{' '.join(words)}'"],
                         capture_output=True, text=True, env=env(server), cwd=caid.root)
    assert out.returncode == 0 and not out.stderr, out
    return [line.split("\t")[0] for line in out.stdout.splitlines()]


class Terminal:
    """A shell at a terminal, as a person has it."""

    def __init__(self, command, server):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(caid.root)
            os.execvpe(command[0], command, env(server))
        self.seen = ""

    def until(self, text, limit=90):
        end = time.monotonic() + limit
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} did not come: {self.seen!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
        return self.seen

    def type(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def zsh(words, server):
    t = Terminal(["zsh", "-f", "-i"], server)
    t.type("PS1='%% '; stty -echo; LISTMAX=1000; COLUMNS=300; LINES=200\r")
    t.type(f"fpath=('{MADE}' $fpath); autoload -U compinit; compinit -u -D; "
           "zstyle ':completion:*' verbose no; bindkey '^I' list-choices; echo rea''dy\r")
    t.until("ready")
    t.seen = ""
    t.type(" ".join(words) + "\t")
    time.sleep(2.5)
    t.type("\x15echo fin''ished\r")
    t.until("finished")
    t.close()
    lines = t.seen.replace("\r", "\n").split("\n")
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in lines]
    return [word for line in shown for word in line.split() if "caictl" not in line and "echo" not in line]


ASK = {"bash": bash, "zsh": zsh, "fish": fish}


def offered(*words, server=None):
    for shell in SHELLS:
        yield shell, ASK[shell](("caictl",) + words, server or caid.server)


def commands_and_options():
    for shell, words in offered(""):
        assert {"submit", "jobs", "ckpt", "constitution", "du"} <= set(words), (shell, words)
        assert not any(w.startswith("__") for w in words), (shell, words)
    for shell, words in offered("ckpt", ""):
        assert {"list", "show", "verify", "pin", "unpin", "rm", "gc"} <= set(words), (shell, words)
        assert "submit" not in words, (shell, words)
    for shell, words in offered("ckpt", "gc", "--"):
        assert {"--dry-run", "--keep"} <= set(words) and "--accept" not in words, (shell, words)
    for shell, words in offered("jobs", "--state", ""):
        assert "WAITING_REVIEW" in words and "submit" not in words, (shell, words)


def live_names():
    caid.start()
    job = caid.submit(name="alpha", rounds=1)
    caid.wait_for(job, "COMPLETED")
    caid.ask("constitution.apply", "k", canonical=CONSTITUTION)
    for shell, words in offered("show", ""):
        assert str(job) in words, (shell, words)
    numbers = {str(r["number"]) for r in caid.ask("ckpt.list")["rows"]}
    assert len(numbers) == 2, numbers
    for shell, words in offered("ckpt", "pin", ""):
        assert numbers <= set(words), (shell, words)
    for shell, words in offered("constitution", "show", ""):
        assert "house" in words, (shell, words)
    for shell, words in offered("submit", "--constitution", ""):
        assert "house" in words, (shell, words)


def files_where_files_belong():
    for shell, words in offered("submit", "re"):
        assert "red.jsonl" in words, (shell, words)


def without_a_daemon_it_is_quiet_and_soon():
    for shell in SHELLS:
        began = time.monotonic()
        words = ASK[shell](("caictl", "ckpt", "pin", ""), "ipc:///nonexistent/control")
        assert not [w for w in words if w.isdigit()] and "daemon" not in words, (shell, words)
        assert time.monotonic() - began < 15, shell
    out = subprocess.run([f"{TOOLS}/caictl", "__names", "jobs"], capture_output=True, text=True,
                         env=env("ipc:///nonexistent/control"))
    assert (out.returncode, out.stdout, out.stderr) == (0, "", ""), out


try:
    if len(SHELLS) < 3:
        print(f"not here: {set(ASK) - set(SHELLS)}; tools/setup --tests installs them", flush=True)
    main([commands_and_options, live_names, files_where_files_belong, without_a_daemon_it_is_quiet_and_soon])
finally:
    caid.close()
