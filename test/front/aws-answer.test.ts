import { expect, test } from 'vitest';
import { ERRORS, KeyspanError, type ErrorCode } from '../../src/core/errors.js';
import { errorAnswer, isInternal } from '../../src/front/aws-answer.js';

test.each<[ErrorCode, number, object]>([
  ['CloudHsmInvalidRequestException', 400, { Message: 'why' }],
  ['CloudHsmAccessDeniedException', 400, { Message: 'why' }],
  ['CloudHsmInternalFailureException', 500, { Message: 'why' }],
  ['UnrecognizedClientException', 400, { message: 'why' }],
  ['ValidationException', 400, { message: 'why' }],
  ['AccessDeniedException', 400, { Message: 'why' }],
  ['UnsupportedOperationException', 400, { Message: 'why' }],
  ['NotFoundException', 400, { message: 'why' }],
  ['AlreadyExistsException', 400, { message: 'why' }],
  ['DisabledException', 400, { message: 'why' }],
  ['DryRunOperationException', 400, { message: 'why' }],
  ['KMSInvalidStateException', 400, { message: 'why' }],
  ['ThrottlingException', 400, { message: 'why' }],
  ['KMSInternalException', 500, { message: 'why' }],
  ['KeyUnavailableException', 500, { message: 'why' }],
  ['DependencyTimeoutException', 503, { message: 'why' }],
  ['RequestEntityTooLargeException', 413, { message: 'why' }],
  ['InternalFailure', 500, { message: 'why' }],
])('%s', (code, status, members) => {
  const answer = errorAnswer(new KeyspanError(code, 'why'));
  expect({ ...answer, body: JSON.parse(answer.body) as object }).toEqual({
    status,
    body: { __type: code, ...members },
  });
});

test('an error without a sentence has no member for it', () => {
  const { status, body } = errorAnswer(new KeyspanError('InvalidCiphertextException', ''));
  expect([status, body]).toEqual([400, '{"__type":"InvalidCiphertextException"}']);
});

test('names of the inside are not for callers', () => {
  const shown = (Object.keys(ERRORS) as ErrorCode[]).filter((code) => !isInternal(code));
  const query =
    /^(NoSuchEntity|EntityAlreadyExists|DeleteConflict|InvalidInput|PackedPolicyTooLarge)$/;
  for (const code of shown) {
    if (!query.test(code)) expect(code).toMatch(/Exception$|^InternalFailure$/);
  }
});
