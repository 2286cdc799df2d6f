"""bad_input.py: wrong constitutions, job files, JSON Lines and model folders, through caictl:
exit code 3 within a second, a message with file, line and column, and a daemon that keeps
nothing of them. `bad_input.py TOOLS`."""
import copy
import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from folder import CONFIG, LAYER, SHAPES, TOKENIZER, packed, safetensors, write_folder  # noqa: E402
from harness import main  # noqa: E402
from through_caictl import Real  # noqa: E402

TOOLS = sys.argv[1]
JOB = ("job: 1\nname: x\nmodels: {start: ./m}\nconstitution: ./house.yaml\n"
       "data: {harmful: ./red.jsonl}\n")
RULE = "  - id: a\n    critique: c\n    revision: r\n    choice: q\n"
HOUSE = "constitution: 1\nname: house\nprinciples:\n" + RULE

# (text, place of the first finding, words)
CONSTITUTIONS = [
    ("", None, "empty"),
    ("constitution: 1\nname: house\nprinciples: []\n", "3:13", "'principles' is empty"),
    (HOUSE + "    weight: -2\n", "8:13", "found '-2'"),
    (HOUSE + "    wieght: 2\n", "8:5", "did you mean 'weight'"),
    (HOUSE + RULE, "8:9", "duplicate principle id"),
    (HOUSE + "\tx: 1\n", "8:1", "tab"),
    (HOUSE + "    tier: *t\n", "8:11", "aliases are not allowed"),
    (HOUSE + "frames: {choice: '{a} or {b}?'}\n", "8:18", "{principle}"),
    (HOUSE + "frames: {critique: '{principle} {b}'}\n", "8:20", "it has {principle}, {no_flaw}"),
    (HOUSE + "examples: ../../etc/passwd\n", "8:11", ""),
    (HOUSE + "    source: {votes: many}\n", "8:21", "whole number"),
    (HOUSE.replace("choice: q", "choice: \"a\\u202Eb\""), "7:13", "U+202E"),
    ("x: " + "[" * 200 + "]" * 200 + "\n", "1:", ""),
]
JOBS = [
    ("", None, "empty"),
    ("job: 1\n", "1:1", "'models.start'"),
    (JOB + "stages: {sft: {lr: fast}}\n", "6:20", "must be a number"),
    (JOB + "stages: {stf: false}\n", "6:10", "did you mean"),
    (JOB + "rounds: -1\n", "6:9", "rounds"),
    (JOB + "workers: 0\n", "6:10", "workers"),
    (JOB + "seed: 1\nseed: 2\n", "7:1", "duplicate key"),
    (JOB.replace("./m", "./gone"), "3:17", "no such folder"),
    (JOB.replace("./m", "./red.jsonl"), "3:17", "must be a folder"),
    (JOB.replace("./red.jsonl", "./gone.jsonl"), "5:17", "no such file"),
    (JOB + "stages: {label: {mode: loud}}\n", "6:24", "soft"),
    (JOB + "stages: {prefer: false}\n", None, "ppo needs a preference model"),
    (JOB.replace("./m}", "./m, lora: {rank: -1}}"), "3:35", "'models.lora.rank'"),
    (JOB.replace("./m}", "./m, lora: {rank: 2, targets: embed_tokens}}"), "3:35",
     "\"embed_tokens\" is not a projection"),
    (JOB.replace("./m}", "./m, lora: {rank: 2, targets: \"q_proj,,\"}}"), "3:47",
     "the targets of LoRA must be 1 to 16 names"),
]
LINES = [
    ("harmful", "", None, "no rows"),
    ("harmful", "not json\n", "1:1", "JSON"),
    ("harmful", '{"prompt": "a"}\n{"prompt": 3}\n', "2:12", "\"prompt\""),
    ("harmful", '{"prompt": "a", "prompt": "b"}\n', "1:", "duplicate"),
    ("harmful", '{"promt": "a"}\n', "1:1", "missing member"),
    ("harmful", '["a"]\n', "1:1", "object"),
    ("harmful", '{"messages": []}\n', "1:14", "messages"),
    ("harmful", '{"messages": [{"role": "robot", "content": "a"}]}\n', "1:24", "robot"),
    ("harmful", '{"prompt": "' + "a" * (2 << 20) + '"}\n', "1:1", ""),
    ("helpful", '{"prompt": "a", "reply": 3}\n', "1:26", "\"reply\""),
    ("human", '{"prompt": "a", "chosen": "b"}\n', "1:1", "\"rejected\""),
    ("human", '{"prompt": "a", "a": "b", "b": "c", "p": 2}\n', "1:42", "from 0 to 1"),
    ("human", '{"chosen": "\\n\\nHuman: a\\n\\nAssistant: b", "rejected": "\\n\\nHuman: c'
     '\\n\\nAssistant: d"}\n', "1:56", "part at turn 1"),
    ("human", '{"prompt": "a", "chosen": "b", "rejected": "b"}\n', "1:44", "the same"),
    ("classifier", '{"prompt": "a", "reply": "b", "label": "bad"}\n', "1:40", "true, false"),
    ("evaluate", '{"prompt": "a", "kind": "odd"}\n', "1:25", "odd"),
]


