"""Hugging Face folders in float32 from a decoder (a GGUF file or a folder), for the Python peers.

usage: python prepare.py model out_dir      (torch, transformers 5, gguf)
out_dir opens in transformers 5; out_dir-444 opens in transformers 4.44 (llm2vec 0.2.3). Does nothing where both are there.
No chat template is kept: sentence-transformers 6 would wrap every text in it.
"""
import json
import os
import shutil
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def convert(source: str, out: str) -> None:
    """Writes `out`: dequantised weights, config and tokenizer as transformers 5 saves them."""
    is_file = os.path.isfile(source)
    folder, name = os.path.split(os.path.abspath(source)) if is_file else (source, None)
    from_gguf = {"gguf_file": name} if is_file else {}
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **from_gguf)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = type(loaded)(config).float()
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder, **from_gguf).save_pretrained(out)
    template = os.path.join(out, "chat_template.jinja")
    if os.path.exists(template):
        os.remove(template)


def downgrade(out: str, old: str) -> None:
    """Copies `out` to `old` with config and tokenizer in the words of transformers 4.44."""
    shutil.copytree(out, old, copy_function=link_weights)
    with edited(os.path.join(old, "config.json")) as config:
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.get("full_attention", rope)["rope_theta"]
        config.pop("dtype", None)
        config["torch_dtype"] = "float32"
    with edited(os.path.join(old, "tokenizer.json")) as tokenizer:
        merges = tokenizer["model"]["merges"]
        tokenizer["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m for m in merges]
    with edited(os.path.join(old, "tokenizer_config.json")) as config:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config["model_input_names"] = ["input_ids", "attention_mask"]


def link_weights(source: str, target: str) -> None:
    """Weights are the same file; config and tokenizer are copied, to be edited."""
    if source.endswith(".safetensors"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


class edited:
    """`with edited(path) as data:` reads a JSON file and writes it back."""

    def __init__(self, path: str):
        self.path = path

    def __enter__(self) -> dict:
        with open(self.path, encoding="utf8") as file:
            self.data = json.load(file)
        return self.data

    def __exit__(self, *_: object) -> None:
        with open(self.path, "w", encoding="utf8") as file:
            json.dump(self.data, file, ensure_ascii=False)


def main() -> None:
    source, out = sys.argv[1], sys.argv[2].rstrip("/")
    for path, make in [(out, lambda to: convert(source, to)), (out + "-444", lambda to: downgrade(out, to))]:
        if os.path.isdir(path):
            continue
        part = f"{path}.{os.getpid()}.part"
        make(part)
        os.rename(part, path)


main()
print("{}")
