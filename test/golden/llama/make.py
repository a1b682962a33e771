"""Golden values of the Llama family, from transformers 5 and peft. Run: python test/golden/llama/make.py

Made with torch 2.13 (CPU, float32), transformers 5, peft, attn_implementation="eager". One folder per variant:
  base         hidden 24, 2 layers, 6 heads, 2 key/value heads, head_dim 4, untied head
  rope-llama3  rope_type llama3, original_max_position_embeddings 16, texts of up to 21 tokens; head_dim 8, so heads * head_dim = 48 != hidden
  rope-linear  rope_type linear, factor 4
  tied         tie_word_embeddings: no lm_head.weight in the file
  bias         attention_bias and mlp_bias
Files in VARIANT/:
  config.json, model.safetensors (F32), tokenizer.json, tokenizer_config.json   a model folder as transformers 5 writes it
  adapter/adapter_model.safetensors, adapter/adapter_config.json                  as peft writes it (r 4, alpha 8, dropout 0, all seven matrices)
  golden.json         {"hiddenLayers": L + 1, "modes": ["causal", "bidirectional"], "lengths": [n0, n1, ...], "texts": [[ids of text 0], ...],
                       "right": {"inputIds": [[...]], "attentionMask": [[...]], "positionIds": [[...]]}, "left": {the same},
                       "lora": {"rank", "alpha", "scaling", "loss": {MODE: value}}}
  golden.safetensors  (N texts, T the longest, D hidden, V vocabulary; the values at padding are set to 0)
    right.MODE.hidden.K                       [N,T,D]  hidden_states[K]: K = 0 the embedding, 0 < K < L the output of layer K - 1 (no norm),
                                                       K = L after the last layer AND model.norm
    left.MODE.hidden.L                        [N,T,D]  left-padded, the last only
    single.MODE.hidden.L                      [n0,D]   text 0 alone, the last only
    right.MODE.logits                         [N,T,V]
    lora.lossWeights                          [N,T,D]  fixed random tensor W, 0 at padding; loss = sum(hidden_L * W) over the right-padded batch
    lora.MODE.hidden                          [N,T,D]  hidden_L with the adapter on (right-padded)
    lora.weight.NAME, lora.MODE.grad.NAME              NAME = model.layers.0.self_attn.q_proj.lora_A.weight [r,in], ...lora_B.weight [out,r]
    right, left: attention is an explicit additive mask [N,1,T,T]: 0 where a query may look, else float32's lowest value; padding is never looked
    at; causal: key index <= query index. positionIds = max(cumsum(mask) - 1, 0).
"""

import json
import pathlib
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
MODES = ["causal", "bidirectional"]
VOCABULARY = 72
COMMON = dict(
    vocab_size=VOCABULARY,
    hidden_size=24,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=64,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
    bos_token_id=0,
    eos_token_id=1,
    attn_implementation="eager",
)
LLAMA3 = dict(rope_type="llama3", rope_theta=10.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=2.0, original_max_position_embeddings=16)
VARIANTS = {
    "base": (dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0)), [11, 7, 4]),
    "rope-llama3": (dict(head_dim=8, rope_parameters=LLAMA3), [21, 9]),
    "rope-linear": (dict(rope_parameters=dict(rope_type="linear", rope_theta=100000.0, factor=4.0)), [11, 5]),
    "tied": (dict(tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=100000.0)), [9, 5]),
    "bias": (dict(attention_bias=True, mlp_bias=True, rope_parameters=dict(rope_type="default", rope_theta=10000.0)), [9, 5]),
}


