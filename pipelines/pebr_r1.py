"""The DAG of PeBR-R1 (arXiv 2509.13031): perception before reasoning, two stages of RL for a vision-language model.

    sft data ---- filter --+
    base model ------------+- sft --+------------------------------------ evaluate --+
    rl data ----- filter --+--------+- rollout - split                               |
                                    |             |- easy --- grpo 1 - merge - evaluate - report
                                    |             |- medium - grpo 2 - merge - evaluate --+
                                    +-------------+- medium - grpo - merge - evaluate --+  (the ablation, when asked)

Stage 1 (grpo 1) goes on from the warm-up, stage 2 (grpo 2) from stage 1, the ablation from the warm-up: it skips
perception. All three read the CLIP model, all evaluations the benchmarks. Nothing but wiring stands here: a step's work
and its parameters are in `components/pebr/<step>/`, values for parameters in `pipelines/recipes/`.
"""

from kfp import dsl
from kfp.dsl.pipeline_task import PipelineTask

from pebr.evaluate.component import evaluate
from pebr.filter.component import filter as filter_rows
from pebr.grpo.component import grpo
from pebr.ingest.component import ingest
from pebr.merge.component import merge
from pebr.report.component import report
from pebr.rollout.component import rollout
from pebr.sft.component import sft
from pebr.split.component import split
from pipelines.clusters.placement import place


def _named(task: PipelineTask, title: str) -> PipelineTask:
    """Give a task its display name, and what it gets on a cluster."""
    return place(task.set_display_name(title))


