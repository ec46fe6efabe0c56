import { createHash, createHmac, hash } from 'node:crypto';
import { isRegion } from '../core/arn.js';
import { equalConstantTime } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { Memo } from '../core/memo.js';
import {
  SIGNED_HEADERS,
  canonicalRequest,
  queryOf,
  type HeaderValues,
  type WireRequest,
} from './canonical-request.js';
import { readPresigned, unsignedPayload } from './presigned.js';
import {
  INVALID_TOKEN,
  SCOPE_TERMINATOR,
  signingKey,
  type AccessKey,
  type AccessKeys,
  type Scope,
} from './credentials.js';

/** Who signed a request, and for which region. */
export interface Signer {
  readonly key: AccessKey;
  readonly region: string;
  /** the session token that came with the key */
  readonly token: string | undefined;
}

export interface Verification {
  readonly keys: AccessKeys;
  /** the service's name in credential scopes; undefined takes the one that the client names */
  readonly service: string | undefined;
  /** wire time: milliseconds since 1970 */
  readonly nowMs: number;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';
const BEYOND_ASCII = /[\u0080-\u00ff]/;
const MISMATCH =
  'The request signature we calculated does not match the signature you provided. ' +
  'Check your AWS Secret Access Key and signing method. ' +
  'Consult the service documentation for details.';

const incomplete = (sentence: string): KeyspanError =>
  new KeyspanError('IncompleteSignatureException', sentence);
const invalid = (sentence: string): KeyspanError =>
  new KeyspanError('InvalidSignatureException', sentence);

/** What a client says about its signature. */
interface Claim {
  readonly accessKeyId: string;
  readonly scope: Scope;
  readonly terminator: string;
  /** as the client wrote it */
  readonly signedHeaders: string;
  readonly signature: string;
  /** YYYYMMDD'T'HHMMSS'Z' */
  readonly date: string;
  /** the same, in milliseconds since 1970 */
  readonly dateMs: number;
  /** of temporary credentials */
  readonly token: string | undefined;
  /** of a signature in the query */
  readonly presigned?: {
    /** how long it is good, where the client says so */
    readonly expiresSeconds: number | undefined;
    /** the query without the signature */
    readonly query: string;
    readonly payload: string | undefined;
  };
}

/**
 * Verifies AWS Signature Version 4 on the request as it was sent: in the Authorization header, or
 * in the query where there is no such header; with the session token of temporary credentials.
 * Where a key that is not known speaks for somebody (`AccessKeys.stranger`), its signature is not
 * looked at.
 * @throws MissingAuthenticationTokenException, IncompleteSignatureException,
 * InvalidSignatureException, UnrecognizedClientException, ExpiredTokenException, with AWS's
 * sentences
 */
export function verifySignature(request: WireRequest, verification: Verification): Signer {
  const { headers } = request;
  const claim = readClaim(request);
  const { keys, service, nowMs } = verification;
  checkScope(claim, service ?? claim.scope.service);
  const stranger = strangerOf(claim, keys);
  if (stranger) return signerOf(claim, stranger);
  checkSignedHeaders(claim, headers);
  checkTime(claim, nowMs);
  const key = keys.find(claim.accessKeyId, claim.token);
  if (!key) throw new KeyspanError('UnrecognizedClientException', INVALID_TOKEN);
  const canonical = canonicalRequest(request, claim.signedHeaders, claim.presigned);
  const expected = Buffer.from(signatureOf(canonical, claim, key), 'latin1');
  if (!equalConstantTime(expected, Buffer.from(claim.signature, 'latin1'))) throw invalid(MISMATCH);
  return signerOf(claim, key);
}

const signerOf = ({ scope, token }: Claim, key: AccessKey): Signer => ({
  key,
  region: scope.region,
  token,
});

/** Whom a key that is not known speaks for, where any is taken. */
function strangerOf({ accessKeyId, token }: Claim, keys: AccessKeys): AccessKey | undefined {
  if (!keys.stranger || keys.find(accessKeyId, token)) return undefined;
  return keys.stranger(accessKeyId);
}

/** The signature that the key gives the request ("Create a string to sign", "Calculate"). */
function signatureOf(canonical: string, claim: Claim, key: AccessKey): string {
  // a text that is hashed as it is costs half of one that is copied first
  const bytes = BEYOND_ASCII.test(canonical) ? Buffer.from(canonical, 'latin1') : canonical;
  const digest = hash('sha256', bytes, 'hex');
  const { date, region, service } = claim.scope;
  const scope = `${date}/${region}/${service}/${SCOPE_TERMINATOR}`;
  const text = `${ALGORITHM}\n${claim.date}\n${scope}\n${digest}`;
  return createHmac('sha256', signingKey(key, claim.scope)).update(text, 'latin1').digest('hex');
}

function readClaim({ target, headers, body }: WireRequest): Claim {
  const authorizations = headers.get('authorization');
  if (!authorizations) {
    const presigned = readPresigned(queryOf(target));
    if (presigned) {
      const { credential, date, ...claim } = presigned;
      const payload = unsignedPayload(presigned.parameters, headers, body);
      const { expiresSeconds, query } = presigned;
      return {
        ...claim,
        ...CREDENTIALS.of(credential),
        ...DATES.of(date),
        presigned: { expiresSeconds, query, payload },
      };
    }
    throw new KeyspanError('MissingAuthenticationTokenException', 'Missing Authentication Token');
  }
  const usual = authorizations.length === 1 ? USUAL.exec(authorizations[0] ?? '') : null;
  const [date] = headers.get('x-amz-date') ?? [];
  if (usual && date !== undefined && headers.get('x-amz-date')?.length === 1) {
    const [, credential = '', signedHeaders = '', signature = ''] = usual;
    return claimOf({ credential, signedHeaders, signature }, date, headers);
  }
  return claimOf(...readUnusual(authorizations.join(', '), headers), headers);
}

/** What almost every client sends: there is nothing wrong with its form. */
const USUAL =
  /^AWS4-HMAC-SHA256 Credential=([^ ,=]+), ?SignedHeaders=([^ ,=]+), ?Signature=([^ ,=]+)$/;

interface Parameters {
  readonly credential: string;
  readonly signedHeaders: string;
  readonly signature: string;
}

const claimOf = (
  { credential, signedHeaders, signature }: Parameters,
  date: string,
  headers: HeaderValues,
): Claim => {
  const { accessKeyId, scope, terminator } = CREDENTIALS.of(credential);
  const { date: basic, dateMs } = DATES.of(date);
  const token = headers.get('x-amz-security-token')?.join(',');
  return { accessKeyId, scope, terminator, signedHeaders, signature, date: basic, dateMs, token };
};

/** @throws IncompleteSignatureException with all that is missing */
function readUnusual(authorization: string, headers: HeaderValues): [Parameters, string] {
  const parameters = readAuthorization(authorization);
  const dates = headers.get('x-amz-date') ?? headers.get('date') ?? [];
  const missing = NEEDED.filter((name) => !parameters.get(name)).map(
    (name) => `Authorization header requires '${name}' parameter.`,
  );
  if (dates.length === 0) {
    missing.push(
      "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
    );
  }
  if (missing.length > 0) throw incomplete(`${missing.join(' ')} ${hashed(authorization)}`);
  const [credential = '', signature = '', signedHeaders = ''] = NEEDED.map((name) =>
    parameters.get(name),
  );
  return [{ credential, signature, signedHeaders }, dates.join(',')];
}

const NEEDED = ['Credential', 'Signature', 'SignedHeaders'] as const;

/** What a header may hold of secrets is not repeated, as AWS does not any more. */
const hashed = (authorization: string): string =>
  '(Hashed with SHA-256 and encoded with Base64) Authorization=' +
  createHash('sha256').update(authorization, 'latin1').digest('base64');

/** `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…` */
function readAuthorization(authorization: string): Map<string, string> {
  const [algorithm = '', ...pieces] = authorization.split(/[ ,]+/).filter((piece) => piece !== '');
  if (algorithm !== ALGORITHM) {
    throw incomplete(`Unsupported AWS 'algorithm': '${algorithm}' (only ${ALGORITHM} for now). `);
  }
  const parameters = new Map<string, string>();
  for (const piece of pieces) {
    const at = piece.indexOf('=');
    if (at < 0 || parameters.has(piece.slice(0, at))) {
      const what = `'${piece}' not a valid key=value pair (missing equal-sign)`;
      throw incomplete(`${what} in Authorization header: '${authorization}'.`);
    }
    parameters.set(piece.slice(0, at), piece.slice(at + 1));
  }
  return parameters;
}

function readCredential(credential: string): Pick<Claim, 'accessKeyId' | 'scope' | 'terminator'> {
  const parts = credential.split('/');
  const [accessKeyId = '', date = '', region = '', service = '', terminator = ''] = parts;
  if (parts.length !== 5) {
    throw incomplete(
      'Credential must have exactly 5 slash-delimited elements, ' +
        `e.g. keyid/date/region/service/term, got '${credential}'`,
    );
  }
  return { accessKeyId, scope: { date, region, service }, terminator };
}

const BASIC = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;
/** RFC 9110, section 5.6.7: what a `Date` header holds */
const HTTP_DATE = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;

/** The date in ISO 8601's basic format, from that or from the format of a `Date` header. */
function readDate(text: string): { readonly date: string; readonly dateMs: number } {
  const isHttp = HTTP_DATE.test(text) && !Number.isNaN(Date.parse(text));
  const basic = isHttp ? formatBasic(Date.parse(text)) : text;
  const dateMs = parseBasic(basic);
  if (!Number.isNaN(dateMs)) return { date: basic, dateMs };
  throw incomplete(
    `Date must be in ISO-8601 'basic format'. Got '${text}'. ` +
      'See http://en.wikipedia.org/wiki/ISO_8601',
  );
}

/** Milliseconds since 1970, or NaN when it is no date, such as the 31st of June. */
function parseBasic(text: string): number {
  const ms = Date.parse(text.replace(BASIC, '$1-$2-$3T$4:$5:$6Z'));
  return BASIC.test(text) && formatBasic(ms) === text ? ms : Number.NaN;
}

function formatBasic(ms: number): string {
  if (Number.isNaN(ms)) return '';
  return new Date(ms)
    .toISOString()
    .replace(/\.\d{3}/, '')
    .replaceAll(/[-:]/g, '');
}

/** A client signs with one credential all day, and often within one second. */
const CREDENTIALS = new Memo(readCredential, LIMITS.signing_texts_max);
const DATES = new Memo(readDate, LIMITS.signing_texts_max);

/** AWS names all that is wrong with a scope at once, each sentence with a space behind it. */
function checkScope({ scope, terminator, date }: Claim, service: string): void {
  const day = date.slice(0, 8);
  const isGood = scope.service === service && terminator === SCOPE_TERMINATOR && scope.date === day;
  if (isGood && isRegion(scope.region)) return;
  const wrong: string[] = [];
  if (!isRegion(scope.region)) {
    wrong.push(`Credential should be scoped to a valid region, not '${scope.region}'. `);
  }
  if (scope.service !== service) {
    wrong.push(`Credential should be scoped to correct service: '${service}'. `);
  }
  if (terminator !== SCOPE_TERMINATOR) {
    const valid = `Credential should be scoped with a valid terminator: '${SCOPE_TERMINATOR}'`;
    wrong.push(`${valid}, not '${terminator}'. `);
  }
  if (scope.date !== day) {
    wrong.push(
      'Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: ' +
        `'${scope.date}' != '${day}', from '${date}'. `,
    );
  }
  if (wrong.length > 0) throw invalid(wrong.join(''));
}

/**
 * The host, and whatever else AWS gives a meaning to, must be under the signature; and what is
 * under it must be there: one that was taken away would look like one that is empty.
 */
function checkSignedHeaders({ signedHeaders }: Claim, headers: HeaderValues): void {
  const { set: signed } = SIGNED_HEADERS.of(signedHeaders);
  const must = (what: string): string =>
    `${what} must be a 'SignedHeader' in the AWS Authorization.`;
  if (!signed.has('host')) throw invalid(must("'Host' or ':authority'"));
  for (const name of headers.keys()) {
    if (name.startsWith('x-amz-') && !signed.has(name)) throw invalid(must(`'${name}'`));
  }
  for (const name of signed) if (!headers.has(name)) throw invalid(MISMATCH);
}

function checkTime({ date, dateMs: signedMs, presigned }: Claim, nowMs: number): void {
  const skew = LIMITS.signature_skew_max_ms;
  const seconds = presigned?.expiresSeconds;
  const goodMs = seconds === undefined ? skew : seconds * 1_000;
  if (signedMs >= nowMs - goodMs && signedMs <= nowMs + skew) return;
  const minutes = skew / 60_000;
  const now = formatBasic(nowMs);
  if (signedMs < nowMs - goodMs) {
    const good = seconds === undefined ? `${minutes} min.` : `${seconds} sec.`;
    const bound = `${formatBasic(nowMs - goodMs)} (${now} - ${good})`;
    throw invalid(`Signature expired: ${date} is now earlier than ${bound}`);
  }
  const bound = `${formatBasic(nowMs + skew)} (${now} + ${minutes} min.)`;
  throw invalid(`Signature not yet current: ${date} is still later than ${bound}`);
}
