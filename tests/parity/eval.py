"""`caictl eval` against transformers on random small models: each option's log-probability and
number of tokens in both forms, which option is chosen, and bits per byte of texts, longer than the
model's positions too.

    CAIPROBE=build/tools/caiprobe .deps/venv/bin/python tests/parity/eval.py TOOLS
"""
import json
import math
import os
import random
import subprocess
import sys

import torch
from transformers import AutoTokenizer

from common import fresh, text, write_model

TOOLS = sys.argv[1]
TOLERANCE = 1e-4


def logprobs(model, ids, start):
    """Σ log p of ids[start …]."""
    with torch.no_grad():
        rows = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(rows[i - 1, ids[i]].item() for i in range(start, len(ids)))


def ids_of(tok, words, special=False):
    return tok(words, add_special_tokens=special)["input_ids"]


def chat(tok, question, option):
    """The plain form, BOS before and EOS after: (ids, where the reply begins)."""
    before = [tok.bos_token_id] + ids_of(tok, f"\n\nHuman: {question}") + ids_of(tok, "\n\nAssistant:")
    return before + ids_of(tok, " " + option) + [tok.eos_token_id], len(before)


def as_text(tok, question, option):
    before = ids_of(tok, question)
    return before + ids_of(tok, " " + option), len(before)


def evaluate(folder, files, *more):
    out = os.path.join(folder, "items.jsonl")
    r = subprocess.run([os.path.join(TOOLS, "caictl"), "eval", folder, *files, "--export", out, "-o", "json", *more],
                       capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout), [json.loads(line) for line in open(out)]


def check_options(model, tok, folder, rng, form):
    path = os.path.join(folder, "set.jsonl")
    rows = []
    for i in range(12):
        options = list({text(rng, rng.randrange(1, 5)) for _ in range(4)})
        rows.append({"input": text(rng, 6), "target_scores": {o: int(k == i % len(options)) for k, o in enumerate(options)}}
                    if len(options) > 1 else {"input": "take a", "target_scores": {"nail": 1, "wall": 0}})
    with open(path, "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    said, items = evaluate(folder, [path], "--form", form)
    right, worst = [0, 0], 0.0
    for row, item in zip(rows, items, strict=True):
        want, counts = [], []
        for option in row["target_scores"]:
            ids, start = (chat if form == "chat" else as_text)(tok, row["input"], option)
            want.append(logprobs(model, ids, start))
            counts.append(len(ids) - start)
        a = item["a"]
        worst = max([worst] + [abs(x - y) for x, y in zip(a["logprobs"], want, strict=True)])
        assert a["tokens"] == counts, (a["tokens"], counts)
        each = [w / n for w, n in zip(want, counts)]
        assert a["chosen"] == want.index(max(want)) and a["chosen_each"] == each.index(max(each))
        scores = list(row["target_scores"].values())
        right[0] += scores[a["chosen"]]
        right[1] += scores[a["chosen_each"]]
    assert worst < TOLERANCE, (form, worst)
    figures = said["files"][0]
    assert abs(figures["choice"]["a"]["value"] - right[0] / len(rows)) < 1e-12
    assert abs(figures["choice_each"]["a"]["value"] - right[1] / len(rows)) < 1e-12
    return worst


def check_texts(model, tok, folder, rng):
    """In windows as caiprobe has them: the first is whole, of the others half is only read."""
    path = os.path.join(folder, "texts.jsonl")
    texts = [text(rng, n) for n in (5, 40, 400)]
    with open(path, "w") as f:
        f.writelines(json.dumps({"text": t}) + "\n" for t in texts)
    said, items = evaluate(folder, [path])
    nats = size = 0
    room = model.config.max_position_embeddings
    for t, item in zip(texts, items, strict=True):
        ids, at, want = ids_of(tok, t, special=True), 1, 0.0
        while at < len(ids):
            before = 1 if at == 1 else room // 2
            take = min(room - before, len(ids) - at)
            want += logprobs(model, ids[at - before:at + take], before)
            at += take
        unseen = len(tok.decode(ids[:1], skip_special_tokens=True).encode())
        assert abs(item["a"]["logprobs"][0] - want) < TOLERANCE * len(ids), (item, want)
        assert item["a"]["bytes"] == len(t.encode()) - unseen and item["a"]["tokens"] == [len(ids) - 1]
        nats, size = nats - want, size + len(t.encode()) - unseen
    assert len(ids) > room
    assert abs(said["files"][0]["texts"]["a"] - nats / math.log(2) / size) < TOLERANCE


def check_against(folder, other):
    path = os.path.join(folder, "set.jsonl")
    said, items = evaluate(folder, [path, os.path.join(folder, "texts.jsonl")], "--against", other)
    choice = said["files"][0]["choice"]
    a, b = ([row[who]["right"] for row in items if row[who]["kind"] == "choice"] for who in "ab")
    assert choice["difference"]["only_a"] == sum(x and not y for x, y in zip(a, b, strict=True))
    assert choice["difference"]["only_b"] == sum(y and not x for x, y in zip(a, b, strict=True))
    assert abs(choice["b"]["value"] - sum(b) / len(b)) < 1e-12
    texts = said["files"][1]["texts"]
    assert texts["difference"]["low"] <= texts["b"] - texts["a"] <= texts["difference"]["high"]


def main():
    rng = random.Random(3)
    with fresh() as folder, fresh() as other:
        model = write_model(folder)
        write_model(other, tie_word_embeddings=True)
        tok = AutoTokenizer.from_pretrained(folder)
        worst = [check_options(model, tok, folder, rng, form) for form in ("chat", "text")]
        check_texts(model, tok, folder, rng)
        check_against(folder, other)
    print(f"options: at most {max(worst):.1e} apart")


main()
