"""Every family against transformers: a small random checkpoint of each, written by
transformers; log-probabilities, greedy replies, batches, folders saved again, both ways of
spelling RoPE, and all of it in bfloat16. Lengths go past the windows, and past what scaled
RoPE was trained with.

    CAIPROBE=build/tools/caiprobe .deps/venv/bin/python tests/parity/families.py [FAMILY…]
"""
import json
import os
import random
import sys
import time

import torch
import transformers
from tokenizers import Tokenizer

from common import fresh, probe, random_ids, text, write_tokenizer

LOGPROB, AGAIN, HALF = 1e-4, 1e-5, 2e-2
MILD = 0.02  # transformers' own initializer_range
# One more and one less than every window, and than every length that scaled RoPE knows.
LENGTHS = (1, 2, 3, 7, 15, 16, 17, 19, 20, 21, 23, 24, 25, 29, 30, 31, 32, 33, 39, 40, 41, 63, 64, 65, 120)
HALF_LENGTHS = (1, 2, 17, 21, 33, 64, 120)
SIZES = dict(vocab_size=300, hidden_size=48, intermediate_size=80, num_hidden_layers=4,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             bos_token_id=0, eos_token_id=1, pad_token_id=2, initializer_range=0.15)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
LONG = dict(short_factor=[1.0, 1.3, 1.6], long_factor=[1.5, 3.0, 6.0])
GPT2 = dict(vocab_size=300, n_embd=48, n_layer=3, n_head=4, n_positions=256, bos_token_id=0,
            eos_token_id=1, pad_token_id=2, initializer_range=0.15)
KINDS = {  # name: (classes of transformers, configuration)
    "llama": ("Llama", dict(tie_word_embeddings=True)),
    "llama, llama3": ("Llama", dict(rope_theta=500000.0, rope_scaling=LLAMA3, head_dim=16)),
    "llama, linear": ("Llama", dict(rope_scaling=dict(rope_type="linear", factor=4.0),
                                    attention_bias=True, mlp_bias=True)),
    "llama, dynamic": ("Llama", dict(rope_scaling=dict(rope_type="dynamic", factor=4.0),
                                     max_position_embeddings=64)),
    "llama, yarn": ("Llama", dict(rope_scaling=dict(rope_type="yarn", factor=4.0,
                                                    original_max_position_embeddings=64))),
    "llama, yarn of DeepSeek": ("Llama", dict(rope_scaling=dict(
        rope_type="yarn", factor=8.0, beta_fast=16.0, beta_slow=2.0, mscale=0.7,
        mscale_all_dim=0.4, original_max_position_embeddings=32, truncate=False))),
    "smollm3": ("SmolLM3", dict()),
    "smollm3, windows": ("SmolLM3", dict(use_sliding_window=True, sliding_window=20,
                                         tie_word_embeddings=False, attention_bias=True)),
    "mistral": ("Mistral", dict(sliding_window=24, head_dim=20)),
    "mistral, no window": ("Mistral", dict(sliding_window=None)),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=True)),
    "qwen2, mixed windows": ("Qwen2", dict(use_sliding_window=True, sliding_window=16,
                                           max_window_layers=2)),
    "qwen3": ("Qwen3", dict(head_dim=20)),
    "gemma2": ("Gemma2", dict(head_dim=16, sliding_window=20, query_pre_attn_scalar=24,
                              attn_logit_softcapping=4.0, final_logit_softcapping=6.0)),
    "gemma3": ("Gemma3", dict(head_dim=16, sliding_window=20, query_pre_attn_scalar=24,
                              num_hidden_layers=7, rope_theta=1e6, rope_local_base_freq=1e3)),
    "gemma3, scaled": ("Gemma3", dict(head_dim=16, sliding_window=20, num_hidden_layers=3,
                                      layer_types=["full_attention"] + 2 * ["sliding_attention"],
                                      final_logit_softcapping=5.0,
                                      rope_scaling=dict(rope_type="linear", factor=8.0))),
    "phi3": ("Phi3", dict(sliding_window=30)),
    "phi3, long": ("Phi3", dict(partial_rotary_factor=0.5, original_max_position_embeddings=40,
                                rope_scaling=dict(type="longrope", **LONG))),
    "olmo2": ("Olmo2", dict()),
    "gpt2": ("GPT2", GPT2),
    "gpt2, scaled by layer": ("GPT2", dict(GPT2, scale_attn_by_inverse_layer_idx=True, n_inner=72)),
    "gpt_neox": ("GPTNeoX", dict(rotary_pct=0.5)),
    "gpt_neox, sequential": ("GPTNeoX", dict(use_parallel_residual=False, rotary_pct=1.0, attention_bias=False,
                                             tie_word_embeddings=True)),
}

