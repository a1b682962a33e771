import type { TensorInfo } from '@tensorflow/tfjs';
import { internalError } from '../../shared/errors.js';
import type { RecordAttributes, RecordInputs } from '../recorder.js';

/** The kernel input of this name. tfjs passes them untyped. */
export function input(inputs: RecordInputs, name: string): TensorInfo {
  const value = inputs[name as keyof RecordInputs] as TensorInfo | undefined;
  if (value === undefined) throw internalError(`kernel input ${name} is missing`);
  return value;
}

export function attributeNumber(attributes: RecordAttributes, name: string, fallback?: number): number {
  const value = attributes[name] ?? fallback;
  if (typeof value !== 'number')
    throw internalError(`kernel attribute ${name} is ${typeof value}, not a number`);
  return value;
}

export function attributeString(attributes: RecordAttributes, name: string): string {
  const value = attributes[name];
  if (typeof value !== 'string') throw internalError(`kernel attribute ${name} is not a string`);
  return value;
}

export function attributeNumbers(attributes: RecordAttributes, name: string): number[] {
  const value = attributes[name];
  if (typeof value === 'number') return [value];
  if (!Array.isArray(value)) throw internalError(`kernel attribute ${name} is not a list`);
  return value as number[];
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((length, axis) => length === b[axis]);
}
