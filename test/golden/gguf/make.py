"""Golden values for GGUF, from the `gguf` package, `tokenizers` and `transformers`. Run: python test/golden/gguf/make.py [SmolLM2-135M-Instruct.Q4_1.gguf]

  blocks.json      {TYPE: {"bytes": base64 of random blocks, "values": base64 of float32 as gguf.quants.dequantize expands them}}
  quantised.json   {"values": base64 of float32, "Q8_0", "Q4_0": base64 of the blocks that gguf.quants.quantize makes of them}
  llama.gguf       ../llama/base as GGUF: F32, q and k rows permuted as llama.cpp's convert_hf_to_gguf.py does, its tokenizer as metadata
  tokenizers.json  {"tokens", "merges", "texts", "ids": {PRE: [[ids of text 0], ...]}}: a byte-level BPE whose merges run across every border, so that the ids
                   show where PRE splits; the splitting is written as in the original models' tokenizer.json
  sentencepiece.json  {"tokens", "types", "scores", "texts", "ids"}: SentencePiece BPE with byte fallback, merges by transformers' generate_merges
  smollm.json      {"texts", "ids", "tensors": {NAME: {"shape", "sha256": of the float32 bytes in Hugging Face's row order}}}: the real file's tokens and merges under SmolLM2's original splitting (every digit singly). Needs the file.
"""

import base64
import hashlib
import json
import pathlib
import sys

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as Type
from safetensors.numpy import load_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import generate_merges

HERE = pathlib.Path(__file__).parent
TEXTS = [
    "Hello world",
    " leading and  double   spaces ",
    "In 1984, 12345 + 67890 = 80235; 3.14159 and 1,000,000.",
    "it's they'RE WE'LL don't 'tis I'D",
    "tabs\tand\nnew lines\r\n\r\n  and trailing   \n",
    "naïve café — “quotes” … ½ ² ٣٤٥ Ⅷ",
    "cafe\u0301 e\u0301 \u1e9b\u0323",
    "日本語のテキスト 한국어 русский العربية",
    "🙂👩‍👩‍👧‍👦 emoji🎉!!!???",
    "\ufeffbom and \u200bzero width \u00a0nbsp",
    "x=y+z<=3^2~a|b $5 #tag @user http://a.b/c?d=e&f=g_h",
    "<|im_start|>user\nhi<|im_end|>",
    "aaaa    bbbb\u3000cccc",
    "'s 't ''ve 9's 10th B2B",
    "",
]


def encode64(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def dump(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=True) + "\n")


def make_blocks():
    random = np.random.default_rng(7)
    blocks = {}
    for kind, header in [(Type.Q8_0, 1), (Type.Q4_0, 1), (Type.Q4_1, 2)]:
        _, size = gguf.GGML_QUANT_SIZES[kind]
        data = random.integers(0, 256, (6, size), dtype=np.uint8)
        scales = random.normal(0, 0.1, (6, header)).astype(np.float16)
        scales[0, 0] = np.float16(6e-8)  # the smallest subnormal
        data[:, : 2 * header] = scales.view(np.uint8).reshape(6, 2 * header)
        blocks[kind.name] = {"bytes": encode64(data), "values": encode64(gguf.quants.dequantize(data, kind).astype("<f4"))}
    halves = np.concatenate([np.arange(0, 65536, 97), [0x0001, 0x03FF, 0x0400, 0x7BFF, 0x7C00, 0xFC00, 0x8000]]).astype("<u2")
    halves = halves[~np.isnan(halves.view(np.float16))]
    blocks["F16"] = {"bytes": encode64(halves), "values": encode64(halves.view(np.float16).astype("<f4"))}
    brains = halves[(halves & 0x7F80) != 0x7F80]
    blocks["BF16"] = {"bytes": encode64(brains), "values": encode64(gguf.quants.dequantize(brains.view(np.uint8), Type.BF16).astype("<f4"))}
    # Where the float16 scales of a block lie; everything else in it is random.
    places = {
        Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.Q2_K: [80, 82], Type.Q3_K: [108],
        Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
    }
    for kind, offsets in places.items():
        count, size = gguf.GGML_QUANT_SIZES[kind]
        data = random.integers(0, 256, (6 if count == 32 else 3, size), dtype=np.uint8)
        for at in offsets:
            scales = random.normal(0, 0.1, (len(data), 1)).astype(np.float16)
            scales[0, 0] = np.float16(6e-8)
            data[:, at : at + 2] = scales.view(np.uint8)
        blocks[kind.name] = {"bytes": encode64(data), "values": encode64(gguf.quants.dequantize(data, kind).astype("<f4"))}
    dump("blocks.json", blocks)


def make_quantised():
    random = np.random.default_rng(11)
    values = random.normal(0, 0.05, (12, 64)).astype("<f4")
    values[0] = 0
    values[1, ::2] *= 1e-4
    values[2] *= 1e3
    kinds = {kind.name: encode64(gguf.quants.quantize(values, kind)) for kind in [Type.Q8_0, Type.Q4_0]}
    dump("quantised.json", {"values": encode64(values), **kinds})


