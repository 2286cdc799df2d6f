"""Every loss and its gradient against torch's autograd in fp64, and against TRL's own code:
masked_whiten, the advantages of PPOTrainer, RewardTrainer's and DPOTrainer's losses.

    TRAIN_PROBE=… .deps/venv/bin/python tests/parity/losses.py
"""
import inspect
import os
import random
import textwrap
import types

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from torch.nn.functional import logsigmoid
from trl import DPOTrainer, PPOTrainer, RewardTrainer
from trl.core import masked_whiten
from trl.trainer.utils import selective_log_softmax

from train_probe import Probe

torch.set_num_threads(1)
rng = random.Random(4)


def draw(n, low=-2.0, high=2.0):
    return [rng.uniform(low, high) for _ in range(n)]


def tensor(x, grad=False):
    return torch.tensor(x, dtype=torch.float64, requires_grad=grad)


def near(got, want, limit=1e-12):
    got, want = tensor(got), torch.as_tensor(want, dtype=torch.float64).detach()
    apart = (got - want).abs().max().item() / (1 + want.abs().max().item())
    assert apart < limit, (got, want)


def check(answer, loss, *leaves):
    loss.backward()
    near([answer["loss"]], loss.reshape(1))
    near(answer["grad"], torch.cat([x.grad for x in leaves]))


def surrogate(ratio, advantage, low, high, dual):
    loss = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - low, 1 + high))
    if dual > 1:
        loss = torch.where(advantage < 0, torch.minimum(loss, -dual * advantage), loss)
    return loss


def policy_losses(probe):
    for low, high, dual in ((0.2, 0.2, 0), (0.2, 0.28, 0), (0.2, 0.2, 1.5)):
        lp, old, advantage = draw(40, -3, -1), draw(40, -3, -1), draw(40)
        values = dict(op="loss", logprob=lp, old=old, advantage=advantage, low=low, high=high,
                      dual=dual)
        x = tensor(lp, True)
        ratio = (x - tensor(old)).exp()
        check(probe.ask(name="ppo", **values),
              surrogate(ratio, tensor(advantage), low, high, dual).sum(), x)
        for a in (1.5, -1.5):
            for shift in (-0.02, 0.0, 0.02):  # Σ over 8 tokens on both sides of the clip
                near_old = [o + shift for o in old[:8]]
                x = tensor(near_old, True)
                ratio = (x - tensor(old[:8])).sum().exp()
                check(probe.ask(**{**values, "name": "sequence", "logprob": near_old,
                                   "old": old[:8], "advantage": [a]}),
                      surrogate(ratio, tensor(a), low, high, dual), x)
    lp, ref = draw(40, -3, -1), draw(40, -3, -1)
    x = tensor(lp, True)
    d = tensor(ref) - x
    check(probe.ask(op="loss", name="penalty", logprob=lp, old=ref, advantage=[], coef=0.04),
          0.04 * (d.exp() - d - 1).sum(), x)
    for clip in (0.2, 0.0):
        v, old, returns = draw(40), draw(40), draw(40)
        x = tensor(v, True)
        loss = (x - tensor(returns)) ** 2
        if clip:
            bounded = torch.clamp(x, tensor(old) - clip, tensor(old) + clip)
            loss = torch.maximum(loss, (bounded - tensor(returns)) ** 2)
        check(probe.ask(op="loss", name="value", logprob=v, old=old, advantage=returns, low=clip),
              0.5 * loss.sum(), x)


def pair_losses(probe):
    n = 30
    for margin, centre in ((0.0, 0.0), (0.7, 0.01)):
        a, b, p = draw(n), draw(n), draw(n, 0, 1)
        x, y = tensor(a, True), tensor(b, True)
        q = tensor(p)
        loss = -(q * logsigmoid(x - y - margin) + (1 - q) * logsigmoid(y - x - margin))
        check(probe.ask(op="loss", name="pair", a=a, b=b, p=p, margin=margin, centre=centre),
              (loss + centre * (x + y) ** 2).sum(), x, y)
    a, b, p, ra, rb = draw(n, -30, -5), draw(n, -30, -5), draw(n, 0, 1), draw(n, -30, -5), \
        draw(n, -30, -5)
    x, y, q = tensor(a, True), tensor(b, True), tensor(p)
    d = 0.1 * ((x - tensor(ra)) - (y - tensor(rb)))
    check(probe.ask(op="loss", name="dpo", a=a, b=b, p=p, ref_a=ra, ref_b=rb, beta=0.1),
          -(q * logsigmoid(d) + (1 - q) * logsigmoid(-d)).sum(), x, y)
    x = tensor(a, True)
    got = probe.ask(op="loss", name="bce", a=a, b=[], p=p)
    check({**got, "grad": got["grad"][:n]},
          torch.nn.functional.binary_cross_entropy_with_logits(x, q, reduction="sum"), x)


# ---- TRL's own code ---------------------------------------------------------------------

