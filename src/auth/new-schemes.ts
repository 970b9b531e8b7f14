/** Schemes in which new passwords can be stored; Debian's Dovecot reads all of them. */
export const NEW_SCHEMES = ['ARGON2ID', 'SCRAM-SHA-256', 'SHA512-CRYPT', 'SSHA512', 'CRAM-MD5', 'PLAIN'] as const;
