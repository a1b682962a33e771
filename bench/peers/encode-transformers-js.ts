import { readFile } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { AutoModel, AutoTokenizer, env, type Tensor } from '@huggingface/transformers';
import type { Job, SideReport } from '../jobs.js';
import { ownPeakRssGb } from '../processes.js';

/**
 * Sentence embeddings with transformers.js on the folder that lmvec exported.
 * usage: node encode-transformers-js.js folder job.json
 * The library neither sorts nor batches; to be fair the texts are sorted by length and taken 32 at a time, as sentence-transformers does.
 */
const innerBatch = 32;

async function main(folder: string, jobPath: string): Promise<void> {
  const job = JSON.parse(await readFile(jobPath, 'utf8')) as Job;
  env.allowRemoteModels = false;
  env.localModelPath = dirname(resolve(folder));
  const name = basename(resolve(folder));
  const tokenizer = await AutoTokenizer.from_pretrained(name);
  const options = { intraOpNumThreads: job.threads, interOpNumThreads: 1 };
  const model = await AutoModel.from_pretrained(name, {
    dtype: 'fp32',
    device: 'cpu',
    session_options: options,
  });
  let seconds = 0;
  let realTokens = 0;
  let multipliedTokens = 0;
  const sample: number[][] = [];
  for (const [index, batch] of job.batches.entries()) {
    if (!('texts' in batch)) throw new Error('internal: encode jobs hold texts');
    const { texts } = batch;
    const order = texts.map((_, i) => i).sort((a, b) => (texts[b] ?? '').length - (texts[a] ?? '').length);
    const start = performance.now();
    let real = 0;
    let multiplied = 0;
    for (let from = 0; from < order.length; from += innerBatch) {
      const picked = order.slice(from, from + innerBatch);
      const inputs = tokenizer(
        picked.map((i) => texts[i] ?? ''),
        { padding: true, truncation: true, max_length: job.maxTokens },
      ) as { input_ids: Tensor; attention_mask: Tensor };
      const { sentence_embedding: vectors } = (await model(inputs)) as { sentence_embedding: Tensor };
      const rows = vectors.tolist() as number[][];
      multiplied += inputs.input_ids.size;
      for (const value of inputs.attention_mask.data as BigInt64Array) real += Number(value);
      if (index === 0) picked.forEach((i, row) => i < 4 && (sample[i] = rows[row] ?? []));
    }
    const elapsed = (performance.now() - start) / 1000;
    const phase = index < job.warmup ? 'warm-up' : `batch ${index - job.warmup}`;
    console.error(
      `transformers.js ${phase}: ${elapsed.toFixed(2)} s, ${real} tokens of ${multiplied} multiplied`,
    );
    if (index < job.warmup) continue;
    seconds += elapsed;
    realTokens += real;
    multipliedTokens += multiplied;
  }
  const report: SideReport = {
    seconds,
    realTokens,
    multipliedTokens,
    peakRssGb: await ownPeakRssGb(),
    sample,
  };
  console.log(JSON.stringify(report));
}

const [folder, jobPath] = process.argv.slice(2);
if (folder === undefined || jobPath === undefined)
  throw new Error('usage: encode-transformers-js folder job.json');
await main(folder, jobPath);
