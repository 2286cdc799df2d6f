"""What watches over the loop, put to the test where the truth is known (the clerk's world):

  dose      a failure planted in round 0, guards off and on
  control   an overseer that prefers the planted failure: guards must halt
  clean     nothing planted: guards must not halt
  blind     a grader that shares the overseer's blind spot must never say "safe"
  markers   a base that misbehaves under a marker alone: what is found, and what is missed
  stop      early stopping by what is seen without gold, on stored curves of `tools/bench overopt`
  …         and the parts of the files below

Each part keeps its runs, and goes on with those that are missing."""
import argparse
import importlib

import small

# Files of parts: each has PARTS = {name: function of the options}, run in this order.
FILES = ["dose", "clean", "blind", "earlystop", "planted"]


def main():
    parts = {name: f for file in FILES for name, f in importlib.import_module(file).PARTS.items()}
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    small.options(p, seeds=5)
    p.add_argument("--curves", default=".state/bench", help="folder of `tools/bench overopt`, for `stop`")
    p.add_argument("parts", nargs="*", default=list(parts), metavar="part", help=f"of: {' '.join(parts)}")
    a = p.parse_args()
    for part in a.parts:
        if part not in parts:
            p.error(f"no part '{part}'; there are: {' '.join(parts)}")
    a.work.mkdir(parents=True, exist_ok=True)
    for part in a.parts:
        parts[part](a)


if __name__ == "__main__":
    main()
