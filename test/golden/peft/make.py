"""A LoRA adapter as Python's peft writes it, and the check that peft opens ours. Run: python test/golden/peft/make.py [folder that writeAdapter wrote]

adapter/     r 2, alpha 6, dropout 0.1 on q_proj and down_proj of ../llama/tied, B random, written by peft
golden.json  {"tensors": {NAME: {"shape", "values"}}}: the same tensors by their names in our maps
With an argument: loads it on ../llama/tied with peft, compares every tensor with golden.json's and prints the number of tensors.
"""

import json
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

HERE = pathlib.Path(__file__).parent


def plain(model):
    return {
        name.removeprefix("base_model.model.").replace(".default.", "."): parameter.detach()
        for name, parameter in model.named_parameters()
        if "lora_" in name
    }


def make():
    torch.manual_seed(5)
    base = LlamaForCausalLM.from_pretrained(HERE.parent / "llama" / "tied")
    config = LoraConfig(r=2, lora_alpha=6, lora_dropout=0.1, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter))
    model.peft_config["default"].base_model_name_or_path = "test/golden/llama/tied"
    shutil.rmtree(HERE / "adapter", ignore_errors=True)
    model.save_pretrained(HERE / "adapter")
    (HERE / "adapter" / "README.md").unlink(missing_ok=True)
    tensors = {name: {"shape": list(value.shape), "values": value.flatten().tolist()} for name, value in plain(model).items()}
    (HERE / "golden.json").write_text(json.dumps({"tensors": tensors}) + "\n")


def check(folder):
    golden = json.loads((HERE / "golden.json").read_text())["tensors"]
    base = LlamaForCausalLM.from_pretrained(HERE.parent / "llama" / "tied")
    model = PeftModel.from_pretrained(base, folder)
    loaded = plain(model)
    assert loaded.keys() == golden.keys()
    for name, value in loaded.items():
        assert list(value.shape) == golden[name]["shape"] and value.flatten().tolist() == golden[name]["values"], name
    config = model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (2, 6, 0.1), config
    assert model.merge_and_unload() is not None
    print(f"peft opened {folder}: {len(loaded)} tensors equal")


if len(sys.argv) > 1:
    check(sys.argv[1])
else:
    make()
