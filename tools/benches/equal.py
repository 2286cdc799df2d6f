"""Whether ours and TRL 0.24 learn the same from the same, on one thread:

  pm, sft   tiny models trained on the clerk's pairs and conversations by both: same start, rows,
            batches, order and settings in fp32. The first ten losses of every seed side by side,
            and accuracy (pm) or loss (sft) on what was held out: the mean difference over
            seeds with its 90 % interval, which has to lie within 1 point (pm), 1 % (sft)
  ppo       the clerk's base under one preference model by our PPO and TRL's PPOTrainer with the
            same settings, their own random draws: the preference model's mean score at fixed KL
            from the base, over seeds

Every seed is kept in the work folder, so that an interrupted bench goes on. The base of the clerk's
world is made if --given has none (world-N and base-N, as `tools/bench loop` leaves them)."""
import argparse
import functools
import json
import math
import pathlib
import random
import subprocess
import sys
from statistics import mean, stdev

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here))
import learning
import world

TINY = dict(layers=2, width=64, heads=4, mlp=176, vocab=704)
BATCH, ROWS, EPOCHS, NOISE = 32, 2240, 2, 0.2
HELD_OUT = {"pm": 6000, "sft": 5000}
OPTIMIZER = dict(learning.OPTIMIZER, lr=1e-3, schedule="linear")
POINTS = [0.5, 1, 2, 4]  # nats of KL to the base, summed over a reply
SMOOTH = 5               # steps that a point of a curve is the mean of
T90 = [6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753,
       1.746, 1.740, 1.734, 1.729, 1.725]  # Student's t, both tails, 1 to 20 degrees of freedom


def interval(values):
    """(mean, low, high) of 90 %, by Student's t over seeds."""
    m, n = mean(values), len(values)
    if n < 2:
        return m, math.nan, math.nan
    half = T90[min(n - 1, len(T90)) - 1] * stdev(values) / math.sqrt(n)
    return m, m - half, m + half


# ---- supervised ------------------------------------------------------------------------------

def oracle_pairs(work, seed):
    """Another world's pairs: [prompt, better, worse]."""
    folder = work / f"pairs-{seed}"
    if not (folder / "world.json").exists():
        world.run(world.TOOLS / "clerk", "world", "--out", folder, "--seed", seed)
    return [[p["prompt"], p["chosen"], p["rejected"]] for p in world.lines(folder / "pairs.jsonl")]


def rows_of(kind, work, seed, held_out):
    """Rows as our datasets hold them; a share of the pairs to learn from is turned about, so that
    there is something to get wrong."""
    n = HELD_OUT[kind] if held_out else ROWS
    if kind == "sft":
        return [{"messages": [{"role": "user", "text": a}, {"role": "assistant", "text": b}]}
                for a, b in learning.chat(n, 999 if held_out else seed)]
    r, pairs = random.Random(seed), []
    for k in range(math.ceil(n / 2250)):
        pairs += oracle_pairs(work, 900 + k if held_out else 100 + seed)
    r.shuffle(pairs)
    turned = [not held_out and r.random() < NOISE for _ in pairs]
    return [{"messages": [{"role": "user", "text": p}], "a": b if t else a, "b": a if t else b, "p": 1, "split": "train"}
            for (p, a, b), t in zip(pairs[:n], turned)]


def padded(rows, pad):
    """ids [n, longest] and mask of some rows."""
    import torch
    longest = max(map(len, rows))
    ids = torch.tensor([r + [pad] * (longest - len(r)) for r in rows])
    return ids, torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])


def accuracy(model, pairs):
    import torch
    right, pad = 0.0, model.config.pad_token_id
    for at in range(0, len(pairs), 200):
        some = pairs[at:at + 200]
        with torch.inference_mode():
            scores = []
            for side in (0, 1):
                ids, mask = padded([s[side]["ids"] for s in some], pad)
                scores.append(model(input_ids=ids, attention_mask=mask).logits[:, 0])
        right += ((scores[0] > scores[1]).double() + 0.5 * (scores[0] == scores[1])).sum().item()
    return right / len(pairs)


def loss(model, rows):
    """Mean over the learned tokens of all rows."""
    import torch
    total, count = 0.0, 0
    for at in range(0, len(rows), 100):
        some = [s[0] for s in rows[at:at + 100]]
        ids, mask = padded([s["ids"] for s in some], model.config.pad_token_id)
        begin = torch.tensor([s["from"] for s in some]).unsqueeze(1)
        learned = (mask[:, 1:] > 0) & (torch.arange(1, ids.shape[1]) >= begin)
        with torch.inference_mode():
            logprob = model(input_ids=ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)
        total -= logprob.gather(2, ids[:, 1:, None])[..., 0][learned].sum().item()
        count += learned.sum().item()
    return total / count


