"""Decoders that have no biases, with one on every matrix of their blocks, in PyTorch. Run: python test/golden/biases/make.py

VARIANT.safetensors, VARIANT one of ../families: bias.NAME random biases; hidden [N,T,D] last hidden states with them, bidirectional, right-padded;
    loss = sum(hidden * hiddenWeights) + sum(logits * logitWeights), grad.NAME its gradient by each bias.
With folders that `lmvec export` wrote of a model with such biases as arguments: opens each with AutoModel, says that no weight is missing or
    left over, and compares its hidden states with those of onnx/model.onnx.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "families"))
from make import VOCABULARY, in_mode, padded, run  # noqa: E402


def make(variant):
    torch.manual_seed(sum(map(ord, variant)))
    folder = HERE.parent / "families" / variant
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval().float()
    biases = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in name:
            assert module.bias is None
            module.bias = torch.nn.Parameter(0.3 * torch.randn(module.out_features))
            biases[f"{name}.bias"] = module.bias
    model = in_mode(model, "bidirectional")
    texts = json.loads((folder / "golden.json").read_text())["texts"]
    ids, mask = padded(texts, "right")
    weights = dict(
        hiddenWeights=torch.randn(*ids.shape, model.config.hidden_size) * mask[:, :, None],
        logitWeights=0.3 * torch.randn(*ids.shape, VOCABULARY) * mask[:, :, None],
    )
    hidden, logits = run(model, ids, mask)
    ((hidden[-1] * weights["hiddenWeights"]).sum() + (logits * weights["logitWeights"]).sum()).backward()
    tensors = {**weights, "hidden": hidden[-1].detach()}
    for name, bias in biases.items():
        tensors[f"bias.{name}"] = bias.detach().clone()
        tensors[f"grad.{name}"] = bias.grad.clone()
    save_file({key: value.contiguous() for key, value in tensors.items()}, HERE / f"{variant}.safetensors")
    print(variant, len(biases), "biases")


def check(folder):
    import onnxruntime

    model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    session = onnxruntime.InferenceSession(pathlib.Path(folder) / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.array([[3, 9, 4, 7, 5, 11, 6]], dtype=np.int64)
    hidden = session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    with torch.no_grad():
        theirs = model.eval()(input_ids=torch.tensor(ids)).last_hidden_state.numpy()
    difference = float(np.abs(hidden - theirs).max())
    biases = sum(name.endswith(".bias") for name, _ in model.named_parameters())
    print(folder, biases, "biases", difference)
    assert difference < 1e-4 and biases > 0


for argument in sys.argv[1:]:
    check(argument)
if len(sys.argv) == 1:
    for variant in ["llama", "gemma2", "phi3-mini"]:
        make(variant)
