"""Critique, revision and choice prompts with their few-shots in every chat style: the messages
equal to a rendering of its own, their text and ids equal to apply_chat_template's.

    .deps/venv/bin/python tests/parity/styles.py RENDER-PROBE HF-PROBE CONSTITUTION
"""
import json
import random
import subprocess
import sys
import tempfile

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_corpus import random_text
from hf_kinds import GPT2, byte_level_after, isolated, train
from hf_probe import Probe
from hf_styles import DATE, STYLES, checkpoint
from rendering import choice, critique, prompt

RENDER, PROBE, CONSTITUTION = sys.argv[1:4]
ROLE = {"s": "system", "u": "user", "a": "assistant"}


class Renderings:
    """What the product shows for a principle."""

    def __init__(self):
        self.process = subprocess.Popen([RENDER, CONSTITUTION], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.constitution = json.loads(self.process.stdout.readline())

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def words(r):
    while True:
        text = random_text(r, lookalikes=False).replace("\0", "")
        if text.strip():
            return text


def tasks(renderings, r, shapes):
    """(what, messages, prefix) of random conversations under random principles, each checked
    against the rendering in Python."""
    c = renderings.constitution
    for kind in ("critique", "revision", "choice"):
        for shape in shapes:
            turns = [(ROLE[x], words(r)) for x in (shape if kind != "choice" else shape[:-1])]
            p = r.choice([p for p in c["principles"]
                          if all(p.get(k) for k in (["choice"] if kind == "choice" else ["critique", "revision"]))])
            extra = {"critique": words(r)} if kind == "revision" else {"a": words(r), "b": words(r)}
            got = renderings.ask(op=kind, principle=p["id"], turns=[{"role": a, "content": b} for a, b in turns], **extra)
            messages = [(m["role"], m["content"]) for m in got["messages"]]
            want = (choice(c, p["choice"], turns, extra["a"], extra["b"]) if kind == "choice" else
                    critique(c, p, turns, extra.get("critique")))
            assert (messages, got["prefix"]) == want, (kind, shape, messages, want)
            yield f"{kind} {shape}", got["messages"], got["prefix"]


def shown(tok, messages, prefix):
    """apply_chat_template's text and ids, or its error."""
    if not tok.chat_template:
        return prompt(tok, [(m["role"], m["content"]) for m in messages], prefix)
    try:
        text = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=True,
                                       date_string=DATE) + prefix
    except Exception as e:
        return None, str(e)
    return text, tok(text, add_special_tokens=False).input_ids


def check(style, folder, renderings, shapes):
    tok, probe, n, refused = AutoTokenizer.from_pretrained(folder), Probe(PROBE, folder), 0, 0
    for what, messages, prefix in tasks(renderings, random.Random(style), shapes):
        text, ids = shown(tok, messages, prefix)
        got = probe.ask(op="chat", messages=messages, generate=True, prefix=prefix)
        if text is None:
            assert ids in got.get("error", ""), (style, what, ids, got)
            refused += 1
            continue
        assert got.get("text") == text, (style, what, got.get("text", got), text)
        assert got["ids"] == ids, (style, what, [x for x in zip(got["ids"], ids) if x[0] != x[1]][:5])
        n += 1
    probe.close()
    assert n > 0
    print(f"{style}: {n} prompts as expected, {refused} refused in the template's own words", flush=True)


def main():
    renderings = Renderings()
    # Choices are one user message after the few-shots, so a system message goes with the others.
    shapes = ["ua", "uaua", "sua"]
    for style in sys.argv[4:] or STYLES:
        with tempfile.TemporaryDirectory() as d:
            checkpoint(style, d)
            check(style, d, renderings, shapes)
    with tempfile.TemporaryDirectory() as d:
        t = train(byte_level_after(isolated(GPT2)), special=["<s>", "</s>"])
        PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>",
                                clean_up_tokenization_spaces=False).save_pretrained(d)
        check("plain", d, renderings, shapes)
    renderings.process.stdin.close()
    assert renderings.process.wait() == 0


if __name__ == "__main__":
    main()
