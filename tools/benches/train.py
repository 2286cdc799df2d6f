"""Training: our trainer against plain PyTorch loops on the same model and batches, in one
run, fp32: a hand-written Llama of nn.Modules with SDPA, and transformers' own. The peers
pad each batch to its longest row, as such loops do; rates count real tokens only."""
import argparse
import json
import os
import pathlib
import random
import sys
import tempfile
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here))
import models
import sides

SHAPE = dict(layers=3, width=128, heads=4, kv_heads=4, mlp=352, vocab=640)


def batches(count, rows, seed=1):
    """Rows of 24 to 200 tokens, as critique transcripts are."""
    r = random.Random(seed)
    return [[[r.randrange(3, SHAPE["vocab"]) for _ in range(r.randint(24, 200))] for _ in range(rows)]
            for _ in range(count)]


def plain_llama():
    """The same architecture as a PyTorch user writes it."""
    import torch
    from torch import nn
    from torch.nn import functional as F
    s = SHAPE
    dim = s["width"] // s["heads"]

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            w = s["width"]
            self.norm1, self.norm2 = nn.RMSNorm(w, eps=1e-6), nn.RMSNorm(w, eps=1e-6)
            self.q, self.k, self.v, self.o = (nn.Linear(w, w, bias=False) for _ in range(4))
            self.gate, self.up = nn.Linear(w, s["mlp"], bias=False), nn.Linear(w, s["mlp"], bias=False)
            self.down = nn.Linear(s["mlp"], w, bias=False)

        def forward(self, x, cos, sin):
            b, t, w = x.shape
            h = self.norm1(x)
            q, k, v = (f(h).view(b, t, s["heads"], dim).transpose(1, 2) for f in (self.q, self.k, self.v))
            turn = lambda y: y * cos + torch.cat((-y[..., dim // 2:], y[..., :dim // 2]), -1) * sin
            y = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True)
            x = x + self.o(y.transpose(1, 2).reshape(b, t, w))
            h = self.norm2(x)
            return x + self.down(F.silu(self.gate(h)) * self.up(h))

    class Llama(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(s["vocab"], s["width"])
            self.layers = nn.ModuleList(Layer() for _ in range(s["layers"]))
            self.norm = nn.RMSNorm(s["width"], eps=1e-6)
            inv = 10000.0 ** (-torch.arange(0, dim, 2).float() / dim)
            angle = torch.outer(torch.arange(512).float(), inv)
            angle = torch.cat((angle, angle), -1)
            self.register_buffer("cos", angle.cos())
            self.register_buffer("sin", angle.sin())

        def forward(self, ids):
            x = self.embed(ids)
            t = ids.shape[1]
            for layer in self.layers:
                x = layer(x, self.cos[:t], self.sin[:t])
            return F.linear(self.norm(x), self.embed.weight)

    return Llama()


def peer(kind, directory, threads):
    import torch
    import transformers
    from torch.nn import functional as F
    torch.set_num_threads(threads)
    data = json.loads((pathlib.Path(directory) / "batches.json").read_text())
    if kind == "plain":
        model = plain_llama()
        logits_of = model
    else:
        model = transformers.LlamaForCausalLM.from_pretrained(pathlib.Path(directory) / "model", dtype=torch.float32)
        logits_of = lambda ids: model(ids, use_cache=False).logits
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    print("ready", flush=True)
    for _ in sys.stdin:
        start, tokens = time.perf_counter(), 0
        for rows in data:
            longest = max(map(len, rows))
            ids = torch.tensor([r + [2] * (longest - len(r)) for r in rows])
            labels = torch.tensor([r[1:] + [-100] * (longest - len(r) + 1) for r in rows])
            loss = F.cross_entropy(logits_of(ids).flatten(0, 1), labels.flatten(), ignore_index=-100)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            tokens += sum(map(len, rows))
        print(time.perf_counter() - start, tokens, flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rows", type=int, default=64, help="rows per batch")
    p.add_argument("--batches", type=int, default=8, help="batches per run")
    p.add_argument("--runs", type=int, default=7)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer:
        return peer(a.peer[0], a.peer[1], a.threads)
    with tempfile.TemporaryDirectory() as work:
        models.llama(pathlib.Path(work) / "model", **SHAPE)
        (pathlib.Path(work) / "batches.json").write_text(json.dumps(batches(a.batches, a.rows)))
        print(f"{sides.machine()}; {SHAPE['layers']} layers × {SHAPE['width']}, vocabulary {SHAPE['vocab']}, "
              f"{a.rows} rows of 24–200 tokens a batch, fp32, {a.threads} threads")
        threads = ["--threads", str(a.threads)]
        sides.compare([
            sides.Side("caid trainer", ["build/tools/bench-side", "train", "--model", f"{work}/model",
                                        "--batches", f"{work}/batches.json"] + threads),
            sides.Side("plain PyTorch", [sys.executable, __file__, "--peer", "plain", work] + threads),
            sides.Side("transformers in a loop", [sys.executable, __file__, "--peer", "transformers", work] + threads),
        ], a.runs, "tokens")


if __name__ == "__main__":
    main()
