"""Generation: our engine against transformers' generate on the same random checkpoint, the
same prompts and the same numbers of new tokens, in one run, sampling at T = 1. Figures are
ratios of rates measured in turn; beside the large model's stands the share of this machine's
memory bandwidth that reading its weights once per step takes."""
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

SMALL = dict(layers=4, width=256, heads=4, kv_heads=4, mlp=704, vocab=2048)
LARGE = dict(layers=12, width=768, heads=12, kv_heads=12, mlp=2048, vocab=50257)

# batch: sequences at a time; head: tokens that all prompts share; least … new: new tokens.
CASES = {
    "small": dict(model=SMALL, batch=32, prompt=16, new=128),
    "large-1": dict(model=LARGE, batch=1, prompt=16, new=32),
    "large-16": dict(model=LARGE, batch=16, prompt=16, new=32),
    "shared": dict(model=SMALL, batch=64, prompt=640, head=600, new=32),
    "mixed": dict(model=SMALL, batch=32, requests=64, prompt=16, least=8, new=256),
}


def prompt_ids(a, i, vocab):
    """The same numbers stand in bench_side.c."""
    return [3 + (7 * (0 if j < a.head else i) + 13 * j) % (vocab - 3) for j in range(a.prompt)]


def new_tokens(a, i):
    return a.least + i * 101 % (a.new - a.least + 1)


def peer(model_dir, a):
    """transformers' side: answers "go" lines. A batch runs until its longest reply ends; only
    the tokens that were asked for count."""
    import torch
    import transformers
    torch.set_num_threads(a.threads)
    model = transformers.LlamaForCausalLM.from_pretrained(
        model_dir, dtype=getattr(torch, a.dtype)).eval()
    prompts = [prompt_ids(a, i, model.config.vocab_size) for i in range(a.requests)]
    wanted = [new_tokens(a, i) for i in range(a.requests)]
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for at in range(0, a.requests, a.batch):
            ids, new = torch.tensor(prompts[at:at + a.batch]), max(wanted[at:at + a.batch])
            with torch.inference_mode():
                out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True,
                                     top_k=0, max_new_tokens=new, min_new_tokens=new,
                                     pad_token_id=2)
            assert out.shape[1] == a.prompt + new
        print(time.perf_counter() - start, sum(wanted), flush=True)


def run_case(name, args, work):
    case = dict(CASES[name])
    shape = case.pop("model")
    a = argparse.Namespace(**{"head": 0, "requests": case["batch"], "least": case["new"],
                              "threads": args.threads, "dtype": args.dtype, **case})
    folder = pathlib.Path(work) / f"{shape['layers']}x{shape['width']}"
    if not folder.exists():
        models.llama(folder, **shape)
    print(f"\n{name}: {shape['layers']} layers × {shape['width']}, vocabulary {shape['vocab']:,}, "
          f"{a.requests} prompts of {a.prompt} tokens ({a.head} shared), {a.batch} at a time, "
          f"{a.least if a.least == a.new else f'{a.least} – {a.new}'} new tokens, {a.dtype}, "
          f"{a.threads} threads", flush=True)
    sizes = [x for k in ("threads", "batch", "requests", "prompt", "head", "least", "new")
             for x in (f"--{k}", str(getattr(a, k)))]
    sizes += ["--dtype", a.dtype]
    both = [sides.Side("caid engine", ["build/tools/bench-side", "generate", "--model", str(folder)]
                       + sizes),
            sides.Side("transformers generate", [sys.executable, __file__, "--peer", str(folder)]
                       + sizes)]
    sides.compare(both, args.runs, "tokens")
    if shape is LARGE:
        weights = (folder / "model.safetensors").stat().st_size
        weights //= 1 if a.dtype == "float32" else 2
        steps = sides.median(both[0].rates) / a.batch
        limit = sides.bandwidth(a.threads)
        print(f"caid engine reads {weights * steps / 1e9:.1f} GB/s of weights, "
              f"{weights * steps / limit:.0%} of the {limit / 1e9:.1f} GB/s that this machine reads")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--case", action="append", choices=CASES, help="all unless given")
    p.add_argument("--runs", type=int, default=7)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    p.add_argument("--peer", help=argparse.SUPPRESS)
    for name in ("batch", "requests", "prompt", "head", "least", "new"):
        p.add_argument("--" + name, type=int, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.peer:
        return peer(args.peer, args)
    print(sides.machine())
    with tempfile.TemporaryDirectory() as work:
        for name in args.case or CASES:
            run_case(name, args, work)


if __name__ == "__main__":
    main()
