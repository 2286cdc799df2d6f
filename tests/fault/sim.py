"""sim.py: the simulation of the coordinator (tests/fault/sim) on a folder with the smallest model.

  sim.py PROGRAM seeds FIRST COUNT | matrix SEEDS | power EVERY | points | kept |
                 one SEED [FAULT PHASE]

`one` tells what happens; `kept` runs what sim/seeds.txt has. To keep a seed that fails, add it
there with a word on what it found. Exit code 1 when a promise was broken."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
from folder import write_folder  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
arguments = sys.argv[2:]
if arguments == ["kept"]:
    with open(os.path.join(HERE, "sim", "seeds.txt")) as f:
        arguments = ["these"] + [line.split()[0] for line in f if line.strip() and line[0] != "#"]
with tempfile.TemporaryDirectory(prefix="caid-test-") as root:
    write_folder(os.path.join(root, "model"))
    with open(os.path.join(root, "red.jsonl"), "w") as f:
        f.write('{"prompt": "hello"}\n')
    sys.exit(subprocess.run([sys.argv[1], root] + arguments).returncode)
