"""Every command of caiprobe as its help says it: flags, the shape of each answer, and exit code
3 with a message for what is wrong. Values are held against tokenizers and transformers.

    CAIPROBE=build/tools/caiprobe .deps/venv/bin/python tests/parity/caiprobe.py
"""
import json
import os
import random
import subprocess

import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaForCausalLM, LlamaForSequenceClassification

from common import PROBE, fresh, probe, random_ids, write_model
from hf_styles import DATE, checkpoint

TEXTS = ["", "Hello, world!", "  a\n\n b ", "<|im_end|><|begin_of_text|>x<|eot_id|>", "naïve 你好 👍🏽 e\u0301 \u0000 1234"]
TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <|eot_id|> there"},
        {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": " What's 2+2? "}]


def texts():
    with fresh() as folder:
        checkpoint("Llama-3.1", folder)
        t, tok = Tokenizer.from_file(folder + "/tokenizer.json"), AutoTokenizer.from_pretrained(folder)
        lines = [{"text": x} for x in TEXTS]
        whole, bare = [t.encode(x).ids for x in TEXTS], [t.encode(x, add_special_tokens=False).ids for x in TEXTS]
        assert probe("tokenize", folder, lines) == [{"ids": i} for i in whole]
        assert probe("tokenize", folder, lines, "--no-special") == [{"ids": i} for i in bare]
        t.encode_special_tokens = True
        plain = [t.encode(x, add_special_tokens=False).ids for x in TEXTS]
        assert probe("tokenize", folder, lines, "--text-only") == [{"ids": i} for i in plain] and plain != bare
        for flags, skip in (((), False), (("--skip-special",), True)):
            want = [{"text": t.decode(i, skip_special_tokens=skip)} for i in whole]
            assert probe("detokenize", folder, [{"ids": i} for i in whole], *flags) == want
        for flags, generate in (((), False), (("--add-generation-prompt",), True)):
            got, = probe("chat", folder, [{"messages": TALK}], "--date", "2024-07-26", *flags)
            want = tok.apply_chat_template(TALK, tokenize=False, add_generation_prompt=generate, date_string=DATE)
            assert got["text"] == want and got.keys() == {"text", "ids"}, (got, want)
            assert t.decode(got["ids"], skip_special_tokens=False) == want
            turns = len(TALK) + 1 * generate
            assert got["ids"].count(tok.convert_tokens_to_ids("<|start_header_id|>")) == turns
            assert got["ids"].count(tok.eos_token_id) == len(TALK), "a written end marker must stay text"
            harmless = [m | {"content": m["content"].replace("<|eot_id|>", "")} for m in TALK]
            got, = probe("chat", folder, [{"messages": harmless}], "--date", "2024-07-26", *flags)
            text = tok.apply_chat_template(harmless, tokenize=False, add_generation_prompt=generate, date_string=DATE)
            assert got["ids"] == tok(text, add_special_tokens=False).input_ids
        got, = probe("chat", folder, [{"messages": TALK}])  # without a date: today's, as transformers
        assert got["text"] == tok.apply_chat_template(TALK, tokenize=False)


def check_logits(folder, model, ids, dtype, tolerance):
    got, = probe("logits", folder, [{"ids": ids}], "--dtype", dtype, "--top", "3")
    with torch.no_grad():
        want = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    assert got.keys() == {"logprobs", "top"} and len(got["logprobs"]) == len(ids) - 1
    for i, lp in enumerate(got["logprobs"]):
        assert abs(lp - want[i, ids[i + 1]].item()) < tolerance, (dtype, i, lp)
    assert len(got["top"]) == 3 and got["top"] == sorted(got["top"], key=lambda x: -x[1])
    for token, lp in got["top"]:
        assert abs(lp - want[-1, token].item()) < tolerance


def numbers():
    rng = random.Random(5)
    with fresh() as folder:
        model = write_model(folder)
        ids = random_ids(rng, 40)
        check_logits(folder, model, ids, "float32", 1e-4)
        check_logits(folder, model, ids[:1], "float32", 1e-4)
        rounded = LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).float().eval()
        rounded.model.rotary_emb = model.model.rotary_emb  # float() does not bring back what bf16 lost
        check_logits(folder, rounded, ids, "bfloat16", 5e-2)
        half, whole = (probe("logits", folder, [{"ids": ids}], "--dtype", d)[0] for d in ("bfloat16", "float32"))
        assert half != whole
        assert probe("logits", folder, [{"ids": ids[:5]}]) == [
            {"logprobs": probe("logits", folder, [{"ids": ids[:5]}])[0]["logprobs"], "top": []}]
        generation(folder, model, ids)
    with fresh() as folder:
        model = write_model(folder, LlamaForSequenceClassification, num_labels=1, pad_token_id=2)
        with torch.no_grad():
            want = model(torch.tensor([ids])).logits[0, 0].item()
        got, = probe("score", folder, [{"ids": ids}])
        assert got.keys() == {"score"} and abs(got["score"] - want) < 1e-4
        talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]
        told, = probe("score", folder, [{"messages": talk}])
        shown, = probe("chat", folder, [{"messages": talk}])
        assert abs(told["score"] - probe("score", folder, [{"ids": shown["ids"]}])[0]["score"]) < 1e-5