FIVE = ("llama, llama3", "smollm3", "gemma3", "phi3, long", "gpt_neox")


def classes(name):
    t = transformers
    config = t.Gemma3TextConfig if name == "Gemma3" else getattr(t, name + "Config")
    causal = t.GPT2LMHeadModel if name == "GPT2" else getattr(t, name + "ForCausalLM")
    return config, causal


def write_family(folder, kind, dtype=None, head=None, **changes):
    """Random weights, norms and biases included; written to `folder`, returned in fp32."""
    name, values = KINDS[kind]
    config_class, cls = classes(name)
    torch.manual_seed(11)
    values = {**(values if name == "GPT2" else {**SIZES, **values}), **changes}
    model = (head or cls)._from_config(config_class(**values), attn_implementation="eager").eval()
    with torch.no_grad():
        for _, p in model.named_parameters():
            if p.dim() == 1:
                p.add_(0.3 * torch.randn_like(p))
    (model.to(dtype) if dtype else model).save_pretrained(folder)
    write_tokenizer(folder)
    return (head or cls).from_pretrained(folder, dtype=torch.float32,
                                         attn_implementation="eager").eval()


def logits(model, ids):
    with torch.no_grad():
        if "dynamic" in str(getattr(model.config, "rope_scaling", None)):
            model(torch.tensor([[5]]))  # transformers keeps the longest length it has seen
        return model(torch.tensor([ids])).logits[0].float()


def reference(model, ids):
    return logits(model, ids).log_softmax(-1)


def check_logits(model, folder, rng, lengths):
    apart = 0.0
    rows = [random_ids(rng, n) for n in lengths]
    for ids, got in zip(rows, probe("logits", folder, [{"ids": r} for r in rows], "--top", "300")):
        want = reference(model, ids)
        last = dict(map(tuple, got["top"]))
        pairs = [(a, want[i, ids[i + 1]].item()) for i, a in enumerate(got["logprobs"])]
        pairs += [(last[i], want[-1, i].item()) for i in range(want.shape[1])]
        apart = max(apart, max(abs(a - b) for a, b in pairs))
        assert len(got["logprobs"]) == len(ids) - 1 and apart < LOGPROB, (len(ids), apart)
    return apart


def greedy(model, ids, n):
    """transformers' own loop, with its cache."""
    with torch.no_grad():
        out = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=n,
                             attention_mask=torch.ones(1, len(ids)), pad_token_id=2)
    return out[0, len(ids):].tolist()


def check_reply(model, prompt, reply, varies):
    """Each token is the best one after those before it, to the 32nd or the end."""
    assert len(reply) == 32 or reply[-1] == 1, reply
    if varies:  # all frequencies depend on the length
        best = [logits(model, prompt + reply[:i])[-1].argmax().item() for i in range(len(reply))]
    else:
        best = logits(model, prompt + reply)[len(prompt) - 1:-1].argmax(-1).tolist()
    assert best == reply, (len(prompt), best, reply)


def check_greedy(model, folder, rng, kind):
    varies = "dynamic" in kind or "long" in kind  # one forward pass a token to compare with
    prompts = [random_ids(rng, n) for n in ((19, 45, 30) if varies else (1, 7, 19, 45, 45))]
    shared = random_ids(rng, 36)  # long enough to be read once for all
    for batch in (prompts, [shared + p[:9] for p in prompts]):
        got = probe("generate", folder, [{"ids": p} for p in batch], "--temperature", "0",
                    "--max-new-tokens", "32", "--slots", "3")
        for p, g in zip(batch, got, strict=True):
            check_reply(model, p, g["ids"], varies)
    if "dynamic" not in kind:  # there transformers' cache keeps keys turned by older frequencies
        assert got[0]["ids"] == greedy(model, batch[0], 32)


def check_options(folder, rng, kind):
    """The cached and batched pass against the packed one: options after a shared prompt. A
    prompt is read by its own length, so dynamic RoPE stays below what it was trained with,
    and LongRoPE above."""
    prompt = random_ids(rng, 45 if "long" in kind else 33)
    options = [random_ids(rng, n) for n in (1, 3, 9, 30)]
    got = probe("options", folder, [{"ids": prompt, "options": options}])[0]["logprobs"]
    lines = probe("logits", folder, [{"ids": prompt + o} for o in options])
    for o, lp, line in zip(options, got, lines, strict=True):
        alone = sum(line["logprobs"][len(prompt) - 1:])
        assert abs(lp - alone) < AGAIN * len(o), (len(o), lp, alone)


