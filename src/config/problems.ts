import type { z } from 'zod';
import { nearest, shown } from '../shared/errors.js';
import type { ConfigDocument, Problem } from './document.js';

type Issue = z.core.$ZodIssue;

/** zod forgets the schema of an issue; the names that an object does know travel in the message. */
export const keepKnownKeys: z.core.$ZodErrorMap = (issue) => {
  if (issue.code !== 'unrecognized_keys') return undefined;
  const definition = issue.inst?._zod.def as
    { readonly shape?: Readonly<Record<string, unknown>> } | undefined;
  return JSON.stringify(Object.keys(definition?.shape ?? {}));
};

/** Turns what zod found into sentences with places: `where: got X, expected Y (did you mean Z?)`. */
export function describeIssues(issues: readonly Issue[], document: ConfigDocument): Problem[] {
  return issues.flatMap((issue) => describe(issue, [], document));
}

function describe(issue: Issue, parents: readonly PropertyKey[], document: ConfigDocument): Problem[] {
  const path = [...parents, ...issue.path];
  const at = (where: readonly PropertyKey[], sentence: string): Problem => {
    const place = document.locate(where);
    return { sentence: `${place.where}: ${sentence}`, order: place.order };
  };
  const got = describeValue(issue.input);

  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = JSON.parse(issue.message) as string[];
      return issue.keys.map((key) =>
        at([...path, key], `unknown key ${JSON.stringify(key)}${knownNames(key, known)}`),
      );
    }
    case 'invalid_union': {
      if ('discriminator' in issue && issue.discriminator !== undefined) {
        const choices = (issue as { options?: readonly unknown[] }).options ?? [];
        const value = valueAt(issue.input, issue.discriminator);
        const sibling = value === undefined ? misspeltParent(path.slice(0, -1), document) : '';
        return [
          at(
            path,
            `got ${describeValue(value)}, expected ${choiceList(choices)}${similar(value, choices)}${sibling}`,
          ),
        ];
      }
      const branch = likelyBranch(issue.errors);
      if (branch !== undefined) return branch.flatMap((inner) => describe(inner, path, document));
      const choices = issue.errors.flatMap((errors) => literals(errors));
      return [
        at(path, `got ${got}, expected ${unionExpectation(issue.errors)}${similar(issue.input, choices)}`),
      ];
    }
    case 'invalid_value':
      return [
        at(path, `got ${got}, expected ${choiceList(issue.values)}${similar(issue.input, issue.values)}`),
      ];
    default:
      return [at(path, `got ${got}, expected ${expectation(issue)}`)];
  }
}

/** What one issue asked for, in words. */
function expectation(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return typeWords[issue.expected] ?? `a ${issue.expected}`;
    case 'invalid_value':
      return choiceList(issue.values);
    case 'too_small':
      return bound(issue.origin, issue.inclusive === false ? 'more than' : 'at least', issue.minimum);
    case 'too_big':
      return bound(issue.origin, issue.inclusive === false ? 'less than' : 'at most', issue.maximum);
    case 'unrecognized_keys':
      return `a mapping with the keys ${(JSON.parse(issue.message) as string[]).join(', ')}`;
    case 'invalid_union':
      return unionExpectation(issue.errors);
    case 'invalid_key':
      return issue.issues.slice(0, 1).map(expectation).join('');
    default:
      return issue.message;
  }
}

const typeWords: Readonly<Record<string, string>> = {
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
  tuple: 'a list',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  null: 'null',
};

function bound(origin: string, words: string, limit: number | bigint): string {
  if (origin === 'string') return `text of ${words} ${String(limit)} character${limit === 1 ? '' : 's'}`;
  if (origin === 'array') return `a list of ${words} ${String(limit)}`;
  return `${origin === 'int' ? 'a whole number' : 'a number'} of ${words} ${String(limit)}`;
}

/** Where an alternative of a union has the right type at its root, its own complaints are the helpful ones. */
function likelyBranch(branches: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  const fitting = branches.filter(
    (issues) =>
      !issues.some(
        (issue) => issue.path.length === 0 && ['invalid_type', 'invalid_value'].includes(issue.code),
      ),
  );
  // Among several mappings: the one that knows most of the keys.
  const unknown = (issues: readonly Issue[]): number =>
    issues.reduce((sum, issue) => sum + unknownAtRoot(issue), 0);
  return [...fitting].sort((a, b) => unknown(a) - unknown(b) || a.length - b.length)[0];
}

function unknownAtRoot(issue: Issue): number {
  return issue.code === 'unrecognized_keys' && issue.path.length === 0 ? issue.keys.length : 0;
}

function unionExpectation(branches: readonly (readonly Issue[])[]): string {
  const words = branches.flatMap((issues) => issues.slice(0, 1).map(expectation));
  return [...new Set(words)].join(' or ');
}

function literals(issues: readonly Issue[]): readonly unknown[] {
  return issues.flatMap((issue) => (issue.code === 'invalid_value' ? issue.values : []));
}

function choiceList(choices: readonly unknown[]): string {
  return choices.map(String).join(' | ');
}

function similar(value: unknown, choices: readonly unknown[]): string {
  const near = typeof value === 'string' ? nearest(value, choices.map(String)) : undefined;
  return near === undefined ? '' : ` (did you mean ${near}?)`;
}

function knownNames(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  return near === undefined ? `, expected one of ${known.join(', ')}` : ` (did you mean ${near}?)`;
}

/** A mapping that lacks its kind was often never meant: an override with a misspelt name made it. */
function misspeltParent(path: readonly PropertyKey[], document: ConfigDocument): string {
  const name = path.at(-1);
  if (typeof name !== 'string' || !document.locate(path).where.startsWith('override ')) return '';
  const siblings = Object.keys(asRecord(path.slice(0, -1).reduce(valueAt, document.data)));
  const near = nearest(
    name,
    siblings.filter((sibling) => sibling !== name),
  );
  return near === undefined ? '' : ` (did you mean ${[...path.slice(0, -1), near].join('.')}?)`;
}

function asRecord(value: unknown): Readonly<Record<PropertyKey, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>) : {};
}

function valueAt(value: unknown, key: PropertyKey): unknown {
  const record = asRecord(value);
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value);
  return shown(value, 60);
}
