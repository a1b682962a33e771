"""The tiny models of ../families and ../mixtures as GGUF, by the `gguf` package, and what transformers makes of them. Run: python test/golden/gguf/families.py

  VARIANT.gguf        F32 (llama-moe: F16), tensors named by gguf's own map, changed as llama.cpp's conversion/ does: Llama's q and k rows interleaved, Gemma's
                      norms stored as 1 + w, GPT-2's matrices as [out, in], GPT-NeoX's joined matrix with all queries first, experts of a layer in one tensor,
                      Phi-3's factors as tensors of their own; metadata under the keys that llama.cpp reads
  hidden.json         {"texts": [[ids of text 0], ...], "unsaid": {VARIANT: what GGUF cannot say of config.json, or llama.cpp does not, as it reads it},
                       "layers": {VARIANT: which of the folder's layers it has, where not each once}}
  hidden.safetensors  from transformers 5 (torch, CPU, float32, eager), the same weights under config.json with "unsaid" put in, every text run alone:
    VARIANT.causal.hidden.1, VARIANT.MODE.hidden.L  [n0 + n1 + ..., D]  the first layer's output, last_hidden_state; MODE causal or bidirectional
    VARIANT.logits                                  [n0, V]             of the first text, causal
"""

import importlib.util
import json
import math
import pathlib
import re
import tempfile

import gguf
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
LENGTHS = [11, 7, 4]
# name: (folder, architecture of llama.cpp, what it does not say)
VARIANTS = {
    "llama-yarn": ("families/llama-yarn", "llama", {}),
    "smollm3": ("families/smollm3", "smollm3", dict(num_hidden_layers=4, no_rope_layers=[1, 1, 1, 0], layer_types=["full_attention"] * 4)),
    "qwen2": ("families/qwen2", "qwen2", dict(use_sliding_window=False, layer_types=["full_attention"] * 2)),
    "qwen3": ("families/qwen3", "qwen3", {}),
    "gemma": ("families/gemma", "gemma", {}),
    "gemma2": ("families/gemma2", "gemma2", dict(query_pre_attn_scalar=6)),
    "gemma3": ("families/gemma3", "gemma3", dict(query_pre_attn_scalar=6)),
    "phi3": ("families/phi3", "phi3", {}),
    "olmo2": ("families/olmo2", "olmo2", {}),
    "gpt2": ("families/gpt2", "gpt2", {}),
    "gptneox": ("families/gpt-neox", "gptneox", {}),
    "gptneox-sequential": ("families/gpt-neox-sequential", "gptneox", {}),
    "llama-moe": ("mixtures/mixtral", "llama", dict(sliding_window=None)),
    "qwen2moe": ("mixtures/qwen2-moe", "qwen2moe", dict(use_sliding_window=False, layer_types=["full_attention"] * 2, mlp_only_layers=[])),
    "qwen3moe": ("mixtures/qwen3-moe", "qwen3moe", {}),
    "olmoe": ("mixtures/olmoe", "olmoe", {}),
    "deepseek": ("mixtures/deepseek", "deepseek", {}),
}
# The folder's layers that are taken where it is not each once: llama.cpp has fixed which of SmolLM3's rotate, and no dense ones in Qwen2-MoE.
LAYERS = {"smollm3": [0, 1, 0, 1], "qwen2moe": [1, 1]}
INTERLEAVED = ["llama", "smollm3", "deepseek"]


def write_tokenizer(writer, folder, config):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {token["id"] for token in tokenizer["added_tokens"]}
    merges = [" ".join(pair) for pair in tokenizer["model"]["merges"]]
    if not merges:  # gguf cannot write an empty list
        vocabulary.append("th")
        merges.append("t h")
    # Ids that no token has, as llama.cpp fills them up.
    unused = [f"[PAD{i}]" for i in range(len(vocabulary), config["vocab_size"])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary + unused)
    writer.add_token_types([3 if i in special else 1 for i in range(len(vocabulary))] + [5] * len(unused))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])


