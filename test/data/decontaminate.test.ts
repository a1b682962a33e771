import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contaminationTest, decontaminate } from '../../src/data/decontaminate.js';

describe('decontaminate', () => {
  it('drops what is equal in lower case, letters and digits only, and keeps the order of the rest', () => {
    const training = [
      'A man, riding a horse!',
      'a man riding two horses',
      'ÉTÉ 2026',
      'a manriding a horse',
      'last',
    ];
    expect(decontaminate(training, ['A man riding a horse.', 'e\u0301te\u0301 (2026)'])).toEqual({
      kept: ['a man riding two horses', 'last'],
      dropped: ['A man, riding a horse!', 'ÉTÉ 2026', 'a manriding a horse'],
    });
  });

  it('other scripts count as letters', () => {
    expect(decontaminate(['一匹の馬。', '二匹の馬。'], ['一匹の馬'])).toEqual({
      kept: ['二匹の馬。'],
      dropped: ['一匹の馬。'],
    });
  });

  it('texts without letters or digits equal nothing', () => {
    expect(contaminationTest(['...', ''])('!!!')).toBe(false);
  });

  it('nothing is lost, and each dropped text is in the evaluation set', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'B', '1', ' ', '.', 'é'), maxLength: 4 });
    fc.assert(
      fc.property(fc.array(text), fc.array(text), (training, evaluation) => {
        const { kept, dropped } = decontaminate(training, evaluation);
        expect([...kept, ...dropped].sort()).toEqual([...training].sort());
        const spelled = (value: string): string => value.toLowerCase().replace(/[ .]/g, '');
        const held = new Set(evaluation.map(spelled).filter((value) => value !== ''));
        expect(dropped.every((value) => held.has(spelled(value)))).toBe(true);
        expect(kept.some((value) => held.has(spelled(value)))).toBe(false);
      }),
    );
  });
});