@dsl.pipeline(name="pebr-r1", description="Two-stage RL for a vision-language model: perception, then reasoning.")
def pebr_r1(
    sft_source: str = "toy://sft",
    sft_image_root: str = "",
    rl_source: str = "toy://rl",
    rl_image_root: str = "",
    benchmarks_source: str = "toy://benchmarks",
    model_source: str = "toy://model",
    clip_source: str = "toy://clip",
    toy_rows: int = 0,
    min_side: int = 28,
    sft_epochs: int = 2,
    sft_max_steps: int = 0,
    sft_batch_size: int = 128,
    sft_learning_rate: float = 1e-5,
    sft_warmup_ratio: float = 0.1,
    sft_max_tokens: int = 4096,
    sft_save_every: int = 200,
    rollout_samples: int = 8,
    rollout_temperature: float = 1.2,
    rollout_top_p: float = 0.99,
    easy_at_least: float = 1.0,
    hard_at_most: float = 0.0,
    reward_mode: str = "paper",
    perception_reward: str = "",
    reasoning_reward: str = "",
    clip_weight: float = 0.4,
    keyword_weight: float = 0.4,
    format_weight: float = 0.1,
    length_weight: float = 0.1,
    accuracy_weight: float = 0.9,
    samples: int = 8,
    temperature: float = 1.2,
    learning_rate: float = 1e-6,
    weight_decay: float = 1e-2,
    freeze_vision: bool = False,
    kl_weight: float = 0.01,
    clip_low: float = 0.2,
    clip_high: float = 0.3,
    clip_dual: float = 3.0,
    advantage: str = "std",
    normalisation: str = "token",
    old_logprobs: str = "sampler",
    perception_questions_per_step: int = 560,
    perception_questions_per_update: int = 112,
    perception_epochs: int = 1,
    perception_max_steps: int = 0,
    reasoning_questions_per_step: int = 512,
    reasoning_questions_per_update: int = 128,
    reasoning_epochs: int = 2,
    reasoning_max_steps: int = 0,
    ablation: bool = False,
    ablation_max_steps: int = 0,
    evaluate_only: str = "",
    evaluate_samples: int = 1,
    evaluate_temperature: float = 0.0,
    judge_url: str = "",
    judge_model: str = "",
    max_prompt_tokens: int = 2048,
    max_response_tokens: int = 2048,
    min_pixels: int = 576,
    max_pixels: int = 802816,
    sampling: str = "vllm",
    tensor_parallel: int = 1,
    memory_share: float = 0.5,
    dtype: str = "bf16",
    merged_dtype: str = "keep",
    tokens_per_batch: int = 16384,
    zero_stage: int = 3,
    processes: int = 0,
    gradient_checkpointing: bool = True,
    lora_rank: int = 0,
    checkpoints: str = "",
    save_every: int = 10,
    keep_checkpoints: int = 2,
    seed: int = 0,
) -> None:
    """Two-stage RL for a vision-language model: perception, then reasoning.

    Args:
        sft_source: SFT data in Mulberry's layout: toy://sft, a path, s3:// or hf://.
        sft_image_root: folder that its image paths are relative to, itself relative to the source.
        rl_source: RL data in PeBR's layout: toy://rl, a path, s3:// or hf://.
        rl_image_root: folder that its image paths are relative to, itself relative to the source.
        benchmarks_source: folder of VLMEvalKit-style TSV files: toy://benchmarks, a path, s3:// or hf://.
        model_source: base model in Hugging Face's layout: toy://model, a path, s3:// or hf://.
        clip_source: CLIP model in open_clip's layout: toy://clip, a path, s3:// or hf://.
        toy_rows: rows of each toy:// dataset; 0 for its own number.
        min_side: images narrower or lower than this many pixels are set aside with their row.
        sft_epochs: passes over the SFT data.
        sft_max_steps: stop the warm-up after this many optimizer steps; 0 for all epochs.
        sft_batch_size: rows of one optimizer step of the warm-up, over all ranks.
        sft_learning_rate: peak of the warm-up's cosine schedule.
        sft_warmup_ratio: share of the steps in which the learning rate rises.
        sft_max_tokens: SFT rows with more tokens are set aside.
        sft_save_every: optimizer steps of the warm-up between checkpoints; 0 means only at the end.
        rollout_samples: answers a question in the rollout that measures difficulty.
        rollout_temperature: sampling temperature of that rollout.
        rollout_top_p: share of the probability that the rollout samples from.
        easy_at_least: a question is easy from this share of right answers on.
        hard_at_most: a question is hard up to this share of right answers.
        reward_mode: paper, or released for the released code's formulas with their defects.
        perception_reward: further rewards of stage 1, package.module:function=weight, separated by commas.
        reasoning_reward: further rewards of stage 2.
        clip_weight: weight of the CLIP reward in stage 1.
        keyword_weight: weight of the keyword reward in stage 1.
        format_weight: weight of the format reward in both stages.
        length_weight: weight of the length reward in stage 1.
        accuracy_weight: weight of the accuracy reward in stage 2.
        samples: answers a question in RL, the size of a group.
        temperature: sampling temperature in RL.
        learning_rate: learning rate of RL, constant.
        weight_decay: weight decay of RL.
        freeze_vision: keep the vision tower and its projector as they are in RL too; the method trains them.
        kl_weight: weight of the KL term to the stage's initial model; 0 loads no reference model.
        clip_low: the ratio is clipped below at 1 minus this.
        clip_high: the ratio is clipped above at 1 plus this.
        clip_dual: bound of the ratio where the advantage is negative; 0 for none.
        advantage: std divides by the group's standard deviation, mean does not.
        normalisation: how the loss is averaged: token, sequence or dr_grpo.
        old_logprobs: denominator of the ratio: sampler or recompute.
        perception_questions_per_step: questions sampled in a step of stage 1.
        perception_questions_per_update: questions of an optimizer update of stage 1.
        perception_epochs: passes over the easy questions.
        perception_max_steps: stop stage 1 after this many steps; 0 for all epochs.
        reasoning_questions_per_step: questions sampled in a step of stage 2.
        reasoning_questions_per_update: questions of an optimizer update of stage 2.
        reasoning_epochs: passes over the medium questions.
        reasoning_max_steps: stop stage 2 after this many steps; 0 for all epochs.
        ablation: also train reasoning straight from the warm-up, and evaluate it.
        ablation_max_steps: stop the ablation after this many steps; 0 for all epochs.
        evaluate_only: benchmarks to run, by TSV name, separated by commas; empty for all.
        evaluate_samples: answers a question in evaluation.
        evaluate_temperature: sampling temperature in evaluation; 0 takes the likeliest token each time.
        judge_url: OpenAI-compatible endpoint of a judge model; empty for rules alone.
        judge_model: the judge's model name.
        max_prompt_tokens: longer prompts are refused, never cut.
        max_response_tokens: answers are cut off here.
        min_pixels: smaller images are enlarged to this many pixels.
        max_pixels: larger images are shrunk to this many pixels.
        sampling: engine that samples: vllm or transformers.
        tensor_parallel: GPUs that one vLLM engine spreads the model over in the rollout and in RL.
        memory_share: share of a GPU's memory that vLLM may take in RL, where it lives beside the trainer.
        dtype: arithmetic of training and sampling: bf16 or fp32.
        merged_dtype: number format of the merged models' files: keep, float32, bfloat16 or float16.
        tokens_per_batch: token budget of one packed micro-batch in training.
        zero_stage: how far DeepSpeed shards over ranks, 0 to 3.
        processes: training processes; 0 for one a GPU.
        gradient_checkpointing: recompute activations in the backward pass, for less memory.
        lora_rank: rank of LoRA adapters; 0 trains all weights.
        checkpoints: folder on a volume, or s3:// prefix, of this run's training checkpoints; each step keeps its own
            under it. Empty for beside each step's output, which outlives a process but not a pod.
        save_every: steps of a GRPO stage between checkpoints; 0 means only at the end.
        keep_checkpoints: how many of the newest checkpoints are kept.
        seed: seed of everything random.
    """

    def bring(source: str, title: str, kind: str = "") -> PipelineTask:
        task = ingest(source=source, kind=kind, rows=toy_rows, seed=seed)
        return _named(task, title)

    def train(stage: str, model: dsl.Model, questions: dsl.Dataset, max_steps: int, title: str) -> PipelineTask:
        perception = stage == "perception"
        task = grpo(
            model=model,
            dataset=questions,
            clip_model=clip_model.outputs["output"],
            stage=stage,
            reward=perception_reward if perception else reasoning_reward,
            questions_per_step=perception_questions_per_step if perception else reasoning_questions_per_step,
            questions_per_update=perception_questions_per_update if perception else reasoning_questions_per_update,
            epochs=perception_epochs if perception else reasoning_epochs,
            max_steps=max_steps,
            reward_mode=reward_mode,
            clip_weight=clip_weight,
            keyword_weight=keyword_weight,
            format_weight=format_weight,
            length_weight=length_weight,
            accuracy_weight=accuracy_weight,
            samples=samples,
            temperature=temperature,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            freeze_vision=freeze_vision,
            kl_weight=kl_weight,
            clip_low=clip_low,
            clip_high=clip_high,
            clip_dual=clip_dual,
            advantage=advantage,
            normalisation=normalisation,
            old_logprobs=old_logprobs,
            sampling=sampling,
            tensor_parallel=tensor_parallel,
            memory_share=memory_share,
            max_prompt_tokens=max_prompt_tokens,
            max_response_tokens=max_response_tokens,
            tokens_per_batch=tokens_per_batch,
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            dtype=dtype,
            zero_stage=zero_stage,
            processes=processes,
            gradient_checkpointing=gradient_checkpointing,
            lora_rank=lora_rank,
            checkpoints=checkpoints,
            save_every=save_every,
            keep_checkpoints=keep_checkpoints,
            seed=seed,
        )
        return _named(task, title)

    def merged(trained: PipelineTask, model: dsl.Model, title: str) -> PipelineTask:
        return _named(merge(checkpoint=trained.outputs["output"], model=model, dtype=merged_dtype), title)

    def evaluated(model: dsl.Model, title: str) -> PipelineTask:
        task = evaluate(
            model=model,
            benchmarks=benchmarks.outputs["output"],
            clip_model=clip_model.outputs["output"],
            only=evaluate_only,
            samples=evaluate_samples,
            temperature=evaluate_temperature,
            judge_url=judge_url,
            judge_model=judge_model,
            sampling=sampling,
            max_prompt_tokens=max_prompt_tokens,
            max_response_tokens=max_response_tokens,
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            dtype=dtype,
            checkpoints=checkpoints,
            seed=seed,
        )
        return _named(task, title)

    sft_data = bring(sft_source, "Ingest SFT data")
    rl_data = bring(rl_source, "Ingest RL data")
    benchmarks = bring(benchmarks_source, "Ingest benchmarks", "benchmarks")
    base_model = bring(model_source, "Ingest base model", "model")
    clip_model = bring(clip_source, "Ingest CLIP model", "clip")

    sft_filter = filter_rows(
        source=sft_data.outputs["output"], kind="sft", image_root=sft_image_root, min_side=min_side
    )
    rl_filter = filter_rows(source=rl_data.outputs["output"], kind="rl", image_root=rl_image_root, min_side=min_side)
    _named(sft_filter, "Filter SFT data")
    _named(rl_filter, "Filter RL data")

    warmup = sft(
        model=base_model.outputs["output"],
        dataset=sft_filter.outputs["output"],
        epochs=sft_epochs,
        max_steps=sft_max_steps,
        batch_size=sft_batch_size,
        learning_rate=sft_learning_rate,
        warmup_ratio=sft_warmup_ratio,
        max_tokens=sft_max_tokens,
        tokens_per_batch=tokens_per_batch,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        dtype=dtype,
        zero_stage=zero_stage,
        processes=processes,
        gradient_checkpointing=gradient_checkpointing,
        lora_rank=lora_rank,
        checkpoints=checkpoints,
        save_every=sft_save_every,
        keep_checkpoints=keep_checkpoints,
        seed=seed,
    )
    _named(warmup, "SFT warm-up")
    warm_model = warmup.outputs["output"]

    answers = rollout(
        model=warm_model,
        dataset=rl_filter.outputs["output"],
        samples=rollout_samples,
        temperature=rollout_temperature,
        top_p=rollout_top_p,
        sampling=sampling,
        tensor_parallel=tensor_parallel,
        max_prompt_tokens=max_prompt_tokens,
        max_response_tokens=max_response_tokens,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        dtype=dtype,
        processes=processes,
        checkpoints=checkpoints,
        seed=seed,
    )
    _named(answers, "Rollout")
    questions = split(rollouts=answers.outputs["output"], easy_at_least=easy_at_least, hard_at_most=hard_at_most)
    _named(questions, "Split by difficulty")

    easy, medium = questions.outputs["easy"], questions.outputs["medium"]
    perception = train("perception", warm_model, easy, perception_max_steps, "Stage 1: perception")
    perception_merge = merged(perception, warm_model, "Merge stage 1")
    perceiving_model = perception_merge.outputs["output"]
    reasoning = train("reasoning", perceiving_model, medium, reasoning_max_steps, "Stage 2: reasoning")
    reasoning_merge = merged(reasoning, perceiving_model, "Merge stage 2")

    warmup_evaluation = evaluated(warm_model, "Evaluate warm-up")
    perception_evaluation = evaluated(perceiving_model, "Evaluate stage 1")
    reasoning_evaluation = evaluated(reasoning_merge.outputs["output"], "Evaluate stage 2")

    def reported(rl: PipelineTask, merging: PipelineTask, evaluation: PipelineTask, ablated: bool) -> None:
        """The report; `rl`, `merging` and `evaluation` are the ablation's, or stage 2's where there is none."""
        task = report(
            sft_data_metrics=sft_data.outputs["metrics"],
            rl_data_metrics=rl_data.outputs["metrics"],
            benchmarks_metrics=benchmarks.outputs["metrics"],
            base_model_metrics=base_model.outputs["metrics"],
            clip_model_metrics=clip_model.outputs["metrics"],
            sft_filter_metrics=sft_filter.outputs["metrics"],
            rl_filter_metrics=rl_filter.outputs["metrics"],
            sft_metrics=warmup.outputs["metrics"],
            sft_history=warmup.outputs["history"],
            rollout_metrics=answers.outputs["metrics"],
            split_metrics=questions.outputs["metrics"],
            perception_metrics=perception.outputs["metrics"],
            perception_history=perception.outputs["history"],
            perception_merge_metrics=perception_merge.outputs["metrics"],
            reasoning_metrics=reasoning.outputs["metrics"],
            reasoning_history=reasoning.outputs["history"],
            reasoning_merge_metrics=reasoning_merge.outputs["metrics"],
            warmup_evaluation=warmup_evaluation.outputs["output"],
            warmup_evaluation_metrics=warmup_evaluation.outputs["metrics"],
            perception_evaluation=perception_evaluation.outputs["output"],
            perception_evaluation_metrics=perception_evaluation.outputs["metrics"],
            reasoning_evaluation=reasoning_evaluation.outputs["output"],
            reasoning_evaluation_metrics=reasoning_evaluation.outputs["metrics"],
            ablation_metrics=rl.outputs["metrics"],
            ablation_history=rl.outputs["history"],
            ablation_merge_metrics=merging.outputs["metrics"],
            ablation_evaluation=evaluation.outputs["output"],
            ablation_evaluation_metrics=evaluation.outputs["metrics"],
            ablation=ablated,
            seed=seed,
        )
        _named(task, "Report")

    with dsl.If(ablation == False, name="two-stages"):  # noqa: E712 - kfp overloads the comparison
        reported(reasoning, reasoning_merge, reasoning_evaluation, ablated=False)
    with dsl.Else(name="with-ablation"):
        straight = train("reasoning", warm_model, medium, ablation_max_steps, "Ablation: reasoning only")
        straight_merge = merged(straight, warm_model, "Merge ablation")
        straight_evaluation = evaluated(straight_merge.outputs["output"], "Evaluate ablation")
        reported(straight, straight_merge, straight_evaluation, ablated=True)
