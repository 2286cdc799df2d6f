/* job.h: the job file: schema, defaults with their sources, validation. One table holds
 * every setting (name, type, default, range, source, one line of help); the reader, the
 * JSON form, `caictl init` and the manual are made from it. Torch-free and store-free,
 * so that caictl checks a file without a daemon. */
#ifndef CAI_JOB_H
#define CAI_JOB_H

#include "base/arena.h"
#include "base/buf.h"
#include "input/record.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct job_sampling {
    double temperature, top_p;
    int64_t max_tokens;
};
/* AdamW with warm-up, then the schedule. */
struct job_optimizer {
    double lr, weight_decay, beta1, beta2, eps, clip_norm, warmup; /* warmup: share of steps */
    const char *schedule;                                          /* constant linear cosine */
    int64_t batch;                                                 /* rows per step, all ranks */
};

struct job_red_team {
    bool enabled;
    const char *method;      /* zero_shot | few_shot | supervised | rl: stage/red.h */
    const char *request;     /* what a red model is asked; NULL = RED_REQUEST */
    const char *form;        /* any | question: what counts as a prompt */
    const char *from;        /* start | latest: the red model that goes on learning */
    int64_t explore;         /* zero-shot cases judged first; 0 = as the method needs */
    struct {
        double lr;
        int64_t epochs, batch;
    } supervised;
    struct {
        double alpha, penalty, lr; /* learn/red.h */
        int64_t steps, rollouts, checkpoint_every;
    } rl;
    int64_t coverage; /* failing replies of which the overseer says what they break */
    int64_t check;    /* failures, and as many passes, kept for people to check */
    int64_t samples;         /* candidates to write */
    int64_t shots;           /* exemplars per prompt */
    double shot_temperature; /* weight of an exemplar ∝ exp(p_harm / T) (Perez et al. 2022) */
    double keep;             /* share of the prompts of a round that come from here */
    struct job_sampling sampling;
};
struct job_revise {
    bool enabled;
    int64_t prompts;   /* red-team prompts used in a round; 0 = all */
    int64_t revisions; /* critique–revision steps per prompt */
    struct job_sampling reply, critique, revision;
    double max_dropped, max_unchanged, max_truncated; /* shares; above: the job waits */
};
struct job_consist {
    bool enabled;
    int64_t questions; /* without an answer, in a round; 0 = all */
    int64_t paths;     /* sampled for each */
    int64_t shots;     /* worked questions shown before one; as many as there are */
    const char *ask;     /* said after a question, to be shown the steps */
    const char *answer;  /* pattern of the answer; NULL: what stands after the last "answer is" */
    const char *direct;  /* an answer alone; {} is its place */
    const char *formats; /* names with commas, or all */
    double accuracy;     /* of the votes that are kept, by calibration; 0 = all are */
    int64_t keep;        /* paths of a question */
    double confidence;   /* one-sided, of both tests that stop it */
    bool stop;           /* wait when votes agree more and are not right more often */
    double teach;        /* share of the labelled part whose right ways are learned too */
    struct job_sampling sampling;
};
struct job_sft {
    bool enabled;
    const char *from; /* start | latest */
    const char *take; /* all | last: which revisions */
    bool earlier_rounds;
    double helpful;                   /* helpful replies per revision in the mix */
    int64_t epochs, checkpoint_every; /* steps; 0 = only at the end */
    struct job_optimizer optimizer;
    int64_t batch_tokens; /* learned tokens per step in place of rows; 0 = optimizer.batch rows */
};
struct job_label {
    bool enabled;
    int64_t pairs;
    int64_t principles; /* averaged per pair */
    bool swap;          /* both orders, averaged */
    const char *mode;   /* soft | hard | cot | debate | shuffled (a control) */
    double clamp, max_dropped; /* of cot; of cot and debate */
    int64_t turns;             /* of debate: speeches of each side */
    struct job_sampling speech;
    double helpful;     /* share of helpful prompts; ppo.helpful where not given */
    struct job_sampling reply, reasons;
    double min_option_mass, max_flipped;
    int64_t gate_pairs; /* known-answer pairs before labelling; the overseer must beat chance */
    double gate_confidence;
};
struct job_prefer {
    bool enabled;
    int64_t members, epochs, checkpoint_every;
    double centre;   /* weight of (r_a + r_b)^2 in the loss */
    double margin;   /* by which the better reply must win */
    bool average;    /* one model of the members' mean weights */
    const char *trunk; /* own | shared: the members are heads over one */
    double held_out; /* share of pairs */
    double human;    /* share of people's pairs in the mix */
    double gate_confidence; /* one-sided, that it beats chance; 0 = no gate */
    struct job_optimizer optimizer;
};
/* Critique as a skill (Saunders et al. 2022): training the overseer, and what it gains. */
struct job_skill {
    bool enabled;
    const char *from;        /* start | latest */
    bool use;                /* later rounds take it as the overseer */
    double held_out;         /* share of what people verified */
    double verdict_weight;   /* of a yes or no against a text */
    int64_t inserted;        /* flaws that the overseer puts in itself, in a round */
    const char *judge;       /* pm | human */
    int64_t prompts, samples; /* of the gaps: held-out prompts of each kind, replies to each */
    int64_t epochs, checkpoint_every;
    struct job_sampling reply, critique, refinement;
    struct job_optimizer optimizer;
};
struct job_evaluate {
    bool enabled;
    int64_t prompts; /* held-out prompts, per kind */
    int64_t draws;   /* most replies a prompt where guards.tolerance is undecided */
    int64_t win_pairs;
    int64_t marked; /* of each kind, asked again under each marker of data.probes */
    struct job_sampling reply;
};
/* How the overseer is tested on canaries (daemon/stage/audit.c). */
struct job_audit {
    bool enabled;
    int64_t pairs;       /* of each class in a round */
    double alpha;        /* chance of a false alarm per job; 0 = measure, never halt */
    double least_recall, margin, max_phrase;
    bool ask;            /* critiqueability too */
    const char *question;
    int64_t words;       /* tried as triggers */
    int64_t passed;      /* critiques looked at again by models.second_overseer */
};
struct job_ppo {
    bool enabled;
    const char *algorithm; /* ppo | rloo | grpo | best_of_n | dpo (daemon/learn/policy.h) */
    int64_t steps, rollouts, group, epochs, minibatches;
    double clip, clip_high, dual_clip, max_ratio, advantage_clip;
    const char *aggregate, *scale;
    double value_clip, gamma, lambda, value_coef;
    int64_t value_warmup;
    const char *value_from;
    double kl_coef, kl_target, kl_horizon; /* kl_target 0 = fixed coefficient */
    double kl_clamp, kl_stop;
    const char *kl_estimator, *no_end, *normalise, *eps_place, *pm_combine, *whiten_over;
    double dpo_beta;
    int64_t dpo_batch, dpo_epochs;
    double ptx_coef;   /* weight of the loss of fine-tuning's rows; 0 = none */
    int64_t ptx_batch; /* such rows per update */
    bool whiten_advantages, whiten_rewards;
    double reward_clip, no_end_reward; /* score of a reply that did not end */
    double value_lr;
    struct job_sampling rollout;
    struct job_optimizer optimizer;
    int64_t checkpoint_every; /* steps */
    int64_t samples, sample_every; /* replies of a step kept; steps between, 0 = 25 in a run */
    double helpful;           /* share of helpful prompts among rollouts */
    double pm_variance;       /* reward = mean - this × variance over the PM's members */
};

