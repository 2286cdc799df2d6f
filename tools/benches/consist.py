"""Self-consistency on the clerk's arithmetic: a base whose lessons know some steps wrong by heart, and a
trap, a base whose lessons share one error, so that most ways to an answer agree on a wrong one. On
held-out sums, read greedily, worked out and direct:

  base        as it is
  labelled    fine-tuned on what the answers of the labelled sums can teach: its own ways to those that
              come to the known answer (Zelikman et al. 2022), in the forms that votes teach
  twice       once more, by what the model that this left can: the labels alone in two rounds
  consist     two rounds of the stage: what the labels teach, then sums without answers: votes, and what
              agrees beside what the labels teach by then
  votes       the same where the labels only fit the threshold and measure
  worked      fine-tuned on the labelled sums as a person works them out, steps and all: what no vote knows
  trap        the stage on the trap, votes alone and with labels that teach, each with its threshold and
              with every vote kept: where it stops, and what it leaves where it goes on

--labels measures other sizes of the labelled set too, each a part of the larger.

Each run is kept in a folder of its own; a bench that was stopped goes on with those missing."""
import argparse
import collections
import functools
import json
import os
import pathlib
import shutil
import subprocess

import numpy
import yaml

import small
import world

OPTIMIZER = {"weight_decay": 0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "clip_norm": 1, "warmup": 0.03,
             "schedule": "linear", "checkpoint_every": 0, "fault_every": 0, "loss_spike": 0, "max_skipped": 3, "zero": 1,
             "micro_batch_tokens": 4096, "recompute": "auto", "train_dtype": "float32"}
ASK = "Show how."
VOTES = ["stages.consist.teach=0", "stages.sft.epochs=2"]  # as it was first measured
ALL = ["stages.consist.accuracy=0"]
TRAPS = {"trap": VOTES[:1], "trap-all": VOTES[:1] + ALL, "trap-taught": [], "trap-taught-all": ALL}
LABELS = 150  # of the world
WAYS = {"worked out": " " + ASK, "direct": ""}
ROUNDS = 2
EPOCHS = {"labelled": 4, "worked": 8}  # about 140 and 75 steps; a round of the stage takes 80 to 450


def answer(text):
    at = text.rfind("answer is")
    return text[at + 9:].strip().rstrip(".") if at >= 0 else None


def said(model, questions, temperature, seed=1):
    asked = "".join(json.dumps({"messages": [{"role": "user", "content": q}]}) + "\n" for q in questions)
    out = subprocess.run([world.TOOLS / "caiprobe", "generate", "--model", model, "--temperature", str(temperature),
                          "--max-new-tokens", "56", "--threads", "1", "--seed", str(seed)], input=asked, text=True,
                         check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line)["text"].strip() for line in out.splitlines()]


def right(model, rows, after):
    """0 and 1 by row: whether the greedy reply comes to the answer."""
    replies = said(model, [r["question"] + after for r in rows], 0)
    return [float(answer(text) == r["answer"]) for text, r in zip(replies, rows, strict=True)]


def measured(folder, model, rows):
    """{way: 0 and 1 by row}, kept beside the run."""
    path = folder / "right.json"
    if not path.exists():
        path.write_text(json.dumps({way: right(model, rows, after) for way, after in WAYS.items()}))
    return json.loads(path.read_text())


def start(a, seed, trap):
    """The folder of the seed's base that reckons: model/, and the world's files."""
    folder = a.work / f"reckoner-{'trap' if trap else 'base'}-{seed}"
    if not (folder / "model" / "model.safetensors").exists():
        own = a.bases / f"base-{seed}"
        if trap:
            own = start(a, seed, False) / "model"
        elif not own.exists():
            own = world.base(a.work, seed)[1]
        world.run(world.TOOLS / "clerk", "sums", "--out", folder, "--seed", seed)
        world.run(world.TOOLS / "clerk", "reckon", "--base", own, "--out", folder / "model", "--seed", seed,
                  "--threads", 1, *(["--trap"] if trap else []))
    return folder


def settings():
    return yaml.safe_load(open("tools/clerk/sums.yaml"))["stages"]


def tuned(a, name, seed, rows, epochs):
    """The base fine-tuned on (prompt, reply) rows; its folder."""
    folder = a.work / f"sums-{name}-{seed}"
    if not (folder / "model" / "model.safetensors").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        turns = [{"item": i, "messages": [{"role": "user", "text": p}, {"role": "assistant", "text": r}]}
                 for i, (p, r) in enumerate(rows())]
        (folder / "rows.jsonl").write_text("".join(json.dumps(t) + "\n" for t in turns))
        task = {"kind": "sft", "init": str(start(a, seed, False) / "model"), "dataset": str(folder / "rows.jsonl"),
                "units": 1, "seed": seed, "output": str(folder / "model"),
                "options": {**OPTIMIZER, **settings()["sft"], "epochs": epochs}}
        (folder / "task.json").write_text(json.dumps(task))
        subprocess.run([world.TOOLS / "bench-learn", folder / "task.json", "--threads", "1"], input="go\n", text=True,
                       check=True, stdout=subprocess.DEVNULL)
    return folder


