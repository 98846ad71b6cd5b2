"""Every Prometheus metric of pebr, one record each. docs/monitoring.md lists the same; a test compares them.

A number of a history row becomes a metric by its `key`: nothing but a record here is needed to publish it. Metrics
without a key are published where they arise, through `pebr.telemetry.metrics`.
"""

from typing import Literal, NamedTuple

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1200, 3600)
DATA = "filter sft rollout grpo evaluate"
TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024, 1536, 2048, 4096, 8192, 16384, 32768)


class Metric(NamedTuple):
    """One metric. All have the labels `step` (of the DAG), `stage` (of GRPO, else empty) and `run`."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    steps: str  # which steps have it, separated by spaces; "all" for every step
    key: str = ""  # of a history row; `name/*` stands for all keys that begin with `name/`
    label: str = ""  # a further label; for a key `name/*` its value is what follows the slash
    buckets: tuple[float, ...] = ()  # upper bounds, of a histogram
    only: str = ""  # with what in a run it has data (a counter: more than zero); "" for nothing


METRICS = (
    # Every step
    Metric("pebr_start_timestamp_seconds", "gauge", "When the step started, in Unix time.", "all"),
    Metric("pebr_items_done_total", "counter", "Items done, of what the log counts.", "all", label="activity"),
    Metric("pebr_items_planned", "gauge", "Items to do in all; 0 if unknown.", "all", label="activity"),
    Metric("pebr_result", "gauge", "Final numbers of a step, as in its metrics file.", "all", label="name"),
    Metric("pebr_disk_free_bytes", "gauge", "Free bytes where the step writes its output.", "all"),
    Metric("pebr_disk_size_bytes", "gauge", "Size of the file system where the step writes its output.", "all"),
    Metric("pebr_memory_peak_bytes", "gauge", "Largest resident memory of the first process.", "all"),
    Metric(
        *("pebr_tracking_dropped_total", "counter", "Rows and results that a tracker did not get.", "all"),
        label="tracker",
        only="a tracker that fails",
    ),
    Metric(
        *("pebr_tracking_waiting_rows", "gauge", "Rows that wait for a tracker.", "all"),
        label="tracker",
        only="a tracker",
    ),
    # Object stores
    Metric("pebr_store_transfers_total", "counter", "Files and folders put or got.", "all", label="operation"),
    Metric("pebr_store_bytes_total", "counter", "Bytes put or got.", "all", label="operation"),
    Metric("pebr_store_seconds", "histogram", "Seconds per transfer.", "all", label="operation", buckets=SECONDS),
    Metric(
        *("pebr_store_retries_total", "counter", "Requests to an S3 store that were made again.", "all"),
        only="an S3 store that fails",
    ),
    # Data
    Metric("pebr_rows_kept_total", "counter", "Rows kept.", DATA),
    Metric(
        *("pebr_rows_rejected_total", "counter", "Rows rejected, by reason.", DATA),
        label="reason",
        only="rows that cannot be used",
    ),
    # Training
    Metric("pebr_training_step", "gauge", "Training steps done.", "sft grpo", "step"),
    Metric("pebr_training_steps_planned", "gauge", "Training steps of the run.", "sft grpo"),
    Metric("pebr_training_step_timestamp_seconds", "gauge", "End of the last training step, in Unix time.", "sft grpo"),
    Metric("pebr_checkpoint_timestamp_seconds", "gauge", "End of the last checkpoint, in Unix time.", "sft grpo"),
    Metric("pebr_loss", "gauge", "Loss.", "sft grpo", "loss"),
    Metric("pebr_learning_rate", "gauge", "Learning rate.", "sft grpo", "learning_rate"),
    Metric("pebr_gradient_norm", "gauge", "Norm of the gradient, before it is clipped.", "sft grpo", "grad_norm"),
    Metric(
        *("pebr_updates_refused_total", "counter", "Updates refused: loss or gradient not finite.", "sft grpo"),
        only="numbers that are not finite",
    ),
    Metric("pebr_training_tokens_total", "counter", "Tokens trained on, prompts included.", "sft grpo"),
    Metric(
        *("pebr_part_seconds", "histogram", "Seconds per training step in each of its parts.", "sft grpo"),
        *("seconds_*", "part", SECONDS),
    ),
    Metric("pebr_step_seconds", "histogram", "Seconds per training step in all.", "sft grpo", buckets=SECONDS),
    Metric(
        "pebr_waiting_ratio", "gauge", "Share of a training step without sampling, training or validation.", "sft grpo"
    ),
    Metric("pebr_model_flops_ratio", "gauge", "MFU.", "sft grpo", only="a known peak of the processor"),
    Metric("pebr_gpu_memory_peak_bytes", "gauge", "Largest memory on one GPU, over ranks.", "sft grpo", only="a GPU"),
    # Answers
    Metric("pebr_answer_tokens", "histogram", "Tokens per answer.", "rollout grpo evaluate", buckets=TOKENS),
    Metric(
        "pebr_answers_cut_off_total",
        "counter",
        "Answers cut off at the token limit.",
        "rollout grpo evaluate",
        only="answers that are cut off",
    ),
    # GRPO
    Metric("pebr_reward", "gauge", "Mean reward.", "grpo", "reward"),
    Metric(
        "pebr_reward_component", "gauge", "Mean of a component, before its weight.", "grpo", "reward/*", "component"
    ),
    Metric(
        *("pebr_reward_spread", "gauge", "Standard deviation of a component in a group, mean over groups.", "grpo"),
        *("reward_spread/*", "component"),
    ),
    Metric("pebr_reward_zero_ratio", "gauge", "Share of answers at 0.", "grpo", "reward_at_0/*", "component"),
    Metric("pebr_reward_one_ratio", "gauge", "Share of answers at 1.", "grpo", "reward_at_1/*", "component"),
    Metric("pebr_zero_advantage_ratio", "gauge", "Share of groups without advantages.", "grpo", "zero_advantage_share"),
    Metric("pebr_cut_off_ratio", "gauge", "Share of a training step's answers cut off.", "grpo", "truncated_share"),
    Metric(
        *("pebr_clip_cut_off_ratio", "gauge", "Share of descriptions that CLIP reads in part.", "grpo"),
        "clip_cut_off_share",
        only="the CLIP reward",
    ),
    Metric("pebr_kl_nats", "gauge", "KL divergence to the initial model, per token.", "grpo", "kl", only="`kl_weight`"),
    Metric("pebr_entropy_nats", "gauge", "Entropy of the policy, per token.", "grpo", "entropy"),
    Metric("pebr_clipped_ratio", "gauge", "Share of tokens whose ratio is clipped.", "grpo", "clip_fraction"),
    Metric("pebr_drift_nats", "gauge", "Sampler against trainer, per token.", "grpo", "drift/*", "measure"),
    Metric("pebr_drift_beyond_ratio", "gauge", "Share of tokens 0.2 nats or more apart.", "grpo", "drift/beyond"),
    Metric(
        *("pebr_checks_failed_total", "counter", "Answer checks that took too long.", "grpo", "checks_failed"),
        only="answers that are hard to compare",
    ),
    # Evaluation
    Metric(
        "pebr_validation",
        "gauge",
        "Score of the last validation.",
        "sft grpo",
        "validation/*",
        "measure",
        only="validations",
    ),
    Metric("pebr_benchmark_accuracy_ratio", "gauge", "Accuracy on a benchmark.", "evaluate", label="benchmark"),
)