enum { JOB_VERSION = 1, JOB_SETTINGS_MAX = 384, JOB_PRIORITY_MAX = 100 };

struct job_spec {
    struct cai_arena arena;
    int64_t version;
    const char *name;
    uint64_t seed;
    struct {
        const char *start, *generator, *overseer, *pm, *red; /* folders; or latest/start */
        const char *second_overseer; /* the same; NULL = none */
        const char *dtype; /* float32 | bfloat16: of generation and scoring */
        const char *train_dtype; /* of matrix products in training */
        int64_t micro_batch_tokens; /* computed together in training */
        const char *recompute; /* auto | always | never: layers once more in backward */
        struct {
            int64_t rank; /* 0: whole weights are trained */
            double alpha;
            const char *targets; /* names with commas, or all-linear */
        } lora;
        int64_t zero; /* 1: the ranks share AdamW's moments; 0: each keeps all */
    } models;
    const char *constitution; /* name, revision or path of a .yaml */
    struct {
        /* JSONL, or data:NAME; NULL when absent */
        const char *harmful, *helpful, *human, *classifier, *evaluate, *probes, *graded,
            *canaries, *questions, *critiques;
        double skip; /* share of bad rows that may be left out */
        double near; /* Jaccard similarity from which prompts are nearly the same */
    } data;
    int64_t workers, rounds;
    int64_t priority; /* among the jobs of its owner */
    struct job_red_team red_team;
    struct job_revise revise;
    struct job_consist consist;
    struct job_sft sft;
    struct job_label label;
    struct job_prefer prefer;
    struct job_skill skill;
    struct job_evaluate evaluate;
    struct job_audit audit;
    struct job_ppo ppo;
    struct {
        double kl_budget, loss_spike, alpha, margin, tolerance, diversity;
        double skill, bits, watched, people, disagreement, openings, length, entropy, sampler_gap;
        int64_t max_skipped;
    } guards;
    struct job_human { /* what people are asked to judge; stage/review.h */
        int64_t required, critiques, grades;        /* final verdicts per round; 0 = none */
        int64_t checks, audits;                     /* the same: of red teaming, of critiques */
        double overlap, unaided, gold;              /* shares of what is drawn */
        double uncertain, disagreement, random;     /* weights of the ways to draw */
        bool help;                                  /* critiques of compared replies are asked for */
    } human;
    struct {
        int64_t checkpoints, models;
        struct job_keep {
            int64_t models, checkpoints; /* 0 = as the whole job */
        } sft, prefer, ppo;
        double fault_every; /* seconds expected between faults; 0 = checkpoint_every counts */
    } keep;
    struct job_place {
        size_t line, column;
    } place[JOB_SETTINGS_MAX];    /* where each stands in the file; 0 = nowhere. By index, too */
    bool given[JOB_SETTINGS_MAX]; /* by the file or job_set, by index of the table of settings */
};

