"""Golden values of every decoder family, from transformers 5 and peft. Run: python test/golden/families/make.py [VARIANT ...]

Made with torch 2.13 (CPU, float32), transformers 5.23.0, peft 0.21, attn_implementation="eager". One folder per variant of VARIANTS below.
Files in VARIANT/:
  config.json, model.safetensors (F32), tokenizer.json, tokenizer_config.json   a model folder as transformers 5 writes it
  golden.json         {"hiddenLayers": L + 1, "lengths": [n0, n1, ...], "texts": [[ids of text 0], ...], "modes": {MODE: {"attention", "window"}}}
  golden.safetensors  (N texts, T the longest, D hidden, V vocabulary; the values at padding are 0)
    right.MODE.hidden.K   [N,T,D]  K = 0 the first layer's input, 0 < K < L the output of layer K - 1, K = L the model's last_hidden_state
    left.MODE.hidden.L    [N,T,D]  left-padded
    single.MODE.hidden.L  [n0,D]   text 0 alone
    right.MODE.logits     [N,T,V]
  MODE: causal; bidirectional: config.is_causal = False; drop (where there is a window): bidirectional without any window.
  Where the rotation depends on the length of the longest text (dynamic, longrope), every text is run alone.
gradients.safetensors, of llama, gemma2 and gpt2 only, bidirectional, right-padded: loss = sum(last_hidden_state * hiddenWeights) + sum(logits * logitWeights),
    hiddenWeights [N,T,D], logitWeights [N,T,V]; weight.NAME and lora.grad.NAME: gradients by every weight of the bare model and, with the adapter
    lora.weight.NAME (r 3, alpha 6, on all matrices of the blocks), by the adapter.
"""

import copy
import json
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
VOCABULARY = 72
LENGTHS = [11, 7, 4]
SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=24,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
SPECIAL = dict(bos_token_id=0, eos_token_id=1, pad_token_id=1)
ROPE = dict(rope_type="default", rope_theta=10000.0)
YARN = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=8, beta_fast=2.0, beta_slow=0.1)
LONGROPE = dict(
    rope_type="longrope",
    rope_theta=10000.0,
    partial_rotary_factor=0.75,
    short_factor=[1.0, 1.1, 1.3],
    long_factor=[1.5, 3.0, 7.0],
)
GEMMA3_ROPE = dict(
    sliding_attention=dict(rope_type="default", rope_theta=10.0),
    full_attention=dict(rope_type="linear", rope_theta=1000.0, factor=8.0),
)
NEOX = dict(vocab_size=VOCABULARY, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=64)
OPT = dict(vocab_size=VOCABULARY, hidden_size=24, ffn_dim=40, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=32)
# name: (model_type, options)
VARIANTS = {
    "llama": ("llama", dict(SIZES, tie_word_embeddings=True, rope_parameters=ROPE)),
    "llama-yarn": ("llama", dict(SIZES, head_dim=8, rope_parameters=YARN)),
    "llama-dynamic": ("llama", dict(SIZES, max_position_embeddings=6, rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=3.0))),
    "smollm3": ("smollm3", dict(SIZES, no_rope_layers=[1, 0], rope_parameters=dict(rope_type="default", rope_theta=5000.0))),
    "mistral": ("mistral", dict(SIZES, head_dim=6, sliding_window=4, rope_parameters=ROPE)),
    "ministral": ("ministral", dict(SIZES, head_dim=4, sliding_window=3, layer_types=["sliding_attention", "full_attention"], rope_parameters=ROPE)),
    "qwen2": ("qwen2", dict(SIZES, use_sliding_window=True, sliding_window=3, max_window_layers=1, tie_word_embeddings=True, rope_parameters=ROPE)),
    "qwen3": ("qwen3", dict(SIZES, head_dim=6, rope_parameters=dict(rope_type="default", rope_theta=1000000.0))),
    "gemma": ("gemma", dict(SIZES, head_dim=6, num_key_value_heads=1, rope_parameters=ROPE)),
    "gemma2": (
        "gemma2",
        dict(SIZES, head_dim=6, query_pre_attn_scalar=9, sliding_window=4, attn_logit_softcapping=4.0, final_logit_softcapping=6.0, rope_parameters=ROPE),
    ),
    "gemma3": (
        "gemma3_text",
        dict(
            SIZES,
            head_dim=6,
            query_pre_attn_scalar=9,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention"],
            rope_parameters=GEMMA3_ROPE,
        ),
    ),
    "phi3": (
        "phi3",
        dict(SIZES, num_attention_heads=3, num_key_value_heads=1, original_max_position_embeddings=8, rope_parameters=LONGROPE),
    ),
    "phi3-mini": ("phi3", dict(SIZES, sliding_window=4, rope_parameters=ROPE)),
    "olmo2": ("olmo2", dict(SIZES, rope_parameters=dict(rope_type="default", rope_theta=500000.0))),
    "gpt2": ("gpt2", dict(vocab_size=VOCABULARY, n_positions=32, n_embd=24, n_layer=2, n_head=3)),
    "gpt-neox": ("gpt_neox", dict(NEOX)),
    "gpt-neox-sequential": (
        "gpt_neox",
        dict(NEOX, use_parallel_residual=False, attention_bias=False, rope_parameters=dict(ROPE, partial_rotary_factor=0.5)),
    ),
    "opt": ("opt", dict(OPT)),
    "opt-350m": ("opt", dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=16)),
}
torch.set_num_threads(1)
GRADIENTS = ["llama", "gemma2", "gpt2"]
BY_LENGTH = ["llama-dynamic", "phi3"]


