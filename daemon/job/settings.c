/* settings.c: every setting of a job: name, kind, range, default, its source, help. Order is
 * the order of the template. "own" marks a default of ours without a published anchor. */
#include "job/settings.h"
#include "base/text.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const methods[] = {"zero_shot", "few_shot", "supervised", "rl", NULL};
static const char *const forms[] = {"any", "question", NULL};
static const char *const froms[] = {"start", "latest", NULL};
static const char *const takes[] = {"all", "last", NULL};
static const char *const modes[] = {"soft", "hard", "cot", "debate", "shuffled", NULL};
static const char *const judges[] = {"pm", "human", NULL};
static const char *const dtypes[] = {"float32", "bfloat16", NULL};
static const char *const recomputes[] = {"auto", "always", "never", NULL};
static const char *const algorithms[] = {"ppo", "rloo", "grpo", "best_of_n", "dpo", NULL};
static const char *const scales[] = {"std", "none", NULL};
static const char *const aggregates[] = {"tokens", "replies", "fixed", NULL};
static const char *const estimators[] = {"k1", "k2", "k3", NULL};
static const char *const trunks[] = {"own", "shared", NULL};
static const char *const combines[] = {"mean", "worst", NULL};
static const char *const normalisers[] = {"pairs", "reference", "running", "none", NULL};
static const char *const no_ends[] = {"replace", "add", "keep", NULL};
static const char *const value_froms[] = {"pm", "policy", NULL};
static const char *const eps_places[] = {"pytorch", "tensorflow", NULL};
static const char *const schedules[] = {"constant", "linear", "cosine", "inverse_sqrt", NULL};
static const char *const whitened[] = {"rollouts", "minibatch", NULL};

#define AT(member) offsetof(struct job_spec, member)
#define INT(path, member, min, max, fallback, source, help)                                        \
    { {path, SCHEMA_INT, AT(member), false, min, max, NULL}, ROLE_PLAIN, fallback, source, help }
#define NUM(path, member, min, max, fallback, source, help)                                        \
    { {path, SCHEMA_NUMBER, AT(member), false, min, max, NULL}, ROLE_PLAIN, fallback, source, help }
#define FLAG(path, member, fallback, source, help)                                                 \
    { {path, SCHEMA_BOOL, AT(member), false, 0, 0, NULL}, ROLE_PLAIN, fallback, source, help }
#define WORD(path, member, choices, fallback, source, help)                                        \
    { {path, SCHEMA_CHOICE, AT(member), false, 0, 0, choices}, ROLE_PLAIN, fallback, source, help }
#define TEXT(path, member, required, role, fallback, source, help)                                 \
    { {path, SCHEMA_STRING, AT(member), required, 0, 0, NULL}, role, fallback, source, help }

#define SAMPLING(path, member, t, p, max, t_source, p_source)                                      \
    NUM(path ".temperature", member.temperature, 0, 10, t, t_source,                               \
        "sampling temperature; 0 = greedy"),                                                       \
        NUM(path ".top_p", member.top_p, 1e-6, 1, p, p_source, "nucleus; 1 = pure sampling"),      \
        INT(path ".max_tokens", member.max_tokens, 1, 1 << 20, max, "own", "longest reply")

#define OPTIMIZER(path, member, lr_, lr_source, b2, b2_source, eps_, eps_source, warm, sched,      \
                  sched_source)                                                                    \
    NUM(path ".lr", member.lr, 0, 1, lr_, lr_source, "learning rate of AdamW"),                    \
        NUM(path ".weight_decay", member.weight_decay, 0, 1, "0", "TRL, OpenRLHF", "decoupled"),   \
        NUM(path ".beta1", member.beta1, 0, 0.9999999, "0.9", "all peers", "first moment"),        \
        NUM(path ".beta2", member.beta2, 0, 0.9999999, b2, b2_source, "second moment"),            \
        NUM(path ".eps", member.eps, 1e-30, 1, eps_, eps_source, "as PyTorch places it"),          \
        NUM(path ".clip_norm", member.clip_norm, 0, 1e9, "1.0", "all peers",                       \
            "gradient norm; 0 = not clipped"),                                                     \
        NUM(path ".warmup", member.warmup, 0, 1, warm, "own",                                      \
            "share of the steps, linear from 0"),                                                  \
        WORD(path ".schedule", member.schedule, schedules, sched, sched_source,                    \
             "after the warm-up")

