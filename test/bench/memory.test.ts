import { describe, expect, it } from 'vitest';
import { caseNames, configOf, titleOf } from '../../bench/memory/cases.js';
import { runSchema } from '../../src/recipes/schema.js';

const place = { model: 'model.gguf', data: 'data', output: 'out', steps: 3 };

describe('the runs whose memory is measured', () => {
  it.each(caseNames)('%s is a configuration', (name) => {
    const config = runSchema.parse(configOf(name, place));
    expect(Object.values(config.stages).every(({ maxSteps }) => maxSteps === 3)).toBe(true);
    expect(titleOf(name)).not.toBe(name);
  });
});