def questions(base, labels):
    """The file of the sums that are asked, with so many of the labelled ones; made once."""
    path = base / f"questions-{labels}.jsonl"
    if not path.exists():
        rows = world.lines(base / "questions.jsonl")
        known = [r for r in rows if "answer" in r][:labels]
        path.write_text("".join(json.dumps(r) + "\n" for r in rows if "answer" not in r or r in known))
    return path


def ways_that_come_right(base, labels, seed, model=None):
    """As the stage samples, keeps and writes those of a known answer; of the base, or of a model."""
    how = settings()["consist"]
    known = [r for r in world.lines(questions(base, labels)) if "answer" in r]
    texts = said(model or base / "model", [r["question"] + WAYS["worked out"] for r in known for _ in range(how["paths"])],
                 how["sampling"]["temperature"], seed)
    rows = []
    for i, r in enumerate(known):
        ways = [t for t in texts[i * how["paths"]:(i + 1) * how["paths"]] if answer(t) == r["answer"]]
        for t in ways:
            rows += [(r["question"] + WAYS["worked out"], t), (r["question"], f"The answer is {r['answer']}.")]
    return rows


def labelled(a, labels, seed):
    base = start(a, seed, False)
    return tuned(a, f"labelled-{labels}", seed, lambda: ways_that_come_right(base, labels, seed), EPOCHS["labelled"])


def twice(a, labels, seed):
    base = start(a, seed, False)
    return tuned(a, f"twice-{labels}", seed,
                 lambda: ways_that_come_right(base, labels, seed, labelled(a, labels, seed) / "model"), EPOCHS["labelled"])


def worked(a, labels, seed):
    rows = world.lines(start(a, seed, False) / "labelled.jsonl")[:2 * labels]  # two forms of each
    return tuned(a, f"worked-{labels}", seed, lambda: [(r["prompt"], r["reply"]) for r in rows], EPOCHS["worked"])


def job(a, name, labels, seed, trap, *sets):
    """A job of the stage, to its end or to where it waits: its folder, with show.json, metrics.jsonl
    and the last policy in model/."""
    base, folder = start(a, seed, trap), a.work / f"sums-{name}-{labels}-{seed}"
    if (folder / "show.json").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    daemon = world.Daemon(folder, 1, 1)
    try:
        shutil.copy("tools/clerk/sums.yaml", base / "sums.yaml")
        answer_ = daemon.ask("submit", base / "sums.yaml", "--constitution", "constitution/clerk.yaml", "--seed", seed,
                             "--parsable", "--set", f"data.questions={questions(base, labels).resolve()}",
                             *[x for s in sets for x in ("--set", s)])
        number = answer_.stdout.strip()
        code = daemon.ask("wait", number, check=False).returncode
        if code not in (0, world.WAITS):
            raise SystemExit(f"{folder}: the job ended with {code}; see {folder}/caid.log")
        daemon.ask("export", number, "model", "--out", folder / "model", check=code == 0)
        (folder / "metrics.jsonl").write_text(daemon.ask("export", number, "metrics").stdout)
        shown = daemon.ask("show", number, "-o", "json").stdout
    finally:
        daemon.close()
    shutil.rmtree(folder / "state")
    (folder / "show.json").write_text(shown)
    return folder


def figures(folder):
    return {(m["round"], m["stage"], m["name"], m["step"]): m["value"] for m in world.lines(folder / "metrics.jsonl")}


def of_round(folder, name, n):
    return figures(folder).get((n, "consist", name, 0))


# ---- what was seen ----------------------------------------------------------------------------
def points(value):
    return f"{100 * value[0]:+.1f} points ({100 * value[1]:+.1f} to {100 * value[2]:+.1f})"


def apart(way, found, one, other):
    d = [numpy.array(x[way]) - numpy.array(y[way]) for x, y in zip(found[one], found[other], strict=True)]
    print(f"  {way:<11} {one:<12} less {other:<12} {points(world.interval(d))}   by seed "
          f"{', '.join(f'{100 * x.mean():+.1f}' for x in d)}")


def accuracy(found, sizes):
    print("\nHeld-out sums that are right, greedily (95 %: bootstrap over seeds, then sums):")
    for way in WAYS:
        for arm, runs in found.items():
            print(f"  {way:<11} {arm:<12} {world.show(world.interval([numpy.array(r[way]) for r in runs]))}")
        for n in sizes:
            for other in ("base", f"labelled-{n}", f"twice-{n}"):
                apart(way, found, f"consist-{n}", other)
        for one, other in (("consist", "votes"), ("consist", "worked"), ("votes", "labelled")):
            apart(way, found, f"{one}-{sizes[-1]}", f"{other}-{sizes[-1]}")