def save_tokenizer(folder):
    """A byte-level BPE of 72 tokens over a small alphabet."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = ['abcdefghijklmnopqrstuvwxyz 0123456789T.,:"_', "the cat and the other cat then sat on that mat"] * 2
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(text, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


def padded(texts, side):
    longest = max(len(text) for text in texts)
    ids = torch.ones(len(texts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        start = 0 if side == "right" else longest - len(text)
        ids[row, start : start + len(text)] = torch.tensor(text)
        mask[row, start : start + len(text)] = 1
    return ids, mask


def blocks(model):
    """The list of layers, wherever the family keeps it."""
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise ValueError("no layers")


def run(model, ids, mask):
    """Inputs and outputs of all layers, last_hidden_state, logits."""
    seen = []
    layers = blocks(model)

    def before(_, args, kwargs):
        seen.append(args[0] if args else kwargs["hidden_states"])

    hooks = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    base = model.base_model
    last = base(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state
    for hook in hooks:
        hook.remove()
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return [*seen, last], logits


def run_texts(model, texts, side, alone):
    """As `run`, padded; each text alone where `alone`. Zero at padding."""
    ids, mask = padded(texts, side)
    if not alone:
        hidden, logits = run(model, ids, mask)
        return [state * mask[:, :, None] for state in hidden], logits * mask[:, :, None]
    hidden = logits = None
    for row, text in enumerate(texts):
        # A model of its own each: frequencies that have grown stay.
        states, scores = run(copy.deepcopy(model), torch.tensor([text]), torch.ones(1, len(text), dtype=torch.long))
        if hidden is None:
            hidden = [torch.zeros(*ids.shape, state.shape[-1]) for state in states]
            logits = torch.zeros(*ids.shape, scores.shape[-1])
        for all_states, state in zip(hidden, states):
            all_states[row, mask[row].bool()] = state[0]
        logits[row, mask[row].bool()] = scores[0]
    return hidden, logits


def in_mode(model, mode):
    """The model with another attention; weights shared."""
    config = model.config
    config.is_causal = mode == "causal"
    if mode == "drop":
        config.sliding_window = 1000000
    return model


def gradients(model, texts, folder):
    ids, mask = padded(texts, "right")
    weights = dict(
        hidden=torch.randn(*ids.shape, model.config.hidden_size) * mask[:, :, None],
        logits=0.3 * torch.randn(*ids.shape, VOCABULARY) * mask[:, :, None],
    )

    def loss(model):
        hidden, logits = run(model, ids, mask)
        return (hidden[-1] * weights["hidden"]).sum() + (logits * weights["logits"]).sum()

    tensors = {"hiddenWeights": weights["hidden"], "logitWeights": weights["logits"]}
    model.zero_grad()
    loss(model).backward()
    for name, parameter in model.named_parameters():
        tensors[f"weight.{name}"] = parameter.grad.clone()
    model.zero_grad()
    targets = ["c_attn", "c_proj", "c_fc"] if model.config.model_type == "gpt2" else ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM", bias="none"))
    adapted.eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    loss(adapted.base_model.model).backward()
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            plain = name.removeprefix("base_model.model.").replace(".default.", ".")
            tensors[f"lora.weight.{plain}"] = parameter.detach().clone()
            tensors[f"lora.grad.{plain}"] = parameter.grad.clone()
    adapted.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"test/golden/families/{folder.name}"
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "gradients.safetensors")


def make(name):
    model_type, options = VARIANTS[name]
    torch.manual_seed(sum(map(ord, name)))
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    config = AutoConfig.for_model(model_type, **{**options, **SPECIAL})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            norm = "norm" in key or "ln_" in key
            centre = 1.0 if norm and key.endswith("weight") and "gemma" not in model_type else 0.0
            parameter.copy_(centre + 0.25 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    texts = [torch.randint(2, VOCABULARY, (n,)).tolist() for n in LENGTHS]
    layers = model.config.num_hidden_layers
    modes = {"causal": dict(attention="causal", window="keep"), "bidirectional": dict(attention="bidirectional", window="keep")}
    if getattr(model.config, "sliding_window", None) is not None:
        modes["drop"] = dict(attention="bidirectional", window="drop")
    tensors = {}
    alone = name in BY_LENGTH
    for mode in modes:
        with torch.no_grad():
            changed = in_mode(copy.deepcopy(model), mode)
            hidden, logits = run_texts(changed, texts, "right", alone)
            left, _ = run_texts(changed, texts, "left", alone)
            single, _ = run_texts(changed, texts[:1], "right", alone)
        for k, state in enumerate(hidden):
            if mode != "drop" or k == layers:
                tensors[f"right.{mode}.hidden.{k}"] = state
        if mode != "drop":
            tensors[f"left.{mode}.hidden.{layers}"] = left[-1]
            tensors[f"single.{mode}.hidden.{layers}"] = single[-1][0]
            tensors[f"right.{mode}.logits"] = logits
    assert len(hidden) == layers + 1
    last = f"hidden.{layers}"
    assert not torch.allclose(tensors[f"right.causal.{last}"], tensors[f"right.bidirectional.{last}"], atol=1e-2)
    if "drop" in modes:
        assert not torch.allclose(tensors[f"right.drop.{last}"], tensors[f"right.bidirectional.{last}"], atol=1e-2)
    if name in GRADIENTS:
        gradients(in_mode(copy.deepcopy(model), "bidirectional"), texts, folder)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "golden.safetensors")
    golden = {"hiddenLayers": layers + 1, "lengths": LENGTHS, "texts": texts, "modes": modes}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    for variant in sys.argv[1:] or VARIANTS:
        make(variant)
