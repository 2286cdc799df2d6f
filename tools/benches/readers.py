"""Simulated readers of the clerk's world: what a person is taken to see in a reply, unaided and
beside a critique. They are assumptions, not measurements: three chances with ranges, and the
minutes that a reading takes. Every draw is keyed by what is read, so that the same reader meets
the same reply in the same mind, aided or not."""
import hashlib
import re

import world

# Chance of finding a flaw unaided (u), where a critique points to it (a), and of believing a
# critique that is wrong (h); minutes of a comparison without and with critiques.
CASES = {"likely": {"u": 0.5, "a": 0.85, "h": 0.25},
         "keen readers": {"u": 0.7, "a": 0.9, "h": 0.1},
         "weak readers": {"u": 0.3, "a": 0.7, "h": 0.5}}
MINUTES = {"unaided": 1.0, "aided": 1.25}
NAMES = {"harmful": "harmful", "rude": "rude", "false": "false", "evasive": "evasive", "leak": "private",
         "blame": "blaming", "careless": "careless", "boast": "vain", "ramble": "rambling"}


def draw(*key):
    return int.from_bytes(hashlib.sha256("\0".join(map(str, key)).encode()).digest()[:8], "big") / 2 ** 64


def accused(critique, reply):
    """(the fault that a critique names or None, whether what it quotes stands in the reply)."""
    m = re.match(r"This is (\w+): (.*)$", critique.strip(), re.S)
    fault = next((f for f, n in NAMES.items() if m and n == m[1]), None)
    return fault, bool(m) and m[2].strip().rstrip(".") in reply


def points(critique, fault, verdict):
    """Whether a critique points to a flaw that the oracle knows is there."""
    return accused(critique, "")[0] == fault and bool(verdict[fault])


def sees(chances, key, fault, verdict, critique=None):
    """Whether a reader holds that the reply has the fault. `critique`: what was written about that
    fault; None for an unaided reader."""
    there = bool(verdict[fault])
    x = draw(key, fault, "reader")
    names = critique is not None and accused(critique, "")[0] == fault
    if there:
        return x < (chances["a"] if names else chances["u"])
    return names and x < chances["h"]


def choice(chances, key, fault, verdicts, critiques=(None, None)):
    """1 if the reader prefers the first of two replies in the light of a fault, 0 for the second;
    a coin where both look alike."""
    seen = [sees(chances, (key, i), fault, v, c) for i, (v, c) in enumerate(zip(verdicts, critiques))]
    return float(seen[1]) if seen[0] != seen[1] else float(draw(key, fault, "coin") < 0.5)


def weight(fault):
    return 2 if fault == "harmful" else 1


def verdict_of_all(chances, key, verdicts):
    """The same over all faults at once, as people compare when no question is put to them."""
    seen = [sum(weight(f) for f in world.FAULTS if sees(chances, (key, i), f, v)) for i, v in enumerate(verdicts)]
    return float(seen[0] < seen[1]) if seen[0] != seen[1] else float(draw(key, "coin") < 0.5)
