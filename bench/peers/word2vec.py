"""Word2Vec by gensim on a corpus of one sentence a line, its words between spaces; and the judge of both sides: Spearman on the word pairs that
gensim's package ships. Usage: word2vec.py train JOB.json | judge VECTORS.txt [VECTORS.txt ...]"""
import json
import sys
import time

from gensim.models import KeyedVectors, Word2Vec
from gensim.models.word2vec import LineSentence
from gensim.test.utils import datapath


def spearman(vectors: KeyedVectors) -> dict:
    """Pairs with an unknown word are left out, as gensim does by default."""
    scores = {}
    for name, file in {"wordSim353": "wordsim353.tsv", "simLex999": "simlex999.txt"}.items():
        _, correlation, unknown = vectors.evaluate_word_pairs(datapath(file))
        scores[name] = {"spearman": round(float(correlation[0]), 4), "unknownPercent": round(float(unknown), 1)}
    return scores


def train(path: str) -> None:
    with open(path, encoding="utf8") as file:
        job = json.load(file)
    sentences = list(LineSentence(job["corpus"]))
    model = Word2Vec(
        vector_size=job["dimensions"],
        sg=1 if job["architecture"] == "skipGram" else 0,
        window=job["window"],
        negative=job["negatives"],
        sample=job["subsample"],
        alpha=job["learningRate"],
        min_alpha=0.0001,
        min_count=job["minimumCount"],
        seed=job["seed"],
        workers=job["workers"],
    )
    model.build_vocab(sentences)
    start = time.perf_counter()
    model.train(sentences, total_examples=model.corpus_count, epochs=job["epochs"])
    seconds = time.perf_counter() - start
    words = sum(int(model.wv.get_vecattr(word, "count")) for word in model.wv.index_to_key) * job["epochs"]
    model.wv.save_word2vec_format(job["vectors"])
    print(json.dumps({"vocabulary": len(model.wv), "words": words, "seconds": seconds}))


def judge(paths: list[str]) -> None:
    print(json.dumps([spearman(KeyedVectors.load_word2vec_format(path)) for path in paths]))


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "train":
        train(rest[0])
    else:
        judge(rest)