def lines_between(source, first, last):
    """The statements from the line that begins with `first` up to the one with `last`."""
    lines = source.splitlines()
    begin = next(i for i, l in enumerate(lines) if l.strip().startswith(first))
    end = next(i for i, l in enumerate(lines) if i > begin and l.strip().startswith(last))
    return textwrap.dedent("\n".join(lines[begin:end + 1]))


def trl_advantages(probe):
    """PPOTrainer computes them in the middle of train(): those very lines are run here."""
    code = lines_between(inspect.getsource(PPOTrainer.train), "lastgaelam = 0",
                         "returns = advantages + values")
    n, rows = 13, 5
    rewards, values = tensor([draw(n) for _ in range(rows)]), tensor([draw(n) for _ in range(rows)])
    for gamma, lam in ((1.0, 0.95), (0.9, 0.5)):
        scope = {"torch": torch, "rewards": rewards, "values": values, "responses": rewards,
                 "args": types.SimpleNamespace(gamma=gamma, lam=lam)}
        exec(code, scope)
        for i in range(rows):
            got = probe.ask(op="loss", name="gae", reward=rewards[i].tolist(),
                            value=values[i].tolist(), gamma=gamma, **{"lambda": lam})
            near(got["out"], scope["advantages"][i])
            near(got["returns"], scope["returns"][i])
    x, mask = draw(40), [rng.random() < 0.7 for _ in range(40)]
    for shift in (True, False):
        want = masked_whiten(tensor(x), tensor([float(m) for m in mask]), shift_mean=shift)
        got = probe.ask(op="loss", name="whiten", reward=x, value=[float(m) for m in mask],
                        shift=float(shift))
        near(got["out"], torch.where(torch.tensor(mask), want, torch.zeros_like(want)))


def groups(probe):
    r = draw(32)
    group = [i // 4 for i in range(32)]
    x = tensor(r).view(8, 4)
    near(probe.ask(op="loss", name="rloo", reward=r, group=group)["out"],
         ((x.sum(1, keepdim=True) - x) / 3).flatten())
    for scale in (0, 1):
        want = x - x.mean(1, keepdim=True)
        if scale:  # as GRPOTrainer: torch's deviation, 1e-4 beside it
            want = want / (x.std(1, keepdim=True) + 1e-4)
        near(probe.ask(op="loss", name="grpo", reward=r, group=group, scale=scale)["out"],
             want.flatten())


class Everything:
    """Stands in for what a loss of TRL's touches and does not compute with."""
    training = True

    def gather(self, x):
        return x
    gather_for_metrics = gather


def trl_reward_loss(probe):
    n = 20
    a, b = draw(n), draw(n)
    for margin, centre in ((None, None), (0.5, 0.01)):
        x, y = tensor(a, True), tensor(b, True)
        metrics = {k: [] for k in ("min_reward", "mean_reward", "max_reward", "accuracy", "margin")}
        trainer = types.SimpleNamespace(
            model=Everything(), accelerator=Everything(), _total_train_tokens=0,
            args=types.SimpleNamespace(center_rewards_coefficient=centre),
            _metrics={"train": metrics, "eval": metrics})
        inputs = {"attention_mask": torch.ones(2 * n, 1)}
        if margin:
            inputs["margin"] = torch.full((n,), margin, dtype=torch.float64)
        loss = RewardTrainer.compute_loss(
            trainer, lambda **_: types.SimpleNamespace(logits=torch.cat([x, y]).unsqueeze(-1)),
            inputs)
        got = probe.ask(op="loss", name="pair", a=a, b=b, p=[1.0] * n, margin=margin or 0,
                        centre=centre or 0)
        check({k: [v / n for v in got[k]] if k == "grad" else got[k] / n for k in got}, loss, x, y)


def trl_dpo_loss(probe):
    n = 20
    a, b, ra, rb = (draw(n, -40, -5) for _ in range(4))
    source = inspect.getsource(DPOTrainer)
    assert "label_smoothing" in source
    for smoothing in (0.0, 0.2):
        x, y = tensor(a, True), tensor(b, True)
        trainer = types.SimpleNamespace(
            accelerator=types.SimpleNamespace(device=torch.device("cpu")), reference_free=False,
            f_divergence_type="reverse_kl", f_divergence_params=None, beta=0.1,
            label_smoothing=smoothing)
        losses, _, _ = DPOTrainer.dpo_loss(trainer, x, y, tensor(ra), tensor(rb))
        check(probe.ask(op="loss", name="dpo", a=a, b=b, p=[1 - smoothing] * n, ref_a=ra, ref_b=rb,
                        beta=0.1), losses.sum(), x, y)


def main():
    probe = Probe()
    for part in (policy_losses, pair_losses, trl_advantages, groups, trl_reward_loss, trl_dpo_loss):
        part(probe)
        print(part.__name__.replace("_", " ") + ": equal")
    probe.close()


if __name__ == "__main__":
    main()
