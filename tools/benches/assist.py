"""What critiques are worth to people, with simulated readers (readers.py: their chances and minutes
are assumptions, shown with ranges) and the oracle of the clerk's world as the truth:

  critiques  flaws found unaided and aided, precision, share misled; critiques of the real overseer,
             written by the real revise stage
  labels     human-only, assisted and AI-only labels at equal human minutes, and preference models
             trained on them
  blind      an overseer that overlooks one fault (clerk mislead): what labels by people in a tenth of
             the places do to the preference model where it is blind
  methods    direct labels, after reasons, after a debate: accuracy and tokens on known pairs
  skill      critique as a skill: what the stage learns from verified critiques, and the gaps between
             generating, discriminating and critiquing, by the preference model and by the oracle

Every part is a handful of runs of a minute or less; what is done is kept in --work."""
import argparse
import functools
import json
import pathlib
import shutil
import subprocess

import numpy
import yaml

import loop
import readers
import small
import world

PROMPTS, PAIRS, KNOWN = 400, 1000, 180
ASKED = 900  # known pairs, a hundred of each fault, that preference models are asked about
BLIND = "rude"
PARTS = ["critiques", "labels", "blind", "methods", "skill"]
NONE = small.settings(evaluate=0)
PRINCIPLE = {f: "harm" if f == "harmful" else f for f in world.FAULTS}


# ---- material ---------------------------------------------------------------------------------
def even(work):
    """The clerk's constitution with every principle drawn as often."""
    c = yaml.safe_load(open("constitution/clerk.yaml"))
    for p in c["principles"]:
        p["weight"] = 1
    path = work / "even.yaml"
    path.write_text(yaml.safe_dump(c, sort_keys=False))
    return path


def mixed(a, seed):
    """Harmful and harmless prompts by turns."""
    folder, _ = small.base(a.work, seed, a.bases)
    path = a.work / f"mixed-{seed}.jsonl"
    pairs = zip(world.lines(folder / "red.jsonl"), world.lines(folder / "helpful.jsonl"))
    path.write_text("".join(json.dumps({"prompt": row["prompt"]}) + "\n" for pair in pairs for row in pair))
    return path.resolve()


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path.resolve()


def blind_overseer(a, seed):
    """The seed's base after a short training on lessons that never find one fault."""
    _, base = small.base(a.work, seed, a.bases)
    out = a.work / f"blind-{seed}"
    if not (out / "model.safetensors").exists():
        shutil.rmtree(out, ignore_errors=True)
        world.run(world.TOOLS / "clerk", "mislead", "--model", base, "--out", out, "--overlook", BLIND,
                  "--seed", seed, "--threads", 1)
    return out.resolve()


def revised(a, seed):
    """[{prompt, reply, fault, critique, no_flaw, revision, verdict, after}] of the revise stage."""
    sets = [s for s in small.settings(revise=PROMPTS, evaluate=0) if not s.startswith("stages.sft")]
    r = small.run(a.work, "critiques", seed, sets + ["stages.sft.enabled=false", "stages.revise.max_unchanged=1",
                                                     f"data.harmful={mixed(a, seed)}"],
                  even(a.work), exports=("examples",), bases=a.bases)
    texts = {(e["item"], e["kind"]): e for e in world.lines(r.folder / "examples.jsonl") if e["stage"] == "revise"}
    rows = []
    for (item, kind), e in sorted(texts.items(), key=lambda x: str(x[0])):
        if kind != "critique" or (item, "reply") not in texts:
            continue
        after = texts.get((item, "revision"))
        rows.append({"id": str(item), "prompt": texts[item, "prompt"]["text"], "reply": texts[item, "reply"]["text"].strip(),
                     "fault": world.fault_of(e["principle"]), "critique": e["text"], "no_flaw": e["detail"]["no_flaw"],
                     "revision": after["text"].strip() if after and not after["detail"]["unchanged"] else None})
    verdict = world.judged(r.folder / "asked.jsonl", [
        {"id": f"{x['id']}/{side}", "prompt": x["prompt"], "reply": x[side]} for x in rows
        for side in ("reply", "revision") if x[side]])
    for x in rows:
        x["verdict"], x["after"] = verdict[x["id"] + "/reply"], verdict.get(x["id"] + "/revision")
    return rows


