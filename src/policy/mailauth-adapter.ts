// mailauth behind one door: DKIM signatures (RFC 6376, 8301, 8463) and chains of ARC seals (RFC 8617). Its strict mode, and of it only what works on one
// signature: tags, canonical headers, keys, the crypto. What it does with whole messages stays outside, since a sender can make it long: it goes through
// a header byte by byte, checks every signature, reads address fields of any length, and hashes a line of 50 MB in quadratic time.
//
//   header rows (capped) ─▶ signatures (10) ─▶ prepareSignature + our checks ─▶ body hashes (4) ◀─ body, as it is read
//                       └─▶ ARC sets (64 KB) ─┘                                     └─▶ finalChunk: keys, crypto ─▶ our results
import type { Resolver } from '../dns/resolver.ts';
import { yieldToLoop } from '../lib/async.ts';
import { BodyHash } from './dkim-body.ts';
import type { ArcResult, DkimResult } from './dkim-result.ts';

/** Of one message; what is over them is reported as such and costs nothing more. */
const LIMITS = {
  signatures: 10,
  /** Octets of one signature field. */
  signatureBytes: 16_384,
  /** Names in `h=`: each is looked for in the whole header. */
  signedNames: 250,
  /** Different ways to hash the body (form, `l=`). */
  bodyHashes: 4,
  arcBytes: 65_536,
} as const;
/** RFC 8301 section 3.2. */
const MIN_RSA_BITS = 1024;
/** Body bytes hashed before others get a turn. */
const TURN_BYTES = 256 * 1024;
const ARC_FIELDS: readonly string[] = ['arc-seal', 'arc-message-signature', 'arc-authentication-results'];

/** One field of a header. */
export interface HeaderRow {
  /** Lower case. */
  readonly key: string;
  readonly casedKey: string;
  /** Without its line end. */
  readonly line: Buffer;
}

export interface SignedMessage {
  readonly rows: readonly HeaderRow[];
  /** The bytes behind the header. */
  body(): AsyncIterable<Buffer>;
}

export interface SignatureResults {
  readonly dkim: readonly DkimResult[];
  readonly arc: ArcResult;
}

export type VerifySignatures = (message: SignedMessage, resolver: Resolver, now: number) => Promise<SignatureResults>;

