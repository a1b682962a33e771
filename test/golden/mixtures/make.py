"""Golden values of mixtures of experts, from transformers 5. Run: python test/golden/mixtures/make.py [FAMILY ...]

Made with torch 2.13 (CPU, float32), transformers 5, attn_implementation="eager". One folder per family:
  mixtral    5 experts, 2 a token, sliding window 4
  qwen2-moe  6 experts, 3 a token, not renormalised; shared expert with a gate; the first layer dense; a sliding window in the last layer; gradients
  qwen3-moe  6 experts, 2 a token, renormalised; head_dim 10
  olmoe      7 experts, 3 a token, not renormalised; clip_qkv
  deepseek   6 experts, 2 a token, two shared ones; the first layer dense. transformers 5 has no such model: Llama with its feed-forward part replaced by
             Qwen2MoeTopKRouter + Qwen2MoeExperts + LlamaMLP, summed as DeepSeek's own modeling_deepseek.py does
Files in FAMILY/ (N texts, T the longest, D hidden, X experts; the values at padding are set to 0):
  config.json, model.safetensors (F32, each expert's matrices by themselves), tokenizer.json, tokenizer_config.json
  joined/             the same weights as transformers 5 writes them with save_original_format=False, in shards (mixtral, qwen2-moe)
  golden.json         {"hiddenLayers": L + 1, "lengths", "texts", "routers": [layers that have one], "lora": {"rank", "scaling"}}
  golden.safetensors
    MODE.hidden.K [N,T,D]       hidden_states[K] of the right-padded batch, MODE causal or bidirectional; K = L after model.norm
    left.MODE.hidden.L          left-padded, the last only
    causal.logits [N,T,V]
    MODE.router.K [N,T,X]       router logits of layer K
    lossWeights [N,T,D]         W; loss = sum(hidden_L * W) over the right-padded batch, bidirectional
    grad.NAME                   of every weight
    lora.weight.NAME, lora.grad.NAME, lora.hidden [N,T,D]    adapters on attention, router-chosen and shared experts: W + scaling * B A
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.func import functional_call
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeExperts, Qwen2MoeTopKRouter

HERE = pathlib.Path(__file__).parent
LENGTHS = [9, 3, 6]
MODES = ["causal", "bidirectional"]
SCALING, RANK = 2.0, 2
COMMON = dict(
    vocab_size=40,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=64,
    bos_token_id=0,
    eos_token_id=1,
    attn_implementation="eager",
    experts_implementation="eager",
    use_cache=False,
)


class DeepseekMoE(torch.nn.Module):
    def __init__(self, config, sizes):
        super().__init__()
        moe = Qwen2MoeConfig(
            hidden_size=config.hidden_size,
            moe_intermediate_size=sizes["moe_intermediate_size"],
            num_experts=sizes["n_routed_experts"],
            num_experts_per_tok=sizes["num_experts_per_tok"],
            norm_topk_prob=sizes["norm_topk_prob"],
            experts_implementation="eager",
        )
        self.gate = Qwen2MoeTopKRouter(moe)
        self.experts = Qwen2MoeExperts(moe)
        shared = LlamaConfig(hidden_size=config.hidden_size, num_attention_heads=config.num_attention_heads, intermediate_size=sizes["moe_intermediate_size"] * sizes["n_shared_experts"])
        self.shared_experts = LlamaMLP(shared)

    def forward(self, x):
        flat = x.view(-1, x.shape[-1])
        _, weights, chosen = self.gate(flat)
        return self.experts(flat, chosen, weights).view(x.shape) + self.shared_experts(x)


def deepseek():
    sizes = dict(moe_intermediate_size=8, n_routed_experts=6, n_shared_experts=2, num_experts_per_tok=2, norm_topk_prob=False)
    model = LlamaForCausalLM(LlamaConfig(**COMMON, intermediate_size=20))
    for layer in model.model.layers[1:]:
        layer.mlp = DeepseekMoE(model.config, sizes)
    own = {key: COMMON[key] for key in COMMON if key not in ("attn_implementation", "experts_implementation", "use_cache")}
    config = dict(
        architectures=["DeepseekForCausalLM"],
        model_type="deepseek",
        **own,
        **sizes,
        intermediate_size=20,
        first_k_dense_replace=1,
        moe_layer_freq=1,
        scoring_func="softmax",
        hidden_act="silu",
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        rope_scaling=None,
        attention_bias=False,
        tie_word_embeddings=False,
    )
    return model, config


FAMILIES = {
    "mixtral": lambda: (MixtralForCausalLM(MixtralConfig(**COMMON, intermediate_size=10, num_local_experts=5, num_experts_per_tok=2, sliding_window=4)), None),
    "qwen2-moe": lambda: (
        Qwen2MoeForCausalLM(
            Qwen2MoeConfig(
                **COMMON,
                intermediate_size=20,
                moe_intermediate_size=8,
                shared_expert_intermediate_size=12,
                num_experts=6,
                num_experts_per_tok=3,
                norm_topk_prob=False,
                mlp_only_layers=[0],
                use_sliding_window=True,
                sliding_window=4,
                layer_types=["full_attention", "sliding_attention"],
            )
        ),
        None,
    ),
    "qwen3-moe": lambda: (
        Qwen3MoeForCausalLM(
            Qwen3MoeConfig(**COMMON, intermediate_size=20, moe_intermediate_size=8, head_dim=10, num_experts=6, num_experts_per_tok=2, norm_topk_prob=True)
        ),
        None,
    ),
    "olmoe": lambda: (OlmoeForCausalLM(OlmoeConfig(**COMMON, intermediate_size=8, num_experts=7, num_experts_per_tok=3, clip_qkv=1.2)), None),
    "deepseek": deepseek,
}


def save_tokenizer(folder):
    letters = [*"abcdefghijklmnopqrstuvwxyz.,?!", "Ġ"]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(["<s>", "</s>", *letters])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


def padded(texts, side):
    longest = max(map(len, texts))
    ids = torch.ones(len(texts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        start = 0 if side == "right" else longest - len(text)
        ids[row, start : start + len(text)] = torch.tensor(text)
        mask[row, start : start + len(text)] = 1
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


def additive(mask, positions, mode, window):
    n, t = mask.shape
    allowed = mask[:, None, None, :].bool().expand(n, 1, t, t)
    distance = (positions[:, :, None] - positions[:, None, :])[:, None]
    if mode == "causal":
        allowed = allowed & (distance >= 0)
    if window:
        allowed = allowed & ((distance < window) if mode == "causal" else (distance.abs() <= window))
    return torch.zeros(n, 1, t, t).masked_fill(~allowed, torch.finfo(torch.float32).min)


def inputs_of(name, texts, side, mode):
    ids, mask, positions = padded(texts, side)
    attention = additive(mask, positions, mode, 4 if name == "mixtral" else None)
    if name == "qwen2-moe":
        attention = {"full_attention": attention, "sliding_attention": additive(mask, positions, mode, 4)}
    return mask, dict(input_ids=ids, attention_mask=attention, position_ids=positions)


def run(model, given, parameters=None):
    """hidden_states, normed last; router logits by layer."""
    routers, hidden, hooks = {}, [], []
    for index, layer in enumerate(model.model.layers):
        gate = next((m for key, m in layer.named_modules() if key.endswith("mlp.gate")), None)
        if gate is not None:
            hooks.append(gate.register_forward_hook(lambda _, __, out, index=index: routers.__setitem__(index, out[0].detach())))
        hooks.append(layer.register_forward_pre_hook(lambda _, args: hidden.append(args[0])))
    base = {} if parameters is None else {key.removeprefix("model."): value for key, value in parameters.items() if key.startswith("model.")}
    last = functional_call(model.model, base, (), dict(given, use_cache=False)).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*hidden, last], routers


def one_by_one(name, key, value):
    """Names of the released checkpoints: a matrix for each expert."""
    mixtral = name == "mixtral"
    own = key.replace(".mlp.", ".block_sparse_moe.") if mixtral else key
    if key.endswith("experts.gate_up_proj"):
        for expert in range(value.shape[0]):
            for last, part in zip(["w1", "w3"] if mixtral else ["gate_proj", "up_proj"], value[expert].chunk(2, 0)):
                yield f"{own.removesuffix('gate_up_proj')}{expert}.{last}.weight", part
    elif key.endswith("experts.down_proj"):
        for expert in range(value.shape[0]):
            yield f"{own.removesuffix('down_proj')}{expert}.{'w2' if mixtral else 'down_proj'}.weight", value[expert]
    else:
        yield own, value


def gradients(name, model, texts, tensors):
    """Of every weight, and of adapters on every matrix of the last block but its router."""
    mask, given = inputs_of(name, texts, "right", "bidirectional")
    weights = torch.randn(*mask.shape, model.config.hidden_size) * mask[:, :, None]
    tensors["lossWeights"] = weights
    model.zero_grad()
    (run(model, given)[0][-1] * weights).sum().backward()
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            tensors.update({f"grad.{own}": part for own, part in one_by_one(name, key, parameter.grad)})
    leaves, parameters = {}, {}

    def adapted(own, matrix):
        a, b = 0.3 * torch.randn(RANK, matrix.shape[1]), 0.3 * torch.randn(matrix.shape[0], RANK)
        for letter, leaf in (("A", a), ("B", b)):
            leaves[f"{own.removesuffix('.weight')}.lora_{letter}.weight"] = leaf.requires_grad_()
        return matrix + SCALING * b @ a

    for key, value in model.named_parameters():
        value = value.detach()
        parameters[key] = value
        parts = list(one_by_one(name, key, value))
        if ".layers.1." not in key or key.endswith(("norm.weight", "bias", "mlp.gate.weight", "expert_gate.weight")):
            continue
        made = [adapted(own, part) for own, part in parts]
        if key.endswith("gate_up_proj"):
            parameters[key] = torch.stack([torch.cat(made[i : i + 2]) for i in range(0, len(made), 2)])
        else:
            parameters[key] = torch.stack(made) if key.endswith("experts.down_proj") else made[0]
    hidden = run(model, given, parameters)[0][-1]
    (hidden * weights).sum().backward()
    tensors["lora.hidden"] = hidden.detach() * mask[:, :, None]
    for key, leaf in leaves.items():
        tensors[f"lora.weight.{key}"] = leaf.detach()
        tensors[f"lora.grad.{key}"] = leaf.grad


def make(name):
    torch.manual_seed(sum(map(ord, name)))
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model, config = FAMILIES[name]()
    model.eval().float()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(1 + 0.2 * torch.randn_like(parameter) if "norm" in key else 0.35 * torch.randn_like(parameter))
    if config is None:
        model.save_pretrained(folder)
        for left in ("model.safetensors", "generation_config.json"):
            (folder / left).unlink(missing_ok=True)
    else:
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = {}
    for key, value in model.state_dict().items():
        state.update(one_by_one(name, key, value))
    save_file({key: value.clone().contiguous() for key, value in state.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    if name in ("mixtral", "qwen2-moe"):
        model.save_pretrained(folder / "joined", save_original_format=False, max_shard_size="20KB")
        (folder / "joined" / "generation_config.json").unlink(missing_ok=True)
        save_tokenizer(folder / "joined")
    save_tokenizer(folder)

    texts = [torch.randint(2, COMMON["vocab_size"], (n,)).tolist() for n in LENGTHS]
    layers = model.config.num_hidden_layers
    tensors = {}
    routers = {}
    for mode in MODES:
        for side in ["right", "left"]:
            mask, given = inputs_of(name, texts, side, mode)
            with torch.no_grad():
                hidden, routers = run(model, given)
            if side == "left":
                tensors[f"left.{mode}.hidden.{layers}"] = hidden[-1] * mask[:, :, None]
                continue
            for k, state in enumerate(hidden):
                tensors[f"{mode}.hidden.{k}"] = state * mask[:, :, None]
            for k, logits in routers.items():
                tensors[f"{mode}.router.{k}"] = logits.view(*mask.shape, -1) * mask[:, :, None]
            if mode == "causal":
                tensors["causal.logits"] = model.lm_head(hidden[-1]).detach() * mask[:, :, None]
    with torch.no_grad():  # the library's own causal path agrees with the explicit masks
        own = model(input_ids=torch.tensor([texts[0]]), use_cache=False).logits[0]
        assert torch.allclose(own, tensors["causal.logits"][0, : LENGTHS[0]], atol=1e-4), name
    golden = {"hiddenLayers": layers + 1, "lengths": LENGTHS, "texts": texts, "routers": sorted(routers), "lora": {"rank": RANK, "scaling": SCALING}}
    if name == "qwen2-moe":
        gradients(name, model, texts, tensors)
    save_file({key: value.clone().contiguous() for key, value in tensors.items()}, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    for family in sys.argv[1:] or FAMILIES:
        make(family)