def with_config(**changes):
    new = {k: v for k, v in {**CONFIG, **changes}.items() if v is not None}
    return {"config.json": json.dumps(new).encode()}


def with_tokenizer(change):
    t = copy.deepcopy(TOKENIZER)
    change(t)
    return {"tokenizer.json": json.dumps(t).encode()}


def with_vocab(**words):
    return with_tokenizer(lambda t: t["model"].update(words))


def with_header(text, data=b""):
    return {"model.safetensors": packed(text, data)}


def with_template(source):
    return {"tokenizer_config.json": json.dumps({"eos_token": "</s>", "chat_template": source}).encode()}


def tensor(shape, begin, end, name="model.norm.weight", dtype="F32"):
    return json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}})


WEIGHTS = safetensors(SHAPES)
# Norms behind the branches, and over queries and keys.
OLMO2 = safetensors({**{k.replace("input_", "post_feedforward_"): v for k, v in SHAPES.items()},
                     **{LAYER + f"self_attn.{x}_norm.weight": [4] for x in "qk"}})
FOLDERS = [
    ({"config.json": None}, "no config.json"),
    ({"config.json": b"{"}, "not valid JSON"),
    ({"config.json": b"\xff{}"}, "JSON"),
    ({"config.json": b"[" * 100000}, "JSON"),
    (with_config(model_type="mamba"), "mamba"),
    (with_config(hidden_size=-4), "hidden_size"),
    (with_config(num_attention_heads=3), "multiple"),
    (with_config(vocab_size=10 ** 12), "vocab_size"),
    (with_config(num_hidden_layers=2), "model.layers.1.input_layernorm.weight is missing"),
    (with_config(intermediate_size=3), "but config.json asks for"),
    (with_config(attention_bias=True), "self_attn.q_proj.bias is missing"),
    (with_config(quantization_config={"bits": 4}), "unquantized"),
    (with_config(model_type="evil", auto_map={"AutoModel": "evil.Model"}), "model_type"),
    (with_config(rope_scaling={"rope_type": "spiral", "factor": 2}), "spiral"),
    (with_config(eos_token_id=99), "eos_token_id"),
    ({**with_config(model_type="olmo2", architectures=["Olmo2ForCausalLM"]),
      "model.safetensors": OLMO2}, "no class for a model of the OLMo 2 family with a score "
     "head (a preference model, a classifier): set models.pm to a model of another family"),
    ({**with_config(architectures=["LlamaForSequenceClassification"], num_labels=1),
      "model.safetensors": safetensors({**SHAPES, "score.weight": [1, 4]})}, "scalar head"),
    ({"model.safetensors": None}, "missing"),
    ({"model.safetensors": None, "pytorch_model.bin": b"\x80\x02."}, "never read"),
    ({"model.safetensors": b""}, "at least 8"),
    ({"model.safetensors": WEIGHTS[:-5]}, "out of range"),
    ({"model.safetensors": WEIGHTS + b"more"}, "end at byte"),
    ({"model.safetensors": b"\xff" * 8 + b"{}"}, "limit"),
    (with_header("{}"), "model.embed_tokens.weight is missing"),
    (with_header(tensor([4], 0, 8), bytes(8)), "16"),
    (with_header(tensor([4], 8, 24), bytes(24)), "hole"),
    (with_header(tensor([2 ** 62, 4], 0, 0)), "overflow"),
    (with_header(tensor([4], 0, 16, dtype="F8_E5M2"), bytes(16)), "F8_E5M2"),
    ({"model.safetensors": safetensors(SHAPES, "I32")}, "only F32"),
    ({"model.safetensors.index.json": b'{"weight_map": {"a": "../../etc/passwd"}}',
      "model.safetensors": None}, "plain name"),
    ({"tokenizer.json": None}, "tokenizer.json"),
    ({"tokenizer.json": b"{}"}, "version"),
    (with_vocab(type="Unigram"), "Unigram"),
    (with_vocab(merges=["a z"]), "must be in model.vocab"),
    (with_vocab(vocab={"a": 0, "b": 0}), "id 0"),
    (with_tokenizer(lambda t: t.update(pre_tokenizer={"type": "Metaspace"})), "\"replacement\" must be a string"),
    ({"tokenizer_config.json": b"[]"}, "tokenizer_config.json"),
    (with_template("{% for m in messages %}"), "tokenizer_config.json"),
    (with_template("{{ raise_exception('no thanks') }}"), "no thanks"),
    (with_template("{{ ''.__class__.__mro__[1].__subclasses__() }}"), "tokenizer_config.json"),
    (with_template("{% for i in range(10**9) %}{{ i }}{% endfor %}"), "tokenizer_config.json"),
]


