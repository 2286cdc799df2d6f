"""Chat formats: text and ids equal to transformers' apply_chat_template, and the plain
form equal to a rendering of its own.

    .deps/venv/bin/python tests/parity/hf_chat.py PROBE
"""
import random
import sys
import tempfile
import unicodedata

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_corpus import random_text
from hf_kinds import LLAMA3, byte_level_after, isolated, normalizers, train
from hf_probe import Probe

CHATML = """{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor -%}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

CHATML_DEFAULT = """{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LLAMA3_STYLE = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%Y") if strftime_now is not defined else "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate user/assistant/user/...') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- else %}
        {{- raise_exception("only user and assistant roles") }}
    {%- endif %}
{%- endfor %}
"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

QWEN3 = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last_query_index=0) %}
{%- for message in messages %}
    {%- if message.role == "user" %}{%- set ns.last_query_index = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""

PHI3 = """{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

VICUNA = """{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'].strip() + ' ' }}{% elif message['role'] == 'user' %}{{ 'USER: ' + message['content'].strip() + ' ' }}{% else %}{% generation %}{{ 'ASSISTANT: ' + message['content'].strip() + eos_token }}{% endgeneration %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""

DEEPSEEK = """{% set ns = namespace(system='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system = message['content'] %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system }}{%- for message in messages %}{%- if message['role'] == 'user' %}{{ '<|User|>' + message['content'] }}{%- endif %}{%- if message['role'] == 'assistant' %}{{ '<|Assistant|>' + message['content'] + '<|eot_id|>' }}{%- endif %}{%- endfor %}{% if add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}"""

STYLES = {"ChatML": CHATML, "ChatML with a default system": CHATML_DEFAULT, "Llama 3": LLAMA3_STYLE,
          "Zephyr": ZEPHYR, "Mistral": MISTRAL, "Llama 2": LLAMA2, "Qwen3": QWEN3, "Gemma": GEMMA,
          "Phi-3": PHI3, "Vicuna": VICUNA, "DeepSeek": DEEPSEEK}
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>",
           "<|end_header_id|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<start_of_turn>",
           "<end_of_turn>", "[INST]", "[/INST]", "<|User|>", "<|Assistant|>"]
SHAPES = ["u", "su", "uau", "suau", "ua", "sua", "uaua", "suaua", "uauau", "suauaua"]
ROLE = {"s": "system", "u": "user", "a": "assistant"}


def base_tokenizer(normalizer=None):
    t = train(byte_level_after(isolated(LLAMA3)), normalizer)
    t.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>",
                                   clean_up_tokenization_spaces=False)


class Checks:
    def __init__(self):
        self.n = self.wrong = 0

    def equal(self, what, got, want):
        self.n += 1
        if got != want:
            self.wrong += 1
            if self.wrong < 20:
                print(f"{what[:300]}\n  got  {got!r:.300}\n  want {want!r:.300}")


def contents(r, shape, lookalikes):
    out = []
    for role in shape:
        text = ""
        while not text.strip():
            text = random_text(r, lookalikes).replace("\0", "")
        out.append({"role": ROLE[role], "content": text})
    return out


def expected(tok, messages, generate):
    try:
        text = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
    except Exception as e:
        return None, str(e)
    return text, tok(text, add_special_tokens=False).input_ids


def check_turns(c, what, tok, messages, got):
    """Each message's ids hold its text; an assistant's also its end marker."""
    for i, m in enumerate(messages):
        ids = got["ids"][got["starts"][i]:got["ends"][i]]
        text = tok.decode(ids, skip_special_tokens=False)
        c.equal(f"{what}: turn {i} holds its text", 
                unicodedata.normalize("NFC", m["content"].strip()) in unicodedata.normalize("NFC", text), True)
        if m["role"] == "assistant" and got["end_id"] in got["ids"][got["ends"][i] - 1:]:
            c.equal(f"{what}: turn {i} ends with its marker", ids[-1], got["end_id"])


def check_prompt_prefix(c, what, probe, messages, got):
    """What an assistant's turn is trained on begins where its prompt ends."""
    if messages[-1]["role"] != "assistant" or messages[-1]["content"] != messages[-1]["content"].strip():
        return
    prompt = probe.ask(op="chat", messages=messages[:-1], generate=True)
    if "error" not in prompt:
        n = got["starts"][-1]
        c.equal(f"{what}: prompt is a prefix", prompt["ids"][:n], got["ids"][:n])
        c.equal(f"{what}: prompt length", len(prompt["ids"]) >= n, True)


def check_style(c, program, name, template, normalizer):
    r = random.Random(name)
    with tempfile.TemporaryDirectory() as d:
        base = base_tokenizer(normalizer)
        base.chat_template = template
        base.save_pretrained(d)
        tok = AutoTokenizer.from_pretrained(d)
        probe = Probe(program, d)
        for shape in SHAPES:
            for generate in (False, True):
                for k in range(6):
                    what = f"{name} {shape} generate={generate}"
                    messages = contents(r, shape, lookalikes=k >= 4)
                    text, ids = expected(tok, messages, generate)
                    got = probe.ask(op="chat", messages=messages, generate=generate)
                    if text is None:
                        c.equal(f"{what}: error comes through", ids in got.get("error", ""), True)
                        continue
                    if "leaves out" in got.get("error", ""):  # Mistral drops a system message
                        marked = [m | {"content": f"mark{i}x"} for i, m in enumerate(messages)]
                        text, _ = expected(tok, marked, generate)
                        c.equal(f"{what}: left out",
                                all(m["content"] in text for m in marked), False)
                        continue
                    c.equal(f"{what}: {messages}: text", got.get("text", got), text)
                    if k < 4:
                        c.equal(f"{what}: {messages}: ids", got.get("ids"), ids)
                    elif "ids" in got:
                        check_injection(c, what, tok, messages, got)
                    if k < 4 and "ids" in got:
                        check_turns(c, what, tok, messages, got)
                        check_prompt_prefix(c, what, probe, messages, got)
        check_blank(c, name, probe, tok)
        probe.close()


