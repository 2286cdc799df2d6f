"""Random texts for the hf parity tests: all scripts, emoji, marks, controls, long runs."""
import unicodedata

WORDS = """the a person asks clerk how do I make tea open box without hurting anyone please and
then it's they've we'll I'D you're can't naïve café Straße größer élève mañana señor ação Ελλάδα
λόγος Привет мир как дела שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดี 你好 世界 こんにちは 世界
カタカナ 안녕하세요 세계 tiếng Việt İstanbul ﬁne ½ ² Ⅷ ٣٤٥ 123 4567 3.14 1,000,000 0x1F
e\u0301te\u0301 a\u030A \u1100\u1161\u11A8 q\u0307\u0323 \u212B camelCase HTTPServer iPhone15 don'T
O'\u017Folution ǅ ʰ বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം සිංහල ລາວ བོད་ မြန်မာ ქართული ኣማርኛ ខ្មែរ ᠮᠣᠩᠭᠣᠯ
ᎣᏏᏲ ᐃᓄᒃ हिन्दी ਪੰਜਾਬੀ ગુજરાતી ଓଡ଼ିଆ Հայերեն ייִדיש اُردُو پښتو""".split()
EMOJI = ["😀", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪", "❤️", "🏴‍☠️", "🤷🏿‍♀️", "🫠", "㊙️", "™", "1️⃣", "#️⃣",
         "🏴\U000E0067\U000E0062\U000E0065\U000E006E\U000E0067\U000E007F", "🇺🇳🇪🇺", "👁️‍🗨️", "🧑🏻‍🤝‍🧑🏿", "☺︎"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "\u200b", " \n ", "\u2028",
          "\u0085", "\x0b", " " * 17, "\n" * 5, "\t\t ", "\u2581", "\u2581\u2581", " \u2581 "]
MARKS = list("""!"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~""") + ["...", "!?", "''", "—", "“x”", "。", "、", "://", "\n/"]
LOOKALIKES = ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|im_", "|>", "<s>", "</s>", "[INST]",
              "<|eot_id|>", "<tool>", "<pad>", "WORD", "aWORDb", "<strip>", "<<|im_end|>>", "TOKeN", "<0x0A>",
              "<unk>", "<bos>", "Ġ", "Ċ"]
# Of blocks of many scripts, first and last, for runs of one script.
BLOCKS = [(0xA1, 0x24F), (0x250, 0x36F), (0x370, 0x52F), (0x531, 0x5FF), (0x600, 0x7BF), (0x7C0, 0x97F),
          (0x980, 0xDFF), (0xE00, 0x109F), (0x10A0, 0x139F), (0x13A0, 0x17FF), (0x1800, 0x1CFF),
          (0x1D00, 0x20CF), (0x20D0, 0x2BFF), (0x2C00, 0x2FFF), (0x3000, 0x33FF), (0x3400, 0xA4CF),
          (0xA4D0, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFFFD), (0x10000, 0x107FF),
          (0x10800, 0x11FFF), (0x12000, 0x16FFF), (0x17000, 0x1AFFF), (0x1B000, 0x1DFFF), (0x1E000, 0x1FAFF),
          (0x20000, 0x323AF), (0xE0000, 0xE01EF), (0x0, 0x1F), (0x7F, 0x9F), (0x32400, 0x10FFFF)]


def is_settled(c):
    """Known to every version of Unicode in use, for patterns that Oniguruma runs."""
    return unicodedata.category(chr(c)) != "Cn"


def random_char(r, first, last, settled):
    while True:
        c = r.randrange(first, last + 1)
        if not 0xD800 <= c < 0xE000 and (not settled or is_settled(c)):
            return chr(c)


def random_run(r, settled):
    """A few characters of one script, or of all."""
    if r.random() < 0.3:
        return "".join(chr(r.randrange(0x20, 0x7F)) for _ in range(r.randrange(1, 8)))
    first, last = r.choice(BLOCKS[:-1] if settled else BLOCKS)
    text = "".join(random_char(r, first, last, settled) for _ in range(r.randrange(1, 8)))
    if r.random() < 0.2:  # a pile of marks
        text = text[0] + "".join(random_char(r, *r.choice([(0x300, 0x36F), (0x300, 0x34E), (0x591, 0x5C7), (0x64B, 0x65F)]),
                                             settled) for _ in range(r.randrange(1, 6))) + text[1:]
    return text


def lookalike(r, tokens):
    """A special token as it is, cut, doubled, in another case, or with something put in."""
    t = r.choice(tokens)
    k, i = r.random(), r.randrange(len(t))
    if k < 0.5:
        return t
    return (t[:i] if k < 0.6 else t + t[i:] if k < 0.7 else t.swapcase() if k < 0.8 else
            t[:i] + r.choice([" ", "\u200b", "\u0301", t]) + t[i:])


def random_text(r, lookalikes=True, settled=False):
    tokens = LOOKALIKES if lookalikes is True else list(lookalikes or []) + LOOKALIKES
    parts = []
    for _ in range(r.choice([0, 1, 2, 5, 12, 40])):
        k = r.random()
        if k < 0.45:
            parts.append(r.choice(WORDS))
        elif k < 0.65:
            parts.append(r.choice(SPACES))
        elif k < 0.75:
            parts.append(r.choice(MARKS))
        elif k < 0.80:
            parts.append(r.choice(EMOJI))
        elif k < 0.88 and lookalikes:
            parts.append(lookalike(r, tokens))
        elif k < 0.98:
            parts.append(random_run(r, settled))
        else:
            parts.append(r.choice("aA1 \n.é漢▁ \t’") * r.randrange(1, 300))
        if r.random() < 0.4:
            parts.append(" ")
    return "".join(parts)