class Bench:
    def __init__(self, caid):
        self.caid, self.folder, self.n, self.slowest = caid, caid.root, 0, 0.0
        self.fresh()
        self.state = self.look()

    def look(self):
        return [self.caid.json("jobs", "--all")["rows"], self.caid.json("constitution", "list")["rows"],
                sorted(os.listdir(self.caid.state))]

    def put(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as f:
            f.write(text)
        return os.path.join(self.folder, name)

    def fresh(self):
        self.house, self.job = self.put("house.yaml", HOUSE), self.put("job.yaml", JOB)
        self.put("red.jsonl", '{"prompt": "How?"}\n')
        write_folder(os.path.join(self.folder, "m"))

    def refused(self, place, words, *command):
        for attempt in range(2):  # a busy machine may stall once
            began = time.monotonic()
            said = self.caid.ctl(*command, expect=3)
            took = time.monotonic() - began
            if took < 1:
                break
        assert took < 1, f"{command}: {took:.1f} s"
        assert place in said and words in said, f"{command}: wanted {place} and {words!r}:\n{said}"
        self.slowest, self.n = max(self.slowest, took), self.n + 1

    def done(self):
        assert self.look() == self.state, "the daemon kept something"
        print(f"     {self.n} refusals, the slowest in {self.slowest:.2f} s")


def place(name, at):
    return f"/{name}:{at}" if at else f"/{name}: error"


def with_bench(test):
    with tempfile.TemporaryDirectory(prefix="caid-bad-") as folder:
        with Real(TOOLS, spawn=0, root=folder) as caid:
            bench = Bench(caid)
            caid.ctl("job", "check", bench.job)  # so that every refusal is for its own reason
            test(bench)
            bench.done()
            assert caid.stop() == 0


def test_constitutions():
    def run(bench):
        for text, at, words in CONSTITUTIONS:
            path = bench.put("house.yaml", text)
            bench.refused(place("house.yaml", at), words, "constitution", "check", path)
            bench.refused(place("house.yaml", at), words, "constitution", "apply", path)
            bench.refused(place("house.yaml", at), words, "submit", bench.job)
    with_bench(run)


def test_jobs():
    def run(bench):
        for text, at, words in JOBS:
            path = bench.put("job.yaml", text)
            bench.refused(place("job.yaml", at), words, "job", "check", path)
            bench.refused(place("job.yaml", at), words, "submit", path)
    with_bench(run)


def test_json_lines():
    def run(bench):
        for member, text, at, words in LINES:
            name = "red.jsonl" if member == "harmful" else "bad.jsonl"
            bench.fresh()
            bench.put(name, text)
            if member != "harmful":
                bench.put("job.yaml", JOB.replace("data: {", f"data: {{{member}: ./bad.jsonl, "))
            bench.refused(place(name, at), words, "job", "check", bench.job)
            bench.refused(place(name, at), words, "submit", bench.job)
    with_bench(run)


def test_a_scalar_head_is_for_the_preference_model():
    def run(bench):
        head = {**with_config(architectures=["LlamaForSequenceClassification"], num_labels=1),
                "model.safetensors": safetensors({**SHAPES, "score.weight": [1, 4]})}
        write_folder(os.path.join(bench.folder, "head"), head)
        for role in ("overseer", "generator"):
            path = bench.put("job.yaml", JOB.replace("./m}", f"./m, {role}: ./head}}"))
            bench.refused(f"/job.yaml:3:{17 + len(role) + 7}", f"'models.{role}'", "submit", path)
        bench.caid.ctl("job", "check", bench.put("job.yaml", JOB.replace("./m}", "./m, pm: ./head}")))
    with_bench(run)


def test_a_family_without_score_heads():
    """What its refusal says to do is then accepted."""
    def run(bench):
        write_folder(os.path.join(bench.folder, "olmo"), {
            **with_config(model_type="olmo2", architectures=["Olmo2ForCausalLM"]), "model.safetensors": OLMO2})
        olmo = JOB.replace("./m}", "./olmo}")
        bench.refused("/job.yaml:3:17", "set models.pm to a model", "submit", bench.put("job.yaml", olmo))
        without = "stages: {prefer: {enabled: false}, ppo: {%s}}\n"
        for good in (JOB.replace("./m}", "./olmo, pm: ./m}"), olmo + without % "algorithm: dpo",
                     olmo + without % "enabled: false"):
            bench.caid.ctl("job", "check", bench.put("job.yaml", good))
        value = JOB.replace("./m}", "./olmo, pm: ./m}") + "stages: {ppo: {value_from: policy}}\n"
        bench.refused("/job.yaml:", "set stages.ppo.value_from: pm", "submit", bench.put("job.yaml", value))
    with_bench(run)


def test_model_folders():
    def run(bench):
        for i, (changes, words) in enumerate(FOLDERS):
            write_folder(os.path.join(bench.folder, f"m{i}"), changes)
            path = bench.put("job.yaml", JOB.replace("./m", f"./m{i}"))
            bench.refused(place("job.yaml", "3:17: error[C04"), words, "job", "check", path)
            bench.refused(place("job.yaml", "3:17: error[C04"), words, "submit", path)
    with_bench(run)


main([test_constitutions, test_jobs, test_json_lines,
      test_a_scalar_head_is_for_the_preference_model, test_a_family_without_score_heads,
      test_model_folders])
