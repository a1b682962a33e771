"""Checks that an exported folder's vectors are those of its tokens' mean and the float32 head of 2_Dense, in every ONNX file.

usage: lmvec export --model RUN/best --output FOLDER --formats float32,fp16,int8,q4     (a mean-pooled model with a dense head)
       python test/golden/openers/dense.py FOLDER                                       (onnxruntime, safetensors)
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

folder = pathlib.Path(sys.argv[1])
head = load_file(folder / "2_Dense" / "model.safetensors")
tanh = "Tanh" in json.loads((folder / "2_Dense" / "config.json").read_text())["activation_function"]
ids = np.array([[3, 9, 4, 7, 5, 11, 6]], dtype=np.int64)
for path in sorted((folder / "onnx").glob("*.onnx")):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    hidden, own = session.run(["last_hidden_state", "sentence_embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    vector = hidden.mean(axis=1) @ head["linear.weight"].T + head.get("linear.bias", 0)
    vector = np.tanh(vector) if tanh else vector
    difference = float(np.abs(own - vector / np.linalg.norm(vector)).max())
    print(path.name, difference)
    assert difference < 1e-6, path
