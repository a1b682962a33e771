import { sameTask } from './sts.js';

/** MTEB's type of every evaluation task that is here. */
export const taskType = 'STS';

/**
 * Which of a model's prompts a task takes: the one named like the task (also by another name of it, as MTEB's STSBenchmark), then the one
 * named like its type, else none, which stands for the model's default. The order of MTEB's `get_prompt_name` and of sentence-transformers.
 */
export function taskPrompt(task: string, names: readonly string[]): string | undefined {
  return (
    names.find((name) => name === task) ??
    names.find((name) => sameTask(name, task)) ??
    names.find((name) => name === taskType)
  );
}
