/** Folder of an installed package of npm, or undefined. */
export function findPackage(name: string): string | undefined;
