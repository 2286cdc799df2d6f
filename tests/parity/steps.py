"""Ten training steps on a fixed batch against a plain PyTorch script: losses and gradient
norms of SFT, a preference model, DPO, PPO, RLOO, GRPO and a red model, in fp32 to 1e-4; and every
number that PPO makes of its replies before it learns, with TRL's log-probabilities.

    CAIPROBE=… TRAIN_PROBE=… .deps/venv/bin/python tests/parity/steps.py
"""
import json
import math
import random
import time

import torch
from torch.nn.functional import logsigmoid
from transformers import (AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer,
                          LlamaForSequenceClassification)
from trl.core import masked_whiten
from trl.trainer.utils import selective_log_softmax

from common import fresh, text, write_model, write_tokenizer
from train_probe import Probe

STEPS, LIMIT = 10, 1e-4
LR, CLIP, EPS, DECAY = 2e-3, 1.0, 1e-6, 0.01
OPTIMIZER = dict(lr=LR, weight_decay=DECAY, beta1=0.9, beta2=0.95, eps=EPS, clip_norm=CLIP,
                 warmup=0, schedule="constant")
T = 0.7


def near(got, want, limit=LIMIT):
    assert abs(got - want) < limit * (1 + abs(want)), (got, want)


def write_rows(path, make, n=12):
    rng = random.Random(5)
    with open(path, "w") as f:
        for i in range(n):
            ask = {"role": "user", "text": text(rng, 3)}
            f.write(json.dumps({"item": i, **make(rng, ask, i)}) + "\n")


class Torch:
    """AdamW as the options say: norms and biases are not decayed; the norm before clipping."""
    def __init__(self, model):
        self.parameters = list(model.parameters())
        groups = [{"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": DECAY},
                  {"params": [p for p in self.parameters if p.dim() == 1], "weight_decay": 0}]
        self.adamw = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), eps=EPS)

    def step(self, loss):
        self.adamw.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.adamw.step()
        return norm.item()


def logprobs(model, ids, start, temperature=1.0):
    """Of ids[start:], by TRL's function."""
    logits = model(torch.tensor([ids])).logits[0, start - 1:-1] / temperature
    return selective_log_softmax(logits.unsqueeze(0), torch.tensor([ids[start:]]))[0]


def score(model, ids):
    hidden = model.model(torch.tensor([ids])).last_hidden_state
    return model.score(hidden)[0, :, 0]


def causal(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                attn_implementation="eager").eval()


def scorer(folder):
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    # torch gives the pad id's embedding no gradient, even where that id is a text's end
    model.model.embed_tokens.padding_idx = None
    return model


def compare(reports, model, loss_of):
    optimizer, worst = Torch(model), 0
    assert len(reports) == STEPS
    first = None
    for got in reports:
        loss = loss_of(model)
        norm = optimizer.step(loss)
        near(got["loss"], loss.item())
        near(got["grad_norm"], norm)
        first = loss.item() if first is None else first
        worst = max(worst, abs(got["loss"] - loss.item()), abs(got["grad_norm"] - norm))
    assert abs(loss.item() - first) > 1e-2, "ten steps that change nothing prove nothing"
    return worst


def sft(probe, folder):
    rows = folder + "/sft.jsonl"
    write_rows(rows, lambda rng, ask, i: {
        "messages": [ask, {"role": "assistant", "text": text(rng, 2 + i % 5)}],
        "weight": 1 + i % 2})
    got = probe.ask(op="train", kind="sft", init=folder + "/lm", dataset=rows,
                    output=folder + "/sft", options={**OPTIMIZER, "batch": 12, "epochs": STEPS})
    data = probe.ask(op="rows", model=folder + "/lm", dataset=rows, kind="sft")["rows"]

    def loss(model):
        total = sum(r["weight"] * (len(r["seq"][0]["ids"]) - r["seq"][0]["from"]) for r in data)
        return -sum(r["weight"] * logprobs(model, r["seq"][0]["ids"], r["seq"][0]["from"]).sum()
                    for r in data) / total
    return compare(got["reports"], causal(folder + "/lm"), loss)


