"""The tales zoo: three small LLaMA decoders, whose weights ship with the package."""

from pathlib import Path
from typing import Any

from klas.tales.stories import WORDS

WEIGHTS = Path(__file__).parent / "weights"

# Width and depth both differ, so no pair is layer-for-layer alike.
SHAPES: dict[str, dict[str, int]] = {
    "klas/tales-tiny": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "klas/tales-small": {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2},
    "klas/tales-base": {"hidden_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4},
}

ZOO = tuple(SHAPES)
"""All of them, by cost."""

END, UNKNOWN = "<end>", "<unknown>"
VOCABULARY = {word: number for number, word in enumerate((END, UNKNOWN, *WORDS))}
LONGEST = 256  # tokens that a decoder takes


def blank_decoder(name: str) -> Any:
    """A decoder with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM  # an extra: only texts need it

    shape = SHAPES[name]
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        intermediate_size=2 * shape["hidden_size"],
        # The usual 0.02 suits wide networks; ones this narrow would hardly begin to learn with it.
        initializer_range=0.15,
        max_position_embeddings=LONGEST,
        bos_token_id=None,
        eos_token_id=VOCABULARY[END],
        pad_token_id=VOCABULARY[END],
        **shape,
    )
    return LlamaForCausalLM(config)


def make_tokenizer() -> Any:
    """What makes tokens of tales: a word is one, and so is a full stop."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel(VOCABULARY, unk_token=UNKNOWN))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=END, pad_token=END, unk_token=UNKNOWN
    )
