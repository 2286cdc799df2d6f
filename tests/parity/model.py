"""The model against transformers: log-probabilities, greedy replies, options, scores, and
folders that were loaded here and saved again."""
import json
import os
import random
import sys

import torch

from common import (LlamaForCausalLM, LlamaForSequenceClassification, fresh, probe, random_ids,
                    write_model)

TOLERANCE = 1e-5
KINDS = {
    "grouped heads": dict(),
    "tied": dict(tie_word_embeddings=True),
    "own head width": dict(head_dim=24, num_key_value_heads=4),
    "one key head": dict(num_key_value_heads=1, rope_theta=500000.0),
    "biases": dict(attention_bias=True, mlp_bias=True),
}


def reference(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().log_softmax(-1)


def worst(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def check_logits(model, folder, ids):
    want = reference(model, ids)
    got = probe("logits", folder, [{"ids": ids}], "--top", "300")[0]
    expected = [want[i, ids[i + 1]].item() for i in range(len(ids) - 1)]
    apart = worst(got["logprobs"], expected) if expected else 0.0
    last = {i: lp for i, lp in got["top"]}
    assert len(last) == want.shape[1]
    apart = max(apart, worst([last[i] for i in range(want.shape[1])], want[-1].tolist()))
    assert apart < TOLERANCE, (len(ids), apart)
    return apart


def check_greedy(model, folder, rng):
    prompts = [random_ids(rng, n) for n in (1, 5, 17, 17, 40)] + [random_ids(rng, 5)] * 2
    shared = random_ids(rng, 48)  # long enough to be read once for all
    for batch in (prompts, [shared + p for p in prompts]):
        got = probe("generate", folder, [{"ids": p} for p in batch], "--temperature", "0",
                    "--max-new-tokens", "32", "--slots", "3")
        for p, g in zip(batch, got, strict=True):
            with torch.no_grad():
                want = model.generate(torch.tensor([p]), do_sample=False, max_new_tokens=32,
                                      attention_mask=torch.ones(1, len(p)), pad_token_id=1)
            assert g["ids"] == want[0, len(p):].tolist(), (p, g["ids"])
            assert g["stop"] == ("end" if g["ids"][-1] == 1 else "length")


def check_stops(folder, rng):
    """A stop string ends the reply at once and is cut off."""
    line, flags = {"ids": random_ids(rng, 6)}, ("--temperature", "0", "--max-new-tokens", "60")
    whole = probe("generate", folder, [line], *flags)[0]
    text = whole["text"]
    stop = next(text[i:i + 2] for i in range(len(text)) if text[i:i + 2].isascii()
                and len(text[i:i + 2]) == 2)  # random bytes: longer runs are rare
    got = probe("generate", folder, [line], *flags, "--stop", "never this", "--stop", stop)[0]
    assert got["stop"] == "stop" and got["text"] == text[:text.index(stop)], (got, text, stop)
    assert got["ids"] == whole["ids"][:len(got["ids"])] and len(got["ids"]) < len(whole["ids"])


def check_options(model, folder, rng):
    for lengths in ((1, 1), (3, 1, 5), (2, 2, 2, 2, 7, 1, 3)):
        prompt = random_ids(rng, 21)
        options = [random_ids(rng, n) for n in lengths]
        got = probe("options", folder, [{"ids": prompt, "options": options}])[0]["logprobs"]
        for o, lp in zip(options, got, strict=True):
            want = reference(model, prompt + o)
            expected = sum(want[len(prompt) - 1 + i, t].item() for i, t in enumerate(o))
            assert abs(lp - expected) < TOLERANCE * len(o), (lp, expected)


def check_resaved(model, folder, ids, cls):
    again = folder + "/again"
    probe("resave", folder, [], "--to", again)
    copy, info = cls.from_pretrained(again, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    with torch.no_grad():
        a = model(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits
        b = copy.eval()(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits
    assert torch.equal(a, b), (a - b).abs().max()
    return again, copy


def shards():
    """In as many files as transformers makes of it, with the same index; opened by both."""
    rng = random.Random(6)
    with fresh() as folder:
        model, limit = write_model(folder), 40000
        ours, theirs, again = (f"{folder}/{name}" for name in ("ours", "theirs", "again"))
        probe("resave", folder, [], "--to", ours, "--shard-bytes", str(limit))
        model.save_pretrained(theirs, max_shard_size=limit)
        a, b = (json.load(open(f"{f}/model.safetensors.index.json", encoding="utf-8"))
                for f in (ours, theirs))
        assert a["metadata"] == b["metadata"], (a["metadata"], b["metadata"])
        assert sorted(a["weight_map"]) == sorted(b["weight_map"])
        files = sorted(set(a["weight_map"].values()))
        assert len(files) > 3 and files[0] == f"model-00001-of-{len(files):05d}.safetensors", files
        assert not os.path.exists(ours + "/model.safetensors")
        copy, info = LlamaForCausalLM.from_pretrained(ours, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"], info
        assert all(torch.equal(v, copy.state_dict()[k]) for k, v in model.state_dict().items())
        line = [{"ids": random_ids(rng, 20)}]
        want = probe("logits", folder, line)
        assert probe("logits", ours, line) == want and probe("logits", theirs, line) == want
        probe("resave", theirs, [], "--to", again)
        assert os.path.exists(again + "/model.safetensors")
        assert probe("logits", again, line) == want
    print(f"shards: {len(files)} files, opened by both")


def language_models():
    rng = random.Random(3)
    for name, changes in KINDS.items():
        with fresh() as folder:
            model = write_model(folder, **changes)
            apart = max(check_logits(model, folder, random_ids(rng, n)) for n in (1, 2, 33, 200))
            check_greedy(model, folder, rng)
            check_stops(folder, rng)
            check_options(model, folder, rng)
            check_resaved(model, folder, random_ids(rng, 30), LlamaForCausalLM)
            print(f"{name}: log-probabilities within {apart:.1e}")
    for dtype in (torch.bfloat16, torch.float16):
        with fresh() as folder:
            model = write_model(folder, dtype=dtype)
            apart = check_logits(model, folder, random_ids(rng, 60))
            print(f"{dtype}: converted to fp32, within {apart:.1e}")


def check_padded(model, folder, rng):
    """caiprobe's scores one by one; transformers' in one padded batch."""
    rows = [random_ids(rng, n) for n in (3, 11, 29)]
    pad, longest = model.config.pad_token_id, max(map(len, rows))
    batch = torch.tensor([r + [pad] * (longest - len(r)) for r in rows])
    with torch.no_grad():
        want = model(batch, attention_mask=(batch != pad).long()).logits[:, 0].tolist()
    got = [g["score"] for g in probe("score", folder, [{"ids": r} for r in rows])]
    assert worst(got, want) < TOLERANCE, (got, want)


def scalar_heads():
    rng = random.Random(4)
    with fresh() as folder:  # eos doubles as padding: ours must come out with one of its own
        model = write_model(folder, LlamaForSequenceClassification, num_labels=1, pad_token_id=1)
        again = folder + "/again"
        probe("resave", folder, [], "--to", again)
        copy = LlamaForSequenceClassification.from_pretrained(again).eval()
        assert copy.config.num_labels == 1
        assert copy.config.pad_token_id not in (copy.config.eos_token_id, 0, None)
        assert copy.config.pad_token_id >= 300 and copy.config.vocab_size == 301
        check_padded(copy, again, rng)
        assert not os.path.exists(again + ".partial")
    with fresh() as folder:
        model = write_model(folder, LlamaForSequenceClassification, num_labels=1, vocab_size=304,
                            pad_token_id=303)
        check_padded(model, folder, rng)
        _, copy = check_resaved(model, folder, random_ids(rng, 9), LlamaForSequenceClassification)
        assert copy.config.pad_token_id == 303 and copy.config.vocab_size == 304
    print("scalar heads: as in a padded batch of transformers")


def refusals():
    with fresh() as folder:
        write_model(folder)
        words = probe("score", folder, [], expect=3)
        assert "no scalar head" in words, words
        words = probe("logits", folder, [{"ids": [1, 300]}], expect=3)
        assert "line 1" in words and "300" in words, words
        words = probe("logits", folder, [{"ids": []}], expect=3)
        assert "empty" in words, words
        words = probe("logits", folder, [{"ids": [2]}], "--dtype", "float16", expect=3)
        assert "float16" in words, words
        words = probe("tokenize", folder, [{"txt": ""}], expect=3)
        assert "text" in words, words
        with open(folder + "/config.json", "r+", encoding="utf-8") as f:
            changed = f.read().replace('"hidden_size": 64', '"hidden_size": 32')
            f.seek(0)
            f.write(changed)
            f.truncate()
        words = probe("logits", folder, [{"ids": [2]}], expect=3)
        assert "shape" in words, words
    print("refusals: named, exit code 3")


if __name__ == "__main__":
    language_models()
    shards()
    scalar_heads()
    refusals()
    sys.exit(0)
