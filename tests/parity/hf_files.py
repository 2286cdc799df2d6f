"""config.json and safetensors: what transformers writes is read, and what we write
transformers opens, with equal logits.

    .deps/venv/bin/python tests/parity/hf_files.py PROBE
"""
import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import (AutoConfig, LlamaConfig, LlamaForCausalLM,
                          LlamaForSequenceClassification, MistralConfig, MistralForCausalLM)

from hf_probe import Probe

SIZES = dict(vocab_size=97, hidden_size=32, intermediate_size=56, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             rms_norm_eps=1e-5, rope_theta=50000.0, bos_token_id=1, eos_token_id=2, pad_token_id=3)
KINDS = {
    "causal": (LlamaForCausalLM, LlamaConfig, {}),
    "tied, biases": (LlamaForCausalLM, LlamaConfig,
                     dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True, head_dim=12)),
    "several eos": (LlamaForCausalLM, LlamaConfig, dict(eos_token_id=[2, 5])),
    "preference": (LlamaForSequenceClassification, LlamaConfig, dict(num_labels=1)),
    "mistral": (MistralForCausalLM, MistralConfig, dict(sliding_window=None)),
}


def logits(model_class, folder):
    model = model_class.from_pretrained(folder, torch_dtype="auto").eval()
    with torch.no_grad():
        return model(torch.arange(4, 20)[None]).logits


def same_tensors(a, b):
    with safe_open(a, "pt") as x, safe_open(b, "pt") as y:
        if sorted(x.keys()) != sorted(y.keys()):
            return False
        return all(torch.equal(x.get_tensor(k), y.get_tensor(k)) for k in x.keys())


def check(program, name, kind, dtype, shards):
    model_class, config_class, more = kind
    torch.manual_seed(0)
    model = model_class(config_class(**(SIZES | more))).to(dtype)
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        model.save_pretrained(a, max_shard_size="8KB" if shards else "5GB")
        assert Path(a, "model.safetensors.index.json").exists() == shards
        probe = Probe(program, a)
        saved, hashed = probe.ask(op="save", to=b), probe.ask(op="hash")
        probe.close()
        assert saved == {}, saved
        assert len(hashed["hash"]) == 64
        if not shards:
            assert same_tensors(Path(a, "model.safetensors"), Path(b, "model.safetensors"))
        assert torch.equal(logits(model_class, a), logits(model_class, b)), name
        old, new = AutoConfig.from_pretrained(a), AutoConfig.from_pretrained(b)
        assert type(old) is type(new)
        for key in list(SIZES) + ["tie_word_embeddings", "num_labels", "architectures", "dtype"]:
            assert getattr(old, key, None) == getattr(new, key, None), (name, key)
    return 1


def check_v5_names(program):
    """transformers 5 writes rope_parameters and dtype."""
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(a)
        path = Path(a, "config.json")
        o = json.loads(path.read_text())
        o["rope_parameters"] = {"rope_type": "default", "rope_theta": o.pop("rope_theta")}
        o.pop("rope_scaling", None)
        o["dtype"] = o.pop("torch_dtype", None) or o.pop("dtype")
        path.write_text(json.dumps(o))
        probe = Probe(program, a)
        assert probe.ask(op="save", to=b) == {}
        probe.close()
        assert AutoConfig.from_pretrained(b).rope_theta == SIZES["rope_theta"]


def main():
    n = 0
    for name, kind in KINDS.items():
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            n += check(sys.argv[1], name, kind, dtype, shards=False)
        n += check(sys.argv[1], name, kind, torch.float32, shards=True)
    check_v5_names(sys.argv[1])
    print(f"{n} checkpoints read, written and opened again with equal logits")


if __name__ == "__main__":
    main()
