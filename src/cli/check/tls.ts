// Certificates: usable, private, in date, and for the names that clients ask for.
import type { X509Certificate } from 'node:crypto';
import { realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { certificateFiles, certificateNames, loadPair, type LoadedCertificate } from '../../config/certificates.ts';
import type { Settings } from '../../config/settings.ts';
import { MailError } from '../../lib/errors.ts';
import { mailIdentity } from '../../worker/privileges.ts';
import type { Identity } from '../../worker/privileges.ts';
import { virtualDomains, type Report, type World } from './finding.ts';

const SOON_MS = 14 * 86_400_000;

export async function checkTls(world: World, report: Report): Promise<void> {
  const { settings, clock } = world;
  const all = certificateFiles(settings);
  if (all.length === 0) {
    report.warn(
      'TLS_NONE',
      'smtpd_tls_cert_file',
      'there is no certificate: no TLS, and log-ins over loopback only',
      'smtpd_tls_cert_file and smtpd_tls_key_file',
    );
    return;
  }
  const loaded: LoadedCertificate[] = [];
  for (const files of all) {
    try {
      loaded.push(await loadPair(files));
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      report.error(
        error.code,
        files.cert,
        error.message,
        error.code === 'TLS_KEY_EXPOSED' ? `run: chmod 600 ${files.key}` : 'a PEM certificate with its chain, and its key',
      );
    }
  }
  for (const { files, x509 } of loaded) {
    await checkReadable(settings, files, report);
    checkDates(report, files.cert, x509, clock.now());
    for (const name of files.domains)
      if (!covers(x509, name))
        report.error(
          'TLS_NAME_MISSING',
          name,
          `${files.cert} is not for this name but for ${certificateNames(x509).join(', ') || 'none'}`,
          `a certificate for ${name}`,
        );
  }
  checkPolicyHosts(world, loaded, report);
  const main = loaded.find(({ names }) => names.some((name) => matches(name, settings.hostname))) ?? loaded[0];
  if (main && !covers(main.x509, settings.hostname))
    report.error(
      'TLS_NAME_MISSING',
      settings.hostname,
      `no certificate is for the hostname, which the MX records point to`,
      `a certificate for ${settings.hostname}`,
    );
}

/** Who fetches a policy takes it only behind a certificate for its host (RFC 8461 section 3.3). */
function checkPolicyHosts(world: World, loaded: readonly LoadedCertificate[], report: Report): void {
  const { listeners, mta_sts: elsewhere } = world.settings;
  if (!listeners.some(({ protocol }) => protocol === 'https')) return;
  for (const domain of virtualDomains(world)) {
    const name = `mta-sts.${domain}`;
    if (elsewhere.some((one) => one.domain === domain) || loaded.some(({ x509 }) => covers(x509, name))) continue;
    report.error(
      'TLS_NAME_MISSING',
      name,
      'no certificate is for the host of the domain’s MTA-STS policy: nobody takes it',
      `a certificate for ${name}, under certificates`,
    );
  }
}

/**
 * With workers the supervisor stays root and reads for them. A single process gives root up after the start: what only root can read is not
 * read again when it is renewed.
 */
async function checkReadable(settings: Settings, { cert, key }: LoadedCertificate['files'], report: Report): Promise<void> {
  if (settings.workers > 0) return;
  const owner = await mailIdentity(settings).catch(() => undefined);
  // Another owner than root is who starts the server, too.
  if (!owner || owner.uid === 0) return;
  for (const file of [cert, key]) {
    const barred = await firstBarred(await realpath(file), owner);
    if (barred !== undefined)
      report.warn(
        'TLS_KEY_ROOT_ONLY',
        file,
        `uid ${owner.uid} may not use ${barred}: a renewed certificate is taken over only at the next start`,
        `workers: 1 or more; or a copy that uid ${owner.uid} may read, made after each renewal`,
      );
  }
}

/** The file or the folder on the way to it that `who` may not read or enter, by its mode (ACLs are not looked at). */
async function firstBarred(path: string, who: Identity): Promise<string | undefined> {
  for (let at = path; ; at = dirname(at)) {
    const { uid, gid, mode } = await stat(at);
    const bits = uid === who.uid ? mode >> 6 : gid === who.gid ? mode >> 3 : mode;
    if ((bits & (at === path ? 4 : 1)) === 0) return at;
    if (at === dirname(at)) return undefined;
  }
}

function checkDates(report: Report, file: string, x509: X509Certificate, now: number): void {
  const until = x509.validToDate.getTime();
  if (until < now) report.error('TLS_EXPIRED', file, `it ended on ${x509.validTo}`, 'a new certificate');
  else if (until - now < SOON_MS) report.warn('TLS_EXPIRES_SOON', file, `it ends on ${x509.validTo}`, 'a new certificate');
  if (x509.validFromDate.getTime() > now)
    report.error('TLS_NOT_YET', file, `it begins on ${x509.validFrom}`, 'a certificate that is valid now, or a right clock');
}

/** Whether the certificate's own names (RFC 6125) have `name`; a wildcard name needs the wildcard. */
function covers(x509: X509Certificate, name: string): boolean {
  return certificateNames(x509).some((one) => one === name || matches(one, name));
}

/** `*.example.com` stands for one label. */
function matches(pattern: string, name: string): boolean {
  const dot = name.indexOf('.');
  return pattern === name || (dot > 0 && !name.startsWith('*') && pattern === `*${name.slice(dot)}`);
}
