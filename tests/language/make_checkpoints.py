"""Makes the checkpoints beside this file: tiny random models of transformers, with their logits.

`pip install '.[crosscheck]' && python tests/language/make_checkpoints.py`

Every parameter is moved by noise, norms and biases too, so that none of them can be left out or
mixed up without a difference; the scores are large enough for the soft caps to bend them.
"""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "checkpoints"
LLAMA = {  # grouped queries, an untied head, a head size of its own; Gemma-2 has other sizes
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 32,
    "bos_token_id": None,
    "eos_token_id": None,
}
SMALL = {  # the others are as small as they can be and still have all that is theirs
    "vocab_size": 37,
    "hidden_size": 12,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
CHANGED = {  # what of them PEFT changes: all, and only some matrices of one product
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "gemma2": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
}
SCALED = {  # of its four wavelengths one is kept, one is between, and two are stretched
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def others() -> dict:
    """Configurations of the families that differ from the first three in a few points."""
    import transformers

    far = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}
    rope = {
        "full_attention": far,
        "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
    }
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    late = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
    without_head = {key: value for key, value in SMALL.items() if key != "head_dim"}
    return {
        "llama3": transformers.LlamaConfig(**SMALL, rope_parameters=SCALED),
        "smollm": transformers.LlamaConfig(
            **without_head | {"hidden_size": 16, "num_attention_heads": 2}, tie_word_embeddings=True
        ),
        "mistral": transformers.MistralConfig(**SMALL, sliding_window=5),
        "qwen2": transformers.Qwen2Config(
            **without_head | {"hidden_size": 16}, **late, tie_word_embeddings=True
        ),
        "qwen3": transformers.Qwen3Config(**SMALL),
        "gemma": transformers.GemmaConfig(**SMALL),
        "gemma3": transformers.Gemma3TextConfig(
            **SMALL | {"num_hidden_layers": 3},
            query_pre_attn_scalar=7,
            sliding_window=5,
            layer_types=kinds,
            rope_parameters=rope,
        ),
    }


def main() -> None:
    """Write a folder for each family."""
    import torch
    import transformers

    gemma2 = LLAMA | {
        "num_hidden_layers": 3,
        "pad_token_id": None,
        "query_pre_attn_scalar": 7,  # not head_dim
        "sliding_window": 5,  # shorter than the sequences
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
    }
    gpt2 = {"vocab_size": 61, "n_positions": 32, "n_embd": 24, "n_layer": 2, "n_head": 4}
    gpt2 |= {"bos_token_id": None, "eos_token_id": None}
    configs = {
        "gpt2": transformers.GPT2Config(**gpt2),
        "llama": transformers.LlamaConfig(
            **LLAMA, tie_word_embeddings=False, rope_parameters={"rope_theta": 500.0}
        ),
        "gemma2": transformers.Gemma2Config(**gemma2),
        **others(),
    }
    for family, config in configs.items():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        model = model.float().eval()
        tokens = torch.randint(0, config.vocab_size, (2, 16))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.25 * torch.randn_like(parameter))
            logits = model(tokens).logits
        folder = FOLDER / family
        # Llama's weights are in several files.
        model.save_pretrained(folder, max_shard_size="30KB" if family == "llama" else "5GB")
        (folder / "generation_config.json").unlink()
        np.save(folder / "tokens.npy", tokens.numpy().astype(np.int32))
        np.save(folder / "logits.npy", logits.numpy())
        if family in CHANGED:
            change(model, tokens, folder / "lora", CHANGED[family])


def change(model, tokens, folder: Path, targets: list[str]) -> None:
    """Low-rank changes of a model as PEFT writes them, with the logits."""
    import peft
    import torch

    settings = peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets, task_type="CAUSAL_LM")
    changed = peft.get_peft_model(model, settings).eval()
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
        logits = changed(tokens).logits
    changed.save_pretrained(folder)
    (folder / "README.md").unlink()
    np.save(folder / "logits.npy", logits.numpy())


if __name__ == "__main__":
    main()
