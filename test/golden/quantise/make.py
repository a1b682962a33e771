"""Quantised vectors as sentence-transformers 6 makes them. Run from the repository's root: python test/golden/quantise/make.py

golden.json: {"rows", "dimensions", "vectors": [N * E] float32, "calibration": [M * E] float32, "quantised": {precision: [N * width]},
"cosines": {precision: cosine of row 0 with every row, as EmbeddingSimilarityEvaluator takes them}}, ranges.npy: [2, E] of the calibration vectors.
Some vectors lie outside the ranges, some numbers are exactly 0, one never varies.
"""

import json
from pathlib import Path

import numpy as np
from sentence_transformers.util import quantize_embeddings

N, M, E = 7, 12, 13


def main():
    folder = Path(__file__).parent
    random = np.random.default_rng(20261124)
    vectors = random.normal(size=(N, E)).astype(np.float32)
    vectors[2, 3:6] = 0
    calibration = (0.7 * random.normal(size=(M, E))).astype(np.float32)
    vectors[:, 9] = calibration[:, 9] = 0.25
    vectors[0] = calibration[0]
    ranges = np.vstack((calibration.min(axis=0), calibration.max(axis=0)))
    np.save(folder / "ranges.npy", ranges)
    quantised, cosines = {}, {}
    for precision in ["int8", "uint8", "binary", "ubinary"]:
        made = quantize_embeddings(vectors, precision, ranges=ranges)
        quantised[precision] = made.ravel().tolist()
        seen = made.astype(np.int16)
        if precision == "binary":
            seen = seen + 128
        if precision.endswith("binary"):
            seen = np.unpackbits(seen.astype(np.uint8), axis=1)
        seen = seen.astype(np.float64)
        unit = seen / np.linalg.norm(seen, axis=1, keepdims=True)
        cosines[precision] = (unit @ unit[0]).tolist()
    golden = {"rows": N, "dimensions": E, "vectors": vectors.ravel().tolist(), "calibration": calibration.ravel().tolist(), "quantised": quantised, "cosines": cosines}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


main()