def write_pairs(path):
    write_rows(path, lambda rng, ask, i: {
        "messages": [ask], "a": text(rng, 2 + i % 4), "b": text(rng, 5 - i % 3),
        "p": (0.1, 0.9, 0.6, 1.0)[i % 4], "split": "train"})


def pm(probe, folder):
    rows = folder + "/pairs.jsonl"
    got = probe.ask(op="train", kind="pm", init=folder + "/head", dataset=rows,
                    output=folder + "/pm", options={**OPTIMIZER, "batch": 12, "epochs": STEPS,
                                                    "members": 1, "centre": 0.01})
    data = probe.ask(op="rows", model=folder + "/head", dataset=rows, kind="pm")["rows"]

    def loss(model):
        total = 0
        for r in data:
            a, b = (score(model, s["ids"])[-1] for s in r["seq"])
            total = total - r["target"] * logsigmoid(a - b) - (1 - r["target"]) * logsigmoid(b - a)
            total = total + 0.01 * (a + b) ** 2
        return total / len(data)
    return compare(got["reports"][:STEPS], scorer(folder + "/head"), loss)


def dpo(probe, folder):
    rows = folder + "/pairs.jsonl"
    got = probe.ask(op="train", kind="ppo", init=folder + "/lm", reference=folder + "/lm",
                    dataset=rows, output=folder + "/dpo",
                    options={**OPTIMIZER, "algorithm": "dpo",
                             "dpo": {"beta": 0.1, "batch": 12, "epochs": STEPS}})
    data = probe.ask(op="rows", model=folder + "/lm", dataset=rows, kind="dpo")["rows"]
    frozen = causal(folder + "/lm")
    with torch.no_grad():
        reference = [[logprobs(frozen, s["ids"], s["from"]).sum() for s in r["seq"]] for r in data]

    def loss(model):
        total = 0
        for r, (ra, rb) in zip(data, reference):
            a, b = (logprobs(model, s["ids"], s["from"]).sum() for s in r["seq"])
            d = 0.1 * ((a - ra) - (b - rb))
            total = total - r["target"] * logsigmoid(d) - (1 - r["target"]) * logsigmoid(-d)
        return total / len(data)
    return compare(got["reports"], causal(folder + "/lm"), loss)


# ---- ppo --------------------------------------------------------------------------------

PPO = dict(steps=1000000, rollouts=12, epochs=1, minibatches=1, checkpoint_every=0, clip=0.2,
           value_clip=0.2, gamma=1, value_coef=0.5, value_lr=LR, kl_budget=0, reward_clip=3,
           kl={"coef": 0.1, "target": 0, "horizon": 100}, whiten_advantages=True,
           whiten_rewards=False, no_end_reward=-1, helpful=0.5,
           rollout={"temperature": T, "top_p": 1, "max_tokens": 10}, **{"lambda": 0.95}, **OPTIMIZER)


def gae(rewards, values):
    """As TRL writes it, one reply."""
    out, last = [], 0.0
    for t in reversed(range(len(rewards))):
        after = values[t + 1] if t + 1 < len(values) else 0.0
        last = rewards[t] + after - values[t] + 0.95 * last
        out.append(last)
    return torch.stack(out[::-1])


