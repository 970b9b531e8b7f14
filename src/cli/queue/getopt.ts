// Arguments of Postfix's commands: getopt(3) as POSIX has it.
import { getopt, UsageError } from '../getopt.ts';

export interface Flags {
  /** In the order given; `value` for those that take one. */
  readonly flags: readonly (readonly [flag: string, value: string])[];
  readonly rest: readonly string[];
}

/** `spec` as getopt's: `bc:d`. Gives what is wrong as text, in getopt's words. */
export function readFlags(args: readonly string[], spec: string): Flags | string {
  try {
    const { options, rest } = getopt(args, { short: spec, posix: true });
    return { flags: options.map(({ name, value = '' }) => [name, value] as const), rest };
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
}
