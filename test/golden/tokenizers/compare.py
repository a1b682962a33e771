"""Records what Python's `tokenizers` makes of every string of strings.json.

usage: python compare.py OUTPUT TOKENIZER...
  TOKENIZER  a folder with tokenizer.json in it, or SmolLM2 as a GGUF file (needs transformers and gguf)
  OUTPUT     a folder: NAME.json for each tokenizer NAME, {"tokenizers": version, "ids": [[...], ...]}, no special tokens added
Nothing is downloaded. Real tokenizers have licences of their own: only ids of those that come with lmvec, and of SmolLM2 (Apache-2.0), are kept here:
  python compare.py . ../../../assets/tiny ../../../../shared/models/SmolLM2-135M-Instruct.Q4_1.gguf   (kept as smollm2.json)
The others are compared by test/data/real-tokenizers.test.ts in the folder that LMVEC_TOKENIZERS names: NAME/tokenizer.json, and NAME.json beside it.
"""
import json
import os
import sys

import tokenizers

HERE = os.path.dirname(os.path.abspath(__file__))


def open_tokenizer(path):
    if path.endswith(".gguf"):
        from transformers import AutoTokenizer

        folder, file = os.path.split(os.path.abspath(path))
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file).backend_tokenizer
        # transformers takes vocabulary and merges of the file and leaves out how SmolLM splits digits (tokenizer.ggml.pre "smollm").
        split = tokenizers.pre_tokenizers
        tokenizer.pre_tokenizer = split.Sequence([split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False)])
        return tokenizer
    return tokenizers.Tokenizer.from_file(os.path.join(path, "tokenizer.json"))


def main():
    output, *paths = sys.argv[1:]
    with open(os.path.join(HERE, "strings.json"), encoding="utf8") as file:
        strings = json.load(file)
    for path in paths:
        name = os.path.basename(os.path.normpath(path))
        tokenizer = open_tokenizer(path)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in strings]
        with open(os.path.join(output, name + ".json"), "w", encoding="utf8") as file:
            json.dump({"tokenizers": tokenizers.__version__, "ids": ids}, file, separators=(",", ":"))
        print(name, sum(map(len, ids)), "tokens")


main()
