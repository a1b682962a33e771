import { join } from 'node:path';

/** What every run is given. */
export interface RunSettings {
  readonly model: string;
  readonly data: string;
  readonly output: string;
  /** In the place of each config's own number of steps: to try the script out. */
  readonly steps?: number;
}

/** One training run: a config with overrides, into a folder of its own. */
export interface RealRun {
  readonly name: string;
  /** What a row of the table is called. */
  readonly title: string;
  /** `configs/NAME-smollm2-135m.yaml`, and its only stage. */
  readonly config: string;
  readonly stage: string;
  readonly overrides: readonly string[];
  /** Mined negatives are needed first. */
  readonly mined?: true;
}

export const poolingSeeds = [42, 43, 44] as const;

/** The untouched decoder with a prompt and without: where the runs begin. */
export const untouched = [
  { name: 'untouched-prompt', title: 'untouched, PromptEOL', method: 'prompt-eol' },
  { name: 'untouched-mean', title: 'untouched, causal mean, no prompt', method: 'mean' },
] as const;

/** Which rows are compared: all of the first names, averaged, against all of the second. */
export const comparisons: readonly (readonly [
  title: string,
  ofA: readonly string[],
  ofB: readonly string[],
])[] = [
  ['supervised against untouched', ['supervised'], ['untouched-prompt']],
  ['unsupervised against untouched', ['unsupervised'], ['untouched-prompt']],
  ['supervised against unsupervised', ['supervised'], ['unsupervised']],
  ...poolingSeeds.map(
    (seed) => [`latent attention against mean, seed ${seed}`, [`latent-${seed}`], [`mean-${seed}`]] as const,
  ),
  [
    'latent attention against mean, three seeds',
    poolingSeeds.map((seed) => `latent-${seed}`),
    poolingSeeds.map((seed) => `mean-${seed}`),
  ],
  [
    'special tokens against mean, three seeds',
    poolingSeeds.map((seed) => `special-${seed}`),
    poolingSeeds.map((seed) => `mean-${seed}`),
  ],
  ['mined against random negatives', ['mined-negatives'], ['random-negatives']],
  ['CoSENT on STSb train against untouched', ['cosent'], ['untouched-prompt']],
];

export function minedPath({ output }: RunSettings): string {
  return join(output, 'mined.jsonl');
}

export function tripleFiles({ data }: RunSettings): string[] {
  return ['dev', 'test'].map((part) => join(data, 'SNLI', `triples.${part}.tsv`));
}

/** All runs in the order in which they are made. */
export function realRuns(settings: RunSettings): readonly RealRun[] {
  const triples = `[${tripleFiles(settings).join(',')}]`;
  const latent = '{type: latentAttention, latents: 64, heads: 8, headDimension: 64, feedForwardMultiple: 1}';
  const pooling = (kind: string, title: string, overrides: readonly string[]): RealRun[] =>
    poolingSeeds.map((seed) => ({
      name: `${kind}-${seed}`,
      title: `${title}, seed ${seed}`,
      config: 'pooling',
      stage: 'supervised',
      overrides: [`data.sets.snli.path=${triples}`, `train.seed=${seed}`, ...overrides],
    }));
  return [
    {
      name: 'supervised',
      title: 'supervised: InfoNCE, contradictions as hard negatives, PromptEOL',
      config: 'supervised',
      stage: 'supervised',
      overrides: [`data.sets.snli.path=${triples}`],
    },
    {
      name: 'unsupervised',
      title: 'the same texts unsupervised: SimCSE, PromptEOL',
      config: 'unsupervised-snli',
      stage: 'simcse',
      overrides: [`data.train=${triples}`],
    },
    ...pooling('mean', 'supervised, mean pooling, no prompt', []),
    ...pooling('latent', 'supervised, latent attention, no prompt', [`pooling=${latent}`]),
    ...pooling('special', 'supervised, three trained special tokens, their mean, no prompt', [
      'pooling={type: specialTokens, tokens: 3, aggregate: mean}',
    ]),
    {
      name: 'random-negatives',
      title: 'pairs with random negatives, PromptEOL',
      config: 'negatives',
      stage: 'supervised',
      overrides: [`data.sets.snli.path=${triples}`],
    },
    {
      name: 'mined-negatives',
      title: 'pairs with mined negatives, PromptEOL',
      config: 'negatives',
      stage: 'supervised',
      overrides: [`data.sets.snli={kind: tuples, path: ${minedPath(settings)}}`],
      mined: true,
    },
    {
      name: 'cosent',
      title: 'STSb train with CoSENT, PromptEOL (overlaps with STS12 to STS16)',
      config: 'cosent-stsb',
      stage: 'scored',
      overrides: [
        `data.sets.stsb.path=${join(settings.data, 'STSb/train.tsv')}`,
        `data.decontaminate=[${join(settings.data, 'STSb/dev.tsv')},${join(settings.data, 'STSb/test.tsv')},SICK-R]`,
      ],
    },
  ];
}

/** The words behind `lmvec` that begin a run. */
export function trainWords({ name, config, stage, overrides }: RealRun, settings: RunSettings): string[] {
  const { model, data, output, steps } = settings;
  return [
    'train',
    '--config',
    `configs/${config}-smollm2-135m.yaml`,
    `model=${model}`,
    `evaluate.folder=${data}`,
    `output=${join(output, name)}`,
    'export.files=[]',
    ...overrides,
    ...(steps === undefined ? [] : [`stages.${stage}.maxSteps=${steps}`, `evaluate.everySteps=${steps}`]),
  ];
}
