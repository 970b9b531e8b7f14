// What a domain says with MTA-STS (RFC 8461): its record in DNS and its policy, as text that somebody else wrote.

export interface StsPolicy {
  readonly mode: 'enforce' | 'testing' | 'none';
  /** Names of its MX hosts, lower case; `*.` stands for one label. */
  readonly mx: readonly string[];
  /** Seconds. */
  readonly maxAge: number;
}

/** RFC 8461 section 3.2: about a year. */
export const MAX_AGE = 31_557_600;

/** The id of a domain's TXT records at `_mta-sts`; undefined where there is not exactly one record, or it is malformed (RFC 8461 section 3.1). */
export function policyId(records: readonly string[]): string | undefined {
  const [record, ...others] = records.filter((text) => /^v=STSv1[ \t]*(;|$)/.test(text));
  if (record === undefined || others.length > 0) return undefined;
  const [id, ...ids] = record.split(';').flatMap((field) => /^[ \t]*id[ \t]*=[ \t]*(.*?)[ \t]*$/.exec(field)?.[1] ?? []);
  return id !== undefined && ids.length === 0 && /^[A-Za-z0-9]{1,32}$/.test(id) ? id : undefined;
}

const NAME = /^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** A policy, or what is wrong with it. Lines may end in CRLF or LF; fields that are not known are passed over (RFC 8461 section 3.2). */
export function parsePolicy(text: string): StsPolicy | string {
  const fields = new Map<string, string>();
  const mx: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    if (/^[ \t]*$/.test(line)) continue;
    const [, key, value = ''] = /^[ \t]*([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:[ \t]*(.*)$/.exec(line) ?? [];
    if (key === undefined) return `the line "${line.slice(0, 80)}" is no field`;
    if (key === 'mx') mx.push(value.trim().toLowerCase().replace(/\.$/, ''));
    // All but the first are passed over.
    else if (!fields.has(key)) fields.set(key, value.trim());
  }
  const mode = fields.get('mode');
  const age = fields.get('max_age') ?? '';
  if (fields.get('version') !== 'STSv1') return 'there is no version: STSv1';
  if (mode !== 'enforce' && mode !== 'testing' && mode !== 'none') return 'there is no mode of enforce, testing or none';
  if (!/^\d{1,10}$/.test(age)) return 'there is no max_age in seconds';
  const bad = mx.find((name) => !NAME.test(name) || name.length > 255);
  if (bad !== undefined) return `"${bad.slice(0, 80)}" is no mx`;
  if (mx.length === 0 && mode !== 'none') return 'there is no mx';
  return { mode, mx, maxAge: Math.min(Number(age), MAX_AGE) };
}

/** Whether a host is an MX that the policy allows (RFC 8461 section 4.1). */
export function allowsHost({ mx }: Pick<StsPolicy, 'mx'>, host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '');
  const dot = name.indexOf('.');
  return mx.some((one) => one === name || (one.startsWith('*.') && dot > 0 && one.slice(1) === name.slice(dot)));
}