/* Relative paths in the file are taken from the file's folder and made absolute. */
int job_load(const char *path, struct input_report *report, struct job_spec **ret);
int job_parse(const char *name, const char *text, size_t len, const char *dir,
              struct input_report *report, struct job_spec **ret);
/* job_load with assignments as of job_set (`caictl submit --set`) in force before anything is
 * checked, so that they may replace what the file has wrong. Paths in them are taken from the
 * working directory. */
int job_load_set(const char *path, const char *const *sets, size_t n, struct input_report *report,
                 struct job_spec **ret);
void job_free(struct job_spec *j);
/* The NAME of "model:NAME" or "data:NAME", by which a job file names what is in caid's store
 * (`caictl model add`, `caictl data add`); NULL for anything else. */
const char *job_stored_name(const char *text);
/* Where a setting ("models.start") stands in the file; 0, 0 when it does not. */
struct job_place job_place_of(const struct job_spec *j, const char *path);
/* Applies "stages.sft.lr=2e-5" (caictl submit --set), with the schema's checks. */
int job_set(struct job_spec *j, const char *assignment, struct input_report *report);
/* The whole specification with every default: what the store keeps and a job pins. */
json_t *job_to_json(const struct job_spec *j);
int job_from_json(const json_t *o, struct job_spec **ret);
/* One stage's settings as JSON, for Train.options: "sft", "prefer", "ppo" …; with adapters
 * also "lora", those of models.lora. */
json_t *job_stage_json(const struct job_spec *j, const char *stage);
/* What to do about a model that cannot carry a score head, by what asks for one. */
#define JOB_REMEDY_PREFER                                                                          \
    "set models.pm to a model of another family that has the policy's tokenizer; or set "          \
    "stages.prefer.enabled: false, and beside it stages.ppo.algorithm: dpo, which needs none, or " \
    "stages.ppo.enabled: false"
