"""Tiny decoders of many families, with random weights."""

import functools

import torch
import transformers

WORDS = 97

_LLAMA_LIKE = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ENDS = {"bos_token_id": 1, "eos_token_id": 2}
_SLIDING_AND_FULL = ["sliding_attention", "full_attention"] * 2

CONFIGS = {
    "llama": ("LlamaConfig", _LLAMA_LIKE),
    "qwen2": (
        "Qwen2Config",
        _LLAMA_LIKE | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
    ),
    "qwen3": ("Qwen3Config", _LLAMA_LIKE | {"head_dim": 8}),
    "gemma3": (
        "Gemma3TextConfig",
        _LLAMA_LIKE | {"head_dim": 8, "sliding_window": 4, "layer_types": _SLIDING_AND_FULL},
    ),
    "gpt2": (
        "GPT2Config",
        {"vocab_size": WORDS, "n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 64} | _ENDS,
    ),
    "opt": (
        "OPTConfig",
        {**_LLAMA_LIKE, "ffn_dim": 48, "word_embed_proj_dim": 16},
    ),
    "neox": ("GPTNeoXConfig", _LLAMA_LIKE),
    # Families of which nothing in the code was written with them in mind: layers that return
    # tuples, biases for positions instead of tables, experts, and states instead of attention.
    "bloom": ("BloomConfig", {"vocab_size": WORDS, "hidden_size": 32, "n_layer": 4, "n_head": 4}),
    "falcon": (
        "FalconConfig",
        {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
        | _ENDS,
    ),
    "mixtral": ("MixtralConfig", _LLAMA_LIKE | {"num_local_experts": 4}),
    "mamba": (
        "MambaConfig",
        {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 4, "state_size": 4},
    ),
}

REFUSED = {
    "inputs of its own for each layer": (
        "Gemma4TextConfig",
        _LLAMA_LIKE
        | {
            "head_dim": 8,
            "layer_types": _SLIDING_AND_FULL,
            "vocab_size_per_layer_input": WORDS,
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 0,
        },
    ),
    "does not take tokens alone": (
        "T5Config",
        {"vocab_size": WORDS, "d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 48},
    ),
}


def configured(entry):
    kind, values = entry
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**values)
    seq2seq = config.is_encoder_decoder
    auto = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    network = auto.from_config(config).eval()
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() > 1:  # as they are drawn, all families say one word again and again
                weight.normal_(std=0.3)
    return network


@functools.lru_cache
def decoder(family):
    """A decoder that must be left as it is."""
    return configured(CONFIGS[family])


def texts(count=3, length=11, seed=0):
    return torch.randint(3, WORDS, (count, length), generator=torch.Generator().manual_seed(seed))


def padded_on_the_left(ids):
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    mask[1, :1] = 0
    return mask
