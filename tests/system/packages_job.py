"""packages_job.py FOLDER: what somebody brings to an installed service: a small random model, prompts
and a job file that names them as `caictl model add` and `data add` put them into the store. Every
stage has its turn; PPO lasts long enough for a restart and a reboot. For tests/system/packages."""
import json
import os
import sys

from checkpoint import sampling, write_job

folder = sys.argv[1]
short = sampling(8)
path, _ = write_job(folder, True, stages__sft={"batch": 4}, stages__prefer={"batch": 4},
                    stages__revise__revisions=1, stages__red_team__sampling=short,
                    stages__revise__reply=short, stages__revise__critique=short,
                    stages__revise__revision=short, stages__label__reply=short,
                    stages__label__gate_pairs=100, stages__evaluate__reply=short,
                    stages__ppo={"steps": 600, "rollouts": 8, "rollout": short,
                                 "checkpoint_every": 25})
with open(path) as f:
    job = json.load(f)
job["models"]["start"] = "model:small"
job["data"] = {"harmful": "data:prompts", "helpful": "data:helpful"}
with open(path, "w") as f:
    json.dump(job, f, indent=1)
print(os.path.basename(path))
