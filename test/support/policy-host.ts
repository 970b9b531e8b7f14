// Somebody else's web server with an MTA-STS policy, and the DNS that leads to it; both may misbehave.
import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { staticResolver, type Resolver, type StaticRecords } from '../../src/dns/resolver.ts';
import { systemClock, type Clock } from '../../src/lib/clock.ts';
import { MtaStsDiscovery, type DiscoveryOptions } from '../../src/policy/mta-sts/discovery.ts';
import { makeSelfSigned } from './certificate.ts';
import { captureLog, type LogEvent } from './log-capture.ts';

const pairs = new Map<string, Promise<{ cert: string; key: string }>>();
/** A certificate a name, made once. */
export function pairFor(name: string): Promise<{ cert: string; key: string }> {
  const pair = pairs.get(name) ?? makeSelfSigned([name]);
  pairs.set(name, pair);
  return pair;
}

export const policyText = (mode: string, mx: readonly string[], maxAge = 86_400): string =>
  ['version: STSv1', `mode: ${mode}`, ...mx.map((name) => `mx: ${name}`), `max_age: ${maxAge}`, ''].join('\r\n');

export class PolicyHost {
  /** What is answered; a text with 200 and text/plain. */
  answer: string | ((request: IncomingMessage, response: ServerResponse) => void) = '';
  /** `HOST PATH`, as asked. */
  readonly asked: string[] = [];
  readonly records: Record<string, StaticRecords> = {};
  /** TXT questions. */
  questions = 0;
  readonly events: LogEvent[];
  readonly clock: Clock & { readonly set: (ms: number) => void };
  readonly options: DiscoveryOptions;
  readonly #server: Server;

  private constructor(server: Server, directory: string, roots: string, clock: PolicyHost['clock']) {
    this.#server = server;
    this.clock = clock;
    const { logger, events } = captureLog();
    this.events = events;
    const current = (): Resolver => staticResolver(this.records);
    this.options = {
      directory,
      logger,
      clock,
      allowPrivate: true,
      port: (server.address() as AddressInfo).port,
      timeout: 2_000,
      roots: async () => roots,
      resolver: {
        ...current(),
        mx: (domain) => current().mx(domain),
        a: (name) => current().a(name),
        aaaa: (name) => current().aaaa(name),
        txt: (name) => {
          this.questions++;
          return current().txt(name);
        },
      },
    };
  }

  /** Serves mta-sts.x.test unless told another `name` for the certificate; roots are that certificate. */
  static async start(t: TestContext, directory: string, name = 'mta-sts.x.test'): Promise<PolicyHost> {
    const pair = await pairFor(name);
    const server = createServer(pair, (request, response) => {
      host.asked.push(`${request.headers.host} ${request.url}`);
      const { answer } = host;
      if (typeof answer !== 'string') return answer(request, response);
      response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
      response.end(answer);
    });
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    let now = Date.UTC(2026, 10, 1);
    const clock = { ...systemClock, now: () => now, set: (ms: number) => void (now = ms) };
    const host: PolicyHost = new PolicyHost(server, directory, pair.cert, clock);
    host.records['mta-sts.x.test'] = { a: ['127.0.0.1'] };
    host.say('one');
    t.after(() => host.stop());
    return host;
  }

  /** The record at _mta-sts.x.test. */
  say(id: string): void {
    this.records['_mta-sts.x.test'] = { txt: [`v=STSv1; id=${id};`] };
  }
  later(ms: number): void {
    this.clock.set(this.clock.now() + ms);
  }
  discovery(more: Partial<DiscoveryOptions> = {}): MtaStsDiscovery {
    return new MtaStsDiscovery({ ...this.options, ...more });
  }
  reasons(event = 'mta-sts.fetch-failed'): string[] {
    return this.events.filter((one) => one.event === event).map(({ fields }) => String(fields['reason']));
  }
  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