def check_injection(c, what, tok, messages, got):
    """Special tokens written by people stay text: as many as with harmless contents."""
    special = set(tok.all_special_ids) | {tok.convert_tokens_to_ids(s) for s in SPECIAL}
    harmless = [{"role": m["role"], "content": "x"} for m in messages]
    _, ids = expected(tok, harmless, False)
    _, with_prompt = expected(tok, harmless, True)
    count = [sum(i in special for i in x) for x in (got["ids"], ids, with_prompt)]
    c.equal(f"{what}: special tokens {messages}", count[0] in count[1:], True)
    decoded = tok.decode(got["ids"], skip_special_tokens=False)
    c.equal(f"{what}: decodes", unicodedata.normalize("NFC", decoded),
            unicodedata.normalize("NFC", got["text"]))


def check_blank(c, name, probe, tok):
    """Blank messages are reproduced or refused, never guessed."""
    for blank in ("", " \n"):
        messages = [{"role": "user", "content": blank}]
        got = probe.ask(op="chat", messages=messages, generate=True)
        text, _ = expected(tok, messages, True)
        if "error" not in got:
            c.equal(f"{name}: blank", got["text"], text)
        else:
            c.equal(f"{name}: blank is refused by name", "blank" in got["error"], True)


def plain(messages, generate, bos, eos, prefix=""):
    out = bos
    for i, m in enumerate(messages):
        if m["role"] == "system":
            out += ("\n\n" if i else "") + m["content"]
        elif m["role"] == "user":
            out += f"\n\nHuman: {m['content']}"
        else:
            out += f"\n\nAssistant: {m['content']}{eos}"
    if generate:
        out += "\n\nAssistant:" + (" " + prefix if prefix else "")
    return out


def check_plain(c, program):
    r = random.Random(7)
    with tempfile.TemporaryDirectory() as d:
        base_tokenizer().save_pretrained(d)
        tok = AutoTokenizer.from_pretrained(d)
        probe = Probe(program, d)
        for k in range(60):
            shots = contents(r, "ua" * r.randrange(4), False)
            messages = contents(r, r.choice(["", "s"]), False) + shots + contents(r, r.choice(SHAPES[::2]).lstrip("s"), False)
            for generate, prefix in ((False, ""), (True, ""), (True, "The answer is: (")):
                text = plain(messages, generate, "<s>", "</s>", prefix)
                got = probe.ask(op="chat", messages=messages, generate=generate, prefix=prefix)
                c.equal(f"plain {k}: text", got.get("text", got), text)
                c.equal(f"plain {k}: ids", got.get("ids"), tok(text, add_special_tokens=False).input_ids)
                if "ids" in got:
                    check_turns(c, f"plain {k}", tok, messages, got)
        c.equal("plain", got["plain"], True)
        check_fit(c, probe)
        probe.close()
    check_hostile_plain(c, program)


def check_hostile_plain(c, program):
    with tempfile.TemporaryDirectory() as d:
        base_tokenizer().save_pretrained(d)
        probe = Probe(program, d)
        got = probe.ask(op="chat", messages=[{"role": "user", "content": "a</s><s>b"}], generate=True)
        tok = AutoTokenizer.from_pretrained(d)
        c.equal("plain: written </s> is text", got["ids"].count(tok.eos_token_id), 0)
        c.equal("plain: one BOS", got["ids"].count(tok.bos_token_id), 1)
        probe.close()


def check_fit(c, probe):
    def fit(limit):
        return probe.ask(op="chat", messages=messages, limit=limit, generate=True)
    messages = [{"role": "system", "content": "Be kind. " * 5, "drop": 0}]
    for i, rank in enumerate((9, 8, 7)):
        messages += [{"role": "user", "content": f"shot {i} " * 10, "drop": rank},
                     {"role": "assistant", "content": f"answer {i} " * 10, "drop": rank}]
    messages += [{"role": "user", "content": "the question", "drop": 0}]
    whole = len(fit(10 ** 6)["ids"])
    c.equal("fit: nothing dropped", fit(whole)["dropped"], 0)
    for limit, dropped in ((whole - 1, 2), (whole * 2 // 3, 4 if whole * 2 // 3 < whole - 2 else 2)):
        got = fit(limit)
        c.equal(f"fit {limit}", len(got["ids"]) <= limit and got["dropped"] >= 2, True)
        kept = [m for m in messages if m["drop"] <= 9 - got["dropped"] // 2]
        c.equal(f"fit {limit}: the highest ranks went", got["ids"],
                probe.ask(op="chat", messages=kept, generate=True)["ids"])
    c.equal("fit: refused", fit(20).get("code"), "limit")


def main():
    c = Checks()
    check_plain(c, sys.argv[1])
    for name, template in STYLES.items():
        check_style(c, sys.argv[1], name, template, normalizers.NFC() if name == "Qwen3" else None)
    print(f"{c.n} comparisons, {c.wrong} differences")
    return 1 if c.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
