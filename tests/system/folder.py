"""folder.py: the smallest Hugging Face folder that is a model, from the standard library, and the
chat template that test checkpoints have."""
import json
import os
import struct

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4,
          "hidden_size": 4, "intermediate_size": 2, "num_hidden_layers": 1,
          "num_attention_heads": 2, "max_position_embeddings": 64, "eos_token_id": 3,
          "torch_dtype": "float32"}
TOKENIZER = {"version": "1.0", "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
             "decoder": {"type": "ByteLevel"},
             "added_tokens": [{"id": 3, "content": "</s>", "special": True, "single_word": False,
                               "lstrip": False, "rstrip": False, "normalized": False}],
             "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "</s>": 3},
                       "merges": ["a b"]}}
CHATML = """{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor -%}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
LAYER = "model.layers.0."
SHAPES = {"model.embed_tokens.weight": [4, 4], "lm_head.weight": [4, 4], "model.norm.weight": [4],
          LAYER + "input_layernorm.weight": [4], LAYER + "post_attention_layernorm.weight": [4],
          **{LAYER + f"self_attn.{x}_proj.weight": [4, 4] for x in "qkvo"},
          LAYER + "mlp.gate_proj.weight": [2, 4], LAYER + "mlp.up_proj.weight": [2, 4],
          LAYER + "mlp.down_proj.weight": [4, 2]}


def packed(header, data=b""):
    """A safetensors file of a header's text and what follows it."""
    text = header.encode()
    return struct.pack("<Q", len(text)) + text + data


def safetensors(shapes, dtype="F32", width=4):
    header, at = {}, 0
    for name, shape in shapes.items():
        size = width
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return packed(json.dumps(header), bytes(at))


def parts():
    """File name → bytes."""
    return {"config.json": json.dumps(CONFIG).encode(),
            "tokenizer.json": json.dumps(TOKENIZER).encode(),
            "tokenizer_config.json": json.dumps({"eos_token": "</s>"}).encode(),
            "model.safetensors": safetensors(SHAPES)}


def write_folder(path, changes=None):
    """`changes`: file name → bytes, or None to leave it out. Returns the path."""
    os.makedirs(path, exist_ok=True)
    for name, data in {**parts(), **(changes or {})}.items():
        if data is not None:
            with open(os.path.join(path, name), "wb") as f:
                f.write(data)
    return path