def generation(folder, model, ids):
    greedy = ["--temperature", "0", "--max-new-tokens", "12"]
    with torch.no_grad():
        want = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=12, pad_token_id=0,
                              attention_mask=torch.ones(1, len(ids)))[0, len(ids):].tolist()
    got, = probe("generate", folder, [{"ids": ids}], *greedy)
    assert got.keys() == {"ids", "text", "stop"} and got["ids"] == want, (got, want)
    tok = Tokenizer.from_file(folder + "/tokenizer.json")
    ends = got["ids"][-1] == model.config.eos_token_id
    assert got["stop"] == ("end" if ends else "length")
    assert got["text"] == tok.decode(got["ids"][:len(got["ids"]) - ends])
    drawn = ["--temperature", "1", "--max-new-tokens", "20", "--seed"]
    a, b, c = (probe("generate", folder, [{"ids": ids}, {"ids": ids[:3]}], *drawn, s) for s in "778")
    assert a == b and a != c and len(a) == 2
    assert probe("generate", folder, [{"ids": ids}], *greedy, "--dtype", "bfloat16")[0].keys() == got.keys()
    talk = [{"role": "user", "content": "Hello"}]
    shown, = probe("chat", folder, [{"messages": talk}], "--add-generation-prompt")
    told, = probe("generate", folder, [{"messages": talk}], *greedy)
    assert told["ids"][:4] == probe("generate", folder, [{"ids": shown["ids"]}], *greedy)[0]["ids"][:4]
    bare = folder + "/bare"  # a random checkpoint has no tokenizer
    model.save_pretrained(bare)
    assert probe("generate", bare, [{"ids": ids}], *greedy) == [got | {"text": ""}]


def refused(words, *arguments, lines=(), answers=0):
    r = subprocess.run([PROBE, *arguments], input="".join(x + "\n" for x in lines), text=True, capture_output=True,
                       timeout=300)
    assert r.returncode == 3, (arguments, r.returncode, r.stderr)
    assert words in r.stderr and r.stderr.startswith("caiprobe: "), (words, r.stderr)
    assert len(r.stdout.splitlines()) == answers, r.stdout


