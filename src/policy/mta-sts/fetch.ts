// Fetches a domain's policy over HTTPS (RFC 8461 section 3.3): the certificate must name mta-sts.DOMAIN, no redirect is followed, and everything has a limit.
import { request, type RequestOptions } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { checkServerIdentity, type SecureContextOptions } from 'node:tls';
import type { Resolver } from '../../dns/resolver.ts';
import type { Clock } from '../../lib/clock.ts';
import { isPublicAddress } from './public-address.ts';

/** RFC 8461 section 3.3 suggests both. */
const MAX_POLICY = 65_536;
const TIMEOUT = 60_000;
const MAX_ADDRESSES = 4;
const MAX_HEADER = 16_384;

export interface FetchOptions {
  readonly resolver: Resolver;
  readonly clock: Clock;
  /** Roots that the certificate must lead to; Node's own when it gives none. */
  readonly roots?: (() => Promise<SecureContextOptions['ca'] | undefined>) | undefined;
  /** Also addresses that are not of the public internet. */
  readonly allowPrivate: boolean;
  /** Default 443. */
  readonly port?: number;
  /** Milliseconds for everything; default 60 s. */
  readonly timeout?: number;
}

/** The policy's text. @throws with the reason; MailError when DNS or the roots cannot be read */
export async function fetchPolicy(domain: string, options: FetchOptions): Promise<string> {
  const stop = new AbortController();
  const stopTimer = options.clock.after(options.timeout ?? TIMEOUT, () => stop.abort(new Error('it takes too long')));
  const late = new Promise<never>((_, reject) =>
    stop.signal.addEventListener('abort', () => reject(stop.signal.reason as Error)),
  );
  try {
    return await Promise.race([fetched(`mta-sts.${domain}`, options, stop.signal), late]);
  } finally {
    stopTimer();
  }
}

async function fetched(name: string, options: FetchOptions, signal: AbortSignal): Promise<string> {
  const ca = await options.roots?.();
  let failure = new Error(`${name} has no address`);
  for (const address of await addressesOf(name, options)) {
    try {
      return await get(name, address, { port: options.port ?? 443, signal, ...(ca === undefined ? {} : { ca }) });
    } catch (error) {
      failure = error as Error;
      // What was answered is the answer; another address may only reach who did not.
      if (signal.aborted || error instanceof PolicyRefused) break;
    }
  }
  throw failure;
}

async function addressesOf(name: string, { resolver, allowPrivate }: FetchOptions): Promise<readonly string[]> {
  const answers = await Promise.allSettled([resolver.a(name), resolver.aaaa(name)]);
  const all = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  const failed = answers.find((answer) => answer.status === 'rejected');
  if (all.length === 0 && failed) throw failed.reason;
  const usable = all.filter((address) => allowPrivate || isPublicAddress(address));
  if (all.length > 0 && usable.length === 0)
    throw new Error(`${name} has no public address (${all.slice(0, MAX_ADDRESSES).join(', ')})`);
  return usable.slice(0, MAX_ADDRESSES);
}

/** An answer that is no policy. */
class PolicyRefused extends Error {}

function get(name: string, address: string, options: RequestOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({
      ...options,
      host: address,
      path: '/.well-known/mta-sts.txt',
      servername: name,
      headers: { host: name, accept: 'text/plain', 'user-agent': 'Buzon' },
      agent: false,
      minVersion: 'TLSv1.2',
      rejectUnauthorized: true,
      checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate),
      maxHeaderSize: MAX_HEADER,
    });
    // What is fetched for later does not keep a server that stops.
    asked.on('socket', (socket) => socket.unref());
    asked.on('error', reject);
    asked.on('response', (response) => {
      read(response)
        .then(resolve, reject)
        .finally(() => asked.destroy());
    });
    asked.end();
  });
}

/** @throws PolicyRefused */
async function read(response: IncomingMessage): Promise<string> {
  const { statusCode, headers } = response;
  // RFC 8461 section 3.3: "HTTP 3xx redirects MUST NOT be followed".
  if (statusCode !== 200) throw new PolicyRefused(`the answer is ${statusCode}, not 200`);
  const type = (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase();
  if (type !== 'text/plain') throw new PolicyRefused('the answer is not text/plain');
  const tooLong = new PolicyRefused(`the answer is over ${MAX_POLICY} bytes`);
  if (Number(headers['content-length'] ?? 0) > MAX_POLICY) throw tooLong;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_POLICY) throw tooLong;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
