"""Trains four tiny tokenizers with Python's `tokenizers` and records ids and offsets of hard lines.

usage: python make.py      (needs tokenizers; writes *.json beside this file)
Offsets are recorded in code points with trim_offsets off, as Python counts.
"""
import json
import os

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

TRAINING = [
    'This sentence : "A jockey riding a horse." means in one word:"Equestrian".',
    "The quick brown fox jumps over the lazy dog, doesn't it? It's 2026 and they've won 1,234.56 euros.",
    "a small decoder becomes an embedder with one command; the model and the tokenizer are shipped with it",
    "naïve café – résumé, Ångström; 日本語のテキスト и русский текст, ελληνικά 😀👍🏽",
    "words words words of the language and the world in the morning when the riding of the horse is done",
] * 20

LINES = [
    "",
    " ",
    "a",
    "A jockey riding a horse.",
    'This sentence : "A jockey riding a horse." means in one word:"',
    "  two leading spaces,  two inside and two trailing  ",
    "tabs\tand\nnew lines\r\n\r\nand more",
    "It's 2026: 1,234.56 euros, 3½ ② ٣٤ ๗ Ⅷ",
    "naïve café – résumé; Ångström",
    "de\u0301compose\u0301 cafe\u0301 A\u030angstro\u0308m",
    "日本語のテキスト、中文 한국어 ไทย",
    "smile 😀👍🏽 family 👨‍👩‍👧 flag 🇫🇷 end",
    "zero\u200bwidth \ufeff bom \u00a0nbsp \u3000wide",
    "<|endoftext|>special<|endoftext|> tokens <|endoftext|>",
    "<s>not bos</s>",
    "under▁score ▁▁ metaspace",
    "\u0000\u0001\u007f control",
    "עברית العربية हिन्दी தமிழ்",
    "ﬁ ligature ﬀ Å (angstrom sign) Ω",
    "x" * 300,
    "don't DON'T we'll I'm they'd",
    "\U0001d49c\U0001d4b7 math 𠜎 rare",
]


def byte_level(name, normalizer, digits):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    byte = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte]) if digits else byte
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    return name, tokenizer, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "add_bos_token": False}


def sentencepiece(name, metaspace):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    words = [line.split() for line in TRAINING]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    ascii_only = ["▁" + word for line in words for word in line if word.isascii()]
    tokenizer.train_from_iterator(ascii_only, trainer)
    # Byte tokens are ordinary entries of the vocabulary in a real Llama tokenizer, not added tokens.
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return name, tokenizer, {"bos_token": "<s>", "eos_token": {"content": "</s>"}}


def main():
    for name, tokenizer, config in (
        byte_level("byte-level-digits", None, True),
        byte_level("byte-level-nfc", normalizers.NFC(), False),
        sentencepiece("sentencepiece", False),
        sentencepiece("metaspace", True),
    ):
        lines = []
        for text in LINES:
            encoding = tokenizer.encode(text, add_special_tokens=False)
            lines.append({"text": text, "ids": encoding.ids, "offsets": [list(pair) for pair in encoding.offsets]})
        with open(os.path.join(HERE, name + ".json"), "w", encoding="utf8") as file:
            json.dump({"tokenizer": json.loads(tokenizer.to_str()), "config": config, "lines": lines}, file, ensure_ascii=False)


main()
