// One address in several tables.
import type { LookupTable } from '../config/lookup.ts';
import type { LookupKey } from './address-keys.ts';

export interface Found {
  readonly key: LookupKey;
  readonly value: string;
}

/** The first match: every table is asked for a key before the next key, tables of patterns for the whole address only. */
export async function lookUp(tables: readonly LookupTable[], keys: readonly LookupKey[]): Promise<Found | undefined> {
  for (const [i, key] of keys.entries())
    for (const table of tables) {
      if (table.whole && i > 0) continue;
      const value = await table.get(key.key);
      if (value !== undefined) return { key, value };
    }
  return undefined;
}
