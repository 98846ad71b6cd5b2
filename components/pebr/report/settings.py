"""The settings of the report.

Every artifact is required, because Kubeflow 2.17.0 and earlier cannot leave out the flag of an absent artifact
(kubeflow/pipelines#14175). Without the ablation, its inputs are wired to those of stage 2, and `ablation` is false;
`remeasure` is the same for the second rollout and split.
"""

from dataclasses import dataclass
from typing import Annotated

from pebr.step.settings import SEED, Bounds, Input, Output, StepSettings

Metrics = Annotated[str, Input("Metrics")]


@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    """Write one HTML file that shows a run: the DAG with times, data, curves, scores, examples."""

    sft_data_metrics: Annotated[Metrics, "Metrics of ingesting the SFT data."]
    rl_data_metrics: Annotated[Metrics, "Metrics of ingesting the RL data."]
    benchmarks_metrics: Annotated[Metrics, "Metrics of ingesting the benchmarks."]
    base_model_metrics: Annotated[Metrics, "Metrics of ingesting the base model."]
    clip_model_metrics: Annotated[Metrics, "Metrics of ingesting the CLIP model."]
    sft_filter_metrics: Annotated[Metrics, "Metrics of filtering the SFT data."]
    rl_filter_metrics: Annotated[Metrics, "Metrics of filtering the RL data."]
    sft_metrics: Annotated[Metrics, "Metrics of the warm-up."]
    sft_history: Annotated[str, Input(), "History of the warm-up, one row per optimizer update."]
    rollout_metrics: Annotated[Metrics, "Metrics of the rollout."]
    split_metrics: Annotated[Metrics, "Metrics of the split: sizes, and questions by number of right answers."]
    perception_metrics: Annotated[Metrics, "Metrics of stage 1."]
    perception_history: Annotated[str, Input(), "History of stage 1, one row per training step."]
    perception_merge_metrics: Annotated[Metrics, "Metrics of merging stage 1."]
    remeasured_rollout_metrics: Annotated[Metrics, "Metrics of the rollout of stage 1; ignored unless `remeasure`."]
    remeasured_split_metrics: Annotated[Metrics, "Metrics of the split for stage 2; ignored unless `remeasure`."]
    reasoning_metrics: Annotated[Metrics, "Metrics of stage 2."]
    reasoning_history: Annotated[str, Input(), "History of stage 2, one row per training step."]
    reasoning_merge_metrics: Annotated[Metrics, "Metrics of merging stage 2."]
    warmup_evaluation: Annotated[str, Input(), "Evaluation of the warm-up: scores.json and answers/."]
    warmup_evaluation_metrics: Annotated[Metrics, "Metrics of evaluating the warm-up."]
    perception_evaluation: Annotated[str, Input(), "Evaluation of stage 1."]
    perception_evaluation_metrics: Annotated[Metrics, "Metrics of evaluating stage 1."]
    reasoning_evaluation: Annotated[str, Input(), "Evaluation of stage 2."]
    reasoning_evaluation_metrics: Annotated[Metrics, "Metrics of evaluating stage 2."]
    ablation_metrics: Annotated[
        Metrics, "Metrics of reasoning RL straight from the warm-up; ignored unless `ablation` is true."
    ]
    ablation_history: Annotated[str, Input(), "History of the ablation; ignored unless `ablation` is true."]
    ablation_merge_metrics: Annotated[Metrics, "Metrics of merging the ablation; ignored unless `ablation` is true."]
    ablation_evaluation: Annotated[str, Input(), "Evaluation of the ablation; ignored unless `ablation` is true."]
    ablation_evaluation_metrics: Annotated[
        Metrics, "Metrics of evaluating the ablation; ignored unless `ablation` is true."
    ]
    output: Annotated[str, Output("HTML"), "HTML file to write; it needs no other file and no network."]
    ablation: Annotated[bool, "Whether the ablation ran; its inputs may name anything else when it did not."] = False
    remeasure: Annotated[bool, "Whether difficulty was measured again for stage 2."] = False
    title: Annotated[str, "Heading of the report."] = "PeBR-R1: perception before reasoning"
    examples: Annotated[int, Bounds(0), "Held-out questions to show with their images and answers."] = 6
    seed: Annotated[int, SEED, "Chooses the questions that are shown."] = 0