def write_sizes(writer, arch, config):
    if arch == "gpt2":
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_block_count(config["n_layer"])
        writer.add_feed_forward_length(4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta")}
    full = rope.get("full_attention", rope)
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    if arch == "gptneox":
        writer.add_rope_dimension_count(int(rope["partial_rotary_factor"] * head_dim))
        writer.add_parallel_residual(config["use_parallel_residual"])
        writer.add_layer_norm_eps(config["layer_norm_eps"])
        return
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if head_dim != config["hidden_size"] // config["num_attention_heads"]:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if arch not in ("gemma", "gemma2"):
        writer.add_rope_freq_base(full["rope_theta"])
    if arch in INTERLEAVED:
        writer.add_vocab_size(config["vocab_size"])
        writer.add_rope_dimension_count(head_dim)
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    if arch in ("gemma2", "gemma3"):
        writer.add_sliding_window(config["sliding_window"])
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if arch == "gemma3":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(full["factor"])
        writer.add_float32("gemma3.rope.freq_base_swa", rope["sliding_attention"]["rope_theta"])
        writer.add_array("gemma3.attention.sliding_window_pattern", [kind == "sliding_attention" for kind in config["layer_types"]])
    if arch == "phi3":
        scale = config["max_position_embeddings"] / config["original_max_position_embeddings"]
        writer.add_rope_dimension_count(int(rope["partial_rotary_factor"] * head_dim))
        writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(config["original_max_position_embeddings"])))
        writer.add_sliding_window(0)


def write_experts(writer, arch, config):
    count = next((config[key] for key in ("num_local_experts", "num_experts", "n_routed_experts") if key in config), None)
    if count is None:
        return
    writer.add_expert_count(count)
    writer.add_expert_used_count(config["num_experts_per_tok"])
    if arch in ("qwen2moe", "qwen3moe", "deepseek"):
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if arch == "qwen2moe":
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    if arch == "olmoe":
        writer.add_clamp_kqv(config["clip_qkv"])
    if arch == "deepseek":
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        writer.add_leading_dense_block_count(config["first_k_dense_replace"])
        writer.add_expert_weights_scale(1.0)
        writer.add_expert_shared_count(config["n_shared_experts"])


def interleave(weight, heads):
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def as_stored(arch, config, name, weight):
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        return weight + 1
    if arch == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return weight.T
    if arch in INTERLEAVED and ".q_proj." in name:
        return interleave(weight, config["num_attention_heads"])
    if arch in INTERLEAVED and ".k_proj." in name:
        return interleave(weight, config["num_key_value_heads"])
    if arch == "gptneox" and ".query_key_value." in name:
        by_head = weight.reshape(config["num_attention_heads"], 3, -1, *weight.shape[1:])
        return by_head.swapaxes(0, 1).reshape(weight.shape)
    if name.endswith("shared_expert_gate.weight"):
        return weight[0]
    return weight


def tensors(arch, config, weights):
    """Names that gguf's map knows, and values."""
    experts = {}
    for name, weight in weights.items():
        found = re.match(r"(.*\.experts)\.(\d+)\.(\w+)\.weight", name)
        if found:
            experts.setdefault(f"{found[1].replace('model.', '').replace('block_sparse_moe', 'feed_forward')}.{found[3]}", {})[int(found[2])] = weight
        else:
            yield name, as_stored(arch, config, name, weight)
    for name, of in experts.items():
        yield f"{name if arch == 'llama' else f'model.{name}'}.weight", np.stack([of[i] for i in range(len(of))])


def weights_of(folder, layers, half):
    weights = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        # Blocks' matrices only: llama.cpp keeps norms in F32.
        value = weight.astype(np.float16).astype(np.float32) if half and weight.ndim == 2 else weight
        found = re.match(r"(.*\.layers\.)(\d+)(\..*)", name)
        if found is None or layers is None:
            weights[name] = value
            continue
        for layer, source in enumerate(layers):
            if source == int(found[2]):
                weights[f"{found[1]}{layer}{found[3]}"] = value
    return weights


