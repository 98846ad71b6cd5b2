"""The work of a GRPO stage: check the inputs, start the ranks, build everything, train.

python -m pebr.grpo --model sft/ --dataset medium/ --output weights/ --history history.jsonl --rollouts rollouts/
"""

import logging
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from pebr.answers.check import AnswerChecker
from pebr.data.records import RL_SCHEMA
from pebr.data.shards import ShardedDataset, iter_rows
from pebr.errors import InputError
from pebr.grpo.experience import Collector
from pebr.grpo.measures import overview
from pebr.grpo.micro_batches import Packer
from pebr.grpo.policy import Policy, load_policy
from pebr.grpo.prompts import Prompts
from pebr.grpo.questions import Plan, askable, variances
from pebr.grpo.record import Rollouts
from pebr.grpo.second_pass import SecondPass
from pebr.grpo.settings import Settings
from pebr.grpo.trainer import Trainer
from pebr.grpo.update import Updater
from pebr.grpo.validation import validator_of
from pebr.rewards.clip import load_scorer
from pebr.rewards.stages import StageReward, Tools, build_reward
from pebr.sampling.contract import SamplingSettings
from pebr.step import launch
from pebr.step.identity import facts_of
from pebr.telemetry import metrics
from pebr.training.checkpoints import Checkpoints
from pebr.training.live import Live
from pebr.training.randomness import seed_everything
from pebr.training.validation import held_out
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import check_model, load_processor

log = logging.getLogger(__name__)


def work(settings: Settings) -> Mapping[str, float]:
    """Run the stage and return its scalars.

    Raises:
        InputError: model or dataset cannot be used; raised before processes are started.
        Preempted: stopped by SIGTERM, after a checkpoint was written.
    """
    dataset = ShardedDataset(settings.dataset)
    if not len(dataset):
        raise InputError(f"{settings.dataset}: no questions: the report of the split shows why")
    if missing := set(RL_SCHEMA.names) - set(dataset[0]):
        raise InputError(f"{settings.dataset}: no column {', '.join(sorted(missing))}: give an output of split")
    check_model(settings.model)
    launch.relaunch_with_processes("pebr.grpo", settings.processes)
    return launch.as_rank(partial(_train, settings, dataset))


def _train(settings: Settings, dataset: ShardedDataset, place: launch.Place) -> Mapping[str, float]:
    """Run the stage on one rank."""
    seed_everything(settings.seed)
    encoder = Encoder(load_processor(settings.model, settings.min_pixels, settings.max_pixels))
    needs_key_words = settings.stage == "perception" and settings.keyword_weight > 0
    kept, rejected = askable(settings.dataset, encoder, settings.max_prompt_tokens, needs_key_words)
    metrics.record_row(rows=len(kept))
    for kind, count in rejected.items():
        metrics.record_row(kind, count)
    if rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.most_common())
        log.warning("questions rejected: %s", reasons)
    kept, validated = _divided(settings, kept)
    plan = Plan(
        kept,
        settings.questions_per_step,
        settings.questions_per_update,
        settings.epochs,
        settings.max_steps,
        settings.seed,
        variances(settings.dataset, kept) if settings.variance_share else (),
        settings.variance_share,
    )
    log.info("%d questions, %d steps of %d updates", len(kept), plan.steps, plan.updates_per_step)
    if len(kept) < settings.questions_per_step:
        log.warning("%d questions, fewer than --questions-per-step %d", len(kept), settings.questions_per_step)
    with AnswerChecker() as checker:
        reward = _stage_reward(settings, encoder, checker, place)
        sampling = SamplingSettings.of(settings, settings.seed)
        prompts = Prompts(settings.dataset, encoder, place)
        second = SecondPass.of(settings, encoder) if reward.needs_second_pass else None
        collector = Collector(dataset, encoder, sampling, reward, settings.advantage, place, prompts, second)
        checkpoints = Checkpoints.of(settings, run_facts(settings), place)
        with closing(load_policy(settings, encoder, place, plan.optimizer_updates, checkpoints)) as policy:
            updater = _updater(settings, policy, encoder, collector)
            rollouts = Rollouts(checkpoints.location, reward.weights, settings.reward_mode)
            validator = validator_of(settings, collector, validated) if validated else None
            title = f"GRPO, {settings.stage}"
            live = Live(checkpoints.location, title, plan.steps, settings.history) if place.rank == 0 else None
            trainer = Trainer(settings, plan, policy, collector, updater, rollouts, validator, live)
            step = trainer.resume()
            while step < plan.steps and not trainer.ended():
                trainer.step(step)
                step += 1
        trainer.finish()
    best = trainer.best()
    return {
        "steps": len(trainer.rows),
        "questions": len(kept),
        "validation_questions": len(validated),
        **({"best_step": best["step"]} if best else {}),
        "refused_questions": rejected.total(),
        "refused_updates": policy.engine.refused_steps,
        **overview(trainer.rows),
    }


def _divided(settings: Settings, kept: list[int]) -> tuple[list[int], list[int]]:
    """The questions to train on, and those that are held out for validation."""
    if not settings.validate_every:
        return kept, []
    qids = [row["qid"] for row in iter_rows(Path(settings.dataset), columns=["qid"])]
    trained, validated = held_out([qids[row] for row in kept], settings.validation_questions)
    if len(validated) < settings.validation_questions:
        log.warning("%d of %d questions are held out for validation", len(validated), len(kept))
    return [kept[place] for place in trained], [kept[place] for place in validated]


def run_facts(settings: Settings) -> dict[str, object]:
    """The facts that name the run; the stage without CLIP does not depend on the CLIP model."""
    return facts_of(settings, ignoring=() if settings.stage == "perception" else ("clip_model",))


def _stage_reward(settings: Settings, encoder: Encoder, checker: AnswerChecker, place: launch.Place) -> StageReward:
    """The stage's reward. The CLIP model is loaded only if it is needed."""
    needs_clip = settings.stage == "perception" and settings.clip_weight
    scorer = load_scorer(settings.clip_model, str(place.device)) if needs_clip else None
    return build_reward(settings, Tools(checker, encoder.count_tokens, scorer, settings.max_response_tokens))


def _updater(settings: Settings, policy: Policy, encoder: Encoder, collector: Collector) -> Updater:
    engine = policy.engine
    packer = Packer(
        encoder,
        collector.prompts.__getitem__,
        settings,
        settings.tokens_per_batch,
        settings.max_response_tokens,
        engine.rank,
        engine.world_size,
        collector.prompts.exchange,
        settings.seed,
    )
    return Updater(engine, policy.reference, packer, settings, settings.temperature)
