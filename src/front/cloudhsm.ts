import type { Events } from '../audit/events.js';
import type { Call } from '../core/call.js';
import { monotonic } from '../core/clock.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { evaluate } from '../iam/evaluate.js';
import {
  isCloudHsmAction,
  parseCloudHsmRequest,
  type CloudHsmAction,
  type CloudHsmAnswer,
  type CloudHsmParams,
} from '../protocol/cloudhsm.js';
import { isInternal } from './aws-answer.js';
import type { AwsCaller, AwsOperations } from './aws-json.js';
import {
  copyBackupToRegion,
  deleteBackup,
  deleteResourcePolicy,
  describeBackups,
  getResourcePolicy,
  modifyBackupAttributes,
  putResourcePolicy,
  restoreBackup,
} from './cloudhsm-backups.js';
import { describeClusters, type CloudHsmParts } from './cloudhsm-clusters.js';
import {
  createCluster,
  createHsm,
  deleteCluster,
  deleteHsm,
  initializeCluster,
  modifyCluster,
} from './cloudhsm-life.js';
import { listTags, tagResource, untagResource } from './cloudhsm-tags.js';

export interface CloudHsmOptions extends CloudHsmParts {
  readonly events: Events;
  readonly log: Logger;
}

type Operation<A extends CloudHsmAction> = (
  parts: CloudHsmParts,
  params: CloudHsmParams<A>,
  caller: AwsCaller,
) => Promise<CloudHsmAnswer<A>>;

const OPERATIONS: { readonly [A in CloudHsmAction]: Operation<A> } = {
  CopyBackupToRegion: copyBackupToRegion,
  CreateCluster: createCluster,
  CreateHsm: createHsm,
  DeleteBackup: deleteBackup,
  DeleteCluster: deleteCluster,
  DeleteHsm: deleteHsm,
  DeleteResourcePolicy: deleteResourcePolicy,
  DescribeBackups: describeBackups,
  DescribeClusters: describeClusters,
  GetResourcePolicy: getResourcePolicy,
  InitializeCluster: initializeCluster,
  ListTags: listTags,
  ModifyBackupAttributes: modifyBackupAttributes,
  ModifyCluster: modifyCluster,
  PutResourcePolicy: putResourcePolicy,
  RestoreBackup: restoreBackup,
  TagResource: tagResource,
  UntagResource: untagResource,
};

/** Actions that change nothing. */
const READING = /^(?:Describe|Get|List)/;

interface Line {
  readonly action: string;
  readonly caller: AwsCaller;
  readonly call: Call;
  readonly beganMs: number;
  /** the ARN of what is asked about, once the request was read */
  resource: string | undefined;
  params: object | undefined;
}

/** The CloudHSM V2 API (BaldrApiService, 2017-04-28). */
export class CloudHsm implements AwsOperations {
  readonly #options: CloudHsmOptions;

  constructor(options: CloudHsmOptions) {
    this.#options = options;
  }

  /** @throws KeyspanError with a code of CloudHSM's, or one that is common to AWS's services */
  async perform(action: string, params: unknown, caller: AwsCaller, call: Call): Promise<object> {
    const beganMs = monotonic();
    const line: Line = { action, caller, call, beganMs, resource: undefined, params: undefined };
    try {
      const answer = await this.#run(params, line);
      this.#audit(line, answer);
      return answer;
    } catch (error) {
      const answered = this.#answered(error, call);
      this.#audit(line, undefined, answered);
      throw answered;
    }
  }

  async #run(params: unknown, line: Line): Promise<object> {
    const { caller } = line;
    const request = parseCloudHsmRequest(line.action, params);
    const resource = resourceOf(request.params, caller);
    line.resource = resource === '*' ? undefined : resource;
    line.params = request.params;
    authorize(request.action, resource, caller);
    // action and params were parsed together: the table and the union agree
    const operation = OPERATIONS[request.action] as Operation<CloudHsmAction>;
    return await operation(this.#options, request.params, caller);
  }

  /**
   * What comes from inside is a fault of the service, and the log alone has it; but for what is
   * refused for now, which a caller is to know.
   */
  #answered(error: unknown, { requestId }: Call): KeyspanError {
    if (isKeyspanError(error) && !isInternal(error.code)) return error;
    if (isKeyspanError(error, 'KeyspanRefused')) {
      const { message } = error;
      return new KeyspanError('CloudHsmInvalidRequestException', message, { cause: error });
    }
    this.#options.log.error({ err: error, requestId }, 'a CloudHSM request failed');
    const sentence = 'The request could not be processed.';
    return new KeyspanError('CloudHsmInternalFailureException', sentence, { cause: error });
  }

  #audit(line: Line, answer: object | undefined, error?: KeyspanError): void {
    const { action, caller, call, beganMs, resource, params } = line;
    this.#options.events.apiCallEvent({
      requestId: call.requestId,
      service: 'cloudhsm',
      door: 'cloudhsm',
      caller,
      action: isCloudHsmAction(action) ? action : 'Unknown',
      isReadOnly: READING.test(action),
      params: params as Readonly<Record<string, unknown>> | undefined,
      answer: answer as Readonly<Record<string, unknown>> | undefined,
      resource,
      code: error?.code,
      message: error?.message,
      latencyMs: monotonic() - beganMs,
    });
  }
}

/**
 * Identity policies decide: an account's root may do all, and there is nobody else yet.
 * @throws CloudHsmAccessDeniedException
 */
function authorize(action: CloudHsmAction, resource: string, caller: AwsCaller): void {
  const { principal } = caller;
  const name = `cloudhsm:${action}`;
  const request = { principal, action: name, resource, context: () => new Map() };
  if (evaluate(request, { identity: [] }).allowed) return;
  const who = `User: ${principal.arn} is not authorized to perform: ${name}`;
  const because = `because no identity-based policy allows the ${name} action`;
  const sentence = `${who} on resource: ${resource} ${because}`;
  throw new KeyspanError('CloudHsmAccessDeniedException', sentence);
}

/** The ARN of what a request names, or `*`. */
function resourceOf(params: object, { principal, region }: AwsCaller): string {
  const named = params as Readonly<Record<string, unknown>>;
  if (typeof named['ResourceArn'] === 'string') return named['ResourceArn'];
  const id = named['ClusterId'] ?? named['BackupId'] ?? named['ResourceId'];
  if (typeof id !== 'string') return '*';
  const kind = id.slice(0, id.indexOf('-'));
  return `arn:${principal.partition}:cloudhsm:${region}:${principal.account}:${kind}/${id}`;
}