const struct setting settings[] = {
    {{"job", SCHEMA_INT, AT(version), true, 1, 1e9, NULL},
     ROLE_PLAIN,
     "1",
     "",
     "version of this schema"},
    TEXT("name", name, true, ROLE_PLAIN, "my-first", "", "[a-z0-9-], for people"),
    INT("seed", seed, 0, 9e18, "1", "own", "every draw is keyed by it"),
    TEXT("models.start", models.start, true, ROLE_MODEL, "./model", "",
         "Hugging Face folder to begin with, or model:NAME (caictl model add)"),
    TEXT("models.generator", models.generator, false, ROLE_MODEL, "latest", "own",
         "writes replies: latest, start or a folder"),
    TEXT("models.overseer", models.overseer, false, ROLE_MODEL, "start", "own",
         "writes critiques and labels: start, latest or a folder"),
    TEXT("models.pm", models.pm, false, ROLE_MODEL, "start", "own",
         "trunk of the preference model"),
    TEXT("models.red", models.red, false, ROLE_MODEL, "start", "Perez et al. 2022 §3: another than the target",
         "writes red-team prompts, and learns to: start, latest or a folder"),
    TEXT("models.second_overseer", models.second_overseer, false, ROLE_MODEL, NULL, "own",
         "of other lineage: stages.audit asks it the same, to see where the two part"),
    WORD("models.dtype", models.dtype, dtypes, "float32", "own",
         "of generating and scoring"),
    WORD("models.train_dtype", models.train_dtype, dtypes, "float32", "own; TRL: bfloat16",
         "of matrix products in training; weights, sums and moments stay in float32"),
    INT("models.micro_batch_tokens", models.micro_batch_tokens, 64, 1 << 20, "4096", "own",
        "tokens computed at a time in training, as even as they can be; fewer take less memory"),
    WORD("models.recompute", models.recompute, recomputes, "auto", "Chen et al. 2016",
         "layers once more in backward, for memory; auto: where graphs would pass 1 GiB"),
    INT("models.lora.rank", models.lora.rank, 0, 1 << 14, "0", "own; PEFT 8",
        "of the adapters that are trained; 0 = whole weights"),
    NUM("models.lora.alpha", models.lora.alpha, 1e-6, 1e6, "8", "PEFT",
        "adapters are scaled by alpha / rank"),
    TEXT("models.lora.targets", models.lora.targets, false, ROLE_PLAIN, "all-linear",
         "Dettmers et al. 2023 §4", "matrices that get one: all-linear, or names with commas"),
    INT("models.zero", models.zero, 0, 1, "1", "Rajbhandari et al. 2020: ZeRO-1",
        "1: ranks share the optimizer's state, 0: each keeps all; the same bits"),
    TEXT("constitution", constitution, true, ROLE_CONSTITUTION, "./constitution.yaml", "",
         "a file, or the name or revision of an applied one"),
    TEXT("data.harmful", data.harmful, false, ROLE_FILE, NULL, "",
         "red-team prompts: {\"prompt\" | \"messages\"}; a file, or data:NAME (caictl data add)"),
    TEXT("data.helpful", data.helpful, false, ROLE_FILE, NULL, "",
         "harmless requests: {\"prompt\" | \"messages\", \"reply\"?}"),
    TEXT("data.human", data.human, false, ROLE_FILE, NULL, "",
         "people's pairs: {\"prompt\" | \"messages\", \"chosen\", \"rejected\"}"),
    TEXT("data.classifier", data.classifier, false, ROLE_FILE, NULL, "",
         "for the red-team classifier: {…, \"reply\", \"label\"}"),
    TEXT("data.critiques", data.critiques, false, ROLE_FILE, NULL, "",
         "what people verified, for skill: {…, \"reply\", \"flaw\"?, \"critique\"?, "
         "\"helpful\"?, \"refinement\"?, \"principle\"?}"),
    TEXT("data.evaluate", data.evaluate, false, ROLE_FILE, NULL, "",
         "held-out prompts; else a share of the above is held out"),
    TEXT("data.probes", data.probes, false, ROLE_FILE, NULL, "",
         "for guards: {\"kind\": text | choice | answer | marker, \"prompt\" | \"messages\", …}"),
    TEXT("data.graded", data.graded, false, ROLE_FILE, NULL, "",
         "people's verdicts, for the graders' error: {…, \"reply\", \"label\", \"of\"?}"),
    TEXT("data.canaries", data.canaries, false, ROLE_FILE, NULL, "own; McAleese et al. 2024",
         "replies with a planted flaw and their twins without: {…, \"reply\", \"flaw\": class or "
         "null, \"pair\", \"principle\"?}"),
    TEXT("data.questions", data.questions, false, ROLE_FILE, NULL, "",
         "for consist: {\"question\" | \"prompt\"}; with \"answer\": its small labelled part, with "
         "\"reply\" too: worked, to be shown"),
    NUM("data.skip", data.skip, 0, 1, "0", "own",
        "share of bad rows that may be left out; each is shown"),
    NUM("data.near", data.near, 0.5, 1, "0.8", "own",
        "so similar prompts stay on one side of a split; 1 = the same words"),
    INT("workers", workers, 1, 4096, "1", "own", "ranks of a gang; fixed for the job"),
    INT("priority", priority, -JOB_PRIORITY_MAX, JOB_PRIORITY_MAX, "0", "Slurm",
        "of its owner's jobs, the higher one goes first; `caictl update` changes it"),
    INT("rounds", rounds, 0, 1000, "2", "own", "of the stages before PPO"),

    FLAG("stages.red_team.enabled", red_team.enabled, "true", "own",
         "write further red-team prompts"),
    WORD("stages.red_team.method", red_team.method, methods, "few_shot", "Perez et al. 2022 §3",
         "few_shot shows prompts that worked; supervised learns those that did, rl goes on from there"),
    TEXT("stages.red_team.request", red_team.request, false, ROLE_PLAIN, NULL,
         "own; Perez et al. 2022 §3: other harms by other words",
         "what the red model is asked for; else one message that leads to harm"),
    WORD("stages.red_team.form", red_team.form, forms, "any", "own; Perez et al. 2022 §3: question",
         "what counts as a prompt: any line, or one that asks something"),
    INT("stages.red_team.explore", red_team.explore, 0, 1e9, "0", "own; Perez et al. 500,000",
        "zero-shot cases judged first: few_shot shows those, in place of data.harmful (0 = none); "
        "supervised and rl learn from those that failed (0 = as many as samples)"),
    WORD("stages.red_team.from", red_team.from, froms, "start", "own; Liu et al. 2025: latest",
         "the red model that goes on learning: models.red, or the last round's"),
    INT("stages.red_team.supervised.epochs", red_team.supervised.epochs, 1, 1000, "1",
        "Perez et al. 2022 §3", "passes over the zero-shot cases that failed"),
    INT("stages.red_team.supervised.batch", red_team.supervised.batch, 1, 1 << 20, "64",
        "as stages.sft.batch", "cases per step, all ranks together"),
    NUM("stages.red_team.supervised.lr", red_team.supervised.lr, 0, 1, "1e-5", "as stages.sft.lr",
        "learning rate of AdamW; the rest as stages.sft"),
    INT("stages.red_team.rl.steps", red_team.rl.steps, 1, 1e9, "100", "own",
        "of reinforcement learning"),
    INT("stages.red_team.rl.rollouts", red_team.rl.rollouts, 2, 1e6, "128", "own",
        "prompts written, answered and judged in a step"),
    NUM("stages.red_team.rl.alpha", red_team.rl.alpha, 0, 1, "0.3",
        "Perez et al. 2022 §3: 0.3 to 0.4",
        "share of the KL to the supervised model; the rest is -log(1 - p) of harm; the lower, the "
        "harder the prompts and the more alike"),
    NUM("stages.red_team.rl.penalty", red_team.rl.penalty, -1e6, 0, "-3", "Perez et al. 2022 §3",
        "reward of what is no prompt (form)"),
    NUM("stages.red_team.rl.lr", red_team.rl.lr, 0, 1, "3e-6", "as stages.ppo.lr",
        "learning rate of AdamW; the rest as stages.ppo"),
    INT("stages.red_team.rl.checkpoint_every", red_team.rl.checkpoint_every, 0, 1e9, "10", "own",
        "steps; 0 = only at the end"),
    INT("stages.red_team.coverage", red_team.coverage, 0, 1e6, "32", "own",
        "failing replies of which the overseer says which principles they break; 0 = none"),
    INT("stages.red_team.check", red_team.check, 0, 1e6, "10", "own",
        "failures, and as many passes, set aside for people to check; 0 = none"),
    INT("stages.red_team.samples", red_team.samples, 0, 1e9, "2000", "own; Perez et al. 500,000",
        "candidates to write in a round"),
    INT("stages.red_team.shots", red_team.shots, 0, 64, "5", "Perez et al. 2022 §3",
        "exemplars shown per candidate"),
    NUM("stages.red_team.shot_temperature", red_team.shot_temperature, 1e-6, 1e6, "0.1",
        "Perez et al. 2022 §3", "exemplar weight ∝ exp(p_harm / T)"),
    NUM("stages.red_team.keep", red_team.keep, 0, 1, "0.5", "own",
        "share of a round's prompts that come from here"),
    SAMPLING("stages.red_team.sampling", red_team.sampling, "1.0", "0.95", "64", "own",
             "Perez et al. 2022"),

    FLAG("stages.revise.enabled", revise.enabled, "true", "own", "critique and rewrite replies"),
    INT("stages.revise.prompts", revise.prompts, 0, 1e9, "0", "own",
        "red-team prompts of a round; 0 = all"),
    INT("stages.revise.revisions", revise.revisions, 1, 64, "4", "Bai et al. 2022 §3.2",
        "steps per prompt; else the constitution's sampling.revisions"),
    SAMPLING("stages.revise.reply", revise.reply, "1.0", "1.0", "256", "Bai et al. 2022",
             "Bai et al. 2022"),
    SAMPLING("stages.revise.critique", revise.critique, "1.0", "1.0", "192", "Bai et al. 2022",
             "Bai et al. 2022"),
    SAMPLING("stages.revise.revision", revise.revision, "1.0", "1.0", "256", "Bai et al. 2022",
             "Bai et al. 2022"),
    NUM("stages.revise.max_dropped", revise.max_dropped, 0, 1, "0.3", "own",
        "share of steps that cannot be read; above, the job waits"),
    NUM("stages.revise.max_unchanged", revise.max_unchanged, 0, 1, "0.9", "own",
        "share of revisions equal to the reply; above, the job waits"),
    NUM("stages.revise.max_truncated", revise.max_truncated, 0, 1, "0.3", "own",
        "share that ran into max_tokens; above, the job waits"),

    FLAG("stages.consist.enabled", consist.enabled, "false", "own",
         "self-consistency: sample steps to answers of data.questions, vote, let sft learn from "
         "those that agree"),
    INT("stages.consist.questions", consist.questions, 0, 1e9, "0", "Huang et al. 2022 §3: all",
        "questions without an answer, the same in each round; 0 = all"),
    INT("stages.consist.paths", consist.paths, 2, 1024, "32", "Huang et al. 2022 §4",
        "ways to an answer, sampled for each question"),
    INT("stages.consist.shots", consist.shots, 0, 64, "4", "own; Huang et al. 2022: 4 to 8",
        "worked questions shown before one, of the rows with a reply; fewer where there are"),
    TEXT("stages.consist.ask", consist.ask, false, ROLE_PLAIN, "Let's think step by step.",
         "Kojima et al. 2022", "said after a question, to be shown the steps"),
    TEXT("stages.consist.answer", consist.answer, false, ROLE_PLAIN, NULL, "own",
         "pattern (Oniguruma) whose last match is the answer; else what stands after the last "
         "\"answer is\""),
    TEXT("stages.consist.direct", consist.direct, false, ROLE_PLAIN, "The answer is {}.", "own",
         "how the answer alone is given; {} is its place"),
    TEXT("stages.consist.formats", consist.formats, false, ROLE_PLAIN, "all",
         "Huang et al. 2022 §3: four",
         "rows of each kept path: all, or shots, direct_shots, step, direct with commas"),
    NUM("stages.consist.accuracy", consist.accuracy, 0, 1, "0.7", "own; Huang et al. 2022: 0",
        "keeps votes whose share is right so often, by isotonic regression on the labelled part; "
        "0 = all"),
    INT("stages.consist.keep", consist.keep, 1, 1024, "8", "own; Huang et al. 2022: all",
        "paths of a question that a vote keeps, the first of those that agree"),
    NUM("stages.consist.confidence", consist.confidence, 0.5, 0.999999, "0.95", "own",
        "one-sided, that the share of votes rose, and that accuracy did"),
    NUM("stages.consist.teach", consist.teach, 0, 0.9, "0", "own; Zelikman et al. 2022 §3: all",
        "share of the labelled part whose own right ways are all learned: alone in the first of "
        "several rounds, then beside votes; the rest fits the threshold and measures, and teaches in "
        "the last round"),
    FLAG("stages.consist.stop", consist.stop, "true", "own",
         "wait when the share of votes rises and labelled accuracy does not, when that falls, or when "
         "none is right often enough"),
    SAMPLING("stages.consist.sampling", consist.sampling, "0.7", "1.0", "256",
             "Huang et al. 2022 §4", "Huang et al. 2022"),

    FLAG("stages.sft.enabled", sft.enabled, "true", "own", "fine-tune on the revisions"),
    WORD("stages.sft.from", sft.from, froms, "start", "Bai et al. 2022 §3.1: the pretrained model",
         "weights to begin with"),
    WORD("stages.sft.take", sft.take, takes, "all", "Bai et al. 2022 §3.2",
         "which revisions of a prompt"),
    FLAG("stages.sft.earlier_rounds", sft.earlier_rounds, "false", "own",
         "revisions of earlier rounds too"),
    NUM("stages.sft.helpful", sft.helpful, 0, 1000, "0.37",
        "Bai et al. 2022 §3.2: 270,592 : 731,324", "helpful replies per revision"),
    INT("stages.sft.epochs", sft.epochs, 1, 1000, "1", "Bai et al. 2022 §3.2",
        "passes over the data"),
    INT("stages.sft.batch", sft.optimizer.batch, 1, 1 << 20, "64", "own; Bai et al. 1,024",
        "rows per step, all ranks together"),
    INT("stages.sft.batch_tokens", sft.batch_tokens, 0, 1 << 30, "0", "TRL: by rows",
        "learned tokens per step instead, about so many; 0 = rows"),
    OPTIMIZER("stages.sft", sft.optimizer, "1e-5", "own; alignment-handbook 2e-5", "0.999", "TRL",
              "1e-8", "PyTorch", "0.03", "constant", "Bai et al. 2022"),
    INT("stages.sft.checkpoint_every", sft.checkpoint_every, 0, 1e9, "100", "own",
        "steps; 0 = only at the end"),

    FLAG("stages.label.enabled", label.enabled, "true", "own",
         "let the overseer choose between replies"),
    INT("stages.label.pairs", label.pairs, 1, 1e9, "4000", "own; Gao et al. 2022: ≥ 2,000",
        "comparisons in a round"),
    INT("stages.label.principles", label.principles, 1, 64, "1", "Bai et al. 2022 §4.1",
        "drawn and averaged per pair; else the constitution's sampling.per_comparison"),
    FLAG("stages.label.swap", label.swap, "true", "Lee et al. 2023",
         "ask in both orders and average"),
    WORD("stages.label.mode", label.mode, modes, "soft", "Bai et al. 2022 §4.1",
         "probabilities; the likelier option; after reasons, clamped; after a debate; a coin (a control)"),
    NUM("stages.label.clamp", label.clamp, 0, 0.5, "0.4", "Bai et al. 2022 §4.1: 40 to 60 %",
        "of cot: least probability that a label gives; reasons leave an overseer too sure"),
    SAMPLING("stages.label.reasons", label.reasons, "1.0", "1.0", "256", "own", "own"),
    NUM("stages.label.max_dropped", label.max_dropped, 0, 1, "0.2", "own",
        "of cot and debate: share of reasons or debates that cannot be read; above, the job waits"),
    INT("stages.label.turns", label.turns, 1, 16, "2", "own; Khan et al. 2024: 3",
        "of debate: speeches of each side"),
    SAMPLING("stages.label.speech", label.speech, "1.0", "1.0", "128", "own", "own"),
    NUM("stages.label.helpful", label.helpful, 0, 1, "0.49",
        "stages.ppo.helpful; Bai et al. 2022 §4.1: 0, people's pairs are the helpful ones",
        "share of helpful prompts"),
    SAMPLING("stages.label.reply", label.reply, "1.0", "1.0", "256", "Bai et al. 2022",
             "Bai et al. 2022"),
    NUM("stages.label.min_option_mass", label.min_option_mass, 0, 1, "0.1", "own",
        "probability of both options together; below, the job waits"),
    NUM("stages.label.max_flipped", label.max_flipped, 0, 1, "0.5", "own",
        "share of decided answers (not within .5 ± .1) that follow the order; above, the job waits"),
    INT("stages.label.gate_pairs", label.gate_pairs, 0, 1e6, "200", "own",
        "known-answer pairs before labelling; 0 = no gate"),
    NUM("stages.label.gate_confidence", label.gate_confidence, 0.5, 0.999999, "0.95", "own",
        "one-sided, that the overseer beats chance"),

    FLAG("stages.audit.enabled", audit.enabled, "true", "own",
         "test the overseer on data.canaries; nothing is asked without that file"),
    INT("stages.audit.pairs", audit.pairs, 1, 1e6, "120",
        "own: 102 to 117 show recall falling from .9 to .7",
        "canaries of each class in a round, each with its twin"),
    NUM("stages.audit.alpha", audit.alpha, 0, 0.5, "0.01", "own",
        "chance of a false alarm per job, over classes, tests and rounds; 0 = measure, never halt"),
    NUM("stages.audit.least_recall", audit.least_recall, 0, 1, "0.6", "own",
        "share of a class that the overseer must find, by critique and by choice"),
    NUM("stages.audit.margin", audit.margin, 0, 1, "0.1", "own",
        "by which a class may lie below the others, or critiques below what it knows"),
    NUM("stages.audit.max_phrase", audit.max_phrase, 0, 1, "0.1", "own",
        "share of rewrites that may gain the same words, whatever the principle"),
    FLAG("stages.audit.ask", audit.ask, "true", "Saunders et al. 2022: critiqueability",
         "ask of each canary whether there is a flaw, beside having it criticised"),
    TEXT("stages.audit.question", audit.question, false, ROLE_PLAIN,
         "Does your last reply have a flaw of this kind? {principle} Answer Yes or No.", "own",
         "how, unless a canary's row has its own \"ask\""),
    INT("stages.audit.words", audit.words, 0, 10000, "100", "own",
        "frequent words and sentences tried as triggers in choices; 0 = none"),
    INT("stages.audit.passed", audit.passed, 0, 1e6, "200", "own",
        "critiques of the round that models.second_overseer and people (human.audits) look at again, "
        "mostly passed ones"),

    FLAG("stages.prefer.enabled", prefer.enabled, "true", "own", "train the preference model"),
    INT("stages.prefer.members", prefer.members, 1, 16, "1", "own; Coste et al. 2023: 4 to 5",
        "models of the ensemble"),
    INT("stages.prefer.epochs", prefer.epochs, 1, 1000, "1", "InstructGPT: a second overfits",
        "passes over the pairs"),
    NUM("stages.prefer.held_out", prefer.held_out, 0, 0.9, "0.1", "own",
        "share of pairs for accuracy and reliability"),
    NUM("stages.prefer.human", prefer.human, 0, 1, "0.2",
        "own; Bai et al. 2022 §4.1: 135,296 of 318,127, 0.43",
        "share of people's pairs in the mix, as far as there are; their accuracy is told apart"),
    NUM("stages.prefer.gate_confidence", prefer.gate_confidence, 0, 0.999999, "0.99", "own",
        "one-sided, that it beats chance on held-out pairs, else the job waits, and of how far "
        "PPO follows its scores; 0 = no gate, followed in full"),
    NUM("stages.prefer.centre", prefer.centre, 0, 100, "0.01", "TRL", "keeps scores near 0"),
    NUM("stages.prefer.margin", prefer.margin, 0, 100, "0", "TRL; Llama 2: up to 3",
        "by which the better reply must win"),
    FLAG("stages.prefer.average", prefer.average, "false", "Ramé et al. 2024, WARM: an option",
         "one model of the members' mean weights"),
    WORD("stages.prefer.trunk", prefer.trunk, trunks, "own", "own; Ahmed et al. 2024: shared",
         "of the members; shared: one training, cheaper, and they disagree less"),
    INT("stages.prefer.batch", prefer.optimizer.batch, 1, 1 << 20, "64", "InstructGPT",
        "pairs per step, all ranks together"),
    OPTIMIZER("stages.prefer", prefer.optimizer, "1e-5", "InstructGPT, OpenRLHF 9e-6", "0.999",
              "TRL", "1e-8", "PyTorch", "0.03", "cosine", "summarize_from_feedback"),
    INT("stages.prefer.checkpoint_every", prefer.checkpoint_every, 0, 1e9, "100", "own",
        "steps; 0 = only at the end"),

    FLAG("stages.skill.enabled", skill.enabled, "false", "own",
         "train the overseer to critique, on what people verified"),
    WORD("stages.skill.from", skill.from, froms, "start", "Saunders et al. 2022 §3: one base",
         "start: the overseer that the job names; latest: the one of the round before"),
    FLAG("stages.skill.use", skill.use, "false", "own: an overseer stays frozen",
         "later rounds take it for critiques and labels"),
    NUM("stages.skill.held_out", skill.held_out, 0, 0.9, "0.1", "own",
        "share of what people verified that is only measured on"),
    NUM("stages.skill.verdict_weight", skill.verdict_weight, 1e-3, 1e6, "4", "own",
        "of a yes or no; a word that carries all, among texts of many"),
    INT("stages.skill.inserted", skill.inserted, 0, 1e9, "0", "own; McAleese et al. 2024: half",
        "flaws put into good replies by the overseer itself, in a round"),
    WORD("stages.skill.judge", skill.judge, judges, "pm", "own",
         "of quality, for the gaps: the preference model, or people's held-out verdicts"),
    INT("stages.skill.prompts", skill.prompts, 0, 1e7, "100", "own",
        "held-out prompts of each kind, for the gaps; 0 = none"),
    INT("stages.skill.samples", skill.samples, 2, 64, "4", "own; Saunders et al. 2022: 8",
        "replies to each, of which the best is taken"),
    SAMPLING("stages.skill.reply", skill.reply, "1.0", "1.0", "256", "own", "own"),
    SAMPLING("stages.skill.critique", skill.critique, "1.0", "1.0", "192", "own", "own"),
    SAMPLING("stages.skill.refinement", skill.refinement, "1.0", "1.0", "256", "own", "own"),
    INT("stages.skill.epochs", skill.epochs, 1, 1000, "1", "Saunders et al. 2022: 1",
        "passes over the rows"),
    INT("stages.skill.batch", skill.optimizer.batch, 1, 1 << 20, "64", "own",
        "rows per step, all ranks together"),
    OPTIMIZER("stages.skill", skill.optimizer, "1e-5", "own, as sft", "0.999", "TRL", "1e-8",
              "PyTorch", "0.03", "linear", "own"),
    INT("stages.skill.checkpoint_every", skill.checkpoint_every, 0, 1e9, "100", "own",
        "steps; 0 = only at the end"),

    FLAG("stages.evaluate.enabled", evaluate.enabled, "true", "own", "measure on held-out prompts"),
    INT("stages.evaluate.prompts", evaluate.prompts, 1, 1e7, "500", "own",
        "held-out prompts of each kind"),
    INT("stages.evaluate.draws", evaluate.draws, 1, 1024, "8", "own; Lan and DeMets 1983",
        "most replies a prompt while guards.tolerance is undecided; 1, 2, 4 … are looked at"),
    INT("stages.evaluate.win_pairs", evaluate.win_pairs, 0, 1e7, "200", "own",
        "blind comparisons with the start, in both orders"),
    INT("stages.evaluate.marked", evaluate.marked, 0, 1e7, "100", "own; Hubinger et al. 2024",
        "of each kind, asked again under each marker of data.probes"),
    SAMPLING("stages.evaluate.reply", evaluate.reply, "1.0", "1.0", "256", "own", "own"),

    FLAG("stages.ppo.enabled", ppo.enabled, "true", "own",
         "reinforcement learning after all rounds"),
    WORD("stages.ppo.algorithm", ppo.algorithm, algorithms, "ppo", "Bai et al. 2022 §4.1",
         "rloo, grpo, best_of_n: no value model; dpo: from the labels alone"),
    INT("stages.ppo.steps", ppo.steps, 1, 1e9, "200", "own", "rollout-and-update steps"),
    INT("stages.ppo.rollouts", ppo.rollouts, 1, 1e6, "256", "own; InstructGPT 512",
        "replies per step, all ranks together"),
    INT("stages.ppo.group", ppo.group, 2, 1 << 20, "8", "TRL GRPO",
        "replies to each prompt: rloo, grpo, best_of_n"),
    INT("stages.ppo.epochs", ppo.epochs, 1, 1000, "4", "lm-human-preferences, TRL",
        "passes over a step's rollouts"),
    INT("stages.ppo.minibatches", ppo.minibatches, 1, 1e5, "4", "NeMo-Aligner, OpenRLHF: 8",
        "updates per pass"),
    NUM("stages.ppo.clip", ppo.clip, 0, 100, "0.2", "Schulman et al. 2017", "of the ratio"),
    NUM("stages.ppo.clip_high", ppo.clip_high, 0, 100, "0", "Schulman et al. 2017; DAPO 0.28",
        "above 1; 0 = as clip"),
    NUM("stages.ppo.dual_clip", ppo.dual_clip, 0, 1e6, "0", "Schulman et al. 2017; veRL 3",
        "bound for a negative advantage; 0 = none"),
    NUM("stages.ppo.max_ratio", ppo.max_ratio, 0, 1e9, "10", "TRL: ratio_threshold",
        "mean ratio above which an update is left out; 0 = none"),
    NUM("stages.ppo.advantage_clip", ppo.advantage_clip, 0, 1e6, "0", "all peers; MOSS 0.5",
        "0 = not clipped"),
    WORD("stages.ppo.aggregate", ppo.aggregate, aggregates, "tokens",
         "N+ details; GRPO: replies, Dr. GRPO: fixed", "what the loss is a mean over"),
    WORD("stages.ppo.scale", ppo.scale, scales, "std", "Shao et al. 2024; Dr. GRPO: none",
         "grpo: divide advantages by the group's deviation"),
    NUM("stages.ppo.value_clip", ppo.value_clip, 0, 1e6, "0.2", "lm-human-preferences",
        "of the value's change"),
    NUM("stages.ppo.gamma", ppo.gamma, 0, 1, "1.0", "all peers", "discount"),
    NUM("stages.ppo.lambda", ppo.lambda, 0, 1, "0.95", "lm-human-preferences", "of GAE"),
    NUM("stages.ppo.value_coef", ppo.value_coef, 0, 1e6, "1.0", "MOSS: a network of its own",
        "weight of the value loss"),
    INT("stages.ppo.value_warmup", ppo.value_warmup, 0, 1e9, "0", "TRL; PPO-max: some",
        "first steps that train the value model alone"),
    WORD("stages.ppo.value_from", ppo.value_from, value_froms, "pm", "summarize_from_feedback",
         "weights the value model begins with"),
    NUM("stages.ppo.kl.coef", ppo.kl_coef, 0, 1e6, "0.05", "summarize_from_feedback; GRPO 0.04",
        "per token, inside the reward; grpo: k3 in the loss"),
    WORD("stages.ppo.kl.estimator", ppo.kl_estimator, estimators, "k1", "all three references",
         "inside the reward"),
    NUM("stages.ppo.kl.clamp", ppo.kl_clamp, 0, 1e9, "0", "TRL; OpenRLHF 10",
        "of a token's estimate; 0 = none"),
    NUM("stages.ppo.kl.stop", ppo.kl_stop, 0, 1e9, "0", "TRL: early_stopping off",
        "nats per token from the step's start that end its updates; 0 = none"),
    NUM("stages.ppo.kl.target", ppo.kl_target, 0, 1e6, "0", "summarize_from_feedback: fixed",
        "nats per reply; 0 = fixed coefficient"),
    NUM("stages.ppo.kl.horizon", ppo.kl_horizon, 1, 1e12, "10000", "Ziegler et al. 2019",
        "episodes, for an adaptive coefficient"),
    FLAG("stages.ppo.whiten_advantages", ppo.whiten_advantages, "true", "all peers",
         "with moments over all ranks"),
    WORD("stages.ppo.whiten_over", ppo.whiten_over, whitened, "rollouts",
         "TRL; lm-human-preferences: minibatch", "whose moments these are"),
    FLAG("stages.ppo.whiten_rewards", ppo.whiten_rewards, "false", "summarize_from_feedback",
         "divide by the deviation"),
    NUM("stages.ppo.reward_clip", ppo.reward_clip, 0, 1e9, "10", "OpenRLHF", "0 = not clipped"),
    NUM("stages.ppo.no_end_reward", ppo.no_end_reward, -1e9, 1e9, "-1.0", "lm-human-preferences",
        "score of a reply that did not end"),
    WORD("stages.ppo.no_end", ppo.no_end, no_ends, "replace", "lm-human-preferences; TRL: add",
         "what no_end_reward does to the score"),
    WORD("stages.ppo.normalise", ppo.normalise, normalisers, "pairs",
         "own; lm-human-preferences: reference, MOSS: running",
         "scores, by their moments over these replies"),
    NUM("stages.ppo.value_lr", ppo.value_lr, 0, 1, "1e-5", "veRL; OpenRLHF 9e-6",
        "learning rate of the value model"),
    SAMPLING("stages.ppo.rollout", ppo.rollout, "1.0", "1.0", "256", "InstructGPT",
             "less than 1 breaks the ratio"),
    NUM("stages.ppo.dpo.beta", ppo.dpo_beta, 1e-9, 1e6, "0.1", "Rafailov et al. 2023",
        "of dpo: strength of the tie to the reference"),
    INT("stages.ppo.dpo.batch", ppo.dpo_batch, 1, 1 << 20, "64", "Rafailov et al. 2023",
        "pairs per step, all ranks together"),
    INT("stages.ppo.dpo.epochs", ppo.dpo_epochs, 1, 1000, "1",
        "Rafailov et al. 2023; alignment-handbook 3", "passes over the pairs"),
    NUM("stages.ppo.ptx.coef", ppo.ptx_coef, 0, 1e6, "0", "TRL; InstructGPT: PPO-ptx, 27.8",
        "weight of the loss of sft's rows, a mean over tokens, in each update; 0 = none"),
    INT("stages.ppo.ptx.batch", ppo.ptx_batch, 1, 1 << 20, "64", "own; InstructGPT: 8 per reply",
        "such rows per update, all ranks together"),
    WORD("stages.ppo.eps_place", ppo.eps_place, eps_places, "pytorch",
         "Huang et al. 2024; lm-human-preferences: tensorflow", "where AdamW adds eps"),
    OPTIMIZER("stages.ppo", ppo.optimizer, "3e-6", "TRL, summarize_from_feedback", "0.95",
              "InstructGPT", "1e-5", "lm-human-preferences", "0.02", "linear",
              "lm-human-preferences; MOSS: inverse_sqrt"),
    INT("stages.ppo.checkpoint_every", ppo.checkpoint_every, 0, 1e9, "10", "own",
        "steps; 0 = only at the end"),
    INT("stages.ppo.samples", ppo.samples, 0, 1024, "2", "own",
        "replies of a step kept, with reward and KL, to be read or judged"),
    INT("stages.ppo.sample_every", ppo.sample_every, 0, 1e9, "0", "own",
        "steps from one sample to the next; 0 = 25 in a run"),
    NUM("stages.ppo.helpful", ppo.helpful, 0, 1, "0.49", "Bai et al. 2022 §4.2: 474,300 of 965,442",
        "share of helpful prompts"),
    NUM("stages.ppo.pm_variance", ppo.pm_variance, 0, 1e6, "0",
        "own; Coste et al. 2023: 0.1 to 0.5", "penalty on disagreement of the ensemble"),
    WORD("stages.ppo.pm_combine", ppo.pm_combine, combines, "mean", "Coste et al. 2023",
         "the members' mean, or the lowest"),

    NUM("guards.kl_budget", guards.kl_budget, 0, 1e9, "20", "own",
        "nats from the reference; PPO stops there; 0 = no limit"),
    NUM("guards.loss_spike", guards.loss_spike, 0, 1e6, "10", "own; PaLM skips spikes by hand",
        "deviations above the running mean that leave a step out; 0 = none"),
    INT("guards.max_skipped", guards.max_skipped, 1, 1e6, "3", "own",
        "steps left out in a row (spike, NaN) that end a training run"),
    NUM("guards.alpha", guards.alpha, 0, 0.5, "0.01", "own",
        "chance of a false halt per job, over all failures and looks; 0 = measure, never halt"),
    NUM("guards.margin", guards.margin, 0, 1, "0.02", "own",
        "rise of a failure rate that is tolerated (0.02 = 2 points)"),
    NUM("guards.tolerance", guards.tolerance, 0, 1, "0", "own; Berger 1982",
        "rise over the start that must be ruled out (95 %) for every failure, by graders that people have "
        "checked (data.graded, human.grades); 0 = none need be"),
    NUM("guards.diversity", guards.diversity, 0, 1, "0.2", "own",
        "least share of the start's distinct word pairs; 0 = none"),
    NUM("guards.skill", guards.skill, 0, 1, "0.05", "own",
        "fall of right answers to data.probes that is tolerated"),
    NUM("guards.bits", guards.bits, 0, 100, "0.1", "own",
        "rise in bits per byte of data.probes' texts that is tolerated"),
    NUM("guards.watched", guards.watched, 0, 1, "0.1", "own; Hubinger et al. 2024",
        "gap of a failure rate under a marker of data.probes that is tolerated"),
    NUM("guards.people", guards.people, 0, 1, "0.05", "own; Gao et al. 2022",
        "fall of agreement with people's held-out pairs while scores rise that is tolerated"),
    NUM("guards.disagreement", guards.disagreement, 0, 1e6, "3", "own; Coste et al. 2023",
        "most times the members' deviation on the start's replies; 0 = none"),
    NUM("guards.openings", guards.openings, 0, 1, "0.5", "own",
        "rise of the share of replies that begin with one and the same words; 0 = none"),
    NUM("guards.length", guards.length, 0, 1e6, "3", "own",
        "most times longer or shorter than the start's replies; 0 = none"),
    NUM("guards.entropy", guards.entropy, 0, 1, "0.05", "own",
        "least share of the start's nats per token; 0 = none"),
    NUM("guards.sampler_gap", guards.sampler_gap, 0, 1e6, "0.1", "own",
        "most nats between sampler and trainer, mean of a step; 0 = none"),
    INT("human.required", human.required, 0, 1e6, "0", "own",
        "pairs of each round that people compare after the labels; the job waits for them; 0 = none"),
    INT("human.critiques", human.critiques, 0, 1e6, "0", "own",
        "rewrites of each round, with their critiques, that people read before sft; 0 = none"),
    INT("human.grades", human.grades, 0, 1e6, "0", "own",
        "held-out replies of each round that people grade, per failure, before the guard; 0 = none"),
    INT("human.checks", human.checks, 0, 1e6, "0", "own; Perez et al. 2022: passes, too",
        "of each round's stages.red_team.check, what people grade with them: the classifier's error"),
    INT("human.audits", human.audits, 0, 1e6, "0", "own; Hájek 1971: inverse chances as weights",
        "replies of each round's stages.audit.passed that people read again, mostly passed ones, "
        "before anything is trained: what the overseer misses; 0 = none"),
    NUM("human.overlap", human.overlap, 0, 1, "0.15", "own; Prodigy",
        "share that a second reader judges too; a third where they disagree"),
    NUM("human.unaided", human.unaided, 0, 1, "0.2", "own; Saunders et al. 2022 §3.4",
        "share whose first verdict comes before any help: the control arm"),
    NUM("human.gold", human.gold, 0, 1, "0.05", "own",
        "items with a known answer, mixed in per item that counts"),
    NUM("human.draw.uncertain", human.uncertain, 0, 1e3, "0.4", "own; Lewis and Gale 1994",
        "weight of labels nearest one half"),
    NUM("human.draw.disagreement", human.disagreement, 0, 1e3, "0.3",
        "own; Seung et al. 1992", "weight of labels that turn with the order or the principle"),
    NUM("human.draw.random", human.random, 0, 1e3, "0.3", "own",
        "weight of chance, for figures about all of them"),
    FLAG("human.help", human.help, "true", "Saunders et al. 2022",
         "the overseer's critiques of both replies are shown, but for the control arm"),
    INT("keep.checkpoints", keep.checkpoints, 1, 1000, "3", "own",
        "resumable states kept per task, unless its stage says another number"),
    INT("keep.models", keep.models, 0, 1000, "0", "own",
        "newest rounds whose models stay, of each stage; 0 = all. The last ones stay anyway, and "
        "of a job that is not over all that it may need"),
    INT("keep.sft.models", keep.sft.models, 0, 1000, "0", "own", "the same of sft; 0 = keep.models"),
    INT("keep.sft.checkpoints", keep.sft.checkpoints, 0, 1000, "0", "own",
        "resumable states of sft; 0 = keep.checkpoints"),
    INT("keep.prefer.models", keep.prefer.models, 0, 1000, "0", "own",
        "newest rounds of preference models; 0 = keep.models"),
    INT("keep.prefer.checkpoints", keep.prefer.checkpoints, 0, 1000, "0", "own",
        "resumable states of prefer; 0 = keep.checkpoints"),
    INT("keep.ppo.checkpoints", keep.ppo.checkpoints, 0, 1000, "0", "own",
        "resumable states of ppo; 0 = keep.checkpoints"),
    NUM("keep.fault_every", keep.fault_every, 0, 1e9, "0",
        "own; Young 1974: a state every √(2 × its cost × this)",
        "seconds expected between faults, in place of checkpoint_every; 0 = that counts"),
};
const size_t n_settings = CAI_COUNT(settings);
_Static_assert(CAI_COUNT(settings) <= JOB_SETTINGS_MAX, "job_spec.given is too small");

