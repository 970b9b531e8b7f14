// Who vouches for a message from outside: SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 9989), ARC (RFC 8617).
//
//   client, HELO, MAIL FROM ─▶ spf() ──────────────────────────────┐  asked for when a recipient is taken
//   header (capped) ─┬─▶ author.ts: the From field's domain ───────┤
//                    ├─▶ mailauth-adapter.ts: signatures, seals ───┼─▶ dmarc/evaluate.ts ─▶ AuthenticationResult ─▶ inbound.ts: what to do
//   body, streamed ──┘                                             │
//   every DNS question ─▶ limited-resolver.ts: a budget for each ──┘
//
// Nothing of it fails a message: what DNS does not say in time, or we cannot work out, is a temperror.
import type { Resolver } from '../dns/resolver.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { parseFields, type HeaderField } from '../message/headers.ts';
import type { MessageSource } from '../message/source.ts';
import { authorOf } from './author.ts';
import type { ArcResult, DkimResult } from './dkim-result.ts';
import { authorPolicy, decideDmarc, type DmarcResult, type Identifiers } from './dmarc/evaluate.ts';
import { limitedResolver } from './limited-resolver.ts';
import type { HeaderRow, SignatureResults, VerifySignatures } from './mailauth-adapter.ts';
import { checkSpf, type SpfResult } from './spf/check.ts';

export interface AuthenticationResult {
  readonly spf: SpfResult;
  readonly dkim: readonly DkimResult[];
  readonly dmarc: DmarcResult;
  readonly arc: ArcResult;
}

/** Whom a message comes from. */
export interface Peer {
  readonly ip: string;
  readonly helo: string;
  /** MAIL FROM; empty for `<>`. */
  readonly sender: string;
}

export interface UnverifiedMessage {
  /** With the empty line at its end. */
  readonly header: Buffer;
  readonly source: MessageSource;
  /** Bytes of `source` that `header` stands for. */
  readonly headLength: number;
}

export interface VerifierOptions {
  readonly resolver: Resolver;
  readonly signatures: VerifySignatures;
  /** Our name. */
  readonly hostname: string;
  /** Milliseconds that DNS may take, for SPF and again for the rest. */
  readonly timeout: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A header over these is not looked at for signatures: ten of them would go through it ten times. */
const LIMITS = { headerBytes: 262_144, headerFields: 1_000 } as const;
/** DNS questions: ten terms of SPF may have ten hosts each; ten signatures and fifty seals; eight names an identifier of DMARC. */
const SPF_QUERIES = 120;
const KEY_QUERIES = 60;
const DMARC_QUERIES = 100;

export class MessageVerifier {
  readonly #o: VerifierOptions;

  constructor(options: VerifierOptions) {
    this.#o = options;
  }

  /** Never rejects. */
  async spf({ ip, helo, sender }: Peer): Promise<SpfResult> {
    const { clock, timeout, hostname } = this.#o;
    const dns = limitedResolver(this.#o.resolver, { queries: SPF_QUERIES, timeout }, clock);
    try {
      return await checkSpf({ ip, helo, sender, receiver: hostname, now: clock.now() }, dns.resolver);
    } finally {
      dns.close();
    }
  }

  /** `spf` may still be under way. Fails only as the source does. */
  async verify(message: UnverifiedMessage, spf: Promise<SpfResult>): Promise<AuthenticationResult> {
    const { clock, timeout, resolver } = this.#o;
    // Senders choose whose DNS is asked for keys: that has a budget of its own, and leaves time for the rest.
    const keys = limitedResolver(resolver, { queries: KEY_QUERIES, timeout: 0.8 * timeout }, clock);
    const policies = limitedResolver(resolver, { queries: DMARC_QUERIES, timeout }, clock);
    try {
      const fields = parseFields(message.header, { headerBytes: message.header.length, headerFields: Infinity });
      const [author, { dkim, arc }, sender] = await Promise.all([
        authorPolicy(authorOf(message.header, fields), policies.resolver),
        this.#signatures(message, fields, keys.resolver),
        spf,
      ]);
      const dmarc = await decideDmarc(
        author,
        identifiers(sender, dkim, 'pass'),
        identifiers(sender, dkim, 'temperror'),
        policies.resolver,
      );
      return { spf: sender, dkim, arc, dmarc };
    } finally {
      keys.close();
      policies.close();
    }
  }

  async #signatures(message: UnverifiedMessage, fields: readonly HeaderField[], resolver: Resolver): Promise<SignatureResults> {
    const { header } = message;
    const relevant = fields.some(({ name }) => name === 'dkim-signature' || name.startsWith('arc-'));
    if (!relevant) return { dkim: [], arc: { result: 'none' } };
    if (header.length > LIMITS.headerBytes || fields.length > LIMITS.headerFields)
      return { dkim: [{ result: 'policy', reason: 'the header is too long to be checked' }], arc: { result: 'none' } };
    const failed: { error?: unknown } = {};
    const signed = { rows: fields.map((field) => row(header, field)), body: () => bodyOf(message, failed) };
    try {
      return await this.#o.signatures(signed, resolver, this.#o.clock.now());
    } catch (error) {
      // The disk is a matter of the message; everything else is ours, and no reason to refuse it.
      if ('error' in failed) throw failed.error;
      this.#o.logger.error('authentication.failed', { error: error instanceof Error ? error.message : String(error) });
      return { dkim: [{ result: 'temperror', reason: 'the check failed' }], arc: { result: 'none' } };
    }
  }
}

/** Whom SPF and DKIM have this result for; a signature that leaves some of the body open vouches for nobody. */
const identifiers = (spf: SpfResult, dkim: readonly DkimResult[], wanted: 'pass' | 'temperror'): Identifiers => ({
  ...(spf.result === wanted ? { spf: spf.domain } : {}),
  dkim: dkim.filter(({ result, unsigned }) => result === wanted && unsigned === undefined).flatMap(({ domain }) => domain ?? []),
});

function row(header: Buffer, { name, start, end }: HeaderField): HeaderRow {
  let stop = end;
  if (header[stop - 1] === 0x0a) stop--;
  if (header[stop - 1] === 0x0d) stop--;
  return { key: name, casedKey: header.toString('latin1', start, start + name.length), line: header.subarray(start, stop) };
}

async function* bodyOf({ source, headLength }: UnverifiedMessage, failed: { error?: unknown }): AsyncIterable<Buffer> {
  let skip = headLength;
  try {
    for await (const chunk of source.chunks()) {
      if (skip < chunk.length) yield chunk.subarray(skip);
      skip = Math.max(0, skip - chunk.length);
    }
  } catch (error) {
    failed.error = error;
    throw error;
  }
}
