"""The DAG of PeBR-R1 (arXiv 2509.13031): perception before reasoning, two stages of RL for a vision-language model.

    sft data ---- filter --+
    base model ------------+- sft --+------------------------------------ evaluate --+
    rl data ----- filter --+--------+- rollout - split                               |
                                    |             |- easy --- grpo 1 - merge - evaluate - report
                                    |             |- medium - grpo 2 - merge - evaluate --+
                                    +-------------+- medium - grpo - merge - evaluate --+  (the ablation, if enabled)

Stage 1 (grpo 1) continues from the warm-up, stage 2 (grpo 2) from stage 1. If `remeasure` is true, stage 2 trains on
the medium questions of a second rollout and split, with the model of stage 1. The ablation continues from the warm-up
and the first split: it skips perception. All three read the CLIP model and, with `validate_on`, the benchmarks; all
evaluations read both. This file holds the wiring only: a step's work is in `components/pebr/<step>/`, its parameters in
`pipelines/parameters.py`, their values in recipes.
"""

from kfp import dsl
from kfp.dsl.pipeline_channel import PipelineChannel
from kfp.dsl.pipeline_task import PipelineTask

from pipelines.clusters.launcher import place
from pipelines.components import component, described, parameter
from pipelines.parameters import PARAMETERS, TASKS, documentation, fields_of

DESCRIPTION = "Two-stage RL for a vision-language model: perception, then reasoning."


class Wiring:
    """The tasks of the DAG, by the names that the report gives them.

    Attributes:
        given: the pipeline's parameters, by name.
        outputs: the outputs of the tasks made so far. Where a condition chooses between two tasks, an output is that of
            the task that runs.
    """

    def __init__(self, given: dict[str, PipelineChannel]) -> None:
        self.given = given
        self.outputs: dict[str, dict[str, PipelineChannel]] = {}

    def task(self, kind: str, title: str, name: str = "", **inputs: object) -> dict[str, PipelineChannel]:
        """Make a task of `TASKS`, with its parameters, input artifacts and resources; returns its outputs."""
        task = TASKS[kind]
        arguments = {field.name: self.given[parameter] for parameter, _, field in fields_of(kind)}
        made: PipelineTask = component(task.step)(**{**arguments, **task.fixed, **inputs}).set_display_name(title)
        self.outputs[name or kind] = place(made).outputs
        return self.outputs[name or kind]

    def train(self, stage: str, model: PipelineChannel, dataset: PipelineChannel, title: str) -> None:
        """Train a stage on a dataset."""
        inputs = {name: self.outputs[name]["output"] for name in ("benchmarks", "clip_model")}
        self.task(stage, title, model=model, dataset=dataset, **inputs)

    def merge(self, stage: str, model: PipelineChannel, title: str) -> PipelineChannel:
        """Merge the weights of a stage that trained `model`; returns the merged model."""
        checkpoint = self.outputs[stage]["output"]
        return self.task("merge", title, f"{stage}_merge", checkpoint=checkpoint, model=model)["output"]

    def remeasure(self, model: PipelineChannel, dataset: PipelineChannel) -> PipelineChannel:
        """Sample answers to all questions with `model` and split them; returns the medium questions."""
        rollouts = self.task("remeasured_rollout", "Rollout of stage 1", model=model, dataset=dataset)["output"]
        return self.task("remeasured_split", "Split for stage 2", rollouts=rollouts)["medium"]

    def evaluate(self, name: str, model: PipelineChannel, title: str) -> None:
        """Evaluate a model on all benchmarks."""
        inputs = {name: self.outputs[name]["output"] for name in ("benchmarks", "clip_model")}
        self.task("evaluate", title, f"{name}_evaluation", model=model, **inputs)

    def report(self, ablation: bool) -> None:
        """Make the report of all tasks. Without the ablation, its inputs are those of stage 2."""
        made = dict(self.outputs)
        for name in ("ablation", "ablation_merge", "ablation_evaluation"):
            made.setdefault(name, made[name.replace("ablation", "reasoning")])
        inputs = {f"{name}_metrics": outputs["metrics"] for name, outputs in made.items()}
        inputs |= {f"{name}_history": outputs["history"] for name, outputs in made.items() if "history" in outputs}
        inputs |= {name: outputs["output"] for name, outputs in made.items() if name.endswith("_evaluation")}
        self.task("report", "Report", ablation=ablation, **inputs)
        del self.outputs["report"]


def wire(*values: PipelineChannel) -> None:
    """Make all tasks; `values` are the pipeline's parameters, in the order of `PARAMETERS`."""
    dag = Wiring(dict(zip(PARAMETERS, values, strict=True)))
    sft_data = dag.task("sft_data", "Ingest SFT data")["output"]
    rl_data = dag.task("rl_data", "Ingest RL data")["output"]
    dag.task("benchmarks", "Ingest benchmarks")
    base_model = dag.task("base_model", "Ingest base model")["output"]
    dag.task("clip_model", "Ingest CLIP model")

    sft_rows = dag.task("sft_filter", "Filter SFT data", source=sft_data)["output"]
    rl_rows = dag.task("rl_filter", "Filter RL data", source=rl_data)["output"]
    warm = dag.task("sft", "SFT warm-up", model=base_model, dataset=sft_rows)["output"]
    rollouts = dag.task("rollout", "Rollout", model=warm, dataset=rl_rows)["output"]
    split = dag.task("split", "Split by difficulty", rollouts=rollouts)

    dag.train("perception", warm, split["easy"], "Stage 1: perception")
    perceiving = dag.merge("perception", warm, "Merge stage 1")
    with dsl.If(dag.given["remeasure"] == False, name="measured-once"):  # noqa: E712 - kfp overloads the comparison
        dag.train("reasoning", perceiving, split["medium"], "Stage 2: reasoning")
        once = dag.outputs["reasoning"]
    with dsl.Else(name="measured-again"):
        medium = dag.remeasure(perceiving, rl_rows)
        dag.train("reasoning", perceiving, medium, "Stage 2: reasoning, remeasured")
    dag.outputs["reasoning"] = either(once, dag.outputs["reasoning"])
    for name in ("remeasured_rollout", "remeasured_split"):  # the report reads their metrics, if they ran
        dag.outputs[name] = either({"metrics": once["metrics"]}, dag.outputs[name])
    reasoning = dag.merge("reasoning", perceiving, "Merge stage 2")
    dag.evaluate("warmup", warm, "Evaluate warm-up")
    dag.evaluate("perception", perceiving, "Evaluate stage 1")
    dag.evaluate("reasoning", reasoning, "Evaluate stage 2")

    with dsl.If(dag.given["ablation"] == False, name="two-stages"):  # noqa: E712 - kfp overloads the comparison
        dag.report(ablation=False)
    with dsl.Else(name="with-ablation"):
        dag.train("ablation", warm, split["medium"], "Ablation: reasoning only")
        straight = dag.merge("ablation", warm, "Merge ablation")
        dag.evaluate("ablation", straight, "Evaluate ablation")
        dag.report(ablation=True)


def either(first: dict[str, PipelineChannel], second: dict[str, PipelineChannel]) -> dict[str, PipelineChannel]:
    """The outputs that two tasks have in common, each of the task whose branch of a condition was taken."""
    return {name: dsl.OneOf(first[name], second[name]) for name in first if name in second}


_signature = [parameter(made.name, made.type, made.default) for made in PARAMETERS.values()]
pebr_r1 = dsl.pipeline(name="pebr-r1", description=DESCRIPTION)(
    described(wire, "pebr_r1", documentation(DESCRIPTION), _signature)
)
