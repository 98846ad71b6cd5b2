"""A small DAG of real steps: ingest, filter, SFT, evaluate. What a weekly loop needs, in a minute."""

from pathlib import Path

from kfp import dsl
from kfp.compiler import Compiler
from kfp.dsl.pipeline_task import PipelineTask

from pebr.step.settings import fields
from pipelines.components import component
from pipelines.parameters import settings_of

HERE = {"sampling": "transformers", "dtype": "fp32", "processes": 1}


def made(step: str, **given: object) -> PipelineTask:
    """A task; parameters that are not given have the defaults of the settings."""
    ours = [each for each in fields(settings_of(step)) if each.role is None and each.name != "executor_input"]
    return component(step)(**{setting.name: setting.default for setting in ours} | given)


@dsl.pipeline(name="weekly")
def weekly(
    sft_source: str,
    benchmarks_source: str,
    clip_source: str,
    model_source: str = "toy://model",
    steps: int = 100,
    min_pixels: int = 576,
    max_pixels: int = 802816,
):
    pixels = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    data = made("ingest", source=sft_source).set_display_name("Ingest SFT data")
    model = made("ingest", source=model_source, kind="model").set_display_name("Ingest base model")
    tables = made("ingest", source=benchmarks_source, kind="benchmarks").set_display_name("Ingest benchmarks")
    clip = made("ingest", source=clip_source, kind="clip").set_display_name("Ingest CLIP model")
    rows = made("filter", source=data.outputs["output"], kind="sft").set_display_name("Filter SFT data")
    trained = made(
        "sft",
        model=model.outputs["output"],
        dataset=rows.outputs["output"],
        epochs=100,
        max_steps=steps,
        batch_size=12,
        learning_rate=2e-3,
        max_tokens=512,
        zero_stage=0,
        gradient_checkpointing="off",
        dtype="fp32",
        processes=1,
        **pixels,
    ).set_display_name("SFT")
    made(
        "evaluate",
        model=trained.outputs["output"],
        benchmarks=tables.outputs["output"],
        clip_model=clip.outputs["output"],
        max_prompt_tokens=256,
        max_response_tokens=96,
        **HERE,
        **pixels,
    ).set_display_name("Evaluate")


def compiled(path: Path) -> Path:
    """The DAG, compiled to a file."""
    Compiler().compile(weekly, str(path))
    return path
