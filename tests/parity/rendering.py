"""What a model is shown for a critique, a revision and a choice, rendered from the canonical form
of a constitution by rules written a second time; then as text and ids in a chat format."""
import re


def fill(frame, **values):
    return re.sub(r"\{([a-z_0-9]+)\}", lambda m: values.get(m[1], m[0]), frame)


def said(prefix, words):
    return prefix + ("" if not prefix or prefix[-1] in " \n" else " ") + words


def of_turns(turns):
    return [(role, words) for turn in turns for role, words in turn.items()]


def system_first(messages):
    return sorted(messages, key=lambda m: m[0] != "system")


def critique(c, principle, messages, written=None):
    """Few-shots, conversation, request; with a critique `written`, the request to revise."""
    f, out = c["frames"], []
    for e in c["critique_examples"]:
        out += of_turns(e["turns"])
        out += [("user", fill(f["critique"], principle=e["critique_request"], no_flaw=f["no_flaw"])),
                ("assistant", said(f["critique_prefix"], e["critique"]))]
        if written is not None and not e["no_flaw"]:
            out += [("user", fill(f["revision"], principle=e["revision_request"])),
                    ("assistant", said(f["revision_prefix"], e["revision"]))]
    out += messages
    out.append(("user", fill(f["critique"], principle=principle["critique"], no_flaw=f["no_flaw"])))
    if written is None:
        return system_first(out), f["critique_prefix"]
    out += [("assistant", said(f["critique_prefix"], written)),
            ("user", fill(f["revision"], principle=principle["revision"]))]
    return system_first(out), f["revision_prefix"]


def choice(c, question, messages, a, b, without=None, reasoned=False, written=None):
    """`reasoned`: reasons come before the answer; with those `written`, what the answer follows."""
    f, out = c["frames"], []
    names = {"system": "System", "user": "Human", "assistant": "Assistant"}

    def ask(messages, question, a, b):
        shown = "\n\n".join(f"{names[r]}: {t}" for r, t in messages)
        return fill(f["reasoned_choice" if reasoned else "choice"], conversation=shown,
                    principle=question, a=a, b=b)

    def before(reasons):
        return said(f["reasoning_prefix"], reasons) + "\n\n" + f["reasoned_prefix"]
    for i, e in enumerate(c["choice_examples"]):
        if i != without and (not reasoned or "reasoning" in e):
            out += [("user", ask(of_turns(e["turns"]), e["choice"], e["a"], e["b"])),
                    ("assistant", (before(e["reasoning"]) if reasoned else f["choice_prefix"])
                     + f["option_" + e["answer"].lower()])]
    prefix = (f["choice_prefix"] if not reasoned else
              f["reasoning_prefix"] if written is None else before(written))
    return out + [("user", ask(messages, question, a, b))], prefix


def any_principle(c):
    return {"critique": c["frames"]["any_critique"], "revision": c["frames"]["any_revision"]}


def asked(c, kind, principle, messages, written=None):
    """The tasks of critique as a skill, without few-shots: (messages, prefix)."""
    f, bare = c["frames"], {**c, "critique_examples": []}
    if kind in ("critique", "revision"):
        return critique(bare, principle, messages, written)
    if kind == "helpful":
        shown, _ = critique(bare, principle, messages)
        return shown + [("assistant", said(f["critique_prefix"], written)), ("user", f["helpful"])], f["verdict_prefix"]
    frame, text, prefix = {"critiqueable": ("critiqueable", "critique", f["verdict_prefix"]),
                           "refinement": ("revision", "revision", f["revision_prefix"]),
                           "tamper": ("tamper", "critique", f["revision_prefix"])}[kind]
    return system_first(messages + [("user", fill(f[frame], principle=principle[text]))]), prefix


def speech(c, d, side, said_before):
    """The next speech of a debate {"messages", "A", "B", "critique"?, "choice"?}."""
    other = "B" if side == "A" else "A"
    shown = "\n".join(("You" if s == side else "Against you") + ": " + t for s, t in said_before) or "(nothing yet)"
    text = fill(c["frames"]["debate"], principle=d.get("critique", d.get("choice", "")), question=d.get("choice", ""),
                mine=d[side], debate=shown)
    return system_first(d["messages"] + [("assistant", d[other])] + [("user", text)]), c["frames"]["debate_prefix"]


def judgement(c, d, said_before):
    names = {"system": "System", "user": "Human", "assistant": "Assistant"}
    shown = "\n\n".join(f"{names[r]}: {t}" for r, t in d["messages"])
    by = {x: " ".join(t for s, t in said_before if s == x) for x in "AB"}
    text = fill(c["frames"]["debated_choice"], conversation=shown, principle=d.get("choice", ""), a=d["A"], b=d["B"],
                debate="\n".join(f"For ({s}): {t}" for s, t in said_before), said_a=by["A"], said_b=by["B"])
    return [("user", text)], c["frames"]["choice_prefix"]


def prompt(tok, messages, prefix):
    """Text and ids. What is written in messages is never a special token."""
    special = [t.content for t in tok.added_tokens_decoder.values() if t.special]
    hide = {s: "".join(chr(0xE000 + 64 * i + j) for j in range(3)) for i, s in enumerate(special)}

    def masked(words):
        for s, h in hide.items():
            words = words.replace(s, h)
        return words
    messages = [(role, masked(words)) for role, words in messages]
    if tok.chat_template:
        whole = tok.apply_chat_template([{"role": r, "content": t} for r, t in messages],
                                        tokenize=False, add_generation_prompt=True) + masked(prefix)
    else:
        whole = tok.bos_token
        for i, (role, words) in enumerate(messages):
            whole += {"system": "\n\n"[:2 * (i > 0)], "user": "\n\nHuman: ",
                      "assistant": "\n\nAssistant: "}[role] + words
            whole += tok.eos_token if role == "assistant" else ""
        whole += "\n\nAssistant:" + (" " + masked(prefix) if prefix else "")
    ids = []
    shown = ""
    for part in re.split("(" + "|".join(map(re.escape, special)) + ")", whole):
        if part in special:
            ids.append(tok.convert_tokens_to_ids(part))
        else:
            for s, h in hide.items():
                part = part.replace(h, s)
            ids += tok(part, add_special_tokens=False, split_special_tokens=True).input_ids
        shown += part
    return shown, ids
