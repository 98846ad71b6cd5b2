"""The settings of the SFT warm-up."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.errors import InputError
from pebr.step.settings import ANY_VALUE_RESUMES, SHARE, Bounds, Input, Output
from pebr.training.settings import TrainingSettings, ValidationSettings

FROM_DATA = "data"  # value of `prompt`


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings, ValidationSettings):
    """Fine-tune the language model on the response format; the vision tower and the projector are frozen."""

    model: Annotated[str, Input("Model"), "Hugging Face directory of the base model."]
    dataset: Annotated[str, Input("Dataset"), "Filtered SFT rows, a directory written by `filter --kind sft`."]
    output: Annotated[str, Output("Model"), "Hugging Face directory to write."]
    history: Annotated[str, Output(), "JSON-lines file to write, one row per optimizer update."]
    prompt: Annotated[
        str,
        "Text file with the prompt, in which {question} stands for the question; or `data`, for the instructions that"
        " most questions of the SFT data were published with; empty for the base model's prompt.txt, else our prompt."
        " It is written into the model's directory, and all later steps ask with it.",
    ] = ""
    epochs: Annotated[int, Bounds(1), "Passes over the dataset."] = 2
    max_steps: Annotated[int, Bounds(0), "Stop after this many optimizer updates; 0 for all epochs."] = 0
    batch_size: Annotated[int, Bounds(1), "Rows per optimizer update, summed over ranks."] = 128
    learning_rate: Annotated[float, "Peak learning rate of the cosine schedule."] = 1e-5
    warmup_ratio: Annotated[
        float, SHARE, "Share of the updates in which the learning rate rises from 0 to its peak."
    ] = 0.1
    weight_decay: float = 0.0
    max_tokens: Annotated[int, Bounds(1), "Rows with more tokens, image tokens included, are rejected and counted."] = (
        4096
    )
    tokens_per_batch: int = 8192
    save_every: int = 200
    weights: Annotated[
        Literal["last", "best"],
        ANY_VALUE_RESUMES,
        "Write the weights of the last training step, or of that with the lowest validation loss.",
    ] = "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights == "best" and not self.validate_every:
            raise InputError("--weights best: it is found by validations, give --validate-every")