def check_resaved(model, folder, rng):
    again = folder + "/again"
    probe("resave", folder, [], "--to", again)
    copy, info = type(model).from_pretrained(again, output_loading_info=True,
                                             attn_implementation="eager")
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    ids = random_ids(rng, 70)
    a, b = logits(model, ids), logits(copy.eval(), ids)
    assert torch.equal(a, b), (a - b).abs().max()
    one = {k: v for k, v in model.state_dict().items()}
    assert all(torch.equal(v, copy.state_dict()[k]) for k, v in one.items())


def half_apart(model, rows, answers):
    """The farthest that a target's log-probability is from `model`'s; of one id, any next one's."""
    apart = 0.0
    for ids, got in zip(rows, answers, strict=True):
        want = reference(model, ids)
        apart = max([apart] + [abs(a - want[i, ids[i + 1]].item()) for i, a in enumerate(got["logprobs"])])
        if len(ids) == 1:
            apart = max([apart] + [abs(a - want[0, i].item()) for i, a in got["top"]])
    return apart


def answers_of(model, rows, top=0):
    """As caiprobe's; the best of position `top`."""
    every = [(ids, reference(model, ids)) for ids in rows]
    return [{"logprobs": [p[i, x].item() for i, x in enumerate(ids[1:])],
             "top": [[i, p[top, i].item()] for i in range(p.shape[1])]} for ids, p in every]


def check_half_logits(folder, model, rows):
    """(ours from fp32, ours from theirs, theirs from fp32), theirs being transformers in bfloat16."""
    theirs = type(model).from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager").eval()
    got = probe("logits", folder, [{"ids": r} for r in rows], "--top", "300", "--dtype", "bfloat16")
    return half_apart(model, rows, got), half_apart(theirs, rows, got), half_apart(model, rows, answers_of(theirs, rows))


def check_half_cached(model, folder, rng, kind):
    """Greedy replies: each token is as good as the best, by fp32. Options: near the packed pass."""
    varies = "dynamic" in kind or "long" in kind
    prompts = [random_ids(rng, n) for n in (19, 45)]
    replies = probe("generate", folder, [{"ids": p} for p in prompts], "--temperature", "0",
                    "--max-new-tokens", "8", "--slots", "2", "--dtype", "bfloat16")
    for p, g in zip(prompts, replies, strict=True):
        whole = None if varies else reference(model, p + g["ids"])
        for i, token in enumerate(g["ids"]):
            row = reference(model, p + g["ids"][:i])[-1] if varies else whole[len(p) + i - 1]
            assert row.max() - row[token] < 2 * HALF, (kind, len(p), i, row.max() - row[token])
    prompt, options = random_ids(rng, 45 if "long" in kind else 33), [random_ids(rng, n) for n in (1, 9)]
    got = probe("options", folder, [{"ids": prompt, "options": options}], "--dtype", "bfloat16")[0]["logprobs"]
    lines = probe("logits", folder, [{"ids": prompt + o} for o in options], "--dtype", "bfloat16")
    for o, lp, line in zip(options, got, lines, strict=True):
        assert abs(lp - sum(line["logprobs"][len(prompt) - 1:])) < HALF * len(o), (len(o), lp)


def check_half_score(kind, rng):
    name = KINDS[kind][0]
    head = getattr(transformers, ("Gemma3Text" if name == "Gemma3" else name) + "ForSequenceClassification", None)
    if head is None:
        return
    with fresh() as folder:
        model = write_family(folder, kind, torch.bfloat16, head, num_labels=1, initializer_range=MILD)
        theirs = head.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager").eval()
        ids = random_ids(rng, 60)
        got, = probe("score", folder, [{"ids": ids}], "--dtype", "bfloat16")
        for m in (model, theirs):
            with torch.no_grad():
                want = m(torch.tensor([ids])).logits[0, 0].item()
            assert abs(got["score"] - want) < HALF, (kind, got, want)


