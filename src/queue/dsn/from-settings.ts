// A reporter as the settings want it.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { LookupTable } from '../../config/lookup.ts';
import type { Settings } from '../../config/settings.ts';
import { lookUp } from '../../delivery/look-up.ts';
import type { Clock } from '../../lib/clock.ts';
import { MailError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import { shortId } from '../../lib/short-id.ts';
import { DsnReporter, type SendReport } from './reporter.ts';
import { parseBounceTemplates, reportTexts, timeValues, type BounceTemplates } from './templates.ts';
import { LANGUAGES } from './texts.ts';

export interface ReporterDeps {
  /** bounce_languages, opened; whoever opened them closes them. */
  readonly languages: readonly LookupTable[];
  readonly templates?: BounceTemplates;
  /** Milliseconds: maximal_queue_lifetime, and bounce_queue_lifetime for a sender of `<>`; when the warning of a delay comes. */
  readonly lifetime: (sender: string) => number;
  readonly delayWarning: number;
  readonly send: SendReport;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function makeReporter(settings: Settings, deps: ReporterDeps): DsnReporter {
  const { hostname, mydomain, postmaster, notify_classes } = settings;
  const times = {
    maximal_queue_lifetime: deps.lifetime('a@b'),
    bounce_queue_lifetime: deps.lifetime(''),
    delay_warning_time: deps.delayWarning,
  };
  return new DsnReporter({
    hostname,
    sizeLimit: settings.bounce_size_limit,
    lifetime: deps.lifetime,
    ...(postmaster !== undefined && notify_classes.includes('2bounce') ? { postmaster } : {}),
    texts: reportTexts({
      values: { myhostname: hostname, mydomain, myorigin: hostname, ...timeValues(times) },
      ...(deps.templates ? { templates: deps.templates } : {}),
      language: async (recipient) => {
        const domain = recipient.slice(recipient.lastIndexOf('@') + 1).toLowerCase();
        const found = await lookUp(deps.languages, [{ key: domain, unmatched: '', catchAll: false }]);
        const wanted = found?.value.trim().toLowerCase();
        return LANGUAGES.find((one) => one === wanted) ?? settings.bounce_default_language;
      },
    }),
    send: deps.send,
    newId: () => shortId().toUpperCase(),
    newBoundary: () => `${shortId()}.${randomBytes(12).toString('hex')}`,
    now: () => deps.clock.now(),
    logger: deps.logger,
  });
}

/** bounce_template_file. @throws MailError config `BOUNCE_TEMPLATE` when it cannot be read or is wrong */
export async function loadBounceTemplates({ bounce_template_file: file }: Settings): Promise<BounceTemplates | undefined> {
  if (file === undefined) return undefined;
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new MailError('config', 'BOUNCE_TEMPLATE', `bounce_template_file: ${(error as Error).message}`, { cause: error });
  });
  return parseBounceTemplates(bytes);
}
