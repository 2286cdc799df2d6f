"""Talks to hf-probe (hf_probe.c): one request, one answer per line."""
import json
import subprocess
import tempfile


class Probe:
    def __init__(self, program, folder):
        self.process = subprocess.Popen([program, str(folder)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0, "hf-probe failed"


def ask_all(program, folder, requests):
    """All requests in one go, without waiting for each answer."""
    with tempfile.TemporaryFile() as lines, tempfile.TemporaryFile() as answers:
        for r in requests:
            lines.write(json.dumps(r).encode() + b"\n")
        lines.seek(0)
        subprocess.run([program, str(folder)], stdin=lines, stdout=answers, check=True)
        answers.seek(0)
        return [json.loads(line) for line in answers]
