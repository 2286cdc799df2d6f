"""Training against TRL 0.24: SFTTrainer (sft), RewardTrainer (pm) and PPOTrainer (ppo) on the same
models and rows, in turn in one run: rates, ratios, peak memory of each side's process, and how much
of the machine's matrix products our rate takes. TRL runs at its fastest setting, which a round
before the comparison looks for: rows padded together, in smaller parts, grouped by length or
padding-free; fp32, bfloat16 by autocast or in the weights. Ours learns as a worker does: the
same task, dataset, options and code (bench_learn.c), encoding and saving outside the clock on
both sides. `sft` also measures the head's memory under a vocabulary of 151,936.

ppo has two cases: replies as long as the clerk's, by a model that has learned its language, and
all replies at full length."""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here))
import sides
import world

SHAPE = dict(layers=4, width=256, heads=4, mlp=704, vocab=2048)
PROMPT, REPLY, BATCH = 16, 48, 64
LAYOUTS = {"sft": ["padded", "small", "grouped", "free"], "pm": ["padded", "small", "grouped"], "ppo": ["padded", "small"]}
DTYPES = ["float32", "bfloat16", "bfloat16-weights"]
UNIT = {"sft": "tokens", "pm": "pairs", "ppo": "samples"}
OPTIMIZER = dict(lr=1e-5, weight_decay=0, beta1=0.9, beta2=0.999, eps=1e-8, clip_norm=1, warmup=0, schedule="constant")
PPO = dict(OPTIMIZER, epochs=4, minibatches=1, checkpoint_every=0, clip=0.2, value_clip=0.2, gamma=1,
           value_coef=0.1, value_lr=1e-5, kl_budget=0, reward_clip=0, kl={"coef": 0.05, "target": 0, "horizon": 100},
           whiten_advantages=True, whiten_rewards=False, no_end="keep", no_end_reward=0, normalise="none", helpful=1,
           **{"lambda": 0.95})


# ---- models --------------------------------------------------------------------------------

