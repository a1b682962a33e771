"""Golden values under PyTorch's autocast. Run: python test/golden/precision/make.py

Made with torch 2.13 (CPU), transformers 5, peft, on the models, adapters, texts and loss of test/golden/families/VARIANT (see its make.py),
bidirectional, right-padded. The blocks run under autocast, what stands behind them (the head and the loss) does not. No loss scale.
VARIANT.safetensors, float32; P is float16 or bfloat16:
  P.hidden              [N,T,D]  last_hidden_state of the bare model, 0 at padding
  P.weight.NAME                  gradients by the matrices of the first block of the bare model
  P.lora.grad.NAME               gradients by the adapter's parameters
"""

import importlib.util
import json
import pathlib

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
FAMILIES = HERE.parent / "families"
spec = importlib.util.spec_from_file_location("families", FAMILIES / "make.py")
families = importlib.util.module_from_spec(spec)
spec.loader.exec_module(families)


def make(variant):
    folder = FAMILIES / variant
    golden = json.loads((folder / "golden.json").read_text())
    weights = load_file(folder / "gradients.safetensors")
    ids, mask = families.padded(golden["texts"], "right")

    def load():
        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
        return families.in_mode(model, "bidirectional")

    def backward(model, precision):
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.autocast("cpu", dtype=getattr(torch, precision)):
            last = model.base_model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state
        hidden = last.float()
        logits = model.lm_head(hidden)
        ((hidden * weights["hiddenWeights"]).sum() + (logits * weights["logitWeights"]).sum()).backward()
        return hidden.detach() * mask[:, :, None]

    tensors = {}
    for precision in ["float16", "bfloat16"]:
        model = load()
        tensors[f"{precision}.hidden"] = backward(model, precision)
        for name, parameter in model.named_parameters():
            if ".0." in name and parameter.dim() == 2:
                tensors[f"{precision}.weight.{name}"] = parameter.grad.clone()
        adapted = PeftModel.from_pretrained(load(), folder / "adapter", is_trainable=True).eval()
        backward(adapted.base_model.model, precision)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                plain = name.removeprefix("base_model.model.").replace(".default.", ".")
                tensors[f"{precision}.lora.grad.{plain}"] = parameter.grad.clone()
    save_file({key: value.contiguous() for key, value in tensors.items()}, HERE / f"{variant}.safetensors")


for variant in ["llama", "gpt2"]:
    make(variant)
