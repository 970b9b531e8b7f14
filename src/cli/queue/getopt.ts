// Arguments as getopt(3) reads them: flags may stand together, a value may follow its flag at once.

export interface Flags {
  /** In the order given; `value` for those that take one. */
  readonly flags: readonly (readonly [flag: string, value: string])[];
  readonly rest: readonly string[];
}

/** `spec` as getopt's: `bc:d`. Gives what is wrong as text, in getopt's words. */
export function readFlags(args: readonly string[], spec: string): Flags | string {
  const flags: (readonly [string, string])[] = [];
  let i = 0;
  for (; i < args.length; i++) {
    const arg = args[i] ?? '';
    if (arg === '--') {
      i++;
      break;
    }
    if (!arg.startsWith('-') || arg === '-') break;
    for (let at = 1; at < arg.length; at++) {
      const flag = arg.charAt(at);
      const place = flag === ':' ? -1 : spec.indexOf(flag);
      if (place < 0) return `invalid option -- '${flag}'`;
      if (spec.charAt(place + 1) !== ':') {
        flags.push([flag, '']);
        continue;
      }
      const value = at + 1 < arg.length ? arg.slice(at + 1) : args[++i];
      if (value === undefined) return `option requires an argument -- '${flag}'`;
      flags.push([flag, value]);
      break;
    }
  }
  return { flags, rest: args.slice(i) };
}
