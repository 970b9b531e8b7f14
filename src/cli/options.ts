// Arguments of commands: `--name value`, `--name=value`, and the rest.
import { MailError } from '../lib/errors.ts';

export interface Options {
  readonly options: ReadonlyMap<string, string>;
  readonly flags: ReadonlySet<string>;
  readonly rest: readonly string[];
}

/** @throws MailError config for an option that the command does not know, or one without its value */
export function readOptions(args: readonly string[], withValue: readonly string[], flags: readonly string[] = []): Options {
  const options = new Map<string, string>();
  const found = new Set<string>();
  const rest: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    if (!arg.startsWith('--') || arg === '--') {
      rest.push(arg);
      continue;
    }
    const [name = '', value] = arg.split(/=(.*)/s, 2);
    if (flags.includes(name) && value === undefined) found.add(name);
    else if (withValue.includes(name)) {
      const given = value ?? args[++i];
      if (given === undefined) throw new MailError('config', 'BAD_ARGUMENTS', `${name} needs a value`);
      options.set(name, given);
    } else throw new MailError('config', 'BAD_ARGUMENTS', `there is no option ${name}; --help lists them`);
  }
  return { options, flags: found, rest };
}
