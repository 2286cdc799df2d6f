"""What `tokenizers` takes each code point for: every normalizer, pre-tokenizer and hand-written
pattern on every assigned code point and on some of the others gives the same ids.

    .deps/venv/bin/python tests/parity/hf_unicode.py PROBE
"""
import json
import sys
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

import hf_kinds
from hf_probe import ask_all

CHUNK = 2000


def byte_level(pre=None, normalizer=None):
    """One id per byte, so that ids show what normalizer and cuts made: "> <" joins two bytes
    whenever no cut stands between them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(alphabet)}
    merges = [(a, "b") for a in alphabet if a != "b"]
    merges += [("a", b) for b in alphabet if b not in "ab"]
    for a, b in merges:
        vocab[a + b] = len(vocab)
    t = Tokenizer(models.BPE(vocab, merges))
    t.pre_tokenizer = hf_kinds.byte_level_after(*([pre] if pre else []))
    if normalizer:
        t.normalizer = normalizer
    return t


def words():
    t = byte_level()
    t.add_tokens([AddedToken("qq", single_word=True), AddedToken("zz", lstrip=True, rstrip=True)])
    return t


def cases():
    n, p = normalizers, pre_tokenizers
    for f in (n.NFC, n.NFD, n.NFKC, n.NFKD, n.Lowercase, n.StripAccents, n.Nmt):
        yield f.__name__, byte_level(normalizer=f()), ("a{c}b", "a\u0345{c}\u0334b")
    for f in (p.Punctuation, p.Whitespace, p.WhitespaceSplit, p.Digits):
        yield f.__name__, byte_level(pre=f()), ("a{c}b",)
    for name in ("GPT2", "LLAMA3", "QWEN", "QWEN35", "O200K", "DEEPSEEK"):
        yield name, byte_level(pre=hf_kinds.isolated(getattr(hf_kinds, name))), ("a{c}b '{c}b {c}{c}B1{c}",)
    yield "words", words(), ("{c}qq{c}zz{c}qq ",)


def code_points():
    """All that are assigned but most ideographs and private ones, and some that are not."""
    everything = "".join(chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000)
    unassigned = pre_tokenizers.Split(Regex(r"\p{Cn}+"), "removed")
    assigned = {ord(c) for piece, _ in unassigned.pre_tokenize_str(everything) for c in piece}
    for c in map(ord, everything):
        plenty = (0x3500 < c < 0x4D00 or 0x4F00 < c < 0x9F00 or 0xAD00 < c < 0xD700 or 0xE100 < c < 0xF800
                  or 0x17100 < c < 0x18700 or 0x20100 < c < 0x2A600 or 0x2A800 < c < 0x2EB00
                  or 0x30100 < c < 0x31300 or c > 0x323C0)
        if c % 401 == 0 or (c in assigned and not plenty) or (c < 0x20000 and c % 7 == 0):
            yield c


def main():
    program, wrong, texts = sys.argv[1], 0, 0
    points = [chr(c) for c in code_points()]
    for name, t, shapes in cases():
        requests, want = [], []
        for i in range(0, len(points), CHUNK):
            for shape in shapes:
                text = "\n".join(shape.format(c=c) for c in points[i:i + CHUNK])
                requests.append({"op": "encode", "text": text, "written": True})
                want.append(t.encode(text, add_special_tokens=False).ids)
        with tempfile.TemporaryDirectory() as d:
            Path(d, "tokenizer.json").write_text(t.to_str(), encoding="utf-8")
            answers = ask_all(program, d, requests)
        texts += len(requests)
        for q, ids, got in zip(requests, want, answers, strict=True):
            if got.get("ids") != ids:
                wrong += 1
                show(name, t, program, q["text"])
    print(f"{len(points)} code points, {texts} texts, {wrong} with differences")
    return 1 if wrong else 0


def show(name, t, program, text):
    """The lines of a text that differ by themselves."""
    lines = text.split("\n")
    with tempfile.TemporaryDirectory() as d:
        Path(d, "tokenizer.json").write_text(t.to_str(), encoding="utf-8")
        answers = ask_all(program, d, [{"op": "encode", "text": x, "written": True} for x in lines])
    odd = [x for x, got in zip(lines, answers) if got.get("ids") != t.encode(x, add_special_tokens=False).ids]
    print(f"{name}: " + " ".join(ascii(x) for x in odd[:20]))


if __name__ == "__main__":
    sys.exit(main())
