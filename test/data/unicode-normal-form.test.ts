import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unicodeForms, unicodeNormalForm } from '../../src/data/unicode-normal-form.js';

/** Made by test/golden/tokenizers/normal_forms.py: text, NFC, NFKD. */
const rows = JSON.parse(
  readFileSync(new URL('../golden/tokenizers/normal-forms.json', import.meta.url), 'utf8'),
) as [string, string, string][];

describe("normal forms as Python's tokenizers makes them", () => {
  it('of characters that are newer than its tables, and of their neighbours', () => {
    const made = rows.map(([text]) => [
      text,
      unicodeNormalForm(text, 'NFC'),
      unicodeNormalForm(text, 'NFKD'),
    ]);
    expect(made).toEqual(rows);
    // Without the exceptions they would differ.
    expect(rows.filter(([text, nfc]) => text.normalize('NFC') !== nfc).length).toBeGreaterThan(20);
  });

  it("of everything else: JavaScript's own", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.integer({ min: 0, max: 0x7ff }).map((code) => String.fromCodePoint(code)) }),
        fc.constantFrom(...unicodeForms),
        (text, form) => {
          const old = text.replace(/[\u07fd]/g, '');
          return unicodeNormalForm(old, form) === old.normalize(form);
        },
      ),
    );
  });
});
