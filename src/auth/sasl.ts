// SASL mechanisms as exchanges of decoded bytes: PLAIN (RFC 4616), LOGIN, SCRAM (RFC 5802, RFC 7677), CRAM-MD5 (RFC 2195).
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { ScramSecret } from './stored-password.ts';
import type { SaslExchange, SaslStep } from './types.ts';

/** What a mechanism asks of the authenticator. */
export interface SaslBackend {
  /** Checks a password: gives the step that ends the exchange. */
  password(user: string, password: string): Promise<SaslStep>;
  /** The secret for SCRAM (for unknown users one that looks as real and fits nothing), or the step that ends the exchange. */
  scram(user: string, hash: 'sha1' | 'sha256'): Promise<ScramSecret | SaslStep>;
  /** HMAC-MD5 of the challenge with the user's secret; undefined when there is none. */
  cramMd5(user: string, challenge: Buffer): Promise<Buffer | undefined>;
  /** Ends an exchange that proved its secret itself. */
  conclude(user: string, proven: boolean): Promise<SaslStep>;
  /** Random text for nonces and challenges: printable, without a comma. */
  nonce(): string;
  readonly hostname: string;
}

const MAX_FIELD = 512;
const malformed = (text: string): SaslStep => ({ malformed: text });

/** UTF-8 without NUL; undefined for what is none or too long. */
function textOf(bytes: Buffer): string | undefined {
  if (bytes.length > MAX_FIELD) return undefined;
  const text = bytes.toString('utf8');
  return text.includes('\ufffd') || text.includes('\0') ? undefined : text;
}

export function plain(backend: SaslBackend): SaslExchange {
  return {
    async respond(response) {
      if (response === undefined) return { challenge: Buffer.alloc(0) };
      const at = response.indexOf(0);
      const second = response.indexOf(0, at + 1);
      if (at < 0 || second < 0) return malformed('Bad PLAIN response');
      const [authorize, user, password] = [
        response.subarray(0, at),
        response.subarray(at + 1, second),
        response.subarray(second + 1),
      ].map(textOf);
      if (authorize === undefined || user === undefined || password === undefined || user === '')
        return malformed('Bad PLAIN response');
      // Acting for somebody else is not offered.
      if (authorize !== '' && authorize.toLowerCase() !== user.toLowerCase()) return backend.conclude(user, false);
      return backend.password(user, password);
    },
  };
}

export function login(backend: SaslBackend): SaslExchange {
  let user: string | undefined;
  return {
    async respond(response) {
      if (response === undefined) return { challenge: Buffer.from('Username:') };
      const text = textOf(response);
      if (text === undefined) return malformed('Bad LOGIN response');
      if (user === undefined) {
        user = text;
        return { challenge: Buffer.from('Password:') };
      }
      return backend.password(user, text);
    },
  };
}

export function cramMd5(backend: SaslBackend): SaslExchange {
  let challenge: Buffer | undefined;
  return {
    async respond(response) {
      if (challenge === undefined) {
        if (response !== undefined && response.length > 0) return malformed('CRAM-MD5 has no initial response');
        challenge = Buffer.from(`<${backend.nonce()}@${backend.hostname}>`);
        return { challenge };
      }
      const text = textOf(response ?? Buffer.alloc(0)) ?? '';
      const space = text.lastIndexOf(' ');
      const digest = text.slice(space + 1).toLowerCase();
      if (space < 1 || !/^[0-9a-f]{32}$/.test(digest)) return malformed('Bad CRAM-MD5 response');
      const user = text.slice(0, space);
      const expected = await backend.cramMd5(user, challenge);
      const given = Buffer.from(digest, 'hex');
      return backend.conclude(user, expected !== undefined && timingSafeEqual(expected, given));
    },
  };
}

export function scram(backend: SaslBackend, hash: 'sha1' | 'sha256'): SaslExchange {
  let state: { user: string; first: string; nonce: string; secret: ScramSecret; header: string } | undefined;
  const first = async (text: string): Promise<SaslStep> => {
    const m = /^(n|y|p=[^,]*),(a=[^,]*)?,(n=([^,]+),r=([\x21-\x2b\x2d-\x7e]{1,256})(?:,.*)?)$/.exec(text);
    if (!m) return malformed('Bad SCRAM message');
    // No channel binding is offered: a client that demands one cannot be served.
    if (m[1]?.startsWith('p=')) return malformed('Channel binding is not supported');
    const user = (m[4] ?? '').replaceAll('=2C', ',').replaceAll('=3D', '=');
    const authorize = (m[2] ?? '').slice(2);
    if (authorize !== '' && authorize !== m[4]) return backend.conclude(user, false);
    const nonce = `${m[5]}${backend.nonce()}`;
    const secret = await backend.scram(user, hash);
    if (!('storedKey' in secret)) return secret;
    const serverFirst = `r=${nonce},s=${secret.salt.toString('base64')},i=${secret.iterations}`;
    state = { user, first: `${m[3]},${serverFirst}`, nonce, secret, header: `${m[1]},${m[2] ?? ''},` };
    return { challenge: Buffer.from(serverFirst) };
  };
  const final = async (text: string): Promise<SaslStep> => {
    const m = /^(c=([A-Za-z0-9+/=]+),r=([^,]+)(?:,[^,]*)*?),p=([A-Za-z0-9+/=]+)$/.exec(text);
    if (!m || !state) return malformed('Bad SCRAM message');
    const { user, secret } = state;
    const bindingOk = Buffer.from(m[2] ?? '', 'base64').toString('utf8') === state.header;
    const auth = `${state.first},${m[1]}`;
    const proof = Buffer.from(m[4] ?? '', 'base64');
    const signature = createHmac(hash, secret.storedKey).update(auth).digest();
    const clientKey = Buffer.from(signature.map((byte, i) => byte ^ (proof[i] ?? 0)));
    const proven =
      proof.length === signature.length && timingSafeEqual(createHash(hash).update(clientKey).digest(), secret.storedKey);
    const step = await backend.conclude(user, proven && bindingOk && m[3] === state.nonce);
    if (!('result' in step) || !step.result.ok) return step;
    return { ...step, data: Buffer.from(`v=${createHmac(hash, secret.serverKey).update(auth).digest('base64')}`) };
  };
  return {
    async respond(response) {
      if (response === undefined) return { challenge: Buffer.alloc(0) };
      if (response.length > 4 * MAX_FIELD) return malformed('The message is too long');
      const text = response.toString('utf8');
      return state ? final(text) : first(text);
    },
  };
}
