"""Soft cosines of random bags over random vectors by gensim 4.4, every pair of terms kept (no limit of non-zeros).

usage: python make.py      (gensim; writes golden.json beside this file)
"""
import json
import os
import random

import numpy as np
from gensim.corpora import Dictionary
from gensim.models import KeyedVectors
from gensim.similarities import SparseTermSimilarityMatrix, WordEmbeddingSimilarityIndex

random.seed(3)
generator = np.random.default_rng(3)
TERMS, WIDTH, PAIRS = 14, 6, 24
vectors = generator.normal(size=(TERMS, WIDTH)).astype(np.float32)
words = [f"w{i:02d}" for i in range(TERMS)]
keyed = KeyedVectors(WIDTH)
keyed.add_vectors(words, vectors)
dictionary = Dictionary([[word] for word in words])


def bag() -> dict:
    chosen = random.sample(range(TERMS), random.randint(1, 6))
    return {i: random.randint(1, 3) for i in chosen}


def as_gensim(counts: dict) -> list:
    return sorted((dictionary.token2id[words[i]], n) for i, n in counts.items())


pairs = [(bag(), bag()) for _ in range(PAIRS)]
cases = []
for exponent, threshold in [(2.0, 0.0), (1.0, 0.0), (3.0, 0.2)]:
    index = WordEmbeddingSimilarityIndex(keyed, threshold=threshold, exponent=exponent)
    matrix = SparseTermSimilarityMatrix(index, dictionary, nonzero_limit=None)
    values = [
        float(matrix.inner_product(as_gensim(a), as_gensim(b), normalized=(True, True))) for a, b in pairs
    ]
    cases.append({"exponent": exponent, "threshold": threshold, "values": values})
golden = {
    "vectors": vectors.tolist(),
    "pairs": [[sorted(a.items()), sorted(b.items())] for a, b in pairs],
    "cases": cases,
}
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.json"), "w", encoding="utf8") as file:
    json.dump(golden, file)
