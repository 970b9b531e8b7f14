// The verifier of inbound mail as tests call it, and what DNS says of their keys.
import type { Resolver, StaticRecords } from '../../src/dns/resolver.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { loadMailauth } from '../../src/policy/mailauth-adapter.ts';
import { MessageVerifier, type AuthenticationResult, type VerifierOptions } from '../../src/policy/verify.ts';
import type { TestKey } from './dkim.ts';
import { unverified } from './signed-message.ts';

const signatures = await loadMailauth();

export const testVerifier = (resolver: Resolver, options: Partial<VerifierOptions> = {}): MessageVerifier =>
  new MessageVerifier({
    resolver,
    signatures,
    hostname: 'here.test',
    timeout: 5_000,
    clock: systemClock,
    logger: silentLogger,
    ...options,
  });

/** A message from 192.0.2.1 with a null sender. */
export function verifyMessage(
  message: string | Buffer,
  resolver: Resolver,
  options: Partial<VerifierOptions> = {},
): Promise<AuthenticationResult> {
  const verifier = testVerifier(resolver, options);
  return verifier.verify(unverified(message), verifier.spf({ ip: '192.0.2.1', helo: 'x.test', sender: '' }));
}

export const keyRecords = (...keys: readonly TestKey[]): Record<string, StaticRecords> =>
  Object.fromEntries(keys.map(({ selector, domain, record }) => [`${selector}._domainkey.${domain}`, { txt: [record] }]));
