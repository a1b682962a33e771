import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parse,
  parseDocument,
  type Document,
  type Node,
  type ParsedNode,
} from 'yaml';

/** One thing that is wrong with a configuration: a whole sentence that begins with its place. */
export interface Problem {
  readonly sentence: string;
  /** For sorting: offset in the file; overrides come after the file. */
  readonly order: number;
}

/** A configuration as it was written: a YAML file, with `key.path=value` overrides laid over it. */
export interface ConfigDocument {
  readonly file: string;
  readonly overrides: readonly string[];
  /** The plain values, overrides included. */
  readonly data: unknown;
  /** Where a value (or, where it is missing, its nearest parent) was written: `file:line:column key` or `override key=value`. */
  locate(path: readonly PropertyKey[]): { readonly where: string; readonly order: number };
}

interface Override {
  readonly text: string;
  readonly path: readonly string[];
}

/** Enough for every honest use of anchors; a document that expands further is an attack ("billion laughs"). */
const maxAliases = 100;

/** Reads YAML and lays the overrides over it. What cannot be read is reported as problems, all of them. */
export function readDocument(
  text: string,
  file: string,
  overrides: readonly string[],
): { document: ConfigDocument | undefined; problems: readonly Problem[] } {
  const lines = new LineCounter();
  const yaml = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const problems: Problem[] = yaml.errors.map((error) => ({
    sentence: `${file}:${position(lines, error.pos[0])}: not valid YAML: ${error.message}`,
    order: error.pos[0],
  }));
  // A repeated key leaves the rest readable, so its other problems are worth reporting too.
  if (yaml.errors.some((error) => error.code !== 'DUPLICATE_KEY')) return { document: undefined, problems };
  yaml.contents ??= yaml.createNode({}) as unknown as ParsedNode;

  const applied: Override[] = [];
  overrides.forEach((override, index) => {
    const problem = applyOverride(yaml, override, applied);
    if (problem !== undefined)
      problems.push({ sentence: `override ${override}: ${problem}`, order: text.length + 1 + index });
  });

  try {
    const data: unknown = yaml.toJS({ maxAliasCount: maxAliases });
    return {
      document: { file, overrides, data, locate: locator(yaml, file, lines, text, applied) },
      problems,
    };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    problems.push({ sentence: `${file}: not valid YAML: ${reason}`, order: text.length });
    return { document: undefined, problems };
  }
}

/** Puts one `key.path=value` into the document; returns what is wrong with it, or undefined. */
function applyOverride(yaml: Document.Parsed, text: string, applied: Override[]): string | undefined {
  const equals = text.indexOf('=');
  const path = text.slice(0, Math.max(0, equals)).split('.');
  if (equals < 1 || path.includes('')) return 'expected key.path=value';
  const value = parseValue(text.slice(equals + 1));
  if ('problem' in value) return value.problem;

  const resolved: (string | number)[] = [];
  let node: Node | null | undefined = yaml.contents;
  for (const [depth, segment] of path.entries()) {
    if (isAlias(node)) return `${path.slice(0, depth).join('.')} is an alias: override the anchor's own key`;
    if (isScalar(node) && node.value !== null)
      return `${path.slice(0, depth).join('.')} is ${JSON.stringify(node.value)}, not a mapping (write ${path.slice(0, depth).join('.')}={${path.slice(depth).join('.')}: ...})`;
    // A key without a value (`stages:`) becomes a mapping as soon as something is put below it.
    if (isScalar(node)) yaml.setIn(resolved, yaml.createNode({}));
    const key: string | number = isSeq(node) ? Number(segment) : segment;
    if (typeof key === 'number' && !(Number.isInteger(key) && key >= 0))
      return `${path.slice(0, depth).join('.')} is a list: got ${segment}, expected a position in it`;
    node = child(yaml, node, segment);
    resolved.push(key);
  }
  yaml.setIn(resolved, yaml.createNode(value.value));
  applied.push({ text, path });
  return undefined;
}

/** A YAML scalar or flow collection. Text that only looks like YAML (`a: b`, a prompt frame with quotes in it) stays text. */
function parseValue(text: string): { readonly value: unknown } | { readonly problem: string } {
  const trimmed = text.trim();
  const structured = /^[[{"'&*!|>]/.test(trimmed);
  try {
    const value: unknown = parse(trimmed, { maxAliasCount: 0, logLevel: 'error' });
    const plain = value === null || typeof value !== 'object';
    return plain || structured ? { value } : { value: text };
  } catch (error) {
    if (!structured) return { value: text };
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    return { problem: `the value is not valid YAML: ${reason} (put text into quotes)` };
  }
}

/** The node at one key of a mapping or list. */
function child(
  yaml: Document.Parsed,
  parent: Node | null | undefined,
  segment: PropertyKey,
): Node | undefined {
  const node = isAlias(parent) ? parent.resolve(yaml) : parent;
  const pair = pairOf(node, segment);
  const value = pair === undefined && isSeq(node) ? node.items[Number(segment)] : pair?.value;
  return isNode(value) ? value : undefined;
}

function pairOf(
  node: Node | null | undefined,
  segment: PropertyKey,
): { key: unknown; value: unknown } | undefined {
  if (!isMap(node)) return undefined;
  return node.items.find((pair) => keyText(pair.key) === String(segment));
}

function keyText(key: unknown): string {
  return String(isScalar(key) ? key.value : key);
}

function locator(
  yaml: Document.Parsed,
  file: string,
  lines: LineCounter,
  text: string,
  applied: readonly Override[],
): ConfigDocument['locate'] {
  return (path) => {
    const names = path.map(String);
    // The chain of nodes from the root to the value, as far as it exists; null where an override made the node.
    const root: Node | null = yaml.contents;
    let node: Node | null | undefined = root;
    const offsets: (number | null)[] = [start(root) ?? 0];
    for (const segment of path) {
      const parent: Node | null | undefined = isAlias(node) ? node.resolve(yaml) : node;
      const pair = pairOf(parent, segment);
      node = child(yaml, parent, segment);
      if (node === undefined && pair === undefined) break;
      const begin = isNode(pair?.key) ? start(pair.key) : start(node);
      // A value that an override put under a key of the file still belongs to the override.
      offsets.push(begin === undefined || (node !== undefined && !node.range) ? null : begin);
    }
    const depth = offsets.length - 1;
    const override = applied.findLastIndex((candidate) => {
      const shared = Math.min(candidate.path.length, depth);
      return shared > 0 && candidate.path.every((name, i) => i >= shared || name === names[i]);
    });
    const offset = offsets[depth] ?? null;
    const exact = applied.findLastIndex(
      (candidate) => candidate.path.length <= depth && candidate.path.every((name, i) => name === names[i]),
    );
    const chosen = exact >= 0 ? exact : offset === null ? override : -1;
    if (chosen >= 0)
      return { where: `override ${applied[chosen]?.text ?? ''}`, order: text.length + 1 + chosen };
    const at = offset ?? 0;
    const key = names.length === 0 ? '' : ` ${names.join('.')}`;
    return { where: `${file}:${position(lines, at)}${key}`, order: at };
  };
}

/** Offset of a node in the file; undefined for one that an override made. */
function start(node: Node | null | undefined): number | undefined {
  return node?.range?.[0];
}

function position(lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${Math.max(1, line)}:${Math.max(1, col)}`;
}
