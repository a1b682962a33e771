import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { z } from 'zod';
import { loadConfig, parseConfig } from '../../src/config/load.js';
import { memorySizeSchema, parseMemorySize } from '../../src/config/sizes.js';
import { UserError } from '../../src/shared/errors.js';

const schema = z.strictObject({
  model: z.union([
    z.string(),
    z.strictObject({ path: z.string(), residentPrecision: z.enum(['stored', 'float32']) }),
  ]),
  attention: z.union([z.enum(['causal', 'bidirectional']), z.strictObject({ lastLayers: z.int().min(1) })]),
  memory: memorySizeSchema.optional(),
  list: z.array(z.string()).optional(),
  stages: z.record(
    z.string(),
    z.discriminatedUnion('objective', [
      z.strictObject({ objective: z.literal('mntp'), maskRatio: z.number().gt(0).lte(1).default(0.2) }),
      z.strictObject({ objective: z.literal('simcse'), maxSteps: z.int().min(1) }),
    ]),
  ),
});

const good = `# a comment
model: embedded
attention: bidirectional
stages:
  mntp: {objective: mntp}
  simcse:
    objective: simcse
    maxSteps: 10
`;

const parse = (text: string, ...overrides: string[]) =>
  parseConfig(text, { file: 'run.yaml', overrides, schema });

function problems(text: string, ...overrides: string[]): string[] {
  try {
    parse(text, ...overrides);
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as Error).message.split('\n');
  }
  throw new Error('no problem was reported');
}

describe('a good configuration', () => {
  it('gives its values with defaults', () => {
    const { config } = parse(good);
    expect(config.stages['mntp']).toEqual({ objective: 'mntp', maskRatio: 0.2 });
    expect(Object.keys(config.stages)).toEqual(['mntp', 'simcse']);
  });

  it('takes overrides: numbers, text, flow lists and mappings, new keys, list positions', () => {
    const { config } = parse(
      good,
      'stages.simcse.maxSteps=200',
      'stages.third={objective: simcse, maxSteps: 3}',
      'attention={lastLayers: 2}',
      'list=[a, b]',
      'list.1=c',
      'memory=4GB',
      'model=path/to/model.gguf',
    );
    expect(config).toMatchObject({ attention: { lastLayers: 2 }, list: ['a', 'c'], memory: 4e9 });
    expect(config.model).toBe('path/to/model.gguf');
    expect(config.stages['simcse']).toEqual({ objective: 'simcse', maxSteps: 200 });
    expect(config.stages['third']).toEqual({ objective: 'simcse', maxSteps: 3 });
  });

  it('keeps override text that only looks like YAML', () => {
    const frame = 'This sentence : "{text}" means in one word:"';
    expect(parse(good, `model=${frame}`).config.model).toBe(frame);
    expect(parse(good, 'model=a: b').config.model).toBe('a: b');
    expect(parse(good, 'model="quoted: text"').config.model).toBe('quoted: text');
    expect(parse(good, 'model=a=b').config.model).toBe('a=b');
  });

  it('reads any plain text back through an override', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(parse(good, `model=${JSON.stringify(text)}`).config.model).toBe(text);
      }),
      { numRuns: 200 },
    );
  });

  it('says where a value was written', () => {
    const { document } = parse(good, 'stages.simcse.maxSteps=5');
    expect(document.locate(['stages', 'simcse', 'objective']).where).toBe(
      'run.yaml:7:5 stages.simcse.objective',
    );
    expect(document.locate(['stages', 'simcse', 'maxSteps']).where).toBe('override stages.simcse.maxSteps=5');
    expect(document.locate(['model']).where).toBe('run.yaml:2:1 model');
  });
});

