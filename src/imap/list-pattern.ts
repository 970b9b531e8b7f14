// LIST patterns (RFC 3501 section 6.3.8): `*` is anything, `%` anything within one level. Runs all states side by side: the time is
// at most pattern × name, whatever the pattern.

/** Whether all of `name` matches. INBOX (and INBOX as first level) matches in any case. */
export function matchesPattern(pattern: string, name: string, separator: string): boolean {
  return run(pattern, name, separator).whole;
}

/** The lengths of all proper prefixes of `name`, ending before a separator, that match: what `%` shows as a parent (LSUB). */
export function matchingParents(pattern: string, name: string, separator: string): number[] {
  return run(pattern, name, separator).parents;
}

function run(pattern: string, name: string, separator: string): { whole: boolean; parents: number[] } {
  const length = pattern.length;
  const parents: number[] = [];
  const fold = inboxLength(name, separator);
  let states = closure(new Uint8Array(length + 1), pattern, 0);
  for (let at = 0; at < name.length; at++) {
    const char = name.charAt(at);
    if (char === separator && states[length] === 1 && at > 0) parents.push(at);
    const next = new Uint8Array(length + 1);
    for (let i = 0; i < length; i++) {
      if (states[i] !== 1) continue;
      const wanted = pattern.charAt(i);
      if (wanted === '*' || (wanted === '%' && char !== separator)) closure(next, pattern, i);
      else if (wanted === char || (at < fold && wanted.toUpperCase() === char.toUpperCase())) closure(next, pattern, i + 1);
    }
    states = next;
  }
  return { whole: states[length] === 1, parents };
}

function inboxLength(name: string, separator: string): number {
  return /^inbox$/i.test(name.split(separator, 1)[0] ?? '') ? 5 : 0;
}

/** Marks a state and those that wildcards reach without a character. */
function closure(states: Uint8Array, pattern: string, from: number): Uint8Array {
  for (let i = from; states[i] !== 1; i++) {
    states[i] = 1;
    const char = pattern.charAt(i);
    if (char !== '*' && char !== '%') break;
  }
  return states;
}
