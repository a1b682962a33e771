import type { DeviceChoice } from '../compiler/device.js';
import { chooseRuntime } from '../compiler/runtime.js';
import type { RankedExample } from '../data/examples.js';
import type { ExampleSetConfig } from '../data/example-schema.js';
import { parsePrompt } from '../data/prompt-frame.js';
import { readExamples } from '../data/read-examples.js';
import { readTexts, textSources } from '../data/texts.js';
import { Embedder } from '../embedder/embedder.js';
import { ForeignOnnxEmbedder } from '../embedder/foreign-onnx.js';
import type { NegativeChoice } from '../mining/choose-negatives.js';
import { mine, type MineResult, type Teacher } from '../mining/mine.js';
import { userError } from '../shared/errors.js';
import { statOrUserError } from '../shared/files.js';
import { revisionOf } from './open-model.js';

export interface MineNegativesOptions extends NegativeChoice {
  /** The teacher: anything that embeds, or a folder of another tool with an ONNX embedder. */
  readonly model: string;
  /** How a decoder embeds without training: a name of `lmvec methods`, or a YAML file with one. Its own way where it is left out. */
  readonly method?: string;
  /** A source of ranked examples. */
  readonly set: ExampleSetConfig;
  /** Texts that may become negatives too. */
  readonly corpus?: readonly string[];
  /** Frames of the teacher's two sides: what its `prompt` takes. Its own where they are left out. */
  readonly queryPrompt?: string;
  readonly documentPrompt?: string;
  readonly output: string;
  readonly threads?: number;
  /** Of the teacher (default auto); the search is the CPU's. */
  readonly device?: DeviceChoice;
  readonly onProgress?: (phase: string, done: number, all: number) => void;
}

interface OpenTeacher extends Teacher {
  close(): Promise<void>;
}

/** Reads examples, and writes them with hard negatives that a teacher found: see `mine`. @throws UserError where something cannot be read. */
export async function mineNegatives(options: MineNegativesOptions): Promise<MineResult> {
  const { set, corpus, seed } = options;
  const examples = await allExamples(set, seed);
  const texts = corpus === undefined ? undefined : await readTexts(await textSources(corpus));
  const teacher = await openTeacher(options);
  try {
    return await mine({ ...options, examples, teacher, corpus: texts === undefined ? [] : [...texts.texts] });
  } finally {
    texts?.close();
    await teacher.close();
  }
}

async function allExamples(set: ExampleSetConfig, seed: number): Promise<RankedExample[]> {
  const { set: read } = await readExamples(set, { name: 'input', seed });
  return Array.from({ length: read.count }, (_, index) => {
    const example = read.example(index, 0, Infinity);
    if (example.form === 'ranked') return example;
    throw userError({ what: 'scored pairs have no positives to mine for', hint: 'positivesFrom makes some' });
  });
}

async function openTeacher(options: MineNegativesOptions): Promise<OpenTeacher> {
  const { model, method, queryPrompt, documentPrompt } = options;
  const runtime = await chooseRuntime(options);
  if (model !== 'embedded') {
    const stats = await statOrUserError(model, 'model').catch(() => undefined);
    if (stats?.isDirectory() === true && (await ForeignOnnxEmbedder.isOne(model)))
      return foreignTeacher(await ForeignOnnxEmbedder.open(model, runtime), options);
  }
  const embedder = await Embedder.open(model, { ...runtime, ...(method === undefined ? {} : { method }) });
  const encode = (prompt: string | undefined) => (texts: readonly string[]) =>
    embedder.encode(texts, prompt === undefined ? {} : { prompt });
  const { dimensions } = await encode(queryPrompt)(['a']);
  return {
    dimensions,
    revision: `${revisionOf(embedder, model)} ${queryPrompt ?? ''} ${documentPrompt ?? ''}`,
    encodeQueries: encode(queryPrompt),
    encodeDocuments: encode(documentPrompt),
    close: () => embedder.dispose(),
  };
}

async function foreignTeacher(
  embedder: ForeignOnnxEmbedder,
  options: MineNegativesOptions,
): Promise<OpenTeacher> {
  const { queryPrompt, documentPrompt } = options;
  const { frames } = embedder;
  const encode = (asked: string | undefined) => {
    const named = asked === undefined ? frames.prompt : frames.prompts?.[asked];
    const frame = parsePrompt(named ?? asked ?? '{text}');
    if (frame.pool !== undefined && frame.pool !== 'all' && frame.template !== '{text}')
      throw userError({
        what: 'this teacher leaves its prompts out of the mean, which is not done here',
        where: options.model,
        got: JSON.stringify(frame.template),
        hint: 'open its weights in the place of its ONNX file, or take a prompt of your own',
      });
    return (texts: readonly string[]) =>
      embedder.encode(texts.map((text) => frame.template.replaceAll('{text}', () => frame.prepare(text))));
  };
  const { dimensions } = await embedder.encode(['a']);
  return {
    dimensions,
    revision: `${embedder.revision} ${queryPrompt ?? ''} ${documentPrompt ?? ''}`,
    encodeQueries: encode(queryPrompt),
    encodeDocuments: encode(documentPrompt),
    close: () => embedder.dispose(),
  };
}
