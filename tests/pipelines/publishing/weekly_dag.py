"""A small DAG of real steps: ingest, filter, SFT, evaluate. What a weekly loop needs, in a minute."""

from pathlib import Path

from kfp import dsl
from kfp.compiler import Compiler

from pipelines.components import component

HERE = {"sampling": "transformers", "dtype": "fp32", "processes": 1}


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
    data = component("ingest")(source=sft_source).set_display_name("Ingest SFT data")
    model = component("ingest")(source=model_source, kind="model").set_display_name("Ingest base model")
    tables = component("ingest")(source=benchmarks_source, kind="benchmarks").set_display_name("Ingest benchmarks")
    clip = component("ingest")(source=clip_source, kind="clip").set_display_name("Ingest CLIP model")
    rows = component("filter")(source=data.outputs["output"], kind="sft").set_display_name("Filter SFT data")
    trained = component("sft")(
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
    component("evaluate")(
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
