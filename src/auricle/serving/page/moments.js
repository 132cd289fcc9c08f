// Times and spans of a recording, without a document.

const BUDGET = 30; // seconds; what pruning rates are of
const APART = 1; // seconds; kept moments nearer than that are heard as one passage

/** Kept spans as passages that a person can listen to. */
export function passages(spans) {
  const found = [];
  for (const [start, end] of spans) {
    const last = found.at(-1);
    if (last && start - last[1] < APART) last[1] = Math.max(last[1], end);
    else found.push([start, end]);
  }
  return found;
}

/** Seconds as 0:07, 12:30 or 1:02:03, with tenths if asked for. */
export function clock(seconds, digits = 0) {
  const scale = 10 ** digits;
  const whole = Math.floor(seconds * scale + 1e-6) / scale;
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const rest = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** What a pruning rate leaves of a recording, in words: the rate is of 30 s of tokens, or of all where there are fewer. */
export function budget(rate, duration) {
  const left = Number((Math.min(duration, BUDGET) * (1 - rate)).toFixed(1));
  if (duration < BUDGET) return `Leaves ${left} s of the speech tokens.`;
  return `Leaves ${left} s of speech tokens: the rate is of ${BUDGET} s, however long the recording.`;
}

/** How much of each of `columns` equal stretches was kept, 0 to 1. */
export function coverage(spans, duration, columns) {
  const kept = new Float32Array(columns);
  for (const [start, end] of spans) {
    const [from, to] = [(start / duration) * columns, (end / duration) * columns];
    for (let column = Math.floor(from); column < Math.min(Math.ceil(to), columns); column++) {
      kept[column] += Math.min(column + 1, to) - Math.max(column, from);
    }
  }
  return kept;
}

/** The mean of `values` in a window of `seconds` around each; `times` are [start, end] of each, in order. */
export function smooth(values, times, seconds = 1) {
  const means = [];
  let [first, past, sum] = [0, 0, 0];
  for (const [start, end] of times) {
    const middle = (start + end) / 2;
    while (past < times.length && times[past][0] <= middle + seconds / 2) sum += values[past++];
    while (times[first][1] < middle - seconds / 2) sum -= values[first++];
    means.push(sum / (past - first));
  }
  return means;
}
