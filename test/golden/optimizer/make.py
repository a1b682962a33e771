"""Golden numbers of AdamW and gradient clipping, from torch 2.13 (CPU, float32). Run: python test/golden/optimizer/make.py

golden.json: {"cases": [{"learningRates", "betas", "epsilon", "weightDecay", "clipNorm" (null: none),
  "start": {NAME: [...]}, "gradients": [{NAME: [...]}, one per step], "norms": [before clipping], "after": [{NAME: [...]}, one per step]}]}
"matrix" decays, "vector" is in a parameter group without weight decay.
"""

import json
import pathlib

import torch

HERE = pathlib.Path(__file__).parent
CASES = [
    dict(learningRates=[1e-2] * 4, betas=[0.9, 0.999], epsilon=1e-8, weightDecay=0.0, clipNorm=None),
    dict(learningRates=[1e-2, 2e-2, 5e-3, 1e-3], betas=[0.9, 0.95], epsilon=1e-6, weightDecay=0.1, clipNorm=1.0),
    dict(learningRates=[3e-3] * 3, betas=[0.0, 0.9], epsilon=1e-3, weightDecay=0.5, clipNorm=100.0),
]


def plain(tensors):
    return {name: tensor.detach().tolist() for name, tensor in tensors.items()}


def make(case, seed):
    generator = torch.Generator().manual_seed(seed)
    parameters = {name: torch.randn(6, generator=generator).requires_grad_() for name in ["matrix", "vector"]}
    optimizer = torch.optim.AdamW(
        [
            dict(params=[parameters["matrix"]], weight_decay=case["weightDecay"]),
            dict(params=[parameters["vector"]], weight_decay=0.0),
        ],
        lr=1.0,
        betas=tuple(case["betas"]),
        eps=case["epsilon"],
        foreach=False,
    )
    result = dict(case, start=plain(parameters), gradients=[], norms=[], after=[])
    for rate in case["learningRates"]:
        for parameter in parameters.values():
            parameter.grad = torch.randn(6, generator=generator) * torch.tensor([1e-4, 1e-2, 1, 1, 3, 0])
        result["gradients"].append(plain({name: parameter.grad for name, parameter in parameters.items()}))
        largest = float("inf") if case["clipNorm"] is None else case["clipNorm"]
        result["norms"].append(float(torch.nn.utils.clip_grad_norm_(parameters.values(), largest)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        result["after"].append(plain(parameters))
    return result


(HERE / "golden.json").write_text(json.dumps({"cases": [make(case, seed) for seed, case in enumerate(CASES)]}, indent=1) + "\n")