#define JOB_REMEDY_CLASSIFIER                                                                      \
    "take data.classifier out of the job: red-team replies are then judged by zero-shot options"
#define JOB_REMEDY_VALUE "set stages.ppo.value_from: pm, or stages.ppo.enabled: false"
/* Whether PPO's value model is the policy with a score head. */
bool job_value_from_policy(const struct job_spec *j);
/* Whether the overseer writes reasons before it chooses (stages.label.mode). */
bool job_label_reasons(const struct job_spec *j);
/* Whether two sides speak before it does. */
bool job_label_debates(const struct job_spec *j);
/* |p − ½| above which a label decides something: 0.1, less where probabilities are clamped. */
double job_label_clear(const struct job_spec *j);
/* Whether the stage ppo learns from labels instead of a preference model's scores. */
bool job_ppo_from_labels(const struct job_spec *j);
/* Whether red teaming trains a model of its own, and whether by reinforcement. */
bool job_red_learns(const struct job_spec *j);
bool job_red_reinforces(const struct job_spec *j);
/* What the constitution's `sampling` says, where the job file does not say it itself. */
void job_adopt(struct job_spec *j, int64_t revisions, int64_t per_comparison);
/* The files of a job: data.NAME. The values are in item numbers (stage/data.h): new ones go to the
 * end. A row in roles.c each. */
enum job_data {
    JOB_DATA_HARMFUL,
    JOB_DATA_HELPFUL,
    JOB_DATA_EVALUATE,
    JOB_DATA_HUMAN,
    JOB_DATA_CLASSIFIER,
    JOB_DATA_PROBES,
    JOB_DATA_GRADED,
    JOB_DATA_CANARIES,
    JOB_DATA_QUESTIONS,
    JOB_DATA_CRITIQUES,
    JOB_DATA_FILES
};
const char *job_data_name(enum job_data role);
int job_data_find(const char *name); /* a role, or CAI_ENOTFOUND without a message */
const char *job_data_path(const struct job_spec *j, enum job_data role); /* NULL when absent */
const char **job_data_at(struct job_spec *j, enum job_data role); /* where it stands */
struct job_rows {
    size_t good, bad;
};
/* Not 0 ends the reading and is returned. */
typedef int job_row_function(void *c, size_t line, const struct input_record *r);
/* Reads one file, plain or gzip, in any form of input/record.h: each row that is good for its
 * role goes to f (may be NULL). Bad rows are findings: errors; or warnings while they are at
 * most `skip` of all rows. 0, CAI_EINPUT, or what f returned. */
int job_read_data(enum job_data role, const char *path, double skip, struct input_report *report,
                  job_row_function *f, void *c, struct job_rows *ret);
/* What people's verdicts in data.graded are about ("of"); the order is that of enum probe_sign. */
enum { JOB_GRADED_KINDS = 4 };
extern const char *const job_graded_kinds[JOB_GRADED_KINDS];
/* Of a row; harm where it does not say. −1: something else. */
int job_graded_kind(const json_t *row);
/* Reads every data file and reports what is wrong in its lines, prompts of data.evaluate and
 * data.probes that are nearly those of another file (D011), and graders that nobody checks where a
 * tolerance asks for it (W206); counts of good rows go to ret_rows when not NULL. */
int job_check_data(const struct job_spec *j, struct input_report *report,
                   size_t ret_rows[JOB_DATA_FILES]);
/* The forms of stages.consist.formats; their bits in a set. */
enum job_format {
    JOB_FORMAT_SHOTS,        /* worked questions, the question → the steps */
    JOB_FORMAT_DIRECT_SHOTS, /* answered questions, the question → the answer */
    JOB_FORMAT_STEP,         /* the question and `ask` → the steps */
    JOB_FORMAT_DIRECT,       /* the question → the answer */
    JOB_FORMATS
};
/* The set that a list names ("all", "step,direct"); 0 when a name is not known. */
unsigned job_formats(const char *list);
/* A commented job.yaml with every default and its source. */
void job_write_template(struct cai_buf *ret);
/* Every setting as scdoc, for job(5). */
void job_write_manual(struct cai_buf *ret);

#endif
