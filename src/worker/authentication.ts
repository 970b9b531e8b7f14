// Verification of mail from outside, from the settings.
import { OUTCOMES } from '../config/schema-authentication.ts';
import type { Settings } from '../config/settings.ts';
import { systemResolver, type Resolver } from '../dns/resolver.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { InboundAuthentication, type AuthenticationActions } from '../policy/inbound.ts';
import { loadMailauth, type VerifySignatures } from '../policy/mailauth-adapter.ts';
import { MessageVerifier } from '../policy/verify.ts';

export interface AuthenticationDeps {
  /** Instead of the settings' name servers. */
  readonly resolver: Resolver | undefined;
  /** This process is nothing but the server: it may ask the settings' name servers. Where it is part of another program only `resolver` is asked. */
  readonly ownProcess: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What judges mail now; `load` once, before rights are given up, `apply` with each new set of settings. */
export class LiveAuthentication {
  readonly #deps: AuthenticationDeps;
  #signatures: VerifySignatures | undefined;
  /** Undefined where nothing is verified. */
  current: InboundAuthentication | undefined;

  constructor(deps: AuthenticationDeps) {
    this.#deps = deps;
  }

  async load(settings: Settings): Promise<void> {
    const { resolver, ownProcess } = this.#deps;
    if (settings.message_authentication === 'off' || (!resolver && !ownProcess)) return;
    this.#signatures = await loadMailauth();
    this.apply(settings);
  }

  apply(settings: Settings): void {
    const signatures = this.#signatures;
    if (!signatures) return;
    const { clock, logger } = this.#deps;
    const { hostname, dns, message_authentication_timeout: timeout } = settings;
    this.current = new InboundAuthentication({
      verifier: new MessageVerifier({
        // A question that nobody waits for any more ends too.
        resolver: this.#deps.resolver ?? systemResolver({ ...dns, timeout: Math.min(dns.timeout, timeout), clock }),
        signatures,
        hostname,
        timeout,
        clock,
        logger,
      }),
      authservId: settings.authserv_id,
      hostname,
      actionsFor: actionsBySettings(settings),
      tempfail: settings.message_authentication_tempfail,
      trustedSealers: new Set(settings.arc_trusted_sealers),
    });
  }
}

function actionsBySettings(settings: Settings): (domain: string) => AuthenticationActions {
  const general = Object.fromEntries(OUTCOMES.map((name) => [name, settings[name]])) as AuthenticationActions;
  const byDomain = new Map(
    settings.message_authentication_domains.map(({ domain, ...own }) => {
      const set = Object.entries(own).filter(([, action]) => action !== undefined);
      return [domain, { ...general, ...(Object.fromEntries(set) as Partial<AuthenticationActions>) }];
    }),
  );
  return (domain) => byDomain.get(domain) ?? general;
}
