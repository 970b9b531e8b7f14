// Arguments as getopt(3) and getopt_long(3) of the GNU C library read them: for commands that take the place of others.

export interface OptionSpec {
  /** Letters; behind one that takes an argument `:`, behind one whose argument must be attached (or is absent) `::`. */
  readonly short: string;
  /** Long name → its letter. A name that stands for no letter has a word here, which `options` gives then. */
  readonly long?: Readonly<Record<string, string>>;
  /** Options end at the first argument that is none, as POSIX has it (Postfix's commands); else they are found between the others, too. */
  readonly posix?: boolean;
  /** Words of `long` that take an argument; letters go by `short`. */
  readonly longWithValue?: readonly string[];
}

export interface GivenOption {
  readonly name: string;
  readonly value?: string;
}

export interface Arguments {
  /** In their order. */
  readonly options: readonly GivenOption[];
  /** What is no option, in its order, also from between options. */
  readonly rest: readonly string[];
}

/** Arguments that the command does not have; the text is getopt's. */
export class UsageError extends Error {}

/** @throws UsageError */
export function getopt(args: readonly string[], spec: OptionSpec): Arguments {
  const options: GivenOption[] = [];
  const rest: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    if (arg === '--') {
      rest.push(...args.slice(i + 1));
      break;
    }
    if (arg === '-' || !arg.startsWith('-')) {
      if (spec.posix) {
        rest.push(...args.slice(i));
        break;
      }
      rest.push(arg);
    } else if (arg.startsWith('--') && spec.long) i += longOption(arg, args[i + 1], spec, options);
    else i += shortOptions(arg, args[i + 1], spec, options);
  }
  return { options, rest };
}

type Kind = 'none' | 'needed' | 'optional';

function kindOf(letter: string, short: string): Kind | undefined {
  const at = short.indexOf(letter);
  if (at < 0 || letter === ':') return undefined;
  if (short.startsWith('::', at + 1)) return 'optional';
  return short[at + 1] === ':' ? 'needed' : 'none';
}

/** Gives how many of the following arguments it used. */
function shortOptions(arg: string, next: string | undefined, { short }: OptionSpec, options: GivenOption[]): number {
  for (let at = 1; at < arg.length; at++) {
    const name = arg.charAt(at);
    const kind = kindOf(name, short);
    if (kind === undefined) throw new UsageError(`invalid option -- '${name}'`);
    const attached = arg.slice(at + 1);
    if (kind === 'none') {
      options.push({ name });
      continue;
    }
    if (attached !== '') return (options.push({ name, value: attached }), 0);
    if (kind === 'optional') return (options.push({ name }), 0);
    if (next === undefined) throw new UsageError(`option requires an argument -- '${name}'`);
    options.push({ name, value: next });
    return 1;
  }
  return 0;
}

function longOption(arg: string, next: string | undefined, spec: OptionSpec, options: GivenOption[]): number {
  const [given = '', value] = arg.slice(2).split(/=(.*)/s, 2);
  const names = Object.keys(spec.long ?? {});
  const fitting = names.includes(given) ? [given] : names.filter((name) => name.startsWith(given));
  const [found] = fitting;
  if (found === undefined) throw new UsageError(`unrecognized option '--${given}'`);
  const name = spec.long?.[found] ?? found;
  if (new Set(fitting.map((one) => spec.long?.[one])).size > 1) throw new UsageError(`option '--${given}' is ambiguous`);
  const kind = name.length === 1 ? (kindOf(name, spec.short) ?? 'none') : spec.longWithValue?.includes(name) ? 'needed' : 'none';
  if (value !== undefined && kind === 'none') throw new UsageError(`option '--${found}' doesn't allow an argument`);
  if (value === undefined && kind === 'needed') {
    if (next === undefined) throw new UsageError(`option '--${found}' requires an argument`);
    options.push({ name, value: next });
    return 1;
  }
  options.push(value === undefined ? { name } : { name, value });
  return 0;
}
