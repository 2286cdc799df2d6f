"""Generation: our engine against transformers' generate on the same random checkpoint,
the same prompts and the same number of new tokens, in one run, fp32, sampling at T = 1."""
import argparse
import os
import pathlib
import sys
import tempfile
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here))
import models
import sides


def prompts(batch, length, vocab):
    return [[3 + (7 * i + 13 * j) % (vocab - 3) for j in range(length)] for i in range(batch)]


def peer(model_dir, batch, prompt, new, threads):
    """transformers' side: answers "go" lines."""
    import torch
    import transformers
    torch.set_num_threads(threads)
    model = transformers.LlamaForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    ids = torch.tensor(prompts(batch, prompt, model.config.vocab_size))
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0,
                                 max_new_tokens=new, min_new_tokens=new, pad_token_id=2)
        assert out.shape[1] == prompt + new
        print(time.perf_counter() - start, batch * new, flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--prompt", type=int, default=16)
    p.add_argument("--new", type=int, default=128)
    p.add_argument("--runs", type=int, default=7)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--peer", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.peer:
        return peer(a.peer, a.batch, a.prompt, a.new, a.threads)
    with tempfile.TemporaryDirectory() as work:
        model = models.llama(pathlib.Path(work) / "model", 4, 256, 4, 4, 704, 2048)
        print(f"{sides.machine()}; 4 layers × 256, vocabulary 2,048, batch {a.batch}, "
              f"{a.prompt} + {a.new} tokens, fp32, {a.threads} threads")
        sizes = ["--batch", str(a.batch), "--prompt", str(a.prompt), "--new", str(a.new),
                 "--threads", str(a.threads)]
        sides.compare([
            sides.Side("caid engine", ["build/tools/bench-side", "generate", "--model", str(model)] + sizes),
            sides.Side("transformers generate", [sys.executable, __file__, "--peer", str(model)] + sizes),
        ], a.runs, "tokens")


if __name__ == "__main__":
    main()
