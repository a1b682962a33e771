"""Golden values of the encoders, from transformers 5 and peft. Run: python test/golden/families/encoders.py [VARIANT ...]

As make.py, with these differences: the only mode is bidirectional (and drop, for ModernBERT's windows), there are no logits, and
  golden.json         has "encoded": [[text, its ids with special tokens], ...] as the `tokenizers` library encodes
  gradients.safetensors, of bert only: loss = sum(last_hidden_state * hiddenWeights), by every weight but the pooler's, and by an adapter on all matrices of the blocks
The texts of RoBERTa's kin never hold the padding token 1, from which transformers counts their positions.
"""

import copy
import json
import shutil
import sys

import torch
from make import HERE, LENGTHS, VOCABULARY, blocks, padded
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PreTrainedTokenizerFast

BERT = dict(
    vocab_size=VOCABULARY, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=32, type_vocab_size=2
)
MODERN_ROPE = dict(
    full_attention=dict(rope_type="default", rope_theta=1000.0),
    sliding_attention=dict(rope_type="default", rope_theta=10.0),
)
VARIANTS = {
    "bert": ("bert", dict(BERT, pad_token_id=0)),
    "roberta": ("roberta", dict(BERT, type_vocab_size=1, layer_norm_eps=1e-5, bos_token_id=0, pad_token_id=1, eos_token_id=2)),
    "xlm-roberta": ("xlm-roberta", dict(BERT, type_vocab_size=1, hidden_act="gelu_new", bos_token_id=0, pad_token_id=1, eos_token_id=2)),
    "modernbert": (
        "modernbert",
        dict(
            vocab_size=VOCABULARY,
            hidden_size=24,
            intermediate_size=20,
            num_hidden_layers=4,
            num_attention_heads=3,
            max_position_embeddings=64,
            local_attention=4,
            layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
            rope_parameters=MODERN_ROPE,
            pad_token_id=1,
            bos_token_id=2,
            eos_token_id=3,
            cls_token_id=2,
            sep_token_id=3,
        ),
    ),
}
CORPUS = ["the cat and the other cat then sat on that mat", "abcdefghijklmnopqrstuvwxyz 0123456789 .,:?!", "Naïve Café — naive cafe, THE CAT"] * 3
TEXTS = [
    "the cat sat on a mat",
    "  The CAT,  sat?! on that mat.  ",
    "Naïve café: e\u0301 ﬁ № 9",
    "日本語 cat 🙂 and \u200bzero\tthen\nnew",
    "thecatandtheothercatthensatonthatmat",
    "<s> a </s> [SEP] b",
    "",
]


def template(tokenizer, first, last):
    pairs = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    return processors.TemplateProcessing(single=f"{first} $A {last}", pair=f"{first} $A {last} $B {last}", special_tokens=pairs)


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, limit_alphabet=28, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = template(tokenizer, "[CLS]", "[SEP]")
    return tokenizer, dict(cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]")


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    # XLM-R's own table of replacements (Precompiled, 316 kB) does this and a little more.
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\t", " "), normalizers.Replace("\n", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = sorted(set("".join(CORPUS)) - {" "})
    trainer = trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = template(tokenizer, "<s>", "</s>")
    return tokenizer, dict(bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>")


def byte_level(special, first, last, post_processor=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False))
    if post_processor is None:
        tokenizer.post_processor = template(tokenizer, first, last)
    else:
        tokenizer.post_processor = post_processor((last, tokenizer.token_to_id(last)), (first, tokenizer.token_to_id(first)))
    return tokenizer


def roberta():
    own = byte_level(["<s>", "<pad>", "</s>", "<unk>"], "<s>", "</s>", lambda sep, cls: processors.RobertaProcessing(sep, cls, add_prefix_space=False))
    return own, dict(bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>")


def modern():
    own = byte_level(["[UNK]", "[PAD]", "[CLS]", "[SEP]"], "[CLS]", "[SEP]")
    return own, dict(cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]")


TOKENIZERS = {"bert": word_piece, "roberta": roberta, "xlm-roberta": unigram, "modernbert": modern}


def run(model, ids, mask):
    """Inputs of all layers, last_hidden_state."""
    seen = []
    before = lambda _, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"])
    hooks = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in blocks(model)]
    own = model.config.model_type in ("roberta", "xlm-roberta")
    positions = {} if own else dict(position_ids=(mask.cumsum(1) - 1).clamp(min=0))
    last = model(input_ids=ids, attention_mask=mask, **positions).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*seen, last]


def gradients(model, texts, folder):
    ids, mask = padded(texts, "right")
    weights = torch.randn(*ids.shape, model.config.hidden_size) * mask[:, :, None]
    tensors = {"hiddenWeights": weights}
    model.zero_grad()
    (run(model, ids, mask)[-1] * weights).sum().backward()
    for name, parameter in model.named_parameters():
        if "pooler" not in name:
            tensors[f"weight.{name}"] = parameter.grad.clone()
    model.zero_grad()
    adapted = get_peft_model(model, LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, target_modules=r"encoder\..*\.(query|key|value|dense)", bias="none"))
    adapted.eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    (run(adapted.base_model.model, ids, mask)[-1] * weights).sum().backward()
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
    config = AutoConfig.for_model(model_type, **options)
    # With a head where the released models have one, to be left out: bert's folder is one of AutoModel, with its pooler.
    kind = AutoModel if name == "bert" else AutoModelForMaskedLM
    whole = kind.from_config(config, attn_implementation="eager").eval().float()
    with torch.no_grad():
        for key, parameter in whole.named_parameters():
            centre = 1.0 if "norm" in key.lower() and key.endswith("weight") else 0.0
            parameter.copy_(centre + 0.25 * torch.randn_like(parameter))
    whole.save_pretrained(folder)
    model = whole.base_model
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer, special = TOKENIZERS[name]()
    assert tokenizer.get_vocab_size() <= VOCABULARY, tokenizer.get_vocab_size()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    texts = [torch.randint(4, VOCABULARY, (n,)).tolist() for n in LENGTHS]
    layers = model.config.num_hidden_layers
    modes = {"bidirectional": dict(attention="bidirectional", window="keep")}
    if name == "modernbert":
        modes["drop"] = dict(attention="bidirectional", window="drop")
    tensors = {}
    for mode in modes:
        changed = copy.deepcopy(model)
        if mode == "drop":
            changed.config.local_attention = 1000000
        with torch.no_grad():
            states = {}
            for side in ("right", "left"):
                ids, mask = padded(texts, side)
                states[side] = [state * mask[:, :, None] for state in run(changed, ids, mask)]
            single = run(changed, torch.tensor(texts[:1]), torch.ones(1, LENGTHS[0], dtype=torch.long))
        for k, state in enumerate(states["right"]):
            if mode != "drop" or k == layers:
                tensors[f"right.{mode}.hidden.{k}"] = state
        if mode != "drop":
            tensors[f"left.{mode}.hidden.{layers}"] = states["left"][-1]
            tensors[f"single.{mode}.hidden.{layers}"] = single[-1][0]
    assert len(states["right"]) == layers + 1
    if "drop" in modes:
        assert not torch.allclose(*(tensors[f"right.{mode}.hidden.{layers}"] for mode in modes), atol=1e-2)
    if name == "bert":
        gradients(copy.deepcopy(model), texts, folder)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "golden.safetensors")
    encoded = [[text, tokenizer.encode(text).ids] for text in TEXTS]
    golden = {"hiddenLayers": layers + 1, "lengths": LENGTHS, "texts": texts, "modes": modes, "encoded": encoded}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    for variant in sys.argv[1:] or VARIANTS:
        make(variant)
