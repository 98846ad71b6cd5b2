"""The settings of the report step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """One HTML file that shows a run: the DAG with times, data, curves, scores, examples.

    Args:
        sft_data_metrics: metrics of ingesting the SFT data.
        rl_data_metrics: metrics of ingesting the RL data.
        benchmarks_metrics: metrics of ingesting the benchmarks.
        base_model_metrics: metrics of ingesting the base model.
        clip_model_metrics: metrics of ingesting the CLIP model.
        sft_filter_metrics: metrics of filtering the SFT data.
        rl_filter_metrics: metrics of filtering the RL data.
        sft_metrics: metrics of the warm-up.
        sft_history: history of the warm-up, a row an optimizer step.
        rollout_metrics: metrics of the rollout.
        split_metrics: metrics of the split: sizes, and questions by number of right answers.
        perception_metrics: metrics of stage 1.
        perception_history: history of stage 1, a row a step.
        perception_merge_metrics: metrics of merging stage 1.
        reasoning_metrics: metrics of stage 2.
        reasoning_history: history of stage 2, a row a step.
        reasoning_merge_metrics: metrics of merging stage 2.
        warmup_evaluation: evaluation of the warm-up: scores.json and answers/.
        warmup_evaluation_metrics: metrics of evaluating the warm-up.
        perception_evaluation: evaluation of stage 1.
        perception_evaluation_metrics: metrics of evaluating stage 1.
        reasoning_evaluation: evaluation of stage 2.
        reasoning_evaluation_metrics: metrics of evaluating stage 2.
        ablation_metrics: metrics of reasoning RL straight from the warm-up; not read without `ablation`.
        ablation_history: history of the ablation; not read without `ablation`.
        ablation_merge_metrics: metrics of merging the ablation; not read without `ablation`.
        ablation_evaluation: evaluation of the ablation; not read without `ablation`.
        ablation_evaluation_metrics: metrics of evaluating the ablation; not read without `ablation`.
        output: HTML file to write; it needs no other file and no network.
        ablation: whether the ablation ran; its inputs may name anything else when it did not.
        title: heading of the report.
        examples: held-out questions to show with their pictures and answers.
        seed: chooses the questions that are shown.
        metrics: JSON file to write the step's scalar results to.
        executor_input: Kubeflow's executor input, `{{$}}`; empty outside Kubeflow.
    """

    sft_data_metrics: str
    rl_data_metrics: str
    benchmarks_metrics: str
    base_model_metrics: str
    clip_model_metrics: str
    sft_filter_metrics: str
    rl_filter_metrics: str
    sft_metrics: str
    sft_history: str
    rollout_metrics: str
    split_metrics: str
    perception_metrics: str
    perception_history: str
    perception_merge_metrics: str
    reasoning_metrics: str
    reasoning_history: str
    reasoning_merge_metrics: str
    warmup_evaluation: str
    warmup_evaluation_metrics: str
    perception_evaluation: str
    perception_evaluation_metrics: str
    reasoning_evaluation: str
    reasoning_evaluation_metrics: str
    ablation_metrics: str
    ablation_history: str
    ablation_merge_metrics: str
    ablation_evaluation: str
    ablation_evaluation_metrics: str
    output: str
    ablation: bool = False
    title: str = "PeBR-R1: perception before reasoning"
    examples: int = 6
    seed: int = 0
    metrics: str = ""
    executor_input: str = ""