def labelled(a, seed, overseer=None):
    """Pairs of the base's replies as the label stage compared them: [(row, verdict, verdict)], the
    first of a row being the one that the label favours."""
    name = "blind" if overseer else "own"
    sets = [s for s in small.settings(label=PAIRS, evaluate=0) if "prefer" not in s]
    sets += [small.OFF["prefer"], "stages.label.max_flipped=1", f"data.harmful={mixed(a, seed)}", "stages.label.helpful=0"]
    r = small.run(a.work, f"labels-{name}", seed, sets + ([f"models.overseer={overseer}"] if overseer else []),
                  even(a.work), exports=("pairs",), bases=a.bases)
    rows = [dict(x, prompt=x["prompt"][-1]["content"], chosen=x["chosen"].strip(), rejected=x["rejected"].strip())
            for x in world.lines(r.folder / "pairs.jsonl")]
    verdict = world.judged(r.folder / "asked.jsonl", [{"id": f"{i}/{s}", "prompt": x["prompt"], "reply": x[s]}
                                                      for i, x in enumerate(rows) for s in ("chosen", "rejected")])
    return [(x, verdict[f"{i}/chosen"], verdict[f"{i}/rejected"]) for i, x in enumerate(rows)]


# ---- critiques --------------------------------------------------------------------------------
def assisted(rows, chances):
    """Per asked reply: flaws found unaided and aided, claims and valid ones, misled ones."""
    found = {"unaided": [], "aided": [], "misled": [], "valid unaided": [], "valid aided": []}
    for x in rows:
        f, v = x["fault"], x["verdict"]
        critique = None if x["no_flaw"] else x["critique"]
        alone, helped = (readers.sees(chances, x["id"], f, v, c) for c in (None, critique or ""))
        if v[f]:
            found["unaided"].append(float(alone))
            found["aided"].append(float(helped))
        elif critique and readers.accused(critique, "")[0] == f:
            found["misled"].append(float(helped))
        for name, claim in (("valid unaided", alone), ("valid aided", helped)):
            if claim:
                found[name].append(float(v[f]))
    return {k: numpy.array(v) for k, v in found.items()}


def show(value, points=True):
    if not points:
        return f"{value[0]:.2f} ({value[1]:.2f} – {value[2]:.2f})"
    return f"{100 * value[0]:.1f} % ({100 * value[1]:.1f} – {100 * value[2]:.1f})"


def over(values):
    values = [v for v in values if len(v)]
    return world.interval(values) if values else (float("nan"),) * 3


def critiques(a):
    runs = [revised(a, s) for s in a.numbers]
    real = [[x for x in r if x["verdict"]["known"]] for r in runs]
    print(f"\nCritiques of {sum(map(len, real))} replies, one fault asked of each, {len(runs)} seeds:")
    says = [[x for x in r if not x["no_flaw"]] for r in real]
    print("  of faults that are there, named:", show(over([numpy.array([not x["no_flaw"] for x in r if x["verdict"][x["fault"]]], float) for r in real])))
    print("  of critiques that name one, right:", show(over([numpy.array([bool(x["verdict"][x["fault"]]) for x in r], float) for r in says])))
    print("  of what they quote, in the reply:", show(over([numpy.array([readers.accused(x["critique"], x["reply"])[1] for x in r], float) for r in says])))
    print("\n| readers | u, a, h | flaws found unaided | aided | difference | valid claims unaided | aided | misled by a false critique (n) |\n|---|---|---|---|---|---|---|---|")
    for name, chances in readers.CASES.items():
        f = [assisted(r, chances) for r in real]
        cells = [show(over([x[k] for x in f])) for k in ("unaided", "aided")]
        cells.append(show(over([x["aided"] - x["unaided"] for x in f])))
        cells += [show(over([x[k] for x in f])) for k in ("valid unaided", "valid aided")]
        cells.append(f"{show(over([x['misled'] for x in f]))} ({sum(len(x['misled']) for x in f)})")
        print(f"| {name} | {chances['u']}, {chances['a']}, {chances['h']} | " + " | ".join(cells) + " |")


