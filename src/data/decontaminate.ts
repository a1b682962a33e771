/** What two texts are compared by: lower case, letters and digits only (Unicode's). */
export function comparableText(text: string): string {
  return text
    .normalize('NFC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '');
}

/**
 * A test for texts that equal one of `evaluationTexts` in lower case, letters and digits only: they must not be trained on.
 * Texts without any letter or digit equal nothing.
 */
export function contaminationTest(evaluationTexts: Iterable<string>): (text: string) => boolean {
  const held = new Set<string>();
  for (const text of evaluationTexts) held.add(comparableText(text));
  held.delete('');
  return (text) => held.has(comparableText(text));
}

/** Separates training texts that equal a text of an evaluation set from the others; the order stays. */
export function decontaminate(
  texts: readonly string[],
  evaluationTexts: Iterable<string>,
): { readonly kept: readonly string[]; readonly dropped: readonly string[] } {
  const contaminated = contaminationTest(evaluationTexts);
  const kept: string[] = [];
  const dropped: string[] = [];
  for (const text of texts) (contaminated(text) ? dropped : kept).push(text);
  return { kept, dropped };
}