def supervised(kind, work, seed):
    """One seed by both: the first ten losses, and what each is worth on the held-out rows."""
    import peers
    peers.torch.set_num_threads(1)
    start = learning.write(work, f"{kind}-start-{seed}", scalar=kind == "pm", shape=dict(TINY, seed=seed))
    train = learning.lines(work / f"{kind}-train-{seed}.jsonl", rows_of(kind, work, seed, False))
    held = learning.lines(work / f"{kind}-held-{seed}.jsonl", rows_of(kind, work, seed, True))
    out = work / f"{kind}-out-{seed}"
    reports = learning.probe(op="train", kind=kind, seed=seed, init=str(start), dataset=train, output=str(out), options={
        **OPTIMIZER, "batch": BATCH, "epochs": EPOCHS, **({"members": 1} if kind == "pm" else {})})["reports"]
    rows = learning.ids_of(start, train, kind)
    rows = [r[0] for r in rows] if kind == "sft" else [[s["ids"] for s in r] for r in rows]
    order = learning.probe(op="order", name=kind, seed=seed, n=len(rows), epochs=EPOCHS)["order"]
    trainer = (peers.sft if kind == "sft" else peers.pm)(
        {"model": str(start), "rows": [rows[i] for i in order], "batch": BATCH, "lr": OPTIMIZER["lr"],
         "schedule": "linear", "dtype": "float32", "seed": seed}, ordered=True)
    trainer.train()
    test, measure = learning.ids_of(start, held, kind), accuracy if kind == "pm" else loss
    mine = (peers.scorer if kind == "pm" else peers.causal)(str(out / "0" if kind == "pm" else out), {}).eval()
    return {"ours": measure(mine, test), "theirs": measure(trainer.model.eval(), test), "held_out": len(test),
            "steps": len(trainer.losses), "losses": [[r["loss"] for r in reports[:10]], trainer.losses[:10]]}


def report_supervised(kind, found):
    apart = [max(abs(a - b) for a, b in zip(*f["losses"])) for f in found]
    first = found[0]
    print(f"\n{kind}: {TINY['layers']} layers × {TINY['width']}, {first['steps']} steps of {BATCH}, {len(found)} seeds, "
          f"{first['held_out']:,} held out, fp32")
    print(f"  first ten losses: at most {max(apart):.1e} apart (limit 1e-4: {'held' if max(apart) < 1e-4 else 'BROKEN'})")
    ours, theirs = ([f[side] for f in found] for side in ("ours", "theirs"))
    if kind == "pm":
        unit, differences = "points", [100 * (a - b) for a, b in zip(ours, theirs)]
    else:
        unit, differences = "%", [100 * (a / b - 1) for a, b in zip(ours, theirs)]
    m, low, high = interval(differences)
    print(f"  {'accuracy' if kind == 'pm' else 'loss'} on what was held out: ours {mean(ours):.4f} ({min(ours):.4f} – {max(ours):.4f}), "
          f"TRL {mean(theirs):.4f} ({min(theirs):.4f} – {max(theirs):.4f})")
    print(f"  difference {m:+.3f} {unit}, 90 % interval {low:+.3f} to {high:+.3f} "
          f"(limit ± 1: {'too few seeds' if len(found) < 2 else 'held' if -1 < low and high < 1 else 'BROKEN'})")


# ---- ppo ----------------------------------------------------------------------------------------

def preference_model(work, n, folder, base):
    """Trained on the world's oracle pairs, as PPO takes it."""
    out = work / f"ppo-pm-{n}"
    if not (out / "0" / "reward.json").exists():
        rows = learning.lines(work / f"ppo-pairs-{n}.jsonl", [
            {"messages": [{"role": "user", "text": p["prompt"]}], "a": p["chosen"], "b": p["rejected"], "p": 1, "split": "train"}
            for p in world.lines(folder / "pairs.jsonl")])
        learning.probe(op="train", kind="pm", init=str(base), dataset=rows, output=str(out), options={
            **OPTIMIZER, "batch": BATCH, "epochs": 1, "members": 1})
    return out / "0"


def given_base(work, given, n):
    """(world, base) of seed n: the given ones, or made here."""
    if given and (given / f"base-{n}" / "model.safetensors").exists():
        return given / f"world-{n}", given / f"base-{n}"
    return world.base(work, n)


def ppo(work, seed, a):
    """One seed by both: [[KL, score] of every step]."""
    import peers
    peers.torch.set_num_threads(1)
    folder, base = given_base(work, a.given, a.world)
    pm, tokens = preference_model(work, a.world, folder, base), 64
    asked = [(kind, row["prompt"]) for kind, file in (("harmful", "red"), ("helpful", "helpful"))
             for row in world.lines(folder / f"{file}.jsonl")]
    path = learning.lines(work / f"ppo-prompts-{seed}.jsonl", [
        {"messages": [{"role": "user", "text": p}], "kind": kind} for kind, p in asked])
    task = dict(kind="ppo", seed=seed, init=str(base), reference=str(base), pm=str(pm), dataset=path,
                output=str(work / f"ppo-out-{seed}"),
                options={**learning.PPO, "lr": a.lr, "value_lr": a.lr, "clip_norm": 0, "helpful": 0.5,
                         "steps": a.steps, "rollouts": learning.BATCH,
                         "rollout": {"temperature": 1, "top_p": 1, "max_tokens": tokens}})
    reports = learning.probe(op="train", **task)["reports"]
    trainer = peers.ppo({"model": str(base), "reference": str(base), "pm": str(pm), "batch": learning.BATCH, "lr": a.lr,
                         "rows": learning.prompt_ids(base, work / f"ppo-asked-{seed}.jsonl", [p for _, p in asked]),
                         "steps": a.steps, "max_tokens": tokens, "ends": True, "seed": seed})
    curve = []
    trainer.log = lambda m, *_: curve.append([m["objective/kl"], m["objective/scores"]])
    trainer.train()
    return {"ours": [[r["kl"], r["raw_score"]] for r in reports], "theirs": curve}


