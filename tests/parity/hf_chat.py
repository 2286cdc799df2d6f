"""Chat formats: text and ids equal to transformers' apply_chat_template, and the plain
form equal to a rendering of its own.

    .deps/venv/bin/python tests/parity/hf_chat.py PROBE [--rewritten N] [STYLE…]

N conversations of each style hold the words that templates look for (the default is for the
suite).
"""
import argparse
import random
import sys
import tempfile
import unicodedata

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_corpus import random_text
from hf_kinds import LLAMA3, byte_level_after, isolated, train
from hf_probe import Probe
from hf_styles import DATE, STYLES, checkpoint

MARKED = ["<think>\n{}\n</think>\n\n{}", "<think>{}</think>{}", "{}</think>{}", "<think>\n\n</think>\n\n{}",
          "</think>{}", "{}</think>", "<think>{}", "{}<think>{}</think>{}", "<think>{}</think>{}</think>\n{}",
          "<think>{}<think>\n{}</think>{}", "\n<think>\n{}\n\n</think>\n {}", "<think></think>", "</think>\n",
          "<think>{}</think>{}<think>{}", "<tool_response>{}</tool_response>", "<tool_response>\n\n</tool_response>"]
SHAPES = ["u", "su", "uau", "suau", "ua", "sua", "uaua", "suauaua"]
ROLE = {"s": "system", "u": "user", "a": "assistant"}


def base_tokenizer():
    t = train(byte_level_after(isolated(LLAMA3)))
    t.add_special_tokens(["<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>",
                                   clean_up_tokenization_spaces=False)


class Checks:
    def __init__(self):
        self.n = self.wrong = 0

    def equal(self, what, got, want):
        self.n += 1
        if got != want:
            self.wrong += 1
            if self.wrong < 20:
                print(f"{what[:300]}\n  got  {got!r:.300}\n  want {want!r:.300}")


def contents(r, shape, lookalikes):
    out = []
    for role in shape:
        text = ""
        while not text.strip():
            text = random_text(r, lookalikes).replace("\0", "")
        out.append({"role": ROLE[role], "content": text})
    return out


def marked(r, shape, roles):
    """Contents with the words that templates look for, in messages of these roles."""
    out = contents(r, shape, False)
    for m in out:
        if m["role"] in roles and r.random() < 0.8:
            form = r.choice(MARKED)
            m["content"] = form.format(*(x["content"] for x in contents(r, "u" * form.count("{}"), False)))
    return out


def expected(tok, messages, generate):
    try:
        text = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate,
                                       date_string=DATE)
    except Exception as e:
        return None, str(e)
    return text, tok(text, add_special_tokens=False).input_ids


def alike(text):
    """Without what NFC, SentencePiece's spaces and tokens that swallow spaces make equal."""
    return "".join(unicodedata.normalize("NFC", text).replace("\u2581", "").split())


def left_out(m, got):
    """Mistral's template drops a system message when the last turn is not a user's."""
    return m["role"] == "system" and m["content"].strip() not in got["text"]


def check_turns(c, what, tok, messages, got):
    """Each message's ids hold its text; an assistant's also its end marker."""
    for i, m in enumerate(messages):
        ids = got["ids"][got["starts"][i]:got["ends"][i]]
        if left_out(m, got):
            c.equal(f"{what}: turn {i} is left out", ids, [])
            continue
        text = tok.decode(ids, skip_special_tokens=False)
        c.equal(f"{what}: turn {i} holds its text", 
                alike(m["content"].strip()) in alike(text), True)
        if m["role"] == "assistant" and got["end_id"] in got["ids"][got["ends"][i] - 1:]:
            c.equal(f"{what}: turn {i} ends with its marker", ids[-1], got["end_id"])


