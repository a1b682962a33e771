"""Checks that peft gives an exported folder's model from its adapter and the untouched base.

usage: lmvec export --model "test/golden/llama/base + test/golden/peft/chain/mntp + test/golden/peft/chain/simcse" \\
         --attention bidirectional --weights adapter --output FOLDER
       python test/golden/peft/exported.py FOLDER     (peft, transformers 5, onnxruntime, sentence-transformers 6)

Compares the merged matrices with chain/merged.safetensors (two adapters merged one after the other by peft), the hidden states with those
of the ONNX file, and, where the folder has a modules.json, sentence-transformers' vectors of a copy without config.json with the ONNX file's.
"""

import pathlib
import shutil
import sys
import tempfile

import numpy as np
import onnxruntime
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

HERE = pathlib.Path(__file__).parent
folder = pathlib.Path(sys.argv[1])


def difference(a, b):
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def opened():
    config = AutoConfig.from_pretrained(folder)
    base = AutoModel.from_pretrained(HERE.parent / "llama" / "base", config=config)
    return PeftModel.from_pretrained(base, folder)


session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
ids = np.array([[3, 4, 5, 6, 7, 8, 9]], dtype=np.int64)
hidden, vector = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
with torch.no_grad():
    theirs = opened()(input_ids=torch.tensor(ids)).last_hidden_state
print("hidden states", difference(hidden, theirs))
assert difference(hidden, theirs) < 1e-5

merged = opened().merge_and_unload().state_dict()
golden = load_file(HERE / "chain" / "merged.safetensors")
matrices = max(difference(merged[name.removeprefix("model.")], value) for name, value in golden.items())
print("merged matrices", len(golden), matrices)
assert matrices < 1e-6

if (folder / "modules.json").exists():
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        (pathlib.Path(copy) / "config.json").unlink()
        model = SentenceTransformer(copy, device="cpu")
        texts = ["the cat sat on a mat", "an old ox"]
        vectors = model.encode(texts)
        for text, row in zip(texts, vectors):
            ids = np.array([model.tokenizer(text)["input_ids"]], dtype=np.int64)
            own = session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
            print("sentence-transformers", difference(own, row))
            assert difference(own, row) < 1e-5