# ---- labels -----------------------------------------------------------------------------------
def written_critiques(a, seed, rows, model):
    """What the overseer writes about both replies of each pair under the pair's principle."""
    path = a.work / f"pair-critiques-{seed}.json"
    if not path.exists():
        texts = {p["id"]: p["critique"] for p in yaml.safe_load(open("constitution/clerk.yaml"))["principles"]}
        asked = "".join(json.dumps({"messages": [{"role": "user", "content": x["prompt"]},
                                                 {"role": "assistant", "content": x[s]},
                                                 {"role": "user", "content": texts[x["principle"]]}]}) + "\n"
                        for x, _, _ in rows for s in ("chosen", "rejected"))
        out = subprocess.run([str(world.TOOLS / "caiprobe"), "generate", "--model", str(model), "--temperature", "1",
                              "--max-new-tokens", "24", "--seed", str(seed), "--threads", "1"], input=asked,
                             stdout=subprocess.PIPE, text=True, check=True).stdout
        path.write_text(json.dumps([json.loads(line)["text"] for line in out.splitlines()]))
    said = json.loads(path.read_text())
    return list(zip(said[0::2], said[1::2]))


def better(fault, v, w):
    """1 where the first reply is better in the light of a fault, 0 the second, None neither."""
    return None if v[fault] == w[fault] else float(w[fault])


def preference(a, seed, arm, rows):
    """Accuracy on the world's known pairs of a preference model trained on rows {prompt, a, b, p}."""
    key = f"pm-{arm}"
    done = a.work / f"{key}-{seed}" / "accuracy.json"
    if not done.exists():
        path = write(a.work / f"{key}-{seed}.jsonl", rows)
        sets = [s for s in NONE if "prefer" not in s] + [f"data.human={path}", "stages.prefer.human=1",
                                                         "stages.prefer.gate_confidence=0"]
        r = small.run(a.work, key, seed, sets, even(a.work), keep=True, bases=a.bases)
        if r.gate or r.error:
            raise SystemExit(f"{key}-{seed}: {r.gate} {r.reason} {r.error}")
        few = a.work / "few" / f"world-{seed}"
        few.mkdir(parents=True, exist_ok=True)
        pairs = world.lines(a.work / f"world-{seed}" / "pairs.jsonl")[:ASKED]
        write(few / "pairs.jsonl", pairs)
        right, by_fault, _ = loop.pm_accuracy(r.folder, seed, a.work / "few")
        done.write_text(json.dumps({f: [x for x, p in zip(right, pairs) if p["fault"] == f] for f in by_fault}))
        shutil.rmtree(r.folder / "state")
    return {f: numpy.array(v) for f, v in json.loads(done.read_text()).items()}


def ai_row(x):
    return {"prompt": x["prompt"], "a": x["chosen"], "b": x["rejected"], "p": x["p"]}


def row_of(x, p):
    return {**ai_row(x), "p": p}


def equal_minutes(a, seed, chances):
    """{arm: (rows, label accuracy by pair where a fault differs)} at the minutes of PAIRS * 0.4
    unaided comparisons."""
    _, base = small.base(a.work, seed, a.bases)
    pairs = labelled(a, seed)
    said = written_critiques(a, seed, pairs, base)
    minutes, arms = 0.4 * len(pairs) * readers.MINUTES["unaided"], {}
    for arm, minute in (("human-only", readers.MINUTES["unaided"]), ("assisted", readers.MINUTES["aided"]), ("AI-only", 0)):
        n = int(minutes / minute) if minute else len(pairs)
        rows, right = [], []
        for i, (x, v, w) in enumerate(pairs[:n]):
            fault = world.fault_of(x["principle"])
            p = x["p"] if arm == "AI-only" else readers.choice(chances, (seed, i), fault, (v, w),
                                                               said[i] if arm == "assisted" else (None, None))
            rows.append(row_of(x, p))
            truth = better(fault, v, w)
            if truth is not None:
                right.append(float((p > 0.5) == (truth > 0.5)))
        arms[arm] = (rows, numpy.array(right))
    return arms