def at(curve, kl):
    """The score where the smoothed KL first reaches `kl`; None if it never does."""
    smooth = [[mean(x) for x in zip(*curve[i:i + SMOOTH])] for i in range(len(curve) - SMOOTH + 1)]
    for (k0, s0), (k1, s1) in zip(smooth, smooth[1:]):
        if k0 < kl <= k1:
            return s0 + (s1 - s0) * (kl - k0) / (k1 - k0)
    return None


def report_ppo(found, a):
    print(f"\nppo: the clerk's base of seed {a.world}, {a.steps} steps of {learning.BATCH} replies, 4 epochs of 1 minibatch, "
          f"lr {a.lr:g}, KL 0.05, {len(found)} seeds; the preference model's mean score at a KL (nats a reply)")
    begin = [mean(f[side][0][1] for f in found) for side in ("ours", "theirs")]
    print(f"  at the start: ours {begin[0]:.3f}, TRL {begin[1]:.3f}")
    for kl in POINTS:
        both = [(at(f["ours"], kl), at(f["theirs"], kl)) for f in found]
        both = [b for b in both if None not in b]
        if not both:
            print(f"  KL {kl:<4} not reached by both")
            continue
        ours, theirs = zip(*both)
        m, low, high = interval([x - y for x, y in both])
        print(f"  KL {kl:<4} ours {mean(ours):.3f} ({min(ours):.3f} – {max(ours):.3f}), TRL {mean(theirs):.3f} "
              f"({min(theirs):.3f} – {max(theirs):.3f}), difference {m:+.3f} (90 %: {low:+.3f} to {high:+.3f}), {len(both)} seeds")
    end = [[f[side][-1] for f in found] for side in ("ours", "theirs")]
    print("  at the end (KL, score): " + "; ".join(
        f"{name} " + ", ".join(f"({k:.2f}, {s:.3f})" for k, s in e) for name, e in zip(("ours", "TRL"), end)))


# ---- seeds ----------------------------------------------------------------------------------------

def kept(work, which, seed):
    return work / f"{which}-{seed}.json"


def one(work, which, seed, a):
    found = ppo(work, seed, a) if which == "ppo" else supervised(which, work, seed)
    part = kept(work, which, seed).with_suffix(".part")
    part.write_text(json.dumps(found))
    part.rename(kept(work, which, seed))


def elsewhere(work, which, seed, a):
    """A seed in a process of its own; done already: nothing."""
    if kept(work, which, seed).exists():
        return
    subprocess.run([sys.executable, __file__, which, "--one", str(seed), "--work", str(work), "--steps", str(a.steps),
                    "--lr", str(a.lr), "--world", str(a.world), *(["--given", str(a.given)] if a.given else [])],
                   check=True, stdout=subprocess.DEVNULL)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("which", nargs="*", default=["pm", "sft", "ppo"], help="pm, sft, ppo")
    p.add_argument("--seeds", type=int, help="10 of pm and sft, 3 of ppo, unless given")
    p.add_argument("--steps", type=int, default=40, help="of ppo")
    p.add_argument("--lr", type=float, default=2e-4, help="of ppo")
    p.add_argument("--world", type=int, default=1, help="of ppo: the world's seed")
    p.add_argument("--given", type=lambda x: pathlib.Path(x).resolve(), help="folder with world-N and base-N")
    p.add_argument("--work", type=lambda x: pathlib.Path(x).resolve(), default=".state/bench/equal")
    p.add_argument("--one", type=int, help=argparse.SUPPRESS)
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    if a.one is not None:
        return one(a.work, a.which[0], a.one, a)
    subprocess.run(["ninja", "-C", "build", "tools/clerk", "tests/parity/train-probe"], check=True, stdout=subprocess.DEVNULL)
    learning.clerk_files(a.work)
    for which in a.which:
        seeds = range(1, 1 + (a.seeds or (3 if which == "ppo" else 10)))
        if which == "ppo":  # what all seeds share
            preference_model(a.work, a.world, *given_base(a.work, a.given, a.world))
        world.side_by_side([functools.partial(elsewhere, a.work, which, s, a) for s in seeds])
        found = [json.loads(kept(a.work, which, s).read_text()) for s in seeds]
        report_ppo(found, a) if which == "ppo" else report_supervised(which, found)


if __name__ == "__main__":
    main()