def train(model, folder, rng):
    """A few steps on a small language, so that weights are as training makes them; then as the
    folder's, in bfloat16. Returns the model of these in fp32, and text of that language."""
    ids = Tokenizer.from_file(folder + "/tokenizer.json").encode(text(rng, 1500)).ids
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(60):
        rows = [ids[a:a + 40] for a in (rng.randrange(len(ids) - 40) for _ in range(6))]
        loss = model(torch.tensor(rows), labels=torch.tensor(rows)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 3, loss  # ln 300 = 5.7 at the beginning
    model.to(torch.bfloat16).save_pretrained(folder)
    return type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval(), ids


def rms(numbers):
    return (sum(x * x for x in numbers) / len(numbers)) ** 0.5


def half_by_length(folder, model, rows):
    """For each row: how far each log-probability (of the row's tokens, and of all that may come
    next) is from `model`'s, in ours and in transformers' bfloat16."""
    theirs = answers_of(type(model).from_pretrained(folder, dtype=torch.bfloat16,
                                                    attn_implementation="eager").eval(), rows, -1)
    ours = probe("logits", folder, [{"ids": r} for r in rows], "--top", "300", "--dtype", "bfloat16")
    for ids, *both in zip(rows, ours, theirs, strict=True):
        want = reference(model, ids)
        yield len(ids), *([a - want[i, ids[i + 1]].item() for i, a in enumerate(x["logprobs"])] +
                          [a - want[-1, i].item() for i, a in x["top"]] for x in both)


def check_half(kind, rng):
    """Checkpoints in bfloat16, as most are, computed in it. With transformers' first weights and
    with trained ones every log-probability is near transformers' in fp32, at every length. With
    the wild weights of the other checks, whose logits nothing has tamed, rounding moves
    transformers' own by a tenth of a nat: there ours must be nearer to fp32 than they are, and
    on average as near as elsewhere."""
    with fresh() as folder:
        model = write_family(folder, kind, torch.bfloat16, initializer_range=MILD)
        rows = [random_ids(rng, n) for n in HALF_LENGTHS]
        apart, near, own = check_half_logits(folder, model, rows)
        assert apart < HALF and near < HALF, (kind, apart, near, own)
        check_half_cached(model, folder, rng, kind)
    check_half_score(kind, rng)
    with fresh() as folder:
        model = write_family(folder, kind, torch.bfloat16)
        wild = list(half_by_length(folder, model, [random_ids(rng, n) for n in HALF_LENGTHS]))
        for n, ours, _ in wild:
            assert rms(ours) < HALF, (kind, n, rms(ours))
        model, ids = train(model, folder, rng)
        trained = list(half_by_length(folder, model, [ids[7:7 + n] for n in HALF_LENGTHS]))
        for n, ours, theirs in trained:
            assert max(map(abs, ours)) < HALF, (kind, n, max(map(abs, ours)))
        for lengths in (wild, trained):
            ours, theirs = (sum((x[side] for x in lengths), []) for side in (1, 2))
            assert rms(ours) < rms(theirs) and max(map(abs, ours)) <= max(map(abs, theirs)), (kind, rms(ours), rms(theirs))

    def most(lengths, side, f=lambda x: max(map(abs, x))):
        return max(f(x[side]) for x in lengths)
    return (f"bfloat16 {apart:.1e} from fp32, {near:.1e} from theirs; trained {most(trained, 1):.1e}, theirs "
            f"{most(trained, 2):.1e}; wild {most(wild, 1, rms):.1e} rms, {most(wild, 1):.1e} most, theirs "
            f"{most(wild, 2, rms):.1e}, {most(wild, 2):.1e}")


def version_five(folder, five):
    """config.json with the names of transformers 5."""
    with open(folder + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    rope = {k: v for k, v in (c.pop("rope_scaling", None) or {}).items()}
    rope.setdefault("rope_type", rope.pop("type", "default"))
    rope["rope_theta"] = c.pop("rope_theta", None) or c.pop("rotary_emb_base")
    for key in ("partial_rotary_factor", "rotary_pct"):
        if key in c:
            rope["partial_rotary_factor"] = c.pop(key)
    if "rope_local_base_freq" in c:
        rope = {"full_attention": rope, "sliding_attention": {
            "rope_type": "default", "rope_theta": c.pop("rope_local_base_freq")}}
    c["rope_parameters"] = rope
    c["dtype"] = c.pop("torch_dtype", None) or c.pop("dtype")
    os.makedirs(five)
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        os.link(folder + "/" + name, five + "/" + name)
    with open(five + "/config.json", "w", encoding="utf-8") as f:
        json.dump(c, f)


def check_family(kind):
    began = time.time()
    rng = random.Random(5)
    with fresh() as folder:
        model = write_family(folder, kind)
        apart = check_logits(model, folder, rng, LENGTHS)
        check_greedy(model, folder, rng, kind)
        check_options(folder, rng, kind)
        check_resaved(model, folder, rng)
        if kind in FIVE:
            version_five(folder, folder + "/five")
            apart = max(apart, check_logits(model, folder + "/five", rng, (90,)))
        half = check_half(kind, rng)
        print(f"{kind}: log-probabilities within {apart:.1e}; {half} ({time.time() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    for k in sys.argv[1:] or KINDS:
        check_family(k)
