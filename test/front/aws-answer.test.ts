import { expect, test } from 'vitest';
import { ERRORS, KeyspanError, type ErrorCode } from '../../src/core/errors.js';
import { errorAnswer, isInternal } from '../../src/front/aws-answer.js';

test.each<[ErrorCode, number, object]>([
  ['CloudHsmInvalidRequestException', 400, { Message: 'why' }],
  ['CloudHsmAccessDeniedException', 400, { Message: 'why' }],
  ['CloudHsmInternalFailureException', 500, { Message: 'why' }],
  ['UnrecognizedClientException', 400, { message: 'why' }],
  ['ValidationException', 400, { message: 'why' }],
  ['RequestEntityTooLargeException', 413, { message: 'why' }],
  ['InternalFailure', 500, { message: 'why' }],
])('%s', (code, status, members) => {
  const answer = errorAnswer(new KeyspanError(code, 'why'));
  expect({ ...answer, body: JSON.parse(answer.body) as object }).toEqual({
    status,
    body: { __type: code, ...members },
  });
});

test('names of the inside are not for callers', () => {
  const shown = (Object.keys(ERRORS) as ErrorCode[]).filter((code) => !isInternal(code));
  const query =
    /^(NoSuchEntity|EntityAlreadyExists|DeleteConflict|InvalidInput|PackedPolicyTooLarge)$/;
  for (const code of shown) {
    if (!query.test(code)) expect(code).toMatch(/Exception$|^InternalFailure$/);
  }
});
