"""Folders of sentence-transformers and what it makes of them. Run: python test/golden/released/make.py

Made with sentence-transformers 6.2, transformers 5. The tiny models of ../families with modules around them:
  bert   cls pooling, Dense to 10 dimensions with tanh, Normalize; at most 12 tokens; prompts query and passage
  qwen3  last token, behind which the tokenizer puts </s>; Normalize; the prompt query is the default
Beside each folder's own files, golden.json: {"texts", "plain": vectors without a named prompt, "query": with it}
"""

import json
import pathlib
import shutil
import tempfile

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, processors

HERE = pathlib.Path(__file__).parent
FAMILIES = HERE.parent / "families"
TEXTS = ["the cat sat on a mat", "a dog", "one two three four five six seven eight nine", "The MAT, then."]


def save(name, model):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save(str(folder), create_model_card=False)
    for left in ("README.md", "generation_config.json"):
        (folder / left).unlink(missing_ok=True)
    encode = lambda **more: model.encode(TEXTS, batch_size=2, **more).tolist()
    golden = {"texts": TEXTS, "plain": encode(), "query": encode(prompt_name="query")}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


def bert():
    torch.manual_seed(3)
    transformer = Transformer(str(FAMILIES / "bert"), max_seq_length=12)
    modules = [transformer, Pooling(24, pooling_mode="cls"), Dense(24, 10, activation_function=torch.nn.Tanh()), Normalize()]
    save("bert", SentenceTransformer(modules=modules, prompts={"query": "that mat: ", "passage": ""}))


def qwen3():
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(FAMILIES / "qwen3", folder, dirs_exist_ok=True)
        path = f"{folder}/tokenizer.json"
        tokenizer = Tokenizer.from_file(path)
        ends = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), ends])
        tokenizer.save(path)
        transformer = Transformer(folder)
        transformer.tokenizer.pad_token = "</s>"
        modules = [transformer, Pooling(24, pooling_mode="lasttoken"), Normalize()]
        save("qwen3", SentenceTransformer(modules=modules, prompts={"query": "the other: "}, default_prompt_name="query"))


bert()
qwen3()
