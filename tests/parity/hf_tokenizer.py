"""Byte-level BPE: ids and text equal to `tokenizers` on random multilingual texts.

    .deps/venv/bin/python tests/parity/hf_tokenizer.py PROBE [TEXTS]
"""
import random
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer

from hf_corpus import random_text, tokenizers, variants
from hf_probe import Probe


def compare(name, probe, t, texts):
    wrong = 0
    for text in texts:
        for special in (True, False):
            t.encode_special_tokens = not special
            want = t.encode(text, add_special_tokens=special).ids
            got = probe.ask(op="encode", text=text, special=special)
            if got.get("ids") != want:
                wrong += 1
                print(f"{name}: {text!r} special={special}\n  want {want}\n  got  {got}")
            for skip in (True, False):
                decoded = probe.ask(op="decode", ids=want, skip=skip)
                if decoded.get("text") != t.decode(want, skip_special_tokens=skip):
                    wrong += 1
                    print(f"{name}: decode {want} skip={skip}\n  want "
                          f"{t.decode(want, skip_special_tokens=skip)!r}\n  got  {decoded}")
            if wrong > 5:
                return wrong
    return wrong


def random_ids(name, probe, t, r):
    """Decoding of ids that no text gives: broken UTF-8."""
    wrong = 0
    for _ in range(100):
        ids = [r.randrange(t.get_vocab_size()) for _ in range(r.randrange(1, 30))]
        want, got = t.decode(ids, skip_special_tokens=False), probe.ask(op="decode", ids=ids, skip=False)
        if got.get("text") != want:
            wrong += 1
            print(f"{name}: decode {ids}\n  want {want!r}\n  got  {got}")
    return wrong


def check(program, name, text_of_file, count, seed):
    t = Tokenizer.from_str(text_of_file)
    r = random.Random(seed)
    with tempfile.TemporaryDirectory() as d:
        Path(d, "tokenizer.json").write_text(text_of_file, encoding="utf-8")
        probe = Probe(program, d)
        wrong = compare(name, probe, t, [random_text(r) for _ in range(count)])
        wrong += random_ids(name, probe, t, r)
        probe.close()
    return wrong


def main():
    program, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 400
    wrong = texts = 0
    start = time.time()
    for seed, (name, t) in enumerate(tokenizers().items()):
        wrong += check(program, name, t.to_str(), count, seed)
        texts += count
        if name in ("gpt2", "qwen"):
            for kind, text in variants(t):
                wrong += check(program, f"{name}, {kind}", text, count // 4, seed)
                texts += count // 4
    print(f"{texts} texts, {wrong} differences, {time.time() - start:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
