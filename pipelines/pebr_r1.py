"""The DAG of PeBR-R1 (arXiv 2509.13031): perception before reasoning, two stages of RL for a vision-language model.

    sft data ---- filter --+
    base model ------------+- sft --+------------------------------------ evaluate --+
    rl data ----- filter --+--------+- rollout - split                               |
                                    |             |- easy --- grpo 1 - merge - evaluate - report
                                    |             |- medium - grpo 2 - merge - evaluate --+
                                    +-------------+- medium - grpo - merge - evaluate --+  (the ablation, if enabled)

Stage 1 (grpo 1) continues from the warm-up, stage 2 (grpo 2) from stage 1. The ablation continues from the warm-up: it
skips perception. All three read the CLIP model and, with `validate_on`, the benchmarks; all evaluations read both. This
file holds the wiring only: a step's work is in `components/pebr/<step>/`, its parameters in `pipelines/parameters.py`,
their values in recipes.
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
        made: the tasks made so far.
    """

    def __init__(self, given: dict[str, PipelineChannel]) -> None:
        self.given = given
        self.made: dict[str, PipelineTask] = {}

    def task(self, kind: str, title: str, name: str = "", **inputs: object) -> PipelineTask:
        """Make a task of `TASKS`, with its parameters, its input artifacts, and its resources on the cluster."""
        task = TASKS[kind]
        arguments = {field.name: self.given[parameter] for parameter, _, field in fields_of(kind)}
        made = component(task.step)(**{**arguments, **task.fixed, **inputs}).set_display_name(title)
        self.made[name or kind] = made
        return place(made)

    def train(self, stage: str, model: PipelineChannel, questions: str, title: str, merging: str) -> PipelineChannel:
        """Train a stage on the easy or medium questions and merge its weights; returns the merged model."""
        inputs = {name: self.made[name].outputs["output"] for name in ("benchmarks", "clip_model")}
        grpo = self.task(stage, title, model=model, dataset=self.made["split"].outputs[questions], **inputs)
        checkpoint = grpo.outputs["output"]
        return self.task("merge", merging, f"{stage}_merge", checkpoint=checkpoint, model=model).outputs["output"]

    def evaluate(self, name: str, model: PipelineChannel, title: str) -> None:
        """Evaluate a model on all benchmarks."""
        inputs = {name: self.made[name].outputs["output"] for name in ("benchmarks", "clip_model")}
        self.task("evaluate", title, f"{name}_evaluation", model=model, **inputs)

    def report(self, ablation: bool) -> None:
        """Make the report of all tasks. Without the ablation, its inputs are those of stage 2."""
        made = dict(self.made)
        for name in ("ablation", "ablation_merge", "ablation_evaluation"):
            made.setdefault(name, made[name.replace("ablation", "reasoning")])
        inputs = {f"{name}_metrics": task.outputs["metrics"] for name, task in made.items()}
        inputs |= {f"{name}_history": t.outputs["history"] for name, t in made.items() if "history" in t.outputs}
        inputs |= {name: task.outputs["output"] for name, task in made.items() if name.endswith("_evaluation")}
        self.task("report", "Report", ablation=ablation, **inputs)
        del self.made["report"]


def wire(*values: PipelineChannel) -> None:
    """Make all tasks; `values` are the pipeline's parameters, in the order of `PARAMETERS`."""
    dag = Wiring(dict(zip(PARAMETERS, values, strict=True)))
    sft_data = dag.task("sft_data", "Ingest SFT data").outputs["output"]
    rl_data = dag.task("rl_data", "Ingest RL data").outputs["output"]
    dag.task("benchmarks", "Ingest benchmarks")
    base_model = dag.task("base_model", "Ingest base model").outputs["output"]
    dag.task("clip_model", "Ingest CLIP model")

    sft_rows = dag.task("sft_filter", "Filter SFT data", source=sft_data).outputs["output"]
    rl_rows = dag.task("rl_filter", "Filter RL data", source=rl_data).outputs["output"]
    warm = dag.task("sft", "SFT warm-up", model=base_model, dataset=sft_rows).outputs["output"]
    rollouts = dag.task("rollout", "Rollout", model=warm, dataset=rl_rows).outputs["output"]
    dag.task("split", "Split by difficulty", rollouts=rollouts)

    perceiving = dag.train("perception", warm, "easy", "Stage 1: perception", "Merge stage 1")
    reasoning = dag.train("reasoning", perceiving, "medium", "Stage 2: reasoning", "Merge stage 2")
    dag.evaluate("warmup", warm, "Evaluate warm-up")
    dag.evaluate("perception", perceiving, "Evaluate stage 1")
    dag.evaluate("reasoning", reasoning, "Evaluate stage 2")

    with dsl.If(dag.given["ablation"] == False, name="two-stages"):  # noqa: E712 - kfp overloads the comparison
        dag.report(ablation=False)
    with dsl.Else(name="with-ablation"):
        straight = dag.train("ablation", warm, "medium", "Ablation: reasoning only", "Merge ablation")
        dag.evaluate("ablation", straight, "Evaluate ablation")
        dag.report(ablation=True)


_signature = [parameter(made.name, made.type, made.default) for made in PARAMETERS.values()]
pebr_r1 = dsl.pipeline(name="pebr-r1", description=DESCRIPTION)(
    described(wire, "pebr_r1", documentation(DESCRIPTION), _signature)
)