describe('a bad configuration', () => {
  it('reports every problem at once, each with its place, in the order of the file', () => {
    const text = `modle: embedded
attention: bidirectionall
memory: 4XB
stages:
  mntp: {objective: mntp, maskratio: 0.2, maskRatio: 2}
  simcse:
    objective: simsce
  other:
    objective: simcse
    maxSteps: many
`;
    expect(problems(text, 'list=5', 'stages.simcse.objective=mntpp', 'oops')).toEqual([
      'run.yaml:1:1 model: got nothing, expected text or a mapping',
      'run.yaml:1:1 modle: unknown key "modle" (did you mean model?)',
      'run.yaml:2:1 attention: got "bidirectionall", expected causal | bidirectional or a mapping (did you mean bidirectional?)',
      'run.yaml:3:1 memory: got "4XB", expected a memory size such as 4GB or 512MiB',
      'run.yaml:5:27 stages.mntp.maskratio: unknown key "maskratio" (did you mean maskRatio?)',
      'run.yaml:5:43 stages.mntp.maskRatio: got 2, expected a number of at most 1',
      'run.yaml:10:5 stages.other.maxSteps: got "many", expected a number',
      'override list=5: got 5, expected a list',
      'override stages.simcse.objective=mntpp: got "mntpp", expected mntp | simcse (did you mean mntp?)',
      'override oops: expected key.path=value',
    ]);
  });

  it('finds the misspelt name of an override', () => {
    expect(problems(good, 'stages.simsce.maxSteps=200')).toEqual([
      'override stages.simsce.maxSteps=200: got nothing, expected mntp | simcse (did you mean stages.simcse?)',
    ]);
    expect(problems(good, 'stages.simcse.maxStep=200')).toEqual([
      'override stages.simcse.maxStep=200: unknown key "maxStep" (did you mean maxSteps?)',
    ]);
    expect(problems(good, 'model.path=x')[0]).toMatch(
      /^override model.path=x: model is "embedded", not a mapping/,
    );
  });

  it('goes into the alternative of a union that fits', () => {
    expect(problems(good, 'attention={lastLayers: 0}')).toEqual([
      'override attention={lastLayers: 0}: got 0, expected a number of at least 1',
    ]);
    expect(problems(good, 'attention={lastLayer: 1}')).toEqual([
      'override attention={lastLayer: 1}: got nothing, expected a number',
      'override attention={lastLayer: 1}: unknown key "lastLayer" (did you mean lastLayers?)',
    ]);
  });

  it('reports YAML that cannot be read with its place', () => {
    expect(problems('model: [a, b\nattention: causal\n')[0]).toMatch(/^run\.yaml:\d+:\d+: not valid YAML: /);
    expect(problems(`${good}model: other\n`)).toEqual([
      'run.yaml:9:1: not valid YAML: Map keys must be unique',
    ]);
    expect(problems(good, 'list=[a')[0]).toMatch(/^override list=\[a: the value is not valid YAML: /);
    expect(problems('')[0]).toMatch(/^run.yaml:1:1 model: got nothing/);
    expect(problems('just text')).toEqual(['run.yaml:1:1: got "just text", expected a mapping']);
  });

  it('does not expand a document of aliases', () => {
    const levels = Array.from(
      { length: 12 },
      (_, i) =>
        `a${i}: &a${i} [${Array(10)
          .fill(i === 0 ? 'x' : `*a${i - 1}`)
          .join(', ')}]`,
    );
    expect(problems(levels.join('\n'))[0]).toMatch(/alias/i);
  });

  it('does not let keys reach the prototype', () => {
    expect(problems(good, '__proto__.polluted=1')[0]).toMatch(/unknown key|__proto__/);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('never throws anything but a UserError, whatever the text', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.jsonValue().map((value) => stringify(value)),
        ),
        fc.array(fc.string(), { maxLength: 2 }),
        (text, overrides) => {
          expect(problems(text, ...overrides).length).toBeGreaterThan(0);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('loadConfig', () => {
  it('reads a file and refuses one that is missing', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'lmvec-config-')), 'run.yaml');
    await expect(loadConfig(file, [], schema)).rejects.toThrow(`${file}: config not found`);
    await writeFile(file, good);
    expect((await loadConfig(file, ['attention=causal'], schema)).config.attention).toBe('causal');
  });
});

describe('memory sizes', () => {
  it.each([
    ['4GB', 4e9],
    ['1.5 gb', 1.5e9],
    ['512MiB', 512 * 1024 * 1024],
    [1000, 1000],
    ['1000', 1000],
    ['4', 4],
    ['GB', undefined],
    ['-1GB', undefined],
    ['0', undefined],
    ['4GBs', undefined],
  ])('%s is %s bytes', (text, bytes) => {
    expect(parseMemorySize(text)).toBe(bytes);
  });
});
