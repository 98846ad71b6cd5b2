"""A command that syncs weights from training engines of ZeRO 0 and 3 into vLLM, on any number of ranks.

    python -m tests.sampling.sync_worker JOB

JOB is JSON: model, processes, parallel (ranks that share one sampler's model), out. Each rank writes
`out/rank-R.json`: by stage, the largest difference between the log-probabilities of the sampler and of a plain forward
pass, before and after the sync. Fails if the memory that ranks share is not named after the port at which they met.
"""

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from pebr.sampling.contract import Sampler, SamplingSettings
from pebr.sampling.start import start_sampler
from pebr.step import launch
from pebr.step.ranks import tell_done
from pebr.toy.world import questions
from pebr.training.engine import EngineSettings, TrainingEngine
from pebr.training.logprobs import PolicyModel
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.loading import load_model, load_processor

SETTINGS = SamplingSettings(samples=3, temperature=1.2, top_p=1.0, max_response_tokens=16, seed=0)


def difference(sampler: Sampler, model: Any, encoder: Encoder, prompts: list[Prompt], names: list[str]) -> float:
    """The largest difference between the sampler's log-probabilities and the model's."""
    worst = 0.0
    answers = sampler.sample(prompts, names, SETTINGS, 0)
    for prompt, samples in zip(prompts, answers, strict=True):
        for sample in samples:
            ids = torch.tensor([prompt.token_ids + sample.token_ids])
            with torch.no_grad():
                logits = model(
                    input_ids=ids,
                    pixel_values=prompt.pixel_values,
                    image_grid_thw=prompt.image_grids,
                    mm_token_type_ids=(ids == encoder.image_token_id).int(),
                ).logits[0, len(prompt.token_ids) - 1 : -1]
            logits[:, list(encoder.banned_token_ids)] = -torch.inf
            logprobs = (logits / SETTINGS.temperature).log_softmax(-1)
            given = logprobs.gather(1, torch.tensor(sample.token_ids)[:, None])[:, 0]
            worst = max(worst, (given - torch.tensor(sample.logprobs)).abs().max().item())
    return worst


def main() -> None:
    job = json.loads(sys.argv[1])
    launch.relaunch_with_processes("tests.sampling.sync_worker", job["processes"])
    place = launch.join()
    encoder = Encoder(load_processor(job["model"]))
    prompts = [encoder.prompt(q.problem, [q.image]) for q in questions(place.rank, 2 + place.rank, "rl")]
    names = [f"rank {place.rank} question {i}" for i in range(len(prompts))]
    sampler = start_sampler(
        "vllm",
        job["model"],
        encoder,
        max_tokens=256,
        memory_share=0.2,
        tensor_parallel=job["parallel"],
        sleeps=True,
    )
    assert job["processes"] == 1 or os.environ["VLLM_DIST_IDENT"] == os.environ["MASTER_PORT"]
    found = {}
    for stage in (0, 3):
        model = load_model(job["model"])
        generator = torch.Generator().manual_seed(stage)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + 0.5 * torch.randn(parameter.shape, generator=generator))
        plain = copy.deepcopy(model)
        engine = TrainingEngine(PolicyModel(model), EngineSettings(1e-3, 1, zero_stage=stage), place, weights=model)
        before = difference(sampler, plain, encoder, prompts, names)
        sampler.sleep()
        sampler.wake()
        sampler.sync(engine.gathered_parameters(bucket_bytes=100_000))
        found[stage] = {"before": before, "after": difference(sampler, plain, encoder, prompts, names)}
    sampler.close()
    torch.distributed.barrier()  # the trainer's group still exists
    (Path(job["out"]) / f"rank-{place.rank}.json").write_text(json.dumps(found))
    tell_done()


if __name__ == "__main__":
    main()
