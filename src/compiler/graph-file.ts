import type { InferenceSession } from 'onnxruntime-node';
import { userError } from '../shared/errors.js';
import { onnxRuntime, sessionOptions, type RuntimeOptions } from './program.js';

type Values = InferenceSession.OnnxValueMapType;

/** An ONNX file that somebody made: what ONNX Runtime says against it is said of the file. */
export interface GraphFile {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /** `outputs`: all of them where it is left out. @throws UserError where the graph does not take these tensors */
  run(feeds: Values, outputs?: readonly string[]): Promise<Values>;
  release(): Promise<void>;
}

/** @throws UserError where it is missing, cut off, or no graph that ONNX Runtime can run */
export async function openGraphFile(path: string, options: RuntimeOptions = {}): Promise<GraphFile> {
  const refused = (what: string, error: unknown): Error => {
    const got = (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').slice(0, 300);
    return userError({ what, where: path, got });
  };
  const settings = sessionOptions(options);
  let session: InferenceSession;
  try {
    session = await onnxRuntime().InferenceSession.create(path, settings);
  } catch (error) {
    throw refused('ONNX Runtime cannot open the graph', error);
  }
  return {
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    run: async (feeds, outputs) => {
      try {
        return await (outputs === undefined ? session.run(feeds) : session.run(feeds, [...outputs]));
      } catch (error) {
        throw refused('ONNX Runtime cannot run the graph', error);
      }
    },
    release: () => session.release(),
  };
}