def calibration(folders):
    count, share, hits = (collections.defaultdict(float) for _ in range(3))
    for f in folders:
        for (n, stage, name, step), v in figures(f).items():
            if n == 1 and stage == "consist" and name == "bin_count":
                count[step] += v
                share[step] += v * figures(f)[1, "consist", "bin_share", step]
                hits[step] += v * figures(f)[1, "consist", "bin_accuracy", step]
    print("\nVotes of labelled sums in round 1, by their share (all seeds):")
    for b in sorted(count):
        print(f"  {10 * b:>3} to {10 * b + 10:>3} %   mean share {share[b] / count[b]:.2f}   right {hits[b] / count[b]:.2f}   "
              f"of {count[b]:.0f}")


def course(title, folders):
    print(f"\n{title}")
    for f in folders:
        shown = json.loads((f / "show.json").read_text())
        for n in range(1, ROUNDS + 1):
            if of_round(f, "questions", n) is None:
                continue
            t = of_round(f, "threshold", n)
            print(f"  {f.name:<22} round {n}: share of the vote {of_round(f, 'share', n):.3f}, right by vote "
                  f"{of_round(f, 'accuracy', n):.3f} of {of_round(f, 'labelled', n):.0f}, one path "
                  f"{of_round(f, 'path_accuracy', n):.3f}, kept from {'nowhere' if t > 1 else f'{t:.2f}'}, "
                  f"{of_round(f, 'kept_questions', n):.0f} sums, {of_round(f, 'taught', n) or 0:.0f} taught")
        print(f"  {f.name:<22} {shown['state']}{': ' + shown['reason'] if shown['state'] != 'COMPLETED' else ''}")


def measured_all(a, folders, seeds, trap):
    """What was right of each, on the same sums; a job that stopped before it learned left its base."""
    bases = [start(a, s, trap) for s in seeds]
    return small.every([functools.partial(measured, f, (f if (f / "model").exists() else b) / "model",
                                          world.lines(b / "held-out.jsonl")[:a.held_out])
                        for f, b in zip(folders, bases, strict=True)], a.at_once)


def trap(a, seeds):
    runs = {name: small.every([functools.partial(job, a, name, LABELS, s, True, *sets) for s in seeds], a.at_once)
            for name, sets in TRAPS.items()}
    runs["base"] = [start(a, s, True) for s in seeds]
    share = 100 * settings()["consist"]["accuracy"]
    for name, title in (("trap", f"votes alone, kept that are right in {share:.0f} %"), ("trap-all", "votes alone, all kept"),
                        ("trap-taught", "labels teach, the same threshold"), ("trap-taught-all", "labels teach, all votes kept")):
        course(f"The trap, {title}:", runs[name])
        shown = [json.loads((f / "show.json").read_text())["state"] for f in runs[name]]
        print(f"  {sum(state == 'WAITING_REVIEW' for state in shown)} of {len(shown)} stopped by themselves")
    print("\nThe trap's held-out sums that are right, with what each run left:")
    for name, folders in runs.items():
        found = measured_all(a, folders, seeds, True)
        for way in WAYS:
            each = [numpy.array(r[way]) for r in found]
            print(f"  {way:<11} {name:<16} {world.show(world.interval(each))}   by seed "
                  f"{', '.join(f'{100 * x.mean():.1f}' for x in each)}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--at-once", type=int, default=os.cpu_count(), help="jobs side by side")
    p.add_argument("--labels", type=int, nargs="+", default=[LABELS], help="sizes of the labelled set, the largest last")
    p.add_argument("--held-out", type=int, default=500, help="sums that are measured")
    p.add_argument("--work", type=pathlib.Path, default=pathlib.Path(".state/small"))
    p.add_argument("--bases", type=pathlib.Path, default=pathlib.Path(".state/bench"), help="bases that are there already")
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    seeds = range(a.first, a.first + a.seeds)
    most = a.labels[-1]
    arms = {f"consist-{n}": ("consist", n, []) for n in a.labels} | {f"votes-{most}": ("votes", most, VOTES)}
    runs = {arm: small.every([functools.partial(job, a, name, n, s, False, *sets) for s in seeds], a.at_once)
            for arm, (name, n, sets) in arms.items()}
    tunings = [(f.__name__, f, n) for f in (labelled, twice) for n in a.labels] + [("worked", worked, most)]
    for name, f, n in tunings:
        runs[f"{name}-{n}"] = small.every([functools.partial(f, a, n, s) for s in seeds], a.at_once)
    runs["base"] = [start(a, s, False) for s in seeds]
    found = {arm: measured_all(a, runs[arm], seeds, False) for arm in ("base", *(x for x in runs if x != "base"))}
    accuracy(found, a.labels)
    calibration(runs[f"votes-{most}"])
    for n in a.labels:
        course(f"The rounds, {n} labels that teach:", runs[f"consist-{n}"])
    course("The rounds, votes alone:", runs[f"votes-{most}"])
    trap(a, seeds)


if __name__ == "__main__":
    main()