/** Imports the package (10 MB and more: only where mail is verified, and before rights are given up). */
export async function loadMailauth(): Promise<VerifySignatures> {
  const [verifier, { arc }, { default: parse }] = await Promise.all([
    import('mailauth/lib/dkim/dkim-verifier.js'),
    import('mailauth/lib/arc/index.js'),
    import('mailauth/lib/parse-dkim-headers.js'),
  ]);
  const { getARChain } = await import('mailauth/lib/arc/index.js');
  const { DkimVerifier } = verifier.default;

  class Verification extends DkimVerifier {
    /** Reported beside what mailauth reports. */
    readonly refused: DkimResult[] = [];

    /** Takes the header: what mailauth does with one, less what it need not. */
    begin(rows: readonly HeaderRow[]): void {
      this.headers = { parsed: rows, original: Buffer.alloc(0) };
      this.#readChain(rows);
      const fields = rows.filter(({ key }) => key === 'dkim-signature');
      for (const { line } of fields.slice(0, LIMITS.signatures)) {
        if (line.length > LIMITS.signatureBytes)
          this.refused.push({ result: 'policy', reason: 'the signature field is too long' });
        else this.#add(parse(line, { strict: true }), 'DKIM');
      }
      if (fields.length > LIMITS.signatures)
        this.refused.push({ result: 'policy', reason: `${fields.length - LIMITS.signatures} more signatures were not checked` });
      if (this.arc.lastEntry) this.#add(this.arc.lastEntry['arc-message-signature'], 'ARC');
    }

    #readChain(rows: readonly HeaderRow[]): void {
      try {
        const sets = rows.filter(({ key }) => ARC_FIELDS.includes(key));
        if (sets.reduce((sum, { line }) => sum + line.length, 0) > LIMITS.arcBytes)
          throw Object.assign(new Error('the ARC fields are too long'), { code: 'invalid_arc_count' });
        this.arc.chain = getARChain({ parsed: sets }, { strict: true }) as MailauthArcSet[] | false;
        const last = this.arc.chain === false ? undefined : this.arc.chain.at(-1);
        if (last) this.arc.lastEntry = last;
      } catch (error) {
        this.arc.error = error;
      }
    }

    #add(field: MailauthSignatureField, type: 'DKIM' | 'ARC'): void {
      field.type = type;
      this.signatureHeaders.push(field);
      this.prepareSignature(field);
      if (field.skip !== undefined || field.invalid !== undefined) return;
      const limit = field.maxBodyLength === '' ? Infinity : field.maxBodyLength;
      field.bodyHashKey = `${field.bodyCanon}:${limit}`;
      if (this.bodyHashes.has(field.bodyHashKey)) return;
      if (this.bodyHashes.size >= LIMITS.bodyHashes) field.invalid = 'too many different l=';
      else this.bodyHashes.set(field.bodyHashKey, new Hasher(field.bodyCanon === 'relaxed' ? 'relaxed' : 'simple', limit));
    }

    override prepareSignature(field: MailauthSignatureField): void {
      const { s, h } = field.parsed;
      const selector = s?.value;
      // Underscores are not in RFC 6376's grammar, but in DNS, and in use.
      if (s && typeof selector === 'string') s.value = selector.replaceAll('_', 'x');
      super.prepareSignature(field);
      if (s && typeof selector === 'string') {
        s.value = selector;
        field.selector = selector;
      }
      if (field.skip !== undefined || field.invalid !== undefined) return;
      // RFC 8301 section 3.1; mailauth looks at it only when the body is right.
      if (field.hashAlgo === 'sha1') field.invalid = 'rsa-sha1';
      if (typeof h?.value === 'string' && h.value.split(':').length > LIMITS.signedNames) field.invalid = 'too many names in h=';
    }

    keyNames(): string[] {
      const sought = this.signatureHeaders.filter(({ skip, invalid }) => skip === undefined && invalid === undefined);
      return sought.map(({ selector, signingDomain }) => `${selector}._domainkey.${signingDomain}`).filter(isDnsName);
    }

    async hash(body: AsyncIterable<Buffer>): Promise<void> {
      const hashers = [...this.bodyHashes.values()] as Hasher[];
      if (hashers.length === 0) return;
      let turn = 0;
      for await (const chunk of body)
        for (let at = 0; at < chunk.length; at += TURN_BYTES) {
          const piece = chunk.subarray(at, at + TURN_BYTES);
          for (const hasher of hashers) hasher.push(piece);
          turn += piece.length * hashers.length;
          if (turn < TURN_BYTES) continue;
          turn = 0;
          await yieldToLoop();
        }
    }
  }

  return async (message, resolver, now) => {
    const ask = keyResolver(resolver);
    const verification = new Verification({ resolver: ask, strict: true, minBitLength: MIN_RSA_BITS, curTime: new Date(now) });
    verification.begin(message.rows);
    // All at once, while the body is read: a signature whose DNS is slow must not hold up the others.
    for (const name of verification.keyNames()) resolver.txt(name).catch(() => undefined);
    await verification.hash(message.body());
    await verification.finalChunk();
    const dkim = verification.results.filter(({ status }) => status.result !== 'none').map(dkimResult);
    const told = toldByFirst(verification.arc.chain);
    const { status } = await arc(verification.arc as never, { resolver: ask as never, strict: true, minBitLength: MIN_RSA_BITS });
    return { dkim: [...dkim, ...verification.refused], arc: arcResult(verification.arc.chain, status, told) };
  };
}

