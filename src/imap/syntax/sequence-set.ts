// sequence-set (RFC 3501 section 9), kept as ranges: `1:4294967295` costs as much as `1`.
import { bad, type Scanner } from './scanner.ts';

/** Infinity stands for `*` until the set is resolved. */
export interface NumberRange {
  readonly from: number;
  readonly to: number;
}
export type SequenceSet = readonly NumberRange[];

const MAX_RANGES = 20_000;

export function readSequenceSet(scanner: Scanner): SequenceSet {
  const ranges: NumberRange[] = [];
  do {
    const from = readNumber(scanner);
    ranges.push({ from, to: scanner.accept(':') ? readNumber(scanner) : from });
    if (ranges.length > MAX_RANGES) throw bad('Too many ranges in a set');
  } while (scanner.accept(','));
  return ranges;
}
const readNumber = (scanner: Scanner): number => (scanner.accept('*') ? Infinity : scanner.nonZero());

/** The set with `*` as `last` (the largest number in use), ascending, no range twice. `n:*` always has `last` in it. */
export function resolveSet(set: SequenceSet, last: number): NumberRange[] {
  const plain = set.map(({ from, to }) => {
    const a = from === Infinity ? last : from;
    const b = to === Infinity ? last : to;
    return { from: Math.min(a, b), to: Math.max(a, b) };
  });
  plain.sort((a, b) => a.from - b.from);
  const merged: NumberRange[] = [];
  for (const range of plain) {
    const before = merged.at(-1);
    if (before && range.from <= before.to + 1)
      merged[merged.length - 1] = { from: before.from, to: Math.max(before.to, range.to) };
    else merged.push(range);
  }
  return merged;
}

/** `1:3,7` of ascending numbers. */
export function formatSet(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < numbers.length;) {
    const from = numbers[i] ?? 0;
    let to = from;
    for (i++; numbers[i] === to + 1; i++) to++;
    parts.push(from === to ? `${from}` : `${from}:${to}`);
  }
  return parts.join(',');
}

/** Whether `value` lies in one of the ranges, as `resolveSet` gives them. */
export function inRanges(ranges: readonly NumberRange[], value: number): boolean {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ranges[middle]?.to ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  const range = ranges[low];
  return range !== undefined && range.from <= value;
}
