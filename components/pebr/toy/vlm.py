"""A vision-language model of a real architecture with a few million random weights, and its tokenizer.

It has all files of a model on the Hub: `config.json`, safetensors, tokenizer, chat template, processors of images and
videos. So it loads like any model of its family, and no phase knows that it is a toy. The tokenizer is byte-level BPE
over the tiny world's texts: their words and section headers are one token each, any other text becomes bytes.
"""

from pathlib import Path

import torch

from pebr.toy.formats import Ask
from pebr.toy.world import questions
from pebr.vlm.families import family_named
from pebr.vlm.families.contract import Part, Tokenizer
from pebr.vlm.prompt import INSTRUCTIONS

FAMILY = "qwen2_5_vl"  # of the model that `toy://model` makes
VOCABULARY = 1024  # at most
PIXELS = {"min_pixels": 576, "max_pixels": 802816, "image_mean": [0.85] * 3, "image_std": [0.25] * 3}
HEAD = 32  # width of an attention head, in the text model and in the vision tower
LONGEST = 2048  # tokens of prompt and answer
# The usual rotary base of 1e6 turns by 1e-3 from one image column to the next. A base of 10 turns by 0.1 and more, in
# rows of 150 tokens and images of 4 x 4 tokens.
ROPE_BASE = 10.0
TEXT_INIT = 0.08  # about 1 / sqrt(width); with the usual 0.02 attention needs ten times the steps to find the image
# Headers with the line breaks around them; then words with their space, single digits, the rest.
_PIECES = r"\n*### ?[A-Za-z' ]+\d?[:.]\n?| ?\p{L}+(?:-\p{L}+)*| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"


def build_model(
    directory: Path | str,
    seed: int,  # of the weights; the tokenizer does not depend on it
    family: str = FAMILY,
    width: int = 128,  # of the text model, a multiple of 64
    layers: int = 4,  # of the text model
    vision_width: int = 256,  # a multiple of 32
    vision_layers: int = 2,
    tied: bool = True,  # the output head is the embedding, as in Qwen2.5-VL 3B; False: it has its own weights, as in 7B
    rope_base: float = ROPE_BASE,
    ask: Ask = questions,  # makes the questions whose words the tokenizer knows
) -> Path:
    """Write a model with random weights and its processor; the same arguments give the same bytes."""
    from transformers import AutoModelForImageTextToText

    made = family_named(family, "toy model")
    tokenizer = build_tokenizer(family, ask)
    vision = {
        "depth": vision_layers,
        "hidden_size": vision_width,
        "intermediate_size": 2 * vision_width,
        "num_heads": vision_width // HEAD,
        "out_hidden_size": width,
    }
    config = made.tiny_config(tokenizer, _text(tokenizer, width, layers, rope_base), vision)
    config.tie_word_embeddings = tied
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(str(directory))
    made.tiny_processor(tokenizer, config.vision_config.patch_size, PIXELS).save_pretrained(str(directory))
    return Path(directory)


def build_tokenizer(family: str = FAMILY, ask: Ask = questions) -> Tokenizer:
    """The tokenizer of a tiny world with a family's special tokens; a transformers fast tokenizer."""
    from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Bpe
    from transformers import PreTrainedTokenizerFast

    made = family_named(family, "toy tokenizer")
    bpe = Bpe(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=list(made.special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    asked = ask(seed=0, rows=600, split="sft")  # with every word and header of the tiny world
    bpe.train_from_iterator(
        (text for q in asked for text in ("user", q.problem.removeprefix("<image>"), "assistant", q.taught)), trainer
    )
    # What every prompt repeats is one token each: a third fewer tokens to compute.
    bpe.add_tokens([AddedToken(phrase, normalized=False) for phrase in (made.system_text, INSTRUCTIONS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=made.end_of_turn,
        pad_token=made.end_of_text,
        additional_special_tokens=[
            token for token in made.special_tokens if token not in (made.end_of_turn, made.end_of_text)
        ],
        model_max_length=LONGEST,
        clean_up_tokenization_spaces=False,
    )


def _text(tokenizer: Tokenizer, width: int, layers: int, rope_base: float) -> Part:
    """Settings of the text model that all families have in common."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // HEAD,
        "num_key_value_heads": width // HEAD // 2,
        "max_position_embeddings": LONGEST,
        "initializer_range": TEXT_INIT,
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_base},
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
