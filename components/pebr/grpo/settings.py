"""The settings of a GRPO stage. Defaults are the method's numbers for the reasoning stage."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.errors import InputError
from pebr.rewards.settings import RewardSettings
from pebr.sampling.settings import SamplerSettings
from pebr.step.settings import ANY_VALUE_RESUMES, SHARE, WEIGHT, Bounds, Input, Output, StepSettings
from pebr.training.settings import TrainingSettings, ValidationSettings


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings(StepSettings):
    """The training objective: advantages, the clipped policy loss and the KL term."""

    ratio: Annotated[
        Literal["token", "sequence", "sequence_token"],
        "How the policy is compared with the one that sampled: per token, or per answer by the geometric mean of its"
        " tokens' ratios (sequence: GSPO; sequence_token: GSPO-token). GSPO's clips are narrow: 0.0003 and 0.0004.",
    ] = "token"
    surrogate: Annotated[
        Literal["clip", "cispo"],
        "Policy loss: clip (PPO's clipped surrogate) or cispo (the clipped ratio as a weight; every token keeps a"
        " gradient; `clip_low` 1 for no lower bound).",
    ] = "clip"
    kl_weight: Annotated[
        float, WEIGHT, "Weight of the KL term to the stage's initial model. If 0, no reference model is loaded."
    ] = 0.01
    kl_estimator: Annotated[Literal["k1", "k2", "k3"], "Estimator of the KL divergence (Schulman's names)."] = "k3"
    clip_low: Annotated[float, Bounds(0, 1), "The probability ratio is clipped below at 1 minus this."] = 0.2
    clip_high: Annotated[float, Bounds(0, 100), "The probability ratio is clipped above at 1 plus this."] = 0.3
    clip_dual: Annotated[
        float, Bounds(0, 1000), "Upper bound of the ratio where the advantage is negative, above 1; 0 for none."
    ] = 3.0
    ratio_cap: Annotated[
        float,
        Bounds(0, 1000),
        "With `old_logprobs` sampler, ratios to the sampler's probability are truncated to this; 0 for never. Also the"
        " bound of `sampler_correction`.",
    ] = 2.0
    sampler_correction: Annotated[
        Literal["none", "truncate", "mask"],
        "Correct for a sampler whose probabilities differ from the trainer's: weight each token by their ratio, at most"
        " `ratio_cap` (truncate), and leave out tokens beyond it in either direction (mask).",
    ] = "none"
    off_policy_limit: Annotated[
        float,
        Bounds(0, 100),
        "Leave out answers with a negative advantage to whose tokens the policy gives on average this many nats less"
        " than the sampler did; 0 for none.",
    ] = 0.0
    entropy_weight: Annotated[
        float,
        Bounds(-1000, 1000),
        "Weight of an entropy bonus, which keeps answers varied; below 0 a penalty, which guards `seeing_weight`. If 0,"
        " it is not computed.",
    ] = 0.0
    seeing_weight: Annotated[
        float,
        WEIGHT,
        "Weight of PAPO's implicit perception loss: answers shall depend on the image. If 0, it is not computed; it"
        " costs a forward pass per update.",
    ] = 0.0
    hidden_share: Annotated[
        float,
        SHARE,
        "Share of the image's tokens that the blind view of `seeing_weight` and `credit` does not see.",
    ] = 0.6
    credit: Annotated[
        Literal["even", "pgpo", "vppo"],
        "How an answer's advantage is shared among its tokens: even, or by how much they depend on the image: pgpo"
        " (more for more dependency) or vppo (only to the most dependent). The last two cost two forward passes per"
        " update.",
    ] = "even"
    advantage: Annotated[
        Literal["std", "mean"], "std divides by the standard deviation of the group; mean only subtracts the mean."
    ] = "std"
    separate_advantages: Annotated[
        bool,
        "The description's tokens get the advantage of the description's rewards (CLIP, keywords, length,"
        " self-sufficiency), the other tokens that of the others. Nothing changes in a stage without rewards of both"
        " kinds.",
    ] = False
    normalisation: Annotated[
        Literal["token", "sequence", "dr_grpo"],
        "Average of the loss: token (over the tokens of an update), sequence (mean of the answers' means) or dr_grpo.",
    ] = "token"
    old_logprobs: Annotated[
        Literal["sampler", "recompute"],
        "Source of the ratio's denominator if a step has several updates: the sampler's log-probabilities, or one more"
        " pass of the trainer (recompute). With one update per step neither is needed.",
    ] = "sampler"


@dataclass(frozen=True, kw_only=True)
class Settings(ObjectiveSettings, RewardSettings, SamplerSettings, TrainingSettings, ValidationSettings):
    """Train one stage of GRPO: sample answers, score them, update the model, repeat."""

    model: Annotated[
        str, Input("Model"), "Hugging Face directory that the stage starts from; also the reference of the KL term."
    ]
    dataset: Annotated[str, Input("Dataset"), "Parquet dataset of questions."]
    clip_model: Annotated[
        str, Input("Model"), "open_clip directory for the CLIP reward; empty if the stage needs none."
    ] = ""
    benchmarks: Annotated[str, Input(needed_by="validate_on"), "Directory of TSV files for `validate_on`."] = ""
    output: Annotated[
        str, Output("Model"), "Directory for the sharded weights of the trained model; `merge` makes one model of them."
    ]
    history: Annotated[str, Output(), "JSON-lines file to write, one row per training step."]
    rollouts: Annotated[str, Output("Dataset"), "Parquet dataset of all answers and rewards, by training step."]
    questions_per_step: Annotated[int, Bounds(1), "Questions sampled per training step, summed over ranks."] = 512
    questions_per_update: Annotated[
        int,
        Bounds(1),
        "Questions per optimizer update, summed over ranks. If smaller than `questions_per_step`, a step makes several"
        " updates.",
    ] = 128
    epochs: Annotated[int, Bounds(1), "Passes over the questions."] = 1
    leave_out_cut_off: Annotated[
        bool,
        "Leave answers that are cut off out of the update (DAPO's overlong filtering). They still count in the mean of"
        " their group's rewards.",
    ] = False
    replacement_rounds: Annotated[
        int,
        Bounds(0, 100),
        "Dynamic sampling: questions whose answers all have the same reward are replaced by others, in at most so many"
        " rounds of sampling per step; 0 for never.",
    ] = 0
    sufficiency_tokens: Annotated[
        int, Bounds(1), "Limit of an answer that is sampled for the self-sufficiency reward."
    ] = 1024
    sufficiency_temperature: Annotated[
        float, Bounds(0, 100), "Its sampling temperature; 0 takes the most likely token."
    ] = 0.0
    noise: Annotated[
        int,
        Bounds(0, 999),
        "NoisyRollout: half of the answers are sampled from a disturbed image, with Gaussian noise of this many"
        " diffusion steps (500), which fade; 0 for none.",
    ] = 0
    noise_half_at: Annotated[float, SHARE, "Share of the training steps after which half of the noise is left."] = 0.67
    variance_share: Annotated[
        float,
        SHARE,
        "Share of a step's questions drawn by the variance of their accuracy in the rollout, instead of in turn.",
    ] = 0.0
    max_steps: Annotated[int, Bounds(0), "Stop after this many training steps; 0 for all epochs."] = 0
    top_p: Annotated[
        float,
        "Sample from the smallest set of most likely tokens with this total probability; below 1 needs `old_logprobs`"
        " recompute.",
    ] = 1.0
    memory_share: Annotated[
        float, ANY_VALUE_RESUMES, "Share of a GPU's memory that vLLM may use while it samples, beside the trainer."
    ] = 0.5
    drift_limit: Annotated[
        float,
        Bounds(0, 100),
        ANY_VALUE_RESUMES,
        "Stop if sampler and trainer differ by more than this many nats per token; 0 for never.",
    ] = 0.1
    futile_steps: Annotated[
        int,
        Bounds(0),
        ANY_VALUE_RESUMES,
        "Stop after so many training steps in a row that teach nothing: all answers cut off, all advantages zero, or no"
        " entropy left. Each is a warning. An error, unless earlier steps have taught something and answers still end;"
        " then the stage is done. 0 for never.",
    ] = 20
    reference: Annotated[
        Literal["device", "host"],
        ANY_VALUE_RESUMES,
        "Where the reference model of the KL term lies: on the device (with --zero-stage 3 sharded over all, else whole"
        " on each), or in the host's memory, from which each of its passes copies the whole model to the device."
        " With --lora-rank there is none: it is the model without its adapters.",
    ] = "device"
    validate_on: Annotated[
        str,
        "Benchmark to validate on, by TSV name: `validation_questions` of its rows, scored by its rule. Nothing is held"
        " out then. Empty for held-out questions.",
    ] = ""
    validation_samples: Annotated[int, Bounds(1), "Answers per question in a validation."] = 1
    validation_temperature: Annotated[
        float, Bounds(0, 100), "Sampling temperature in a validation; 0 takes the most likely token."
    ] = 0.0
    best_by: Annotated[
        str,
        "Validation score that names the best checkpoint: reward, or a component of the reward such as accuracy, which"
        " validations of both stages measure.",
    ] = "reward"
    freeze_vision: Annotated[bool, "Freeze the vision tower and its projector; the method trains them."] = False

    def __post_init__(self) -> None:
        """Check settings that contradict each other, before a model is loaded.

        Raises:
            InputError: naming the setting and how to fix it.
        """
        super().__post_init__()
        if self.samples < 2:
            raise InputError(f"--samples {self.samples}: an advantage compares answers, give at least 2")
        if self.questions_per_update > self.questions_per_step:
            raise InputError(
                f"--questions-per-update {self.questions_per_update}: give 1 to --questions-per-step"
                f" ({self.questions_per_step})"
            )
        if self.questions_per_step % self.questions_per_update:
            raise InputError(
                f"--questions-per-step {self.questions_per_step}: give a multiple of --questions-per-update"
                f" ({self.questions_per_update})"
            )
        if self.processes % self.tensor_parallel:
            raise InputError(
                f"--tensor-parallel {self.tensor_parallel}: give a divisor of --processes ({self.processes})"
            )
        several = self.questions_per_update < self.questions_per_step
        if self.sampler_correction != "none" and several and self.old_logprobs == "sampler":
            raise InputError(
                f"--sampler-correction {self.sampler_correction}: with several updates per step the ratio itself is to"
                " the sampler's probability; give --old-logprobs recompute, or --ratio-cap alone"
            )
        if self.noise:
            self._check_noise(several)
        if self.sampler_correction != "none" and self.ratio_cap <= 1:
            raise InputError(f"--ratio-cap {self.ratio_cap}: give more than 1 with --sampler-correction")
        if 0 < self.clip_dual <= 1:
            raise InputError(f"--clip-dual {self.clip_dual}: give more than 1, or 0 for no bound")
        if not self.temperature:
            raise InputError(f"--temperature {self.temperature}: greedy answers are all the same, give more than 0")
        self._check_sequence_ratio()
        self._check_validation()
        if self.top_p < 1 and self.old_logprobs == "sampler" and several:
            raise InputError(
                f"--top-p {self.top_p}: the sampler's probabilities are then not the model's; give"
                " --old-logprobs recompute or --top-p 1"
            )
        if self.stage == "perception" and self.clip_weight and not self.clip_model:
            raise InputError("--clip-model is empty: the perception stage needs it, or --clip-weight 0")

    def _check_sequence_ratio(self) -> None:
        """Refuse what differs from token to token where all tokens of an answer share one gradient."""
        by_token = {
            f"--credit {self.credit}": self.credit != "even",
            "--separate-advantages": self.separate_advantages,
            "--sampler-correction mask": self.sampler_correction == "mask",
        }
        if self.ratio == "sequence" and (found := [name for name, is_set in by_token.items() if is_set]):
            raise InputError(
                f"--ratio sequence: all tokens of an answer share one gradient, so {', '.join(found)} would do nothing;"
                " give --ratio sequence_token"
            )

    def _check_validation(self) -> None:
        """Check what is asked in a validation, and how."""
        if self.validate_on and not (self.validate_every and self.benchmarks):
            missing = "--benchmarks" if self.validate_every else "--validate-every"
            raise InputError(f"--validate-on {self.validate_on}: it is never asked, give {missing} too")
        if self.validation_samples > 1 and not self.validation_temperature:
            raise InputError(
                f"--validation-samples {self.validation_samples}: greedy answers are all the same, give 1, or"
                " --validation-temperature above 0"
            )

    def _check_noise(self, several: bool) -> None:
        """Check the settings that noisy views need; `several` if a step has several updates."""
        if self.samples % 2:
            raise InputError(f"--samples {self.samples}: give an even number with --noise, which half of them get")
        if several and self.old_logprobs == "sampler":
            raise InputError(
                f"--noise {self.noise}: the sampler's probabilities are not those of the clean image; give"
                " --old-logprobs recompute"
            )
