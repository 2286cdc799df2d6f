"""Loading weights from the page cache: our model_load against safetensors' own load_file with
torch, in one run, on one thread and by processor time, for files in float32 and bfloat16. Both sides end with every
weight as float32 in memory of their own (load_file alone leaves the file mapped and unread);
rates are of the file's bytes. Ours also looks at each number for NaN and infinity."""
import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here))
import sides

WIDTH, MLP, HEADS, VOCAB = 1024, 2816, 16, 32000
LAYER = 4 * WIDTH * WIDTH + 3 * WIDTH * MLP + 2 * WIDTH


def write(folder, dtype, megabytes):
    """A Llama of about so many megabytes; its numbers repeat, which nobody here can use."""
    import torch
    from safetensors.torch import save_file
    width = torch.finfo(dtype).bits // 8
    layers = max(1, round((megabytes * 1e6 / width - VOCAB * WIDTH) / LAYER))
    block = (torch.randn(1 << 20, generator=torch.Generator().manual_seed(1)) * 0.02).to(dtype)
    make = lambda *shape: block.repeat(-(-torch.Size(shape).numel() // block.numel()))[:torch.Size(shape).numel()].view(shape)
    tensors = {"model.embed_tokens.weight": make(VOCAB, WIDTH), "model.norm.weight": make(WIDTH)}
    for i in range(layers):
        at = f"model.layers.{i}."
        tensors |= {at + f"self_attn.{x}_proj.weight": make(WIDTH, WIDTH) for x in "qkvo"}
        tensors |= {at + f"mlp.{x}_proj.weight": make(MLP, WIDTH) for x in ("gate", "up")}
        tensors |= {at + "mlp.down_proj.weight": make(WIDTH, MLP), at + "input_layernorm.weight": make(WIDTH),
                    at + "post_attention_layernorm.weight": make(WIDTH)}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(dict(
        architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=MLP,
        num_hidden_layers=layers, num_attention_heads=HEADS, max_position_embeddings=2048, tie_word_embeddings=True,
        rms_norm_eps=1e-5, torch_dtype=str(dtype).split(".")[1])))


def peer(folder):
    """The other side's process: see sides.py."""
    import torch
    from safetensors.torch import load_file
    torch.set_num_threads(1)
    path = os.path.join(folder, "model.safetensors")
    print("ready", flush=True)
    for _ in sys.stdin:
        pid = os.fork()  # a process that loads has no memory left over from an earlier time
        if pid == 0:
            start = time.process_time()
            tensors = {k: v.to(torch.float32, copy=True) for k, v in load_file(path).items()}
            print(f"{time.process_time() - start:.6f} {os.path.getsize(path) / 1e9:.6f}", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--megabytes", type=int, default=500)
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--build", default="build")
    p.add_argument("--peer", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer:
        return peer(a.peer)
    import torch
    print(f"loading, page cache, one thread; {sides.machine()}")
    with tempfile.TemporaryDirectory(prefix="cai-load-") as root:
        for dtype in (torch.bfloat16, torch.float32):
            name = str(dtype).split(".")[1]
            folder = pathlib.Path(root) / name
            write(folder, dtype, a.megabytes)
            print(f"{name}, {(folder / 'model.safetensors').stat().st_size / 1e6:,.0f} MB")
            python = [sys.executable, __file__, "--peer", str(folder)]
            sides.compare([sides.Side("model_load", [f"{a.build}/tools/bench-side", "load", "--model", str(folder),
                                                     "--threads", "1"]),
                           sides.Side("load_file, to float32", python)], a.runs, "GB", 2)
            (folder / "model.safetensors").unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
