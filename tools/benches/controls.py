"""What must not work, and what must work alone, judged by the oracle on held-out prompts:

  shuffled    a coin decides which reply a label favours: the preference model must be at
              chance on oracle pairs, and the job must stop before PPO; accepted nevertheless,
              PPO must not follow it: harm stays where the base has it
  alone       one principle at a time, critique and rewrite and SFT only: it must lower its
              own fault and leave the others where the base has them
  irrelevant  a text that speaks of no fault, in a principle's place: nothing may fall"""
import argparse
import functools
import json
import pathlib

import numpy
import yaml

import loop
import world

KINDS = ["harmful", "helpful", "lookalike"]
SFT_ONLY = ["rounds=1", "stages.red_team.enabled=false", "stages.label.enabled=false",
            "stages.prefer.enabled=false", "stages.ppo.enabled=false", "stages.sft.helpful=0",
            "stages.revise.revisions=1", "guards.alpha=0"]  # one principle, asked once; guards are not the question
PPO_ONLY = ["rounds=1", "stages.red_team.enabled=false", "stages.revise.enabled=false",
            "stages.sft.enabled=false", "stages.label.mode=shuffled"]


def constitution(work, keep, text=None):
    """clerk.yaml with one principle, or with a text in place of that one's."""
    c = yaml.safe_load(open("constitution/clerk.yaml"))
    c["principles"] = [p for p in c["principles"] if p["id"] == keep]
    if text:
        c["principles"][0].update(id="irrelevant", title="Irrelevant", **text)
    path = work / f"{'irrelevant' if text else keep}.yaml"
    path.write_text(yaml.safe_dump(c, sort_keys=False))
    return path


def answering(verdict, kind):
    """Whether the reply gives steps: only then can it name a wrong tool or omit a warning."""
    return verdict["harmful"] if kind == "harmful" else not verdict["evasive"]


def asked(kind, fault, *verdicts):
    """Whether a prompt of this kind can show the fault in all of these replies."""
    if fault == "harmful":
        return kind == "harmful"
    if fault == "evasive":
        return kind != "harmful"
    return fault not in ("false", "careless") or all(answering(v, kind) for v in verdicts)


def change(folders, fault):
    """(base rate, rate after, paired difference with interval over seeds, then prompts) on the
    held-out prompts whose replies can have the fault at all."""
    before, after, both = [], [], []
    for folder in folders:
        run = world.verdicts(folder)
        first, last = run[min(run)], run[max(run)]
        rows = [(kind, first[kind][i], last[kind][i]) for kind in KINDS for i in sorted(first[kind])]
        before.append(numpy.mean([a[fault] for kind, a, _ in rows if asked(kind, fault, a)]))
        after.append(numpy.mean([b[fault] for kind, _, b in rows if asked(kind, fault, b)]))
        both.append(numpy.array([float(b[fault]) - float(a[fault]) for kind, a, b in rows if asked(kind, fault, a, b)]))
    return numpy.mean(before), numpy.mean(after), world.interval(both)


def mixed(work, seed):
    """A file of harmful and harmless prompts by turns: a principle about harmless requests has
    nothing to say where all prompts are harmful."""
    folder, _ = world.base(work, seed)
    path = (folder / "mixed.jsonl").resolve()
    pairs = zip(world.lines(folder / "red.jsonl"), world.lines(folder / "helpful.jsonl"))
    path.write_text("".join(json.dumps({"prompt": row["prompt"]}) + "\n" for pair in pairs for row in pair))
    return path


def alone(work, seeds):
    ids = [p["id"] for p in yaml.safe_load(open("constitution/clerk.yaml"))["principles"]]
    folders = world.side_by_side([functools.partial(
        world.job, work, f"alone-{p}", seed, constitution(work, p),
        SFT_ONLY + loop.PROMPTS + [f"data.harmful={mixed(work, seed)}", "stages.revise.prompts=4000"])
        for seed in seeds for p in ids])
    print("\nOne principle at a time (own fault: base → after; others: least share of the base's rate that is left)")
    for n, principle in enumerate(ids):
        mine = folders[n::len(ids)]
        own = world.fault_of(principle)
        before, after, (_, low, high) = change(mine, own)
        left = {f: change(mine, f)[:2] for f in world.FAULTS if f != own}
        kept = {f: b / a for f, (a, b) in left.items() if a > 0.02}
        least = min(kept, key=kept.get)
        print(f"  {principle:<9} {100 * before:5.1f} % → {100 * after:5.1f} %  (difference {100 * low:+.1f} to "
              f"{100 * high:+.1f})   others ≥ {100 * kept[least]:.0f} % ({least})")


def irrelevant(work, seeds):
    text = {"critique": "Check the reply for blue paint.", "revision": "Rewrite the reply without blue paint.",
            "choice": "Which reply avoids blue paint?"}
    # The overseer rightly finds nothing to change, at which a job would wait for a person.
    folders = world.side_by_side([functools.partial(
        world.job, work, "irrelevant", seed, constitution(work, "harm", text),
        SFT_ONLY + loop.PROMPTS + [f"data.harmful={mixed(work, seed)}", "stages.revise.prompts=4000",
                                   "stages.revise.max_unchanged=1"]) for seed in seeds])
    print("\nAn irrelevant text in a principle's place (difference to the base, points):")
    for fault in world.FAULTS:
        before, after, (_, low, high) = change(folders, fault)
        print(f"  {fault:<9} {100 * before:5.1f} % → {100 * after:5.1f} %   ({100 * low:+.1f} to {100 * high:+.1f})")


def shuffled(work, seeds):
    """The sign of a preference model that learnt nothing is the same for nearly all pairs of a
    fault, nine coins in all; what it is sure of, the probability, is what says that it learnt
    nothing."""
    folders = world.side_by_side([functools.partial(world.job, work, "shuffled", seed, settings=PPO_ONLY + loop.PROMPTS,
                                                    accept="prefer")
                                  for seed in seeds])
    seen = [loop.pm_accuracy(f, seed, work) for f, seed in zip(folders, seeds)]
    before, after, (_, low, high) = change(folders, "harmful")
    print(f"\nShuffled labels: the preference model gives the better reply of {len(seen[0][0])} oracle pairs "
          f"{numpy.mean([c.mean() for *_, c in seen]):.3f} on average "
          f"({', '.join(f'{c.mean():.3f}' for *_, c in seen)}; its sign is right on "
          f"{', '.join(f'{r.mean():.3f}' for r, *_ in seen)}); "
          f"{sum((f / 'waited').exists() for f in folders)} of {len(folders)} jobs stop before PPO for that; "
          f"accepted nevertheless, its scores have no say: harmful {100 * before:.1f} % → {100 * after:.1f} % ({100 * low:+.1f} to {100 * high:+.1f})")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".state/bench"))
    p.add_argument("which", nargs="*", default=["shuffled", "alone", "irrelevant"])
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    for which in a.which:
        {"shuffled": shuffled, "alone": alone, "irrelevant": irrelevant}[which](a.work, range(a.first, a.first + a.seeds))


if __name__ == "__main__":
    main()
