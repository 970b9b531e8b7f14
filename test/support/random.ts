// Randomness that can be repeated: every fuzz failure names its seed.

export interface Random {
  /** An integer from 0 up to (not including) `limit`. */
  below(limit: number): number;
  pick<T>(list: readonly T[]): T;
}

/** mulberry32. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    below,
    pick: <T>(list: readonly T[]): T => {
      if (list.length === 0) throw new Error('nothing to pick from');
      return list[below(list.length)] as T;
    },
  };
}

/** Milliseconds that a fuzz test may take: `FUZZ_SECONDS` for a long run, else `normal`. `FUZZ_SEED` is where it starts. */
export function fuzzTime(normal: number): { readonly until: number; readonly seed: number } {
  const seconds = Number(process.env['FUZZ_SECONDS'] ?? 0);
  return { until: performance.now() + (seconds > 0 ? seconds * 1000 : normal), seed: Number(process.env['FUZZ_SEED'] ?? 1) };
}