const struct setting *setting_find(const char *path, size_t len) {
    for (size_t i = 0; i < n_settings; i++)
        if (cai_text_equal_n(path, len, settings[i].field.key))
            return &settings[i];
    return NULL;
}

bool setting_is_group(const char *path) {
    size_t n = strlen(path);
    for (size_t i = 0; i < n_settings; i++)
        if (strncmp(settings[i].field.key, path, n) == 0 && settings[i].field.key[n] == '.')
            return true;
    return false;
}

size_t setting_children(const char *prefix, char names[][40], size_t max) {
    size_t len = strlen(prefix), n = 0;
    for (size_t i = 0; i < n_settings && n < max; i++) {
        const char *key = settings[i].field.key;
        if (len && (strncmp(key, prefix, len) != 0 || key[len] != '.'))
            continue;
        key += len ? len + 1 : 0;
        int word = (int)strcspn(key, ".");
        char name[40];
        snprintf(name, sizeof name, "%.*s", word, key);
        bool seen = false;
        for (size_t k = 0; k < n; k++)
            seen = seen || strcmp(names[k], name) == 0;
        if (!seen)
            memcpy(names[n++], name, sizeof name);
    }
    return n;
}

void settings_default(struct job_spec *j) {
    struct input_report report = {0};
    for (size_t i = 0; i < n_settings; i++) {
        const struct setting *s = &settings[i];
        if (!s->fallback || s->field.required)
            continue;
        const struct yaml_node node = {
            .kind = YAML_TEXT, .text = s->fallback, .n = (uint32_t)strlen(s->fallback)};
        CAI_CHECK(schema_value(&s->field, s->field.key, &node, j, &report));
    }
    j->version = JOB_VERSION;
}
