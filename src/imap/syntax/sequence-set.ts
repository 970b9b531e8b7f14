// Sequence sets (RFC 3501 section 9): kept as ranges, so that `1:4294967295` costs no more than `1`.

const MAX = 0xffff_ffff;
/** Ranges of one set. */
const MAX_RANGES = 20_000;

export class SequenceSet {
  /** `Infinity` stands for `*`. */
  readonly #ranges: readonly (readonly [low: number, high: number])[];

  private constructor(ranges: readonly (readonly [number, number])[]) {
    this.#ranges = ranges;
  }

  /** Undefined when it is none: zero, numbers past 2^32-1, empty parts. */
  static parse(text: string): SequenceSet | undefined {
    if (text === '') return undefined;
    const parts = text.split(',');
    if (parts.length > MAX_RANGES) return undefined;
    const ranges: [number, number][] = [];
    for (const part of parts) {
      const ends = part.split(':').map(parseNumber);
      const [first, second = first] = ends;
      if (ends.length > 2 || first === undefined || second === undefined || ends.includes(undefined)) return undefined;
      ranges.push(first <= second ? [first, second] : [second, first]);
    }
    return new SequenceSet(ranges);
  }

  /** Ranges with `*` as `largest`, sorted, without overlap. `n:*` with n above it means `*:n` (RFC 3501 section 9). */
  #resolve(largest: number): [number, number][] {
    const ranges = this.#ranges.map(([low, high]): [number, number] => {
      const a = low === Infinity ? largest : low;
      const b = high === Infinity ? largest : high;
      return a <= b ? [a, b] : [b, a];
    });
    ranges.sort((a, b) => a[0] - b[0]);
    const merged: [number, number][] = [];
    for (const range of ranges) {
      const last = merged.at(-1);
      if (last && range[0] <= last[1] + 1) last[1] = Math.max(last[1], range[1]);
      else merged.push(range);
    }
    return merged;
  }

  /** Whether some number of the set (other than `*`) is above `largest`. */
  exceeds(largest: number): boolean {
    return this.#ranges.some(([low, high]) => (low !== Infinity && low > largest) || (high !== Infinity && high > largest));
  }

  /** Indexes into `values` (ascending) that the set names; `*` is the last value. */
  indexes(values: ArrayLike<number>): number[] {
    const found: number[] = [];
    const largest = values[values.length - 1];
    if (largest === undefined) return found;
    for (const [low, high] of this.#resolve(largest)) {
      for (let i = lowerBound(values, low); i < values.length && (values[i] ?? Infinity) <= high; i++) found.push(i);
    }
    return found;
  }

  /** Whether the set names `value` when `*` means `largest`. */
  has(value: number, largest: number): boolean {
    return this.#resolve(largest).some(([low, high]) => value >= low && value <= high);
  }
}

function parseNumber(text: string): number | undefined {
  if (text === '*') return Infinity;
  if (!/^[1-9]\d{0,9}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= MAX ? value : undefined;
}

function lowerBound(values: ArrayLike<number>, wanted: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] ?? 0) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A list of numbers as a sequence set: `1:3,7`. */
export function formatSet(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < numbers.length;) {
    let j = i;
    while (j + 1 < numbers.length && numbers[j + 1] === (numbers[j] ?? 0) + 1) j++;
    parts.push(i === j ? `${numbers[i]}` : `${numbers[i]}:${numbers[j]}`);
    i = j + 1;
  }
  return parts.join(',');
}