def write(variant, folder, arch, config, weights):
    writer = gguf.GGUFWriter(HERE / f"{variant}.gguf", arch)
    write_sizes(writer, arch, config)
    write_experts(writer, arch, config)
    write_tokenizer(writer, folder, config)
    model = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf.get_tensor_name_map(model, config.get("num_hidden_layers", config.get("n_layer")))
    for name, weight in tensors(arch, config, weights):
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert stored is not None, name
        half = variant == "llama-moe" and weight.ndim > 1
        writer.add_tensor(stored, np.ascontiguousarray(weight.astype(np.float16) if half else weight))
    if arch == "phi3":
        for kind in ("long", "short"):
            writer.add_tensor(f"rope_factors_{kind}.weight", np.array(config["rope_parameters"][f"{kind}_factor"], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def deepseek(weights):
    """transformers has none: see ../mixtures/make.py."""
    spec = importlib.util.spec_from_file_location("mixtures", HERE.parent / "mixtures" / "make.py")
    mixtures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mixtures)
    model, _ = mixtures.deepseek()
    state = {}
    for key, value in model.state_dict().items():
        parts = [torch.tensor(weights[own]) for own, _ in mixtures.one_by_one("deepseek", key, value)]
        if key.endswith("gate_up_proj"):
            state[key] = torch.stack([torch.cat(parts[i : i + 2]) for i in range(0, len(parts), 2)])
        else:
            state[key] = torch.stack(parts) if key.endswith("experts.down_proj") else parts[0]
    model.load_state_dict(state)
    return model


def model_of(arch, config, weights):
    if arch == "deepseek":
        return deepseek(weights).eval()
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config))
        save_file(weights, f"{folder}/model.safetensors", metadata={"format": "pt"})
        eager = {"experts_implementation": "eager"} if "num_experts_per_tok" in config else {}
        return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32, **eager).eval()


def layers_of(model):
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module


@torch.no_grad()
def hidden_states(arch, config, weights, texts):
    states = {}
    for mode in ("causal", "bidirectional"):
        for index, text in enumerate(texts):
            # A model of its own each: frequencies that have grown stay.
            model = model_of(arch, config, weights)
            model.config.is_causal = mode == "causal"
            first = []
            hook = layers_of(model)[1].register_forward_pre_hook(lambda _, args, kwargs: first.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True)
            ids = torch.tensor([text])
            last = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
            hook.remove()
            states.setdefault(f"{mode}.hidden.L", []).append(last)
            if mode == "causal":
                states.setdefault("causal.hidden.1", []).append(first[0][0])
                if index == 0:
                    states["logits"] = [model(input_ids=ids, use_cache=False).logits[0]]
    made = {key: torch.cat(parts).numpy() for key, parts in states.items()}
    assert not np.allclose(made["causal.hidden.L"], made["bidirectional.hidden.L"], atol=1e-2), arch
    return made


random = torch.Generator().manual_seed(5)
texts = [torch.randint(2, 40, (length,), generator=random).tolist() for length in LENGTHS]
golden = {}
for variant, (path, arch, unsaid) in VARIANTS.items():
    folder = HERE.parent / path
    config = {**json.loads((folder / "config.json").read_text()), **unsaid}
    weights = weights_of(folder, LAYERS.get(variant), half=variant == "llama-moe")
    write(variant, folder, arch, config, weights)
    for key, value in hidden_states(arch, config, weights, texts).items():
        golden[f"{variant}.{key}"] = np.ascontiguousarray(value)
save_file(golden, HERE / "hidden.safetensors")
unsaid = {variant: unsaid for variant, (_, _, unsaid) in VARIANTS.items()}
(HERE / "hidden.json").write_text(json.dumps({"texts": texts, "unsaid": unsaid, "layers": LAYERS}) + "\n")
