import { domainToASCII } from 'node:url';

/** A domain in A-labels (RFC 5890 section 2.3.2.1), lower case; as it is where it cannot be converted. */
export const aLabels = (domain: string): string => domainToASCII(domain) || domain;