def clerk_files(work):
    """The clerk's world and, by one step of training, its tokenizer."""
    folder = work / "clerk"
    if not (folder / "world" / "world.json").exists():
        world.run(world.TOOLS / "clerk", "world", "--out", folder / "world", "--seed", 1)
    if not (folder / "base" / "tokenizer.json").exists():
        world.run(world.TOOLS / "clerk", "train", "--world", folder / "world", "--out", folder / "base",
                  "--steps", 1, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "world", folder / "base"


def write(work, name, scalar=False, endless=False, shape=None):
    """A random checkpoint with the clerk's tokenizer. An endless one never writes the end."""
    import torch
    import transformers
    folder, base = work / name, clerk_files(work)[1]
    shape = shape or SHAPE
    if (folder / "model.safetensors").exists():
        return folder
    ids = json.loads((base / "config.json").read_text())
    config = transformers.LlamaConfig(
        vocab_size=shape["vocab"], hidden_size=shape["width"], intermediate_size=shape["mlp"],
        num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"], num_key_value_heads=shape["heads"],
        max_position_embeddings=1024, bos_token_id=None, eos_token_id=ids["eos_token_id"],
        pad_token_id=ids["pad_token_id"], tie_word_embeddings=not endless and not scalar, num_labels=1)
    torch.manual_seed(shape.get("seed", 1))
    model = (transformers.LlamaForSequenceClassification if scalar else transformers.LlamaForCausalLM)(config)
    if scalar:
        torch.nn.init.normal_(model.score.weight, std=(1 + shape["width"]) ** -0.5)
    if endless:  # logits of deviation 3, but 0 for the ends: one in 100,000 tokens
        with torch.no_grad():
            model.lm_head.weight.normal_(0, 3 * shape["width"] ** -0.5)
            model.lm_head.weight[[config.eos_token_id, config.pad_token_id]] = 0
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(base / file, folder)
    return folder


def lines(path, rows):
    path.write_text("".join(json.dumps({"item": i, **r}) + "\n" for i, r in enumerate(rows)))
    return str(path)


def learn(task, path, threads):
    """Runs a task of ours to its end, untimed."""
    path.write_text(json.dumps({"units": 1, "seed": 1, **task}))
    subprocess.run([str(world.TOOLS / "bench-learn"), str(path), "--threads", str(threads)], input="go\n", text=True,
                   check=True, stdout=subprocess.DEVNULL)


def chat(count, seed):
    """The clerk's [prompt, reply] pairs, among the documents that a base learns from."""
    found, at = [], 0
    while len(found) < count:
        out = subprocess.run([str(world.TOOLS / "clerk"), "corpus", "--seed", str(seed), "--from", str(at), "--count", "4000"],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
        documents = [json.loads(line) for line in out.splitlines()]
        found += [[m["text"] for m in d["messages"]] for d in documents if d["kind"] == "chat"]
        at += 4000
    return found[:count]


def clerk_model(work, threads):
    """One that has learned the clerk's language, and so how long its replies are."""
    out = work / "talker"
    if not (out / "model.safetensors").exists():
        rows = lines(work / "talk.jsonl", [{"messages": [{"role": "user", "text": a}, {"role": "assistant", "text": b}]}
                                           for a, b in chat(3200, 1)])
        learn({"kind": "sft", "init": str(write(work, "start")), "dataset": rows, "output": str(out),
               "options": {**OPTIMIZER, "lr": 1e-3, "schedule": "linear", "warmup": 0.1, "batch": 24, "epochs": 1}},
              work / "talk.json", threads)
    return out


def pm_model(work, name, threads):
    """A preference model as PPO takes it (with its normalisation), after one step."""
    out = work / (name + "-pm")
    if not (out / "0" / "reward.json").exists():
        pairs = lines(work / "few.jsonl", [{"messages": [{"role": "user", "text": a}], "a": b, "b": b[:len(b) // 2],
                                            "p": 1, "split": "train"} for a, b in chat(64, 2)])
        learn({"kind": "pm", "init": str(write(work, "head", scalar=True)), "dataset": pairs, "output": str(out),
               "options": {**OPTIMIZER, "batch": 64, "epochs": 1, "members": 1}}, work / "few.json", threads)
    return out / "0"


# ---- rows -------------------------------------------------------------------------------------

def probe(**request):
    """One answer of tests/parity/train_probe.c."""
    out = subprocess.run(["build/tests/parity/train-probe"], input=json.dumps(request) + "\n", text=True, check=True,
                         stdout=subprocess.PIPE).stdout
    answer = json.loads(out)
    if "error" in answer:
        raise SystemExit(answer["error"])
    return answer


def ids_of(folder, path, kind):
    return [r["seq"] for r in probe(op="rows", model=str(folder), dataset=path, kind=kind)["rows"]]


def text_of(r, sentences, median, most):
    """Sentences for about as many tokens as a log-normal draw says; σ 0.8, as conversations have."""
    want, out = min(most, r.lognormvariate(0, 0.8) * median), []
    while 1.4 * sum(len(x.split()) for x in out) < want:
        out.append(r.choice(sentences))
    return " ".join(out)


def supervised(kind, work, count):
    """(our dataset, the peer's rows, units, tokens of each sequence)."""
    r, talk = random.Random(3), chat(500, 3)
    sentences = [s + "." for _, b in talk for s in b.rstrip(".").split(". ")]
    rows, folder = [], write(work, "start")
    for i in range(count):
        ask = [{"role": "user", "text": r.choice(talk)[0]}]
        if kind == "sft":
            rows.append({"messages": ask + [{"role": "assistant", "text": text_of(r, sentences, 80, 480)}]})
        else:
            rows.append({"messages": ask, "a": text_of(r, sentences, 50, 300), "b": text_of(r, sentences, 50, 300),
                         "p": 1, "split": "train"})
    path = lines(work / f"{kind}.jsonl", rows)
    seqs = ids_of(folder, path, kind)
    lengths = [len(s["ids"]) for row in seqs for s in row]
    if kind == "sft":
        return path, [row[0] for row in seqs], sum(lengths), lengths
    return path, [[s["ids"] for s in row] for row in seqs], count, lengths


def prompt_ids(folder, path, asked):
    """Each prompt's ids up to where the reply begins."""
    whole = [{"messages": [{"role": "user", "text": p}, {"role": "assistant", "text": "x"}]} for p in asked]
    return [s[0]["ids"][:s[0]["from"]] for s in ids_of(folder, lines(path, whole), "sft")]


def prompts(work, exact):
    """The clerk's prompts, as our dataset and as ids; exact: ends of them, of PROMPT tokens."""
    asked = [p for p, _ in chat(1000, 4)]
    if exact:
        asked = sorted({" ".join(p.split()[-k:]) for p in asked for k in range(3, 8)})
    ids = prompt_ids(write(work, "start"), work / "asked.jsonl", asked)
    kept = [(p, i) for p, i in zip(asked, ids) if not exact or len(i) == PROMPT]
    kept *= -(-4 * BATCH // len(kept))  # TRL leaves out what does not fill a batch
    path = lines(work / f"prompts-{exact}.jsonl", [{"messages": [{"role": "user", "text": p}], "kind": "helpful"}
                                                   for p, _ in kept])
    return path, [i for _, i in kept]


# ---- what it costs ------------------------------------------------------------------------------

def forward(lengths, learned):
    """Operations of a forward pass: products with the layers' matrices, causal attention, and
    the head for the tokens that are learned."""
    s = SHAPE
    layer = 4 * s["width"] ** 2 + 3 * s["width"] * s["mlp"]
    return sum(2 * s["layers"] * (n * layer + s["width"] * n * n) for n in lengths) + 2 * learned * s["width"] * s["vocab"]


def operations(kind, lengths, learned):
    """Of one run: forward and twice that backward; for ppo a step's sampling, four models' numbers
    and four epochs of two models."""
    trunk, head = forward(lengths, 0), forward([], learned)
    if kind == "ppo":
        return (trunk + head) + (4 * trunk + 2 * head) + 4 * 3 * (2 * trunk + head)
    return 3 * (trunk + head)


# ---- the comparison ---------------------------------------------------------------------------

def write_case(work, name, task, peer):
    (work / f"{name}-task.json").write_text(json.dumps(task))
    (work / f"{name}-peer.json").write_text(json.dumps(peer))


def ours(work, name, dtype, a):
    path = work / f"{name}-{dtype}.json"
    task = json.loads((work / f"{name}-task.json").read_text())
    path.write_text(json.dumps({**task, "bfloat16": dtype == "bfloat16",
                                "options": {**task["options"], "train_dtype": dtype}}))
    return sides.Side(f"caid {dtype}", [str(world.TOOLS / "bench-learn"), str(path), "--threads", str(a.threads)])


def theirs(work, name, kind, layout, dtype):
    settings = json.dumps({"layout": layout, "dtype": dtype})
    return sides.Side(f"TRL {layout} {dtype}", [sys.executable, str(here / "peers.py"), kind,
                                                str(work / f"{name}-peer.json"), settings], stderr=subprocess.DEVNULL)


def run_case(work, name, kind, ops, units, a):
    """Looks for TRL's best layout, then for its best number format, then measures in turn."""
    print(" TRL's settings:", flush=True)
    if a.layout is None:
        layout = sides.fastest([(x, "float32") for x in LAYOUTS[kind]], lambda c: theirs(work, name, kind, *c))[0]
    else:
        layout = a.layout
    dtype = a.peer_dtype or sides.fastest([(layout, x) for x in DTYPES], lambda c: theirs(work, name, kind, *c))[1]
    own = a.dtype or sides.fastest([(x, "") for x in ("float32", "bfloat16")], lambda c: ours(work, name, c[0], a))[0]
    both = [ours(work, name, own, a), theirs(work, name, kind, layout, dtype)]
    sides.compare(both, a.runs, UNIT[kind], digits=1 if kind != "sft" else 0)
    sides.compare_memory(*both)
    rate = sides.median(both[0].rates) / units * ops
    limit = sides.products(a.threads, own == "bfloat16")
    print(f"caid does {rate / 1e9:,.0f} GFLOP/s of products ({ops / units / 1e6:,.1f} MFLOP a {UNIT[kind][:-1]}): {rate / limit:.0%} "
          f"of the {limit / 1e9:,.0f} that this machine does in one large product ({own}); "
          f"it reads {sides.bandwidth(a.threads) / 1e9:.0f} GB/s of memory", flush=True)


def bench_supervised(work, kind, a):
    batch = 32
    path, rows, units, lengths = supervised(kind, work, batch * a.steps)
    model = write(work, "start") if kind == "sft" else write(work, "head", scalar=True)
    learned = sum(len(r["ids"]) - r["from"] for r in rows) if kind == "sft" else 0
    options = {**OPTIMIZER, "batch": batch, "epochs": 1, **({"members": 1} if kind == "pm" else {})}
    task = {"kind": kind, "init": str(model), "dataset": path, "output": str(work / f"{kind}-out"), "options": options,
            "units": units, "seed": 1}
    peer = {"model": str(model), "rows": rows, "batch": batch, "lr": OPTIMIZER["lr"], "threads": a.threads, "units": units}
    lengths.sort()
    print(f"\n{kind}: {SHAPE['layers']} layers × {SHAPE['width']}, vocabulary {SHAPE['vocab']:,}, {a.steps} steps of {batch} "
          f"{'rows' if kind == 'sft' else 'pairs'}, sequences of {lengths[0]} – {lengths[-1]} tokens (median "
          f"{lengths[len(lengths) // 2]}), {a.threads} threads")
    write_case(work, kind, task, peer)
    run_case(work, kind, kind, operations(kind, lengths, learned), units, a)


def measured_lengths(work, name, task, a):
    """Of a step's replies, by the run's own figure."""
    answer = probe(op="train", **{**task, "options": {**task["options"], "steps": 1}})
    return answer["reports"][0]["length"]


def bench_ppo(work, case, a):
    full = case == "full"
    policy = write(work, "endless", endless=True) if full else clerk_model(work, a.threads)
    pm = pm_model(work, "any", a.threads)
    path, asked = prompts(work, full)
    tokens, steps = REPLY if full else 64, max(1, a.steps // 8)
    task = {"kind": "ppo", "init": str(policy), "reference": str(policy), "pm": str(pm), "dataset": path,
            "output": str(work / "ppo-out"), "units": BATCH * steps, "seed": 1,
            "options": {**PPO, "steps": steps, "rollouts": BATCH,
                        "rollout": {"temperature": 1, "top_p": 1, "max_tokens": tokens}}}
    peer = {"model": str(policy), "reference": str(policy), "pm": str(pm), "rows": asked, "batch": BATCH, "steps": steps,
            "lr": OPTIMIZER["lr"], "max_tokens": tokens, "ends": not full, "threads": a.threads, "units": BATCH * steps}
    mean = measured_lengths(work, case, task, a)
    prompt = sum(map(len, asked)) / len(asked)
    print(f"\nppo, {'all replies at full length' if full else 'replies as long as the clerk’s'}: {SHAPE['layers']} layers × "
          f"{SHAPE['width']}, vocabulary {SHAPE['vocab']:,}, {steps} steps of {BATCH} samples, prompts of {prompt:.1f} tokens "
          f"on average, replies of {mean:.1f} (at most {tokens}), 4 epochs of 1 minibatch, {a.threads} threads")
    write_case(work, case, task, peer)
    n = BATCH * steps
    ops = operations("ppo", [prompt + mean] * n, mean * n)
    run_case(work, case, "ppo", ops, n, a)


def bench_head(a):
    tokens, vocab = 4096, 151936
    out = subprocess.run([str(world.TOOLS / "bench-learn"), "head", "--threads", str(a.threads), "--tokens", str(tokens),
                          "--vocab", str(vocab)], stdout=subprocess.PIPE, text=True, check=True).stdout
    whole = tokens * vocab * 4
    print(f"\nhead: {tokens:,} tokens under a vocabulary of {vocab:,}: {int(out) / 1e6:,.0f} MB beyond inputs and their "
          f"gradients, {int(out) / whole:.1%} of the {whole / 1e6:,.0f} MB of whole logits")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("kind", choices=["sft", "pm", "ppo"])
    p.add_argument("--case", action="append", choices=["clerk", "full"], help="of ppo; both unless given")
    p.add_argument("--steps", type=int, default=24, help="of sft and pm in a run; ppo takes an eighth of them")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--dtype", choices=["float32", "bfloat16"], help="of ours; the faster unless given")
    p.add_argument("--layout", help="of TRL's; the fastest unless given")
    p.add_argument("--peer-dtype", choices=DTYPES, help="of TRL's; the fastest unless given")
    p.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".state/bench/learning"))
    a = p.parse_args()
    subprocess.run(["ninja", "-C", "build", "tools/bench-learn", "tools/clerk", "tests/parity/train-probe"], check=True,
                   stdout=subprocess.DEVNULL)
    work = a.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    print(sides.machine())
    if a.kind == "ppo":
        for case in a.case or ["clerk", "full"]:
            bench_ppo(work, case, a)
        return
    bench_supervised(work, a.kind, a)
    if a.kind == "sft":
        bench_head(a)


if __name__ == "__main__":
    main()
