// Certificates: usable, private, in date, and for the names that clients ask for.
import type { X509Certificate } from 'node:crypto';
import { certificateFiles, certificateNames, loadPair, type LoadedCertificate } from '../../config/certificates.ts';
import { MailError } from '../../lib/errors.ts';
import type { Report, World } from './finding.ts';

const SOON_MS = 14 * 86_400_000;

export async function checkTls({ settings, clock }: World, report: Report): Promise<void> {
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
  const main = loaded.find(({ names }) => names.some((name) => matches(name, settings.hostname))) ?? loaded[0];
  if (main && !covers(main.x509, settings.hostname))
    report.error(
      'TLS_NAME_MISSING',
      settings.hostname,
      `no certificate is for the hostname, which the MX records point to`,
      `a certificate for ${settings.hostname}`,
    );
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
