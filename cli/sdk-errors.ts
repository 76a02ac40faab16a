/** Errors of the SDKs as problems of the command line, with its exit codes. */

import { DeviceError } from '@rollcall/device-sdk';
import { isProblemCode, Problem } from '@rollcall/protocol';

/** Codes of the SDKs for an error in the command line or the directory. */
const USAGE_ERRORS: ReadonlySet<string> = new Set(['token_required', 'token_malformed', 'identity_unusable']);

/** Runs an operation of an SDK; `hint` names what to do about an error code. */
export async function withProblems<T>(
  operation: () => Promise<T>,
  hint: (code: string) => string | undefined = () => undefined,
): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    throw error instanceof DeviceError ? sdkProblem(error, hint(error.code)) : error;
  }
}

/** The codes of refusals name devices; services are refused with them as well. */
export function sdkProblem(error: DeviceError, hint?: string): Problem {
  const code = isProblemCode(error.code) ? error.code : USAGE_ERRORS.has(error.code) ? 'usage' : 'unavailable';
  return new Problem(code, { detail: error.message, cause: error, ...(hint !== undefined && { hint }) });
}
