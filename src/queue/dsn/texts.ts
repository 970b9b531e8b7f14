// What reports say to people, in the languages that come with the server. Placeholders as in Postfix's bounce(5): $myhostname, $mydomain,
// $delay_warning_time_hours, $maximal_queue_lifetime_days and the like.
export const LANGUAGES = ['en', 'es'] as const;
export type Language = (typeof LANGUAGES)[number];

/** `verify` is what sendmail -bv and -v ask for, `postmaster` what the postmaster gets when a report itself cannot be delivered. */
export type ReportKind = 'failure' | 'delay' | 'success' | 'verify' | 'postmaster';

export interface ReportText {
  /** ASCII, one line. */
  readonly subject: string;
  /** Paragraphs, lines of at most 76 characters. */
  readonly lines: readonly string[];
}

export interface LanguageTexts {
  readonly reports: Readonly<Record<ReportKind, ReportText>>;
  /** What the sender can do, by the beginning of the status (RFC 3463) without its class: the longest that matches. */
  readonly hints: Readonly<Record<string, string>>;
}

const en: LanguageTexts = {
  reports: {
    failure: {
      subject: 'Undelivered Mail Returned to Sender',
      lines: [
        'This is the mail system at host $myhostname.',
        '',
        'Your message could not be delivered to one or more recipients. It is',
        'returned below; it will not be tried again.',
        '',
        'If you need help, write to the postmaster and include this report. You can',
        'delete your own text from the returned message.',
      ],
    },
    delay: {
      subject: 'Delayed Mail (still being retried)',
      lines: [
        'This is the mail system at host $myhostname.',
        '',
        '####################################################################',
        '# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #',
        '####################################################################',
        '',
        'Your message could not be delivered yet. It will be tried again until it is',
        '$maximal_queue_lifetime_days day(s) old; you will be told if it fails for good.',
      ],
    },
    success: {
      subject: 'Successful Mail Delivery Report',
      lines: [
        'This is the mail system at host $myhostname.',
        '',
        'Your message was delivered to the recipients below. "relayed" means that it',
        'was handed to a host that sends no reports of this kind: if it cannot be',
        'delivered there, you will be told as usual.',
      ],
    },
    verify: {
      subject: 'Mail Delivery Status Report',
      lines: ['This is the mail system at host $myhostname.', '', 'Enclosed is the mail delivery report that you requested.'],
    },
    postmaster: {
      subject: 'Postmaster Copy: Undelivered Mail',
      lines: [
        'This is the mail system at host $myhostname.',
        '',
        'A message without a sender (a report, as a rule) could not be delivered.',
        'Nobody else has been told.',
      ],
    },
  },
  hints: {
    '1.1': 'The address does not exist there: check how it is spelled.',
    '1.2': 'The domain does not exist or takes no mail: check how it is spelled.',
    '1.10': 'The domain takes no mail.',
    '2.1': 'The mailbox is closed: ask the recipient for another address.',
    '2.2': 'The mailbox is full: try again later, or reach the recipient another way.',
    '2.3': 'The message is too large for the recipient: send a smaller one.',
    '3.4': 'The message is too large for the recipient: send a smaller one.',
    '4.1': 'The host of the recipient could not be reached.',
    '4.4': 'The domain does not exist or takes no mail: check how it is spelled.',
    '4.6': 'The message went in a circle: the postmaster of the recipient has to mend it.',
    '4.7': 'The host of the recipient did not take it in time: send it again later.',
    '6.7': 'The host of the recipient cannot take addresses of this kind: ask for one in ASCII.',
    '7': 'The host of the recipient refuses it by a rule of its own: its reply above may say what to do.',
  },
};

const es: LanguageTexts = {
  reports: {
    failure: {
      subject: 'Correo no entregado, devuelto al remitente',
      lines: [
        'Este es el sistema de correo de $myhostname.',
        '',
        'Su mensaje no se pudo entregar a uno o más destinatarios. Se devuelve más',
        'abajo y no se volverá a intentar.',
        '',
        'Si necesita ayuda, escriba al administrador (postmaster) e incluya este',
        'informe. Puede borrar su propio texto del mensaje devuelto.',
      ],
    },
    delay: {
      subject: 'Correo retrasado (se sigue intentando)',
      lines: [
        'Este es el sistema de correo de $myhostname.',
        '',
        '###############################################################',
        '# ESTO ES SOLO UN AVISO. NO HACE FALTA QUE REENVÍE SU MENSAJE. #',
        '###############################################################',
        '',
        'Su mensaje todavía no se pudo entregar. Se volverá a intentar hasta que tenga',
        '$maximal_queue_lifetime_days día(s); se le avisará si falla definitivamente.',
      ],
    },
    success: {
      subject: 'Informe de entrega de correo',
      lines: [
        'Este es el sistema de correo de $myhostname.',
        '',
        'Su mensaje se entregó a los destinatarios de abajo. «relayed» significa que',
        'se entregó a un servidor que no envía informes de este tipo: si allí no se',
        'puede entregar, se le avisará como de costumbre.',
      ],
    },
    verify: {
      subject: 'Informe del estado de la entrega',
      lines: ['Este es el sistema de correo de $myhostname.', '', 'Este es el informe de entrega que ha pedido.'],
    },
    postmaster: {
      subject: 'Copia para postmaster: correo no entregado',
      lines: [
        'Este es el sistema de correo de $myhostname.',
        '',
        'Un mensaje sin remitente (normalmente un informe) no se pudo entregar.',
        'No se ha avisado a nadie más.',
      ],
    },
  },
  hints: {
    '1.1': 'La dirección no existe allí: compruebe cómo está escrita.',
    '1.2': 'El dominio no existe o no recibe correo: compruebe cómo está escrito.',
    '1.10': 'El dominio no recibe correo.',
    '2.1': 'El buzón está cerrado: pida otra dirección al destinatario.',
    '2.2': 'El buzón está lleno: inténtelo más tarde o por otro medio.',
    '2.3': 'El mensaje es demasiado grande para el destinatario: envíe uno más pequeño.',
    '3.4': 'El mensaje es demasiado grande para el destinatario: envíe uno más pequeño.',
    '4.1': 'No se pudo contactar con el servidor del destinatario.',
    '4.4': 'El dominio no existe o no recibe correo: compruebe cómo está escrito.',
    '4.6': 'El mensaje daba vueltas: tiene que arreglarlo el administrador del destino.',
    '4.7': 'El servidor del destinatario no lo aceptó a tiempo: envíelo de nuevo más tarde.',
    '6.7': 'El servidor del destinatario no admite direcciones de este tipo: pida una en ASCII.',
    '7': 'El servidor del destinatario lo rechaza por una regla suya: su respuesta puede decir qué hacer.',
  },
};

export const TEXTS: Readonly<Record<Language, LanguageTexts>> = { en, es };

/** What to do about a status, or undefined. */
export function hintFor(status: string, { hints }: LanguageTexts): string | undefined {
  const [, subject = '', detail = ''] = status.split('.');
  return hints[`${subject}.${detail}`] ?? hints[subject];
}