def errors():
    with fresh() as folder:
        write_model(folder)
        m = ["--model", folder]
        nul = json.dumps({"messages": [{"role": "user", "content": "a\0b"}]})
        long = json.dumps({"ids": [3] * 300})
        for words, arguments, lines, answers in (
                ("a command is needed", [], [], 0), ("no such command", ["tokens"], [], 0),
                ("--model DIR is needed", ["tokenize"], [], 0),
                ("/nowhere", ["tokenize", "--model", "/nowhere"], ["{}"], 0),
                ("/nowhere", ["logits", "--model", "/nowhere"], ["{}"], 0),
                ("--dtype int4 is not known", ["logits", *m, "--dtype", "int4"], [], 0),
                ("--top needs a whole number", ["logits", *m, "--top", "many"], [], 0),
                ("--date needs", ["chat", *m, "--date", "tomorrow"], ["{}"], 0),
                ("no scalar head", ["score", *m], [], 0),
                ("line 2", ["tokenize", *m], ['{"text":"a"}', "oops"], 1),
                ('"text" is missing', ["tokenize", *m], ['{"ids":[1]}'], 0),
                ('"ids"[1] is not a token id', ["detokenize", *m], ['{"ids":[1,-2]}'], 0),
                ("not a token id", ["logits", *m], ['{"ids":[1,2.5]}'], 0),
                ("outside the vocabulary", ["logits", *m], ['{"ids":[1,300]}'], 0),
                ("outside the vocabulary", ["generate", *m], ['{"ids":[1,300]}'], 0),
                ("300 tokens", ["generate", *m], [long], 0),
                ('"messages"', ["chat", *m], ['{"messages":[]}'], 0),
                ("needs texts", ["chat", *m], ['{"messages":[{"role":"user"}]}'], 0),
                ("holds a NUL", ["chat", *m], [nul], 0),
                ('the role "tool"', ["chat", *m], ['{"messages":[{"role":"tool","content":"x"}]}'], 0)):
            refused(words, *arguments, lines=lines, answers=answers)
    with fresh() as folder:
        checkpoint("Gemma", folder)
        refused("System role not supported", "chat", "--model", folder,
                lines=[json.dumps({"messages": [{"role": "system", "content": "x"}]})])


def as_written():
    """The six commands with no flag but those that they are promised with."""
    def answer(line, *arguments):
        r = subprocess.run([PROBE, *arguments], input=json.dumps(line) + "\n", text=True, capture_output=True,
                           timeout=300)
        assert r.returncode == 0 and r.stderr == "", (arguments, r.returncode, r.stderr)
        only, = r.stdout.splitlines()
        return json.loads(only)

    with fresh() as folder:
        write_model(folder)
        m = ["--model", folder]
        ids = answer({"text": "thank you ."}, "tokenize", *m)["ids"]
        assert ids and answer({"text": "thank you ."}, "tokenize", *m, "--no-special").keys() == {"ids"}
        assert answer({"ids": ids}, "detokenize", *m) == {"text": "thank you ."}
        assert answer({"ids": [0, *ids]}, "detokenize", *m, "--skip-special") == {"text": "thank you ."}
        talk = {"messages": [{"role": "user", "content": "please"}]}
        assert answer(talk, "chat", *m).keys() == {"text", "ids"}
        shown = answer(talk, "chat", *m, "--add-generation-prompt")
        assert shown["text"].endswith("Assistant:") and shown["ids"]
        for dtype in ("float32", "bfloat16"):
            got = answer({"ids": ids}, "logits", *m, "--dtype", dtype, "--top", "4")
            assert len(got["logprobs"]) == len(ids) - 1 and [len(t) for t in got["top"]] == [2] * 4
            flags = ["--temperature", "0.7", "--max-new-tokens", "5", "--seed", "9", "--dtype", dtype]
            for line in ({"ids": ids}, talk):
                got = answer(line, "generate", *m, *flags)
                assert got.keys() == {"ids", "text", "stop"} and 1 <= len(got["ids"]) <= 5
    with fresh() as folder:
        write_model(folder, LlamaForSequenceClassification, num_labels=1, pad_token_id=2)
        for line in ({"ids": [5, 6]}, talk):
            got = answer(line, "score", "--model", folder)
            assert got.keys() == {"score"} and isinstance(got["score"], float)


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    for f in (texts, numbers, errors, as_written):
        f()
        print(f"{f.__name__}: as its help says", flush=True)