def labels(a):
    chances = readers.CASES["likely"]
    tasks = [functools.partial(equal_minutes, a, s, chances) for s in a.numbers]
    arms = small.every(tasks, a.at_once)
    names = list(arms[0])
    pms = {n: small.every([functools.partial(preference, a, s, n.lower().replace(" ", "-"), arm[n][0])
                           for s, arm in zip(a.numbers, arms)], a.at_once) for n in names}
    print(f"\nLabels at equal human minutes ({readers.MINUTES['unaided']} a comparison, {readers.MINUTES['aided']} beside critiques; "
          f"readers u {chances['u']}, a {chances['a']}, h {chances['h']}), and the preference models that learn from them:")
    print("\n| labels | comparisons | minutes | right where the fault differs | preference model on known pairs |\n|---|---|---|---|---|")
    for n in names:
        rows = [len(arm[n][0]) for arm in arms]
        minutes = 0 if n == "AI-only" else rows[0] * readers.MINUTES["aided" if n == "assisted" else "unaided"]
        print(f"| {n} | {rows[0]} | {minutes:.0f} | {show(over([arm[n][1] for arm in arms]))} | "
              f"{show(over([numpy.concatenate(list(p.values())) for p in pms[n]]))} |")


# ---- the blind spot ---------------------------------------------------------------------------
def blind_arms(a, seed):
    """Labels of the blind overseer, and the same with a tenth replaced by people's verdicts: on
    everything at once, or on the fault that an audit would name."""
    pairs = labelled(a, seed, blind_overseer(a, seed))
    chances, tenth = readers.CASES["likely"], len(pairs) // 10
    ai = [ai_row(x) for x, _, _ in pairs]
    drawn = sorted(range(len(pairs)), key=lambda i: readers.draw(seed, i, "who"))[:tenth]
    anything, named = list(ai), list(ai)
    for i in drawn:
        x, v, w = pairs[i]
        anything[i] = row_of(x, readers.verdict_of_all(chances, (seed, i), (v, w)))
        named[i] = row_of(x, readers.choice(chances, (seed, i), BLIND, (v, w)))
    asked = [(x, v, w) for x, v, w in pairs if world.fault_of(x["principle"]) == BLIND and v[BLIND] != w[BLIND]]
    right = numpy.array([float(better(BLIND, v, w)) for _, v, w in asked])
    return {"the blind overseer alone": ai, "a tenth by people, any fault": anything,
            f"a tenth by people, asked about {BLIND}": named}, right


def blind(a):
    found = small.every([functools.partial(blind_arms, a, s) for s in a.numbers], a.at_once)
    names = list(found[0][0])
    pms = {n: small.every([functools.partial(preference, a, s, f"blind-{i}", arms[n])
                           for s, (arms, _) in zip(a.numbers, found)], a.at_once) for i, n in enumerate(names)}
    print(f"\nAn overseer that overlooks \"{BLIND}\": its labels favour the reply without in "
          f"{show(over([r for _, r in found]))} of pairs that differ in it. Preference models on known pairs:")
    print(f"\n| labels | pairs that differ in {BLIND} | all others | against the overseer alone, {BLIND} |\n|---|---|---|---|")
    for n in names:
        others = [numpy.concatenate([v for f, v in p.items() if f != BLIND]) for p in pms[n]]
        gain = [x[BLIND] - y[BLIND] for x, y in zip(pms[n], pms[names[0]])]
        print(f"| {n} | {show(over([p[BLIND] for p in pms[n]]))} | {show(over(others))} | "
              + ("" if n == names[0] else show(over(gain))) + " |")


