"""Vectors that other tools make of a folder that `lmvec export` wrote; each tool adds its own to golden.json.

usage: lmvec export --model embedded --attention bidirectional --output FOLDER --formats float32,fp16,int8,q4
       python make.py FOLDER onnxruntime             (onnxruntime, tokenizers)
       python make.py FOLDER safetensors             (sentence-transformers 6)
       python make.py FOLDER onnx                    (sentence-transformers 5.7, optimum-onnx 0.1.0, transformers 4.57)
"""
import json
import os
import sys

import numpy as np

TEXTS = ["A man plays a guitar.", "Someone is making music.", "The cat sat on the mat near an old ox."]
FILES = ["model.onnx", "model_fp16.onnx", "model_quantized.onnx", "model_q4.onnx"]
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.json")


def by_onnxruntime(folder: str) -> dict:
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    vectors = {}
    for name in FILES:
        session = onnxruntime.InferenceSession(os.path.join(folder, "onnx", name), providers=["CPUExecutionProvider"])
        rows = []
        for text in TEXTS:
            ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
            feed = {i.name: ids if i.name == "input_ids" else np.ones_like(ids) for i in session.get_inputs()}
            rows.append(session.run(["sentence_embedding"], feed)[0][0])
        vectors[f"onnxruntime {onnxruntime.__version__}, {name}"] = np.array(rows)
    return vectors


def by_sentence_transformers(folder: str, backend: str) -> dict:
    import sentence_transformers

    version = f"sentence-transformers {sentence_transformers.__version__}"
    open_model = lambda **more: sentence_transformers.SentenceTransformer(folder, device="cpu", **more)
    if backend == "safetensors":
        return {f"{version}, model.safetensors": open_model().encode(TEXTS)}
    provider = {"provider": "CPUExecutionProvider"}
    return {
        f"{version}, {name}": open_model(backend="onnx", model_kwargs={"file_name": name, **provider}).encode(TEXTS)
        for name in FILES
    }


def main() -> None:
    folder, tool = sys.argv[1], sys.argv[2]
    vectors = by_onnxruntime(folder) if tool == "onnxruntime" else by_sentence_transformers(folder, tool)
    golden = {"texts": TEXTS, "vectors": {}}
    if os.path.exists(GOLDEN):
        with open(GOLDEN, encoding="utf8") as file:
            golden = json.load(file)
    for name, rows in vectors.items():
        golden["vectors"][name] = [[round(float(x), 8) for x in row] for row in rows]
    with open(GOLDEN, "w", encoding="utf8") as file:
        json.dump(golden, file)


main()