/** BodyHash under the names that mailauth calls. */
class Hasher extends BodyHash implements MailauthBodyHasher {
  readonly #limit: number;
  constructor(form: 'simple' | 'relaxed', limit: number) {
    super(form, limit);
    this.#limit = limit;
  }
  get bodyHashedBytes(): number {
    return Math.min(this.length, this.#limit);
  }
  get canonicalizedLength(): number {
    return this.length;
  }
  getMimeStructureStart(): undefined {
    return undefined;
  }
}

/** Key records through our resolver; of several at a name the first that is one. */
function keyResolver(resolver: Resolver): MailauthResolver {
  return async (name) => {
    // One that cannot be asked for is not there: a failure of DNS would make a forged signature look undecided.
    const records = isDnsName(name) ? await resolver.txt(name) : [];
    const key = records.find((record) => /(?:^|;)\s*p\s*=/.test(record)) ?? records[0];
    if (key === undefined) throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
    return [[key]];
  };
}

const isDnsName = (name: string): boolean =>
  name.length <= 253 && name.split('.').every((label) => label.length > 0 && label.length <= 63);

function dkimResult(found: MailauthSignatureResult): DkimResult {
  const { status } = found;
  const comment = typeof status.comment === 'string' && status.comment !== '' ? status.comment : undefined;
  const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);
  const about = {
    domain: text(found.signingDomain),
    selector: text(found.selector),
    identity: text(status.header?.i),
    algorithm: text(found.algo),
    signature: text(found.signature)?.replace(/\s/g, '').slice(0, 8),
  };
  const known = Object.fromEntries(Object.entries(about).filter(([, value]) => value !== undefined));
  return { ...known, ...verdict(found, comment) };
}

function verdict(
  found: MailauthSignatureResult,
  comment: string | undefined,
): Pick<DkimResult, 'result' | 'reason' | 'unsigned'> {
  const { status, canonBodyLengthLimit, canonBodyLengthTotal } = found;
  switch (status.result) {
    case 'pass': {
      // RFC 6376 section 3.5: l= must not be larger than the body.
      if (canonBodyLengthLimit !== undefined && canonBodyLengthLimit > (canonBodyLengthTotal ?? 0))
        return { result: 'permerror', reason: 'l= is longer than the body' };
      if (!status.underSized) return { result: 'pass' };
      return { result: 'pass', unsigned: status.underSized, reason: `${status.underSized} octets of the body are not signed` };
    }
    case 'fail':
      return { result: 'fail', reason: comment ?? 'the signature does not hold' };
    case 'temperror':
      return { result: 'temperror', reason: comment ?? 'DNS failure' };
    case 'policy':
      return { result: 'policy', reason: 'weak key' };
    default: {
      const unknown = comment === 'unknown algorithm' || comment === 'unknown canonicalization';
      return { result: unknown ? 'neutral' : 'permerror', reason: comment ?? 'the signature cannot be checked' };
    }
  }
}

/** Read before arc() takes it apart. */
function toldByFirst(chain: MailauthArcData['chain']): ArcResult['dmarc'] {
  const parsed = chain === false ? undefined : chain[0]?.['arc-authentication-results'].parsed;
  const dmarc = parsed?.['dmarc'] as { value?: unknown; header?: { from?: unknown } } | undefined;
  const [result, domain] = [dmarc?.value, dmarc?.header?.from];
  return typeof result === 'string' && typeof domain === 'string'
    ? { result: result.toLowerCase(), domain: domain.toLowerCase() }
    : undefined;
}

function arcResult(
  chain: MailauthArcData['chain'],
  status: { result: string; comment?: string | false },
  dmarc: ArcResult['dmarc'],
): ArcResult {
  if (status.result === 'pass' && chain !== false)
    return {
      result: 'pass',
      instance: chain.length,
      sealers: chain.map((set) => String(set['arc-seal'].parsed['d']?.value).toLowerCase()),
      ...(dmarc ? { dmarc } : {}),
    };
  if (status.result !== 'fail') return { result: 'none' };
  return { result: 'fail', ...(typeof status.comment === 'string' ? { reason: status.comment } : {}) };
}
