import type { Socket } from 'node:net';
import type { CredentialFacts } from '../audit/api-call.js';
import type { Call } from '../core/call.js';
import type { HeaderValues } from '../iam/canonical-request.js';
import type { Principal } from '../iam/principal.js';
import type { RequestOrigin } from '../iam/request-origin.js';

/** Who asks, and for which region: what a signature says. */
export interface AwsCaller {
  readonly principal: Principal;
  readonly region: string;
  readonly origin: RequestOrigin;
  /** for the audit log */
  readonly credentials?: CredentialFacts | undefined;
}

/** One AWS service behind the door. */
export interface AwsService {
  /** how its requests begin their `X-Amz-Target` */
  readonly target: string;
  /** its name in credential scopes */
  readonly signingName: string;
  /** its operations end by the call's deadline: nobody else need watch it */
  readonly keepsDeadlines?: boolean;
  /** its operations, loaded with the first request: a start must not pay for them */
  readonly load: () => Promise<AwsOperations>;
}

/** One AWS service that speaks the Query protocol. */
export interface AwsQueryService extends Omit<AwsService, 'target'> {
  /** the version of its API, which its requests name */
  readonly version: string;
  /** of its answers' XML */
  readonly namespace: string;
}

export interface AwsOperations {
  /**
   * Decides about one request, runs it and writes its audit line.
   * @param params as the wire has them
   * @throws KeyspanError with an AWS code
   */
  perform(action: string, params: unknown, caller: AwsCaller, call: Call): Promise<object>;
}

/** what a caller says of its way here: through which service, for what of it, from which VPC */
const WAY_HEADERS = {
  viaService: 'x-keyspan-via-service',
  sourceArn: 'x-keyspan-source-arn',
  sourceVpc: 'x-keyspan-source-vpc',
} as const;

/** The door is plain HTTP on the loopback: TLS is at the ENIs. */
export function originOf(
  { remoteAddress: sourceIp }: Socket,
  headers: HeaderValues,
  { trustServiceHeader = false }: { readonly trustServiceHeader?: boolean } = {},
): RequestOrigin {
  const [userAgent] = headers.get('user-agent') ?? [];
  const direct = { sourceIp, isSecure: false, userAgent };
  if (!trustServiceHeader) return direct;
  const said = (way: keyof typeof WAY_HEADERS): string | undefined => {
    const values = headers.get(WAY_HEADERS[way]);
    // one that was sent twice says nothing
    return values?.length === 1 ? values[0] : undefined;
  };
  const [viaService, sourceArn] = [said('viaService'), said('sourceArn')];
  return { ...direct, viaService, sourceArn, sourceVpc: said('sourceVpc') };
}
