"""The Kubeflow interface of the report step.

Every input is required, because Kubeflow 2.17.0 and earlier cannot leave out the words of an absent artifact
(kubeflow/pipelines#14175). Where the ablation did not run, its inputs are wired to stage 2's, and `ablation` is false.
"""

from kfp import dsl

from pebr.step.command import IMAGE


# fmt: off - a flag and its value on one line
@dsl.container_component
def report(
    sft_data_metrics: dsl.Input[dsl.Metrics],
    rl_data_metrics: dsl.Input[dsl.Metrics],
    benchmarks_metrics: dsl.Input[dsl.Metrics],
    base_model_metrics: dsl.Input[dsl.Metrics],
    clip_model_metrics: dsl.Input[dsl.Metrics],
    sft_filter_metrics: dsl.Input[dsl.Metrics],
    rl_filter_metrics: dsl.Input[dsl.Metrics],
    sft_metrics: dsl.Input[dsl.Metrics],
    sft_history: dsl.Input[dsl.Artifact],
    rollout_metrics: dsl.Input[dsl.Metrics],
    split_metrics: dsl.Input[dsl.Metrics],
    perception_metrics: dsl.Input[dsl.Metrics],
    perception_history: dsl.Input[dsl.Artifact],
    perception_merge_metrics: dsl.Input[dsl.Metrics],
    reasoning_metrics: dsl.Input[dsl.Metrics],
    reasoning_history: dsl.Input[dsl.Artifact],
    reasoning_merge_metrics: dsl.Input[dsl.Metrics],
    warmup_evaluation: dsl.Input[dsl.Artifact],
    warmup_evaluation_metrics: dsl.Input[dsl.Metrics],
    perception_evaluation: dsl.Input[dsl.Artifact],
    perception_evaluation_metrics: dsl.Input[dsl.Metrics],
    reasoning_evaluation: dsl.Input[dsl.Artifact],
    reasoning_evaluation_metrics: dsl.Input[dsl.Metrics],
    ablation_metrics: dsl.Input[dsl.Metrics],
    ablation_history: dsl.Input[dsl.Artifact],
    ablation_merge_metrics: dsl.Input[dsl.Metrics],
    ablation_evaluation: dsl.Input[dsl.Artifact],
    ablation_evaluation_metrics: dsl.Input[dsl.Metrics],
    output: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    ablation: bool = False,
    title: str = "PeBR-R1: perception before reasoning",
    examples: int = 6,
    seed: int = 0,
) -> dsl.ContainerSpec:
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
        metrics: JSON file to write the step's scalar results to.
        ablation: whether the ablation ran; its inputs may name anything else when it did not.
        title: heading of the report.
        examples: held-out questions to show with their pictures and answers.
        seed: chooses the questions that are shown.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-m", "pebr.report"],
        args=[
            "--sft-data-metrics",
            sft_data_metrics.path,
            "--rl-data-metrics",
            rl_data_metrics.path,
            "--benchmarks-metrics",
            benchmarks_metrics.path,
            "--base-model-metrics",
            base_model_metrics.path,
            "--clip-model-metrics",
            clip_model_metrics.path,
            "--sft-filter-metrics",
            sft_filter_metrics.path,
            "--rl-filter-metrics",
            rl_filter_metrics.path,
            "--sft-metrics",
            sft_metrics.path,
            "--sft-history",
            sft_history.path,
            "--rollout-metrics",
            rollout_metrics.path,
            "--split-metrics",
            split_metrics.path,
            "--perception-metrics",
            perception_metrics.path,
            "--perception-history",
            perception_history.path,
            "--perception-merge-metrics",
            perception_merge_metrics.path,
            "--reasoning-metrics",
            reasoning_metrics.path,
            "--reasoning-history",
            reasoning_history.path,
            "--reasoning-merge-metrics",
            reasoning_merge_metrics.path,
            "--warmup-evaluation",
            warmup_evaluation.path,
            "--warmup-evaluation-metrics",
            warmup_evaluation_metrics.path,
            "--perception-evaluation",
            perception_evaluation.path,
            "--perception-evaluation-metrics",
            perception_evaluation_metrics.path,
            "--reasoning-evaluation",
            reasoning_evaluation.path,
            "--reasoning-evaluation-metrics",
            reasoning_evaluation_metrics.path,
            "--ablation-metrics",
            ablation_metrics.path,
            "--ablation-history",
            ablation_history.path,
            "--ablation-merge-metrics",
            ablation_merge_metrics.path,
            "--ablation-evaluation",
            ablation_evaluation.path,
            "--ablation-evaluation-metrics",
            ablation_evaluation_metrics.path,
            "--output",
            output.path,
            "--metrics",
            metrics.path,
            "--ablation",
            ablation,
            "--title",
            title,
            "--examples",
            examples,
            "--seed",
            seed,
            "--executor-input",
            "{{$}}",
        ],
    )
