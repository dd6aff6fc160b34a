// Numbers and times as people write them. Pure functions: no page, no state.

export const NOTHING = "–";

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

/** Seconds as "48 s", "12 min", "1 h 20 min", "3 d 4 h": two units at most, as more would not be true anyway. */
export function duration(seconds) {
  if (!known(seconds)) return NOTHING;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (whole < 600) return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return pair(minutes, 60, "h", "min");
  return pair(Math.round(minutes / 60), 24, "d", "h");
}

function pair(amount, base, large, small) {
  const rest = amount % base;
  return `${Math.floor(amount / base)} ${large}` + (rest ? ` ${rest} ${small}` : "");
}

/** Bytes with binary units: "640 B", "12 MiB", "2.3 GiB". */
export function bytes(count) {
  if (!known(count)) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let power = 0;
  // 1023.5 and not 1024: what rounds to 1024 of a unit is one of the next.
  while (count >= 1023.5 && power < units.length - 1) {
    count /= 1024;
    power += 1;
  }
  const digits = power === 0 || count >= 9.95 ? 0 : 1;
  return `${count.toFixed(digits)} ${units[power]}`;
}

/** A loss or a rate with three significant digits: "0.0123", "1.52", "87.5", "4,210", "1.2e-7". */
export function number(value) {
  if (!known(value)) return NOTHING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(1);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(size)));
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A count: "12,400". */
export function count(value) {
  return known(value) ? value.toLocaleString("en") : NOTHING;
}

/** A share as "43 %"; what is not done is never "100 %". */
export function percent(share) {
  if (!known(share)) return NOTHING;
  return share >= 1 ? "100 %" : `${Math.floor(share * 100)} %`;
}

/** Pixels as "6000 × 4500". */
export function size(width, height) {
  return known(width) && known(height) ? `${width} × ${height}` : NOTHING;
}

/** Unix seconds as the watcher's clock shows them: "14:03:12"; with the day where it is another. */
export function clock(seconds) {
  if (!known(seconds)) return NOTHING;
  const then = new Date(seconds * 1000);
  const time = then.toLocaleTimeString("en-GB");
  if (then.toDateString() === new Date().toDateString()) return time;
  return `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}