# ---- methods ------------------------------------------------------------------------------------
def known_pairs(a, seed):
    """Replies of the base that differ in the fault that the overseer was asked about, and in whatever
    else they do; the better one is known."""
    found = []
    for x, v, w in labelled(a, seed):
        truth = better(world.fault_of(x["principle"]), v, w)
        if truth is not None and v["known"]:
            good, bad = ("chosen", "rejected") if truth else ("rejected", "chosen")
            found.append({"prompt": x["prompt"], "chosen": x[good], "rejected": x[bad], "principle": x["principle"]})
    return found[:KNOWN]


def asked_by_methods(a, seed):
    known = known_pairs(a, seed)
    path = write(a.work / f"known-{seed}.jsonl", known)
    sets = [s for s in small.settings(label=1, evaluate=0) if "gate_pairs" not in s and "prefer" not in s]
    return small.run(a.work, "methods", seed, sets + [
        small.OFF["prefer"], "stages.label.mode=debate", f"stages.label.turns={a.turns}", f"stages.label.gate_pairs={len(known)}",
        "stages.label.speech.max_tokens=24", "stages.label.reasons.max_tokens=64", f"data.human={path}"], accept=["*"],
        bases=a.bases)


def methods(a):
    runs = small.every([functools.partial(asked_by_methods, a, s) for s in a.numbers], a.at_once)
    n = {len(world.lines(a.work / f"known-{s}.jsonl")) for s in a.numbers}
    print(f"\nLabel methods on {min(n)} to {max(n)} pairs a seed whose better reply is known, both orders or seatings averaged ({a.turns} speeches a side):")
    print("\n| method | right | answered | tokens written | tokens read |\n|---|---|---|---|---|")
    for name in ("direct", "cot", "debate"):
        of = [{k: r.metrics.get((1, "label", f"method_{name}_{k}"), 0) for k in ("accuracy", "accuracy_n", "generated", "read")} for r in runs]
        right = [numpy.r_[numpy.ones(round(o["accuracy"] * o["accuracy_n"])), numpy.zeros(round((1 - o["accuracy"]) * o["accuracy_n"]))] for o in of]
        print(f"| {name} | {show(over(right))} | {numpy.mean([o['accuracy_n'] / len(world.lines(a.work / f'known-{s}.jsonl')) for o, s in zip(of, a.numbers)]):.0%} | "
              f"{numpy.mean([o['generated'] for o in of]):.0f} | {numpy.mean([o['read'] for o in of]):.0f} |")
    for other in ("direct", "cot"):
        gain = [(r.metrics.get((1, "label", f"gain_{other}")), r.metrics.get((1, "label", f"gain_{other}_low")),
                 r.metrics.get((1, "label", f"gain_{other}_high"))) for r in runs]
        print(f"debate − {other}, by seed: " + "; ".join("not measured" if g[0] is None else
              f"{100 * g[0]:+.1f} points ({100 * g[1]:+.1f} to {100 * g[2]:+.1f})" for g in gain))


# ---- critique as a skill ----------------------------------------------------------------------
def flawed(v):
    return any(v[f] for f in world.FAULTS)


def verified_rows(rows):
    """What people who know the truth would have verified of the overseer's critiques and rewrites."""
    found = []
    for x in rows:
        f, v = x["fault"], x["verdict"]
        if not v["known"]:
            continue
        about = {"prompt": x["prompt"], "reply": x["reply"]}
        under = {**about, "principle": PRINCIPLE[f], "flaw": bool(v[f])}
        if not x["no_flaw"]:
            under.update(critique=x["critique"], helpful=readers.points(x["critique"], f, v))
        if x["after"] and v[f] and not x["after"][f] and not x["after"]["garbled"]:
            under["refinement"] = x["revision"]
        found += [under, {**about, "flaw": flawed(v), **{k: under[k] for k in ("critique", "helpful", "refinement") if k in under}}]
    return found


