"""through_caictl.py: the real caid and workers on a private folder, asked through caictl as a person
would. Not for: toy stages (harness.py), whose start and end this shares."""
import json
import os
import subprocess

from harness import Caid


class Real(Caid):
    """`programs` holds caid, cai-worker and caictl."""

    def __init__(self, programs, spawn=1, **more):
        super().__init__(programs, spawn, arguments=["--threads-per-worker", "1"], **more)

    def run(self, *arguments, timeout=60):
        return subprocess.run([os.path.join(self.programs, "caictl"), *map(str, arguments)],
                              env=dict(os.environ, CAID_SERVER=self.server), timeout=timeout,
                              capture_output=True, text=True)

    def ctl(self, *arguments, expect=0, timeout=60):
        """Standard output of a command that ends with `expect`."""
        r = self.run(*arguments, timeout=timeout)
        if r.returncode != expect:
            raise AssertionError(f"caictl {' '.join(map(str, arguments))}: exit {r.returncode} "
                                 f"instead of {expect}\n{r.stdout}{r.stderr}\n{self.tail()}")
        return r.stdout if expect == 0 else r.stderr

    def json(self, *arguments):
        return json.loads(self.ctl(*arguments, "-o", "json"))

    def json_of(self, *arguments, expect):
        """What a command prints that ends with `expect`, which is not 0."""
        r = self.run(*arguments, "-o", "json")
        assert r.returncode == expect, r
        return json.loads(r.stdout)

    def lines(self, *arguments):
        # Not splitlines: a text may hold U+2028 and its like.
        return [json.loads(line) for line in self.ctl(*arguments).split("\n") if line]

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"caid ended with {self.process.returncode}\n{self.tail()}")
        return self.run("version").returncode == 0

    def submit_file(self, path, *options):
        return self.ctl("submit", path, "--parsable", *options).strip()