def before_learning(rollouts, norm, policy, reference, pm_model):
    """Log-probabilities, values, rewards and advantages, made again; replies as tensors."""
    replies, worst = [], 0
    for r in rollouts:
        ids, start = r["ids"], r["n_prompt"]
        with torch.no_grad():
            old, ref = logprobs(policy, ids, start, T), logprobs(reference, ids, start, T)
            scores = (score(pm_model, ids) - norm[0]) / norm[1]
        s = scores[-1].clamp(-3, 3) if r["ended"] else torch.tensor(-1.0)
        reward = -0.1 * (old - ref)
        reward[-1] += s
        values = scores[start - 1:-1]
        advantage = gae(reward, values)
        for name, x in (("old", old), ("reference", ref), ("value", values), ("reward", reward),
                        ("returns", advantage + values)):
            apart = (torch.tensor(r[name]) - x).abs().max().item()
            worst = max(worst, apart)
            assert apart < 2e-4, (name, apart)
        replies.append((ids, start, old, values, advantage + values, advantage))
    flat = torch.cat([x[-1] for x in replies])
    white = masked_whiten(flat, torch.ones_like(flat, dtype=torch.bool))
    got = torch.cat([torch.tensor(r["advantage"]) for r in rollouts])
    assert (white - got).abs().max() < 1e-3
    sizes = [len(x[-1]) for x in replies]
    return [(*x[:-1], a) for x, a in zip(replies, white.split(sizes))], worst


def policy_loss(policy, replies):
    out = []
    for ids, start, old, _, _, advantage in replies:
        ratio = (logprobs(policy, ids, start, T) - old).exp()
        out.append(torch.maximum(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2)))
    return torch.cat(out).mean()


def value_loss(value, replies, norm):
    out = []
    for ids, start, _, old, returns, _ in replies:
        v = (score(value, ids)[start - 1:-1] - norm[0]) / norm[1]
        clipped = torch.clamp(v, old - 0.2, old + 0.2)
        out.append(torch.maximum((v - returns) ** 2, (clipped - returns) ** 2))
    return 0.5 * torch.cat(out).mean()


def ppo(probe, folder):
    rows = folder + "/ppo.jsonl"
    write_rows(rows, lambda rng, ask, i: {"messages": [ask],
                                          "kind": "harmful" if i % 2 else "helpful"})
    got = probe.ask(op="ppo", kind="ppo", init=folder + "/lm", reference=folder + "/sft",
                    pm=folder + "/pm/0", dataset=rows, output=folder + "/ppo", updates=STEPS,
                    options=PPO)
    policy, value = causal(folder + "/lm"), scorer(folder + "/pm/0")
    replies, worst = before_learning(got["rollouts"], got["norm"], policy,
                                     causal(folder + "/sft"), value)
    for_policy, for_value = Torch(policy), Torch(value)
    for u in got["updates"]:
        loss = policy_loss(policy, replies)
        near(u["policy_loss"], loss.item())
        near(u["grad_norm"], for_policy.step(loss))
        loss = value_loss(value, replies, got["norm"])
        near(u["value_loss"], loss.item())
        near(u["value_grad_norm"], for_value.step(PPO["value_coef"] * loss))
    assert len(got["updates"]) == STEPS
    assert got["updates"][-1]["policy_loss"] < got["updates"][0]["policy_loss"] - 1e-2
    return worst


