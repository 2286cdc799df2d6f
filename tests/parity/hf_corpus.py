"""Tokenizers trained on the spot and random texts, for the hf parity tests."""
import random
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = (r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"""
          r""" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"""
            r"""[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|"""
            r"""\s+(?!\S)|\s+""")

WORDS = """the a person asks clerk how do I make tea open box without hurting anyone please and
then it's they've we'll I'D you're can't naïve café Straße größer élève mañana señor ação Ελλάδα
λόγος Привет мир как дела שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดี 你好 世界 こんにちは 世界
カタカナ 안녕하세요 세계 tiếng Việt İstanbul ﬁne ½ ² Ⅷ ٣٤٥ 123 4567 3.14 1,000,000 0x1F
e\u0301te\u0301 a\u030A \u1100\u1161\u11A8 q\u0307\u0323 \u212B""".split()
EMOJI = ["😀", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪", "❤️", "🏴‍☠️", "🤷🏿‍♀️", "🫠", "㊙️", "™"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "\u200b", " \n ", "\u2028",
          "\u0085", "\x0b", " " * 17, "\n" * 5, "\t\t "]
MARKS = list("""!"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~""") + ["...", "!?", "''", "—", "“x”", "。", "、"]
LOOKALIKES = ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|im_", "|>", "<s>", "</s>", "[INST]",
              "<|eot_id|>", "<tool>", "<pad>", "WORD", "aWORDb", "<strip>", "<<|im_end|>>", "TOKeN"]


def is_settled(c):
    """Known to every Unicode version in use. `tokenizers` orders combining marks by the
    tables of Unicode 9, so marks must be older than that."""
    c = chr(c)
    if unicodedata.combining(c) and unicodedata.ucd_3_2_0.category(c) == "Cn":
        return False
    return unicodedata.category(c) != "Cn"


def random_char(r):
    k = r.random()
    if k < 0.5:
        return chr(r.randrange(0x20, 0x7F))
    if k < 0.6:
        return chr(r.randrange(1, 0x20))
    while True:
        c = r.randrange(0x80, 0x2000 if k < 0.8 else 0x10000 if k < 0.95 else 0x20000)
        if not 0xD800 <= c < 0xE000 and is_settled(c):
            return chr(c)


def random_text(r, lookalikes=True):
    parts = []
    for _ in range(r.choice([0, 1, 2, 5, 12, 40])):
        k = r.random()
        if k < 0.45:
            parts.append(r.choice(WORDS))
        elif k < 0.65:
            parts.append(r.choice(SPACES))
        elif k < 0.75:
            parts.append(r.choice(MARKS))
        elif k < 0.82:
            parts.append(r.choice(EMOJI))
        elif k < 0.88 and lookalikes:
            parts.append(r.choice(LOOKALIKES))
        elif k < 0.97:
            parts.append("".join(random_char(r) for _ in range(r.randrange(1, 8))))
        else:
            parts.append(r.choice("aA1 \n.é漢") * r.randrange(1, 300))
        if r.random() < 0.4:
            parts.append(" ")
    return "".join(parts)


def training_texts():
    r = random.Random(1)
    for _ in range(3000):
        yield random_text(r, lookalikes=False)


def train(pre, normalizer=None, vocab=700, prefix_space=False):
    t = Tokenizer(models.BPE())
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(training_texts(), trainers.BpeTrainer(
        vocab_size=vocab, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"]))
    return t


def byte_level_after(*steps):
    return pre_tokenizers.Sequence(
        list(steps) + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def isolated(pattern):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


def tokenizers():
    """name → Tokenizer: the kinds of byte-level BPE that checkpoints use."""
    out = {}
    out["gpt2"] = train(pre_tokenizers.ByteLevel(add_prefix_space=False))
    out["gpt2-space"] = train(pre_tokenizers.ByteLevel(add_prefix_space=True))

    t = train(byte_level_after(isolated(LLAMA3)))
    t.add_special_tokens(["<|begin|>", "<|eot_id|>"])
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B:1",
                                      special_tokens=[("<|begin|>", t.token_to_id("<|begin|>"))])])
    out["llama3"] = t

    t = train(byte_level_after(isolated(QWEN)), normalizers.NFC())
    t.add_tokens([AddedToken("<tool>", special=False, normalized=False), "  ", "\n\n\n",
                  AddedToken("WORD", single_word=True), AddedToken("Caf\u00e9", normalized=True),
                  AddedToken("<strip>", lstrip=True, rstrip=True, normalized=False),
                  AddedToken("TOK"), AddedToken("TOKeN", lstrip=True)])
    out["qwen"] = t

    out["smollm"] = train(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    out["digits"] = train(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    out["deepseek"] = train(byte_level_after(
        isolated(r"\p{N}{1,3}"), isolated("[一-龥぀-ゟ゠-ヿ]+"), isolated(DEEPSEEK)))
    for behavior in ["removed", "merged_with_previous", "merged_with_next", "contiguous"]:
        out["split-" + behavior] = train(byte_level_after(
            pre_tokenizers.Split(Regex(r"\s|\p{P}"), behavior=behavior)))
    out["inverted"] = train(byte_level_after(
        pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+"), behavior="removed", invert=True)))
    out["literal"] = train(byte_level_after(pre_tokenizers.Split(" ", "merged_with_next")))
    out["nfkd"] = train(byte_level_after(isolated(GPT2)), normalizers.Sequence(
        [normalizers.NFKD(), normalizers.Replace("  ", " "), normalizers.Strip()]))
    return out


def variants(t):
    """The same tokenizer with ignore_merges, and with merges in the old form."""
    import json
    o = json.loads(t.to_str())
    o["model"]["ignore_merges"] = True
    yield "ignore_merges", json.dumps(o)
    o = json.loads(t.to_str())
    merges = [" ".join(m) if isinstance(m, list) else m for m in o["model"]["merges"]]
    o["model"]["merges"] = ["#version: 0.2"] + merges
    yield "old merges", json.dumps(o)
