// What is made of the settings and asked for often: once for each settings, anew after a reload.
import type { Settings } from '../config/settings.ts';

export function perSettings<T>(settings: () => Settings, make: (settings: Settings) => T): () => T {
  let made: { readonly of: Settings; readonly value: T } | undefined;
  return () => {
    const of = settings();
    if (made?.of !== of) made = { of, value: make(of) };
    return made.value;
  };
}
