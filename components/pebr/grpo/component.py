"""The GRPO step as a Kubeflow component."""

from kfp import dsl

from pebr.step.command import IMAGE


@dsl.container_component
def grpo(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    clip_model: dsl.Input[dsl.Model],
    output: dsl.Output[dsl.Model],
    history: dsl.Output[dsl.Artifact],
    rollouts: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    checkpoints: str = "",
    stage: str = "reasoning",
    reward_mode: str = "paper",
    clip_weight: float = 0.4,
    keyword_weight: float = 0.4,
    format_weight: float = 0.1,
    length_weight: float = 0.1,
    accuracy_weight: float = 0.9,
    reward: str = "",
    questions_per_step: int = 512,
    questions_per_update: int = 128,
    samples: int = 8,
    epochs: int = 1,
    max_steps: int = 0,
    temperature: float = 1.2,
    top_p: float = 1.0,
    learning_rate: float = 1e-6,
    weight_decay: float = 1e-2,
    max_grad_norm: float = 1.0,
    kl_weight: float = 0.01,
    kl_estimator: str = "k3",
    clip_low: float = 0.2,
    clip_high: float = 0.3,
    clip_dual: float = 3.0,
    ratio_cap: float = 2.0,
    advantage: str = "std",
    normalisation: str = "token",
    old_logprobs: str = "sampler",
    sampling: str = "vllm",
    tensor_parallel: int = 1,
    memory_share: float = 0.5,
    drift_limit: float = 0.1,
    max_prompt_tokens: int = 2048,
    max_response_tokens: int = 2048,
    tokens_per_batch: int = 16384,
    min_pixels: int = 576,
    max_pixels: int = 802816,
    dtype: str = "bf16",
    zero_stage: int = 3,
    processes: int = 0,
    gradient_checkpointing: bool = True,
    freeze_vision: bool = False,
    lora_rank: int = 0,
    save_every: int = 10,
    keep_checkpoints: int = 2,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """One stage of GRPO: sample answers, reward them, update, again.

    Args:
        model: the Hugging Face directory that the stage starts from; also the reference of the KL term.
        dataset: the Parquet dataset of questions.
        clip_model: open_clip directory for the CLIP reward; empty where the stage's reward needs none.
        output: the directory for the sharded weights of the trained model; `merge` makes one model of them.
        history: the JSON-lines file with a row a step.
        rollouts: the Parquet dataset of every step's answers and rewards.
        checkpoints: a folder or `s3://` prefix for checkpoints to resume from; empty means beside the output.
        stage: which rewards; `perception` (CLIP, keywords, format, length) or `reasoning` (accuracy, format).
        reward_mode: `paper` mends the known defects of the released rewards, `released` repeats them.
        clip_weight: weight of the CLIP reward in the perception stage.
        keyword_weight: weight of the keyword reward in the perception stage.
        format_weight: weight of the format reward in both stages.
        length_weight: weight of the length reward in the perception stage.
        accuracy_weight: weight of the accuracy reward in the reasoning stage.
        reward: further rewards as `package.module:function=weight`, separated by commas.
        questions_per_step: questions sampled in a step, over all ranks.
        questions_per_update: questions an optimizer update, over all ranks; fewer than a step's mean several updates.
        samples: answers a question.
        epochs: passes over the questions.
        max_steps: stop after this many steps; 0 means after the epochs.
        temperature: sampling temperature; log-probabilities are taken at it too.
        top_p: share of the probability that is sampled from; below 1 needs `old_logprobs` recompute.
        learning_rate: of AdamW, constant.
        weight_decay: of AdamW.
        max_grad_norm: gradients are scaled down to this norm; 0 means never.
        kl_weight: weight of the KL term to the stage's initial model. If 0, no reference model is loaded.
        kl_estimator: `k1`, `k2` or `k3` of Schulman's estimators.
        clip_low: the ratio is clipped below at 1 minus this.
        clip_high: the ratio is clipped above at 1 plus this.
        clip_dual: bound of the ratio where the advantage is negative; 0 means none.
        ratio_cap: where `old_logprobs` is sampler, the ratio to its probability is truncated here; 0 means never.
        advantage: `std` divides by the group's standard deviation, `mean` only subtracts the mean.
        normalisation: `token` (mean over the update's tokens), `sequence` (mean of answers' means) or `dr_grpo`.
        old_logprobs: where the ratio's denominator comes from when a step has several updates: the `sampler`, or one
            more pass of the trainer, `recompute`. With one update a step none is needed.
        sampling: the engine that samples, `vllm` or `transformers`.
        tensor_parallel: ranks that share one vLLM engine's model while sampling; more than 1 when a model needs it.
        memory_share: share of the accelerator's memory that vLLM may take while it samples.
        drift_limit: stop when sampler and trainer are further apart than this many nats a token; 0 means never.
        max_prompt_tokens: longer questions are refused and counted.
        max_response_tokens: answers end here.
        tokens_per_batch: token budget of a packed row (one micro-batch).
        min_pixels: smaller images are enlarged to this many pixels.
        max_pixels: larger images are shrunk to this many pixels.
        dtype: arithmetic of the model, `bf16` or `fp32`.
        zero_stage: how far DeepSpeed shards, 0 to 3.
        processes: training processes; 0 means one a GPU, at least one.
        gradient_checkpointing: recompute activations in the backward pass: less memory, a third more arithmetic.
        freeze_vision: keep the vision tower and its projector as they are.
        lora_rank: train adapters of this rank instead of all weights; 0 means all weights.
        save_every: steps between checkpoints; 0 means only at the end and when told to stop.
        keep_checkpoints: how many of the newest checkpoints are kept.
        seed: of the order of questions and of sampling.
        metrics: JSON file for the step's scalars.
        executor_input: Kubeflow's description of the execution.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-m", "pebr.grpo"],
        args=[
            "--model",
            model.path,
            "--dataset",
            dataset.path,
            "--clip-model",
            clip_model.path,
            "--output",
            output.path,
            "--history",
            history.path,
            "--rollouts",
            rollouts.path,
            "--metrics",
            metrics.path,
            "--checkpoints",
            checkpoints,
            "--stage",
            stage,
            "--reward-mode",
            reward_mode,
            "--clip-weight",
            clip_weight,
            "--keyword-weight",
            keyword_weight,
            "--format-weight",
            format_weight,
            "--length-weight",
            length_weight,
            "--accuracy-weight",
            accuracy_weight,
            "--reward",
            reward,
            "--questions-per-step",
            questions_per_step,
            "--questions-per-update",
            questions_per_update,
            "--samples",
            samples,
            "--epochs",
            epochs,
            "--max-steps",
            max_steps,
            "--temperature",
            temperature,
            "--top-p",
            top_p,
            "--learning-rate",
            learning_rate,
            "--weight-decay",
            weight_decay,
            "--max-grad-norm",
            max_grad_norm,
            "--kl-weight",
            kl_weight,
            "--kl-estimator",
            kl_estimator,
            "--clip-low",
            clip_low,
            "--clip-high",
            clip_high,
            "--clip-dual",
            clip_dual,
            "--ratio-cap",
            ratio_cap,
            "--advantage",
            advantage,
            "--normalisation",
            normalisation,
            "--old-logprobs",
            old_logprobs,
            "--sampling",
            sampling,
            "--tensor-parallel",
            tensor_parallel,
            "--memory-share",
            memory_share,
            "--drift-limit",
            drift_limit,
            "--max-prompt-tokens",
            max_prompt_tokens,
            "--max-response-tokens",
            max_response_tokens,
            "--tokens-per-batch",
            tokens_per_batch,
            "--min-pixels",
            min_pixels,
            "--max-pixels",
            max_pixels,
            "--dtype",
            dtype,
            "--zero-stage",
            zero_stage,
            "--processes",
            processes,
            "--gradient-checkpointing",
            gradient_checkpointing,
            "--freeze-vision",
            freeze_vision,
            "--lora-rank",
            lora_rank,
            "--save-every",
            save_every,
            "--keep-checkpoints",
            keep_checkpoints,
            "--seed",
            seed,
            "--executor-input",
            "{{$}}",
        ],
    )
