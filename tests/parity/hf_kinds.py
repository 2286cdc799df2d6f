"""Tokenizers of the kinds that checkpoints have, each trained on the spot and written in the
shape of that kind's own tokenizer.json."""
import json
import random
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

from hf_corpus import random_text

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = (r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"""
          r""" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (QWEN.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]"))
O200K = (r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"""
         r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"""
         r"""\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"""
            r"""[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|"""
            r"""\s+(?!\S)|\s+""")
SPACE = "\u2581"


def ranges_of(categories, first=0x41, last=0x1E943):
    """The characters of some categories as the inside of a pattern's [class]."""
    known = [c for c in range(first, last + 1) if unicodedata.category(chr(c)) in categories]
    out, at = [], 0
    while at < len(known):
        end = at
        while end + 1 < len(known) and known[end + 1] == known[end] + 1:
            end += 1
        out.append(chr(known[at]) if end == at else f"{chr(known[at])}-{chr(known[end])}")
        at = end + 1
    return "".join(out)


# The steps of DeepSeek-V2 (letters that have a case), before Digits; of DeepSeek Coder.
DEEPSEEK2 = [r"[\r\n]", rf"\s?[{ranges_of(('Lu', 'Ll', 'Lt'))}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$",
             "[一-龥ࠀ-一가-퟿]+"]
CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"]


def training_texts():
    r = random.Random(1)
    for _ in range(3000):
        yield random_text(r, lookalikes=False, settled=True).replace("\0", " ")


def train(pre, normalizer=None, vocab=700, special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), decoder=None,
          **options):
    t = Tokenizer(models.BPE(**options))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoder or decoders.ByteLevel()
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=vocab, show_progress=False, special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        **{k: v for k, v in options.items() if k in ("continuing_subword_prefix", "end_of_word_suffix")}))
    return t