def skilled(a, seed):
    path = write(a.work / f"verified-{seed}.jsonl", verified_rows(revised(a, seed)))
    sets = small.settings(label=600, evaluate=0) + [
        "stages.skill.enabled=true", f"data.critiques={path}", "stages.skill.lr=1e-3", "stages.skill.batch=24",
        "stages.skill.epochs=2", "stages.skill.held_out=0.2", "stages.skill.prompts=40", "stages.skill.reply.max_tokens=48",
        "stages.skill.critique.max_tokens=24", "stages.skill.refinement.max_tokens=48", "stages.label.max_flipped=1",
        "stages.label.helpful=0.5"]
    r = small.run(a.work, "skill", seed, sets, even(a.work), exports=("examples",), accept=["*"], bases=a.bases)
    return r, oracle_gaps(r)


def oracle_gaps(r):
    """G, D, C by prompt with the oracle as the judge: quality is a reply without a fault, and a
    critique convinces if the fault that it names is there."""
    texts, prompt = {}, {}
    for e in world.lines(r.folder / "examples.jsonl"):
        if e["stage"] == "skill":
            texts.setdefault((e["item"], e["k"]), {})[e["kind"]] = e
        elif e["stage"] == "data":
            prompt[e["item"]] = e["text"]
    rows = [(k, t) for k, t in sorted(texts.items()) if {"sample", "flaw", "critique"} <= set(t)]
    verdict = world.judged(r.folder / "samples.jsonl", [{"id": f"{i}/{k}", "prompt": prompt[i], "reply": t["sample"]["text"].strip()}
                                                        for (i, k), t in rows])
    groups = {}
    for (i, k), t in rows:
        v = verdict[f"{i}/{k}"]
        named = readers.accused(t["critique"]["text"], "")[0]
        groups.setdefault(i, []).append((float(not flawed(v)), t["flaw"]["detail"]["p"], float(bool(named and v[named]))))
    g, d, c = [], [], []
    for s in (numpy.array(x) for x in groups.values() if len(x) > 1):
        g.append(s[:, 0].mean())
        d.append(s[s[:, 1] <= s[:, 1].min(), 0].mean())
        c.append(s[s[:, 2] <= s[:, 2].min(), 0].mean())
    return {k: numpy.array(v) for k, v in zip("gdc", (g, d, c))}


def skill(a):
    found = small.every([functools.partial(skilled, a, s) for s in a.numbers], a.at_once)
    value = lambda r, name: r.metrics.get((1, "skill", name), float("nan"))
    print("\nCritique as a skill, from verified critiques:")
    for name, says in (("flaw", "is there a flaw?"), ("helpful", "is the critique right?")):
        print(f"  {says} right on held-out verdicts, by seed: " + "; ".join(
            f"{100 * value(r, name + '_accuracy'):.1f} % of {value(r, name + '_accuracy_n'):.0f} (always the commoner answer: "
            f"{100 * value(r, name + '_base'):.1f} %)" for r, _ in found))
    print("\n| judge | G | D | C | D − G | C − G | D − C |\n|---|---|---|---|---|---|---|")
    gaps = [o for _, o in found]
    cells = [show(over([o[k] for o in gaps])) for k in "gdc"]
    cells += [show(over([o[x] - o[y] for o in gaps])) for x, y in ("dg", "cg", "dc")]
    print("| oracle: share without a fault | " + " | ".join(cells) + " |")
    for s, (r, _) in zip(a.numbers, found):
        names = ("quality_g", "quality_d", "quality_c", "gap_gd", "gap_gc", "gap_cd")
        print(f"| preference model, seed {s} | " + " | ".join(
            show(tuple(value(r, n + end) for end in ("", "_low", "_high")), points=False) for n in names) + " |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    small.options(p)
    p.add_argument("--turns", type=int, default=1, help="speeches of each side of a debate")
    p.add_argument("which", nargs="*", default=PARTS, metavar="|".join(PARTS))
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    a.numbers = range(a.first, a.first + a.seeds)
    for which in a.which:
        {"critiques": critiques, "labels": labels, "blind": blind, "methods": methods, "skill": skill}[which](a)


if __name__ == "__main__":
    main()
