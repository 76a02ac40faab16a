/** The roles of operators. Each includes the ones before it; what each may do is in docs/operators.md. */

/** From the least to the most. */
export const OPERATOR_ROLES = ['viewer', 'operator', 'admin'] as const;
export type OperatorRole = (typeof OPERATOR_ROLES)[number];

/** Whether `most` includes `role`. False for a text that is no role. */
export function isRoleWithin(role: OperatorRole, most: OperatorRole): boolean {
  const rank = OPERATOR_ROLES.indexOf(role);
  return rank >= 0 && rank <= OPERATOR_ROLES.indexOf(most);
}

/** The lesser of two roles. */
export function lesserRole(a: OperatorRole, b: OperatorRole): OperatorRole {
  return isRoleWithin(a, b) ? a : b;
}