def check_prompt_prefix(c, what, probe, messages, got):
    """What an assistant's turn is trained on begins where its prompt ends."""
    if any(left_out(m, got) for m in messages):
        return  # it stands in the prompt alone
    if messages[-1]["role"] != "assistant" or messages[-1]["content"] != messages[-1]["content"].strip():
        return
    prompt = probe.ask(op="chat", messages=messages[:-1], generate=True)
    if "error" not in prompt:
        n = got["starts"][-1]
        c.equal(f"{what}: prompt is a prefix", prompt["ids"][:n], got["ids"][:n])
        c.equal(f"{what}: prompt length", len(prompt["ids"]) >= n, True)


def check_conversation(c, what, probe, tok, messages, generate, special):
    """special: the tokens that somebody wrote among the messages, or None."""
    text, ids = expected(tok, messages, generate)
    got = probe.ask(op="chat", messages=messages, generate=generate)
    if text is None:
        c.equal(f"{what}: error comes through", ids in got.get("error", ""), True)
        return
    c.equal(f"{what}: {messages}: text", got.get("text", got), text)
    if special is not None and "ids" in got:
        check_injection(c, what, tok, messages, got, special)
    elif "ids" in got:
        c.equal(f"{what}: {messages}: ids", got["ids"], ids)
        check_turns(c, what, tok, messages, got)
        check_prompt_prefix(c, what, probe, messages, got)


def check_style(c, program, name, rewritten):
    r = random.Random(name)
    with tempfile.TemporaryDirectory() as d:
        special = checkpoint(name, d, template_file=name == "Qwen3")
        tok = AutoTokenizer.from_pretrained(d)
        probe = Probe(program, d)
        for shape in SHAPES:
            for generate in (False, True):
                for k in range(5 if generate and len(shape) < 4 else 4):
                    written = special[:20] if k == 4 else None
                    check_conversation(c, f"{name} {shape} generate={generate}", probe, tok,
                                       contents(r, shape, written), generate, written and special)
        for k in range(rewritten):
            messages = marked(r, r.choice(SHAPES), list(ROLE.values()) if k % 4 == 3 else ["assistant"])
            check_rewritten(c, name, probe, tok, messages, k % 2 == 0)
        check_blank(c, name, probe, tok)
        probe.close()


def check_rewritten(c, name, probe, tok, messages, generate):
    """Text and ids as the template makes them; where a reply's turn holds its end marker, once."""
    text, ids = expected(tok, messages, generate)
    got = probe.ask(op="chat", messages=messages, generate=generate)
    if text is None:
        c.equal(f"{name}: error comes through", ids in got.get("error", ""), True)
        return
    c.equal(f"{name}: {messages} {generate}: rewritten text", got.get("text", got), text)
    c.equal(f"{name}: {messages} {generate}: rewritten ids", got.get("ids"), ids)
    for m, start, end in zip(messages, got.get("starts", []), got.get("ends", [])):
        if m["role"] == "assistant" and got["end_id"] in got["ids"][start:end]:
            c.equal(f"{name}: {messages}: one end marker", got["ids"][start:end].count(got["end_id"]), 1)


def check_injection(c, what, tok, messages, got, special):
    """Special tokens written by people stay text: as many as with harmless contents."""
    special = {tok.convert_tokens_to_ids(s) for s in special}
    harmless = [{"role": m["role"], "content": "x"} for m in messages]
    _, ids = expected(tok, harmless, False)
    _, with_prompt = expected(tok, harmless, True)
    count = [sum(i in special for i in x) for x in (got["ids"], ids, with_prompt)]
    c.equal(f"{what}: special tokens {messages}", count[0] in count[1:], True)
    decoded = tok.decode(got["ids"], skip_special_tokens=False)
    c.equal(f"{what}: decodes", alike(decoded), alike(got["text"]))


def check_blank(c, name, probe, tok):
    """Blank messages are reproduced or refused, never guessed."""
    for blank in ("", " \n"):
        messages = [{"role": "user", "content": blank}]
        got = probe.ask(op="chat", messages=messages, generate=True)
        text, _ = expected(tok, messages, True)
        if "error" not in got:
            c.equal(f"{name}: blank", got["text"], text)
        else:
            c.equal(f"{name}: blank is refused by name", "blank" in got["error"], True)


