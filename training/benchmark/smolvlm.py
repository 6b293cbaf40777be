"""The sizes of SmolVLM-256M's parts, as published.

https://huggingface.co/HuggingFaceTB/SmolVLM-256M-Instruct/blob/main/config.json
"""

LANGUAGE_SIZE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "vocab_size": 49280,
    "max_position_embeddings": 8192,
}
IMAGE_SIZE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 512,
    "patch_size": 16,
}
