/** When each device of a group starts. Pure: the same seed gives the same times. */

import type { Arrival } from './schema.ts';

/** Milliseconds since the start of the run, one for each device, in ascending order. */
export function arrivalTimes(arrival: Arrival, count: number, random: () => number): Float64Array {
  const times = new Float64Array(count);
  let last = 0;
  for (let index = 0; index < count; index += 1) {
    const share = (index + 0.5) / count;
    switch (arrival.curve) {
      case 'constant':
        times[index] = share * arrival.over;
        break;
      case 'ramp': // the number that has come grows with the square of the time
        times[index] = Math.sqrt(share) * arrival.over;
        break;
      case 'burst':
        times[index] = Math.floor(index / arrival.size) * arrival.every;
        break;
      case 'poisson':
        last += (-Math.log(1 - random()) / arrival.perSecond) * 1_000;
        times[index] = last;
        break;
      case 'diurnal':
        times[index] = inverseWave(share, arrival.peak) * arrival.over;
        break;
    }
  }
  return times;
}

/**
 * The share of a day at which `share` of all have come, when the rate is 1 + cos(2 pi (t - peak)), never below zero.
 * Found by halving: the sum of the rate has no inverse of its own.
 */
function inverseWave(share: number, peak: number): number {
  const turn = 2 * Math.PI;
  const arrived = (t: number) => t + (Math.sin(turn * (t - peak)) + Math.sin(turn * peak)) / turn;
  let low = 0;
  let high = 1;
  for (let step = 0; step < 40; step += 1) {
    const middle = (low + high) / 2;
    if (arrived(middle) < share) low = middle;
    else high = middle;
  }
  return low;
}
