"""Encoding: our tokenizer against `tokenizers` (its encode_batch_fast) on the same texts with the
same tokenizer.json, one thread each, in one run, by processor time. Tokenizers are trained on the spot in the
shapes of tests/parity/hf_kinds.py; the ids are compared before anything is timed."""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import sysconfig
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
here = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(here), str(here.parent.parent / "tests/parity")]
import sides
from hf_kinds import MAIN

TEXT_BYTES = 10000


def code_and_prose(megabytes):
    """Python's own library: code with English in it."""
    out, size = [], 0
    for path in sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        text = path.read_text(encoding="utf-8", errors="ignore").replace("\0", "")
        out += [text[i:i + TEXT_BYTES] for i in range(0, len(text), TEXT_BYTES)]
        size += len(text.encode())
        if size > megabytes * 1e6:
            break
    return out


def many_scripts(megabytes):
    """Words of many scripts, the first ones of each language more often."""
    from hf_corpus import EMOJI, MARKS, WORDS
    r, out = random.Random(3), []
    while len(out) * 2 * TEXT_BYTES < megabytes * 1e6:
        words = [r.choice(WORDS) + r.choice([" ", " ", " ", ", ", ". ", "\n"]) for _ in range(TEXT_BYTES // 6)]
        out.append("".join(words) + r.choice(EMOJI) + r.choice(MARKS))
    return out


def train(kind, texts, vocab):
    """The kind's tokenizer.json with a vocabulary of the size that checkpoints have."""
    import hf_kinds
    hf_kinds.training_texts = lambda: iter(texts)
    for f in (hf_kinds.train, hf_kinds.train_with_bytes):
        f.__defaults__ = tuple(vocab if d in (700, 900) else d for d in f.__defaults__)
    return hf_kinds.MAIN[kind]()


def peer(folder, path):
    """The side of `tokenizers`: answers "go" lines."""
    from tokenizers import Tokenizer
    t = Tokenizer.from_file(f"{folder}/tokenizer.json")
    data = pathlib.Path(path).read_bytes()
    texts = data.decode().split("\0")
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        t.encode_batch_fast(texts, add_special_tokens=False)
        print(time.process_time() - start, len(data) / 1e6, flush=True)


def check_equal(folder, texts):
    from hf_probe import ask_all
    from tokenizers import Tokenizer
    t = Tokenizer.from_file(f"{folder}/tokenizer.json")
    some = texts[::max(1, len(texts) // 20)]
    answers = ask_all("build/tests/parity/hf-probe", folder, [{"op": "encode", "text": x, "written": True} for x in some])
    for text, got in zip(some, answers, strict=True):
        if got.get("ids") != t.encode(text, add_special_tokens=False).ids:
            raise SystemExit(f"{folder}: ids differ on {text[:80]!r}…")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--kinds", nargs="*", default=list(MAIN), choices=list(MAIN))
    p.add_argument("--megabytes", type=float, default=2, help="of each text")
    p.add_argument("--vocab", type=int, default=32000)
    p.add_argument("--runs", type=int, default=7)
    p.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer:
        return peer(*a.peer)
    subprocess.run(["ninja", "-C", "build", "tools/bench-tokenize", "tests/parity/hf-probe"], check=True,
                   stdout=subprocess.DEVNULL)
    texts = {"code and prose": code_and_prose(a.megabytes), "many scripts": many_scripts(a.megabytes)}
    print(f"{sides.machine()}; one thread each, texts of about {TEXT_BYTES:,} characters")
    with tempfile.TemporaryDirectory() as work:
        for name, of in texts.items():
            pathlib.Path(work, name).write_bytes("\0".join(of).encode())
        for kind in a.kinds:
            folder = pathlib.Path(work, "tokenizer-" + kind)
            folder.mkdir()
            o = train(kind, texts["code and prose"] + texts["many scripts"][:20], a.vocab)
            (folder / "tokenizer.json").write_text(json.dumps(o, ensure_ascii=False), encoding="utf-8")
            for name, of in texts.items():
                check_equal(folder, of)
                path = str(pathlib.Path(work, name))
                print(f"\n{kind}, {len(o['model']['vocab']):,} tokens, {name}")
                sides.compare([sides.Side("caid", ["build/tools/bench-tokenize", str(folder), path]),
                               sides.Side("tokenizers", [sys.executable, __file__, "--peer", str(folder), path])],
                              a.runs, "MB", digits=1)


if __name__ == "__main__":
    main()
