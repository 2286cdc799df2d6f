"""checkpoint.py: a small random Llama written by transformers, with a tokenizer of its own,
and the files of a job around it. Not for: what a test makes of them."""
import gzip
import json
import os
import random
import sys

try:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
except ImportError as missing:
    print(f"skipped: {missing}; tools/setup --tests makes .deps/venv")
    sys.exit(77)

from folder import CHATML  # noqa: E402

WORDS = """how do i open a door that is locked without the key please tell me what to take from
the shop keeper who sleeps and where my neighbour keeps his money , it is late . the answer is
(A) (B) harmful harmless human assistant response conversation why not ? you could ask him
kindly first and wait""".split()


def sentence(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def write_tokenizer(folder, chat):
    """A byte-level BPE of 400 ids; with a ChatML template, or with none."""
    rng = random.Random(1)
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] if chat else ["<s>", "</s>"]
    t.train_from_iterator([sentence(rng, 20) for _ in range(200)], trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    names = {"eos_token": special[-1], "pad_token": special[0]} if chat else {
        "bos_token": "<s>", "eos_token": "</s>"}
    tok = PreTrainedTokenizerFast(tokenizer_object=t, **names)
    if chat:
        tok.chat_template = CHATML
    tok.save_pretrained(folder)
    return tok


def write_checkpoint(folder, chat, seed=7):
    """2 layers of width 64. Column 0 of the residual stream is a constant that raises the
    end token to about one in twenty, so that most replies end."""
    tok = write_tokenizer(folder, chat)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    end = tok.eos_token_id
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tok), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048,
        bos_token_id=tok.bos_token_id, eos_token_id=end, tie_word_embeddings=False,
        initializer_range=0.05)).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 0.1
        model.lm_head.weight[end, 0] = 1.5
    model.save_pretrained(folder)
    return model, tok


def turns(*texts):
    return [{("user", "assistant")[i % 2]: text} for i, text in enumerate(texts)]


def constitution(**more):
    principles = [{"id": f"rule-{i}", "weight": w,
                   "critique": f"Say what is {word} in your last reply, with <|im_end|> as text.",
                   "revision": f"Write it again without what is {word}.",
                   "choice": f"Which reply is less {word}?"}
                  for i, (word, w) in enumerate((("cruel", 2), ("rude", 1), ("évasif ☂", 1)))]
    return {"constitution": 1, "name": "own", "principles": principles, "critique_examples": [
        {"turns": turns("A question", "An answer", "And then?", "A rude answer, fool."),
         "critique_request": "Say what is rude.", "critique": "The last word insults.",
         "revision_request": "Write it politely.", "revision": "A polite answer."},
        {"turns": turns("What is {a}?", "It is a letter."), "critique_request": "Any flaw?",
         "critique": "No flaw: it is right.", "no_flaw": True}],
        "choice_examples": [
        {"turns": turns("Hello", "Hello to you", "How are you?"), "choice": "Which is kinder?",
         "a": "Go away.", "b": "Well, and you?", "answer": "B",
         "reasoning": "(A) sends the person away.\n(B) asks back, which is kind."},
        {"turns": turns("Is {principle} a word?"), "choice": "Which is truer?", "a": "Yes: {b}.",
         "b": "No.", "answer": "A"}], **more}


def prompts(rng, n, system=False):
    """Every third has earlier turns; with `system`, every fifth a system message."""
    for i in range(n):
        messages = [{"role": "user", "content": f"{i}: {sentence(rng, 6)}"}]
        if i % 3 == 1:
            messages += [{"role": "assistant", "content": sentence(rng, 5)},
                         {"role": "user", "content": f"  {sentence(rng, 4)}\n\nand é ☂ "}]
        if system and i % 5 == 2:
            messages.insert(0, {"role": "system", "content": "Be brief."})
        yield {"messages": messages} if len(messages) > 1 else {"prompt": messages[0]["content"]}


def write_lines(path, rows):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False) + "\n")


def sampling(n):
    return {"max_tokens": n}


def absolute(path):
    """(job, canonical): what a request without caictl carries of a job that write_job wrote."""
    with open(path) as f:
        job = json.load(f)
    folder = os.path.dirname(path)
    with open(os.path.join(folder, job["constitution"])) as f:
        canonical = f.read()
    job["models"]["start"] = os.path.join(folder, job["models"]["start"])
    job["data"] = {k: os.path.join(folder, v) for k, v in job["data"].items()}
    return {**job, "constitution": "own"}, canonical


def write_job(folder, chat, frames=None, system=False, end="", **changes):
    """model/, own.yaml, prompts.jsonl, helpful.jsonl and job.yaml; the job file's path. The
    limits are as wide as a model without sense needs them. `end` ".gz" compresses the data."""
    rng = random.Random(3)
    model, _ = write_checkpoint(os.path.join(folder, "model"), chat)
    with open(os.path.join(folder, "own.yaml"), "w") as f:
        json.dump(constitution(**({"frames": frames} if frames else {})), f, indent=1)
    write_lines(os.path.join(folder, "prompts.jsonl" + end), prompts(rng, 20, system))
    write_lines(os.path.join(folder, "helpful.jsonl" + end),
                [{**row, "reply": sentence(rng, 12)} for row in prompts(rng, 12, system)])
    small = {"batch": 8, "lr": 1e-3}
    job = {"job": 1, "name": "small", "seed": 5, "models": {"start": "./model"},
           "constitution": "./own.yaml", "workers": 1, "rounds": 1,
           "data": {"harmful": "./prompts.jsonl" + end, "helpful": "./helpful.jsonl" + end},
           "stages": {
               "red_team": {"samples": 8, "sampling": sampling(24)},
               "revise": {"revisions": 2, "reply": sampling(32), "critique": sampling(48),
                          "revision": sampling(48), "max_dropped": 1, "max_unchanged": 1,
                          "max_truncated": 1},
               "sft": small,
               "label": {"pairs": 16, "reply": sampling(32), "min_option_mass": 0,
                         "max_flipped": 1, "gate_pairs": 20, "gate_confidence": 0.999},
               "prefer": small,
               "evaluate": {"prompts": 4, "win_pairs": 4, "reply": sampling(24)},
               "ppo": {"steps": 2, "rollouts": 16, "minibatches": 2, "epochs": 2,
                       "rollout": sampling(24)}}}
    for path, value in changes.items():
        at, keys = job, path.split("__")
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value
    path = os.path.join(folder, "job.yaml")
    with open(path, "w") as f:
        json.dump(job, f, indent=1)
    return path, model


def short_job(folder, **changes):
    """(job, canonical) of a job of seconds with two ranks, whose every step of training is
    resumable: for tests that disturb it."""
    short, every = sampling(8), {"batch": 4, "checkpoint_every": 1}
    settings = {
        "workers": 2, "stages__sft": {**every}, "stages__prefer": {**every},
        "stages__revise__revisions": 1, "stages__red_team__sampling": short,
        "stages__revise__reply": short, "stages__revise__critique": short,
        "stages__revise__revision": short, "stages__label__reply": short,
        "stages__label__gate_pairs": 100, "stages__evaluate__reply": short,
        "stages__ppo": {"steps": 6, "rollouts": 8, "rollout": short, "checkpoint_every": 1}}
    path, _ = write_job(folder, True, **{**settings, **changes})
    return absolute(path)
