import { hashKey, randomStream } from '../shared/random.js';
import { userError } from '../shared/errors.js';
import type { ExampleSet } from './examples.js';

/** A text and the class that it belongs to. */
export interface LabelledText {
  readonly text: string;
  readonly label: string;
}

/**
 * Labelled texts as ranked examples (NV-Embed: Lee et al. 2024, section 4.1): the query is an item, its positive another item of the class,
 * its negatives items of other classes. Each draw chooses others. An item that is alone in its class is only ever a negative.
 * @throws UserError where no class has two items, or there is only one class
 */
export function classExamples(name: string, items: readonly LabelledText[], seed: number): ExampleSet {
  const classes = new Map<string, number[]>();
  for (const [index, { label }] of items.entries()) {
    const members = classes.get(label);
    if (members === undefined) classes.set(label, [index]);
    else members.push(index);
  }
  const queries = items.flatMap(({ label }, index) => (membersOf(classes, label).length > 1 ? [index] : []));
  if (queries.length === 0 || classes.size < 2) {
    throw userError({
      what: 'labelled texts cannot become examples',
      where: name,
      got: `${items.length} texts in ${classes.size} classes`,
      expected: 'two classes or more, one of them with two texts',
    });
  }
  return {
    name,
    form: 'ranked',
    count: queries.length,
    example: (index, draw, negatives) => {
      const random = randomStream(hashKey(seed, draw, index));
      const query = queries[index] as number;
      const { text, label } = items[query] as LabelledText;
      const members = membersOf(classes, label);
      const others = members.filter((member) => member !== query);
      const positive = others[random.integer(others.length)] as number;
      const chosen = new Set<number>();
      const most = Math.min(negatives, items.length - members.length);
      while (chosen.size < most) {
        const candidate = random.integer(items.length);
        if (items[candidate]?.label !== label) chosen.add(candidate);
      }
      return {
        form: 'ranked',
        query: text,
        positive: textAt(items, positive),
        negatives: [...chosen].map((item) => textAt(items, item)),
        group: groupOf(name, label),
        negativeGroups: [...chosen].map((item) => groupOf(name, (items[item] as LabelledText).label)),
      };
    },
  };
}

function groupOf(name: string, label: string): string {
  return `${name}\0${label}`;
}

function membersOf(classes: ReadonlyMap<string, readonly number[]>, label: string): readonly number[] {
  return classes.get(label) ?? [];
}

function textAt(items: readonly LabelledText[], index: number): string {
  return (items[index] as LabelledText).text;
}