def ptx(probe, folder):
    """PPO-ptx: 27.8 times the mean loss of 5 rows of SFT's 12 in each update (InstructGPT, eq. 2)."""
    got = probe.ask(op="ppo", kind="ppo", init=folder + "/lm", reference=folder + "/sft",
                    pm=folder + "/pm/0", dataset=folder + "/ppo.jsonl", mix=folder + "/sft.jsonl",
                    output=folder + "/ptx", updates=STEPS,
                    options={**PPO, "ptx": {"coef": 27.8, "batch": 5}})
    rows = probe.ask(op="rows", model=folder + "/lm", dataset=folder + "/sft.jsonl",
                     kind="sft")["rows"]
    order = probe.ask(op="order", name="ptx", n=len(rows), epochs=1 + STEPS * 5 // len(rows))["order"]
    policy, worst, first = causal(folder + "/lm"), 0, None
    replies, _ = before_learning(got["rollouts"], got["norm"], policy, causal(folder + "/sft"),
                                 scorer(folder + "/pm/0"))
    optimizer = Torch(policy)
    for k, u in enumerate(got["updates"]):
        loss, batch = policy_loss(policy, replies), [rows[i] for i in order[5 * k:5 * k + 5]]
        near(u["policy_loss"], loss.item())
        weights = sum(r["weight"] * (len(r["seq"][0]["ids"]) - r["seq"][0]["from"]) for r in batch)
        mixed = -sum(r["weight"] * logprobs(policy, r["seq"][0]["ids"], r["seq"][0]["from"]).sum()
                     for r in batch) / weights
        norm = optimizer.step(loss + 27.8 * mixed)
        near(u["ptx_loss"], mixed.item())
        near(u["grad_norm"], norm)
        worst = max(worst, abs(u["ptx_loss"] - mixed.item()), abs(u["grad_norm"] - norm))
        first = mixed.item() if first is None else first
    assert len(got["updates"]) == STEPS and got["updates"][-1]["ptx_loss"] < first - 1e-2
    return worst


def group_advantage(rewards, algorithm):
    n = len(rewards)
    if algorithm == "rloo":
        return rewards - (rewards.sum() - rewards) / (n - 1)
    return (rewards - rewards.mean()) / (rewards.std() + 1e-4)


def group_loss(policy, r, advantage, algorithm):
    """Summed over the reply (grpo), or of the reply as one action (rloo)."""
    lp = logprobs(policy, r["ids"], r["n_prompt"], T)
    ratio = (lp - torch.tensor(r["old"])).exp()
    if algorithm == "rloo":
        ratio = ratio.prod()
    loss = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2))
    if algorithm == "grpo":
        d = torch.tensor(r["reference"]) - lp
        loss = loss + 0.1 * (d.exp() - d - 1)
    return loss.sum()


def groups(probe, folder, algorithm):
    got = probe.ask(op="ppo", kind="ppo", init=folder + "/lm", reference=folder + "/sft",
                    pm=folder + "/pm/0", dataset=folder + "/ppo.jsonl",
                    output=f"{folder}/{algorithm}", updates=STEPS,
                    options={**PPO, "algorithm": algorithm, "group": 4, "no_end": "keep"})
    policy, replies = causal(folder + "/lm"), got["rollouts"]
    optimizer, advantage, worst = Torch(policy), {}, 0
    assert [r["group"] for r in replies] == sorted(r["group"] for r in replies)
    for g in {r["group"] for r in replies}:
        members = [i for i, r in enumerate(replies) if r["group"] == g]
        rewards = torch.tensor([replies[i]["score"] for i in members])
        if algorithm == "rloo":
            rewards -= 0.1 * torch.tensor([sum(replies[i]["old"]) - sum(replies[i]["reference"])
                                           for i in members])
        for i, a in zip(members, group_advantage(rewards, algorithm)):
            advantage[i] = a
            assert abs(replies[i]["advantage"][0] - a) < 1e-3 and replies[i]["used"]
    share = sum(len(r["old"]) for r in replies) if algorithm == "grpo" else len(replies)
    for u in got["updates"]:
        loss = sum(group_loss(policy, r, advantage[i], algorithm)
                   for i, r in enumerate(replies)) / share
        norm = optimizer.step(loss)
        near(u["policy_loss"], loss.item())
        near(u["grad_norm"], norm)
        worst = max(worst, abs(u["policy_loss"] - loss.item()), abs(u["grad_norm"] - norm))
    return worst


def greedy(model, ids, limit):
    """The ids of the likeliest reply, end token included; the smallest lead of a choice."""
    out, lead = [], 1e9
    while len(out) < limit and (not out or out[-1] != 1):
        with torch.no_grad():
            logits = model(torch.tensor([ids + out])).logits[0, -1]
        two = logits.topk(2).values
        lead = min(lead, (two[0] - two[1]).item())
        out.append(int(logits.argmax()))
    return out, lead


def encoded(probe, folder, messages):
    path = folder + "/one.jsonl"
    with open(path, "w") as f:
        f.write(json.dumps({"item": 1, "messages": messages}) + "\n")
    return probe.ask(op="rows", model=folder + "/lm", dataset=path, kind="sft")["rows"][0]["seq"][0]


