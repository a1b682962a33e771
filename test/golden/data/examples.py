"""Examples in every form as one table, written by pyarrow. Run from anywhere: python test/golden/data/examples.py (writes examples.parquet, examples.json)"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

here = Path(__file__).parent
rows = [
    {
        'id': f'doc-{i}',
        'query': f'query {i}, "quoted"',
        'positive': f'positive {i} of näive 🙂',
        'negative': f'negative {i}',
        'negatives': [f'negative {i}.{k}' for k in range(1 + i % 3)],
        'scores': [0.9, *(round(0.1 * (i % 7) + 0.01 * k, 3) for k in range(1 + i % 3))],
        'label': i % 3,
        'score': round(0.37 * i, 3),
    }
    for i in range(12)
]
schema = pa.schema(
    [
        ('id', pa.string()),
        ('query', pa.string()),
        ('positive', pa.string()),
        ('negative', pa.string()),
        ('negatives', pa.list_(pa.string())),
        ('scores', pa.list_(pa.float64())),
        ('label', pa.int64()),
        ('score', pa.float64()),
    ]
)
pq.write_table(pa.Table.from_pylist(rows, schema=schema), here / 'examples.parquet', compression='snappy')
(here / 'examples.json').write_text(json.dumps(rows, ensure_ascii=False) + '\n')