def train_with_bytes(vocab=900, special=("<unk>", "<s>", "</s>")):
    """SentencePiece's BPE: characters, words that begin with ▁, bytes for what is rare."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=vocab, show_progress=False, limit_alphabet=250,
        special_tokens=list(special) + [f"<0x{b:02X}>" for b in range(256)]))
    o = json.loads(t.to_str())
    o["added_tokens"] = []
    for i, content in enumerate(special):
        o["added_tokens"].append(added(i, content, special=True))
    return o


def byte_level_after(*steps):
    return pre_tokenizers.Sequence(
        list(steps) + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def isolated(pattern):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


# ---- shapes -----------------------------------------------------------------------------
def added(i, content, **flags):
    return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": False} | flags


def add_tokens(o, contents, **flags):
    """New tokens at the end of the vocabulary, as checkpoints number them; known ones as they are."""
    i = max(list(o["model"]["vocab"].values()) + [t["id"] for t in o["added_tokens"]])
    for content in contents:
        known = o["model"]["vocab"].get(content)
        i += known is None
        o["added_tokens"].append(added(i if known is None else known, content, **flags))
    return o


def byte_level(**flags):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True} | flags


def split(pattern, kind="Regex", behavior="Isolated"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": False}


def sequence(key, *items):
    return {"type": "Sequence", key: list(items)}


def begins_with(token, i):
    item = [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": item,
            "pair": item + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [i], "tokens": [token]}}}


def id_of(o, content):
    return next(t["id"] for t in o["added_tokens"] if t["content"] == content)


def old_merges(o):
    o["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m for m in o["model"]["merges"]]
    return o


def shaped(t, **parts):
    o = json.loads(t.to_str())
    return o | parts


def gpt2():
    o = shaped(train(pre_tokenizers.ByteLevel(add_prefix_space=False), special=["<|endoftext|>"]),
               pre_tokenizer=byte_level(), post_processor=byte_level(add_prefix_space=True, trim_offsets=False),
               decoder=byte_level(add_prefix_space=True))
    o["model"] |= {"continuing_subword_prefix": "", "end_of_word_suffix": ""}
    o["model"].pop("ignore_merges", None)
    return old_merges(o)


def llama3():
    o = shaped(train(byte_level_after(isolated(LLAMA3)), special=[]), decoder=byte_level(add_prefix_space=True),
               pre_tokenizer=sequence("pretokenizers", split(LLAMA3), byte_level(use_regex=False)))
    add_tokens(o, ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"] +
               [f"<|reserved_special_token_{i}|>" for i in range(250)], special=True)
    o["post_processor"] = sequence("processors", byte_level(use_regex=True, trim_offsets=False, add_prefix_space=True),
                                   begins_with("<|begin_of_text|>", id_of(o, "<|begin_of_text|>")))
    o["model"]["ignore_merges"] = True
    return old_merges(o)


def qwen(pattern, tools):
    flags = {"use_regex": False, "trim_offsets": False}
    o = shaped(train(byte_level_after(isolated(pattern)), normalizers.NFC(), special=[]),
               normalizer={"type": "NFC"}, pre_tokenizer=sequence("pretokenizers", split(pattern), byte_level(**flags)),
               post_processor=byte_level(**flags), decoder=byte_level(**flags))
    add_tokens(o, ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>"], special=True)
    return add_tokens(o, tools)


def deepseek(steps=(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK), digits=False):
    """V3; `digits`: those before, which cut digits apart after the patterns."""
    individual = {"type": "Digits", "individual_digits": True}
    o = shaped(train(byte_level_after(*map(isolated, steps), *[pre_tokenizers.Digits(True)] * digits), special=[]),
               normalizer=sequence("normalizers"), decoder=byte_level(add_prefix_space=True),
               pre_tokenizer=sequence("pretokenizers", *map(split, steps), *[individual] * digits,
                                      byte_level(use_regex=False)))
    add_tokens(o, ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"], special=True)
    add_tokens(o, ["<｜place▁holder▁no▁0｜>", "<think>", "</think>"], normalized=True)
    add_tokens(o, ["<｜User｜>", "<｜Assistant｜>", "<|EOT|>"])
    o["post_processor"] = begins_with("<｜begin▁of▁sentence｜>", id_of(o, "<｜begin▁of▁sentence｜>"))
    return o


def smollm():
    return shaped(train(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False)]),
                        special=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<jupyter_code>"]),
                  pre_tokenizer=sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level()),
                  decoder=byte_level(add_prefix_space=True))


def o200k():
    o = shaped(train(byte_level_after(isolated(O200K)), special=[]), decoder=byte_level(),
               pre_tokenizer=sequence("pretokenizers", split(O200K), byte_level(use_regex=False)))
    o["model"]["ignore_merges"] = True
    return add_tokens(o, ["<|startoftext|>", "<|endoftext|>", "<|start|>", "<|end|>", "<|message|>"], special=True)


def replace(a, b):
    return {"type": "Replace", "pattern": {"String": a}, "content": b}


FALLBACK = [replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def llama2(legacy=True, normalized=False):
    """`legacy` puts ▁ before every text by normalizing, else Metaspace before the first alone."""
    o = train_with_bytes()
    for t in o["added_tokens"]:
        t["normalized"] = normalized
    o |= {"post_processor": begins_with("<s>", 1), "pre_tokenizer": None, "normalizer": None,
          "decoder": sequence("decoders", *FALLBACK, STRIP)}
    if legacy:
        o["normalizer"] = sequence("normalizers", {"type": "Prepend", "prepend": SPACE}, replace(" ", SPACE))
    else:
        o["pre_tokenizer"] = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": False}
    return old_merges(o) if legacy else o


def mistral():
    o = train_with_bytes(special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"))
    return o | {"post_processor": begins_with("<s>", 1), "normalizer": None,
                "pre_tokenizer": {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": False},
                "decoder": sequence("decoders", *FALLBACK, STRIP)}


def gemma():
    o = train_with_bytes(special=("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"))
    o |= {"normalizer": replace(" ", SPACE), "pre_tokenizer": split(" ", "String", "MergedWithPrevious"),
          "decoder": sequence("decoders", *FALLBACK), "post_processor": begins_with("<bos>", 2)}
    add_tokens(o, ["<start_of_turn>", "<end_of_turn>"], special=True)
    return add_tokens(o, ["\n\n", "\n\n\n", SPACE * 2, SPACE * 3, "<table>", "<h1>"])


TOOLS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
# name → what makes its tokenizer.json: the kinds whose every text must come out equal.
MAIN = {"GPT-2": gpt2, "Llama-3": llama3, "Qwen2": lambda: qwen(QWEN, []), "Qwen3": lambda: qwen(QWEN, TOOLS),
        "Qwen3.5": lambda: qwen(QWEN35, TOOLS), "DeepSeek": deepseek,
        "DeepSeek-V2": lambda: deepseek(DEEPSEEK2, True), "DeepSeek Coder": lambda: deepseek(CODER, True),
        "SmolLM": smollm, "o200k": o200k,
        "Llama-2": llama2, "Llama-2, normalized specials": lambda: llama2(normalized=True),
        "Llama-2, Metaspace": lambda: llama2(legacy=False), "Mistral": mistral, "Gemma": gemma}


# ---- single features -----------------------------------------------------------------------
def flags():
    t = train(byte_level_after(isolated(QWEN)), normalizers.NFC())
    t.add_tokens([AddedToken("<tool>", special=False, normalized=False), "  ", "\n\n\n",
                  AddedToken("WORD", single_word=True), AddedToken("Caf\u00e9", normalized=True),
                  AddedToken("<strip>", lstrip=True, rstrip=True, normalized=False),
                  AddedToken("TOK"), AddedToken("TOKeN", lstrip=True)])
    return t


def clip():
    t = train(pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""), "removed",
                             invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
              normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                    normalizers.Lowercase()]),
              special=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>", unk_token="<|endoftext|>")
    t.post_processor = processors.RobertaProcessing(("<|endoftext|>", 1), ("<|startoftext|>", 0))
    return t


def metaspace(scheme, split):
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    t.decoder = decoders.Metaspace(prepend_scheme=scheme)
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(vocab_size=700, show_progress=False, limit_alphabet=300,
                                                               special_tokens=["<unk>", "<s>"]))
    return t


def features():
    """name → tokenizer.json, for one thing each."""
    p = pre_tokenizers
    out = {"flags": flags(), "suffix": clip(),
           "prefix space": train(p.ByteLevel(add_prefix_space=True)),
           "digits": train(p.Sequence([p.Digits(individual_digits=False), p.ByteLevel(add_prefix_space=False)])),
           "ByteLevel before others": train(p.Sequence([
               p.Punctuation("contiguous"), p.ByteLevel(add_prefix_space=False), p.Digits(individual_digits=False),
               isolated("[0-9][0-9][0-9]")])),
           "words": train(byte_level_after(p.Whitespace())),
           "whitespace": train(byte_level_after(p.WhitespaceSplit(), p.Punctuation())),
           "delimiter": train(byte_level_after(p.CharDelimiterSplit("e"), p.FixedLength(3))),
           "inverted": train(byte_level_after(p.Split(Regex(r"\w+|[^\w\s]+"), behavior="removed", invert=True))),
           "literal": train(byte_level_after(p.Split(" ", "merged_with_next"))),
           "NFKD": train(byte_level_after(isolated(GPT2)), normalizers.Sequence(
               [normalizers.NFKD(), normalizers.Replace("  ", " "), normalizers.Strip()])),
           "NFD, accents": train(byte_level_after(isolated(GPT2)), normalizers.Sequence(
               [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])),
           "NFKC, Nmt": train(p.ByteLevel(), normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])),
           "ByteLevel as a normalizer": train(p.WhitespaceSplit(), normalizers.ByteLevel()),
           "prefix": train(p.Whitespace(), continuing_subword_prefix="##", unk_token="<|im_end|>", special=["<|im_end|>"],
                           decoder=decoders.Sequence([decoders.Replace(Regex("^##"), ""), decoders.Strip("x", 1, 0)])),
           "BPEDecoder": train(p.WhitespaceSplit(), end_of_word_suffix="</w>", unk_token="<|im_end|>",
                               special=["<|im_end|>"], decoder=decoders.BPEDecoder())}
    for behavior in ["removed", "merged_with_previous", "merged_with_next", "contiguous"]:
        out["Split, " + behavior] = train(byte_level_after(p.Split(Regex(r"\s|\p{P}"), behavior=behavior)))
    for scheme in ["first", "always", "never"]:
        for cut in (True, False):
            out[f"Metaspace, {scheme}, {cut}"] = metaspace(scheme, cut)
    out = {name: json.loads(t.to_str()) for name, t in out.items()}
    o = gpt2()
    o["model"]["merges"] = ["#version: 0.2"] + o["model"]["merges"]
    return out | {"head of old merges": o}