def permute(weight, heads):
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def make_llama():
    folder = HERE.parent / "llama" / "base"
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    weights = load_file(folder / "model.safetensors")
    writer = gguf.GGUFWriter(HERE / "llama.gguf", "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {token["id"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if i in special else 1 for i in range(len(vocabulary))])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, weight in weights.items():
        if ".q_proj." in name:
            weight = permute(weight, config["num_attention_heads"])
        if ".k_proj." in name:
            weight = permute(weight, config["num_key_value_heads"])
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_level(use_regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def split(regex):
    return pre_tokenizers.Split(Regex(regex), behavior="isolated")


LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
SPLITTINGS = {
    "gpt-2": (None, byte_level(), False),
    "smollm": (None, DIGITS, False),
    "llama-bpe": (None, pre_tokenizers.Sequence([split(LLAMA3), byte_level(False)]), True),
    "smaug-bpe": (None, pre_tokenizers.Sequence([split(LLAMA3), byte_level(False)]), False),
    "dbrx": (None, pre_tokenizers.Sequence([split(LLAMA3), byte_level(False)]), False),
    "olmo": (normalizers.NFC(), byte_level(), False),
    "qwen2": (normalizers.NFC(), pre_tokenizers.Sequence([split(LLAMA3.replace("{1,3}", "")), byte_level(False)]), False),
    "default": (
        None,
        pre_tokenizers.Sequence([split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"), split("[0-9][0-9][0-9]"), byte_level(False)]),
        False,
    ),
}


def bpe(tokens, merges, splitting, special):
    normalizer, pre_tokenizer, ignore_merges = splitting
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges], ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    assert tokenizer.get_vocab_size() == len(tokens)
    return tokenizer


def ids_of(tokenizer):
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]


def make_tokenizers():
    whole = Tokenizer(models.BPE())
    whole.pre_tokenizer = byte_level(False)  # no splitting: merges across every border
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|im_start|>", "<|im_end|>"], show_progress=False, max_token_length=6
    )
    whole.train_from_iterator([text for text in TEXTS] * 3 + ["12 123 1234 12345 it's I'LL ... !!\n\n"] * 2, trainer)
    spec = json.loads(whole.to_str())["model"]
    tokens = sorted(spec["vocab"], key=spec["vocab"].get)
    merges = [" ".join(pair) for pair in spec["merges"]]
    special = ["<|im_start|>", "<|im_end|>"]
    ids = {pre: ids_of(bpe(tokens, merges, splitting, special)) for pre, splitting in SPLITTINGS.items()}
    dump("tokenizers.json", {"tokens": tokens, "merges": merges, "texts": TEXTS, "ids": ids})


def make_sentencepiece():
    random = np.random.default_rng(3)
    pieces = set("▁abcdefghijklmnopqrstuvwxyzHIBWRELD0123456789.,'")
    words = [word for text in TEXTS for word in ("▁" + text).replace(" ", "▁").split("▁") if word.isascii()]
    for word in words:
        for start in range(len(word)):
            for end in range(start + 2, min(len(word), start + 5) + 1):
                if random.random() < 0.4:
                    pieces.add(word[start:end])
                    pieces.add("▁" + word[start:end])
    ordinary = [piece for piece in sorted(pieces) if piece.isprintable()]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + ordinary
    types = [2, 3, 3] + [6] * 256 + [1] * len(ordinary)
    # Some scores are equal on purpose.
    scores = [0.0] * 259 + [float(-np.float32(round(random.random() * 40) / 4 + 1 / len(piece))) for piece in ordinary]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    normal = {token: score for token, score, kind in zip(tokens, scores, types) if kind == 1}
    merges = generate_merges(vocabulary, normal)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in tokens[:3]])
    dump("sentencepiece.json", {"tokens": tokens, "types": types, "scores": scores, "texts": TEXTS, "ids": ids_of(tokenizer)})


def make_smollm(path):
    reader = gguf.GGUFReader(path)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    types = reader.fields["tokenizer.ggml.token_type"].contents()
    special = [token for token, kind in zip(tokens, types) if kind == 3]
    tokenizer = bpe(tokens, reader.fields["tokenizer.ggml.merges"].contents(), (None, DIGITS, False), special)
    places = {
        "token_embd.weight": ("model.embed_tokens.weight", None),
        "blk.7.attn_q.weight": ("model.layers.7.self_attn.q_proj.weight", 9),
        "blk.7.attn_k.weight": ("model.layers.7.self_attn.k_proj.weight", 3),
        "blk.29.ffn_down.weight": ("model.layers.29.mlp.down_proj.weight", None),
        "output_norm.weight": ("model.norm.weight", None),
    }
    tensors = {}
    for tensor in reader.tensors:
        if tensor.name in places:
            name, heads = places[tensor.name]
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
            if heads:  # the inverse of permute
                values = values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
            digest = hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest()
            tensors[name] = {"shape": list(values.shape), "sha256": digest}
    dump("smollm.json", {"texts": TEXTS, "ids": ids_of(tokenizer), "tensors": tensors})


make_blocks()
make_quantised()
make_llama()
make_tokenizers()
make_sentencepiece()
if len(sys.argv) > 1:
    make_smollm(sys.argv[1])
