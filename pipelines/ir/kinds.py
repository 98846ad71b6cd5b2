"""The steps of a plan by kind: the Python module that a step runs. No code depends on the titles of steps.

The final model is the one that an evaluation without a condition reads and no other kind of step: no training continues
from it. So the order of the steps does not matter.
"""

from collections.abc import Sequence

from pipelines.ir.plan import Constant, Output, Step
from pipelines.ir.values import holds

KINDS = ("evaluate", "filter", "ingest", "merge", "report", "sft", "split")
EVALUATE, FILTER, INGEST, MERGE, REPORT, SFT, SPLIT = (f"pebr.{name}" for name in KINDS)


def evaluations(steps: Sequence[Step]) -> list[Step]:
    """The steps that evaluate a model, except those that a condition on pipeline parameters leaves out."""
    return [step for step in steps if step.module == EVALUATE and not left_out(step)]


def final_evaluation(steps: Sequence[Step]) -> Step | None:
    """The evaluation of the model that the pipeline produces; None if there is none."""
    used = {source for step in steps if step.module != EVALUATE for source in step.artifacts.values()}
    final = (s for s in steps if s.module == EVALUATE and not s.guards and s.artifacts.get("model") not in used)
    return next(final, None)


def final_model(steps: Sequence[Step]) -> Output | None:
    """The model that the final evaluation evaluates; None if there is none."""
    final = final_evaluation(steps)
    model = final.artifacts.get("model") if final else None
    return model if isinstance(model, Output) else None


def left_out(step: Step) -> bool:
    """Whether a condition that depends on pipeline parameters only is false."""

    def value_of(output: Output) -> object:
        raise LookupError(output)  # not called: all parameters are constants

    decided = [g for g in step.guards if all(isinstance(source, Constant) for source in g.parameters.values())]
    return not all(holds(guard, value_of) for guard in decided)