def save_tokenizer(folder):
    """A byte-level BPE of 72 tokens over a small alphabet."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = ['abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:"_', "the cat and the other cat then sat on that mat"] * 2
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<s>", "</s>"], show_progress=False)
    text[0::2] = ['abcdefghijklmnopqrstuvwxyz 0123456789T.,:"_'] * 2
    tokenizer.train_from_iterator(text, trainer)
    assert tokenizer.get_vocab_size() <= VOCABULARY, tokenizer.get_vocab_size()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


def padded(texts, side):
    longest = max(len(text) for text in texts)
    ids = torch.ones(len(texts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        start = 0 if side == "right" else longest - len(text)
        ids[row, start : start + len(text)] = torch.tensor(text)
        mask[row, start : start + len(text)] = 1
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


def additive(mask, mode):
    n, t = mask.shape
    allowed = mask[:, None, None, :].bool().expand(n, 1, t, t)
    if mode == "causal":
        allowed = allowed & torch.ones(t, t, dtype=torch.bool).tril()
    return torch.zeros(n, 1, t, t).masked_fill(~allowed, torch.finfo(torch.float32).min)


def run(model, ids, mask, positions, mode):
    return model(input_ids=ids, attention_mask=additive(mask, mode), position_ids=positions, output_hidden_states=True, use_cache=False)


def plain_name(name):
    return name.removeprefix("base_model.model.").replace(".default.", ".")


def make(name, options, lengths):
    torch.manual_seed(sum(map(ord, name)))
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = LlamaForCausalLM(LlamaConfig(**{**COMMON, **options})).eval().float()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(1 + 0.2 * torch.randn_like(parameter) if "norm" in key else 0.25 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)

    texts = [torch.randint(2, VOCABULARY, (n,)).tolist() for n in lengths]
    layers = model.config.num_hidden_layers
    golden = {"hiddenLayers": layers + 1, "modes": MODES, "lengths": lengths, "texts": texts}
    tensors = {}
    for side in ["right", "left"]:
        ids, mask, positions = padded(texts, side)
        golden[side] = {"inputIds": ids.tolist(), "attentionMask": mask.tolist(), "positionIds": positions.tolist()}
        for mode in MODES:
            with torch.no_grad():
                output = run(model, ids, mask, positions, mode)
            for k, hidden in enumerate(output.hidden_states):
                if side == "left" and k < layers:
                    continue
                tensors[f"{side}.{mode}.hidden.{k}"] = hidden * mask[:, :, None]
            if side == "right":
                tensors[f"right.{mode}.logits"] = output.logits * mask[:, :, None]
    ids = torch.tensor([texts[0]])
    ones = torch.ones_like(ids)
    for mode in MODES:
        with torch.no_grad():
            output = run(model, ids, ones, ones.cumsum(1) - 1, mode)
        tensors[f"single.{mode}.hidden.{layers}"] = output.hidden_states[-1][0]
        if mode == "causal":  # the library's own causal path agrees with the explicit mask
            with torch.no_grad():
                own = model(input_ids=ids, output_hidden_states=True).hidden_states
            assert len(own) == layers + 1 and torch.allclose(own[-1], output.hidden_states[-1], atol=1e-5)

    matrices = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=matrices, task_type="CAUSAL_LM", bias="none"))
    adapted.eval()
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if "lora_" in key:
                parameter.copy_(0.2 * torch.randn_like(parameter))
                tensors["lora.weight." + plain_name(key)] = parameter.clone()
    ids, mask, positions = padded(texts, "right")
    weights = torch.randn(len(texts), ids.shape[1], model.config.hidden_size) * mask[:, :, None]
    tensors["lora.lossWeights"] = weights
    golden["lora"] = {"rank": 4, "alpha": 8, "scaling": 2.0, "loss": {}}
    for mode in MODES:
        adapted.zero_grad()
        hidden = run(adapted, ids, mask, positions, mode).hidden_states[-1]
        loss = (hidden * weights).sum()
        loss.backward()
        golden["lora"]["loss"][mode] = loss.item()
        tensors[f"lora.{mode}.hidden"] = hidden.detach() * mask[:, :, None]
        for key, parameter in adapted.named_parameters():
            if "lora_" in key:
                tensors[f"lora.{mode}.grad." + plain_name(key)] = parameter.grad.clone()
    adapted.peft_config["default"].base_model_name_or_path = f"test/golden/llama/{name}"
    adapted.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


for variant, (options, lengths) in VARIANTS.items():
    make(variant, options, lengths)
