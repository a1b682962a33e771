"""Vectors that other tools make of an exported folder with special tokens; one text is longer than the model takes.

usage: npx tsx test/golden/special-tokens/export.ts LAST last; npx tsx test/golden/special-tokens/export.ts MEAN mean
       python test/golden/special-tokens/openers.py LAST MEAN   (onnxruntime, tokenizers, sentence-transformers 6)
openers.json  {"texts", "vectors": {TOOL: {"last" | "mean": [[float]]}}}; sentence-transformers has no module for the mean
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime
import sentence_transformers
from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).parent
TEXTS = ["the cat sat on a mat", "a", "the cat", 'an old ox and the other cat: "at, the. mat"']


def by_onnxruntime(folder):
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(json.loads(pathlib.Path(folder, "tokenizer_config.json").read_text())["model_max_length"])
    session = onnxruntime.InferenceSession(f"{folder}/onnx/model.onnx", providers=["CPUExecutionProvider"])
    rows = []
    for text in TEXTS:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        rows.append(session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0])
    return np.array(rows)


def by_sentence_transformers(folder):
    model = sentence_transformers.SentenceTransformer(folder, device="cpu")
    tokens = model.tokenize(TEXTS)["input_ids"]
    print(tokens)
    return model.encode(TEXTS)


last, mean = sys.argv[1:]
vectors = {
    f"onnxruntime {onnxruntime.__version__}": {"last": by_onnxruntime(last), "mean": by_onnxruntime(mean)},
    f"sentence-transformers {sentence_transformers.__version__}, model.safetensors": {"last": by_sentence_transformers(last)},
}
rounded = {
    tool: {name: [[round(float(x), 8) for x in row] for row in rows] for name, rows in each.items()} for tool, each in vectors.items()
}
(HERE / "openers.json").write_text(json.dumps(dict(texts=TEXTS, vectors=rounded)) + "\n")
for name in ("last",):
    a, b = (each[name] for each in vectors.values())
    print(name, float(np.abs(a - b).max()))
