"""What the parity checks share: small random checkpoints written by transformers, a
byte-level tokenizer trained on the spot, and caiprobe's lines."""
import json
import os
import random
import subprocess
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification,
                          PreTrainedTokenizerFast)

torch.set_num_threads(1)
PROBE = os.environ["CAIPROBE"]
WORDS = "the clerk says please take a hammer and nail it to the wall , thank you . ".split()


def text(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def write_tokenizer(folder):
    """A byte-level BPE of 300 ids with <s>, </s>."""
    rng = random.Random(1)
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    t.train_from_iterator([text(rng, 20) for _ in range(200)], trainer)
    PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>",
                            eos_token="</s>").save_pretrained(folder)


def config(**changes):
    values = dict(vocab_size=300, hidden_size=64, intermediate_size=112, num_hidden_layers=3,
                  num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                  rope_theta=10000.0, rms_norm_eps=1e-5, bos_token_id=0, eos_token_id=1,
                  tie_word_embeddings=False, initializer_range=0.1)
    values.update(changes)
    return LlamaConfig(**values)


def write_model(folder, cls=LlamaForCausalLM, dtype=None, **changes):
    """Random weights, norms and biases included; written to `folder`, returned in fp32."""
    torch.manual_seed(7)
    m = cls(config(**changes)).eval()
    with torch.no_grad():
        for name, p in m.named_parameters():
            if p.dim() == 1:
                p.add_(0.3 * torch.randn_like(p))
    if dtype is not None:
        m = m.to(dtype)
    m.save_pretrained(folder)
    write_tokenizer(folder)
    if dtype is not None:  # read again: rounding m also rounded its rotary frequencies
        m = cls.from_pretrained(folder, dtype=torch.float32).eval()
    return m


def probe(verb, folder, lines, *flags, expect=0):
    """caiprobe's answers to `lines`; with expect ≠ 0, its words on stderr."""
    r = subprocess.run([PROBE, verb, "--model", folder, "--threads", "1", *flags],
                       input="".join(json.dumps(l) + "\n" for l in lines), text=True,
                       capture_output=True, timeout=300)
    assert r.returncode == expect, (verb, r.returncode, r.stderr)
    return r.stderr if expect else [json.loads(l) for l in r.stdout.splitlines()]


def random_ids(rng, n, vocab=300):
    return [rng.randrange(2, vocab) for _ in range(n)]


def fresh():
    return tempfile.TemporaryDirectory(prefix="cai-parity-")
