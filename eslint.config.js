import { dirname, join, relative, sep } from 'node:path';
import eslint from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** The way data flows: a folder of src/ imports only from folders before it, and from `everywhere`. */
const flow = [
  'config',
  'data',
  'models',
  'pooling',
  'training',
  'evaluation',
  'export',
  'embedder',
  'server',
  'mining',
  'recipes',
];
const everywhere = ['shared', 'compiler'];
const source = join(import.meta.dirname, 'src');

/** First folder below src/ of a path, or undefined outside src/ and for files directly in it. */
function folderOf(path) {
  const parts = relative(source, path).split(sep);
  return parts[0] === '..' || parts.length < 2 ? undefined : parts[0];
}

/** Folders that `folder` may import from, itself included; undefined where everything is allowed. */
function allowedFrom(folder) {
  if (folder === undefined) return undefined;
  if (folder === 'shared') return ['shared'];
  if (folder === 'compiler') return everywhere;
  return [...everywhere, ...flow.slice(0, flow.indexOf(folder) + 1)];
}

const folderOrder = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      order: 'src/{{from}} may import only from {{allowed}}: not from src/{{to}}',
      outside: 'src/ does not import from outside src/: {{target}}',
    },
  },
  create(context) {
    const from = folderOf(context.filename);
    const allowed = allowedFrom(from);
    function check(node) {
      const target = node?.value;
      if (typeof target !== 'string' || !target.startsWith('.')) return;
      const path = join(dirname(context.filename), target);
      if (relative(source, path).startsWith('..'))
        return context.report({ node, messageId: 'outside', data: { target } });
      const to = folderOf(path) ?? 'index';
      if (allowed !== undefined && !allowed.includes(to))
        context.report({ node, messageId: 'order', data: { from, to, allowed: allowed.join(', ') } });
    }
    return {
      ImportDeclaration: (node) => check(node.source),
      ExportNamedDeclaration: (node) => check(node.source),
      ExportAllDeclaration: (node) => check(node.source),
      ImportExpression: (node) => check(node.source),
      TSImportType: (node) => check(node.source ?? node.argument?.literal),
    };
  },
};

export default defineConfig(
  { ignores: ['dist/', 'runs/', 'node_modules/', 'results/'] },
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'separate-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      // Numbers in messages are the rule here, not the exception.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      // `for (const x of xs) task(x)` in arrow bodies reads well enough.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // `while (true)` with a `break` in the middle is clear.
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      'no-restricted-syntax': [
        'error',
        { selector: 'ExportDefaultDeclaration', message: 'Named exports only.' },
      ],
      eqeqeq: 'error',
    },
  },
  { files: ['*.config.ts'], rules: { 'no-restricted-syntax': 'off' } },
  {
    files: ['src/**/*.ts'],
    plugins: { lmvec: { rules: { 'folder-order': folderOrder } } },
    rules: { 'lmvec/folder-order': 'error' },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // A failing assertion on a wrong index is what a test is for.
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  {
    files: ['**/*.js', '**/*.mjs', '**/*.cjs'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', performance: 'readonly' } },
  },
);
