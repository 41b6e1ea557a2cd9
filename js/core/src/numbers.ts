/** Numbers for people: three significant digits, exact on request, tabular. */

/** Three significant digits: 0.412, 0.0123, 1.53e-5; from a thousand to a million whole: 1086. */
export function three(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4) return value.toExponential(2);
  if (size >= 1e6) return value.toExponential(2);
  if (size >= 999.5) return String(Math.round(value));
  return value.toPrecision(3);
}

/** All digits a float32 is good for. */
export function exact(value: number): string {
  if (value === 0) return "0";
  return Math.abs(value) < 1e-4 ? value.toExponential(6) : value.toPrecision(7);
}

/** A value with the mark of an approximation where it is quantised. */
export function quoted(value: number, isExact: boolean): string {
  return isExact ? three(value) : `≈\u2009${three(value)}`;
}

/** A deviation in one digit: 3e-7. */
export function deviation(value: number): string {
  return value === 0 ? "0" : value.toExponential(0);
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"] as const;

/** Bytes in decimal units: 91.2 MB. */
export function bytes(count: number): string {
  let size = count;
  let unit = 0;
  while (size >= 999.5 && unit < UNITS.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? String(size) : size.toPrecision(3)} ${UNITS[unit]}`;
}

/** To make a formatter takes longer than to format with it a thousand times. */
const formats = new Map<string, Intl.NumberFormat>();

function format(locale: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const name = `${locale} ${options.notation ?? ""}`;
  let found = formats.get(name);
  if (!found) {
    found = new Intl.NumberFormat(locale, options);
    formats.set(name, found);
  }
  return found;
}

/** A count with the locale's separators. */
export function count(value: number, locale: string): string {
  // Has nothing to separate; the first formatter of a page takes tens of milliseconds.
  if (Number.isInteger(value) && Math.abs(value) < 1000) return String(value);
  return format(locale, {}).format(value);
}

/** A count of parameters: 22.7 M. */
export function short(value: number, locale: string): string {
  return format(locale, { notation: "compact", maximumSignificantDigits: 3 }).format(value);
}
