"""Training against torch: gradients of every family's parameters, graphs kept and layers
run again; LoRA adapters trained here, opened by PEFT, and the other way round; scores.

    CAIPROBE=… MODEL_PROBE=… .deps/venv/bin/python tests/parity/training.py [gradients|adapters|scores] [FAMILY…]
"""
import json
import os
import random
import subprocess
import sys
import time

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

from common import fresh, probe, random_ids
from families import KINDS, classes, write_family

SAMPLE = ("llama, llama3", "smollm3", "mistral", "qwen2, mixed windows", "qwen3", "gemma2", "gemma3",
          "phi3, long", "olmo2", "gpt2", "gpt_neox")


class Model:
    """One model_probe process."""
    def __init__(self):
        self.process = subprocess.Popen([os.environ["MODEL_PROBE"]], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def answer(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def ask(self, **request):
        answer = self.answer(**request)
        assert "error" not in answer, answer
        return answer

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


def loss_of(model, rows):
    """Mean over all rows' tokens but the first of each."""
    total = sum(len(r) - 1 for r in rows)
    parts = []
    for r in rows:
        logits = model(torch.tensor([r])).logits[0, :-1].float()
        parts.append(torch.nn.functional.cross_entropy(logits, torch.tensor(r[1:]),
                                                       reduction="sum") / total)
    return sum(parts)


def compare(got, want):
    """Largest difference, in units of the largest gradient of its tensor."""
    worst = 0.0
    for name, g in want.items():
        scale = g.abs().max().item() + 1e-8
        worst = max(worst, (got.pop(name) - g).abs().max().item() / scale)
    assert not got, list(got)
    return worst


def gradients(model_probe, kind):
    rng = random.Random(9)
    with fresh() as folder:
        model = write_family(folder, kind)
        rows = [random_ids(rng, n) for n in (50, 23, 2)]
        loss = loss_of(model, rows)
        loss.backward()
        want = {n: p.grad for n, p in model.named_parameters()}
        for recompute in (False, True):
            to = f"{folder}/{recompute}"
            answer = model_probe.ask(op="gradient", model=folder, rows=rows, recompute=recompute,
                                     to=to)
            assert abs(answer["loss"] - loss.item()) < 1e-5, (answer, loss)
            apart = compare(load_file(to + "/model.safetensors"), want)
            assert apart < 2e-4, (kind, recompute, apart)
    return apart


ADAPTERS = {  # kind: target modules
    "llama": ["q_proj", "v_proj"],
    "qwen2": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "gemma2": ["all-linear"],
    "phi3": ["qkv_proj", "gate_up_proj", "down_proj"],
    "olmo2": ["self_attn.o_proj", "up_proj"],
    "gpt2": ["c_attn", "mlp.c_proj"],
    "gpt_neox": ["query_key_value", "dense_4h_to_h"],
}


def causal(kind, folder):
    return classes(KINDS[kind][0])[1].from_pretrained(folder, dtype=torch.float32,
                                                      attn_implementation="eager").eval()


def check_adapter(kind, base, adapter, rng):
    model = peft.PeftModel.from_pretrained(causal(kind, base), adapter).eval()
    plain = causal(kind, base)
    rows = [random_ids(rng, n) for n in (3, 40)]
    apart = moved = 0.0
    for r, got in zip(rows, probe("logits", adapter, [{"ids": r} for r in rows])):
        with torch.no_grad():
            want = model(torch.tensor([r])).logits[0].float().log_softmax(-1)
            was = plain(torch.tensor([r])).logits[0].float().log_softmax(-1)
        for i, lp in enumerate(got["logprobs"]):
            apart = max(apart, abs(lp - want[i, r[i + 1]].item()))
            moved = max(moved, abs(want[i, r[i + 1]] - was[i, r[i + 1]]).item())
    assert moved > 0.05, moved  # an adapter that does nothing proves nothing
    assert apart < 1e-4, (kind, apart)
    greedy = probe("generate", adapter, [{"ids": rows[0]}], "--temperature", "0",
                   "--max-new-tokens", "12")[0]["ids"]
    with torch.no_grad():
        best = model(torch.tensor([rows[0] + greedy])).logits[0, 2:-1].argmax(-1).tolist()
    assert best == greedy
    return apart


def adapters(model_probe, kind, rslora):
    rng = random.Random(13)
    targets = ADAPTERS[kind]
    with fresh() as folder:
        write_family(folder, kind)
        rows = [random_ids(rng, n) for n in (30, 20)]
        for recompute in (False, True):
            ours = f"{folder}/ours-{recompute}"
            losses = model_probe.ask(op="adapt", model=folder, rank=4, alpha=8.0, rslora=rslora,
                                     targets=targets, rows=rows, steps=6, rate=2e-2,
                                     recompute=recompute, to=ours)["losses"]
            assert losses[-1] < losses[0] - 0.1, losses
        a, b = (load_file(f"{folder}/ours-{r}/adapter_model.safetensors") for r in (False, True))
        assert all(torch.allclose(a[k], b[k], atol=1e-4) for k in a)
        apart = check_adapter(kind, folder, ours, rng)

        model = causal(kind, folder)  # and one that PEFT made
        torch.manual_seed(3)
        config = peft.LoraConfig(r=3, lora_alpha=5, use_rslora=rslora, task_type="CAUSAL_LM",
                                 target_modules=targets[0] if targets == ["all-linear"] else targets)
        model = peft.get_peft_model(model, config)
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "lora_B" in name:
                    p.add_(0.1 * torch.randn_like(p))
        model.save_pretrained(folder + "/theirs")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            os.link(f"{folder}/{name}", f"{folder}/theirs/{name}")
        return max(apart, check_adapter(kind, folder, folder + "/theirs", rng))


def scores(kind):
    """A preference model of each family, as transformers writes and opens it."""
    rng = random.Random(17)
    head = getattr(transformers, {"Gemma3": "Gemma3Text"}.get(KINDS[kind][0], KINDS[kind][0]) +
                   "ForSequenceClassification")
    with fresh() as folder:
        model = write_family(folder, kind, head=head, num_labels=1, vocab_size=304,
                             pad_token_id=303)
        rows = [random_ids(rng, n) for n in (3, 11, 47)]
        longest = max(map(len, rows))
        batch = torch.tensor([r + [303] * (longest - len(r)) for r in rows])
        again = folder + "/again"
        probe("resave", folder, [], "--to", again)
        copy = transformers.AutoModelForSequenceClassification.from_pretrained(
            again, attn_implementation="eager").eval()
        assert type(copy) is head and copy.config.pad_token_id == 303
        with torch.no_grad():
            a, b = (m(batch, attention_mask=(batch != 303).long()).logits[:, 0] for m in (model, copy))
            if "long" in kind:  # transformers turns a whole batch by its longest row
                a, b = (torch.cat([m(torch.tensor([r])).logits[:, 0] for r in rows])
                        for m in (model, copy))
        assert torch.equal(a, b)
        got = [g["score"] for g in probe("score", again, [{"ids": r} for r in rows])]
        apart = max(abs(x - y) for x, y in zip(got, a.tolist(), strict=True))
        assert apart < 1e-4, (kind, got, a)
    return apart


def no_such_head(kind, model_probe):
    """Where transformers has no class for it, no head is put on a model."""
    head = KINDS[kind][0] + "ForSequenceClassification"
    assert not hasattr(transformers, head), f"{head} is there now: see hf/family.c"
    with fresh() as folder:
        write_family(folder, kind)
        answer = model_probe.answer(op="adapt", model=folder, rank=2, alpha=2.0, rslora=False,
                                    scalar=True, targets=["v_proj"], rows=[[3, 4]], steps=1,
                                    rate=1e-3, to=folder + "/pm")
        assert "transformers has no class" in answer["error"], answer
    print(f"{kind}: no score head, as in transformers")


def unset_heads():
    """A head that is missing or all zero is refused, of a whole model and of an adapter."""
    with fresh() as folder:
        write_family(folder, "llama", head=transformers.LlamaForSequenceClassification, num_labels=1)
        tensors = load_file(folder + "/model.safetensors")
        head = tensors.pop("score.weight")
        save_file(tensors, folder + "/model.safetensors", {"format": "pt"})
        assert "score.weight is missing" in probe("score", folder, [], expect=3)
        tensors["score.weight"] = torch.zeros_like(head)
        save_file(tensors, folder + "/model.safetensors", {"format": "pt"})
        assert "never set" in probe("score", folder, [], expect=3)
    with fresh() as folder:
        write_family(folder, "llama")
        rows = [random_ids(random.Random(2), 9)]
        model_probe = Model()
        model_probe.ask(op="adapt", model=folder, rank=2, alpha=2.0, rslora=False, scalar=True,
                        targets=["v_proj"], rows=rows, steps=1, rate=1e-3, to=folder + "/pm")
        model_probe.close()
        config = peft.PeftConfig.from_pretrained(folder + "/pm")
        assert config.task_type == "SEQ_CLS" and config.modules_to_save == ["score"]
        base = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, pad_token_id=2)
        model = peft.PeftModel.from_pretrained(base, folder + "/pm").eval()
        with torch.no_grad():
            want = model(torch.tensor(rows)).logits.item()
        got = probe("score", folder + "/pm", [{"ids": rows[0]}])[0]["score"]
        assert abs(got - want) < 1e-5, (got, want)
    print("heads: missing and unset ones refused; an adapter's own head as in PEFT")


def main():
    parts = ("gradients", "adapters", "scores")
    which = [a for a in sys.argv[1:] if a in parts] or parts
    kinds = [a for a in sys.argv[1:] if a not in parts]
    sample = [k for k in SAMPLE if not kinds or k in kinds]
    began = time.time()
    model_probe = Model()
    for kind in sample if "gradients" in which else ():
        print(f"{kind}: gradients within {gradients(model_probe, kind):.1e}")
    for i, kind in enumerate(ADAPTERS if "adapters" in which else ()):
        if not kinds or kind in kinds:
            print(f"{kind}: adapters within {adapters(model_probe, kind, i % 2 == 1):.1e}")
    for kind in sample if "scores" in which else ():
        if kind == "olmo2":
            no_such_head(kind, model_probe)
        else:
            print(f"{kind}: scores within {scores(kind):.1e}")
    if "scores" in which and not kinds:
        unset_heads()
    model_probe.close()
    print(f"{time.time() - began:.1f} s")


if __name__ == "__main__":
    main()
