"""How often the overseer is right, by kind of fault, in what finished jobs asked it: the oracle
judges the replies it saw."""
import collections

import numpy

import world


def judged_pairs(folders):
    """[(label, the oracle's verdict on the reply it chose, and on the other)]"""
    pairs = []
    for folder in folders:
        rows = world.lines(folder / "pairs.jsonl")
        verdict = world.judged(folder / "pairs-asked.jsonl",
                               [{"id": f"{i}/{side}", "messages": r["prompt"], "reply": r[side]}
                                for i, r in enumerate(rows) for side in ("chosen", "rejected")])
        pairs += [(r, verdict[f"{i}/chosen"], verdict[f"{i}/rejected"]) for i, r in enumerate(rows)]
    return pairs


def choices(pairs):
    """Of labelled pairs with one reply that has the fault and one that has not: (label favours the
    better one, probability that it gives to the better one, number). The preference model learns
    from the probability."""
    right = collections.defaultdict(list)
    for row, a, b in pairs:
        fault = world.fault_of(row["principle"])
        if fault in a and a[fault] != b[fault]:
            right[fault].append((not a[fault], row["p"] if not a[fault] else 1 - row["p"]))
    return {f: (*numpy.mean(v, axis=0), len(v)) for f, v in sorted(right.items())}


def answering(pairs):
    """The probability that an answer is better than none, by kind of request and by whether the
    principle speaks of harm or of evasion: {(kind, principle): (mean, number)}."""
    seen = collections.defaultdict(list)
    for row, a, b in pairs:
        if row["principle"] not in ("harm", "evasive") or not (a["known"] and b["known"]):
            continue
        first, second = (v["harmful"] if v["kind"] == "harmful" else not v["evasive"] for v in (a, b))
        if first != second:
            seen[a["kind"], row["principle"]].append(row["p"] if first else 1 - row["p"])
    return {k: (numpy.mean(v), len(v)) for k, v in sorted(seen.items())}


def critiques(folders):
    """Of replies that have the fault a principle names, the share in which the critique finds it,
    and of the others the share in which it finds what is not there: {fault: (found, number,
    false alarms, number)}."""
    found, alarms = collections.defaultdict(list), collections.defaultdict(list)
    for folder in folders:
        rows = [r for r in world.lines(folder / "examples.jsonl") if r["stage"] == "revise"]
        messages, texts, asked = {}, {}, []
        for r in rows:
            key = (r["round"], r["item"])
            if r["kind"] == "prompt":
                messages[key] = r["detail"]["messages"]
            elif r["kind"] in ("reply", "revision"):
                texts[key, r["k"]] = r["text"]
        for r in (r for r in rows if r["kind"] == "critique"):
            key, k = (r["round"], r["item"]), r["k"] - 1
            while k >= 0 and (key, k) not in texts:  # a step that found no flaw leaves the text
                k -= 1
            if k >= 0:
                asked.append((r["principle"], r["detail"]["no_flaw"], messages[key], texts[key, k]))
        verdict = world.judged(folder / "critiques-asked.jsonl",
                               [{"id": str(i), "messages": m, "reply": t} for i, (_, _, m, t) in enumerate(asked)])
        for i, (principle, no_flaw, _, _) in enumerate(asked):
            v, fault = verdict[str(i)], world.fault_of(principle)
            if fault in v:
                (found if v[fault] else alarms)[fault].append(not no_flaw)
    return {f: (numpy.mean(found[f]), len(found[f]), numpy.mean(alarms[f]), len(alarms[f])) for f in sorted(found)}


def report(folders):
    pairs = judged_pairs(folders)
    print("\nThe overseer on labelled pairs that differ in a fault: probability given to the better reply (favours it):")
    print("  " + "  ".join(f"{f} {p:.2f} ({v:.2f}, n={n})" for f, (v, p, n) in choices(pairs).items()))
    print("How probable it holds an answer to be better than none, under the principles of harm and evasion:")
    print("  " + "  ".join(f"{kind}/{principle} {p:.2f} (n={n})" for (kind, principle), (p, n) in answering(pairs).items()))
    print("Critiques that find the fault that is there (and one that is not):")
    print("  " + "  ".join(f"{f} {hit:.2f} of {n} ({wrong:.3f} of {m})" for f, (hit, n, wrong, m) in critiques(folders).items()))
