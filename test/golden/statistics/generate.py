"""Golden values for src/evaluation: correlations, ranks, bootstrap intervals, similarities, tf-idf.

Run: python test/golden/statistics/generate.py   (numpy, scipy, scikit-learn; versions are written into the file)
Writes statistics.json beside itself. Tolerances: correlations, ranks and similarities 1e-12 (float64 throughout);
tf-idf similarities 1e-9 (ours are rounded to 12 digits); bootstrap bounds 0.02 (other random draws, 1,000 and 20,000 resamples).
"""

import json
import re
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.spatial.distance import cdist
from scipy.stats import bootstrap, pearsonr, rankdata, spearmanr
from sklearn.feature_extraction.text import CountVectorizer

random = np.random.default_rng(20261123)


def correlation_case(name, x, y):
    x, y = np.asarray(x, float), np.asarray(y, float)
    return {
        "name": name,
        "x": x.tolist(),
        "y": y.tolist(),
        "pearson": float(pearsonr(x, y)[0]),
        "spearman": float(spearmanr(x, y)[0]),
        "ranksX": rankdata(x).tolist(),
    }


x = random.normal(size=40)
cases = [
    correlation_case("no ties", x, 0.6 * x + random.normal(size=40)),
    correlation_case("gold scores in halves", np.round(2 * random.uniform(0, 5, 60)) / 2, random.uniform(-1, 1, 60)),
    correlation_case("many ties on both sides", random.integers(0, 3, 50), random.integers(0, 4, 50)),
    correlation_case("large offset", 1e9 + x, -x + random.normal(size=40) / 100),
    correlation_case("two values", [1, 2], [5, 3]),
    correlation_case("negative zero ties zero", [0.0, -0.0, 1.0, 2.0], [1, 1, 3, 2]),
]

gold = np.round(random.uniform(0, 5, 200) * 5) / 5
similarity = 0.3 * gold + random.normal(size=200)
interval = bootstrap(
    (gold, similarity),
    lambda a, b: spearmanr(a, b)[0],
    paired=True,
    vectorized=False,
    n_resamples=20000,
    method="percentile",
    rng=7,
).confidence_interval

vectors = random.normal(size=(6, 5)).astype(np.float32)
vectors[3] = vectors[2]
wide = vectors.astype(float)
first, second = [0, 2, 4, 1], [1, 3, 5, 1]
rows = list(zip(first, second))

pairs = [
    ["A man is playing a guitar.", "The man plays the guitar!"],
    ["It's 25% off -- now.", "Now it's 30% off, isn't it?"],
    ["Der Fluß fließt nach Süden.", "der fluß, der Fluß"],
    ["Two dogs run.", "A cat sleeps"],
    ["snow_man and Snow man", "SNOW MAN ."],
]
texts = [a for a, _ in pairs] + [b for _, b in pairs]
# Words (runs of letters and digits) and single punctuation marks, lower-cased.
terms = lambda text: re.findall(r"[^\W_]+|[^\w\s]|_", text.lower())
vectorizer = CountVectorizer(analyzer=terms)
counts = vectorizer.fit_transform(texts).toarray().astype(float)
idf = np.log(len(texts) / (counts > 0).sum(0))


def similarities(matrix):
    half = len(pairs)
    left, right = matrix[:half], matrix[half:]
    return {
        "cosine": [1 - float(cdist([a], [b], "cosine")[0, 0]) for a, b in zip(left, right)],
        "dot": [float(a @ b) for a, b in zip(left, right)],
        "euclidean": [-float(cdist([a], [b])[0, 0]) for a, b in zip(left, right)],
        "manhattan": [-float(cdist([a], [b], "cityblock")[0, 0]) for a, b in zip(left, right)],
    }


content = {
    "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__},
    "correlations": cases,
    "bootstrap": {
        "gold": gold.tolist(),
        "similarity": similarity.tolist(),
        "low": float(interval.low),
        "high": float(interval.high),
    },
    "similarities": {
        "data": [float(v) for v in vectors.ravel()],
        "dimensions": 5,
        "first": first,
        "second": second,
        "cosine": [1 - float(cdist(wide[[a]], wide[[b]], "cosine")[0, 0]) for a, b in rows],
        "dot": [float(wide[a] @ wide[b]) for a, b in rows],
        "euclidean": [-float(cdist(wide[[a]], wide[[b]])[0, 0]) for a, b in rows],
        "manhattan": [-float(cdist(wide[[a]], wide[[b]], "cityblock")[0, 0]) for a, b in rows],
    },
    "baselines": {
        "pairs": pairs,
        "terms": [terms(text) for text in texts],
        "bagOfWords": similarities(counts),
        "tfidf": similarities(counts * idf),
    },
}
path = Path(__file__).with_name("statistics.json")
path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
