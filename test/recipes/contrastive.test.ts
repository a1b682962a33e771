import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig, parseConfig } from '../../src/config/load.js';
import { Embedder } from '../../src/embedder/embedder.js';
import { evaluate } from '../../src/recipes/evaluate.js';
import { inspectData } from '../../src/recipes/inspect-data.js';
import { openTrainingParts } from '../../src/recipes/open-training-parts.js';
import { runSchema } from '../../src/recipes/schema.js';
import { train } from '../../src/recipes/train.js';
import { exists } from '../../src/shared/files.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lmvec-contrastive-'));
  await writeFile(
    join(folder, 'triples.tsv'),
    'anchor\tpositive\thard_negative\n' +
      Array.from({ length: 12 }, (_, i) => `query ${i} of cats\tanswer ${i} on cats\ta dog ${i}\n`).join(''),
  );
  await writeFile(
    join(folder, 'scored.jsonl'),
    Array.from({ length: 9 }, (_, i) =>
      JSON.stringify({ sentence1: `a ${i}`, sentence2: `b ${i}`, score: i % 5 }),
    ).join('\n'),
  );
  await writeFile(
    join(folder, 'classes.csv'),
    `text,label\n${Array.from({ length: 12 }, (_, i) => `item ${i},${i % 3}\n`).join('')}`,
  );
  await writeFile(
    join(folder, 'mined.jsonl'),
    Array.from({ length: 8 }, (_, i) =>
      JSON.stringify({
        query: `q ${i}`,
        positive: `p ${i}`,
        negatives: [`n ${i}`, `m ${i}`],
        scores: [9, i, 1],
      }),
    ).join('\n'),
  );
  await writeFile(
    join(folder, 'held.tsv'),
    'score\tsentence1\tsentence2\n1\tQuery 3, of CATS\tx\n2\ty\ta dog 5\n',
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const yaml = (): string => `
model: embedded
pooling: { type: latentAttention, latents: 8, heads: 2, headDimension: 8, feedForwardMultiple: 0.5 }
prompts: { question: "Instruct: answer\\nQuery: {text}" }
data:
  decontaminate: [${join(folder, 'held.tsv')}]
  sets:
    triples: { kind: triplets, path: ${join(folder, 'triples.tsv')}, prompts: { query: question } }
    scored: { kind: scoredPairs, path: ${join(folder, 'scored.jsonl')} }
    classes: { kind: classes, path: ${join(folder, 'classes.csv')}, inBatch: false }
    mined: { kind: tuples, path: ${join(folder, 'mined.jsonl')}, columns: { teacherScores: scores } }
stages:
  first: { objective: contrastive, sets: [triples, scored, classes], scale: 20, hardNegatives: 2, maxSteps: 4, batchTexts: 5, maxTokens: 32, learningRate: 1e-3 }
  second: { objective: contrastive, sets: [mined], loss: distillKl, hardNegatives: 2, scale: 20, maxSteps: 2, batchTexts: 4, chunkTexts: 3, maxTokens: 32, learningRate: 1e-3 }
evaluate: { tasks: [WordNetSTS], split: dev, everyNthRow: 100, everySteps: 4 }
export: { files: [float32] }
train: { threads: 1 }
output: ${join(folder, 'run')}
`;

const silent = { update: () => undefined, message: () => undefined, end: () => undefined };
const parsed = (...overrides: string[]) =>
  parseConfig(yaml(), { file: 'run.yaml', overrides, schema: runSchema }).config;

describe('a run of contrastive stages', () => {
  it('trains on several kinds of sets, exports its prompts, masks instructions in use as in training', async () => {
    const result = await train(parsed(), { progress: silent });
    expect(result.status).toBe('finished');
    const record = JSON.parse(await readFile(join(folder, 'run', 'run.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    expect(record['examples']).toMatchObject({
      triples: { kept: 11, decontaminated: 1 },
      scored: { kept: 9, decontaminated: 0 },
      classes: { kept: 12 },
      mined: { kept: 8 },
    });
    expect(record['texts']).toEqual({ kept: 0, decontaminated: 0 });
    const embedderFolder = join(folder, 'run', 'embedder');
    // Two inputs do not say which tokens are the instruction's: right or not written.
    expect(await exists(join(embedderFolder, 'onnx', 'model.onnx'))).toBe(false);
    expect(await exists(join(embedderFolder, 'onnx', 'model_pool_mask.onnx'))).toBe(true);
    expect(await readFile(join(embedderFolder, 'README.md'), 'utf8')).toContain('prompt `question`');
    const [exported, trained] = [
      await Embedder.open(embedderFolder),
      await Embedder.open(join(folder, 'run', 'best')),
    ];
    for (const options of [{}, { promptName: 'question' }, { prompt: 'question' }]) {
      const [a, b] = [
        await exported.encode('why is that', options),
        await trained.encode('why is that', options),
      ];
      expect(Math.max(...a.data.map((value, i) => Math.abs(value - b.data[i]!)))).toBeLessThan(1e-4);
    }
    const [bare, asked] = [
      await exported.encode('why is that'),
      await exported.encode('why is that', { promptName: 'question' }),
    ];
    expect(exported.similarity(bare, asked).data[0]).toBeLessThan(0.9999);
    await expect(exported.encode('x', { promptName: 'questio' })).rejects.toThrow(/did you mean question\?/);
    await Promise.all([exported.dispose(), trained.dispose()]);
  });

  it('evaluates each task with the prompt named like it, while training, from the run folder and exported', async () => {
    const output = join(folder, 'tasks');
    const judged = join(folder, 'judged.tsv');
    const rows = Array.from({ length: 501 }, (_, i) => `${(i / 100) % 5}\ta cat ${i}\tthe dog ${i}\n`);
    await writeFile(judged, `score\tsentence1\tsentence2\n${rows.join('')}`);
    const config = parsed(
      `output=${output}`,
      'pooling={type: last}',
      'prompts={question: "Ask: {text}", STS: "Same meaning? {text}", judged: "Judge: {text}"}',
      `evaluate.tasks=[WordNetSTS, ${judged}]`,
      'stages.first.maxSteps=4',
      'stages.second.maxSteps=1',
      'stages.second.learningRate=1e-9',
    );
    await train(config, { progress: silent });
    const kept = JSON.parse(await readFile(join(output, 'results', 'best.json'), 'utf8')) as {
      task: string;
      prompt?: string;
      scored: { similarity: number[] };
    }[];
    expect(kept.map(({ task, prompt }) => [task, prompt])).toEqual([
      ['WordNetSTS', 'STS'],
      ['judged', 'judged'],
    ]);
    const exported = join(output, 'embedder');
    const prompts = JSON.parse(
      await readFile(join(exported, 'config_sentence_transformers.json'), 'utf8'),
    ) as unknown;
    expect(prompts).toMatchObject({
      prompts: { question: 'Ask: ', STS: 'Same meaning? ', judged: 'Judge: ' },
    });
    const { tasks, split, folder: sets, protocol, everyNthRow } = config.evaluate;
    const selection = { tasks, split, folder: sets, protocol, everyNthRow, baselines: false, bootstrap: 0 };
    for (const model of [join(output, 'best'), exported]) {
      const report = await evaluate({ ...selection, model: { model } });
      for (const [index, { scored, prompt }] of report.rows[0]!.results.entries()) {
        expect(prompt).toBe(kept[index]!.prompt);
        expect(scored.similarity.length).toBe(kept[index]!.scored.similarity.length);
        for (const [i, value] of scored.similarity.entries())
          expect(Math.abs(value - kept[index]!.scored.similarity[i]!)).toBeLessThan(1e-4);
      }
    }
    // A prompt that is asked for is every task's.
    const other = await evaluate({ ...selection, model: { model: exported, prompt: 'question' } });
    expect(other.rows[0]!.results.map(({ prompt }) => prompt)).toEqual([undefined, undefined]);
    const [own] = kept;
    const asked = other.rows[0]!.results[0]!.scored.similarity;
    expect(
      Math.max(...asked.map((value, i) => Math.abs(value - own!.scored.similarity[i]!))),
    ).toBeGreaterThan(1e-3);
  });

  it('writes a graph with two inputs, and prompts for other tools, where every real token is pooled', async () => {
    const output = join(folder, 'last');
    const config = parsed(
      `output=${output}`,
      'pooling={type: last}',
      'prompts={question: "Instruct: answer\\nQuery: {text}", passage: "{text}"}',
      'stages.first.maxSteps=1',
      'stages.second.maxSteps=1',
    );
    await train(config, { progress: silent });
    expect(await exists(join(output, 'embedder', 'onnx', 'model.onnx'))).toBe(true);
    const told = JSON.parse(
      await readFile(join(output, 'embedder', 'config_sentence_transformers.json'), 'utf8'),
    ) as unknown;
    expect(told).toMatchObject({
      prompts: { question: 'Instruct: answer\nQuery: ', passage: '' },
      default_prompt_name: null,
    });
    const [exported, trained] = [
      await Embedder.open(join(output, 'embedder')),
      await Embedder.open(join(output, 'best')),
    ];
    for (const promptName of ['question', 'passage']) {
      const [a, b] = [
        await exported.encode('why', { promptName }),
        await trained.encode('why', { promptName }),
      ];
      expect(Math.max(...a.data.map((value, i) => Math.abs(value - b.data[i]!)))).toBeLessThan(1e-4);
    }
    await Promise.all([exported.dispose(), trained.dispose()]);
  });

  it('shows what is read: roles, masks, the text as it is embedded', async () => {
    const shown = await inspectData(parsed('stages.first.sets=[triples]'), { count: 2 });
    expect(shown).toMatch(/set triples: 11 examples, weight 11, 1 with texts of evaluation sets/);
    expect(shown).toMatch(
      /query\n\s+text: "query \d+ of cats"\n\s+embedded: "‹Instruct: answer\\nQuery:› query/,
    );
    expect(shown).toMatch(/negative 1\n\s+text: "a dog \d+"/);
    expect(shown).toMatch(/positive\n\s+text: "answer \d+ on cats"\n\s+embedded: "answer/);
  });

  it('shows the batches that are trained on', async () => {
    const config = parsed('stages.first.sets=[triples]', 'output=none');
    const parts = await openTrainingParts(config);
    const stage = await parts.createStage({ name: 'first', stage: config.stages['first']!, previous: [] });
    const { firstBatch } = await stage.describe();
    const shown = await inspectData(config, { count: 5 });
    const queries = [...shown.matchAll(/query\n\s+text: "(.*)"/g)].map(([, text]) => text);
    expect(firstBatch.slice(0, 5).map((text) => text.split('› ')[1])).toEqual(queries);
    await stage.dispose();
    await parts.close();
  });

  it('names mistakes with their places', () => {
    const message = (...overrides: string[]): string => {
      try {
        parsed(...overrides);
        return '';
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(message('prompt=questio')).toMatch(
      /prompt=questio: got "questio", expected one of prompts \(question\).*did you mean question\?/,
    );
    expect(message('stages.second.sets=[mind]')).toMatch(
      /got "mind", expected one of data.sets: .*did you mean mined\?/,
    );
    expect(message('data.sets.mined.kind=tuple')).toMatch(/expected pairs \| triplets \| tuples/);
    expect(message('data.sets={}')).toMatch(/at least one set of examples/);
    expect(message('stages.first.scale=0')).toMatch(/scale/);
  });

  it('refuses examples without anything to be told from', async () => {
    const config = parsed(
      'stages.first.inBatch=false',
      'stages.first.hardNegatives=0',
      `output=${join(folder, 'no')}`,
    );
    await expect(train(config, { progress: silent })).rejects.toThrow(/needs negatives of its own/);
    // Not the first example alone is looked at, and no later stage is reached before.
    const lines = (await readFile(join(folder, 'mined.jsonl'), 'utf8')).split('\n');
    const [path, bare] = [
      join(folder, 'some.jsonl'),
      { ...(JSON.parse(lines[5]!) as object), negatives: [], scores: [9] },
    ];
    await writeFile(path, [...lines.slice(0, 5), JSON.stringify(bare), ...lines.slice(6)].join('\n'));
    const some = (...more: string[]) =>
      train(parsed(`data.sets.mined.path=${path}`, `output=${join(folder, 'no')}`, ...more), {
        progress: silent,
      });
    await expect(some()).rejects.toThrow(
      /data\.sets\.mined: distillKl tells a positive from negatives: .*1 of 8 examples without any/,
    );
    await expect(some('stages.second.loss=infoNce', 'stages.second.inBatch=false')).rejects.toThrow(
      /inBatch: false, hardNegatives: 2, and 1 of 8 examples without any.*randomNegatives/,
    );
    await expect(
      some('data.sets.mined.columns={}', 'data.sets.mined.path=' + join(folder, 'mined.jsonl')),
    ).rejects.toThrow(/distillKl learns the scores of a teacher: .*8 of 8 examples without any/);
    await expect(
      some('stages.second.loss=infoNce', 'stages.second.matryoshka={dimensions: [999]}'),
    ).rejects.toThrow(/a Matryoshka length is longer than the embedding/);
    expect(await exists(join(folder, 'no'))).toBe(false);
    const broken = parsed('data.sets.scored.columns.score=sentence1', `output=${join(folder, 'no')}`);
    await expect(train(broken, { progress: silent })).rejects.toThrow(
      /scored\.jsonl:1: column sentence1: got "a 0", expected a number/,
    );
  });
});

it('the shipped recipe says what it reads', async () => {
  const file = join(import.meta.dirname, '../../configs/nv-embed.yaml');
  const { config } = await loadConfig(file, ['stages.retrieval.sets=[glosses]'], runSchema);
  expect(await inspectData(config, { batch: 3, count: 1 })).toContain('‹Instruct: Given a definition');
}, 240_000);