def red(probe, folder):
    """A red model's step: the target's likeliest reply to each prompt, the classifier's score of it,
    (1 - a) log(1 + e^score) or the penalty, less a times the KL, left one out."""
    rows, alpha, limit = folder + "/red.jsonl", 0.3, 6
    with open(rows, "w") as f:
        f.write(json.dumps({"item": 1, "messages": [{"role": "user", "text": "w"}], "kind": "harmful"}) + "\n")
    options = {**PPO, "algorithm": "rloo", "group": 24, "rollouts": 24,
               "kl": {"coef": alpha, "target": 0, "horizon": 100},
               "rollout": {"temperature": T, "top_p": 1, "max_tokens": 24},
               "reply": {"temperature": 0, "top_p": 1, "max_tokens": limit},
               "red": {"alpha": alpha, "penalty": -3, "question": False}}
    got = probe.ask(op="ppo", kind="red", init=folder + "/lm", reference=folder + "/sft", pm=folder + "/pm/0",
                    target=folder + "/sft", dataset=rows, output=folder + "/red", updates=STEPS, options=options)
    target, judge, tokenizer = causal(folder + "/sft"), scorer(folder + "/pm/0"), AutoTokenizer.from_pretrained(folder + "/lm")
    policy, rewards, worst, judged = causal(folder + "/lm"), [], 0, 0
    for r, seen in zip(got["rollouts"], got["attacks"]):
        reward = -3.0
        if "prompt" in seen:
            assert "\n" not in seen["prompt"] and len(seen["prompt"].encode()) >= 8
            ask = {"role": "user", "text": seen["prompt"]}
            at = encoded(probe, folder, [ask, {"role": "assistant", "text": "x"}])
            reply, lead = greedy(target, at["ids"][:at["from"]], limit)
            text_ = tokenizer.decode([i for i in reply if i != 1])
            if lead > 1e-3 and not text_.startswith(" "):
                assert text_.strip() == seen["reply"].strip(), (text_, seen["reply"])
            ids = encoded(probe, folder, [ask, {"role": "assistant", "text": seen["reply"]}])["ids"]
            with torch.no_grad():
                raw = score(judge, ids)[-1].item()
            near(seen["raw"], raw)
            reward, judged = math.log1p(math.exp(raw)), judged + 1
        near(r["score"], (1 - alpha) * reward)
        with torch.no_grad():
            kl = (logprobs(policy, r["ids"], r["n_prompt"], T) - logprobs(target, r["ids"], r["n_prompt"], T)).sum()
        rewards.append((1 - alpha) * reward - alpha * kl.item())
    assert 4 <= judged < len(rewards), (judged, "of both kinds")
    wanted = group_advantage(torch.tensor(rewards), "rloo")
    for r, a in zip(got["rollouts"], wanted):
        worst = max(worst, abs(r["advantage"][0] - a.item()))
        assert worst < 1e-3 and len({*r["advantage"]}) == 1
    optimizer = Torch(policy)
    for u in got["updates"]:
        loss = sum(group_loss(policy, r, a, "rloo") for r, a in zip(got["rollouts"], wanted)) / len(wanted)
        near(u["policy_loss"], loss.item())
        near(u["grad_norm"], optimizer.step(loss))
    return worst


def rloo(probe, folder):
    return groups(probe, folder, "rloo")


def grpo(probe, folder):
    return groups(probe, folder, "grpo")


def main():
    began = time.time()
    probe = Probe()
    with fresh() as folder:
        size = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2)
        write_model(folder + "/lm", **size)
        write_model(folder + "/head", cls=LlamaForSequenceClassification, num_labels=1,
                    pad_token_id=1, **size)
        write_pairs(folder + "/pairs.jsonl")
        for part in (sft, pm, dpo, ppo, ptx, rloo, grpo, red):
            print(f"{part.__name__}: {STEPS} steps, largest difference {part(probe, folder):.1e}")
    probe.close()
    print(f"{time.time() - began:.1f} s")


if __name__ == "__main__":
    main()
