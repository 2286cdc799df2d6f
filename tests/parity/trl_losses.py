"""The first ten losses of SFT and of a preference model against TRL's own SFTTrainer and
RewardTrainer: same model, rows, batches, order and settings, fp32, to 1e-4. (steps.py checks the
arithmetic against torch; here it is the whole trainer as a person would have run it.)

    CAIPROBE=… TRAIN_PROBE=… .deps/venv/bin/python tests/parity/trl_losses.py
"""
import json
import pathlib
import random
import sys

from transformers import AutoTokenizer, LlamaForSequenceClassification

from common import fresh, text, write_model
from train_probe import Probe

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/benches"))
import peers

STEPS, BATCH, LIMIT, SEED, EPOCHS = 10, 8, 1e-4, 11, 2
ROWS = STEPS * BATCH // EPOCHS
OPTIONS = dict(lr=2e-3, weight_decay=0, beta1=0.9, beta2=0.999, eps=1e-8, clip_norm=1, warmup=0, schedule="linear",
               batch=BATCH, epochs=EPOCHS)


def pad(folder):
    """TRL pads rows with the tokenizer's pad token: one that no text has."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(folder)
    return tokenizer.pad_token_id


def write_rows(path, make):
    rng = random.Random(5)
    with open(path, "w") as f:
        for i in range(ROWS):
            f.write(json.dumps({"item": i, **make(rng, {"role": "user", "text": text(rng, 3)})}) + "\n")
    return path


def case_of(folder, rows, order):
    return dict(model=folder, rows=[rows[i] for i in order], batch=BATCH, lr=OPTIONS["lr"], schedule="linear", dtype="float32")


def compare(name, reports, trainer):
    trainer.train()
    ours, theirs = [r["loss"] for r in reports[:STEPS]], trainer.losses
    assert len(ours) == len(theirs) == STEPS, (ours, theirs)
    apart = max(abs(a - b) for a, b in zip(ours, theirs))
    assert apart < LIMIT, (name, ours, theirs)
    assert abs(ours[0] - ours[-1]) > 1e-2, "ten steps that change nothing prove nothing"
    print(f"{name}: {STEPS} losses, largest difference {apart:.1e}")


def asked(probe, kind, folder, path, out, **options):
    order = probe.ask(op="order", name=kind, seed=SEED, n=ROWS, epochs=EPOCHS)["order"]
    rows = probe.ask(op="rows", model=folder, dataset=path, kind=kind)["rows"]
    reports = probe.ask(op="train", kind=kind, seed=SEED, init=folder, dataset=path, output=out,
                        options={**OPTIONS, **options})["reports"]
    return order, [r["seq"] for r in rows], reports


def sft(probe, folder):
    path = write_rows(folder + "/sft.jsonl", lambda rng, ask: {
        "messages": [ask, {"role": "assistant", "text": text(rng, rng.randint(2, 12))}]})
    order, rows, reports = asked(probe, "sft", folder + "/lm", path, folder + "/sft")
    compare("sft", reports, peers.sft(case_of(folder + "/lm", [r[0] for r in rows], order), ordered=True))


def pm(probe, folder):
    path = write_rows(folder + "/pm.jsonl", lambda rng, ask: {
        "messages": [ask], "a": text(rng, rng.randint(2, 9)), "b": text(rng, rng.randint(2, 9)), "p": 1, "split": "train"})
    order, rows, reports = asked(probe, "pm", folder + "/head", path, folder + "/pm", members=1)
    pairs = [[s["ids"] for s in r] for r in rows]
    compare("pm", reports, peers.pm(case_of(folder + "/head", pairs, order), ordered=True))


def main():
    probe = Probe()
    with fresh() as folder:
        size = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, vocab_size=304)
        write_model(folder + "/lm", **size)
        write_model(folder + "/head", cls=LlamaForSequenceClassification, num_labels=1, pad_token_id=300, **size)
        assert pad(folder + "/lm") == pad(folder + "/head") == 300
        sft(probe, folder)
        pm(probe, folder)
    probe.close()


if __name__ == "__main__":
    main()
