"use strict";
// Ties of any set of tasks, from the numbers that the page carries. The same as ties.py: change both.

const ReptransferTies = (() => {
  const NEVER = 255; // the code of a standard error above all steps

  // Inflates the codes of all pairs; call it once before `compute`.
  async function decode(page) {
    const packed = Uint8Array.from(atob(page.pairs), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const codes = new Uint8Array(await new Response(stream).arrayBuffer());
    const ranked = page.tasks.map(() => []);
    const values = page.tasks.map(() => new Map());
    for (const cell of page.cells) {
      values[cell[1]].set(cell[0], cell[2]);
      if (!cell[7]) ranked[cell[1]].push(cell[0]);
    }
    let start = 0;
    const total = codes.length / 2;
    const tasks = ranked.map((encoders, task) => {
      encoders.sort((a, b) => a - b);
      const count = (encoders.length * (encoders.length - 1)) / 2;
      const errors = codes.subarray(start, start + count);
      const freedoms = codes.subarray(total + start, total + start + count);
      start += count;
      const place = new Map(encoders.map((encoder, index) => [encoder, index]));
      return { place, count: encoders.length, errors, freedoms, values: values[task] };
    });
    return { page, tasks };
  }

  // Where the pair of two places, first < second, lies among all pairs of `count` encoders.
  function pairIndex(first, second, count) {
    return (first * (2 * count - first - 1)) / 2 + second - first - 1;
  }

  // Standard errors and degrees of freedom (code) of all pairs of these encoders on the mean of tasks: of
  // tasks on the same images the sum of standard errors, of others the root of the sum of squares.
  function pairErrors(decoded, chosen, encoders) {
    const { page } = decoded;
    const steps = [...page.se_steps, Infinity];
    const count = (encoders.length * (encoders.length - 1)) / 2;
    const sums = new Map();
    for (const index of chosen) {
      const task = decoded.tasks[index];
      const { images } = page.tasks[index];
      if (!sums.has(images)) sums.set(images, [new Float64Array(count), new Float64Array(count)]);
      const [total, overFreedom] = sums.get(images);
      const places = encoders.map((encoder) => task.place.get(encoder));
      let pair = 0;
      for (let i = 0; i < places.length; i++) {
        for (let j = i + 1; j < places.length; j++, pair++) {
          const first = Math.min(places[i], places[j]);
          const second = Math.max(places[i], places[j]);
          const at = pairIndex(first, second, task.count);
          const error = steps[task.errors[at]];
          total[pair] += error;
          overFreedom[pair] += error / page.freedom_steps[task.freedoms[at]];
        }
      }
    }
    const errors = new Float64Array(count);
    const freedoms = new Uint8Array(count);
    for (let pair = 0; pair < count; pair++) {
      let variance = 0;
      let below = 0;
      for (const [total, overFreedom] of sums.values()) {
        variance += total[pair] * total[pair];
        below += total[pair] * total[pair] * total[pair] * overFreedom[pair];
      }
      errors[pair] = Math.sqrt(variance) / chosen.length;
      const freedom = ((variance * variance) / below) * (1 + 1e-9); // rounding is no step
      freedoms[pair] = Math.max(0, stepOf(page.freedom_steps, freedom));
    }
    return { errors, freedoms };
  }

  // The largest step that is not above a number; -1 below the first.
  function stepOf(steps, number) {
    let low = 0;
    let high = steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= number) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  // Two-sided p of a difference, rounded up to the table.
  function pValue(page, difference, error, freedom) {
    const step = stepOf(page.p_steps.t, Math.abs(difference) / error);
    return step < 0 ? 1 : page.p_steps.p[freedom][step];
  }

  // Encoders with a rank on every chosen task (indices of tasks), with mean normalised scores, first and
  // last ranks, groups of ties from 1, and `differ` of two places in this list.
  function compute(decoded, chosen) {
    const { page } = decoded;
    const everyTask = chosen.map((index) => decoded.tasks[index]);
    const encoders = [...everyTask[0].place.keys()].filter((encoder) =>
      everyTask.every((task) => task.place.has(encoder)),
    );
    const scores = encoders.map((encoder) => {
      let sum = 0;
      for (const index of chosen) {
        const { chance, unit } = page.tasks[index];
        sum += (decoded.tasks[index].values.get(encoder) - chance) / unit;
      }
      return sum / chosen.length;
    });
    const { errors, freedoms } = pairErrors(decoded, chosen, encoders);
    const count = encoders.length;
    const p = new Float64Array(errors.length);
    for (let i = 0, pair = 0; i < count; i++) {
      for (let j = i + 1; j < count; j++, pair++) {
        p[pair] = pValue(page, scores[i] - scores[j], errors[pair], freedoms[pair]);
      }
    }
    const differs = holm(p, page.level);
    const differ = (i, j) => differs[pairIndex(Math.min(i, j), Math.max(i, j), count)];
    const first = scores.map(() => 1);
    const last = scores.map(() => count);
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < count; j++) {
        if (i === j || !differ(i, j)) continue;
        if (scores[j] > scores[i]) first[i]++;
        else if (scores[j] < scores[i]) last[i]--;
      }
    }
    return { encoders, scores, first, last, group: groups(scores, differ), differ };
  }

  // Which pairs differ at this level by Holm's adjustment over all of them.
  function holm(p, level) {
    const order = Array.from(p.keys()).sort((a, b) => p[a] - p[b] || a - b);
    const differs = new Uint8Array(p.length);
    for (let rank = 0; rank < order.length; rank++) {
      if (Math.min(1, p[order[rank]] * (p.length - rank)) >= level) break;
      differs[order[rank]] = 1;
    }
    return differs;
  }

  // The group of each: those that do not differ from the best one that is not yet in a group.
  function groups(scores, differ) {
    const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a] || a - b);
    const group = scores.map(() => 0);
    let number = 0;
    for (const leader of order) {
      if (group[leader]) continue;
      number++;
      for (const i of order) {
        if (!group[i] && (i === leader || !differ(leader, i))) group[i] = number;
      }
    }
    return group;
  }

  return { NEVER, decode, compute, pairErrors, pValue, holm };
})();

if (typeof module !== "undefined") module.exports = ReptransferTies;
