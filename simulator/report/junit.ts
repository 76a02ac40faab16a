import { escapeControlsInLines } from '@rollcall/output';
import type { RunResult } from '../run/result.ts';
import { METRICS } from '../scenario/expectation.ts';

export function junitReport(result: RunResult): string {
  const cases = [
    { name: 'the run itself', failure: result.problems.join('; ') },
    ...result.assertions.map(({ text, holds, found, reason }) => ({
      name: text,
      failure: holds ? '' : (reason ?? `found ${found}`),
    })),
  ];
  const failures = cases.filter(({ failure }) => failure !== '').length;
  const measured = {
    ...Object.fromEntries(Object.entries(result.values).filter(([name]) => Object.hasOwn(METRICS, name))),
    ...(result.lagLimitMs !== undefined && { 'limits.lag': result.lagLimitMs }),
  };
  const suite = escapeXml(`simulation ${result.scenario.name}`);
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites tests="${cases.length}" failures="${failures}">`,
    `  <testsuite name="${suite}" tests="${cases.length}" failures="${failures}" time="${result.tookSeconds.toFixed(1)}" timestamp="${result.startedAt}">`,
    '    <properties>',
    ...Object.entries(measured).map(([name, value]) => `      <property name="${escapeXml(name)}" value="${value}"/>`),
    '    </properties>',
    ...cases.map(({ name, failure }) => {
      const head = `    <testcase classname="${suite}" name="${escapeXml(name)}"`;
      return failure === ''
        ? `${head}/>`
        : `${head}><failure message="${escapeXml(failure)}">${escapeXml(failure)}</failure></testcase>`;
    }),
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** For text and attributes, of XML and HTML alike. XML 1.0 has no form for most control characters: they are made visible. */
export function escapeXml(text: string): string {
  return escapeControlsInLines(text).replace(/[&<>"']/g, (character) => ENTITIES[character] as string);
}
