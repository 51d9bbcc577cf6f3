// What every part uses: the run's data, the state of the page, elements, numbers as people write them.
const data = JSON.parse(document.getElementById("cr-data").textContent);
const detail = data.detail || { features: {}, periods: [] };
const MARK = { ROJO: "▲", AMARILLO: "◆", VERDE: "●", SIN_DATOS: "○" };
const TONE = { ROJO: "#b42318", AMARILLO: "#b35c00", VERDE: "#00734f", SIN_DATOS: "#5b6470" };
const ORDER = ["ROJO", "AMARILLO", "SIN_DATOS", "VERDE"];
const state = { lang: "es", sort: null, down: true, only: null, feature: null, period: "", metric: "avg_psi" };
const t = () => WORDS[state.lang];

function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children.flat(2)) if (child !== null && child !== undefined && child !== "") node.append(child);
  return node;
}

// from which index on a change is a warning, and critical: the run's own limits
const limits = () => [data.alerts?.limits?.psi_warn ?? 0.1, data.alerts?.limits?.psi_alert ?? 0.25];
const none = (x) => x === null || x === undefined || Number.isNaN(x);
const num = (x, digits = 3) => (none(x) ? "–" : x.toLocaleString(state.lang, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
function signed(x, digits = 1) {
  const shown = num(none(x) ? x : Math.abs(x), digits);
  return none(x) || !/[1-9]/.test(shown) ? shown : `${x > 0 ? "+" : "−"}${shown}`;
}
const pct = (x, digits = 1) => (none(x) ? "–" : `${num(100 * x, digits)} %`);
const whole = (x) => (none(x) ? "–" : Math.round(x).toLocaleString(state.lang, { useGrouping: "always" }));
const short = (x) =>
  Math.abs(x) >= 1e6
    ? x.toLocaleString(state.lang, { notation: "compact", maximumSignificantDigits: 4 })
    : x.toLocaleString(state.lang, { maximumSignificantDigits: 5, useGrouping: "always" });
const range = (low, high, as = pct) => (none(low) || none(high) ? "–" : t().between(as(low), as(high)));
const said = (text) => (none(text) ? "" : typeof text === "string" ? text : (text[state.lang] ?? text.es ?? text.en ?? ""));
const value = (x) => (typeof x === "number" ? short(x) : none(x) ? t().absent.toLowerCase() : String(x));

function unit(given) {
  const text = said(given),
    english = typeof given === "object" && given ? given.en : given;
  return state.lang === "es" && text === english ? UNITS[text] || text : text;
}

// a month "2025-03", a quarter "2025Q1" or a week "2025-03-03/2025-03-09" as people write them; several merged as "2025-03..2026-04"
function period(name) {
  if (none(name)) return "";
  const text = String(name),
    [, quartered, quarter] = /^(\d{4})Q(\d)$/.exec(text) || [];
  if (text.includes("..")) return between(...text.split("..").map(period));
  if (quarter) return `${state.lang === "es" ? "T" : "Q"}${quarter} ${quartered}`;
  if (/^\d{4}-\d{2}$/.test(text)) return dated(`${text}-01`, { month: "short", year: "numeric" });
  if (/^\d{4}-\d{2}-\d{2}\/\d{4}/.test(text)) return day(text.split("/")[0]);
  return text === "current" || text === "all" ? t().now : text;
}

const dated = (text, parts) => new Intl.DateTimeFormat(state.lang, { ...parts, timeZone: "UTC" }).format(new Date(text)).replaceAll(" de ", " ");
const day = (text) =>
  none(text) ? "" : Number.isNaN(Date.parse(text)) ? String(text) : dated(text, { day: "numeric", month: "short", year: "numeric" });

// "nov–dic 2025" of "nov 2025" and "dic 2025"
function between(first, last) {
  const [a, year] = [first.slice(0, -5), first.slice(-5)];
  return year === last.slice(-5) && /^ \d{4}$/.test(year) ? `${a.replace(/,$/, "")}–${last}` : `${first} – ${last}`;
}

const feature = (name) => detail.features[name] || { label: { es: name, en: name } };
const label = (name) => (detail.features[name] ? said(detail.features[name].label) : t().outcomes[name] || name);
const light = (severity) =>
  el("span", { class: `light ${severity}` }, el("i", { "aria-hidden": "true" }, MARK[severity] || "○"), t()[severity] || severity);
const note = (text) => el("p", { class: "absent" }, text);

function options(values, chosen) {
  return values.map(([key, text]) => {
    const o = el("option", { value: key }, text);
    o.selected = key === chosen;
    return o;
  });
}

// a plain table; columns named in `numeric` (by place) stand to the right; on a narrow screen a wide one becomes one card a row
function grid(head, rows, numeric = [], id = null) {
  const th = head.map((text, i) => el("th", { class: numeric.includes(i) ? "num" : "", scope: "col" }, text));
  const td = (row) => row.map((content, i) => el("td", { class: numeric.includes(i) ? "num" : "", "data-label": head[i] }, content));
  const body = el(
    "tbody",
    {},
    rows.map((row) => el("tr", {}, td(row))),
  );
  const table = el("table", { id, class: head.length > 3 ? "wide" : null }, el("thead", {}, el("tr", {}, th)), body);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": head[0] }, table);
}

function part(id, title, hint, ...content) {
  return el(
    "section",
    { id: `cr-${id}`, class: "part", "aria-labelledby": `cr-${id}-title` },
    el("h2", { id: `cr-${id}-title` }, title),
    hint ? el("p", { class: "hint" }, hint) : null,
    content,
  );
}

function save(name, type, text) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
