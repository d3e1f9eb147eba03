"""What config.json of the hub's LLaVAs leaves out of the language model's part: the defaults of its class."""

from __future__ import annotations

from typing import Any

_LLAMA = {
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "max_position_embeddings": 2048,
    "vocab_size": 32000,
}
TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "mistral": {
        **_LLAMA,
        "num_key_value_heads": 8,
        "max_position_embeddings": 4096 * 32,
        "sliding_window": 4096,
    },
}
"""By the model_type of text_config, as transformers' configurations have them."""