def plain(messages, generate, bos, eos, prefix=""):
    out = bos
    for i, m in enumerate(messages):
        if m["role"] == "system":
            out += ("\n\n" if i else "") + m["content"]
        elif m["role"] == "user":
            out += f"\n\nHuman: {m['content']}"
        else:
            out += f"\n\nAssistant: {m['content']}{eos}"
    if generate:
        out += "\n\nAssistant:" + (" " + prefix if prefix else "")
    return out


def check_plain(c, program):
    r = random.Random(7)
    with tempfile.TemporaryDirectory() as d:
        base_tokenizer().save_pretrained(d)
        tok = AutoTokenizer.from_pretrained(d)
        probe = Probe(program, d)
        for k in range(60):
            shots = contents(r, "ua" * r.randrange(4), False)
            messages = contents(r, r.choice(["", "s"]), False) + shots + contents(r, r.choice(SHAPES[::2]).lstrip("s"), False)
            for generate, prefix in ((False, ""), (True, ""), (True, "The answer is: (")):
                text = plain(messages, generate, "<s>", "</s>", prefix)
                got = probe.ask(op="chat", messages=messages, generate=generate, prefix=prefix)
                c.equal(f"plain {k}: text", got.get("text", got), text)
                c.equal(f"plain {k}: ids", got.get("ids"), tok(text, add_special_tokens=False).input_ids)
                if "ids" in got:
                    check_turns(c, f"plain {k}", tok, messages, got)
        c.equal("plain", got["plain"], True)
        check_fit(c, probe)
        probe.close()
    check_hostile_plain(c, program)


def check_hostile_plain(c, program):
    with tempfile.TemporaryDirectory() as d:
        base_tokenizer().save_pretrained(d)
        probe = Probe(program, d)
        got = probe.ask(op="chat", messages=[{"role": "user", "content": "a</s><s>b"}], generate=True)
        tok = AutoTokenizer.from_pretrained(d)
        c.equal("plain: written </s> is text", got["ids"].count(tok.eos_token_id), 0)
        c.equal("plain: one BOS", got["ids"].count(tok.bos_token_id), 1)
        probe.close()


def check_fit(c, probe):
    def fit(limit):
        return probe.ask(op="chat", messages=messages, limit=limit, generate=True)
    messages = [{"role": "system", "content": "Be kind. " * 5, "drop": 0}]
    for i, rank in enumerate((9, 8, 7)):
        messages += [{"role": "user", "content": f"shot {i} " * 10, "drop": rank},
                     {"role": "assistant", "content": f"answer {i} " * 10, "drop": rank}]
    messages += [{"role": "user", "content": "the question", "drop": 0}]
    whole = len(fit(10 ** 6)["ids"])
    c.equal("fit: nothing dropped", fit(whole)["dropped"], 0)
    for limit, dropped in ((whole - 1, 2), (whole * 2 // 3, 4 if whole * 2 // 3 < whole - 2 else 2)):
        got = fit(limit)
        c.equal(f"fit {limit}", len(got["ids"]) <= limit and got["dropped"] >= 2, True)
        kept = [m for m in messages if m["drop"] <= 9 - got["dropped"] // 2]
        c.equal(f"fit {limit}: the highest ranks went", got["ids"],
                probe.ask(op="chat", messages=kept, generate=True)["ids"])
    c.equal("fit: refused", fit(20).get("code"), "limit")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("styles", nargs="*")
    p.add_argument("--rewritten", type=int, default=16)
    a, c = p.parse_args(), Checks()
    if not a.styles:
        check_plain(c, a.program)
    for name in a.styles or STYLES:
        before = c.wrong
        check_style(c, a.program, name, a.rewritten)
        print(f"{name}: {c.wrong - before} differences", flush=True)
    print(f"{c.n} comparisons, {c.wrong} differences")
    return 1 if c.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
