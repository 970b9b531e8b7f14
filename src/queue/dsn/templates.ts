// Which text a report has: by the language of its reader's domain, or as a file in the form of Postfix's bounce(5) says.
import { MailError } from '../../lib/errors.ts';
import { TEXTS, type Language, type LanguageTexts, type ReportKind, type ReportText } from './texts.ts';

export type BounceTemplates = Partial<Record<ReportKind, ReportText>>;

const KINDS: Readonly<Record<string, ReportKind>> = {
  failure_template: 'failure',
  delay_template: 'delay',
  success_template: 'success',
  verify_template: 'verify',
};
/** Bytes of a file, and lines of one template. */
const MAX_FILE = 64 * 1024;

/**
 * A file as bounce(5) describes it: `failure_template = <<EOF`, header lines (Subject and Postmaster-Subject count), an empty line, the text, `EOF`.
 * @throws MailError config `BOUNCE_TEMPLATE` with the line
 */
export function parseBounceTemplates(bytes: Buffer): BounceTemplates {
  const fail = (line: number, what: string): never => {
    throw new MailError('config', 'BOUNCE_TEMPLATE', `bounce_template_file, line ${line}: ${what}`);
  };
  if (bytes.length > MAX_FILE) fail(1, `the file is over ${MAX_FILE} bytes`);
  const lines = bytes.toString('utf8').split(/\r?\n/);
  const found: BounceTemplates = {};
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    if (/^\s*(#|$)/.test(line)) continue;
    const [, name = '', mark = ''] = /^([a-z_]+)\s*=\s*<<\s*(\S+)\s*$/.exec(line) ?? [];
    if (name === '') fail(at + 1, 'failure_template = <<EOF is expected here');
    const end = lines.indexOf(mark, at + 1);
    if (end < 0) fail(at + 1, `the template has no end: a line with ${mark} alone`);
    const kind = KINDS[name];
    if (!kind) return fail(at + 1, `there is no ${name}; ${Object.keys(KINDS).join(', ')} are`);
    const body = lines.slice(at + 1, end);
    const empty = body.indexOf('');
    if (empty < 0) fail(at + 1, 'an empty line must stand between header and text');
    Object.assign(found, readTemplate(kind, body, empty));
    at = end;
  }
  return found;
}

function readTemplate(kind: ReportKind, body: readonly string[], empty: number): BounceTemplates {
  const header = body.slice(0, empty);
  const value = (name: string): string | undefined =>
    header
      .find((line) => line.toLowerCase().startsWith(name))
      ?.slice(name.length)
      .trim();
  const lines = body.slice(empty + 1);
  const template = { subject: value('subject:') ?? TEXTS.en.reports[kind].subject, lines };
  const copy = value('postmaster-subject:');
  return { [kind]: template, ...(kind === 'failure' && copy !== undefined ? { postmaster: { subject: copy, lines } } : {}) };
}

export interface ReportTextOptions {
  /** What `$myhostname` and the like stand for. */
  readonly values: Readonly<Record<string, string>>;
  /** Of who reads the report. @throws MailError temporary when a table cannot be read */
  readonly language: (recipient: string) => Promise<Language>;
  /** In the place of the texts of every language. */
  readonly templates?: BounceTemplates;
}

/** What ReporterOptions.texts wants. */
export function reportTexts({ values, language, templates }: ReportTextOptions) {
  return async (kind: ReportKind, recipient: string): Promise<{ text: ReportText; language: LanguageTexts }> => {
    const texts = TEXTS[await language(recipient)];
    const { subject, lines } = templates?.[kind] ?? texts.reports[kind];
    return { text: { subject, lines: lines.map((line) => expand(line, values)) }, language: texts };
  };
}

/** `$name`, `${name}`, `$(name)`; names that are not known stay as they are, `$$` is a dollar sign. */
function expand(line: string, values: Readonly<Record<string, string>>): string {
  return line.replace(/\$(?:\$|\{(\w+)\}|\((\w+)\)|(\w+))/g, (whole, a?: string, b?: string, c?: string) => {
    const name = a ?? b ?? c;
    return name === undefined ? '$' : Object.hasOwn(values, name) ? (values[name] ?? whole) : whole;
  });
}

const UNITS = { seconds: 1000, minutes: 60_000, hours: 3_600_000, days: 86_400_000, weeks: 604_800_000 } as const;

/** Postfix's `maximal_queue_lifetime_days` and so on for times in milliseconds, rounded as Postfix does it. */
export function timeValues(times: Readonly<Record<string, number>>): Record<string, string> {
  const pairs = Object.entries(times).flatMap(([name, ms]) =>
    Object.entries(UNITS).map(([unit, size]) => [`${name}_${unit}`, String(Math.floor(ms / size + 0.5))] as const),
  );
  return Object.fromEntries(pairs);
}
