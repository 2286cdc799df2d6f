"""Tokenizers: ids and text equal to `tokenizers` on random texts of all scripts, for every kind
of hf_kinds.py and every feature by itself.

    .deps/venv/bin/python tests/parity/hf_tokenizer.py PROBE [--texts N] [--only KIND…]

N texts for each kind (the claim: 20000 without a difference; the default is for the suite).
"""
import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer

from hf_corpus import random_text
from hf_kinds import MAIN, features
from hf_probe import ask_all

SHOWN = 5


class Checks:
    """Requests to the probe with the answers that they must get."""

    def __init__(self, name):
        self.name, self.requests, self.expected = name, [], []

    def add(self, key, want, **request):
        self.requests.append(request)
        self.expected.append((key, want))

    def run(self, program, folder):
        wrong = 0
        for q, (key, want), got in zip(self.requests, self.expected, ask_all(program, folder, self.requests),
                                       strict=True):
            answer = "".join(got.get(key, [])) if key == "parts" else got.get(key)
            if answer != want or "not UTF-8" in got.get(key, ""):
                wrong += 1
                if wrong <= SHOWN:
                    print(f"{self.name}: {q}\n  want {want!r}\n  got  {got}", flush=True)
        return wrong


def decoded(t, ids, skip):
    """None where `tokenizers` itself fails: its BPEDecoder on no tokens."""
    try:
        return t.decode(ids, skip_special_tokens=skip)
    except BaseException:  # a panic of Rust's is no Exception
        return None


def add_text(c, t, text, every_way):
    """Ids with what the post-processor adds, and back, whole and as a stream; `every_way`: also
    without, and with special tokens as text only."""
    ids = t.encode(text).ids
    c.add("ids", ids, op="encode", text=text, special=True)
    add_ids(c, t, ids, every_way)
    if every_way:
        c.add("ids", t.encode(text, add_special_tokens=False).ids, op="encode", text=text, written=True)
        t.encode_special_tokens = True
        c.add("ids", t.encode(text, add_special_tokens=False).ids, op="encode", text=text, special=False)
        t.encode_special_tokens = False


def add_ids(c, t, ids, every_way=True):
    for skip in (False, True) if every_way else (False,):
        want = decoded(t, ids, skip)
        if want is not None:
            c.add("text", want, op="decode", ids=ids, skip=skip)
            c.add("parts", want, op="stream", ids=ids, skip=skip)


def check(program, name, o, count, settled):
    text = json.dumps(o, ensure_ascii=False)
    t, r, c = Tokenizer.from_str(text), random.Random(name), Checks(name)
    tokens = [token["content"] for token in o["added_tokens"]]
    for i in range(count):
        add_text(c, t, random_text(r, tokens, settled), i % 4 == 0)
    for _ in range(count // 8):  # ids that no text gives: broken UTF-8
        add_ids(c, t, [r.randrange(t.get_vocab_size()) for _ in range(r.randrange(1, 30))])
    with tempfile.TemporaryDirectory() as d:
        Path(d, "tokenizer.json").write_text(text, encoding="utf-8")
        wrong = c.run(program, d)
    return wrong, len(c.requests)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--texts", type=int, default=300)
    p.add_argument("--only", nargs="*")
    a = p.parse_args()
    all_wrong = 0
    only = set(a.only or [])
    kinds = [(name, make, False) for name, make in MAIN.items()]
    if not only <= set(MAIN) or not only:
        kinds += [(name, lambda o=o: o, True) for name, o in features().items()]
    for name, make, settled in kinds:
        if only and name not in only:
            continue
        start = time.time()
        wrong, compared = check(a.program, name, make(), a.texts, settled)
        all_wrong += wrong
        print(f"{name}: {a.texts} texts, {compared} comparisons, {wrong} differences, "
              f"{time.time() - start:.1f} s", flush=True)
    return 1 if all_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
