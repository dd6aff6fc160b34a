// The arithmetic of the loss curves: points in a row over all levels, a logarithmic axis. Pure functions.

export const TERMS = [
  { key: "total", name: "total" },
  { key: "style", name: "style" },
  { key: "content", name: "content" },
  { key: "tv", name: "smoothing" },
];

/**
 * Losses in the order of the run, with `at`, a step number that counts on from level to level.
 * Returns {points, levels: [{level, from, to}]}.
 */
export function inARow(losses) {
  const points = [];
  const levels = [];
  let offset = 0;
  for (const loss of losses) {
    let current = levels[levels.length - 1];
    if (!current || current.level !== loss.level) {
      offset = current ? current.to : 0;
      current = { level: loss.level, from: offset, to: offset };
      levels.push(current);
    }
    current.to = Math.max(current.to, offset + loss.step);
    points.push({ ...loss, at: offset + loss.step });
  }
  return { points, levels };
}

/** The terms that have something to draw: a term that is off is zero, which a logarithmic axis has no place for. */
export function drawn(points) {
  return TERMS.filter(({ key }) => points.some((point) => point[key] > 0));
}

/** Lower and upper end of the axis: the values' own range, a little widened. Null where nothing is positive. */
export function range(points, terms) {
  let low = Infinity;
  let high = 0;
  for (const point of points) {
    for (const { key } of terms) {
      if (point[key] > 0) {
        low = Math.min(low, point[key]);
        high = Math.max(high, point[key]);
      }
    }
  }
  if (!high) return null;
  const room = Math.max(1.1, (high / low) ** 0.06);
  return { low: low / room, high: high * room };
}

/** Round numbers within the range: 1, 2, 5 of each decade, or where these are more than seven, decades alone. */
export function ticks({ low, high }) {
  for (const steps of [[1, 2, 5], [1, 3], [1]]) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const step of steps) {
        const value = step * 10 ** power;
        if (value >= low && value <= high) found.push(value);
      }
    }
    if (found.length <= 7 || steps.length === 1) {
      const every = Math.ceil(found.length / 7);
      return found.filter((_, index) => index % every === 0);
    }
  }
  return [];
}

/** Where a value stands between the ends: 0 at `low`, 1 at `high`. */
export function height(value, { low, high }) {
  return Math.log(value / low) / Math.log(high / low);
}
