import * as fc from 'fast-check';
import { createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { canonicalRequest } from '../../src/iam/canonical-request.js';
import { signingKey, type AccessKey } from '../../src/iam/credentials.js';
import { parsePrincipal } from '../../src/iam/principal.js';
import { verifySignature, type Verification } from '../../src/iam/sigv4.js';
import {
  onTheWire,
  signedHeaders,
  type ToSign,
  received,
  type SentRequest,
} from '../support/sigv4-signer.js';

const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
const KEY: AccessKey = {
  id: 'AKIDEXAMPLE',
  secret: Buffer.from(SECRET),
  principal: parsePrincipal('arn:aws:iam::123456789012:root'),
};
const NOW = '2015-08-30T12:36:00Z';
const credentials = { accessKeyId: KEY.id, secretAccessKey: SECRET };

const verification = (changes: Partial<Verification> = {}): Verification => ({
  keys: { find: (id) => (id === KEY.id ? KEY : undefined) },
  service: 'service',
  nowMs: Date.parse(NOW),
  ...changes,
});

/** What a request is refused with, or `accepted`. */
function outcome(request: SentRequest, changes: Partial<Verification> = {}): string {
  try {
    const { key } = verifySignature(received(request), verification(changes));
    expect(key).toBe(KEY);
    return 'accepted';
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code}: ${message}`;
  }
}

const MISMATCH =
  'InvalidSignatureException: The request signature we calculated does not match the signature ' +
  'you provided. Check your AWS Secret Access Key and signing method. Consult the service ' +
  'documentation for details.';

interface Example {
  readonly name: string;
  /** method and target; beyond ASCII in UTF-8 */
  readonly request: string;
  readonly headers?: readonly string[];
  readonly body?: string;
  readonly signed?: string;
  readonly signature: string;
}

/** The published example requests of Signature Version 4. */
const { requests: SUITE } = JSON.parse(
  readFileSync(new URL('../vectors/sigv4.json', import.meta.url), 'utf8'),
) as { requests: readonly Example[] };

interface Parts {
  readonly signature?: string;
  readonly signed?: string;
  readonly credential?: string;
  readonly date?: string;
  readonly headers?: readonly string[];
}

const VANILLA = '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31';
const CREDENTIAL = 'AKIDEXAMPLE/20150830/us-east-1/service/aws4_request';
const AUTHORIZATION = `AWS4-HMAC-SHA256 Credential=${CREDENTIAL}, SignedHeaders=host;x-amz-date`;

/** `GET /` of the suite, with the parts that are given in place of its own. */
function vanilla(parts: Parts = {}): SentRequest {
  const { signature = VANILLA, signed = 'host;x-amz-date', credential = CREDENTIAL } = parts;
  const authorization =
    `AWS4-HMAC-SHA256 Credential=${credential}, ` +
    `SignedHeaders=${signed}, Signature=${signature}`;
  const dated = ['X-Amz-Date', parts.date ?? '20150830T123600Z'];
  const host = ['Host', 'example.amazonaws.com'];
  const own = parts.headers ?? [];
  const headers = [...host, ...dated, ...own, 'Authorization', authorization];
  return { method: 'GET', target: '/', headers, body: Buffer.alloc(0) };
}

const withHeaders = (...headers: string[]): SentRequest => ({ ...vanilla(), headers });

describe("the examples of AWS's suite", () => {
  test.each(SUITE)('$name', ({ request: text, headers, body = '', signed, signature }) => {
    const request = Buffer.from(text, 'utf8').toString('latin1');
    const at = request.indexOf(' ');
    const given: SentRequest = {
      ...vanilla({ signature, ...(signed && { signed }), ...(headers && { headers }) }),
      method: request.slice(0, at),
      target: request.slice(at + 1),
      body: Buffer.from(body),
    };
    expect(outcome(given)).toBe('accepted');
    expect(outcome({ ...given, body: Buffer.from(`${body}!`) })).toBe(MISMATCH);
  });
});

describe('what lacks a part', () => {
  const date = ['X-Amz-Date', '20150830T123600Z'];

  test('is not signed at all', () => {
    expect(outcome(withHeaders('Host', 'h', ...date))).toBe(
      'MissingAuthenticationTokenException: Missing Authentication Token',
    );
  });

  test.each([
    [
      'AWS4-HMAC-SHA256',
      [],
      "Authorization header requires 'Credential' parameter. " +
        "Authorization header requires 'Signature' parameter. " +
        "Authorization header requires 'SignedHeaders' parameter. " +
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. " +
        '(Hashed with SHA-256 and encoded with Base64) ' +
        'Authorization=YI2YWea8FSxnksZL2ETHbs5elHm9HQufxTLK0W0ffV0=',
    ],
    [
      `${AUTHORIZATION}, Signature=`,
      date,
      /^Authorization header requires 'Signature' parameter\. \(Hashed/,
    ],
    [
      `AWS4-HMAC-SHA256 Credential=${CREDENTIAL},Signature=x`,
      date,
      /^Authorization header requires 'SignedHeaders' parameter\. \(Hashed/,
    ],
    [
      `${AUTHORIZATION}, Signature=x`,
      [],
      /^Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header\. \(/,
    ],
    [
      'AWS4-HMAC-SHA256 Credential',
      date,
      "'Credential' not a valid key=value pair (missing equal-sign) in Authorization header: " +
        "'AWS4-HMAC-SHA256 Credential'.",
    ],
    [
      `${AUTHORIZATION}, Signature=x, Signature=y`,
      date,
      /^'Signature=y' not a valid key=value pair/,
    ],
    [
      'Bearer abc=def',
      date,
      "Unsupported AWS 'algorithm': 'Bearer' (only AWS4-HMAC-SHA256 for now). ",
    ],
    ['', date, "Unsupported AWS 'algorithm': '' (only AWS4-HMAC-SHA256 for now). "],
    [
      'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830, SignedHeaders=host, Signature=x',
      date,
      'Credential must have exactly 5 slash-delimited elements, ' +
        "e.g. keyid/date/region/service/term, got 'AKIDEXAMPLE/20150830'",
    ],
    [
      `${AUTHORIZATION}, Signature=x`,
      ['X-Amz-Date', 'yesterday'],
      "Date must be in ISO-8601 'basic format'. Got 'yesterday'. " +
        'See http://en.wikipedia.org/wiki/ISO_8601',
    ],
    [`${AUTHORIZATION}, Signature=x`, ['X-Amz-Date', '20150631T123600Z'], /^Date must be in ISO/],
    [`${AUTHORIZATION}, Signature=x`, [...date, ...date], /^Date must be in ISO/],
  ])('%s', (authorization, headers, sentence) => {
    const said = outcome(withHeaders('Host', 'h', ...headers, 'Authorization', authorization));
    const name = 'IncompleteSignatureException: ';
    expect(said.slice(0, name.length)).toBe(name);
    if (typeof sentence === 'string') expect(said.slice(name.length)).toBe(sentence);
    else expect(said.slice(name.length)).toMatch(sentence);
  });

  test('two Authorization headers are none', () => {
    const { headers } = vanilla();
    const twice = withHeaders(...headers, ...headers.slice(-2));
    expect(outcome(twice)).toMatch(/^IncompleteSignatureException: 'AWS4-HMAC-SHA256' not a valid/);
  });
});

describe('a scope', () => {
  test.each([
    [
      'AKIDEXAMPLE/20150830/us-east-1/kms/aws4_request',
      "Credential should be scoped to correct service: 'service'. ",
    ],
    [
      'AKIDEXAMPLE/20150830/somewhere/service/aws4_request',
      "Credential should be scoped to a valid region, not 'somewhere'. ",
    ],
    [
      'AKIDEXAMPLE/20150830/us-east-1/service/aws4',
      "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws4'. ",
    ],
    [
      'AKIDEXAMPLE/20150829/us-east-1/service/aws4_request',
      'Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: ' +
        "'20150829' != '20150830', from '20150830T123600Z'. ",
    ],
    [
      'AKIDEXAMPLE/20150830/x/kms/aws4_request',
      "Credential should be scoped to a valid region, not 'x'. " +
        "Credential should be scoped to correct service: 'service'. ",
    ],
  ])('%s', (credential, sentence) => {
    expect(outcome(vanilla({ credential }))).toBe(`InvalidSignatureException: ${sentence}`);
  });

  test('may name any region, and where the door asks for none, any service', async () => {
    const request: ToSign = { method: 'POST', path: '/', headers: { host: 'h' }, body: '{}' };
    for (const region of ['eu-central-1', 'us-gov-west-1', 'ap-southeast-2']) {
      const options = { ...credentials, region, service: 'other', date: new Date(NOW) };
      const wire = onTheWire(request, await signedHeaders(request, options));
      expect(verifySignature(received(wire), verification({ service: undefined })).region).toBe(
        region,
      );
    }
  });
});

describe('signed headers', () => {
  test('must hold the host', () => {
    expect(outcome(vanilla({ signed: 'x-amz-date' }))).toBe(
      "InvalidSignatureException: 'Host' or ':authority' must be a 'SignedHeader' in the AWS " +
        'Authorization.',
    );
  });

  test('must hold whatever AWS gives a meaning to', () => {
    expect(outcome(vanilla({ headers: ['X-Amz-Target', 'T.A'] }))).toBe(
      "InvalidSignatureException: 'x-amz-target' must be a 'SignedHeader' in the AWS " +
        'Authorization.',
    );
    expect(outcome(vanilla({ headers: ['User-Agent', 'curl'] }))).toBe('accepted');
  });

  test('that are not there, or in another order, do not fit', () => {
    expect(outcome(vanilla({ signed: 'host;x-amz-date;x-gone' }))).toBe(MISMATCH);
    expect(outcome(vanilla({ signed: 'x-amz-date;host' }))).toBe(MISMATCH);
  });
});

describe('the time', () => {
  const at = (time: string): string => outcome(vanilla(), { nowMs: Date.parse(time) });

  test('may differ by five minutes', () => {
    expect(at('2015-08-30T12:41:00Z')).toBe('accepted');
    expect(at('2015-08-30T12:31:00Z')).toBe('accepted');
  });

  test('is over', () => {
    expect(at('2015-08-30T12:41:01Z')).toBe(
      'InvalidSignatureException: Signature expired: 20150830T123600Z is now earlier than ' +
        '20150830T123601Z (20150830T124101Z - 5 min.)',
    );
  });

  test('has not come', () => {
    expect(at('2015-08-30T12:30:59Z')).toBe(
      'InvalidSignatureException: Signature not yet current: 20150830T123600Z is still later ' +
        'than 20150830T123559Z (20150830T123059Z + 5 min.)',
    );
  });

  test('may stand in a Date header', () => {
    const date = 'Sun, 30 Aug 2015 12:36:00 GMT';
    const headers = ['Host', 'example.amazonaws.com', 'Date', date];
    const bare: SentRequest = { method: 'GET', target: '/', headers, body: Buffer.alloc(0) };
    const hash = createHash('sha256')
      .update(canonicalRequest(received(bare), 'date;host'))
      .digest('hex');
    const scope = CREDENTIAL.slice(CREDENTIAL.indexOf('/') + 1);
    const text = `AWS4-HMAC-SHA256\n20150830T123600Z\n${scope}\n${hash}`;
    const key = signingKey(KEY, { date: '20150830', region: 'us-east-1', service: 'service' });
    const signature = createHmac('sha256', key).update(text).digest('hex');
    const signed = `SignedHeaders=date;host, Signature=${signature}`;
    const authorization = `AWS4-HMAC-SHA256 Credential=${CREDENTIAL}, ${signed}`;
    expect(outcome(withHeaders(...headers, 'Authorization', authorization))).toBe('accepted');
    const later = headers.with(3, date.replace('36', '37'));
    expect(outcome(withHeaders(...later, 'Authorization', authorization))).toBe(MISMATCH);
  });
});

describe('a key', () => {
  const UNKNOWN =
    'UnrecognizedClientException: The security token included in the request is invalid.';

  test('that is not known', () => {
    const credential = CREDENTIAL.replace('AKIDEXAMPLE', 'AKIDOTHER');
    expect(outcome(vanilla({ credential }))).toBe(UNKNOWN);
  });

  test('with another secret', () => {
    const other = { ...KEY, secret: Buffer.from('other') };
    expect(outcome(vanilla(), { keys: { find: () => other } })).toBe(MISMATCH);
  });

  test('is looked up with the session token that came with it', async () => {
    const request: ToSign = { method: 'POST', path: '/', headers: { host: 'h' }, body: '{}' };
    const options = { ...credentials, service: 'service', date: new Date(NOW) };
    const headers = await signedHeaders(request, { ...options, sessionToken: 'token' });
    const keys = (token: string | undefined) => ({
      find: (_id: string, given?: string) => (given === token ? KEY : undefined),
    });
    expect(outcome(onTheWire(request, headers), { keys: keys('token') })).toBe('accepted');
    expect(outcome(onTheWire(request, headers), { keys: keys(undefined) })).toBe(UNKNOWN);
  });

  test.each(['', 'x', VANILLA.toUpperCase(), `${VANILLA}0`, VANILLA.slice(1), '\u00ff'.repeat(64)])(
    'does not give the signature %j',
    (signature) => expect(outcome(vanilla({ signature }))).toMatch(/Signature/),
  );
});

test('a payload that the client calls unsigned is still hashed', async () => {
  const headers = { host: 'h', 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' };
  const request: ToSign = { method: 'POST', path: '/', headers, body: '{}' };
  const options = { ...credentials, service: 'service', date: new Date(NOW) };
  const signed = await signedHeaders(request, options);
  expect(signed['x-amz-content-sha256']).toBe('UNSIGNED-PAYLOAD');
  expect(outcome(onTheWire(request, signed))).toBe(MISMATCH);
});

/** Requests as clients may send them. */
const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/);
const visible = fc.stringMatching(/^[ -~\t]{0,30}$/);
const requests = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE'),
  path: fc
    .array(fc.string({ maxLength: 8, unit: 'grapheme' }), { maxLength: 4 })
    .map((segments) => `/${segments.map((one) => encodeURIComponent(one)).join('/')}`),
  query: fc.dictionary(
    fc.string({ minLength: 1, maxLength: 6 }).filter((one) => !/^x-amz-signature$/i.test(one)),
    fc.oneof(fc.string({ maxLength: 6 }), fc.array(fc.string({ maxLength: 4 }), { minLength: 1 })),
    { maxKeys: 4, noNullPrototype: true },
  ),
  own: fc.dictionary(
    name.map((one) => `x-my-${one}`),
    visible,
    { maxKeys: 4, noNullPrototype: true },
  ),
  body: fc.uint8Array({ maxLength: 64 }),
});
const scopes = fc.record({
  region: fc.constantFrom('us-east-1', 'eu-west-3', 'us-gov-east-1'),
  service: fc.constantFrom('cloudhsm', 'kms'),
  date: fc.integer({ min: 0, max: 4_000_000_000 }).map((seconds) => new Date(seconds * 1_000)),
  applyChecksum: fc.boolean(),
});

const replaced = (request: SentRequest, name: string, change: (value: string) => string) => ({
  ...request,
  headers: request.headers.map((text, at) =>
    at % 2 === 1 && request.headers[at - 1] === name ? change(text) : text,
  ),
});

/** Every change of what is under the signature; each gives another request. */
function tampered(request: SentRequest): SentRequest[] {
  const { method, target, body, headers } = request;
  const at = target.indexOf('?');
  const [path, query] = at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)];
  const others = [
    { ...request, method: method === 'POST' ? 'PUT' : 'POST' },
    { ...request, target: `${path}x${query && `?${query}`}` },
    { ...request, target: `${path}?${query && `${query}&`}more=1` },
    { ...request, body: Buffer.concat([body, Buffer.of(0)]) },
    ...(body.length > 0 ? [{ ...request, body: body.subarray(1) }] : []),
    ...(query ? [{ ...request, target: path }] : []),
    replaced(request, 'host', (value) => `${value}x`),
    replaced(request, 'x-amz-date', (value) => value.replace(/\dZ$/, (end) => flip(end))),
    replaced(request, 'authorization', (value) => value.replace(/[0-9a-f]$/, (end) => flip(end))),
    replaced(request, 'authorization', (value) =>
      value.replace(/\/([a-z-]+)-\d\//, (_, region: string) => `/${region}-9/`),
    ),
  ];
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (!name.startsWith('x-my-')) continue;
    others.push(replaced(request, name, (value) => `${value}!`));
    others.push({ ...request, headers: headers.toSpliced(index, 2) });
    others.push({ ...request, headers: [...headers, name, 'again'] });
  }
  return others;
}

const flip = (end: string): string => `${end.startsWith('1') ? '2' : '1'}${end.slice(1)}`;

describe("AWS's own signer", () => {
  test('signs what is accepted, and whatever is changed then is refused', async () => {
    await fc.assert(
      fc.asyncProperty(requests, scopes, async ({ own, ...parts }, scope) => {
        const request: ToSign = { ...parts, headers: { host: '127.0.0.1:4599', ...own } };
        const signed = onTheWire(
          request,
          await signedHeaders(request, { ...credentials, ...scope }),
        );
        const options = { service: scope.service, nowMs: scope.date.getTime() };
        expect(outcome(signed, options)).toBe('accepted');
        for (const other of tampered(signed)) {
          expect(outcome(other, options)).toMatch(/^(Invalid|Incomplete)SignatureException/);
        }
        const another = scope.service === 'kms' ? 'cloudhsm' : 'kms';
        expect(outcome(signed, { ...options, service: another })).toMatch(/^InvalidSignature/);
        const wrong = { find: () => ({ ...KEY, secret: Buffer.from(`${SECRET}x`) }) };
        expect(outcome(signed, { ...options, keys: wrong })).toBe(MISMATCH);
      }),
      { numRuns: 200 },
    );
  });
});

describe('whatever comes', () => {
  const REFUSALS = [
    'MissingAuthenticationTokenException',
    'IncompleteSignatureException',
    'InvalidSignatureException',
    'UnrecognizedClientException',
  ];
  const anything = fc.string({ unit: 'binary', maxLength: 40 });
  const header = fc.oneof(
    fc.tuple(fc.constantFrom('host', 'Host', 'X-Amz-Date', 'Date', 'X-Amz-Target'), anything),
    fc.tuple(fc.constant('x-amz-date'), fc.constant('20150830T123600Z')),
    fc.tuple(
      fc.constant('Authorization'),
      fc
        .array(fc.oneof(anything, fc.constantFrom(...AUTHORIZATION.split(' '), 'Signature=x')))
        .map((pieces) => pieces.join(' ')),
    ),
    fc.tuple(fc.constant('Authorization'), fc.constant(`${AUTHORIZATION}, Signature=x`)),
    fc.tuple(anything, anything),
  );

  test('a refusal has a name', () => {
    fc.assert(
      fc.property(
        fc.record({
          method: anything,
          target: anything,
          headers: fc.array(header, { maxLength: 6 }).map((headers) => headers.flat()),
          body: fc.uint8Array({ maxLength: 8 }),
        }),
        (request) => {
          expect(REFUSALS).toContain(outcome(request).split(':')[0]);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});
