"""Golden values of latent attention pooling, from a module written from the formulas of the NV-Embed paper and release in torch 2.13 (CPU, float64,
stored as float32). Run: python test/golden/latent-attention/make.py

  h1 = Attn(LN(h), LN(latents)) + h;  h2 = FF(LN(h1)) + h1;  e = aggregate of h2 over the pool mask
golden.json: {"cases": [{"config": {latents, heads, headDimension, feedForward, feedForwardMultiple, aggregate}, "width", "texts", "tokens",
  "hidden" [N*T*D], "mask" [N*T], "parameters": {NAME: {"shape", "values"}}, "embeddings" [N*D], "outputGradient" [N*D],
  "hiddenGradient" [N*T*D], "gradients": {NAME: [...]}}]}
"""

import json
import math
import pathlib

import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent
PREFIX = "latent_attention_model."


class Attention(nn.Module):
    def __init__(self, width, heads, d):
        super().__init__()
        self.heads, self.d = heads, d
        self.to_q = nn.Linear(width, heads * d, bias=False)
        self.to_kv = nn.Linear(width, 2 * heads * d, bias=False)
        self.to_out = nn.Linear(heads * d, width, bias=False)

    def forward(self, x, context):
        n, t, _ = x.shape
        q = self.to_q(x).view(n, t, self.heads, self.d)
        k, v = (part.view(-1, self.heads, self.d) for part in self.to_kv(context).chunk(2, dim=-1))
        weights = torch.einsum("nthd,lhd->nhtl", q, k).div(math.sqrt(self.d)).softmax(-1)
        return self.to_out(torch.einsum("nhtl,lhd->nthd", weights, v).reshape(n, t, -1))


class Gate(nn.Module):
    def forward(self, x):
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width, wide, kind):
        super().__init__()
        gated = kind == "geglu"
        self.net = nn.Sequential(nn.Linear(width, 2 * wide if gated else wide), Gate() if gated else nn.GELU(), nn.Linear(wide, width))

    def forward(self, x):
        return self.net(x)


class Block(nn.Module):
    def __init__(self, width, fn, context=False):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(width) if context else None
        self.fn = fn

    def forward(self, x, context=None):
        return self.fn(self.norm(x)) if context is None else self.fn(self.norm(x), self.norm_context(context))


class LatentAttention(nn.Module):
    def __init__(self, width, c):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(c["latents"], width))
        attention = Attention(width, c["heads"], c["headDimension"])
        wide = round(width * c["feedForwardMultiple"])
        self.cross_attend_blocks = nn.ModuleList([Block(width, attention, context=True), Block(width, FeedForward(width, wide, c["feedForward"]))])
        self.aggregate = c["aggregate"]

    def forward(self, h, mask):
        attend, feed = self.cross_attend_blocks
        h1 = attend(h, self.latents) + h
        h2 = feed(h1) + h1
        if self.aggregate == "eos":
            last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
            return h2[torch.arange(len(h2)), last.long()]
        return (h2 * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def flat(tensor):
    return [float(f"{x:.8g}") for x in tensor.detach().flatten().float().tolist()]


def make(config, seed):
    torch.manual_seed(seed)
    width, texts, tokens = 6, 3, 4
    model = LatentAttention(width, config).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_((0.4 * torch.randn_like(parameter) + (1 if "norm" in name and name.endswith("weight") else 0)).float())
    hidden = torch.randn(texts, tokens, width).float().double().requires_grad_()
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 0]]).double()
    weights = torch.randn(texts, width).float().double()
    embeddings = model(hidden, mask)
    (embeddings * weights).sum().backward()
    named = {PREFIX + name: parameter for name, parameter in model.named_parameters()}
    return dict(
        config=config,
        width=width,
        texts=texts,
        tokens=tokens,
        hidden=flat(hidden),
        mask=flat(mask),
        parameters={name: dict(shape=list(p.shape), values=flat(p)) for name, p in named.items()},
        embeddings=flat(embeddings),
        outputGradient=flat(weights),
        hiddenGradient=flat(hidden.grad),
        gradients={name: flat(p.grad) for name, p in named.items()},
    )


SMALL = dict(latents=3, heads=2, headDimension=4, feedForwardMultiple=1.5)
CASES = [dict(SMALL, feedForward="geglu", aggregate="mean"), dict(SMALL, feedForward="gelu", aggregate="mean"), dict(SMALL, feedForward="geglu", aggregate="eos")]
(HERE / "golden.json").write_text(json.dumps({"cases": [make(case, seed) for seed, case in enumerate(CASES)]}) + "\n")
