"""TRL's trainers on rows of token ids, as `tools/bench sft`, `pm`, `ppo` and `equal` set them to
work: without logging, evaluation, saving or gradient checkpointing, on the CPU.

    peers.py KIND CASE.json     one side of a bench (sides.py): answers "go" lines

A case names folders, rows and settings: "dtype" float32, bfloat16 (autocast over fp32 weights)
or bfloat16-weights; "layout" padded, small (a step's rows in four padded parts), grouped (rows
of like length together) or free (padding-free)."""
import json
import os
import pathlib
import sys
import tempfile
import time
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1", TOKENIZERS_PARALLELISM="false")
warnings.filterwarnings("ignore")
import torch
import transformers
from datasets import Dataset

transformers.logging.set_verbosity_error()
PPO_BATCH_EPOCHS = 4


def weights(case):
    return torch.bfloat16 if case.get("dtype") == "bfloat16-weights" else torch.float32


def causal(folder, case):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=weights(case))


def scorer(folder, case):
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=weights(case))


def tokenizer_of(folder):
    return transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")


class Clock(transformers.TrainerCallback):
    """From the moment before the first step to the end of the last."""

    def on_train_begin(self, *_, **__):
        self.began = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.ended = time.perf_counter()


def common(case):
    """Arguments that every trainer takes; the optimizer as ours."""
    parts = 4 if case.get("layout") == "small" else 1
    return dict(output_dir=tempfile.mkdtemp(prefix="cai-bench-"), use_cpu=True, seed=case.get("seed", 1),
                per_device_train_batch_size=case["batch"] // parts, gradient_accumulation_steps=parts,
                num_train_epochs=case.get("epochs", 1), learning_rate=case["lr"],
                lr_scheduler_type=case.get("schedule", "constant"), weight_decay=0, max_grad_norm=1.0,
                bf16=case.get("dtype") == "bfloat16", gradient_checkpointing=False, report_to=[],
                logging_strategy="no", save_strategy="no", eval_strategy="no", disable_tqdm=True,
                dataloader_pin_memory=False)


def silent(trainer):
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    return trainer


def in_order(cls):
    """Rows as they come, and every step's loss kept with all its digits."""

    class InOrder(cls):
        losses = []

        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def compute_loss(self, *a, **k):
            result = super().compute_loss(*a, **k)
            if self.model.training:
                self.losses.append((result[0] if isinstance(result, tuple) else result).item())
            return result

    return InOrder


def sft(case, ordered=False):
    """rows: [{"ids", "from"}]; the loss counts ids from `from` on."""
    from trl import SFTConfig, SFTTrainer
    rows = [{"input_ids": r["ids"], "completion_mask": [int(i >= r["from"]) for i in range(len(r["ids"]))]}
            for r in case["rows"]]
    config = SFTConfig(**common(case), completion_only_loss=True, max_length=None,
                       group_by_length=case.get("layout") == "grouped", padding_free=case.get("layout") == "free")
    cls = in_order(SFTTrainer) if ordered else SFTTrainer
    return silent(cls(model=causal(case["model"], case), args=config, train_dataset=Dataset.from_list(rows),
                      processing_class=tokenizer_of(case["model"])))


def pm(case, ordered=False):
    """rows: [[ids of the better, ids of the worse]]."""
    from trl import RewardConfig, RewardTrainer
    rows = Dataset.from_list([{"chosen_input_ids": a, "rejected_input_ids": b, "length": max(len(a), len(b))}
                              for a, b in case["rows"]])
    config = RewardConfig(**common(case), max_length=None, remove_unused_columns=False,
                          group_by_length=case.get("layout") == "grouped")
    cls = in_order(RewardTrainer) if ordered else RewardTrainer
    trainer = cls(model=scorer(case["model"], case), args=config, train_dataset=rows,
                  processing_class=tokenizer_of(case["model"]))
    trainer.train_dataset = rows  # preparing has dropped the lengths, which grouping needs
    return silent(trainer)


def ppo(case, **more):
    """rows: [prompt ids]; one step is one batch of replies, four epochs, one minibatch."""
    from trl import PPOConfig, PPOTrainer
    arguments = common(case)
    arguments.pop("num_train_epochs")
    config = PPOConfig(**arguments, total_episodes=case["batch"] * case["steps"], num_mini_batches=1,
                       num_ppo_epochs=case.get("ppo_epochs", PPO_BATCH_EPOCHS), num_sample_generations=0,
                       local_rollout_forward_batch_size=case["batch"], response_length=case["max_tokens"],
                       temperature=case.get("temperature", 1.0), kl_coef=case.get("kl", 0.05),
                       stop_token="eos" if case["ends"] else None, cliprange=0.2, cliprange_value=0.2,
                       vf_coef=case.get("value_coef", 0.1), gamma=1.0, lam=0.95)
    data = Dataset.from_list([{"input_ids": r} for r in case["rows"]])
    trainer = PPOTrainer(args=config, processing_class=tokenizer_of(case["model"]), train_dataset=data, eval_dataset=data,
                         model=causal(case["model"], case), ref_model=causal(case["reference"], case),
                         reward_model=scorer(case["pm"], case), value_model=scorer(case["pm"], case), **more)
    trainer.control.should_save = False
    return silent(trainer)


def main():
    kind, case = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # trainers print as they like
    case.update(json.loads(sys.argv[3]) if len(sys.argv) > 3 else {})
    torch.set_num_threads(case["threads"])
    trainer = {"sft": sft, "pm": pm, "ppo": ppo}[kind](case)
    clock = Clock()
    trainer.add_callback(clock)
    print("ready", file=out, flush=True)
    for _ in sys.stdin:
        trainer.train()
        print(clock.ended - clock.began, case["units"], file=out, flush=True)


if __name__ == "__main__":
    main()
